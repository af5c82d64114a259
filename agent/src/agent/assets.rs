//! Assets for callers of the API: stored, given, removed, in the words that they get.

use bytes::Bytes;

use crate::assets::{AssetError, Assets};
use crate::blobs::BlobError;
use crate::blobs::fetch::FetchError;
use crate::service::{AssetEntry, AssetInfo, AssetPage, Fault, ServiceError};
use crate::spec::Digest;
use crate::wasm::AssetView;

/// Keeps an asset.
pub(super) async fn put(assets: &Assets, bytes: Bytes) -> Result<AssetInfo, ServiceError> {
    let size = bytes.len() as u64;
    match assets.put(bytes).await {
        Ok(digest) => Ok(AssetInfo { digest: digest.to_string(), size }),
        Err(AssetError::Full { .. }) => {
            let message = "the assets that were uploaded to this host leave no room for another";
            Err(ServiceError::new(Fault::Conflict, "assets_full", message)
                .at("body")
                .hint("remove some (DELETE /v1/assets/{digest}), raise `assets.disk`, or upload it to another member"))
        }
        Err(AssetError::Blob(error @ BlobError::TooLarge { .. })) => {
            Err(ServiceError::new(Fault::TooLarge, "too_large", error.to_string()).at("body"))
        }
        Err(error @ (AssetError::Blob(_) | AssetError::Elsewhere(_) | AssetError::DiskFull { .. })) => {
            Err(ServiceError::new(Fault::Unavailable, "asset_not_stored", error.to_string()))
        }
    }
}

/// What is on this host's disk.
pub(super) fn list(assets: &Assets, after: Option<Digest>, limit: usize) -> AssetPage {
    // One more than wanted says whether there are more.
    let mut listed = assets.list(after, limit.saturating_add(1));
    let next = (listed.len() > limit).then(|| {
        listed.truncate(limit);
        listed.last().map(|last| last.digest)
    });
    let entry = |one: crate::assets::Listed| {
        let keeping = if one.is_upload { "upload" } else { "copy" };
        AssetEntry { digest: one.digest, size: one.bytes, keeping: keeping.to_owned() }
    };
    AssetPage { assets: listed.into_iter().map(entry).collect(), next: next.flatten() }
}

/// The size of one that is here.
pub(super) fn bytes(assets: &Assets, digest: &Digest) -> Option<u64> {
    AssetView::size(assets, digest)
}

/// An asset's bytes.
pub(super) async fn get(assets: &Assets, digest: Digest) -> Result<Bytes, ServiceError> {
    assets.get(digest).await.map_err(|error| match error {
        FetchError::Nowhere { .. } => ServiceError::new(Fault::NotFound, "unknown_asset", error.to_string())
            .at("digest")
            .hint("upload it to any member: PUT /v1/assets"),
        FetchError::TooSlow { .. } => ServiceError::new(Fault::TimedOut, "asset_too_slow", error.to_string()),
    })
}

/// Removes an asset from this host.
pub(super) async fn remove(assets: &Assets, digest: Digest) -> Result<(), ServiceError> {
    match assets.remove(digest).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(ServiceError::not_found("unknown_asset", "asset on this host", &digest.to_string()).at("digest"))
        }
        Err(error) => Err(ServiceError::new(Fault::Unavailable, "asset_not_removed", error.to_string())
            .changed("it may be gone from memory")),
    }
}
