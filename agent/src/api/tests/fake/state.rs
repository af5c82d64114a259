//! What changes make of the fake's values.

use std::collections::BTreeSet;

use selvedge_sync::change::Change;
use selvedge_sync::crdt::Value;

pub(super) fn apply(value: &mut Value, change: Change) {
    match (value, change) {
        (Value::Counter(total), Change::Increment(by)) => *total += i128::from(by),
        (Value::Counter(total), Change::Decrement(by)) => *total -= i128::from(by),
        (Value::Set(members), Change::Add(added)) => {
            let all: BTreeSet<_> = members.drain(..).chain(added).collect();
            members.extend(all);
        }
        (Value::Set(members), Change::Remove(removed)) => members.retain(|member| !removed.contains(member)),
        (Value::Map(fields), Change::Put(put)) => fields.extend(put),
        (Value::Map(fields), Change::RemoveFields(removed)) => fields.retain(|field, _| !removed.contains(field)),
        (value, change) => panic!("{change:?} of {value:?} got past the API"),
    }
}
