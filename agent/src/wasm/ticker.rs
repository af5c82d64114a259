//! The clock that stops guests.
//!
//! Owns one thread that advances the engine's epoch once a millisecond while guests run, and for a little while after. Measures
//! no deadline itself: the epoch makes a guest look at the clock. The invariants: while a guest runs the epoch moves; a guest
//! that begins while it moves anyway wakes nobody. The age of the last tick is there to be watched, because a ticker that died
//! would let a looping guest run for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::error::WasmError;

/// How often the epoch advances while a guest runs.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// How often the thread shows that it lives while none does.
const IDLE: Duration = Duration::from_millis(400);
/// Ticks without a guest after which the thread rests: waking it costs a call more than the call.
const LINGER_TICKS: u32 = 100;
/// The age of the last tick above which deadlines are not kept. A crowded host may hold the thread up for a while.
const STUCK: Duration = Duration::from_secs(2);

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
    begun: AtomicU64,
    ended: AtomicU64,
    resting: AtomicBool,
    stop: AtomicBool,
    started: Instant,
    last_tick_ms: AtomicU64,
}

/// One guest runs for as long as this lives.
pub(super) struct Running<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(epoch: impl Epoch) -> Result<Self, WasmError> {
        let shared = Arc::new(Shared {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            resting: AtomicBool::new(false),
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
        // Either this sees that the thread rests, or the thread sees this guest before it does.
        self.shared.begun.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self)
    }

    /// How long ago, as of `now`, the thread last showed that it lives.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.shared.last_tick_ms.load(Ordering::Acquire));
        now.saturating_duration_since(self.shared.started + last)
    }

    /// Whether the thread has shown that it lives of late, as of `now`.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < STUCK
    }

    /// Whether deadlines are kept. After a stall of the whole host the thread gets a moment to catch up, on the time of the caller,
    /// who has no more than `patience` of it.
    pub(super) fn is_alive(&self, now: Instant, patience: Duration) -> bool {
        if self.is_fresh(now) {
            return true;
        }
        let give_up = Instant::now() + patience.min(IDLE);
        while Instant::now() < give_up {
            self.thread.unpark();
            thread::sleep(TICK);
            if self.is_fresh(Instant::now()) {
                return true;
            }
        }
        false
    }

    /// Ends the thread as a bug would.
    #[cfg(test)]
    pub(super) fn die(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(join) = self.join.take() {
            // A ticker that panicked has already shown itself by its age.
            drop(join.join());
        }
    }
}

impl Shared {
    fn tick(&self, epoch: &impl Epoch) {
        let (mut seen, mut quiet) = (0, 0);
        while !self.stop.load(Ordering::SeqCst) {
            self.last_tick_ms.store(millis(self.started.elapsed()), Ordering::Release);
            if quiet >= LINGER_TICKS {
                self.rest(seen);
            } else {
                thread::sleep(TICK);
                // A tick that is late makes up for nothing: guests look at the clock when it comes.
                epoch.advance();
            }
            let begun = self.begun.load(Ordering::SeqCst);
            let busy = begun != seen || begun != self.ended.load(Ordering::SeqCst);
            (seen, quiet) = (begun, if busy { 0 } else { quiet + 1 });
        }
    }

    /// Waits for a guest to begin, but not for ever: the age of the last tick is watched.
    fn rest(&self, seen: u64) {
        self.resting.store(true, Ordering::SeqCst);
        if self.begun.load(Ordering::SeqCst) == seen {
            thread::park_timeout(IDLE);
        }
        self.resting.store(false, Ordering::SeqCst);
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
        let wait = |what: &str, reached: &dyn Fn() -> bool| {
            while !reached() {
                assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
                thread::sleep(TICK);
            }
        };
        wait("it never rests", &|| ticker.shared.resting.load(Ordering::SeqCst));
        let rested = epoch.load(Ordering::SeqCst);
        let (running, began) = (ticker.run(), Instant::now());
        wait("the epoch stands still", &|| epoch.load(Ordering::SeqCst) >= rested + 50);
        assert!(began.elapsed() >= Duration::from_millis(49), "the epoch ran ahead");
        drop(running);
        wait("it never rests again", &|| ticker.shared.resting.load(Ordering::SeqCst));
        assert!(ticker.is_alive(Instant::now(), Duration::ZERO));
    }

    #[test]
    fn a_ticker_that_died_is_noticed() {
        let ticker = Ticker::start(Arc::new(AtomicU64::new(0))).expect("a thread");
        ticker.die();
        let begun = Instant::now();
        while ticker.is_alive(Instant::now(), TICK) {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed");
            thread::sleep(TICK);
        }
        assert!(ticker.age(Instant::now()) >= STUCK);
    }
}
