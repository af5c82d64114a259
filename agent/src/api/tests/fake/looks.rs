//! What tests see of the fake: what it was asked, and what it holds.

use std::time::Duration;

use super::{Entered, Fake};

impl Fake {
    /// How many commits, workloads and artefacts there are: what must not change when a request fails.
    pub(in crate::api::tests) fn changes(&self) -> (u64, usize, usize) {
        let inner = self.lock();
        (inner.seq, inner.workloads.len(), inner.artifacts)
    }

    pub(in crate::api::tests) fn last_was_durable(&self) -> bool {
        self.lock().durable
    }

    /// The calls that came in, and the session of the last one that was made.
    pub(in crate::api::tests) fn entered(&self) -> (Vec<Entered>, Option<u64>) {
        let inner = self.lock();
        (inner.entered.clone(), inner.session)
    }

    pub(in crate::api::tests) fn last_deadline(&self) -> Option<Duration> {
        self.lock().deadline
    }

    /// How many calls of `wait` there are, and how many there were at most at one time.
    pub(in crate::api::tests) fn waiting(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.waiting, inner.waiting_most)
    }
}
