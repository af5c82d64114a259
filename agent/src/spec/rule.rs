//! Rules about hosts: what a spec prefers (`affinity`) or demands (`must`).
//!
//! Owns their text form; whether a rule holds for a host is asked with [`Rule::holds`]. The list in which it stands decides
//! whether it costs score or rejects the host; that is placement's affair.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{WorkloadName, is_token};

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// `node=NAME`: the host of this name.
    Node(String),
    /// `region=R`: hosts of this region.
    Region(String),
    /// `capability=C`: hosts that have it.
    Capability(String),
    /// `label:KEY=VALUE`: hosts that carry this label.
    Label {
        /// The label's key.
        key: String,
        /// The value that it must have.
        value: String,
    },
    /// `workload=NAME`: hosts that run this other workload.
    Workload(WorkloadName),
}

/// A preference, such as `region=eu`, or with a `!` in front its opposite: `!label:tier=spot`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What it looks at.
    pub matches: Match,
    /// Whether it is anti-affinity: it holds where the match does not.
    pub not: bool,
}

/// Text that is no affinity rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rule is `node=NAME`, `region=REGION`, `capability=NAME`, `label:KEY=VALUE` or `workload=NAME`, with `!` in front for its opposite"
)]
pub struct ParseRuleError;

impl Rule {
    /// Whether the rule holds, given whether its match is true of a host.
    #[must_use]
    pub const fn holds(&self, matched: bool) -> bool {
        matched != self.not
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let (not, positive) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let (subject, value) = positive.split_once('=').ok_or(ParseRuleError)?;
        if !is_token(value) {
            return Err(ParseRuleError);
        }
        let value = value.to_owned();
        let matches = match subject {
            "node" => Match::Node(value),
            "region" => Match::Region(value),
            "capability" => Match::Capability(value),
            "workload" => Match::Workload(value.parse().map_err(|_| ParseRuleError)?),
            // `label k=v` reads well in a file; `label:k=v` needs no quotes in a shell and is how we show it.
            label => match label.strip_prefix("label:").or_else(|| label.strip_prefix("label ")) {
                Some(key) if is_token(key) => Match::Label { key: key.to_owned(), value },
                Some(_) | None => return Err(ParseRuleError),
            },
        };
        Ok(Self { matches, not })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "!" } else { "" };
        match &self.matches {
            Match::Node(name) => write!(f, "{not}node={name}"),
            Match::Region(region) => write!(f, "{not}region={region}"),
            Match::Capability(capability) => write!(f, "{not}capability={capability}"),
            Match::Label { key, value } => write!(f, "{not}label:{key}={value}"),
            Match::Workload(workload) => write!(f, "{not}workload={workload}"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
