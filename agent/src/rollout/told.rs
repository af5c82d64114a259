//! What a host tells the others of a rollout, in its record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Figures, Runs};
use crate::spec::{DeploymentId, Revision};

/// Versions in one report: the new one and the old one, and as many of newer releases.
const VERSIONS_MAX: usize = 4;
/// Longest reason, in bytes: what an instance's failure is cut to.
const REASON_BYTES_MAX: usize = 256;

/// One host's part in one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The deployment that is rolled out. What is told of another one counts for nothing.
    #[serde(rename = "o")]
    pub of: DeploymentId,
    /// Each version that is or was there.
    #[serde(rename = "v")]
    pub versions: Vec<ToldVersion>,
}

/// One version on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldVersion {
    #[serde(rename = "v")]
    revision: Revision,
    /// For how long it has been ready, in milliseconds.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    ready_ms: Option<u64>,
    /// Why it could not be started.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// Whether it is not there any more.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    #[serde(rename = "c", default)]
    calls: u64,
    #[serde(rename = "t", default)]
    traps: u64,
    #[serde(rename = "p", default)]
    p99_ms: f64,
}

impl Told {
    /// What is told of these versions.
    #[must_use]
    pub fn new(of: DeploymentId, versions: &BTreeMap<Revision, (Runs, Figures)>) -> Self {
        let version = |(revision, (runs, figures)): (&Revision, &(Runs, Figures))| ToldVersion {
            revision: *revision,
            ready_ms: if let Runs::Ready { for_ms } = runs { Some(*for_ms) } else { None },
            failed: if let Runs::Failed { reason } = runs { Some(shortened(reason)) } else { None },
            gone: matches!(runs, Runs::Gone),
            calls: figures.calls,
            traps: figures.traps,
            p99_ms: figures.p99_ms,
        };
        Self { of, versions: versions.iter().map(version).collect() }
    }

    /// The versions as they were told.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<Revision, (Runs, Figures)> {
        let read = |told: &ToldVersion| {
            let runs = match (told.ready_ms, &told.failed) {
                (Some(for_ms), _) => Runs::Ready { for_ms },
                (None, Some(reason)) => Runs::Failed { reason: reason.clone() },
                (None, None) if told.gone => Runs::Gone,
                (None, None) => Runs::Unready,
            };
            (told.revision, (runs, Figures { calls: told.calls, traps: told.traps, p99_ms: told.p99_ms }))
        };
        self.versions.iter().take(VERSIONS_MAX).map(read).collect()
    }

    /// Whether it keeps its bounds.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        let short = |version: &ToldVersion| version.failed.as_ref().is_none_or(|why| why.len() <= REASON_BYTES_MAX);
        self.versions.len() <= VERSIONS_MAX && self.versions.iter().all(short)
    }
}

fn shortened(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Digest, Spec};

    #[test]
    fn what_is_told_survives_its_bytes_and_is_bounded() {
        let revision = |name: &[u8]| Spec::new(Digest::of(name)).revision();
        let figures = Figures { calls: 10, traps: 1, p99_ms: 2.5 };
        let versions = BTreeMap::from([
            (revision(b"a"), (Runs::Ready { for_ms: 7 }, figures)),
            (revision(b"b"), (Runs::Failed { reason: "ä".repeat(500) }, Figures::default())),
            (revision(b"c"), (Runs::Gone, figures)),
            (revision(b"d"), (Runs::Unready, Figures::default())),
        ]);
        let told = Told::new(DeploymentId::of("x"), &versions);
        assert!(told.is_sane());
        let bytes = selvedge_sync::codec::encode(&told);
        let read: Told = selvedge_sync::codec::decode(&bytes, bytes.len()).expect("decodes");
        assert_eq!(read, told);
        let (runs, kept) = &read.versions()[&revision(b"c")];
        assert_eq!((runs, kept), (&Runs::Gone, &figures));
        assert!(matches!(&read.versions()[&revision(b"b")].0, Runs::Failed { reason } if reason.len() == 256));
    }
}
