//! What a guest learns of the assets on this host, and what it may ask for.
//!
//! Owns the seam between the import `assets` and whoever keeps assets: [`AssetView`] is all that a guest can read, so that whoever
//! records a call records its answers. Fetches nothing. The invariant: what a call asks for is handed out only if it succeeds.

use std::fmt;

use crate::spec::Digest;

/// Assets that one call may ask its host to fetch: a plan for a zone full of players names fewer. Each may be as large as an
/// asset can be, and waits in the host's own bounded queue.
pub(super) const PRELOADS_MAX: usize = 64;

/// The assets on this host, as guests see them.
pub trait AssetView: fmt::Debug + Send + Sync {
    /// How many bytes an asset has; `None` when it is not here. Answers at once.
    fn size(&self, digest: &Digest) -> Option<u64>;
}

/// A host without assets.
#[derive(Clone, Copy, Debug)]
pub struct NoAssets;

impl AssetView for NoAssets {
    fn size(&self, _: &Digest) -> Option<u64> {
        None
    }
}

/// What a call has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints(Vec<Digest>);

impl Hints {
    /// Notes a wish, once; false when there are as many as there may be.
    pub(super) fn add(&mut self, digest: Digest) -> bool {
        if self.0.contains(&digest) {
            return true;
        }
        let has_room = self.0.len() < PRELOADS_MAX;
        if has_room {
            self.0.push(digest);
        }
        has_room
    }

    pub(super) fn take(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_wishes_for_so_many_and_for_each_once() {
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        let mut hints = Hints::default();
        assert!((0..PRELOADS_MAX).all(|number| hints.add(digest(number))));
        assert!(hints.add(digest(0)), "it is noted already");
        assert!(!hints.add(digest(PRELOADS_MAX)));
        assert_eq!(hints.take().len(), PRELOADS_MAX);
        assert!(hints.add(digest(PRELOADS_MAX)) && hints.take() == [digest(PRELOADS_MAX)]);
        hints.add(digest(1));
        hints.clear();
        assert!(hints.take().is_empty(), "the next call begins with none");
    }
}
