//! When a member tells others of itself, and what tells two members that their tables differ.
//!
//! Pure. A record is told when something has changed that others act on, and otherwise rarely, so that it is known to be true
//! still. The invariants: figures that only waver are no news, and a digest is bounded however many members there are.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::frame::{Digest, ENTRIES_MAX};
use super::{Members, NodeRecord};

/// Longest time without a record of our own, in milliseconds, among up to [`REFRESHING_MEMBERS`] members.
const REFRESH_MS: u64 = 25_000;

/// Members up to which everybody repeats its record that often. Among more the time grows with their number, so that the
/// load of each does not.
const REFRESHING_MEMBERS: usize = 128;

/// Least time between two records that differ only in figures, in milliseconds.
const FIGURES_MS: u64 = 5_000;

/// The same while what differs is about a rollout, which the others wait for.
const ROLLOUT_MS: u64 = 500;

/// How far a share has to move to be news.
const SHARE_STEP: f64 = 0.125;

/// By which factor a size, a rate or a round trip has to move to be news.
const FACTOR: f64 = 1.3;

/// Round trips nearer than this are the same, in milliseconds; so are rates, in calls per second.
const SMALL: f64 = 2.0;

/// Decides when our own record is told.
#[derive(Debug, Default)]
pub struct Announcer {
    told: Option<(NodeRecord, u64)>,
    beat: u64,
}

impl Announcer {
    /// The record as it is to be told now, if it is. `record` is how things are.
    pub fn decide(&mut self, record: &NodeRecord, members: usize, now_ms: u64) -> Option<NodeRecord> {
        if let Some((told, at_ms)) = &self.told {
            let since_ms = now_ms.saturating_sub(*at_ms);
            let refresh_ms = REFRESH_MS * (members.div_ceil(REFRESHING_MEMBERS).max(1) as u64);
            let due = since_ms >= refresh_ms
                || differs(told, record)
                || (since_ms >= ROLLOUT_MS && rollouts_differ(told, record))
                || (since_ms >= FIGURES_MS && figures_differ(told, record));
            if !due {
                return None;
            }
        }
        self.beat += 1;
        let record = NodeRecord { beat: self.beat, ..record.clone() };
        self.told = Some((record.clone(), now_ms));
        Some(record)
    }

    /// The next record is told, whatever it says.
    pub fn repeat(&mut self) {
        self.told = None;
    }

    /// The number of the last record that was told.
    #[must_use]
    pub const fn beat(&self) -> u64 {
        self.beat
    }
}

/// Whether something other than a figure has changed.
fn differs(told: &NodeRecord, now: &NodeRecord) -> bool {
    let figures = NodeRecord {
        beat: told.beat,
        resources: told.resources,
        load: told.load,
        rtt_ms: told.rtt_ms.clone(),
        calls_per_s: told.calls_per_s.clone(),
        origins: told.origins.clone(),
        rollouts: told.rollouts.clone(),
        // Whether it is well is no figure; the sentence may have one in it that grows with every look.
        ailment: told.ailment.clone(),
        ..now.clone()
    };
    figures != *told
}

fn figures_differ(told: &NodeRecord, now: &NodeRecord) -> bool {
    let (before, after) = (&told.resources, &now.resources);
    let disk = |resources: &crate::placement::Resources| resources.disk_free.map_or(-1.0, |bytes| bytes as f64);
    (told.load - now.load).abs() >= SHARE_STEP
        || (before.cpu_used_share - after.cpu_used_share).abs() >= SHARE_STEP
        || told.ailment != now.ailment
        || before.cpu_total != after.cpu_total
        || before.memory_total != after.memory_total
        || moved(before.memory_free as f64, after.memory_free as f64)
        || moved(disk(before), disk(after))
        || maps_differ(&told.rtt_ms, &now.rtt_ms)
        || maps_differ(&told.calls_per_s, &now.calls_per_s)
        || told.origins.keys().ne(now.origins.keys())
        || told
            .origins
            .values()
            .zip(now.origins.values())
            .any(|(before, after)| moved(before.rtt_ms, after.rtt_ms) || maps_differ(&before.regions, &after.regions))
}

fn rollouts_differ(told: &NodeRecord, now: &NodeRecord) -> bool {
    told.rollouts.keys().ne(now.rollouts.keys())
        || told.rollouts.values().zip(now.rollouts.values()).any(|(before, after)| after.is_news_after(before))
}

fn moved(before: f64, after: f64) -> bool {
    (before - after).abs() > SMALL && (after > before * FACTOR || before > after * FACTOR)
}

fn maps_differ<K: Ord>(told: &BTreeMap<K, f64>, now: &BTreeMap<K, f64>) -> bool {
    told.keys().ne(now.keys()) || told.values().zip(now.values()).any(|(before, after)| moved(*before, *after))
}

/// What a table holds of the members after `after`, as many as fit into one digest, and where the next one begins: `None` is
/// at the beginning.
pub(super) fn digest(members: &Members, after: Option<NodeId>) -> (Digest, Option<NodeId>) {
    let mut versions = members.versions(after);
    let page: Vec<_> = versions.by_ref().take(ENTRIES_MAX).collect();
    let from = after.map_or(NodeId([0; 32]), next_id);
    match (page.last(), versions.next()) {
        (Some((last, ..)), Some(_)) => {
            let last = *last;
            (Digest { from, to: last, versions: page }, Some(last))
        }
        _ => (Digest { from, to: NodeId([255; 32]), versions: page }, None),
    }
}

fn next_id(node: NodeId) -> NodeId {
    let mut bytes = node.0;
    for byte in bytes.iter_mut().rev() {
        let (sum, over) = byte.overflowing_add(1);
        *byte = sum;
        if !over {
            break;
        }
    }
    NodeId(bytes)
}

/// What two tables lack of each other, by the digest of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Apart {
    /// Whose records the sender of the digest lacks, or has older.
    pub(super) theirs: Vec<NodeId>,
    /// Whose records we do.
    pub(super) ours: Vec<NodeId>,
}

/// Compares a digest with our own table.
pub(super) fn compare(members: &Members, digest: &Digest) -> Apart {
    let mut apart = Apart::default();
    let mut told: BTreeMap<NodeId, (u64, u64)> =
        digest.versions.iter().map(|(node, life, beat)| (*node, (*life, *beat))).collect();
    for (node, life, beat) in members.versions(None).filter(|(node, ..)| (digest.from..=digest.to).contains(node)) {
        match told.remove(&node) {
            Some(version) if version > (life, beat) => apart.ours.push(node),
            Some(version) if version == (life, beat) => {}
            Some(_) | None => apart.theirs.push(node),
        }
    }
    apart.ours.extend(told.into_keys());
    apart.theirs.truncate(ENTRIES_MAX);
    apart.ours.truncate(ENTRIES_MAX);
    apart
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, record, sealed};
    use super::*;

    const ME: NodeId = NodeId([1; 32]);

    #[test]
    fn only_what_others_act_on_is_news() {
        let mut announcer = Announcer::default();
        let mut now = record(ME, 1, 0);
        assert_eq!(announcer.decide(&now, 16, 0).map(|told| told.beat), Some(1), "the first");
        let mut check = |now: &NodeRecord, at_ms, expect| {
            assert_eq!(announcer.decide(now, 16, at_ms).map(|told| told.beat), expect, "at {at_ms}");
        };
        now.load = 0.1;
        now.rtt_ms.insert(NodeId([2; 32]), 10.0);
        check(&now, 1_000, None);
        check(&now, 5_000, Some(2));
        now.load = 0.2;
        now.rtt_ms.insert(NodeId([2; 32]), 12.0);
        check(&now, 20_000, None);
        now.draining = true;
        check(&now, 20_001, Some(3));
        check(&now, 45_000, None);
        check(&now, 45_001, Some(4));
    }

    #[test]
    fn digests_find_what_either_side_lacks_page_by_page() {
        let table = |skip: u8, beat: u64| {
            let mut members = Members::new(ME, Vec::new(), at(0));
            for number in (2..=200).filter(|number| number % skip != 0) {
                let beat = if number == 77 { beat } else { 1 };
                assert!(members.take(sealed(record(NodeId([number; 32]), 1, beat)), 0, at(0)));
            }
            members
        };
        let (left, right) = (table(7, 3), table(11, 2));
        let (mut after, mut pages, mut apart) = (None, 0, Apart::default());
        loop {
            let (page, next) = digest(&left, after);
            assert!(page.versions.len() <= ENTRIES_MAX);
            let more = compare(&right, &page);
            apart.theirs.extend(more.theirs);
            apart.ours.extend(more.ours);
            (after, pages) = (next, pages + 1);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, 3);
        let expect = |lacks: u8, has: u8| -> Vec<NodeId> {
            (2..=200).filter(|n| n % lacks == 0 && n % has != 0).map(|n| NodeId([n; 32])).collect()
        };
        apart.ours.sort_unstable();
        apart.theirs.sort_unstable();
        // 77 is a multiple of both, so neither has it.
        assert_eq!(apart.theirs, expect(7, 11));
        assert_eq!(apart.ours, expect(11, 7));
    }
}
