//! Traces: what became of one call, on every host that it went through, as OpenTelemetry's spans.
//!
//! Owns which calls are traced, the spans of this host and their way to a collector. Built only where a collector is configured; elsewhere a
//! span is nothing, and a caller's context is passed on as it came. The invariants: recording waits for nobody, and a span that cannot be
//! queued or sent is counted; only spans of a trace that is sampled are recorded.

mod collector;
mod context;
mod exporter;
mod otlp;
mod span;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use self::collector::Collector;
pub use self::context::Context;
pub use self::exporter::Exporter;
pub use self::otlp::About;
use self::span::Recorded;
pub use self::span::{Span, Step};

/// Spans that may wait to be sent: a few hundred bytes each, so less than a megabyte in all.
const QUEUE_SPANS_MAX: usize = 2_048;

/// Calls that are traced without their callers having asked for it, in a second: enough to see how the cluster fares, and nothing beside
/// what a busy agent answers.
const UNASKED_PER_SECOND_MAX: u32 = 10;

/// Records spans, or nothing. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    recorder: Option<Arc<Recorder>>,
}

/// Where spans go that have ended.
#[derive(Debug)]
struct Recorder {
    queue: mpsc::Sender<Recorded>,
    unasked: Mutex<Unasked>,
    unqueued: AtomicU64,
    unsent: AtomicU64,
}

/// Traces that were begun here, in the second that began at `since`.
#[derive(Debug)]
struct Unasked {
    since: Instant,
    begun: u32,
}

/// Spans that were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Because too many were waiting.
    pub unqueued: u64,
    /// Because the collector did not take them.
    pub unsent: u64,
}

impl Traces {
    /// Traces that go to `collector`, and the loop that brings them there.
    #[must_use]
    pub fn to(collector: Collector, about: &About<'_>) -> (Self, Exporter) {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let unasked = Mutex::new(Unasked { since: Instant::now(), begun: 0 });
        let (unqueued, unsent) = Default::default();
        let recorder = Arc::new(Recorder { queue, unasked, unqueued, unsent });
        let exporter = Exporter::new(collector, about, spans, Arc::clone(&recorder));
        (Self { recorder: Some(recorder) }, exporter)
    }

    /// The span of a call that came in here at `began`. A caller's context decides whether it is recorded; of calls without one, a few
    /// in each second are.
    #[must_use]
    pub fn entry(&self, asked: Option<Context>, what: (&str, &str), began: Instant) -> Span {
        let Some(recorder) = &self.recorder else { return Span::passing(asked) };
        match asked {
            None if recorder.may_begin() => Span::begin(recorder, None, (Step::Call, what), began),
            None => Span::passing(None),
            Some(_) => self.child(asked, Step::Call, what, began),
        }
    }

    /// The span of one step of a call that is traced already, if it is; `what` is the workload and the function.
    #[must_use]
    pub fn child(&self, parent: Option<Context>, step: Step, what: (&str, &str), began: Instant) -> Span {
        match (&self.recorder, parent) {
            (Some(recorder), Some(context)) if context.is_sampled() => {
                Span::begin(recorder, Some(context), (step, what), began)
            }
            _ => Span::passing(parent),
        }
    }

    /// The spans that were lost since the agent started.
    #[must_use]
    pub fn lost(&self) -> Lost {
        let lost = |recorder: &Arc<Recorder>| Lost {
            unqueued: recorder.unqueued.load(Ordering::Relaxed),
            unsent: recorder.unsent.load(Ordering::Relaxed),
        };
        self.recorder.as_ref().map(lost).unwrap_or_default()
    }
}

impl Recorder {
    /// Whether a trace may be begun for a caller who has not asked for one.
    fn may_begin(&self) -> bool {
        let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
        if unasked.since.elapsed() >= Duration::from_secs(1) {
            *unasked = Unasked { since: Instant::now(), begun: 0 };
        }
        let may = unasked.begun < UNASKED_PER_SECOND_MAX;
        unasked.begun += u32::from(may);
        may
    }

    fn record(&self, span: Recorded) {
        if self.queue.try_send(span).is_err() {
            self.unqueued.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
