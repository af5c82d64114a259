//! `init`, `invite`, `join`, `leave` and `revoke`: who belongs to the cluster.
//!
//! `init` and `join` make a data directory a member's, while no agent runs there; the other two ask an authority's agent.

use std::io::{IsTerminal as _, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{ClientArgs, InitArgs, InviteArgs, JoinArgs, LeaveArgs, NamedNodeArgs, RevokeArgs};
use super::client::Client;
use super::connection::{Ask, segment};
use super::error::{CliError, HINT};
use super::output::{cell, note, print_either, printable};
use super::owner::become_owner_of;
use super::progress::Progress;
use super::rows::table;
use super::tables::tail;
use crate::agent::{self, FoundingError, JoinStage, Member};
use crate::cluster::Token;
use crate::config::{LIFETIME_MS_DEFAULT, SERVICE_DATA_DIR};

/// Time for an agent to hand over what it has: somewhat more than it takes itself.
const LEAVE_PATIENCE: Duration = Duration::from_secs(45);

/// What leaving waits for.
const LEAVING: &str = "it hands over what it has, for half a minute at the most: what runs here to other hosts, what was written here to another member";

/// How long leaving may take before somebody who reads a log is told what it waits for.
const LEAVE_SILENCE: Duration = Duration::from_secs(1);

/// Where the service's unit lies: put there by hand, by a package, and by one where /lib is a folder of its own.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/selvedge.service",
    "/usr/lib/systemd/system/selvedge.service",
    "/lib/systemd/system/selvedge.service",
];

/// Longest token that is read from stdin, in bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// Founds a cluster.
///
/// # Errors
/// The directory is a member's already, or cannot be written.
pub(crate) fn init(args: &InitArgs) -> Result<(), CliError> {
    become_owner_of(&args.data_dir)?;
    let named = named(&args.node)?;
    crate::config::check_name(&args.cluster).map_err(|problem| CliError::Usage(format!("--cluster: {problem}")))?;
    let lifetime_s = LIFETIME_MS_DEFAULT / 1_000;
    let member = agent::found(&args.data_dir, &args.cluster, named, lifetime_s, args.node.keep_state)
        .map_err(|error| failed(&error))?;
    print_either(args.json, &document(&member), |_| {
        format!(
            "founded cluster {} ({}); this machine is its first member, {}\n\
             next: {}\n\
             then: selvedge invite",
            printable(&member.cluster_name),
            member.cluster,
            printable(&member.name),
            start(&args.data_dir)
        )
    })
}

/// Trades a token for membership.
///
/// # Errors
/// The token is none, nobody let us in, or the directory is a member's already.
pub(crate) async fn join(args: &JoinArgs) -> Result<(), CliError> {
    become_owner_of(&args.data_dir)?;
    let text = if args.token == "-" { from_stdin()? } else { args.token.clone() };
    let token: Token = text.parse().map_err(|error| {
        CliError::Usage(format!("TOKEN: {error}{HINT}copy it whole, as `selvedge invite` printed it"))
    })?;
    let named = named(&args.node)?;
    agree(&token, &args.node)?;
    let progress = Progress::of("joining");
    let tell = |stage: JoinStage<'_>| progress.say(printable(&stage.to_string()));
    let joined = agent::join(&token, &args.data_dir, named, args.node.keep_state, tell).await;
    drop(progress);
    let member = joined.map_err(|error| failed(&error))?;
    print_either(args.json, &document(&member), |_| {
        format!(
            "joined cluster {} ({}) as {}\nnext: {}",
            printable(&member.cluster_name),
            member.cluster,
            printable(&member.name),
            start(&args.data_dir)
        )
    })
}

/// Makes a token.
///
/// # Errors
/// No agent answers, or it is no authority's.
pub(crate) async fn invite(args: &InviteArgs, client: &mut Client) -> Result<(), CliError> {
    if let Some(id) = &args.cancel {
        let json = client.json(Ask::delete(format!("/v1/cluster/invitations/{}", segment(id)))).await?;
        return print_either(args.client.json, &json, |json| {
            format!("invitation {} is taken back; nobody can join with its token", cell(json, "/id"))
        });
    }
    let body =
        json!({"name": args.name, "region": args.region, "ttl_s": args.ttl.as_secs(), "may_deploy": !args.no_deploy});
    let json = client.json(Ask::post("/v1/cluster/invitations", &body)).await?;
    print_either(args.client.json, &json, |json| {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let warning = json["warning"].as_str().map_or_else(String::new, |warning| format!("\nwarning: {warning}"));
        format!(
            "selvedge join {} --data-dir DIR\n\nfor one machine, once, until {}; to take it back: selvedge invite --cancel {}{warning}",
            text("token"),
            text("expires"),
            text("id")
        )
    })
}

/// The invitations that have not expired.
pub(crate) fn invitations(json: &Value) -> String {
    let invitations = json.as_array().map_or(&[][..], Vec::as_slice);
    if invitations.is_empty() {
        return "no invitation is open; `selvedge invite` makes one".to_owned();
    }
    let mut rows = table(&["id", "?name", "?region", "expires", "~used by"]);
    for invitation in invitations {
        let by = match (invitation["used_by_name"].as_str(), invitation["used_by"].as_str()) {
            (Some(name), Some(id)) => format!("{} ({})", printable(name), tail(id)),
            (None, Some(id)) => tail(id),
            (_, None) => "nobody yet".to_owned(),
        };
        let any = |pointer| {
            if invitation[pointer].is_string() { cell(invitation, &format!("/{pointer}")) } else { "any".to_owned() }
        };
        rows.add_row([cell(invitation, "/id"), any("name"), any("region"), cell(invitation, "/expires"), by]);
    }
    rows.to_string()
}

/// Has an agent leave and stop.
///
/// # Errors
/// No agent answers, or it alone can invite and renew and was not forced.
pub(crate) async fn leave(args: &LeaveArgs, client: &mut Client) -> Result<(), CliError> {
    let ask = Ask::post("/v1/leave", &json!({"force": args.force}));
    let patience = client.patience().max(LEAVE_PATIENCE);
    let answer = told(client.ask(&ask, patience), LEAVING).await?;
    let json = client.decode(&ask, &answer)?;
    print_either(args.client.json, &json, |json| {
        let reasons = json["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let said = std::iter::once("it has left: the members know, and its process ends within moments").chain(reasons);
        said.collect::<Vec<_>>().join("\n")
    })
}

/// Waits for an answer, and says what for: on a terminal at once, in a log as soon as it takes a while.
async fn told<T>(asking: impl Future<Output = T>, waiting: &str) -> T {
    let _progress = Progress::of(waiting);
    let mut asking = std::pin::pin!(asking);
    if let Ok(answer) = tokio::time::timeout(LEAVE_SILENCE, &mut asking).await {
        return answer;
    }
    if !std::io::stderr().is_terminal() {
        note(waiting);
    }
    asking.await
}

/// Puts a member out.
///
/// # Errors
/// No agent answers, it is no authority's, or there is no such member.
pub(crate) async fn revoke(args: &RevokeArgs, client: &mut Client) -> Result<(), CliError> {
    let ask = Ask::post("/v1/cluster/revocations", &json!({"node": args.node}));
    let json = client.json(ask).await?;
    print_either(args.client.json, &json, |json| {
        let name = match json["name"].as_str() {
            Some(name) => printable(name),
            None => "a node of which nothing else is known here".to_owned(),
        };
        format!("{} ({name}) is revoked; members disconnect it as they hear of it", cell(json, "/node"))
    })
}

/// Puts a new authority in the place of the present one.
///
/// # Errors
/// No agent answers, or it is no authority's.
pub(crate) async fn rotate(args: &ClientArgs, client: &mut Client) -> Result<(), CliError> {
    let json = client.json(Ask::post("/v1/cluster/authority", &json!({}))).await?;
    print_either(args.json, &json, |json| {
        format!(
            "{} signs from now on\nbackups of this host's data directory from before hold the old key only: make a new one",
            json["authority"].as_str().unwrap_or_default()
        )
    })
}

/// The command that starts an agent in a data directory: the service's, where there is one and the directory is its own.
fn start(data_dir: &Path) -> String {
    if data_dir == Path::new(SERVICE_DATA_DIR) && UNITS.iter().any(|unit| Path::new(unit).exists()) {
        "sudo systemctl start selvedge".to_owned()
    } else {
        format!("selvedge run --data-dir {}", data_dir.display())
    }
}

fn named(node: &NamedNodeArgs) -> Result<(String, String), CliError> {
    let name = node.name.clone().unwrap_or_else(crate::config::host_name);
    let region = node.region.clone().unwrap_or_else(|| crate::config::REGION_DEFAULT.to_owned());
    for (flag, text) in [("--name", &name), ("--region", &region)] {
        crate::config::check_name(text).map_err(|problem| CliError::Usage(format!("{flag}: {problem}")))?;
    }
    Ok((name, region))
}

/// What the operator says here must not contradict what the token says: it would be dropped in silence.
fn agree(token: &Token, said: &NamedNodeArgs) -> Result<(), CliError> {
    for (flag, said, granted) in [("--name", &said.name, &token.name), ("--region", &said.region, &token.region)] {
        if let (Some(said), Some(granted)) = (said, granted)
            && said != granted
        {
            return Err(CliError::Usage(format!(
                "{flag}: the token is for {:?}, not {said:?}; leave {flag} out, or ask for another token; the \
                 token is unused",
                printable(granted)
            )));
        }
    }
    Ok(())
}

fn from_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| CliError::Unusable(format!("TOKEN: stdin cannot be read: {error}")))
}

fn failed(error: &FoundingError) -> CliError {
    let failed = CliError::Failed(error.to_string());
    match error {
        FoundingError::DataDir { .. }
        | FoundingError::Member { .. }
        | FoundingError::Running { .. }
        | FoundingError::HoldsState { .. }
        | FoundingError::Store(_)
        | FoundingError::NoAuthority { .. }
        | FoundingError::Ground(_) => failed,
        FoundingError::NotJoined(_) if error.is_answered() => failed.after("the data directory is still nobody's"),
        // Whoever has been refused needs another token, and not another attempt.
        FoundingError::NotJoined(_) if error.is_refusal() => CliError::Failed(format!(
            "{error}{HINT}repeating it is of no use; ask for a new token (`selvedge invite`) and join with that, into the same data directory"
        ))
        .after("keys may lie in the data directory, which is still nobody's"),
        // It is a member's only with its certificate, which comes last.
        FoundingError::Identity(_)
        | FoundingError::Folder(_)
        | FoundingError::Randomness(_)
        | FoundingError::NotJoined(_) => {
            failed.after("keys may lie in the data directory, which is still nobody's: repeat the command there")
        }
    }
}

fn document(member: &Member) -> Value {
    json!({
        "cluster": {"id": member.cluster.to_string(), "name": member.cluster_name},
        "node": {"id": member.node.to_string(), "name": member.name, "region": member.region},
        "not_after": member.not_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::AuthorityId;

    #[test]
    fn what_contradicts_the_token_is_wrong_usage() {
        let (cluster, addresses) = (AuthorityId([1; 32]), vec!["203.0.113.5:7412".to_owned()]);
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let check = |(name, region): (&str, &str), (said_name, said_region): (&str, &str), wrong: Option<&str>| {
            let (id, secret) = ([1; 8], [2; 16]);
            let token =
                Token { cluster, id, secret, addresses: addresses.clone(), name: some(name), region: some(region) };
            let said = NamedNodeArgs { name: some(said_name), region: some(said_region), keep_state: false };
            let agreed = agree(&token, &said);
            match wrong {
                None => assert!(agreed.is_ok(), "{agreed:?}"),
                Some(flag) => {
                    let error = agreed.expect_err("it contradicts");
                    assert!(error.exit_code() == 2 && error.to_string().starts_with(flag), "{error}");
                }
            }
        };
        check(("kiosk", "eu"), ("", ""), None);
        check(("kiosk", "eu"), ("kiosk", "eu"), None);
        check(("", ""), ("gate", "us"), None);
        check(("kiosk", ""), ("gate", ""), Some("--name"));
        check(("", "eu"), ("gate", "us"), Some("--region"));
    }

    #[test]
    fn invitations_say_who_may_come_and_who_came() {
        let json = json!([
            {"id": "0a", "name": "kiosk", "region": null, "expires": "2026-11-21T05:00:00Z", "used_by": null, "used_by_name": null},
            {"id": "0b", "name": null, "region": "eu", "expires": "2026-11-21T06:00:00Z", "used_by": "12D3KooWAAAAAAAA", "used_by_name": "gate"},
        ]);
        let text = invitations(&json);
        for wanted in ["kiosk", "any", "nobody yet", "gate (AAAAAAAA)", "2026-11-21T06:00:00Z"] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(invitations(&json!([])).contains("selvedge invite"));
    }
}
