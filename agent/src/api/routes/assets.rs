//! Routes to assets: what clients load, by the digest of its bytes.
//!
//! The bytes of a digest never change, so whoever has them needs no second look: the digest is the entity tag, and answers may be
//! kept for ever. Nothing that is stored here is ever shown by a browser as a page of this origin.

use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::commits::path_error;
use super::{Answer, App};
use crate::api::body;
use crate::api::guard::busy;
use crate::api::limits::{PAGE_KEYS_DEFAULT, PAGE_KEYS_MAX};
use crate::api::problem::Problem;
use crate::api::query::{self, Pairs};
use crate::service::{AssetInfo, AssetPage, Fault, Service, ServiceError};
use crate::spec::{Digest, ParseDigestError};

/// A path that names an asset.
type Named = Result<Path<String>, PathRejection>;

/// What is said of every asset.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "application/octet-stream"),
    (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    (header::ACCEPT_RANGES, "bytes"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "sandbox"),
];

#[derive(Serialize)]
pub(in crate::api) struct Removed {
    digest: Digest,
}

pub(in crate::api) async fn list<S: Service>(State(app): State<Arc<App<S>>>, pairs: Pairs) -> Answer<Json<AssetPage>> {
    let [after, limit] = query::take(pairs, ["after", "limit"])?;
    let after = after.map(|text| parse(&text, "after")).transpose()?;
    let limit = query::number("limit", limit.as_deref(), 1, PAGE_KEYS_MAX)?.unwrap_or(PAGE_KEYS_DEFAULT);
    Ok(Json(app.service().assets(after, limit)))
}

pub(in crate::api) async fn put<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<AssetInfo>> {
    let _permit = app.uploads.try_acquire().map_err(|_| busy("other uploads are being received"))?;
    let bytes = body::artifact(&headers, body).await?;
    if bytes.is_empty() {
        return Err(ServiceError::new(Fault::Caller, "empty_asset", "the body is empty").at("body").into());
    }
    Ok(Json(app.service().put_asset(bytes).await?))
}

pub(in crate::api) async fn show<S: Service>(
    State(app): State<Arc<App<S>>>,
    named: Named,
    headers: HeaderMap,
) -> Answer<Response> {
    let digest = digest_of(named)?;
    let tag = format!("\"{digest}\"");
    let mut response = if has(&headers, header::IF_NONE_MATCH, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // What is here is counted while it is read from disk; how large anything else is, is known only when it has come.
        let mut room = Room::of(&app.assets_in_answers);
        room.grow_to(app.service().asset_bytes(digest).unwrap_or(0))?;
        let bytes = app.service().asset(digest).await?;
        room.grow_to(bytes.len() as u64)?;
        let bytes = Bytes::from_owner(Held { bytes, _room: room });
        // A range of what the caller has another version of would not fit it.
        let is_same = !headers.contains_key(header::IF_RANGE) || has(&headers, header::IF_RANGE, &tag);
        match headers.get(header::RANGE).filter(|_| is_same).and_then(|range| range.to_str().ok()) {
            Some(range) => part(&bytes, range),
            None => bytes.into_response(),
        }
    };
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(response);
    }
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("a digest has only letters, digits and a colon"));
    Ok(response)
}

pub(in crate::api) async fn remove<S: Service>(State(app): State<Arc<App<S>>>, named: Named) -> Answer<Json<Removed>> {
    let digest = digest_of(named)?;
    app.service().remove_asset(digest).await?;
    Ok(Json(Removed { digest }))
}

/// What one answer takes of the room for assets, until it is dropped.
struct Room {
    of_all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn of(all: &Arc<Semaphore>) -> Self {
        Self { of_all: Arc::clone(all), taken: None }
    }

    /// Takes room for an asset of so many bytes; a part counts as the whole, which it keeps in memory.
    fn grow_to(&mut self, bytes: u64) -> Result<(), Problem> {
        let wanted = usize::try_from(bytes.div_ceil(1024 * 1024)).unwrap_or(usize::MAX);
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(wanted.saturating_sub(taken)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.of_all).try_acquire_many_owned(more);
        let more = more.map_err(|_| busy("other assets are being sent"))?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

/// An asset, counted until the last of it has gone out. Its room lies in the bytes and not in the body: the connection takes them from
/// the body at once, long before they are sent.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn digest_of(named: Named) -> Result<Digest, Problem> {
    let Path(text) = named.map_err(|rejection| path_error(&rejection))?;
    parse(&text, "digest")
}

fn parse(text: &str, field: &'static str) -> Result<Digest, Problem> {
    text.parse().map_err(|error: ParseDigestError| {
        ServiceError::new(Fault::Caller, "bad_digest", error.to_string()).at(field).into()
    })
}

/// Whether a header lists this entity tag, or any.
fn has(headers: &HeaderMap, name: HeaderName, tag: &str) -> bool {
    let listed = headers.get_all(name);
    listed.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}

/// A part of an asset; all of it where the range is one that we do not serve (RFC 9110, 14.2); a problem where it begins beyond the
/// end.
fn part(bytes: &Bytes, range: &str) -> Response {
    let length = bytes.len();
    match satisfy(range, length) {
        Some(Ok(Range { start, end })) => {
            let told = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
            (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, told)], bytes.slice(start..end)).into_response()
        }
        Some(Err(())) => {
            let message = format!("the asset has {length} bytes, and the range begins beyond them");
            let error = ServiceError::new(Fault::Caller, "beyond_end", message).at("range");
            let told = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, told, Problem::from(error)).into_response()
        }
        None => bytes.clone().into_response(),
    }
}

/// One range of bytes within a length; `None` for what is no single range, an error for one beyond the end.
fn satisfy(range: &str, length: usize) -> Option<Result<Range<usize>, ()>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let (start, end) = match (first.trim(), last.trim()) {
        ("", "") => return None,
        ("", suffix) => (length.saturating_sub(number(suffix)?), length),
        (start, "") => (number(start)?, length),
        (start, last) => (number(start)?, number(last)?.saturating_add(1).min(length)),
    };
    if first.trim() > "" && !last.trim().is_empty() && number(first)? > number(last)? {
        return None;
    }
    Some(if start < end { Ok(start..end) } else { Err(()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_meant() {
        let check = |range: &str, expect: Option<Result<Range<usize>, ()>>| {
            assert_eq!(satisfy(range, 10), expect, "{range}");
        };
        check("bytes=0-3", Some(Ok(0..4)));
        check("bytes=3-", Some(Ok(3..10)));
        check("bytes=-4", Some(Ok(6..10)));
        check("bytes=-40", Some(Ok(0..10)));
        check("bytes=8-99", Some(Ok(8..10)));
        check("bytes=9-9", Some(Ok(9..10)));
        check("bytes=10-", Some(Err(())));
        check("bytes=10-20", Some(Err(())));
        check("bytes=-0", Some(Err(())));
        for nonsense in ["bytes=5-3", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "0-1", "bytes=--1"] {
            check(nonsense, None);
        }
    }
}
