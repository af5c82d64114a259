//! Where a call comes from, as its caller says: in headers, or in the fields of a frame.
//!
//! Owns the bounds of it and the words of what is wrong.

use axum::http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::limits::RTT_MS_MAX;
use crate::service::{Fault, ServiceError};
use crate::spec::is_token;

const REGION: HeaderName = HeaderName::from_static("selvedge-region");
const ROUND_TRIP: HeaderName = HeaderName::from_static("selvedge-rtt-ms");

/// What a caller says of where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Origin {
    /// The region that it is in.
    pub(super) region: Option<String>,
    /// Round trip to this host in milliseconds, as it has measured it.
    pub(super) rtt_ms: Option<f64>,
}

impl Origin {
    /// What headers say.
    ///
    /// # Errors
    /// The caller's: one of them says nothing that makes sense.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ServiceError> {
        let mut origin = Self::default();
        if let Some(value) = headers.get(REGION) {
            let region = value.to_str().ok().filter(|region| is_token(region));
            let wrong = || bad_header(&REGION, "the name of a region: 1 to 64 bytes without blanks");
            origin.region = Some(region.ok_or_else(wrong)?.to_owned());
        }
        if let Some(value) = headers.get(ROUND_TRIP) {
            let rtt_ms = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(is_round_trip);
            origin.rtt_ms = Some(rtt_ms.ok_or_else(|| bad_header(&ROUND_TRIP, &round_trip_wanted()))?);
        }
        Ok(origin)
    }

    /// Takes a field of a frame.
    ///
    /// # Errors
    /// The caller's: it says nothing that makes sense.
    pub(super) fn set_region(&mut self, value: &Value) -> Result<(), ServiceError> {
        let region = value.as_str().filter(|region| is_token(region));
        let wrong = || bad_field("region", "the name of a region: 1 to 64 bytes without blanks");
        self.region = Some(region.ok_or_else(wrong)?.to_owned());
        Ok(())
    }

    /// Takes a field of a frame.
    ///
    /// # Errors
    /// The caller's: it says nothing that makes sense.
    pub(super) fn set_rtt_ms(&mut self, value: &Value) -> Result<(), ServiceError> {
        let rtt_ms = value.as_f64().filter(is_round_trip);
        self.rtt_ms = Some(rtt_ms.ok_or_else(|| bad_field("rtt_ms", &round_trip_wanted()))?);
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "filters of options ask in this way")]
fn is_round_trip(rtt_ms: &f64) -> bool {
    (0.0..=RTT_MS_MAX).contains(rtt_ms)
}

fn round_trip_wanted() -> String {
    format!("a number of milliseconds from 0 to {RTT_MS_MAX}")
}

fn bad_header(name: &HeaderName, wanted: &str) -> ServiceError {
    ServiceError::new(Fault::Caller, "bad_header", format!("`{name}` must be {wanted}")).at(name.as_str().to_owned())
}

fn bad_field(name: &'static str, wanted: &str) -> ServiceError {
    ServiceError::new(Fault::Caller, "bad_parameter", format!("`{name}` must be {wanted}")).at(name)
}
