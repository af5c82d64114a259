//! Which of the two forms a document has: JSON, or CBOR where somebody asks for it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::encoding::Encoding;

/// The media type of CBOR (RFC 8949).
const CBOR: &str = "application/cbor";

/// The form of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Media {
    #[default]
    Json,
    Cbor,
}

impl Media {
    /// The form of a request's body: JSON unless it says that it is CBOR.
    pub(super) fn of_body(headers: &HeaderMap) -> Self {
        if says(headers, header::CONTENT_TYPE, CBOR) { Self::Cbor } else { Self::Json }
    }

    /// The form in which a request wants its answer: what it accepts, or else the form of its body.
    pub(super) fn of_answer(headers: &HeaderMap) -> Self {
        if says(headers, header::ACCEPT, CBOR) {
            Self::Cbor
        } else if says(headers, header::ACCEPT, "application/json") {
            Self::Json
        } else {
            Self::of_body(headers)
        }
    }

    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Cbor => Encoding::Cbor,
        }
    }

    /// A document that is encoded so, as an answer.
    pub(super) fn encoded(self, document: Vec<u8>) -> Response {
        let media = match self {
            Self::Json => "application/json",
            Self::Cbor => CBOR,
        };
        ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], document).into_response()
    }

    /// A document as an answer.
    pub(super) fn response<T: Serialize>(self, document: &T) -> Response {
        self.encoded(self.encoding().encode(document))
    }
}

/// Whether a header lists a media type.
pub(super) fn says(headers: &HeaderMap, name: HeaderName, media: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        value.split(',').any(|one| one.split(';').next().unwrap_or(one).trim().eq_ignore_ascii_case(media))
    })
}
