//! What happens to members and placements, seen by comparing what is known now with what was known before.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use selvedge_sync::time::Time;

use crate::members::{Members, NodeRecord, Status};
use crate::placement::{Instance, Phase};
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
    name: String,
    instances: BTreeMap<WorkloadName, Instance>,
}

impl Mesh {
    /// What has happened since the last look.
    #[must_use]
    pub fn look(&mut self, members: &Members, now: Time) -> Vec<Event> {
        let mut happened = Vec::new();
        let mut before = std::mem::take(&mut self.members);
        for (node, status, record) in members.each(now) {
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
        let is_news = seen.as_ref().is_none_or(|seen| seen.status != status);
        let Seen { mut name, mut instances, .. } =
            seen.unwrap_or_else(|| Seen { status, name: String::new(), instances: BTreeMap::new() });
        if let Some(record) = record.filter(|record| record.name != name) {
            name.clone_from(&record.name);
        }
        if is_news {
            let status = match status {
                Status::Alive => "alive",
                Status::Suspect => "suspect",
                Status::Lost => "dead",
            };
            happened.push(Event::Member(MemberEvent { node, name: name.clone(), status }));
        }
        if let Some(record) = record.filter(|record| record.instances != instances) {
            let changed = record.instances.iter().filter(|(workload, now)| instances.get(*workload) != Some(now));
            happened.extend(changed.map(|(workload, now)| placement(node, workload, now, Some(&now.phase))));
            let gone = instances.iter().filter(|(workload, _)| !record.instances.contains_key(*workload));
            happened.extend(gone.map(|(workload, last)| placement(node, workload, last, None)));
            instances.clone_from(&record.instances);
        }
        Seen { status, name, instances }
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
    use crate::members::tests::record;

    const ME: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    fn at(ms: u64) -> Time {
        Time { wall_ms: ms, mono_ms: ms }
    }

    fn names(events: Vec<Event>) -> Vec<String> {
        let name = |event| match event {
            Event::Member(member) => format!("{} {}", member.name, member.status),
            Event::Placement(placement) => format!("{} {}", placement.workload, placement.phase),
            Event::Commit(_) | Event::Link(_) | Event::Reset { .. } | Event::Lagged { .. } => {
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
        assert!(members.take(other.clone(), OTHER, at(0)));
        assert_eq!(names(mesh.look(&members, at(0))), ["beta alive"]);
        assert_eq!(names(mesh.look(&members, at(100))), [""; 0]);
        let combat: WorkloadName = "combat".parse().expect("a name");
        let digest = crate::spec::Digest::of(b"combat");
        for (beat, phase) in [(2, Phase::Starting), (3, Phase::Failed { reason: "no room".to_owned() })] {
            other.beat = beat;
            other.instances.insert(combat.clone(), Instance { digest, phase });
            assert!(members.take(other.clone(), OTHER, at(200)));
        }
        assert_eq!(names(mesh.look(&members, at(200))), ["combat failed"], "what passed between two looks is not seen");
        other.beat = 4;
        other.instances.clear();
        assert!(members.take(other, OTHER, at(300)));
        assert_eq!(names(mesh.look(&members, at(300))), ["combat gone"]);
        assert_eq!(names(mesh.look(&members, at(6_000))), ["beta suspect"]);
        assert_eq!(names(mesh.look(&members, at(20_000))), ["beta dead"]);
        members.retire(1_000, at(20_000));
        assert_eq!(names(mesh.look(&members, at(20_000))), ["beta retired"]);
    }
}
