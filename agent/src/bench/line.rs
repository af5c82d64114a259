//! The connections of a bench: each takes calls from its agent's queue, sends them, and ends them in the meter.
//!
//! Owns what is on its way. The invariants: a call that was taken is ended when it is answered, when its connection breaks, or when
//! its patience is over, whichever comes first, and once; and it is known when it was written, for until then it waited for us. What is
//! taken has the time for an answer: what waited here for too long fails as `not_sent`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::meter::Meter;
use super::target::{Agent, Target};
use crate::cli::{Ask, Connection, Over, Problem, call_path, open_stream};

/// Calls that wait for a connection to each agent: a second at a high rate. What does not fit is told as `not_sent`.
const QUEUE_CALLS: usize = 65_536;
/// Calls on their way on one connection of the call stream: what an agent answers at one time on one connection.
const IN_FLIGHT_MAX: usize = 128;
/// Share of an agent's slots, in tenths, from which on its connections count as busy: one that takes its next call is free for a moment.
const BUSY_TENTHS: usize = 9;
/// Frames that are written together when they are due together.
const FRAMES_TOGETHER_MAX: usize = 32;
/// How often a connection looks for calls whose patience is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pause before a connection that broke is opened again.
const PAUSE: Duration = Duration::from_millis(50);

/// A call that is due.
pub(super) struct Due {
    pub(super) due: Instant,
    /// Which call of the stage it is.
    pub(super) index: u64,
    pub(super) meter: Arc<Meter>,
}

type Queue = Arc<Mutex<mpsc::Receiver<Due>>>;

/// The way to one agent, as the clock sees it.
#[derive(Clone)]
pub(super) struct Way {
    /// Where calls are put that are due.
    pub(super) queue: mpsc::Sender<Due>,
    /// How many have been taken from there and have not ended.
    taken: Arc<AtomicUsize>,
    /// How many can be at one time.
    slots: usize,
}

impl Way {
    /// Whether calls wait because the connections have no room for them.
    pub(super) fn is_held_up(&self) -> bool {
        let is_busy = self.taken.load(Ordering::Relaxed) * 10 >= self.slots * BUSY_TENTHS;
        is_busy && self.queue.capacity() < self.queue.max_capacity()
    }
}

/// A call that was taken from its queue, until it has ended.
struct Taken {
    call: Due,
    /// When it was written.
    sent: Arc<OnceLock<Instant>>,
    all: Arc<AtomicUsize>,
}

impl Taken {
    fn answered(self) {
        self.call.meter.left(self.call.due, self.sent.get().copied());
        self.call.meter.answered(self.call.due);
    }

    fn failed(self, kind: &str) {
        self.call.meter.left(self.call.due, self.sent.get().copied());
        self.call.meter.failed(kind);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections. Dropped, they end.
pub(super) struct Lines {
    ways: Vec<Way>,
    #[expect(dead_code, reason = "held so that the connections end with it")]
    tasks: JoinSet<()>,
}

/// What all connections to one agent share.
#[derive(Clone)]
struct Line {
    agent: Agent,
    queue: Queue,
    taken: Arc<AtomicUsize>,
    patience: Duration,
    /// How long after it was due a call is still written.
    written_within: Duration,
}

impl Lines {
    /// `connections` to each agent of `target`. They are opened with their first call. An answer may take `max_answer`: a call that has less
    /// of its patience left is not written.
    pub(super) fn open(
        target: &Target,
        over: Over,
        connections: u16,
        patience: Duration,
        max_answer: Duration,
    ) -> Self {
        // Of a patience that is hardly longer than an answer, half is left for waiting, or nothing would ever be written.
        let written_within = patience.saturating_sub(max_answer).max(patience / 2);
        let (mut ways, mut tasks) = (Vec::new(), JoinSet::new());
        let at_one_time = match over {
            Over::Http => 1,
            Over::Stream => IN_FLIGHT_MAX,
        };
        let asks: Arc<[Ask]> = match over {
            Over::Http => {
                let path = call_path(&target.workload, &target.function);
                target.samples.iter().map(|sample| Ask::post(path.clone(), sample)).collect()
            }
            Over::Stream => Arc::new([]),
        };
        let frames: Arc<[Vec<u8>]> = target.samples.iter().map(|sample| frame(target, sample)).collect();
        for agent in &target.agents {
            let (queue, due) = mpsc::channel(QUEUE_CALLS);
            let taken = Arc::new(AtomicUsize::new(0));
            ways.push(Way { queue, taken: Arc::clone(&taken), slots: usize::from(connections) * at_one_time });
            let queue = Arc::new(Mutex::new(due));
            let line = Line { agent: agent.clone(), queue, taken, patience, written_within };
            for _ in 0..connections {
                match over {
                    Over::Http => tasks.spawn(line.clone().ask(Arc::clone(&asks))),
                    Over::Stream => tasks.spawn(line.clone().talk(Arc::clone(&frames))),
                };
            }
        }
        Self { ways, tasks }
    }

    /// The ways to the agents, one for each.
    pub(super) fn ways(&self) -> Vec<Way> {
        self.ways.clone()
    }
}

impl Line {
    /// The next calls that are due, at most `max`; none when there will be no more. One that has waited here until its patience is too
    /// short for an answer is not sent: that there was none would say nothing of the agent.
    async fn next(&self, max: usize) -> Vec<Taken> {
        let mut calls = Vec::new();
        loop {
            if self.queue.lock().await.recv_many(&mut calls, max).await == 0 {
                return Vec::new();
            }
            calls.retain(|call| {
                let is_late = call.due.elapsed() > self.written_within;
                if is_late {
                    call.meter.failed("not_sent");
                }
                !is_late
            });
            if !calls.is_empty() {
                return calls.into_iter().map(|call| self.take(call)).collect();
            }
        }
    }

    fn take(&self, call: Due) -> Taken {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Taken { call, sent: Arc::default(), all: Arc::clone(&self.taken) }
    }

    /// One call after the other over HTTP.
    async fn ask(self, asks: Arc<[Ask]>) {
        let mut open: Option<Connection> = None;
        while let Some(taken) = self.next(1).await.pop() {
            let ask = &asks[pick(taken.call.index, asks.len())];
            let until = tokio::time::Instant::from_std(taken.call.due + self.patience);
            let answering = async {
                let mut connection = match open.take().filter(|open| !open.is_closed()) {
                    Some(connection) => connection,
                    None => Connection::open(&self.agent.addr, self.agent.token.clone()).await.ok()?,
                };
                taken.sent.get_or_init(Instant::now);
                let answer = connection.send(ask).await.ok()?;
                open = Some(connection);
                Some(answer)
            };
            match tokio::time::timeout_at(until, answering).await {
                Ok(Some(answer)) if answer.is_success() => taken.answered(),
                Ok(Some(answer)) => taken.failed(&code(Problem::from_answer(answer.status, &answer.body).code)),
                Ok(None) => taken.failed("connection"),
                Err(_) => taken.failed("timed_out"),
            }
        }
    }

    /// Many calls at a time over the call stream, for as long as there are any.
    async fn talk(self, frames: Arc<[Vec<u8>]>) {
        loop {
            let opened = tokio::time::timeout(self.patience, open_stream(&self.agent.addr, self.agent.token.clone()));
            if let Ok(Ok(talk)) = opened.await {
                let mut talking = Talking { line: &self, frames: &frames, open: HashMap::new(), next: 0 };
                let is_over = talking.run(talk).await;
                talking.open.into_values().for_each(|taken| taken.failed("connection"));
                if is_over {
                    return;
                }
            } else {
                // What is due meanwhile must not wait for ever.
                let waiting = self.next(IN_FLIGHT_MAX).await;
                if waiting.is_empty() {
                    return;
                }
                waiting.into_iter().for_each(|taken| taken.failed("connection"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// An open connection of the call stream.
struct Talking<'a> {
    line: &'a Line,
    frames: &'a [Vec<u8>],
    /// What is on its way, by the id of its frame.
    open: HashMap<u64, Taken>,
    next: u64,
}

/// The part of an answer that counts.
#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: String,
}

impl Talking<'_> {
    /// Returns when there are no more calls (true), or when the connection broke.
    async fn run(&mut self, talk: crate::cli::Talk) -> bool {
        let (mut sink, mut answers) = talk.split();
        let (to_send, mut waiting) = mpsc::channel::<(Instant, Arc<OnceLock<Instant>>, Message)>(IN_FLIGHT_MAX);
        // Sending waits for nobody who should be reading answers meanwhile.
        let sending = async move {
            let mut frames = Vec::new();
            while waiting.recv_many(&mut frames, FRAMES_TOGETHER_MAX).await > 0 {
                for (until, sent, frame) in frames.drain(..) {
                    // The connection took what was before it for so long.
                    if until < Instant::now() {
                        continue;
                    }
                    sent.get_or_init(Instant::now);
                    sink.feed(frame).await.ok()?;
                }
                sink.flush().await.ok()?;
            }
            sink.close().await.ok()
        };
        let mut sending = Box::pin(sending);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let room = IN_FLIGHT_MAX.saturating_sub(self.open.len()).min(to_send.capacity());
            tokio::select! {
                calls = self.line.next(room), if room > 0 => {
                    if calls.is_empty() {
                        return true;
                    }
                    for taken in calls {
                        let until = taken.call.due + self.line.written_within;
                        let sent = Arc::clone(&taken.sent);
                        let frame = self.frame(taken);
                        // There is room for as many as were taken.
                        drop(to_send.try_send((until, sent, Message::Binary(frame))));
                    }
                }
                answer = answers.next() => match answer {
                    Some(Ok(Message::Binary(bytes))) => self.hear(&bytes),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_) | Message::Close(_) | Message::Frame(_)) | Err(_)) | None => return false,
                },
                _ = &mut sending => return false,
                _ = look.tick() => self.look(),
            }
        }
    }

    fn frame(&mut self, taken: Taken) -> Bytes {
        let id = self.next;
        self.next += 1;
        let mut bytes = self.frames[pick(taken.call.index, self.frames.len())].clone();
        write(&mut bytes, &id);
        self.open.insert(id, taken);
        bytes.into()
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Ok(answer) = ciborium::from_reader::<Answer, _>(bytes) else { return };
        // An answer that came after its patience was over has ended already.
        let Some(taken) = answer.id.and_then(|id| self.open.remove(&id)) else { return };
        match answer.error {
            None => taken.answered(),
            Some(failure) => taken.failed(&code(failure.code)),
        }
    }

    fn look(&mut self) {
        let patience = self.line.patience;
        let late = self.open.extract_if(|_, taken| taken.call.due.elapsed() > patience);
        late.for_each(|(_, taken)| {
            // What was not written by then never will be.
            let kind = if taken.sent.get().is_some() { "timed_out" } else { "not_sent" };
            taken.failed(kind);
        });
    }
}

/// A frame of the call stream up to the value of its id, which comes last and is appended for each call.
fn frame(target: &Target, arguments: &serde_json::Value) -> Vec<u8> {
    /// A map of four entries (RFC 8949, section 3.1: major type 5).
    const MAP_OF_FOUR: u8 = 0xa4;
    let mut bytes = vec![MAP_OF_FOUR];
    for (name, value) in [("workload", &target.workload), ("function", &target.function)] {
        write(&mut bytes, name);
        write(&mut bytes, value);
    }
    write(&mut bytes, "args");
    write(&mut bytes, arguments);
    write(&mut bytes, "id");
    bytes
}

fn write<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    ciborium::into_writer(value, bytes).expect("a vector takes any number of bytes");
}

fn pick(index: u64, of: usize) -> usize {
    usize::try_from(index % of as u64).expect("a remainder of a length is an index")
}

/// The name of an agent's error, which is for programs; one that is none is not repeated.
fn code(code: String) -> String {
    let is_name =
        !code.is_empty() && code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_name { code } else { "refused".to_owned() }
}
