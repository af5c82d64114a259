//! A deployment as it is stored and judged: its spec, where it comes from, what ran before it, and what became of it.
//!
//! Pure. Owns what follows from these for the specs that are to be carried out. The invariant: the version before is only ever the
//! one that the deployment itself names, and a verdict counts for the deployment that it names and for no other.

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::attempts::Attempt;
use crate::rollout::{self, FenceError, Rollout, Verdict, Version};
use crate::spec::{DeploymentId, Origin, Revision, Spec};

/// Longest reason that is recorded, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// A workload's deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Its name.
    pub id: DeploymentId,
    /// What its operator wants.
    pub spec: Spec,
    /// By whom, when, and over what.
    pub origin: Origin,
    /// The last version before it that was good.
    pub previous: Option<Box<Previous>>,
    /// What became of it.
    pub recorded: Option<Recorded>,
    /// Which hosts have tried it first.
    pub attempts: Vec<Attempt>,
    /// The highest schema that the workload's state has been written by, as far as that is recorded.
    pub floor: u32,
}

/// The version before a deployment's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The name of its deployment.
    pub id: DeploymentId,
    /// Its spec.
    pub spec: Spec,
}

/// A verdict as it is recorded in the shared state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What.
    pub verdict: Verdict,
    /// By whom.
    pub by: NodeId,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What is to be done about a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course<'a> {
    /// It runs everywhere.
    Settled,
    /// It takes the place of the version before, step by step; over a schema of the state also when that is over, which reports tell.
    Rolling(&'a Previous),
    /// It was taken back: the version before runs.
    Back(&'a Previous),
    /// It follows a version that is not at hand, or that nobody signed who may. What runs goes on and nothing starts: the new version
    /// could not be held against it, nor be kept from serving beside it.
    Held,
    /// It is said to be over, and the version before, which may be of another schema, is not at hand: whatever else runs stops first.
    Unseen,
    /// The state has been written by a newer schema than it knows, which another deployment has brought: it does not run. What knows the
    /// state goes on where it runs.
    Fenced,
}

/// What of a verdict is stored, as the text of one field. Which verdict it is, the field says.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    of: DeploymentId,
    by: NodeId,
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How much later than completion a version may be taken back by what is recorded, in milliseconds: two hosts that record at once with
/// different views are that far apart at most. Whoever was cut off for longer takes back nothing; that is an operator's to do.
const LATE_MS_MAX: u64 = 10_000;

/// The names of verdicts in the shared state, the ones that count most last.
pub(super) const VERDICTS: [&str; 3] = ["promoted", "completed", "rolled-back"];

impl Deployed {
    /// What is to be done about it.
    #[must_use]
    pub fn course(&self) -> Course<'_> {
        let verdict = self.recorded.as_ref().map(|recorded| &recorded.verdict);
        let is_completed = verdict == Some(&Verdict::Completed);
        if self.fence().is_err() {
            return Course::Fenced;
        }
        let Some(previous) = self.previous.as_deref() else {
            return match (self.needs_previous(), is_completed) {
                (true, false) => Course::Held,
                // Any member can record that, and take the version before away.
                (true, true) if self.may_switch() => Course::Unseen,
                (true, true) | (false, _) => Course::Settled,
            };
        };
        match verdict {
            _ if !self.replaces(previous) => Course::Settled,
            // Any member can record a verdict, and a false one is not to bring two schemas together.
            _ if self.switches(previous) => Course::Rolling(previous),
            Some(Verdict::Completed) => Course::Settled,
            Some(Verdict::RolledBack { .. }) => Course::Back(previous),
            Some(Verdict::Promoted) | None => Course::Rolling(previous),
        }
    }

    /// Whether the schema of the state changes: then what hosts report decides, and no verdict.
    #[must_use]
    pub const fn switches(&self, previous: &Previous) -> bool {
        previous.spec.state_schema != self.spec.state_schema
    }

    /// Whether nothing of it may start without knowing the version before. What its deployer wants at once needs it only where the
    /// state's schema may have changed: the first one has no older, and going back to one by hand says that it does.
    const fn needs_previous(&self) -> bool {
        let at_once = self.origin.at_once || self.spec.gates.canary_ms == 0;
        self.origin.follows.is_some() && (!at_once || self.may_switch())
    }

    /// Whether the version before may be of another schema: the first one has no older, and what goes back to one says so.
    const fn may_switch(&self) -> bool {
        self.spec.state_schema > 0 || self.origin.reverts.is_some() || self.origin.forced
    }

    /// Whether it knows the state that is there.
    ///
    /// # Errors
    /// A newer schema has written it.
    pub const fn fence(&self) -> Result<(), FenceError> {
        rollout::fence(Some(self.floor), self.spec.state_schema)
    }

    /// The schema of the state, as far as that is known.
    #[must_use]
    pub fn schema(&self) -> u32 {
        self.floor.max(self.planned().state_schema)
    }

    /// Whether instances have to be made anew, and not all at once.
    fn replaces(&self, previous: &Previous) -> bool {
        let at_once = self.origin.at_once || self.spec.gates.canary_ms == 0;
        // Revisions are hashes; last what costs something.
        (self.switches(previous) || !at_once) && previous.spec.revision() != self.spec.revision()
    }

    /// The spec by which instances are placed.
    #[must_use]
    pub fn planned(&self) -> &Spec {
        match self.course() {
            Course::Back(previous) => &previous.spec,
            Course::Settled | Course::Rolling(_) | Course::Held | Course::Unseen | Course::Fenced => &self.spec,
        }
    }

    /// Whether any host may run this revision now: a start that takes long asks before it swaps in what may have been taken back since.
    #[must_use]
    pub fn may_run(&self, revision: Revision) -> bool {
        match self.course() {
            Course::Settled | Course::Unseen => revision == self.spec.revision(),
            Course::Rolling(previous) => [&self.spec, &previous.spec].iter().any(|spec| spec.revision() == revision),
            Course::Back(previous) => revision == previous.spec.revision(),
            Course::Held | Course::Fenced => false,
        }
    }

    /// The rollout from the version before to this one.
    #[must_use]
    pub fn rollout(&self, previous: &Previous) -> Rollout {
        let version = |spec: &Spec| Version { revision: spec.revision(), state_schema: spec.state_schema };
        Rollout {
            from: version(&previous.spec),
            to: version(&self.spec),
            gates: self.spec.gates,
            forced: self.origin.forced,
        }
    }
}

impl Recorded {
    /// The field of the map of verdicts that holds this one, and what it holds.
    pub(super) fn field(&self, workload: &str, of: DeploymentId) -> (String, String) {
        let (name, reason) = match &self.verdict {
            Verdict::Promoted => (VERDICTS[0], None),
            Verdict::Completed => (VERDICTS[1], None),
            Verdict::RolledBack { reason } => (VERDICTS[2], Some(shortened(reason))),
        };
        let note = Note { of, by: self.by, at_ms: self.at_ms, reason };
        (field(workload, name), serde_json::to_string(&note).expect("a note serialises"))
    }

    /// What counts of all that is recorded for a workload about one deployment. `stored` reads a field of the map of verdicts, `revoked_ms`
    /// tells when a member was put out: what it records from then on is nothing, and what it had recorded before stays, for that has
    /// been acted on. A switch of schemas is never taken back by itself.
    pub(super) fn read(
        workload: &str,
        (of, is_switch): (DeploymentId, bool),
        stored: impl Fn(&str) -> Option<String>,
        revoked_ms: impl Fn(&NodeId) -> Option<u64>,
    ) -> Option<Self> {
        let note = |name: &str| {
            let note: Note = serde_json::from_str(&stored(&field(workload, name))?).ok()?;
            let was_member = revoked_ms(&note.by).is_none_or(|revoked_ms| note.at_ms < revoked_ms);
            (note.of == of && was_member).then_some(note)
        };
        let completed_ms = note(VERDICTS[1]).map(|note| note.at_ms);
        let comes_late = |at_ms: u64| completed_ms.is_some_and(|done_ms| at_ms.saturating_sub(done_ms) > LATE_MS_MAX);
        let counts = |name: &&&str| {
            **name != VERDICTS[2] || !(is_switch || note(VERDICTS[2]).is_some_and(|back| comes_late(back.at_ms)))
        };
        VERDICTS.iter().rev().filter(counts).find_map(|name| {
            let Note { by, at_ms, reason, of: _ } = note(name)?;
            let verdict = match *name {
                "promoted" => Verdict::Promoted,
                "completed" => Verdict::Completed,
                _ => Verdict::RolledBack { reason: shortened(&reason.unwrap_or_else(|| "no reason given".to_owned())) },
            };
            Some(Self { verdict, by, at_ms })
        })
    }
}

/// The name of a verdict's field. A workload's name has no slash.
pub(super) fn field(workload: &str, verdict: &str) -> String {
    format!("{workload}/{verdict}")
}

fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spec::Digest;

    pub(in crate::workloads) fn deployed(change: impl FnOnce(&mut Deployed)) -> Deployed {
        let previous = Previous { id: DeploymentId::of("before"), spec: Spec::new(Digest::of(b"old")) };
        let mut deployed = Deployed {
            id: DeploymentId::of("now"),
            spec: Spec::new(Digest::of(b"new")),
            origin: Origin::default(),
            previous: Some(Box::new(previous)),
            recorded: None,
            attempts: Vec::new(),
            floor: 0,
        };
        change(&mut deployed);
        deployed
    }

    fn recorded(verdict: Verdict) -> Recorded {
        Recorded { verdict, by: NodeId([1; 32]), at_ms: 5 }
    }

    #[test]
    fn what_is_to_be_done_follows_from_what_was_recorded() {
        let rolling = |deployed: &Deployed| matches!(deployed.course(), Course::Rolling(_));
        let settled = |deployed: &Deployed| deployed.course() == Course::Settled;
        assert!(rolling(&deployed(|_| {})));
        assert!(settled(&deployed(|deployed| deployed.previous = None)), "the first one has no canary");
        let back = Verdict::RolledBack { reason: "it trapped".to_owned() };
        let lost = |change: fn(&mut Deployed), verdict: Option<&Verdict>| {
            deployed(|deployed| {
                (deployed.previous, deployed.origin.follows) = (None, Some(DeploymentId::of("before")));
                deployed.recorded = verdict.cloned().map(recorded);
                change(deployed);
            })
        };
        for verdict in [None, Some(&Verdict::Promoted), Some(&back)] {
            assert_eq!(lost(|_| {}, verdict).course(), Course::Held, "who removes the version before spares no canary");
        }
        assert!(settled(&lost(|_| {}, Some(&Verdict::Completed))), "it needs no version before any more");
        let newer = lost(|deployed| deployed.spec.state_schema = 1, Some(&Verdict::Completed));
        assert_eq!(newer.course(), Course::Unseen, "whoever records that may have hidden a switch");
        let first = deployed(|deployed| (deployed.previous, deployed.spec.state_schema) = (None, 1));
        assert!(settled(&first), "what follows nothing has nothing to wait for");
        assert!(settled(&lost(|deployed| deployed.spec.gates.canary_ms = 0, None)), "nor does what goes at once");
        let switch: fn(&mut Deployed) = |deployed| (deployed.spec.gates.canary_ms, deployed.spec.state_schema) = (0, 1);
        assert_eq!(lost(switch, None).course(), Course::Held, "unless it may be of another schema");
        assert!(settled(&deployed(|deployed| deployed.origin.at_once = true)));
        assert!(settled(&deployed(|deployed| deployed.spec.gates.canary_ms = 0)));
        let same = |deployed: &mut Deployed| deployed.spec.artifact = Digest::of(b"old");
        assert!(settled(&deployed(same)), "where it runs is no new version");
        let switch = |deployed: &mut Deployed| {
            (deployed.spec.state_schema, deployed.origin.at_once) = (1, true);
        };
        assert!(rolling(&deployed(switch)), "two schemas are never at once");
        for verdict in [Verdict::Promoted, Verdict::Completed, back.clone()] {
            let recorded = Some(recorded(verdict));
            let switched = deployed(|deployed| (deployed.spec.state_schema, deployed.recorded) = (1, recorded));
            assert!(rolling(&switched) && switched.planned() == &switched.spec, "whatever a member records");
        }
        let with = |verdict| deployed(|deployed| deployed.recorded = Some(recorded(verdict)));
        assert!(rolling(&with(Verdict::Promoted)) && settled(&with(Verdict::Completed)));
        let back = with(back);
        assert!(matches!(back.course(), Course::Back(_)));
        assert_eq!(back.planned().artifact, Digest::of(b"old"));
        let may =
            |deployed: &Deployed| [b"old", b"new"].map(|name| deployed.may_run(Spec::new(Digest::of(name)).revision()));
        assert_eq!(may(&back), [true, false], "a start under way ends before it swaps");
        assert_eq!((may(&deployed(|_| {})), may(&with(Verdict::Completed))), ([true, true], [false, true]));
    }

    #[test]
    fn what_is_older_than_the_state_does_not_run_whatever_became_of_it() {
        let with = |schema, verdict: Option<Verdict>| {
            deployed(|deployed| {
                (deployed.spec.state_schema, deployed.floor) = (schema, 2);
                deployed.recorded = verdict.map(recorded);
            })
        };
        for verdict in [None, Some(Verdict::Completed), Some(Verdict::RolledBack { reason: "x".to_owned() })] {
            let older = with(1, verdict);
            assert_eq!(older.course(), Course::Fenced);
            assert!(!older.may_run(older.spec.revision()) && older.fence().is_err() && older.schema() == 2);
        }
        assert!(matches!(with(2, None).course(), Course::Rolling(_)));
    }

    #[test]
    fn a_verdict_about_another_deployment_counts_for_nothing_and_taking_back_counts_most() {
        let (of, other) = (DeploymentId::of("now"), DeploymentId::of("before"));
        let mut stored = BTreeMap::new();
        let read = |stored: &BTreeMap<String, String>| {
            Recorded::read("combat", (of, false), |field| stored.get(field).cloned(), |_| None)
                .map(|recorded| recorded.verdict)
        };
        let back = Verdict::RolledBack { reason: "x".repeat(10_000) };
        stored.extend([recorded(back.clone()).field("combat", other), recorded(back.clone()).field("chat", of)]);
        assert_eq!(read(&stored), None);
        stored.extend([recorded(Verdict::Promoted).field("combat", of)]);
        assert_eq!(read(&stored), Some(Verdict::Promoted));
        // Two hosts record at once: in whichever order that comes, the same counts.
        stored.extend([recorded(back).field("combat", of)]);
        stored.extend([recorded(Verdict::Completed).field("combat", of)]);
        let Some(Verdict::RolledBack { reason }) = read(&stored) else { panic!("{stored:?}") };
        assert_eq!(reason.len(), REASON_BYTES_MAX);
        let late =
            Recorded { at_ms: 6 + LATE_MS_MAX, ..recorded(Verdict::RolledBack { reason: "cut off".to_owned() }) };
        stored.extend([late.field("combat", of)]);
        assert_eq!(read(&stored), Some(Verdict::Completed), "who was cut off takes nothing back later");
        stored.values_mut().for_each(|text| *text = "{".to_owned());
        assert_eq!(read(&stored), None);
    }

    #[test]
    fn what_a_member_records_once_it_is_revoked_is_nothing() {
        let of = DeploymentId::of("now");
        let back = recorded(Verdict::RolledBack { reason: "it trapped".to_owned() });
        let stored: BTreeMap<String, String> =
            [recorded(Verdict::Promoted), back.clone()].map(|recorded| recorded.field("combat", of)).into();
        let read = |who, at_ms| {
            let revoked_ms = |node: &NodeId| (*node == who).then_some(at_ms);
            let stored = |field: &str| stored.get(field).cloned();
            Recorded::read("combat", (of, false), stored, revoked_ms).map(|recorded| recorded.verdict)
        };
        assert_eq!((read(back.by, back.at_ms), read(back.by, 0)), (None, None));
        assert_eq!(read(back.by, back.at_ms + 1).as_ref(), Some(&back.verdict), "what was acted on stays");
        assert_eq!(read(NodeId([2; 32]), 0).as_ref(), Some(&back.verdict));
    }
}
