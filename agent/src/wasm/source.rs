//! Where the reads of a call come from: the state itself, the state with a recorder in between, or a recording.
//!
//! Owns the choice. The parts own the recorder and the playback. The invariant: whichever it is, a call cannot tell.

mod playback;
mod recorder;

use std::collections::BTreeMap;
use std::sync::Arc;

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;

pub(super) use self::playback::Playback;
pub(super) use self::recorder::{READ_BYTES_MAX, Recorder};
use super::assets::AssetView;
use super::instance::Base;
use crate::spec::Digest;

/// What a draft reads through.
pub(super) enum Source {
    /// The state, and the host's assets.
    Live(&'static Base, Arc<dyn AssetView>),
    /// The same, and what they answer is kept.
    Recorder(Recorder),
    /// What was kept.
    Playback(Playback),
}

impl Source {
    pub(super) fn live(base: &'static Base, assets: &Arc<dyn AssetView>) -> Self {
        Self::Live(base, Arc::clone(assets))
    }

    /// How many bytes an asset has on this host; `None` when it is not here.
    pub(super) fn asset_size(&self, digest: &Digest) -> Option<u64> {
        match self {
            Self::Live(_, assets) => assets.size(digest),
            Self::Recorder(recorder) => recorder.asset_size(digest),
            Self::Playback(playback) => playback.asset_size(digest),
        }
    }

    fn reader(&self) -> &dyn ReadState {
        match self {
            Self::Live(base, _) => base,
            Self::Recorder(recorder) => recorder,
            Self::Playback(playback) => playback,
        }
    }
}

impl ReadState for Source {
    fn counter(&self, key: &Key) -> Option<i128> {
        self.reader().counter(key)
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        self.reader().own_totals(key)
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        self.reader().contains(key, member)
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        self.reader().members(key)
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        self.reader().field(key, field)
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        self.reader().fields(key)
    }
}
