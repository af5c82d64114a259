//! What a host tells the others of a rollout, in its record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Figures, Runs};
use crate::spec::{DeploymentId, Revision};

/// Versions in one report: the new one and the old one, and as many of newer releases.
const VERSIONS_MAX: usize = 4;
/// By which factor a time or a count has to move to be news: at first seconds matter, later minutes do.
const FACTOR: f64 = 1.25;
/// Most calls that are believed: a million a second for more than a week.
const CALLS_MAX: u64 = 1_000_000_000_000;
/// The longest time of a call that is believed, in milliseconds: what is measured of one goes no further.
const CALL_MS_MAX: f64 = 60_000.0;
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
    /// How calls of the old version went there since the deployment.
    #[serde(rename = "l", default, skip_serializing_if = "ToldFigures::is_none")]
    lately: ToldFigures,
    /// Whether a start of the workload waits there until others are over.
    #[serde(rename = "q", default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
}

/// How calls went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ToldFigures {
    #[serde(rename = "c", default)]
    calls: u64,
    #[serde(rename = "t", default)]
    traps: u64,
    #[serde(rename = "h", default)]
    p50_ms: f64,
    #[serde(rename = "p", default)]
    p99_ms: f64,
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
    #[serde(rename = "h", default)]
    p50_ms: f64,
    #[serde(rename = "p", default)]
    p99_ms: f64,
}

impl Told {
    /// What is told of these versions, and of the old one since the deployment.
    #[must_use]
    pub fn new(of: DeploymentId, versions: &BTreeMap<Revision, (Runs, Figures)>, lately: Figures) -> Self {
        let version = |(revision, (runs, figures)): (&Revision, &(Runs, Figures))| ToldVersion {
            revision: *revision,
            ready_ms: if let Runs::Ready { for_ms } = runs { Some(*for_ms) } else { None },
            failed: if let Runs::Failed { reason, .. } = runs { Some(shortened(reason)) } else { None },
            passing: matches!(runs, Runs::Failed { passing: true, .. }),
            gone: matches!(runs, Runs::Gone),
            calls: figures.calls,
            traps: figures.traps,
            p50_ms: figures.p50_ms,
            p99_ms: figures.p99_ms,
        };
        Self { of, versions: versions.iter().map(version).collect(), lately: ToldFigures::of(&lately), queued: false }
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
            (told.revision, (runs, told.figures().read()))
        };
        self.versions.iter().take(VERSIONS_MAX).map(read).collect()
    }

    /// How calls of the old version went since the deployment.
    #[must_use]
    pub fn lately(&self) -> Figures {
        self.lately.read()
    }

    /// Whether others would do something else than after `before`, or soon: what merely goes on is no news, or each host would repeat its
    /// whole record all the while.
    #[must_use]
    pub fn is_news_after(&self, before: &Self) -> bool {
        let is_news = |(now, before): (&ToldVersion, &ToldVersion)| now.is_news_after(before);
        (self.of, self.queued) != (before.of, before.queued)
            || self.lately.is_news_after(&before.lately)
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
    const fn figures(&self) -> ToldFigures {
        let Self { calls, traps, p50_ms, p99_ms, .. } = *self;
        ToldFigures { calls, traps, p50_ms, p99_ms }
    }

    fn is_news_after(&self, before: &Self) -> bool {
        let ready_ms = |told: &Self| told.ready_ms.unwrap_or_default() as f64;
        let state =
            |told: &Self| (told.revision, told.ready_ms.is_some(), told.failed.clone(), told.passing, told.gone);
        state(self) != state(before)
            || moved(ready_ms(self), ready_ms(before))
            || self.figures().is_news_after(&before.figures())
    }
}

impl ToldFigures {
    const fn of(figures: &Figures) -> Self {
        let Figures { calls, traps, p50_ms, p99_ms } = *figures;
        Self { calls, traps, p50_ms, p99_ms }
    }

    /// As much of it as can be.
    fn read(&self) -> Figures {
        let ms = |ms: f64| if ms.is_finite() { ms.clamp(0.0, CALL_MS_MAX) } else { 0.0 };
        let calls = self.calls.min(CALLS_MAX);
        Figures { calls, traps: self.traps.min(calls), p50_ms: ms(self.p50_ms), p99_ms: ms(self.p99_ms) }
    }

    fn is_news_after(&self, before: &Self) -> bool {
        let all = |told: &Self| [told.calls as f64, told.traps as f64, told.p50_ms, told.p99_ms];
        all(self).into_iter().zip(all(before)).any(|(now, before)| moved(now, before))
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

fn moved(now: f64, before: f64) -> bool {
    now > before * FACTOR || before > now * FACTOR
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
            let figures = Figures { calls: for_ms / 10, traps, p50_ms: 1.0, p99_ms: 2.0 };
            let revision = Spec::new(Digest::of(b"a")).revision();
            Told::new(DeploymentId::of("x"), &BTreeMap::from([(revision, (Runs::Ready { for_ms }, figures))]), figures)
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
        let figures = Figures { calls: 10, traps: 1, p50_ms: 1.5, p99_ms: 2.5 };
        let versions = BTreeMap::from([
            (revision(b"a"), (Runs::Ready { for_ms: 7 }, figures)),
            (revision(b"b"), (Runs::Failed { reason: "ä".repeat(500), passing: true }, Figures::default())),
            (revision(b"c"), (Runs::Gone, figures)),
            (revision(b"d"), (Runs::Unready, Figures::default())),
        ]);
        let told = Told::new(DeploymentId::of("x"), &versions, figures);
        assert!(told.is_sane());
        let bytes = selvedge_sync::codec::encode(&told);
        let read: Told = selvedge_sync::codec::decode(&bytes, bytes.len()).expect("decodes");
        assert_eq!((&read, read.lately()), (&told, figures));
        let (runs, kept) = &read.versions()[&revision(b"c")];
        assert_eq!((runs, kept), (&Runs::Gone, &figures));
        assert!(
            matches!(&read.versions()[&revision(b"b")].0, Runs::Failed { reason, passing: true } if reason.len() == 256)
        );
    }

    #[test]
    fn what_cannot_be_is_read_as_the_nearest_that_can() {
        let revision = Spec::new(Digest::of(b"a")).revision();
        let read = |figures| {
            let versions = BTreeMap::from([(revision, (Runs::Unready, figures))]);
            Told::new(DeploymentId::of("x"), &versions, Figures::default()).versions()[&revision].1
        };
        let lie = Figures { calls: u64::MAX, traps: u64::MAX, p50_ms: f64::NAN, p99_ms: 1e300 };
        let most = Figures { calls: CALLS_MAX, traps: CALLS_MAX, p50_ms: 0.0, p99_ms: CALL_MS_MAX };
        assert_eq!(read(lie), most);
        let other = read(Figures { calls: 7, traps: 8, p50_ms: -1.0, p99_ms: f64::NEG_INFINITY });
        assert_eq!(other, Figures { calls: 7, traps: 7, ..Figures::default() });
    }
}
