//! Who deployed a spec, when, and over what: what is stored beside a spec's own fields, and signed with it.
//!
//! Owns the name of a deployment, which is the hash of the whole text: what is deployed twice has two names. The invariant: a
//! deployment names the one before it by that hash, so that nobody can put another in its place.

use std::fmt;
use std::str::FromStr;

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Spec;

/// The field of the stored text that holds an [`Origin`]. Members of an older release pass over it.
const FIELD: &str = "deployed";

/// The name of one deployment: the first 128 bits of the BLAKE3 hash of its text. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId([u8; 16]);

/// Text that names no deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deployment's name is 32 hexadecimal digits")]
pub struct ParseDeploymentIdError;

/// Where a deployment comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// By whose agent it was deployed; `None` in what an older release has stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<NodeId>,
    /// When, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub at_ms: u64,
    /// The deployment whose version runs until this one has shown that it is no worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<DeploymentId>,
    /// Whether it runs everywhere at once, with nothing to compare.
    #[serde(default)]
    pub at_once: bool,
    /// The deployment that was taken back by hand with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<DeploymentId>,
    /// Whether its deployer has it run although it is older than the state, or lacks functions of the version before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

impl DeploymentId {
    /// The name of the deployment that has this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let hash = blake3::hash(text.as_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        Self(*first)
    }

    /// A number that orders hosts for this deployment, the same everywhere: rendezvous hashing.
    #[must_use]
    pub fn rank(&self, node: &NodeId) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&node.0);
        let hash = hasher.finalize();
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        u64::from_be_bytes(*first)
    }
}

impl Origin {
    /// What a stored text says of itself; nothing where an older release wrote it.
    #[must_use]
    pub fn read(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Stored {
            deployed: Option<Origin>,
        }
        serde_json::from_str::<Stored>(text).ok().and_then(|stored| stored.deployed).unwrap_or_default()
    }

    /// The text that is stored of a spec.
    #[must_use]
    pub fn text(&self, spec: &Spec) -> String {
        self.put_into(serde_json::to_value(spec).expect("a spec serialises"))
    }

    /// A text with this origin in the place of its own, and all else as it was.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn renew(&self, text: &str) -> Result<String, serde_json::Error> {
        Ok(self.put_into(serde_json::from_str(text)?))
    }

    fn put_into(&self, mut stored: Value) -> String {
        if let Value::Object(fields) = &mut stored {
            fields.insert(FIELD.to_owned(), serde_json::to_value(self).expect("an origin serialises"));
        }
        stored.to_string()
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeploymentId {
    type Err = ParseDeploymentIdError;

    fn from_str(text: &str) -> Result<Self, ParseDeploymentIdError> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(ParseDeploymentIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for DeploymentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeploymentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::*;

    #[test]
    fn what_is_deployed_twice_has_two_names_and_one_spec() {
        let spec = Spec::new(Digest::of(b"a"));
        let origin = |at_ms| Origin { by: Some(NodeId([1; 32])), at_ms, ..Origin::default() };
        let [one, two] = [1, 2].map(|at_ms| origin(at_ms).text(&spec));
        assert_ne!(DeploymentId::of(&one), DeploymentId::of(&two));
        assert_eq!(Origin::read(&one), origin(1));
        assert_eq!(serde_json::from_str::<Spec>(&one).expect("a spec"), spec);
        assert_eq!(origin(2).renew(&one).expect("JSON"), two);
    }

    #[test]
    fn what_an_older_release_stored_has_no_origin() {
        let text = serde_json::to_string(&Spec::new(Digest::of(b"a"))).expect("JSON");
        for text in [text.as_str(), "{}", "[1]", r#"{"deployed":7}"#] {
            assert_eq!(Origin::read(text), Origin::default(), "{text}");
        }
    }

    #[test]
    fn names_survive_their_own_text() {
        let id = DeploymentId::of("x");
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "7", &"g".repeat(32), &"A".repeat(32), &"1".repeat(33)] {
            assert_eq!(other.parse::<DeploymentId>(), Err(ParseDeploymentIdError), "{other}");
        }
    }
}
