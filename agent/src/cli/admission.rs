//! Joining at the first start: a host that was given a token as a credential becomes a member without anybody at a terminal.
//!
//! Owns how long that is tried, and how the supervisor is kept patient meanwhile. The invariants: a token is traded only where this is no
//! member yet; nobody in reach is no reason to give up, a refusal is one.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::CliError;
use super::output::{note, printable};
use super::run::{explain, no_configuration};
use crate::agent::{FoundingError, JoinStage, Member};
use crate::cluster::Token;
use crate::config::{NodeConfig, Overrides, may_pass};
use crate::splitmix::SplitMix;
use crate::supervisor::Supervisor;

/// The credential with which a host that belongs to no cluster joins one at its first start.
const JOIN_TOKEN: &str = "join-token";

/// The pause after the first attempt that led nowhere; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause: a host that was set up before the one that lets it in is a member within a minute of that one's start.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What one attempt may take: each of a token's eight addresses five seconds for every transport, and twenty for the meeting.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(120);

/// What the supervisor is asked for with each attempt: that one, the pause behind it, and half a minute for a host that stalls. Once this
/// is a member, the start of the agent itself has to fit.
const SUPERVISORS_PATIENCE: Duration = Duration::from_secs(210);

/// Trades the token among the credentials for membership, if there is one and this is no member yet. A member's token has done its work,
/// and is not looked at again. Tries for as long as nobody is reached, or until `shutdown`.
///
/// # Errors
/// The token is none, or nobody will ever let this host in with it: wrong usage. The disk refuses, or fails: a failure.
pub(super) async fn join_first(
    file: Option<&Path>,
    overrides: Overrides,
    shutdown: &CancellationToken,
    supervisor: &Supervisor,
) -> Result<(), CliError> {
    let Some(token) = crate::config::credential(JOIN_TOKEN) else { return Ok(()) };
    let (node, is_member) = NodeConfig::load(file, overrides).map_err(|error| no_configuration(&error))?;
    if is_member {
        return Ok(());
    }
    let about = |problem: String| format!("the credential {JOIN_TOKEN}: {problem}");
    let wrong = |problem: String| CliError::Unusable(about(problem));
    let text = std::fs::read_to_string(token).map_err(|error| {
        let text = error.to_string();
        if may_pass(&error) { CliError::Failed(about(text)) } else { wrong(text) }
    })?;
    let token: Token = text.trim().parse().map_err(|error| wrong(format!("{error}")))?;
    let seed = getrandom::u64().map_err(|error| CliError::Failed(error.to_string()))?;
    let mut pauses = Pauses { next: PAUSE_MIN, draws: SplitMix::new(seed) };
    loop {
        supervisor.starting("joining a cluster", SUPERVISORS_PATIENCE);
        let named = (node.name.clone(), node.region.clone());
        let tell = |stage: JoinStage<'_>| supervisor.starting(&printable(&stage.to_string()), SUPERVISORS_PATIENCE);
        let joining = crate::agent::join(&token, &node.data_dir, named, false, tell);
        let attempt = tokio::time::timeout(ATTEMPT_PATIENCE, joining);
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = shutdown.cancelled() => return Ok(()),
        };
        let why = match outcome {
            Ok(Ok(Member { cluster_name, cluster, name, .. })) => {
                let (cluster_name, name) = (printable(&cluster_name), printable(&name));
                note(&format!("joined cluster {cluster_name} ({cluster}) as {name}"));
                supervisor.starting("joined; the agent starts", SUPERVISORS_PATIENCE);
                return Ok(());
            }
            Ok(Err(error)) if error.is_refusal() => return Err(wrong(explain(&error))),
            Ok(Err(error @ FoundingError::NotJoined(_))) => explain(&error),
            Ok(Err(error)) => return Err(CliError::Failed(explain(&error))),
            Err(_) => format!("no answer within {} s", ATTEMPT_PATIENCE.as_secs()),
        };
        let pause = pauses.draw();
        // In one line, as the supervisor wants it.
        let why = printable(&why.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        note(&format!("no member yet: {why}; the next attempt comes in {:.0} s", pause.as_secs_f64()));
        supervisor.starting(&format!("no member yet: {why}"), SUPERVISORS_PATIENCE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// How long to wait between attempts: longer and longer, and not as long as another host that came up with this one.
struct Pauses {
    next: Duration,
    draws: SplitMix,
}

impl Pauses {
    /// From half of the next pause to all of it.
    fn draw(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + self.draws.share() / 2.0);
        self.next = (self.next * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_hosts_do_not_come_together() {
        let drawn = |seed| {
            let mut pauses = Pauses { next: PAUSE_MIN, draws: SplitMix::new(seed) };
            (0..40).map(|_| pauses.draw()).collect::<Vec<_>>()
        };
        let (one, other) = (drawn(1), drawn(2));
        assert!(one.iter().all(|pause| (PAUSE_MIN / 2..=PAUSE_MAX).contains(pause)), "{one:?}");
        assert!(one[..5].iter().sum::<Duration>() < PAUSE_MAX, "the first attempts come soon: {one:?}");
        assert!(one[20..].iter().all(|pause| *pause >= PAUSE_MAX / 2), "{one:?}");
        assert_ne!(one, other);
    }

    #[test]
    fn the_supervisor_waits_longer_than_an_attempt_and_its_pause() {
        assert!(SUPERVISORS_PATIENCE > ATTEMPT_PATIENCE + PAUSE_MAX);
    }
}
