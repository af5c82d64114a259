//! What happens to members and placements, seen by comparing what is known now with what was known before.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use crate::members::{Members, NodeRecord, Status};
use crate::placement::{Instance, Phase, Refused};
use crate::service::{Event, MemberEvent, PlacementEvent};
use crate::spec::WorkloadName;

/// What was known of the mesh when it was last looked at.
#[derive(Debug, Default)]
pub struct Mesh {
    members: BTreeMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Seen {
    status: Status,
    /// Whether it has been alive while we looked.
    was_here: bool,
    name: String,
    instances: BTreeMap<WorkloadName, Instance>,
}

/// The word for a member that failure detection has given up.
pub const LOST: &str = "lost";

impl Mesh {
    /// What has happened since the last look.
    #[must_use]
    pub fn look(&mut self, members: &Members) -> Vec<Event> {
        let mut happened = Vec::new();
        let mut before = std::mem::take(&mut self.members);
        for (node, status, record) in members.each() {
            let seen = before.remove(&node);
            let seen = Self::member(node, status, record, seen, &mut happened);
            self.members.insert(node, seen);
        }
        for (node, Seen { name, .. }) in before {
            happened.push(Event::Member(MemberEvent { node, name, status: "retired" }));
        }
        happened
    }

    fn member(
        node: NodeId,
        status: Status,
        record: Option<&NodeRecord>,
        seen: Option<Seen>,
        happened: &mut Vec<Event>,
    ) -> Seen {
        let before = seen.as_ref().map(|seen| seen.status);
        let was_here = seen.as_ref().is_some_and(|seen| seen.was_here);
        let Seen { mut name, mut instances, .. } =
            seen.unwrap_or_else(|| Seen { status, was_here, name: String::new(), instances: BTreeMap::new() });
        if let Some(record) = record.filter(|record| record.name != name) {
            name.clone_from(&record.name);
        }
        if let Some(status) = word(before, status, was_here) {
            happened.push(Event::Member(MemberEvent { node, name: name.clone(), status }));
        }
        if let Some(record) = record.filter(|record| record.instances != instances) {
            let changed = record.instances.iter().filter(|(workload, now)| instances.get(*workload) != Some(now));
            happened.extend(changed.map(|(workload, now)| news(node, workload, now)));
            let gone = instances.iter().filter(|(workload, _)| !record.instances.contains_key(*workload));
            happened.extend(gone.map(|(workload, last)| placement(node, workload, last, None)));
            instances.clone_from(&record.instances);
        }
        Seen { status, was_here: was_here || status == Status::Alive, name, instances }
    }
}

/// What has become of a member, in a word; `None` where nothing has. Who was never here since this agent started is not lost.
fn word(before: Option<Status>, now: Status, was_here: bool) -> Option<&'static str> {
    match (before.unwrap_or(Status::Lost), now) {
        (before, now) if before == now => None,
        (_, Status::Alive) if !was_here => Some("joined"),
        (Status::Suspect, Status::Alive) => Some("refuted"),
        (_, Status::Alive) => Some("returned"),
        (_, Status::Suspect) => Some("suspect"),
        (_, Status::Lost) => was_here.then_some(LOST),
        (_, Status::Left) => Some("left"),
    }
}

/// What a changed instance says: of one that runs, what could not take its place.
fn news(node: NodeId, workload: &WorkloadName, now: &Instance) -> Event {
    match &now.refused {
        Some(Refused { digest, reason, revision: _ }) => {
            let next = Instance::new(*digest, Phase::Failed { reason: reason.clone() });
            placement(node, workload, &next, Some(&next.phase))
        }
        None => placement(node, workload, now, Some(&now.phase)),
    }
}

fn placement(node: NodeId, workload: &WorkloadName, instance: &Instance, phase: Option<&Phase>) -> Event {
    let (phase, reason) = match phase {
        None => ("gone", None),
        Some(Phase::Starting) => ("starting", None),
        Some(Phase::Ready) => ("ready", None),
        Some(Phase::Stopping) => ("stopping", None),
        Some(Phase::Failed { reason }) => ("failed", Some(reason.clone())),
    };
    let (workload, digest) = (workload.to_string(), instance.digest.to_string());
    Event::Placement(PlacementEvent { workload, node, digest, phase, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::detector::Standing;
    use crate::members::tests::{at, record, sealed};

    const ME: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    fn names(events: Vec<Event>) -> Vec<String> {
        let name = |event| match event {
            Event::Member(member) => format!("{} {}", member.name, member.status),
            Event::Placement(placement) => format!("{} {}", placement.workload, placement.phase),
            Event::Commit(_)
            | Event::Link(_)
            | Event::Fraud(_)
            | Event::Rollout(_)
            | Event::Decision(_)
            | Event::Reset { .. }
            | Event::Lagged { .. } => {
                panic!("not of the mesh: {event:?}")
            }
        };
        events.into_iter().map(name).collect()
    }

    #[test]
    fn what_changes_is_told_once() {
        let mut members = Members::new(ME, Vec::new(), at(0));
        let mut mesh = Mesh::default();
        let mut other = record(OTHER, 1, 1);
        other.name = "beta".to_owned();
        assert!(members.take(sealed(other.clone()), 0, at(0)));
        assert_eq!(names(mesh.look(&members)), [""; 0], "others know it, and nobody has heard it");
        let mut judge = |members: &mut Members, standing, expect: &[&str]| {
            members.judge([(OTHER, standing)].into_iter(), at(100));
            assert_eq!(names(mesh.look(members)), expect);
            assert_eq!(names(mesh.look(members)), [""; 0], "once");
        };
        judge(&mut members, Standing::Alive, &["beta joined"]);
        judge(&mut members, Standing::Suspect, &["beta suspect"]);
        judge(&mut members, Standing::Alive, &["beta refuted"]);
        judge(&mut members, Standing::Suspect, &["beta suspect"]);
        judge(&mut members, Standing::Lost, &["beta lost"]);
        judge(&mut members, Standing::Alive, &["beta returned"]);
        let combat: WorkloadName = "combat".parse().expect("a name");
        let digest = crate::spec::Digest::of(b"combat");
        for (beat, phase) in [(2, Phase::Starting), (3, Phase::Failed { reason: "no room".to_owned() })] {
            other.beat = beat;
            other.instances.insert(combat.clone(), Instance::new(digest, phase));
            assert!(members.take(sealed(other.clone()), 0, at(200)));
        }
        assert_eq!(names(mesh.look(&members)), ["combat failed"], "what passed between two looks is not seen");
        other.beat = 4;
        other.instances.clear();
        assert!(members.take(sealed(other.clone()), 0, at(300)));
        assert_eq!(names(mesh.look(&members)), ["combat gone"]);
        (other.beat, other.left) = (5, true);
        assert!(members.take(sealed(other), 0, at(300)));
        assert_eq!(names(mesh.look(&members)), ["beta left"]);
        members.retire(1_000, at(20_000));
        assert_eq!(names(mesh.look(&members)), ["beta retired"]);
    }
}
