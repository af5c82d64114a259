//! What stands before every route: rights, and a net under panics.
//!
//! Over TCP anybody on this host can connect, and so can a web page in a browser on it. So `Host` must name loopback (a
//! page that rebinds its DNS name cannot), `Origin` must be our own (a page from elsewhere cannot), `Sec-Fetch-Site` too (nor
//! can its images and scripts, which have no `Origin`), and what may change something needs the token; a WebSocket is such a
//! thing. Over the unix socket the file's permissions have already decided.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;

use super::Credentials;
use super::limits::RETRY_AFTER_S;
use super::media::Media;
use super::places::Place;
use super::problem::Problem;
use crate::service::{Fault, ServiceError};

/// The names of this host that no DNS server has a say in.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Where a browser says that a request comes from (Fetch Metadata): pages cannot set it. Programs do not send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The rules for one kind of socket.
pub(super) struct Guard {
    /// `None` where the socket's permissions decide.
    credentials: Option<Credentials>,
}

impl Guard {
    pub(super) const fn for_tcp(credentials: Credentials) -> Self {
        Self { credentials: Some(credentials) }
    }

    pub(super) const fn for_unix() -> Self {
        Self { credentials: None }
    }

    fn admit(&self, request: &Parts) -> Result<(), Problem> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        check_host(request)?;
        let reads = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) && !opens_stream(request);
        let shown = bearer(&request.headers);
        let is_trusted = shown.is_some_and(|shown| credentials.token.is(shown));
        if is_trusted && let Some(place) = request.extensions.get::<Arc<Place>>() {
            place.trust();
        }
        if reads || is_trusted {
            return Ok(());
        }
        let message = match shown {
            None => "a change over TCP needs the token of this agent",
            Some(_) => "the token that was shown is not the one of this agent",
        };
        let hint = format!("send `Authorization: Bearer` with the content of {}", credentials.token_file.display());
        let error = ServiceError::new(Fault::Unauthorized, "unauthorized", message).at("authorization").hint(hint);
        Err(Problem::from(error).beside("token_file", credentials.token_file.display().to_string()))
    }
}

/// The middleware.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(problem) = check_form(&parts).and_then(|()| guard.admit(&parts)) {
        return problem.shown_as(Media::of_answer(&parts.headers)).into_response();
    }
    let answer = next.run(Request::from_parts(parts, body));
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::from(bug()).into_response(),
    }
}

/// Whether a request asks for a WebSocket. What comes over it afterwards can change things, and passes no guard.
fn opens_stream(request: &Parts) -> bool {
    request.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The error of whoever comes when all hands are full.
pub(super) fn busy(message: &str) -> ServiceError {
    ServiceError::new(Fault::Busy { retry_after_s: RETRY_AFTER_S }, "busy", message).hint("try again, a little later")
}

/// The error of whoever made us panic.
pub(super) fn bug() -> ServiceError {
    tracing::error!("a request of the API met a bug; the panic is logged above");
    ServiceError::new(Fault::Internal, "internal", "the agent met a bug while it worked on this request")
        .hint("its log says where; please report it")
        .changed("unknown: look before you retry, or retry with an Idempotency-Key")
}

/// What HTTP refuses and hyper lets pass: a second host (RFC 9112, section 3.2), and codings of a body that nobody here undoes (6.1).
fn check_form(request: &Parts) -> Result<(), Problem> {
    let refuse = |field, message| Err(ServiceError::new(Fault::Caller, "malformed_http", message).at(field).into());
    if request.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return refuse("host", "a request names one host");
    }
    let is_undone = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !request.headers.get_all(header::TRANSFER_ENCODING).iter().all(is_undone) {
        return refuse("transfer-encoding", "the only coding of a body that is taken is `chunked`");
    }
    Ok(())
}

fn check_host(request: &Parts) -> Result<(), Problem> {
    let refuse = |code, field, message| Err(ServiceError::new(Fault::Forbidden, code, message).at(field).into());
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A request in absolute form names the host twice; both have to be ours.
    let hosts_are_ours = is_loopback(host) && request.uri.authority().is_none_or(|host| is_loopback(host.as_str()));
    if !hosts_are_ours {
        return refuse("foreign_host", "host", "the API answers only to localhost, 127.0.0.1 and [::1]");
    }
    // `none` is an address that was typed in. Another port of this host is `same-site`, and as foreign as any.
    let is_own_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    if !request.headers.get_all(SEC_FETCH_SITE).iter().all(is_own_site) {
        return refuse("foreign_site", "sec-fetch-site", "pages from elsewhere may not use the API");
    }
    let own = |origin: &str| origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host));
    if request.headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(own)) {
        return Ok(());
    }
    refuse("foreign_origin", "origin", "pages from elsewhere may not use the API")
}

/// Whether an authority (`host[:port]`) names loopback in a way that needs no lookup.
fn is_loopback(authority: &str) -> bool {
    LOOPBACK_NAMES.iter().any(|name| {
        let Some((host, rest)) = authority.split_at_checked(name.len()) else { return false };
        let port = rest.strip_prefix(':').unwrap_or_default();
        host.eq_ignore_ascii_case(name) && (rest.is_empty() || port.parse::<u16>().is_ok())
    })
}

/// The token that a caller shows.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_need_no_lookup_are_loopback() {
        let check = |authority: &str, expect: bool| assert_eq!(is_loopback(authority), expect, "{authority}");
        for ours in ["localhost", "LocalHost:80", "127.0.0.1:7411", "[::1]", "[::1]:7411"] {
            check(ours, true);
        }
        for foreign in [
            "",
            "localhost.evil.example",
            "evil.example",
            "127.0.0.1.nip.io:7411",
            "localhost:",
            "localhost:x",
            "127.0.0.2",
            "[::2]",
            "user@localhost",
            "é",
        ] {
            check(foreign, false);
        }
    }
}
