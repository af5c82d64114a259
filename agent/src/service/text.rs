//! Ids that stand in JSON as the text that people and URLs use. Owns the two serde adapters for that.

use std::fmt::Display;
use std::str::FromStr;

use selvedge_sync::hlc::Hlc;
use serde::{Deserialize, Deserializer, Serializer, de};

pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

/// A clock stamp as `milliseconds.counter`: its integer form is beyond what a JSON number holds exactly everywhere.
pub(super) mod stamp {
    use super::{Deserialize, Deserializer, Hlc, de};

    pub(in crate::service) use super::serialize;

    pub(in crate::service) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hlc, D::Error> {
        let text = String::deserialize(deserializer)?;
        let stamp = text.split_once('.').and_then(|(millis, counter)| {
            let millis = Hlc::from_millis(millis.parse().ok()?);
            Some(Hlc(millis.0 | u64::from(counter.parse::<u16>().ok()?)))
        });
        stamp.ok_or_else(|| de::Error::custom("a stamp is written milliseconds.counter"))
    }
}
