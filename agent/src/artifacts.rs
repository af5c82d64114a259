//! Artefacts: the components that workloads run, as blobs in `DATA_DIR/artifacts`.
//!
//! Owns how large they may be and where they lie; `blobs` keeps them. Nothing of them is ever removed by itself: what is deployed
//! has to start again after a power cut without a network.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::blobs::serve::{Inspected, Library};
use crate::blobs::{BlobError, Blobs, Kind};
use crate::spec::Digest;

/// Largest artefact, in bytes: some ten times a large guest with its data. It is held in memory while it is compiled.
pub const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

const KIND: Kind =
    Kind { noun: "artefact", folder: "artifacts", extension: ".wasm", bytes_max: ARTIFACT_BYTES_MAX, is_durable: true };

/// The artefacts of one data directory.
pub type Artifacts = Blobs;

/// Opens the artefacts of a data directory.
///
/// # Errors
/// As for [`Blobs::open`].
pub fn open(data_dir: &Path) -> Result<Artifacts, BlobError> {
    Blobs::open(data_dir, KIND)
}

/// Where the data directory of an agent keeps an artefact, for who only looks and changes nothing there. The name holds
/// hexadecimal digits only.
#[must_use]
pub fn file(data_dir: &Path, digest: &Digest) -> PathBuf {
    data_dir.join(KIND.folder).join(format!("{}{}", digest.hex(), KIND.extension))
}

/// Artefacts for other members.
pub struct Given {
    artifacts: Artifacts,
    /// Has one that was damaged fetched again. Called once for each, from a thread that may block.
    gone: Box<dyn Fn(Digest) + Send + Sync>,
}

impl Given {
    /// Gives these. Whichever is found to be damaged is gone then, and `gone` is told.
    pub fn new(artifacts: Artifacts, gone: impl Fn(Digest) + Send + Sync + 'static) -> Self {
        Self { artifacts, gone: Box::new(gone) }
    }
}

impl Library for Given {
    fn has(&self, digest: &Digest) -> bool {
        self.artifacts.contains(digest)
    }

    fn part(&self, digest: &Digest, start: u64, bytes_max: usize) -> Option<Bytes> {
        match self.artifacts.part(digest, start, bytes_max) {
            Ok(bytes) => Some(bytes.into()),
            Err(BlobError::Missing { .. }) => None,
            Err(error @ (BlobError::Damaged { .. } | BlobError::TooLarge { .. } | BlobError::Disk { .. })) => {
                tracing::warn!(%error, "an artefact that a member asked for cannot be read");
                None
            }
        }
    }

    fn inspect(&self, digest: &Digest) -> Inspected {
        match self.artifacts.verify(digest) {
            Ok((is_whole, bytes)) => {
                if !is_whole {
                    (self.gone)(*digest);
                }
                Inspected { is_damaged: !is_whole, bytes }
            }
            Err(BlobError::Missing { .. }) => Inspected::default(),
            Err(error @ (BlobError::Damaged { .. } | BlobError::TooLarge { .. } | BlobError::Disk { .. })) => {
                tracing::warn!(%error, "an artefact that seems to be damaged cannot be looked at");
                Inspected::default()
            }
        }
    }
}
