//! Errors as HTTP: `{"error":{"code","message","field","hint","changed"}}` and a status, in JSON or CBOR.
//!
//! Owns the map from faults to status codes. The invariant: the body says the same as the status, in the same form on every
//! route; `changed` is `false` where nothing was changed, and else says what was.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use selvedge_sync::key::KeyError;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::media::Media;
use crate::service::{Fault, ServiceError};

/// A failed request.
#[derive(Debug)]
pub(super) struct Problem {
    error: Box<ServiceError>,
    /// Fields that stand beside `error` in the body.
    beside: Map<String, Value>,
    media: Media,
}

/// An error as it stands under `error`, here and in an answer of the call stream.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Told<'a> {
    code: &'a str,
    message: &'a str,
    field: Option<&'a str>,
    hint: Option<&'a str>,
    changed: Changed<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
}

/// What a request changed although it failed.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
enum Changed<'a> {
    /// Nothing: always `false`.
    Nothing(bool),
    /// This, or perhaps this; in words.
    What(&'a str),
}

impl Problem {
    pub(super) fn beside(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.beside.insert(name.to_owned(), value.into());
        self
    }

    /// The same, to be answered in this form.
    pub(super) fn shown_as(self, media: Media) -> Self {
        Self { media, ..self }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self { error: Box::new(error), beside: Map::new(), media: Media::Json }
    }
}

impl<'a> From<&'a ServiceError> for Told<'a> {
    fn from(error: &'a ServiceError) -> Self {
        Self {
            code: error.code(),
            message: error.message(),
            field: error.field(),
            hint: error.hint_text(),
            changed: error.changed_text().map_or(Changed::Nothing(false), Changed::What),
            retry_after_s: error.retry_after_s(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let fault = self.error.fault();
        let mut body = self.beside;
        if let Some(recording) = self.error.recording() {
            // As text: what it holds is compared to the last bit, and some of its numbers have more than others can read.
            body.insert("recording".to_owned(), recording.into());
        }
        body.insert("error".to_owned(), json!(Told::from(&*self.error)));
        let mut response = (status(fault), self.media.response(&body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.error.retry_after_s() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if fault == Fault::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"selvedge\""));
        }
        response
    }
}

const fn status(fault: Fault) -> StatusCode {
    match fault {
        Fault::Caller => StatusCode::BAD_REQUEST,
        Fault::Unauthorized => StatusCode::UNAUTHORIZED,
        Fault::Forbidden => StatusCode::FORBIDDEN,
        Fault::NotFound => StatusCode::NOT_FOUND,
        Fault::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Fault::Conflict => StatusCode::CONFLICT,
        Fault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::WrongValue => StatusCode::UNPROCESSABLE_ENTITY,
        Fault::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Fault::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A key that is none. `field` names where it stood; for a type that does not exist the caller may name that part itself.
pub(super) fn bad_key(error: &KeyError, field: &str) -> ServiceError {
    let code = match error {
        KeyError::UnknownKind(_) => "unknown_key_type",
        KeyError::NoSlash | KeyError::EmptyName | KeyError::LongName(_) | KeyError::ControlCharacter => "bad_key",
    };
    let hint = "a key is written type/name, and the types are gcounter, pncounter, gset, orset and lwwmap";
    ServiceError::new(Fault::Caller, code, error.to_string()).at(field).hint(hint)
}

/// No route has this path.
pub(super) async fn no_route(uri: axum::http::Uri) -> Problem {
    ServiceError::not_found("unknown_route", "route", uri.path()).hint("GET /v1 lists the routes").into()
}

/// The route exists, with another method. The header `Allow` says which.
pub(super) async fn wrong_method(method: axum::http::Method) -> Problem {
    let message = format!("this route does not take {method}");
    ServiceError::new(Fault::WrongMethod, "wrong_method", message).hint("see the header Allow").into()
}
