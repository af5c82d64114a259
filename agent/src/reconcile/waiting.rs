//! Why nothing is done yet about a workload, for scripts and in words.

use std::fmt;
use std::time::Duration;

use selvedge_sync::id::NodeId;
use serde::Serialize;

use super::CutOff;
use crate::placement::Reason;

/// Why nothing is done yet about a workload whose plan and reality differ. Durations count from the last decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "waiting", rename_all = "snake_case")]
pub enum Waiting {
    /// This host is better than the one that runs it, but has not led for long enough.
    Dwelling {
        /// The host that runs it.
        from: NodeId,
        /// By how much this host's score is better.
        gain: f64,
        /// Milliseconds still to lead.
        remaining_ms: u64,
        /// How long it has to lead in all, in milliseconds.
        dwell_ms: u64,
    },
    /// Not everybody has been heard since this agent started, and whoever has not may run it.
    Hearing {
        /// Members who have not been heard.
        unheard: usize,
        /// Milliseconds until that no longer counts.
        remaining_ms: u64,
    },
    /// It failed here and will be tried again.
    BackingOff {
        /// Failures in a row.
        failures: u32,
        /// The last one, for people.
        reason: String,
        /// Milliseconds until the next attempt.
        remaining_ms: u64,
    },
    /// It failed here for a reason that lies in what is to run, and is not tried again until that changes.
    GivenUp {
        /// The failure, for people.
        reason: String,
    },
    /// It should not run here, but too few of the chosen hosts are ready.
    Replacements {
        /// Chosen hosts that are ready.
        ready: usize,
        /// How many must be.
        required: usize,
    },
    /// This host should not run it, and too few others may: it goes on here until they can.
    NowhereElse {
        /// Why this host should not.
        why: Reason,
        /// Instances that there should be.
        wanted: usize,
        /// How many of them other hosts are there for.
        placed: usize,
    },
    /// It drains: it answers what still comes, until it stops.
    Draining {
        /// Milliseconds until it stops.
        remaining_ms: u64,
    },
    /// It should run here, and may not while this host is cut off.
    CutOff {
        /// Why not.
        why: CutOff,
    },
    /// It follows a version that is not at hand or that nobody signed who may: what runs goes on, and nothing starts.
    VersionBefore,
    /// The state has been written by a newer schema than the deployment knows: it does not run.
    Fenced {
        /// The newest schema that the state has been written by.
        stored: u32,
        /// The schema that it knows.
        offered: u32,
    },
    /// It failed here and was placed elsewhere; the failure is remembered, so that it does not come straight back.
    Remembering {
        /// The failure, for people.
        reason: String,
        /// Milliseconds until it is forgotten.
        remaining_ms: u64,
    },
}

/// In words, as the end of a sentence that begins with the host: "waits: …". Hosts are named by their ids.
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dwelling { from, gain, remaining_ms, dwell_ms } => write!(
                f,
                "dwelling: has been better than {from} by {gain:.3} for {} of {}",
                seconds(dwell_ms.saturating_sub(*remaining_ms)),
                seconds(*dwell_ms)
            ),
            Self::Hearing { unheard, remaining_ms } => {
                write!(f, "listening: {unheard} members not heard yet; {} left", seconds(*remaining_ms))
            }
            Self::BackingOff { failures, reason, remaining_ms } => {
                write!(f, "backing off: failed {failures} times ({reason}); again in {}", seconds(*remaining_ms))
            }
            Self::GivenUp { reason } => {
                write!(f, "given up: {reason}; tried again when it is deployed anew")
            }
            Self::Replacements { ready, required } => {
                write!(f, "handing over: {ready} of {required} others are ready")
            }
            Self::NowhereElse { why, wanted, placed } => {
                let others = match placed {
                    0 => "no other host qualifies".to_owned(),
                    placed => format!("other hosts have only {placed} of {wanted} instances"),
                };
                write!(f, "kept: this host {why}, and {others}")
            }
            Self::Draining { remaining_ms } => write!(f, "draining: stops in {}", seconds(*remaining_ms)),
            Self::CutOff { why } => write!(f, "cut off: {why}"),
            Self::VersionBefore => {
                f.write_str("held: the version that it follows is not at hand or not signed; deploy again to start it without a trial")
            }
            Self::Fenced { stored, offered } => write!(
                f,
                "fenced: the state has been written by schema {stored} and this version knows schema {offered}; deploy one with `state_schema` {stored} or above, or this one with --force"
            ),
            Self::Remembering { reason, remaining_ms } => {
                write!(f, "failed here ({reason}); forgotten in {}", seconds(*remaining_ms))
            }
        }
    }
}

/// A span of time with a tenth of a second as its smallest part.
fn seconds(ms: u64) -> impl fmt::Display {
    humantime::format_duration(Duration::from_millis(ms.next_multiple_of(100)))
}
