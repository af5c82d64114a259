//! What a host tells the others of a rollout, in its record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Figures, Runs};
use crate::spec::{DeploymentId, Revision};

/// Versions in one report: the new one and the old one, and as many of newer releases.
const VERSIONS_MAX: usize = 4;
/// By which factor a time or a count has to move to be news: at first seconds matter, later minutes do.
const FACTOR: f64 = 1.25;
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
    /// Whether that may pass.
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    passing: bool,
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
            failed: if let Runs::Failed { reason, .. } = runs { Some(shortened(reason)) } else { None },
            passing: matches!(runs, Runs::Failed { passing: true, .. }),
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
                (None, Some(reason)) => Runs::Failed { reason: reason.clone(), passing: told.passing },
                (None, None) if told.gone => Runs::Gone,
                (None, None) => Runs::Unready,
            };
            (told.revision, (runs, Figures { calls: told.calls, traps: told.traps, p99_ms: told.p99_ms }))
        };
        self.versions.iter().take(VERSIONS_MAX).map(read).collect()
    }

    /// Whether others would do something else than after `before`, or soon: what merely goes on is no news, or each host would repeat its
    /// whole record all the while.
    #[must_use]
    pub fn is_news_after(&self, before: &Self) -> bool {
        let is_news = |(now, before): (&ToldVersion, &ToldVersion)| now.is_news_after(before);
        self.of != before.of
            || self.versions.len() != before.versions.len()
            || self.versions.iter().zip(&before.versions).any(is_news)
    }

    /// Whether it keeps its bounds.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        let short = |version: &ToldVersion| version.failed.as_ref().is_none_or(|why| why.len() <= REASON_BYTES_MAX);
        self.versions.len() <= VERSIONS_MAX && self.versions.iter().all(short)
    }
}

impl ToldVersion {
    fn is_news_after(&self, before: &Self) -> bool {
        let figures =
            |told: &Self| [told.ready_ms.unwrap_or_default() as f64, told.calls as f64, told.traps as f64, told.p99_ms];
        let moved = |(now, before): (f64, f64)| now > before * FACTOR || before > now * FACTOR;
        let state =
            |told: &Self| (told.revision, told.ready_ms.is_some(), told.failed.clone(), told.passing, told.gone);
        state(self) != state(before) || figures(self).into_iter().zip(figures(before)).any(moved)
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
    fn what_merely_goes_on_is_news_ever_more_rarely() {
        let told = |for_ms, traps| {
            let figures = Figures { calls: for_ms / 10, traps, p99_ms: 2.0 };
            let revision = Spec::new(Digest::of(b"a")).revision();
            Told::new(DeploymentId::of("x"), &BTreeMap::from([(revision, (Runs::Ready { for_ms }, figures))]))
        };
        let mut last = told(0, 0);
        let mut times = 0;
        // Twice a second for five minutes.
        for half_second in 1..600 {
            let now = told(half_second * 500, 0);
            if now.is_news_after(&last) {
                (last, times) = (now, times + 1);
            }
        }
        assert!((10..=30).contains(&times), "{times}");
        assert!(told(60_000, 3).is_news_after(&told(60_000, 2)) && !told(60_000, 2).is_news_after(&told(60_000, 2)));
    }

    #[test]
    fn what_is_told_survives_its_bytes_and_is_bounded() {
        let revision = |name: &[u8]| Spec::new(Digest::of(name)).revision();
        let figures = Figures { calls: 10, traps: 1, p99_ms: 2.5 };
        let versions = BTreeMap::from([
            (revision(b"a"), (Runs::Ready { for_ms: 7 }, figures)),
            (revision(b"b"), (Runs::Failed { reason: "ä".repeat(500), passing: true }, Figures::default())),
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
        assert!(
            matches!(&read.versions()[&revision(b"b")].0, Runs::Failed { reason, passing: true } if reason.len() == 256)
        );
    }
}
