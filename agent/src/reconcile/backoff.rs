//! How often a workload has failed here, and when it may be tried again.
//!
//! Owns counting and waiting for one workload. Failures belong to a digest: another one starts with a clean record.

use super::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, HEALTHY_AFTER_MS};
use crate::placement::{Instance, Phase};
use crate::spec::Digest;

/// The failures of one workload in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    record: Option<Record>,
    ready_since_ms: Option<u64>,
}

#[derive(Clone, Debug)]
struct Record {
    digest: Digest,
    failures: u32,
    reason: String,
    last_ms: u64,
    /// Whether it is of no use to try again.
    permanent: bool,
    /// The failure that is to be seen has been counted; cleared by the next attempt.
    counted: bool,
}

impl Failures {
    /// Takes note of what is here now.
    pub(super) fn observe(&mut self, here: Option<&Instance>, now_ms: u64) {
        let permanent = here.is_some_and(|instance| instance.permanent);
        match here.map(|instance| (&instance.phase, instance.digest)) {
            Some((Phase::Failed { reason }, digest)) => {
                self.ready_since_ms = None;
                self.count(digest, reason, permanent, now_ms);
            }
            Some((Phase::Ready, _)) => {
                let since_ms = *self.ready_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since_ms) >= HEALTHY_AFTER_MS {
                    self.record = None;
                }
            }
            Some((Phase::Starting | Phase::Stopping, _)) | None => self.ready_since_ms = None,
        }
    }

    /// An attempt is being made; what fails next is a new failure.
    pub(super) fn attempt(&mut self) {
        if let Some(record) = &mut self.record {
            record.counted = false;
        }
    }

    /// Why `digest` is not tried again, if it is not.
    pub(super) fn given_up(&self, digest: Digest) -> Option<&str> {
        let record = self.record.as_ref().filter(|record| record.digest == digest && record.permanent)?;
        Some(&record.reason)
    }

    /// Failures in a row, the last reason and the milliseconds still to wait before `digest` may be tried again.
    pub(super) fn wait(&self, digest: Digest, now_ms: u64) -> Option<(u32, String, u64)> {
        let record = self.record.as_ref().filter(|record| record.digest == digest)?;
        let doublings = record.failures.saturating_sub(1).min(u64::BITS - 1);
        let wait_ms = BACKOFF_MIN_MS.saturating_mul(1 << doublings).min(BACKOFF_MAX_MS);
        let remaining_ms = record.last_ms.saturating_add(wait_ms).saturating_sub(now_ms);
        (remaining_ms > 0).then(|| (record.failures, record.reason.clone(), remaining_ms))
    }

    /// The last reason and the milliseconds until it may be forgotten on a host that should not run the workload.
    pub(super) fn remembered(&self, now_ms: u64) -> Option<(String, u64)> {
        let record = self.record.as_ref()?;
        let remaining_ms = record.last_ms.saturating_add(BACKOFF_MAX_MS).saturating_sub(now_ms);
        (remaining_ms > 0).then(|| (record.reason.clone(), remaining_ms))
    }

    fn count(&mut self, digest: Digest, reason: &str, permanent: bool, now_ms: u64) {
        let failures = match &self.record {
            Some(record) if record.digest == digest && record.counted => return,
            Some(record) if record.digest == digest => record.failures.saturating_add(1),
            Some(_) | None => 1,
        };
        self.record =
            Some(Record { digest, failures, reason: reason.to_owned(), last_ms: now_ms, permanent, counted: true });
    }
}
