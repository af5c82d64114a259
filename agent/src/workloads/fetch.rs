//! A workload's artefact: from this host's disk, or else from another member, and then on this host's disk.

use std::sync::Arc;

use crate::artifacts::{ARTIFACT_BYTES_MAX, Artifacts};
use crate::blobs::fetch::{FetchError, Fetcher};
use crate::blobs::serve::Sort;
use crate::blobs::{BlobError, blocking};
use crate::spec::Digest;

/// Why an artefact could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// It could not be read from or written to this host's disk.
    #[error("the artefact store: {0}")]
    Disk(#[from] BlobError),
    /// No connected member gave it.
    #[error(transparent)]
    Elsewhere(#[from] FetchError),
}

/// The artefact.
pub(super) async fn reach(artifacts: &Artifacts, fetcher: &Fetcher, digest: Digest) -> Result<Arc<[u8]>, ReachError> {
    if let Some(bytes) = local(artifacts, digest).await? {
        return Ok(bytes);
    }
    let fetched = fetcher.fetch(Sort::Artifact, digest, ARTIFACT_BYTES_MAX).await?;
    let (artifacts, bytes) = (artifacts.clone(), fetched.bytes.clone());
    blocking(move || artifacts.put(&bytes)).await?;
    Ok(fetched.bytes.as_ref().into())
}

/// The same, and does not keep it.
pub(super) async fn peek(artifacts: &Artifacts, fetcher: &Fetcher, digest: Digest) -> Result<Arc<[u8]>, ReachError> {
    if let Some(bytes) = local(artifacts, digest).await? {
        return Ok(bytes);
    }
    let fetched = fetcher.fetch(Sort::Artifact, digest, ARTIFACT_BYTES_MAX).await?;
    Ok(fetched.bytes.as_ref().into())
}

/// The artefact, if it is on this host's disk and whole.
async fn local(artifacts: &Artifacts, digest: Digest) -> Result<Option<Arc<[u8]>>, ReachError> {
    let artifacts = artifacts.clone();
    match blocking(move || artifacts.read(&digest)).await {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(BlobError::Missing { .. } | BlobError::Damaged { .. }) => Ok(None),
        Err(error @ (BlobError::TooLarge { .. } | BlobError::Disk { .. })) => Err(error.into()),
    }
}
