//! Artefacts from other members: chunk by chunk from anyone who has them, believed only when the digest of the whole is right.

use std::sync::Arc;
use std::time::Duration;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ARTIFACT_BYTES_MAX, ArtifactError, Artifacts};
use crate::net::{Lane, Net, Reply, RequestError};
use crate::spec::Digest;

/// Bytes of one chunk: half a frame of the artefact lane, so that its envelope always fits.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// How long one chunk may take; the thinnest uplink that we plan for moves a mebibyte in half of it.
const CHUNK_PATIENCE: Duration = Duration::from_secs(20);

/// Why an artefact could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be read from or written to this host's disk.
    #[error("the artefact store: {0}")]
    Disk(#[from] ArtifactError),
    /// No connected member gave it.
    #[error("no connected member has the artefact {digest}{}", last.as_ref().map_or_else(String::new, |why| format!(" ({why})")))]
    Nowhere {
        /// What was looked for.
        digest: Digest,
        /// What the last member asked said.
        last: Option<String>,
    },
}

#[derive(Serialize, Deserialize)]
struct Question {
    #[serde(with = "serde_bytes")]
    digest: [u8; 32],
    offset: u64,
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    total: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// The artefact, from disk or else from whichever connected member has it.
pub(super) async fn fetch(artifacts: &Artifacts, net: &Net, digest: Digest) -> Result<Arc<[u8]>, FetchError> {
    if let Some(wasm) = local(artifacts, digest).await? {
        return Ok(wasm);
    }
    let mut last = None;
    for link in net.peers() {
        match fetch_from(net, link.node, digest).await {
            Ok(Some(wasm)) if Digest::of(&wasm) == digest => {
                let (artifacts, bytes) = (artifacts.clone(), Arc::clone(&wasm));
                blocking(move || artifacts.put(&bytes)).await?;
                return Ok(wasm);
            }
            Ok(Some(_)) => last = Some(format!("{} sent bytes of another digest", link.node)),
            Ok(None) => {}
            Err(error) => last = Some(format!("{}: {error}", link.node)),
        }
    }
    Err(FetchError::Nowhere { digest, last })
}

/// The artefact from this host's disk; `None` when it is not there, or was damaged and is therefore gone.
async fn local(artifacts: &Artifacts, digest: Digest) -> Result<Option<Arc<[u8]>>, ArtifactError> {
    let artifacts = artifacts.clone();
    match blocking(move || artifacts.read(&digest)).await {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(ArtifactError::Missing(_) | ArtifactError::Damaged(_)) => Ok(None),
        Err(error @ (ArtifactError::TooLarge { .. } | ArtifactError::Disk { .. })) => Err(error),
    }
}

/// Reads or writes files where that may take its time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// All chunks from one member; `None` when it has none of them.
async fn fetch_from(net: &Net, from: NodeId, digest: Digest) -> Result<Option<Arc<[u8]>>, RequestError> {
    let mut wasm = Vec::new();
    loop {
        let question = codec::encode(&Question { digest: digest.0, offset: wasm.len() as u64 });
        let answer = net.request(from, Lane::Artifact, question, CHUNK_PATIENCE).await?;
        let chunk = codec::decode::<Option<Chunk>>(&answer, Lane::Artifact.frame_bytes_max());
        let Ok(Some(Chunk { total, bytes })) = chunk else { return Ok(None) };
        wasm.extend_from_slice(&bytes);
        if wasm.len() as u64 >= total {
            return Ok(Some(wasm.into()));
        }
        if bytes.is_empty() || wasm.len() > ARTIFACT_BYTES_MAX {
            return Ok(None);
        }
    }
}

/// Answers another member's question for a chunk.
pub async fn serve(artifacts: &Artifacts, from: NodeId, question: Vec<u8>, reply: Reply) {
    let Ok(Question { digest, offset }) = codec::decode(&question, Lane::Artifact.frame_bytes_max()) else {
        return tracing::warn!(%from, "a member asked for an artefact in a way that cannot be read");
    };
    let artifacts = artifacts.clone();
    let part = blocking(move || artifacts.read_part(&Digest(digest), offset, CHUNK_BYTES)).await;
    let chunk = match part {
        Ok((total, bytes)) => Some(Chunk { total, bytes }),
        Err(ArtifactError::Missing(_)) => None,
        Err(error) => {
            tracing::warn!(%error, "an artefact that a member asked for cannot be read");
            None
        }
    };
    reply.send(codec::encode(&chunk));
}
