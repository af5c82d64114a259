//! The clock that stops guests.
//!
//! Owns one thread that advances the engine's epoch once a millisecond while any guest runs. Measures no deadline itself:
//! a store traps when the epoch has advanced often enough. The invariants: while a guest runs the epoch keeps up with the
//! wall clock, and it never leaps when a guest begins. The age of the last tick is there to be watched, because a ticker
//! that died would let a looping guest run for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::error::WasmError;

/// How often the epoch advances while a guest runs.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// How often the thread shows that it lives while none does.
const IDLE: Duration = Duration::from_millis(100);
/// After a stall (a suspended machine) the epoch catches up by this many ticks at most.
const CATCH_UP_MAX: u32 = 1_000;

/// What the ticker advances: the engine's epoch, or a counter in a test.
pub(super) trait Epoch: Send + 'static {
    /// Advances by one.
    fn advance(&self);
}

impl Epoch for wasmtime::Engine {
    fn advance(&self) {
        self.increment_epoch();
    }
}

/// The running thread. It ends when this is dropped.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    join: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    stop: AtomicBool,
    started: Instant,
    last_tick_ms: AtomicU64,
}

/// One guest runs for as long as this lives.
pub(super) struct Running<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(epoch: impl Epoch) -> Result<Self, WasmError> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            started: Instant::now(),
            last_tick_ms: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&shared);
        let join = thread::Builder::new()
            .name("wasm-ticker".to_owned())
            .spawn(move || theirs.tick(&epoch))
            .map_err(WasmError::Thread)?;
        Ok(Self { shared, thread: join.thread().clone(), join: Some(join) })
    }

    /// Keeps the epoch moving until the answer is dropped.
    pub(super) fn run(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Running(self)
    }

    /// How long ago the thread last showed that it lives.
    pub(super) fn age(&self) -> Duration {
        let last = Duration::from_millis(self.shared.last_tick_ms.load(Ordering::Acquire));
        self.shared.started.elapsed().saturating_sub(last)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
        if let Some(join) = self.join.take() {
            // A ticker that panicked has already shown itself by its age.
            drop(join.join());
        }
    }
}

impl Shared {
    fn tick(&self, epoch: &impl Epoch) {
        // When the epoch was last right; unknown while nobody runs.
        let mut at: Option<Instant> = None;
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            self.last_tick_ms.store(millis(now - self.started), Ordering::Release);
            if self.running.load(Ordering::Acquire) == 0 {
                at = None;
                thread::park_timeout(IDLE);
                continue;
            }
            let since = now - *at.get_or_insert(now);
            let due = u32::try_from(since.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX);
            (0..due.min(CATCH_UP_MAX)).for_each(|_| epoch.advance());
            at = at.map(|at| if due > CATCH_UP_MAX { now } else { at + TICK * due });
            thread::sleep(TICK);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Epoch for Arc<AtomicU64> {
        fn advance(&self) {
            self.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_epoch_follows_the_clock_while_a_guest_runs_and_rests_otherwise() {
        let epoch = Arc::new(AtomicU64::new(0));
        let ticker = Ticker::start(Arc::clone(&epoch)).expect("a thread");
        let begun = Instant::now();
        let running = ticker.run();
        while epoch.load(Ordering::SeqCst) < 50 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the epoch stands still");
            thread::sleep(TICK);
        }
        assert!(begun.elapsed() >= Duration::from_millis(50), "the epoch ran ahead");
        drop(running);
        assert!(ticker.age() < Duration::from_secs(10));
    }
}
