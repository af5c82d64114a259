//! What a new version of a workload must keep to before it replaces the old one: `rollout` in a spec.
//!
//! Owns the fields, their bounds and defaults; `rollout` compares. All are whole numbers, so that two specs are equal or not.

use serde::Serialize;
use serde_json::Value;

use super::SpecError;
use super::fields::{Fields, Unknown};

/// How long the first instance of a new version serves before others follow when the spec is silent, in milliseconds: some hundreds
/// of rounds of a game server, and not too long for whoever waits for a deployment.
pub const CANARY_MS_DEFAULT: u32 = 5_000;
/// Longest such time, in milliseconds: an hour. Who wants to watch a version for longer deploys it under a name of its own.
pub const CANARY_MS_MAX: u32 = 3_600_000;
/// Calls that it answers meanwhile when the spec is silent, if it is called at all: from so many on the slow ones are compared.
pub const CANARY_CALLS_DEFAULT: u32 = 500;
/// Most such calls that a spec may ask for: minutes of a busy host.
pub(super) const CANARY_CALLS_MAX: u32 = 1_000_000;
/// By how much the share of its calls that fail may exceed the old version's when the spec is silent, in thousandths.
pub(super) const TRAPS_PERMILLE_DEFAULT: u16 = 10;
/// The least that its p99 may come to when the spec is silent, in hundredths of the old version's.
pub(super) const SLOWDOWN_PERCENT_DEFAULT: u16 = 150;
/// Most that may be allowed of it; what is that much slower is not compared any more.
pub(super) const SLOWDOWN_PERCENT_MAX: u16 = 10_000;

/// What a new version must keep to. `{"canary_ms": 5000, "calls": 500, "traps_permille": 10, "slowdown_percent": 150}` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gates {
    /// How long the first instance must have been ready, in milliseconds; 0: all hosts change at once, and nothing is compared.
    pub canary_ms: u32,
    /// Calls that it must have answered, if it is called at all.
    pub calls: u32,
    /// By how much the share of its calls that fail may exceed the old version's, in thousandths.
    pub traps_permille: u16,
    /// What its p99 may come to, in hundredths of the old version's.
    pub slowdown_percent: u16,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            canary_ms: CANARY_MS_DEFAULT,
            calls: CANARY_CALLS_DEFAULT,
            traps_permille: TRAPS_PERMILLE_DEFAULT,
            slowdown_percent: SLOWDOWN_PERCENT_DEFAULT,
        }
    }
}

/// Reads the field `rollout` of a spec.
pub(super) fn read(spec: &Fields<'_>, unknown: Unknown) -> Result<Gates, SpecError> {
    let default = Gates::default();
    let Some(json) = spec.object("rollout") else { return Ok(default) };
    match of(json, unknown, default) {
        // Bounds may be wider among newer members.
        Err(_) if unknown == Unknown::PassedOver => Ok(default),
        gates => gates,
    }
}

fn of(json: &Value, unknown: Unknown, default: Gates) -> Result<Gates, SpecError> {
    let fields = Fields::new("rollout", json, &["canary_ms", "calls", "traps_permille", "slowdown_percent"], unknown)?;
    Ok(Gates {
        canary_ms: fields.millis("canary_ms", 0..=CANARY_MS_MAX)?.unwrap_or(default.canary_ms),
        calls: fields.integer("calls", 0..=CANARY_CALLS_MAX)?.unwrap_or(default.calls),
        traps_permille: fields.integer("traps_permille", 0..=1_000)?.unwrap_or(default.traps_permille),
        slowdown_percent: fields
            .integer("slowdown_percent", 100..=SLOWDOWN_PERCENT_MAX)?
            .unwrap_or(default.slowdown_percent),
    })
}
