//! What peers have handed in and the consumer has not taken: a queue for each, served in turn.
//!
//! Owns the queues and the order in which they are read; how much a peer may put in is bounded by its
//! [`Backlog`](super::backlog). The invariants: a peer with frames is served once before any other is served twice; the
//! consumer hears of each node by turns `Up` and `Down`, and of its frames in between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use selvedge_sync::id::NodeId;
use tokio::sync::Notify;

use super::lane::Lane;
use super::{NetEvent, lock};

/// One consumer's queues.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    boxes: BTreeMap<NodeId, Mailbox>,
    /// Whose turn it is; each node with something to say stands here once.
    turns: VecDeque<NodeId>,
    is_closed: bool,
    is_abandoned: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    frames: VecDeque<NetEvent>,
    is_connected: bool,
    /// It is connected as far as the consumer has been told.
    is_announced: bool,
    has_turn: bool,
}

impl Inbox {
    /// Says that `node` is connected from now on.
    pub(super) fn up(&self, node: NodeId) {
        self.change(node, true);
    }

    /// Says that `node` is not connected any more. What it has handed in is still read.
    pub(super) fn down(&self, node: NodeId) {
        self.change(node, false);
    }

    fn change(&self, node: NodeId, is_connected: bool) {
        let mut state = lock(&self.state);
        if state.is_abandoned {
            return;
        }
        state.boxes.entry(node).or_default().is_connected = is_connected;
        state.give_turn(node);
        drop(state);
        self.ready.notify_one();
    }

    /// Hands in a frame of a connected peer; false if it is not connected (any more).
    pub(super) fn push(&self, node: NodeId, frame: NetEvent) -> bool {
        let mut state = lock(&self.state);
        let Some(mailbox) = state.boxes.get_mut(&node).filter(|mailbox| mailbox.is_connected) else { return false };
        mailbox.frames.push_back(frame);
        state.give_turn(node);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// No more will come.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.ready.notify_one();
    }

    fn pop(&self) -> Option<NetEvent> {
        lock(&self.state).pop()
    }
}

impl State {
    fn give_turn(&mut self, node: NodeId) {
        if let Some(mailbox) = self.boxes.get_mut(&node).filter(|mailbox| !mailbox.has_turn && mailbox.has_news()) {
            mailbox.has_turn = true;
            self.turns.push_back(node);
        }
    }

    fn pop(&mut self) -> Option<NetEvent> {
        while let Some(node) = self.turns.pop_front() {
            let Some(mailbox) = self.boxes.get_mut(&node) else { continue };
            mailbox.has_turn = false;
            let next = mailbox.next(node);
            if mailbox.is_gone() {
                // Who came and went before the consumer looked is not mentioned.
                self.boxes.remove(&node);
            } else {
                self.give_turn(node);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Mailbox {
    fn has_news(&self) -> bool {
        !self.frames.is_empty() || self.is_connected != self.is_announced
    }

    const fn is_gone(&self) -> bool {
        !self.is_connected && !self.is_announced
    }

    fn next(&mut self, node: NodeId) -> Option<NetEvent> {
        if !self.is_announced {
            self.is_announced = self.is_connected;
            return self.is_connected.then_some(NetEvent::Up { node });
        }
        let frame = self.frames.pop_front();
        if frame.is_some() || self.is_connected {
            return frame;
        }
        self.is_announced = false;
        Some(NetEvent::Down { node })
    }
}

/// The consumer's end: what the network tells, peer by peer in turn.
#[derive(Debug)]
pub struct NetEvents {
    inbox: Arc<Inbox>,
}

impl NetEvents {
    pub(super) const fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// The next event, or `None` when the network has stopped and all is read. Nothing is lost when this is dropped early.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        loop {
            if let Some(event) = self.inbox.pop() {
                return Some(event);
            }
            if lock(&self.inbox.state).is_closed {
                return self.inbox.pop();
            }
            self.inbox.ready.notified().await;
        }
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<NetEvent> {
        self.inbox.pop()
    }
}

impl Drop for NetEvents {
    fn drop(&mut self) {
        let mut state = lock(&self.inbox.state);
        state.is_abandoned = true;
        let boxes = std::mem::take(&mut state.boxes);
        drop(state);
        // Dropping frames gives their room back and wakes tasks: not under the lock.
        drop(boxes);
    }
}

/// Which consumer each lane is for.
#[derive(Clone, Debug)]
pub(super) struct Inboxes {
    by_lane: [Arc<Inbox>; Lane::ALL.len()],
}

impl Inboxes {
    /// One consumer for everything.
    pub(super) fn joint() -> Self {
        let inbox = Arc::<Inbox>::default();
        Self { by_lane: std::array::from_fn(|_| Arc::clone(&inbox)) }
    }

    /// A consumer of its own for replication.
    pub(super) fn apart() -> Self {
        let mut inboxes = Self::joint();
        inboxes.by_lane[Lane::Sync.index()] = Arc::default();
        inboxes
    }

    pub(super) const fn of(&self, lane: Lane) -> &Arc<Inbox> {
        &self.by_lane[lane.index()]
    }

    /// Each inbox once.
    pub(super) fn each(&self) -> impl Iterator<Item = &Arc<Inbox>> {
        let (sync, rest) = (self.of(Lane::Sync), self.of(Lane::Members));
        std::iter::once(rest).chain((!Arc::ptr_eq(sync, rest)).then_some(sync))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reply;
    use super::super::backlog::Backlog;
    use super::*;

    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);

    fn frame(from: NodeId, number: u8) -> NetEvent {
        let permit = Backlog::of_hints().take(1).unwrap();
        NetEvent::Message { from, lane: Lane::Sync, bytes: vec![number], reply: Reply::unwanted(permit) }
    }

    fn read(inbox: &Inbox) -> Vec<String> {
        let told = std::iter::from_fn(|| inbox.pop());
        told.map(|event| match event {
            NetEvent::Up { node } => format!("up {}", node.0[0]),
            NetEvent::Down { node } => format!("down {}", node.0[0]),
            NetEvent::Message { from, bytes, .. } => format!("{} says {}", from.0[0], bytes[0]),
        })
        .collect()
    }

    #[test]
    fn peers_are_served_in_turn_however_much_one_says() {
        let inbox = Inbox::default();
        inbox.up(A);
        inbox.up(B);
        (0..4).for_each(|number| assert!(inbox.push(A, frame(A, number))));
        assert!(inbox.push(B, frame(B, 9)));
        assert_eq!(read(&inbox), ["up 1", "up 2", "1 says 0", "2 says 9", "1 says 1", "1 says 2", "1 says 3"]);
    }

    #[test]
    fn who_goes_is_read_to_the_end_and_who_was_never_seen_is_not_mentioned() {
        let inbox = Inbox::default();
        inbox.up(A);
        inbox.push(A, frame(A, 1));
        inbox.down(A);
        assert!(read(&inbox).is_empty(), "it came and went unseen");
        inbox.up(A);
        assert_eq!(read(&inbox), ["up 1"]);
        inbox.push(A, frame(A, 1));
        inbox.down(A);
        assert!(!inbox.push(A, frame(A, 2)), "too late");
        assert_eq!(read(&inbox), ["1 says 1", "down 1"]);
        inbox.up(A);
        assert_eq!(read(&inbox), ["up 1"]);
        inbox.down(A);
        inbox.up(A);
        assert!(read(&inbox).is_empty(), "it was away unseen");
        assert_eq!(lock(&inbox.state).boxes.len(), 1);
    }

    #[tokio::test]
    async fn the_end_is_told_after_the_rest() {
        let inbox = Arc::<Inbox>::default();
        let mut events = NetEvents::new(Arc::clone(&inbox));
        inbox.up(A);
        inbox.close();
        assert!(matches!(events.recv().await, Some(NetEvent::Up { .. })));
        assert!(events.recv().await.is_none() && events.recv().await.is_none());
    }
}
