//! Where a sample's times are written down: when it began, and when the last of those who wait for it has it.
//!
//! Only the last one wakes whoever measures, so that measuring takes no core from what is measured.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The longest that one sample may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The board of one contender. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    sample: Arc<Mutex<Sample>>,
    done: Sender<Instant>,
}

#[derive(Debug, Default)]
struct Sample {
    number: u64,
    /// Who writes it.
    from: usize,
    /// How many have not seen it yet.
    left: usize,
    begun: Option<Instant>,
}

/// The end at which the samples' times come out.
#[derive(Debug)]
pub(crate) struct Clock {
    board: Board,
    done: Receiver<Instant>,
}

impl Board {
    /// The sample is written now; the first to say so counts.
    pub(crate) fn begin(&self) {
        self.lock().begun = Some(Instant::now());
    }

    /// `place` sees the sample of this number. Each is to say so once; what its writer says does not count.
    pub(crate) fn seen(&self, place: usize, number: u64) {
        let now = Instant::now();
        let mut sample = self.lock();
        if sample.number != number || sample.from == place || sample.left == 0 {
            return;
        }
        sample.left -= 1;
        if sample.left == 0 {
            // Whoever measured has given up if nobody listens.
            self.done.send(now).unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sample> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    pub(crate) fn new() -> Self {
        let (sender, done) = channel();
        Self { board: Board { sample: Arc::default(), done: sender }, done }
    }

    /// What those who take part write to.
    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Has `from` write something, and waits until `watchers` others have seen it.
    ///
    /// # Errors
    /// It is not seen in time.
    pub(crate) fn time(&self, number: u64, from: usize, watchers: usize, write: impl FnOnce()) -> Result<Duration> {
        while self.done.try_recv().is_ok() {}
        *self.board.lock() = Sample { number, from, left: watchers, begun: None };
        write();
        let seen = self.done.recv_timeout(PATIENCE).with_context(|| {
            let left = self.board.lock().left;
            format!("sample {number} was not seen by {left} of {watchers}")
        })?;
        let begun = self.board.lock().begun.context("a sample that nobody has begun")?;
        Ok(seen.saturating_duration_since(begun))
    }
}
