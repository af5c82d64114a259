//! Bodies of requests: bounded in size and time, and JSON or CBOR with errors that say where.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::guard::busy;
use super::intake::Crowded;
use super::limits::{ARTIFACT_BODY_TIMEOUT, ARTIFACT_BYTES_MAX, JSON_BODY_TIMEOUT, JSON_BYTES_MAX};
use super::media::Media;
use super::problem::Problem;
use crate::encoding::cbor;
use crate::service::{Fault, ServiceError};

/// A JSON body.
#[derive(Debug)]
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Whether the parser has rounded whole numbers beyond 64 bits to floats.
    pub(super) rounded: bool,
}

/// Reads a JSON body; an empty one is `None`.
pub(super) async fn json_or_nothing(headers: &HeaderMap, body: Body) -> Result<Option<Document>, Problem> {
    if Media::of_body(headers) == Media::Cbor {
        let error = ServiceError::new(Fault::Caller, "wrong_media_type", "this route takes JSON");
        return Err(error.at("content-type").hint("only calls take application/cbor").into());
    }
    let bytes = read(headers, body, JSON_BYTES_MAX, JSON_BODY_TIMEOUT).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
    Ok(Some(Document { value, rounded: has_rounded_number(&bytes) }))
}

/// Reads the arguments of a call, as they are.
pub(super) async fn encoded_arguments(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    read(headers, body, JSON_BYTES_MAX, JSON_BODY_TIMEOUT).await
}

/// The arguments of a call, in JSON or CBOR; an empty body is none at all.
pub(super) fn arguments(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Problem> {
    let value = match Media::of_body(headers) {
        Media::Cbor if bytes.is_empty() => return Ok(no_arguments()),
        Media::Json if bytes.trim_ascii().is_empty() => return Ok(no_arguments()),
        Media::Cbor => cbor::decode(bytes).map_err(|error| {
            ServiceError::new(
                Fault::Caller,
                "malformed_cbor",
                format!("the body is no CBOR that can be taken: {error}"),
            )
            .at("body")
        })?,
        Media::Json => serde_json::from_slice(bytes).map_err(|error| malformed(&error))?,
    };
    check_arguments(value, "body").map_err(Problem::from)
}

/// What a call gets that says nothing of arguments.
pub(super) fn no_arguments() -> Value {
    Value::Array(Vec::new())
}

/// Makes sure that a value can be the arguments of a call.
pub(super) fn check_arguments(value: Value, field: &'static str) -> Result<Value, ServiceError> {
    match value {
        arguments @ (Value::Array(_) | Value::Object(_)) => Ok(arguments),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let message = "the arguments must be an array, or an object by parameter name";
            Err(ServiceError::new(Fault::WrongValue, "wrong_type", message).at(field))
        }
    }
}

/// Reads a JSON body that has to be there.
pub(super) async fn json(headers: &HeaderMap, body: Body) -> Result<Document, Problem> {
    let missing = || ServiceError::new(Fault::Caller, "malformed_json", "the body is empty").at("body");
    json_or_nothing(headers, body).await?.ok_or_else(|| missing().hint("send a JSON document").into())
}

/// Reads an artefact.
pub(super) async fn artifact(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    read(headers, body, ARTIFACT_BYTES_MAX, ARTIFACT_BODY_TIMEOUT).await
}

async fn read(headers: &HeaderMap, body: Body, bytes_max: usize, timeout: Duration) -> Result<Bytes, Problem> {
    let announced =
        headers.get(axum::http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Ok(Err(error)) if is_crowded(&*error) => Err(busy("other requests hold all that is kept of bodies").into()),
        Ok(Err(_)) => Err(ServiceError::new(Fault::Caller, "broken_body", "the body ended before it was complete")
            .at("body")
            .into()),
        Err(_) => {
            let message = format!("the body took longer than {} s to arrive", timeout.as_secs());
            Err(ServiceError::new(Fault::Caller, "slow_body", message).at("body").into())
        }
    }
}

/// Whether there was no room for a body. The error lies within those of the bodies around it.
fn is_crowded(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Crowded>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large(bytes_max: usize) -> Problem {
    let message = format!("the body is too large; at most {bytes_max} bytes are allowed");
    ServiceError::new(Fault::TooLarge, "body_too_large", message).at("body").into()
}

fn malformed(error: &serde_json::Error) -> Problem {
    let message = format!("the body is no JSON: {error}");
    ServiceError::new(Fault::Caller, "malformed_json", message).at("body").into()
}

/// Whether sound JSON holds a whole number beyond 64 bits outside of text. The parser turns those into floats, and a float
/// loses their last digits; with this the few documents that have any are told from all others.
fn has_rounded_number(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some((&first, tail)) = rest.split_first() {
        match first {
            b'"' => rest = after_text(tail),
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let (number, tail) = rest.split_at(rest.iter().take_while(is_number).count());
                if is_rounded(number) {
                    return true;
                }
                rest = tail;
            }
            _ => rest = tail,
        }
    }
    false
}

fn is_rounded(number: &[u8]) -> bool {
    let whole = number.strip_prefix(b"-").unwrap_or(number).iter().all(u8::is_ascii_digit);
    let exact = |text: &str| text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    whole && !std::str::from_utf8(number).is_ok_and(exact)
}

/// What follows the closing quote of a text whose opening quote is already behind.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some((&first, tail)) = rest.split_first() {
        rest = match first {
            b'"' => return tail,
            b'\\' => tail.get(1..).unwrap_or_default(),
            _ => tail,
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_64_bits_are_seen_outside_of_text_only() {
        let check = |json: &str, expect: bool| assert_eq!(has_rounded_number(json.as_bytes()), expect, "{json}");
        check("18446744073709551616", true);
        check("-9223372036854775809", true);
        check(r#"{"a":[1, -18446744073709551616]}"#, true);
        check(r#"{"18446744073709551616":"18446744073709551616"}"#, false);
        check(r#""\"18446744073709551616""#, false);
        check("18446744073709551616.5", false);
        check("1e300", false);
        check("0.18446744073709551616", false);
        check("[18446744073709551615,-9223372036854775808,-0]", false);
    }
}
