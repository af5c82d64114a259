//! What is left out of a record that would be too long.
//!
//! Pure. Nobody reads a record beyond the limit, and whoever sends one is taken for a member that misbehaves. The invariants: what is
//! told fits; the same record is cut the same way each time; what others can best do without goes first.

use selvedge_sync::codec;

use super::NodeRecord;
use super::record::ENTRIES_MAX;
use super::sealed::RECORD_BYTES_MAX;
use crate::placement::{Instance, Phase};

/// What a record may have before its beat is counted, in bytes: that takes nine at the most.
const BYTES_MAX: usize = RECORD_BYTES_MAX - 16;

/// What a pair has more by itself than within a record, in bytes: the version of the envelope, and its own length.
const PAIR_BYTES: usize = 2;

/// What is kept of a reason where room is short, in bytes: enough to tell one kind of failure from another.
const REASON_BYTES_SHORT: usize = 40;

/// What others can do without, the first most easily. Each is left out whole, and only if all before were not enough.
const STEPS: [fn(&mut NodeRecord); 6] = [
    |record| record.instances.values_mut().for_each(shorten),
    |record| record.instances.values_mut().for_each(|instance| instance.refused = None),
    |record| record.origins.clear(),
    |record| record.rtt_ms.clear(),
    // Without them a host counts as one that has not been seen, and no trial passes.
    |record| record.rollouts.clear(),
    |record| record.ailment = None,
];

/// What a record does not tell for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Whether it lacks reasons or figures.
    pub details: bool,
    /// How many instances it does not name.
    pub instances: usize,
}

impl LeftOut {
    /// What is to be said of it; `None` where the record is whole.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self {
            Self { instances: 0, details: false } => None,
            Self { instances: 0, .. } => Some(
                "this host has more to tell than a record holds: reasons of failures, and figures, are left out of it"
                    .to_owned(),
            ),
            Self { instances, .. } => Some(format!(
                "this host has more workloads than a record holds: members do not see {instances} of its instances; undeploy some, or let other hosts run them"
            )),
        }
    }
}

impl NodeRecord {
    /// As much of it as others read.
    #[must_use]
    pub fn fitted(mut self) -> (Self, LeftOut) {
        let mut left_out = LeftOut::default();
        while self.rtt_ms.len() > ENTRIES_MAX {
            self.rtt_ms.pop_last();
            left_out.details = true;
        }
        let mut bytes = codec::encode(&self).len();
        for step in STEPS {
            if bytes <= BYTES_MAX {
                break;
            }
            step(&mut self);
            left_out.details = true;
            bytes = codec::encode(&self).len();
        }
        left_out.instances = self.leave_out(bytes.saturating_sub(BYTES_MAX));
        (self, left_out)
    }

    /// Leaves out instances of so many bytes: first such as answer no calls, the last by name before others.
    fn leave_out(&mut self, mut bytes: usize) -> usize {
        let before = self.instances.len();
        let order = |is_ready: bool| {
            let of_these = move |instance: &Instance| (instance.phase == Phase::Ready) == is_ready;
            self.instances.iter().rev().filter(move |(_, instance)| of_these(instance))
        };
        let mut surplus = before.saturating_sub(ENTRIES_MAX);
        let mut out = Vec::new();
        for (workload, instance) in order(false).chain(order(true)) {
            if bytes == 0 && surplus == 0 {
                break;
            }
            bytes = bytes.saturating_sub(codec::encode(&(workload, instance)).len() - PAIR_BYTES);
            surplus = surplus.saturating_sub(1);
            out.push(workload.clone());
        }
        for workload in &out {
            self.instances.remove(workload);
        }
        out.len()
    }
}

/// Cuts the reasons.
fn shorten(instance: &mut Instance) {
    let cut = |reason: &mut String| reason.truncate(reason.floor_char_boundary(REASON_BYTES_SHORT));
    if let Phase::Failed { reason } = &mut instance.phase {
        cut(reason);
    }
    if let Some(refused) = &mut instance.refused {
        cut(&mut refused.reason);
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use selvedge_sync::id::NodeId;

    use super::super::tests::record;
    use super::super::{Announcer, Sealed};
    use super::*;
    use crate::spec::Digest;

    /// A record of a host with so many instances that are ready, and so many that have failed.
    fn host(ready: usize, failed: usize) -> NodeRecord {
        let failure = Phase::failed("an error with a long story ".repeat(10));
        let phases = std::iter::repeat_n(Phase::Ready, ready).chain(std::iter::repeat_n(failure, failed));
        let instance = |(number, phase)| {
            let workload = format!("workload-of-somebody-{number:04}").parse().expect("a name");
            (workload, Instance::new(Digest([7; 32]), phase))
        };
        let instances = phases.enumerate().map(instance).collect();
        let rtt_ms = (0..32).map(|number| (NodeId([number; 32]), 0.5)).collect();
        NodeRecord { instances, rtt_ms, ..record(NodeId([1; 32]), 1, 0) }
    }

    fn ready(record: &NodeRecord) -> usize {
        record.instances.values().filter(|instance| instance.phase == Phase::Ready).count()
    }

    /// Whether it is read as it goes out.
    fn is_read(record: &NodeRecord) -> bool {
        let told = Announcer::default().decide(record, 16, 0).expect("the first");
        let told = NodeRecord { beat: u64::MAX, ..told };
        Sealed::seal(&told, &SigningKey::from_bytes(&[3; 32])).peek().is_ok()
    }

    #[test]
    fn a_record_of_many_workloads_is_cut_until_others_read_it() {
        assert!(!is_read(&host(600, 250)) && !is_read(&host(150, 250)), "or there is nothing to show here");
        let (told, left_out) = host(600, 250).fitted();
        assert!(is_read(&told));
        assert!(ready(&told) > 500 && ready(&told) == told.instances.len(), "what answers calls is told first");
        assert_eq!(left_out, LeftOut { details: true, instances: 850 - told.instances.len() });
        assert_eq!(host(600, 250).fitted().0, told, "the same each time");
        assert!(told.instances.keys().zip(host(600, 0).instances.keys()).all(|(told, all)| told == all));
    }

    #[test]
    fn reasons_are_cut_before_anything_else_is() {
        let (told, left_out) = host(150, 250).fitted();
        assert!(is_read(&told));
        assert_eq!((told.instances.len(), told.rtt_ms.len()), (400, 32));
        assert_eq!(left_out, LeftOut { details: true, instances: 0 });
        assert!(left_out.note().is_some_and(|note| note.contains("reasons")));
    }

    #[test]
    fn what_fits_is_told_as_it_is() {
        let small = host(100, 50);
        assert_eq!(small.clone().fitted(), (small, LeftOut::default()));
        assert_eq!(LeftOut::default().note(), None);
    }

    #[test]
    fn no_list_is_longer_than_others_read() {
        let (told, left_out) = host(ENTRIES_MAX + 7, 0).fitted();
        assert!(is_read(&told) && left_out.instances >= 7);
    }
}
