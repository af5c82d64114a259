//! What waits to be sent to one peer: hints by class, each class within its bytes, and the open stream of each class.
//!
//! Owns the queues, and says which of the links to the peer writes. A small hint is written by the thread that queues it, when
//! the class's stream is open and nobody is at it: waking the connection's task for that costs more than the write. The
//! invariants: a class keeps its order; what does not fit is refused and counted, and holds up no other class and no other
//! peer; bulk waits for news that waits; a stream's lock is taken before that of the queues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use libp2p::swarm::ConnectionId;

use super::channel::frames;
use super::channel::outlet::{Broken, Outlet};
use super::counters::{NetReason, PeerTally};
use super::lane::Lane;
use super::lock;

/// What a queued hint costs beside its body, in bytes, so that empty ones are bounded too.
pub(super) const HINT_OVERHEAD_BYTES: usize = 64;

/// The longest hint that is written by the thread that queues it, in bytes: copying one takes microseconds. What is longer waits
/// for the connection's task.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;

/// How urgent a hint is. Each class has a stream of its own, so that what is large or lost holds up nothing more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Membership: small, and worthless when late.
    Members,
    /// News of the state.
    Sync,
    /// What heals the state: large, and as good a second later.
    Bulk,
}

impl Class {
    /// The most urgent first.
    pub(super) const ALL: [Self; 3] = [Self::Members, Self::Sync, Self::Bulk];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Members => 0,
            Self::Sync => 1,
            Self::Bulk => 2,
        }
    }

    /// Bytes of hints that may wait. What a slow uplink carries in a few seconds; older hints help nobody, because
    /// anti-entropy has overtaken them.
    pub(super) const fn queue_bytes_max(self) -> usize {
        match self {
            Self::Members => 1024 * 1024,
            Self::Sync | Self::Bulk => 4 * 1024 * 1024 + HINT_OVERHEAD_BYTES,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Lane, Vec<u8>)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queues: [Queue; Class::ALL.len()],
    writer: Option<ConnectionId>,
    /// The task of each link; there are at most a few.
    tasks: Vec<(ConnectionId, Waker)>,
}

/// One peer's outgoing hints.
#[derive(Debug)]
pub(super) struct Post {
    tally: Arc<PeerTally>,
    state: Mutex<State>,
    outlets: [Mutex<Option<Outlet>>; Class::ALL.len()],
}

impl Post {
    pub(super) fn new(tally: Arc<PeerTally>) -> Self {
        Self { tally, state: Mutex::default(), outlets: Default::default() }
    }

    /// Queues a hint, and writes it or wakes the task that does; false if it does not fit.
    pub(super) fn push(&self, class: Class, lane: Lane, body: Vec<u8>) -> bool {
        let at_once = class != Class::Bulk && body.len() <= AT_ONCE_BYTES_MAX;
        let mut state = lock(&self.state);
        let queue = &mut state.queues[class.index()];
        let cost = body.len() + HINT_OVERHEAD_BYTES;
        if queue.bytes + cost > class.queue_bytes_max() {
            drop(state);
            self.tally.count(NetReason::HintQueueFull);
            return false;
        }
        queue.bytes += cost;
        queue.waiting.push_back((lane, body));
        let writer = state.writing_task();
        drop(state);
        if let Some((link, task)) = writer
            && !(at_once && self.write_at_once(class, link, &task))
        {
            task.wake();
        }
        true
    }

    /// Writes what waits, unless there is no stream, or it is broken, or somebody is at it who may have looked already: then it is
    /// for the link's task.
    fn write_at_once(&self, class: Class, link: ConnectionId, task: &Waker) -> bool {
        let Ok(mut outlet) = self.outlets[class.index()].try_lock() else { return false };
        let outlet = outlet.as_mut().filter(|outlet| outlet.is_of(link));
        outlet.is_some_and(|outlet| outlet.pump(&mut Context::from_waker(task), class, self))
    }

    /// Gives the link's stream of `class` here, to be written to.
    pub(super) fn open(&self, class: Class, outlet: Outlet) {
        let before = lock(&self.outlets[class.index()]).replace(outlet);
        self.lost(before.map_or(0, |before| before.frames()));
    }

    /// Takes the link's stream of `class` away.
    pub(super) fn close(&self, class: Class, link: ConnectionId) {
        let closed = lock(&self.outlets[class.index()]).take_if(|outlet| outlet.is_of(link));
        self.lost(closed.map_or(0, |closed| closed.frames()));
    }

    /// Writes what waits to the link's stream, from the link's task. Ready when the stream is not here, or has broken, how.
    pub(super) fn pump(&self, class: Class, link: ConnectionId, cx: &mut Context<'_>) -> Poll<Option<Broken>> {
        let mut here = lock(&self.outlets[class.index()]);
        let Some(outlet) = here.as_mut().filter(|outlet| outlet.is_of(link)) else { return Poll::Ready(None) };
        if outlet.pump(cx, class, self) {
            return Poll::Pending;
        }
        let broken = here.take();
        drop(here);
        self.lost(broken.as_ref().map_or(0, Outlet::frames));
        Poll::Ready(broken.and_then(Outlet::into_broken))
    }

    /// Moves hints of `class`, framed, to the end of `buffer`, until that has `enough` bytes. Answers how many.
    pub(super) fn take(&self, class: Class, buffer: &mut Vec<u8>, enough: usize) -> usize {
        let mut state = lock(&self.state);
        let queue = &mut state.queues[class.index()];
        let mut taken = 0;
        while buffer.len() < enough
            && let Some((lane, body)) = queue.waiting.pop_front()
        {
            queue.bytes -= body.len() + HINT_OVERHEAD_BYTES;
            frames::write(buffer, lane, &body);
            self.tally.wrote(lane, body.len());
            taken += 1;
        }
        // What is less urgent waits until this is through, whoever writes it.
        let freed = (taken > 0 && state.lets_bulk_go(class)).then(|| state.writing_task()).flatten();
        drop(state);
        if let Some((_, task)) = freed {
            task.wake();
        }
        taken
    }

    pub(super) fn has(&self, class: Class) -> bool {
        !lock(&self.state).queues[class.index()].waiting.is_empty()
    }

    /// Lets the link `id` write from now on, and no other.
    pub(super) fn set_writer(&self, id: ConnectionId) {
        let mut state = lock(&self.state);
        state.writer = Some(id);
        let tasks: Vec<_> = state.tasks.iter().map(|(_, task)| task.clone()).collect();
        drop(state);
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Has the task of the link that writes look at what there is to do.
    pub(super) fn wake_writer(&self) {
        let writer = lock(&self.state).writing_task();
        if let Some((_, task)) = writer {
            task.wake();
        }
    }

    /// Whether the link `id` is the one to write; `task` is woken when that changes, and while it is, by every hint.
    pub(super) fn is_writer(&self, id: ConnectionId, task: &Waker) -> bool {
        let mut state = lock(&self.state);
        match state.tasks.iter_mut().find(|(other, _)| *other == id) {
            Some((_, known)) if known.will_wake(task) => {}
            Some((_, known)) => known.clone_from(task),
            None => state.tasks.push((id, task.clone())),
        }
        state.writer == Some(id)
    }

    /// Whether the link `id` is the one to write.
    pub(super) fn writes(&self, id: ConnectionId) -> bool {
        lock(&self.state).writer == Some(id)
    }

    /// Forgets a link that is gone.
    pub(super) fn forget(&self, id: ConnectionId) {
        lock(&self.state).tasks.retain(|(other, _)| *other != id);
    }

    /// Hints that were given to a stream which broke.
    pub(super) fn lost(&self, frames: usize) {
        self.tally.count_many(NetReason::HintLost, frames);
    }

    /// Counts what waits as lost: the last link is gone.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        let queues = std::mem::take(&mut state.queues);
        drop(state);
        self.lost(queues.iter().map(|queue| queue.waiting.len()).sum());
    }

    /// Frames and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let frames = state.queues.iter().map(|queue| queue.waiting.len()).sum();
        (frames, state.queues.iter().map(|queue| queue.bytes).sum())
    }
}

impl State {
    /// Whether a class is through, and bulk may have waited for it.
    fn lets_bulk_go(&self, class: Class) -> bool {
        let waits = |class: Class| !self.queues[class.index()].waiting.is_empty();
        class == Class::Sync && !waits(Class::Sync) && waits(Class::Bulk)
    }

    /// The link that writes, and its task.
    fn writing_task(&self) -> Option<(ConnectionId, Waker)> {
        let writer = self.writer?;
        self.tasks.iter().find(|(id, _)| *id == writer).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_keeps_to_its_bytes_and_fills_no_other() {
        let post = Post::new(PeerTally::for_tests());
        let body = vec![0; 64 * 1024];
        let pushed = std::iter::repeat_with(|| post.push(Class::Sync, Lane::Sync, body.clone()))
            .take_while(|fits| *fits)
            .count();
        assert_eq!(pushed, Class::Sync.queue_bytes_max() / (body.len() + HINT_OVERHEAD_BYTES));
        assert!(post.push(Class::Members, Lane::Members, vec![1]) && post.push(Class::Bulk, Lane::Sync, vec![1]));
        assert_eq!(post.tally.drops(), [(NetReason::HintQueueFull, 1)]);
        post.abandon();
        assert_eq!(post.waiting(), (0, 0));
        assert_eq!(post.tally.drops()[1], (NetReason::HintLost, pushed as u64 + 2));
    }

    #[test]
    fn the_largest_hint_fits_into_an_empty_queue() {
        let post = Post::new(PeerTally::for_tests());
        assert!(post.push(Class::Sync, Lane::Sync, vec![0; Lane::Sync.frame_bytes_max()]));
        assert!(post.push(Class::Members, Lane::Members, vec![0; Lane::Members.frame_bytes_max()]));
    }

    #[test]
    fn what_waits_is_taken_in_order_and_together() {
        let post = Post::new(PeerTally::for_tests());
        (0..3).for_each(|number| assert!(post.push(Class::Sync, Lane::Sync, vec![number])));
        let mut buffer = Vec::new();
        assert_eq!(post.take(Class::Sync, &mut buffer, 8), 2, "enough is enough");
        assert_eq!(post.take(Class::Sync, &mut buffer, usize::MAX), 1);
        assert_eq!(buffer, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 2]);
        assert!(!post.has(Class::Sync));
    }
}
