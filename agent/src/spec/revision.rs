//! The name of what an instance is made from: everything in a spec that a running instance has to be replaced for.
//!
//! Owns the type and how it is computed. The invariant: two specs have one revision exactly when an instance of the one serves
//! the other as well; how many instances there are, and where, is no part of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Spec;

/// What an instance was made from: the first 64 bits of a hash over artefact, limits, configuration and default answers. That
/// much tells the few revisions of one workload apart, and costs a member's record little. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a spec.
    pub(super) fn of(spec: &Spec) -> Self {
        let parts = (&spec.artifact, &spec.limits, &spec.config, &spec.on_overrun);
        let bytes = serde_json::to_vec(&parts).expect("the parts of a spec serialise");
        let hash = blake3::hash(&bytes);
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        Self(u64::from_be_bytes(*first))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Digest, Spread};
    use super::*;

    #[test]
    fn it_changes_with_what_an_instance_is_made_from_and_with_nothing_else() {
        let spec = Spec::new(Digest::of(b"a"));
        let same = |change: fn(&mut Spec)| {
            let mut other = spec.clone();
            change(&mut other);
            other.revision() == spec.revision()
        };
        assert!(same(|_| {}));
        assert!(same(|spec| spec.spread = Spread::Everywhere));
        assert!(same(|spec| spec.latency_max_ms = Some(20)));
        assert!(same(|spec| spec.gates.canary_ms = 0));
        assert!(!same(|spec| spec.artifact = Digest::of(b"b")));
        assert!(!same(|spec| spec.limits.deadline_ms += 1));
        assert!(!same(|spec| drop(spec.config.insert("speed-max".to_owned(), "8".to_owned()))));
        assert!(!same(|spec| drop(spec.on_overrun.insert("predict".to_owned(), serde_json::json!([])))));
    }
}
