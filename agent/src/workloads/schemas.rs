//! Which schema a workload's state has been written by: what outlasts the deployment that did it.
//!
//! Owns the fields of one map of the shared state, one for each workload and schema, so that two hosts that deploy at once, each on its
//! side of a cut, leave both. Pure. The invariants: what counts is the highest that is there; who forces an older one takes away those
//! that it has seen, and no other.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::change::Change;
use selvedge_sync::scalar::Scalar;

use super::orders::{CLEARED_MAX, WORKLOADS_MAX};
use crate::spec::WorkloadName;

/// The name of the map that holds, for each workload, the schema of its state, with the time of the last order in milliseconds since the
/// Unix epoch. Schema 0 leaves nothing: there is none below it.
pub const SCHEMAS: &str = "selvedge:schemas";

/// Most schemas that are remembered, four for each workload that one mesh may have: those of names that nobody uses any more outlast
/// them, and the oldest of these go first.
const SCHEMAS_MAX: usize = 4 * WORKLOADS_MAX;

/// The highest schema of each workload, by what is stored. Any member can store more; what is no such field is passed over.
pub(super) fn floors(stored: &BTreeMap<String, Scalar>) -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for (name, schema) in stored.keys().filter_map(|field| parts(field)) {
        let floor = floors.entry(name.to_owned()).or_insert(schema);
        *floor = schema.max(*floor);
    }
    floors
}

/// What has the map say that a workload's state is of this schema from now on, and of no other that is in it.
pub(super) fn set(
    stored: &BTreeMap<String, Scalar>,
    (workload, schema): (&WorkloadName, u32),
    now_ms: u64,
    is_deployed: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let own = field(workload.as_str(), schema);
    let other = |name: &String| {
        let (of, schema) = parts(name).filter(|_| *name != own)?;
        (of == workload.as_str()).then_some(schema)
    };
    let mut others: Vec<_> = stored.keys().filter_map(|name| Some((other(name)?, name))).collect();
    others.sort_unstable();
    // The highest first: what is below counts for nothing, and may wait for a later order.
    let mut gone: BTreeSet<String> = others.into_iter().rev().take(CLEARED_MAX).map(|(_, name)| name.clone()).collect();
    let mut changes = Vec::new();
    if schema > 0 {
        let idle = surplus(stored, (SCHEMAS_MAX - 1).saturating_add(gone.len()), &own, is_deployed);
        gone.extend(idle.into_iter().take(CLEARED_MAX - gone.len()));
        // Also where it is there already: who takes it away elsewhere has not seen this one.
        changes.push(Change::Put(vec![(own, Scalar::Int(i64::try_from(now_ms).unwrap_or(i64::MAX)))]));
    } else {
        gone.extend(stored.contains_key(&own).then_some(own));
    }
    if !gone.is_empty() {
        changes.push(Change::RemoveFields(gone.into_iter().collect()));
    }
    changes
}

/// Fields to forget, so that no more than `room` are left: the oldest of workloads that nobody has deployed.
fn surplus(
    stored: &BTreeMap<String, Scalar>,
    room: usize,
    own: &str,
    is_deployed: impl Fn(&str) -> bool,
) -> Vec<String> {
    let over = stored.len().saturating_sub(room);
    if over == 0 {
        return Vec::new();
    }
    let is_idle = |name: &str| name != own && !parts(name).is_some_and(|(workload, _)| is_deployed(workload));
    let mut idle: Vec<(i64, &String)> =
        stored.iter().filter(|(name, _)| is_idle(name)).map(|(name, at)| (written_ms(at), name)).collect();
    idle.sort_unstable();
    idle.into_iter().take(over.min(CLEARED_MAX)).map(|(_, name)| name.clone()).collect()
}

/// When a field was written; what is no time is the first to go.
const fn written_ms(value: &Scalar) -> i64 {
    if let Scalar::Int(at_ms) = value { *at_ms } else { i64::MIN }
}

/// A workload's name has no slash.
fn field(workload: &str, schema: u32) -> String {
    format!("{workload}/{schema}")
}

fn parts(field: &str) -> Option<(&str, u32)> {
    let (workload, schema) = field.split_once('/')?;
    Some((workload, schema.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> WorkloadName {
        text.parse().expect("a name")
    }

    fn stored(fields: &[(&str, i64)]) -> BTreeMap<String, Scalar> {
        fields.iter().map(|(field, at)| ((*field).to_owned(), Scalar::Int(*at))).collect()
    }

    /// The fields after an order, where nobody else has written.
    fn after(fields: &[(&str, i64)], order: (&str, u32)) -> Vec<String> {
        let mut map = stored(fields);
        for change in set(&map.clone(), (&name(order.0), order.1), 9, |_| false) {
            match change {
                Change::Put(put) => map.extend(put),
                Change::RemoveFields(gone) => gone.iter().for_each(|field| drop(map.remove(field))),
                other => panic!("{other:?}"),
            }
        }
        map.into_keys().collect()
    }

    #[test]
    fn the_highest_counts_and_junk_counts_for_nothing() {
        let fields = stored(&[("a/2", 1), ("a/10", 1), ("b/1", 1), ("a/x", 1), ("a", 1), ("a/99999999999", 1)]);
        assert_eq!(floors(&fields), BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 1)]));
    }

    #[test]
    fn an_order_leaves_its_own_schema_and_others_alone() {
        assert_eq!(after(&[], ("a", 2)), ["a/2"]);
        assert_eq!(after(&[("a/1", 1), ("ab/7", 1)], ("a", 2)), ["a/2", "ab/7"]);
        assert_eq!(after(&[("a/2", 1), ("a/3", 1)], ("a", 1)), ["a/1"], "a forced one");
        assert_eq!(after(&[("a/2", 1)], ("a", 0)), [""; 0]);
        let again = set(&stored(&[("a/2", 1)]), (&name("a"), 2), 9, |_| false);
        assert!(matches!(&again[..], [Change::Put(_)]), "it is said anew: {again:?}");
    }

    #[test]
    fn an_order_takes_away_no_more_than_a_commit_holds_the_highest_first() {
        let map: BTreeMap<String, Scalar> = (2..7_000).map(|schema| (format!("a/{schema}"), Scalar::Int(1))).collect();
        let changes = set(&map, (&name("a"), 1), 9, |_| false);
        let [Change::Put(_), Change::RemoveFields(gone)] = &changes[..] else { panic!("{changes:?}") };
        let left = map.into_iter().filter(|(name, _)| !gone.contains(name)).collect();
        assert_eq!((gone.len(), floors(&left)["a"]), (CLEARED_MAX, 6_999 - u32::try_from(CLEARED_MAX).expect("few")));
    }

    #[test]
    fn what_nobody_uses_any_more_is_forgotten_oldest_first() {
        let mut map: BTreeMap<String, Scalar> = (0..SCHEMAS_MAX)
            .map(|number| (format!("w{number}/1"), Scalar::Int(i64::try_from(number).expect("few"))))
            .collect();
        let order = (&name("new"), 1);
        let gone = |map: &BTreeMap<String, Scalar>| match set(map, order, 9, |workload| workload == "w0").pop() {
            Some(Change::RemoveFields(gone)) => gone,
            _ => Vec::new(),
        };
        assert_eq!(gone(&map), ["w1/1"], "`w0` runs");
        map.remove("w1/1");
        assert_eq!(gone(&map), [""; 0]);
    }
}
