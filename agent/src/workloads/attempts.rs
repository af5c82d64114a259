//! Attempts: that a host is about to try a new version first, recorded in the shared state before it does, so that it is known what it was
//! doing when it is lost.
//!
//! Owns the notes and what follows from them; `rollout` judges. The invariant: no canary starts before its attempt is on its disk.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use selvedge_sync::change::Change;
use selvedge_sync::draft::ReadState;
use selvedge_sync::id::NodeId;
use selvedge_sync::scalar::Scalar;
use serde::{Deserialize, Serialize};

use super::registry::keys;
use super::{Deployed, Workloads};
use crate::members::Status;
use crate::rollout::Report;
use crate::spec::{DeploymentId, Revision, WorkloadName};

/// Attempts of one workload that are read: a version is taken back after two that ended with the loss of the host, and any member can store
/// more.
const ATTEMPTS_MAX: usize = 64;

/// That a host tries a deployment first, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    of: DeploymentId,
    /// Whose.
    by: NodeId,
    /// Whether it goes on, as far as was recorded.
    #[serde(default)]
    open: bool,
    /// How many before were ended by the loss of the host.
    #[serde(default)]
    lost: u32,
}

impl Attempt {
    /// The first field of a workload's attempts and what all of them begin with. A workload's name has no slash.
    fn prefix(workload: &str) -> String {
        format!("{workload}/tried/")
    }

    /// What is recorded of attempts at one deployment.
    pub(super) fn read(workload: &str, of: DeploymentId, stored: &BTreeMap<String, Scalar>) -> Vec<Self> {
        let prefix = Self::prefix(workload);
        let all = stored.range(prefix.clone()..).take_while(|(field, _)| field.starts_with(&prefix));
        let read = |(field, stored): (&String, &Scalar)| {
            let Scalar::Text(text) = stored else { return None };
            let attempt: Self = serde_json::from_str(text).ok()?;
            (attempt.of == of && *field == format!("{prefix}{}", attempt.by)).then_some(attempt)
        };
        all.filter(|(field, _)| Self::is_field(workload, field)).filter_map(read).take(ATTEMPTS_MAX).collect()
    }

    /// Whether a field is one that a host's attempt is recorded in.
    pub(super) fn is_field(workload: &str, field: &str) -> bool {
        field.strip_prefix(&Self::prefix(workload)).is_some_and(|node| node.parse::<NodeId>().is_ok())
    }

    /// The field that holds it, and what that holds.
    fn field(&self, workload: &str) -> (String, Scalar) {
        let text = serde_json::to_string(self).expect("a note serialises");
        (format!("{}{}", Self::prefix(workload), self.by), Scalar::Text(text))
    }

    /// How many times its host was lost in it, where it is known of the host whether it is lost now.
    fn lost(&self, is_lost: bool) -> u32 {
        self.lost.saturating_add(u32::from(self.open && is_lost))
    }
}

impl Workloads {
    /// Puts into the reports how many times hosts were lost while they tried a version, and adds those that are.
    pub(super) fn add_lost(&self, (workload, deployed): (&WorkloadName, &Deployed), reports: &mut Vec<Report>) {
        let own = self.own_attempt(workload, deployed.id);
        let others = deployed.attempts.iter().filter(|attempt| attempt.by != self.parts.me);
        for attempt in others.chain(&own) {
            let is_lost = if attempt.by == self.parts.me {
                self.closes(workload, attempt)
            } else {
                self.parts.members.with(|members| members.status_of(&attempt.by) == Some(Status::Lost))
            };
            let lost = attempt.lost(is_lost);
            match reports.iter_mut().find(|report| report.node == attempt.by) {
                Some(report) => report.lost = lost,
                None if lost > 0 => reports.push(Report { lost, ..Report::of_absent(attempt.by) }),
                None => {}
            }
        }
    }

    /// Whether an attempt of this host is one of an agent that ran here before, and so has ended with it. Records that it has.
    fn closes(&self, workload: &WorkloadName, attempt: &Attempt) -> bool {
        let is_of_before = attempt.open && self.attempted().get(workload) != Some(&attempt.of);
        if is_of_before {
            let closed = Attempt { open: false, lost: attempt.lost.saturating_add(1), ..attempt.clone() };
            self.begin_attempt(workload, closed);
        }
        is_of_before
    }

    /// Whether this host may start a version that it is to try first: once that it will is recorded. Records it.
    pub(super) fn may_try(&self, workload: &WorkloadName, deployed: &Deployed) -> bool {
        if self.has_begun(workload, deployed.spec.revision()) {
            return true;
        }
        let before = self.own_attempt(workload, deployed.id);
        let is_of_now = self.attempted().get(workload) == Some(&deployed.id);
        let is_under_way = self.recording().contains(workload);
        if before.as_ref().is_some_and(|attempt| attempt.open) {
            return is_of_now && !is_under_way;
        }
        let (of, by, lost) = (deployed.id, self.parts.me, before.map_or(0, |attempt| attempt.lost));
        if !is_under_way {
            self.attempted().insert(workload.clone(), of);
            self.begin_attempt(workload, Attempt { of, by, open: true, lost });
        }
        false
    }

    /// What is recorded of this host's attempt at a deployment: by its exact field, however many others there are.
    fn own_attempt(&self, workload: &WorkloadName, of: DeploymentId) -> Option<Attempt> {
        let [_, _, verdicts, _] = keys();
        let field = format!("{}{}", Attempt::prefix(workload.as_str()), self.parts.me);
        let stored = self.parts.view.field(&verdicts, &field)?;
        Attempt::read(workload.as_str(), of, &BTreeMap::from([(field, stored)])).pop()
    }

    fn has_begun(&self, workload: &WorkloadName, revision: Revision) -> bool {
        let slots = self.slots();
        let (instance, [serving, _]) = slots.seen(workload);
        serving == Some(revision) || instance.is_some_and(|instance| instance.revision == Some(revision))
    }

    /// Records an attempt, unless something else is being recorded: then it is tried again at the next look.
    fn begin_attempt(&self, workload: &WorkloadName, attempt: Attempt) {
        if !self.recording().insert(workload.clone()) {
            return;
        }
        let (workloads, workload) = (self.clone(), workload.clone());
        tokio::spawn(async move {
            let word = if attempt.open {
                "a version is tried here first"
            } else {
                "this agent ended while it tried a version"
            };
            tracing::info!(%workload, deployment = %attempt.of, lost = attempt.lost, "{word}");
            let [_, _, verdicts, _] = keys();
            let change = Change::Put(vec![attempt.field(workload.as_str())]);
            if let Err(error) = workloads.parts.driver.commit(vec![(verdicts, change)], None, true).await {
                tracing::error!(%workload, %error, "that a version is tried here could not be recorded; it waits");
            }
            workloads.recording().remove(&workload);
        });
    }

    /// Which deployment of each workload this agent has tried first, since it started.
    fn attempted(&self) -> MutexGuard<'_, BTreeMap<WorkloadName, DeploymentId>> {
        self.parts.attempted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_counts_for_its_deployment_and_its_host() {
        let (of, other) = (DeploymentId::of("now"), DeploymentId::of("before"));
        let attempt = |of, host, open, lost| Attempt { of, by: NodeId([host; 32]), open, lost };
        let mut stored: BTreeMap<String, Scalar> = [
            attempt(of, 1, true, 0).field("combat"),
            attempt(of, 2, false, 1).field("combat"),
            attempt(other, 3, true, 1).field("combat"),
            attempt(of, 4, true, 0).field("combat-2"),
            ("combat/tried/x".to_owned(), attempt(of, 5, true, 7).field("").1),
            ("combat/tried/y".to_owned(), Scalar::from("{")),
            ("combat/promoted".to_owned(), Scalar::from("{}")),
        ]
        .into();
        let read = Attempt::read("combat", of, &stored);
        assert_eq!(read, [attempt(of, 1, true, 0), attempt(of, 2, false, 1)], "nobody speaks for another field's host");
        assert_eq!(
            read.iter().map(|attempt| [false, true].map(|lost| attempt.lost(lost))).collect::<Vec<_>>(),
            [[0, 1], [1, 1]]
        );
        stored.extend((10..=200).map(|host| attempt(of, host, true, 0).field("combat")));
        assert!(Attempt::read("combat", of, &stored).len() <= ATTEMPTS_MAX);
        let junk = (0..ATTEMPTS_MAX).map(|number| (format!("combat/tried/{number:03}"), Scalar::from("{}")));
        let mut crowded: BTreeMap<String, Scalar> = junk.collect();
        crowded.extend([attempt(of, 255, true, 0).field("combat")]);
        assert_eq!(Attempt::read("combat", of, &crowded).len(), 1, "what is none takes no attempt's room");
    }
}
