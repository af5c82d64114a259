//! The loop of membership: failure detection, our own record when it is news, and what heals what was lost on the way.
//!
//! Owns the shared table and what travels on the members' lane; says nothing about what a record holds (the beacon does). The
//! invariants: a frame stays within the lane's limit however many members there are, and nothing is believed of a record that
//! its member has not signed, or of whom nobody has certified that it is one.

mod exchange;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::exchange::Exchange;
use super::detector::{self, Detector, TICK_MS};
use super::{Announcer, LeftOut, Members, NodeRecord, Register, Remembered, Sealed};
use crate::cluster::Certificate;
use crate::driver::DriverHandle;
use crate::events::{Events, LOST, Mesh};
use crate::net::Net;
use crate::service::{Event, MemberEvent};
use crate::store::Store;
use crate::view::StateView;

/// How often this node looks at itself, in milliseconds, give or take [`BEAT_SLACK_MS`].
const BEAT_MS: u64 = 1_000;

/// By how much a beat may be early or late, to come with a look of failure detection: an idle host is woken for both at once.
const BEAT_SLACK_MS: u64 = 200;

/// How many beats lie between two digests.
const BEATS_PER_DIGEST: u64 = 5;

/// Frames that are heard between two ticks, at the most: what comes faster waits, and does not keep us from probing.
const BURST_MAX: usize = 512;

/// How long a key that two hosts were heard to use is named after it was heard last: both speak every second while both live.
const TWINS_NAMED: Duration = Duration::from_mins(2);

/// The name under which the store keeps where members were to be found.
pub const REMEMBERED: &str = "members";

/// The table, shared. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedMembers {
    table: Arc<Mutex<Members>>,
    changed: Arc<Notify>,
    /// Told when a member has come or gone, or what one runs has changed.
    moved: Arc<Notify>,
    /// Told once our last record, which says that we leave, is on its way.
    said_farewell: CancellationToken,
    counters: Arc<Mutex<Counters>>,
}

/// What membership has turned away, by reason, and what happened to this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that cannot be read.
    pub frames_unreadable: u64,
    /// Records that cannot be read, or break a bound.
    pub records_unsound: u64,
    /// Records that were not signed by whom they describe, or came with a certificate that is none.
    pub records_forged: u64,
    /// Records of whom no authority that is known here has certified, or not for this time.
    pub records_uncertified: u64,
    /// Times that a member asked for more records than anybody has to.
    pub records_withheld: u64,
    /// Frames that the network had no room for, or no connection.
    pub frames_unsent: u64,
    /// What failure detection counts.
    pub detector: detector::Counters,
    /// By how much this host doubts itself.
    pub doubt: u64,
    /// What this host's record does not tell for want of room.
    pub left_out: LeftOut,
}

/// What came over the members' lane, or happened to a link.
#[derive(Debug)]
pub enum Heard {
    /// A frame.
    Frame {
        /// Who sent it.
        from: NodeId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// A member has just been connected.
    Up(NodeId),
}

impl SharedMembers {
    /// Shares a table.
    #[must_use]
    pub fn new(members: Members) -> Self {
        let counters = Arc::new(Mutex::new(Counters::default()));
        Self {
            table: Arc::new(Mutex::new(members)),
            changed: Arc::new(Notify::new()),
            moved: Arc::new(Notify::new()),
            said_farewell: CancellationToken::new(),
            counters,
        }
    }

    /// Looks at or changes the table. Never across an await.
    pub fn with<R>(&self, act: impl FnOnce(&mut Members) -> R) -> R {
        act(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at ourselves at once: something that others wait for has changed.
    pub fn announce(&self) {
        self.changed.notify_one();
    }

    /// Returns when a member has come or gone, or what one runs has changed, since this returned last. For one waiter.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Returns once the others have been told that we leave; the beacon says so.
    pub async fn farewell(&self) {
        self.announce();
        self.said_farewell.cancelled().await;
    }

    /// What was counted until now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, act: impl FnOnce(&mut Counters)) {
        act(&mut self.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the loop needs beside the table.
pub struct Gossip {
    /// The table.
    pub members: SharedMembers,
    /// The way to the others.
    pub net: Net,
    /// Is told who the members are.
    pub driver: DriverHandle,
    /// Is told what happens to them.
    pub events: Events,
    /// Keeps where they were to be found.
    pub store: Store,
    /// Tells the time.
    pub view: StateView,
    /// Silence after which a member is forgotten, in milliseconds.
    pub retire_after_ms: u64,
    /// Signs what this node says of itself.
    pub key: SigningKey,
    /// Says whose records are believed.
    pub register: Arc<dyn Register>,
    /// Which life of this agent it is.
    pub life: u64,
    /// Where failure detection begins to choose at random.
    pub seed: u64,
}

/// What the loop remembers from one turn to the next.
struct Course {
    detector: Detector,
    exchange: Exchange,
    announcer: Announcer,
    /// The certificate that others were told last.
    shown: Option<Certificate>,
    mesh: Mesh,
    kept: Vec<Remembered>,
    told: BTreeSet<NodeId>,
    seen_changes: u64,
    burst: usize,
    beats: u64,
    /// When the next beat is to be, on the monotonic clock; the first is at once.
    beat_ms: Option<u64>,
    has_left: bool,
}

impl Gossip {
    /// Runs until `stop`. `beacon` describes this node.
    pub async fn run(
        self,
        mut heard: mpsc::Receiver<Heard>,
        beacon: impl Fn() -> NodeRecord + Send,
        stop: CancellationToken,
    ) {
        let mut course = self.course();
        for member in self.members.with(|members| members.remember()) {
            self.net.learn(member.node, member.addresses);
        }
        loop {
            let wait = self.until_tick(&course);
            tokio::select! {
                // What came in while this host was stalled is heard before anybody is judged.
                biased;
                () = stop.cancelled() => return,
                event = heard.recv(), if course.burst < BURST_MAX => match event {
                    Some(event) => self.take(&mut course, event),
                    None => return,
                },
                () = self.members.changed.notified() => self.look_at_ourselves(&mut course, &beacon),
                () = tokio::time::sleep(wait) => {
                    let now_ms = self.view.now().mono_ms;
                    course.burst = 0;
                    course.detector.tick(now_ms);
                    if course.beat_ms.is_none_or(|at| now_ms + BEAT_SLACK_MS >= at) {
                        course.beat_ms = Some(now_ms + BEAT_MS);
                        self.beat(&mut course, &beacon);
                    }
                }
            }
            self.settle(&mut course);
            if course.has_left {
                self.members.said_farewell.cancel();
            }
        }
    }

    /// How long nothing has to be looked at.
    fn until_tick(&self, course: &Course) -> Duration {
        let now_ms = self.view.now().mono_ms;
        let due_ms = course.detector.due_ms().min(course.beat_ms.map_or(0, |at| at + BEAT_SLACK_MS));
        // Who is heard no more until then is heard again soon.
        let most_ms = if course.burst < BURST_MAX { u64::MAX } else { TICK_MS };
        Duration::from_millis(due_ms.saturating_sub(now_ms).min(most_ms))
    }

    fn course(&self) -> Course {
        let now = self.view.now();
        Course {
            detector: Detector::new(self.net.node(), self.life, self.seed, now.mono_ms),
            exchange: Exchange::new(
                self.life,
                self.members.clone(),
                self.net.clone(),
                Arc::clone(&self.register),
                Xoshiro256PlusPlus::seed_from_u64(self.seed.wrapping_add(1)),
            ),
            announcer: Announcer::default(),
            shown: None,
            mesh: Mesh::default(),
            kept: Vec::new(),
            told: BTreeSet::new(),
            seen_changes: 0,
            burst: 0,
            beats: 0,
            beat_ms: None,
            has_left: false,
        }
    }

    fn take(&self, course: &mut Course, heard: Heard) {
        let now = self.view.now();
        course.burst += 1;
        match heard {
            Heard::Up(node) => {
                course.detector.meet(node, now.mono_ms);
                course.exchange.greet(node, now);
            }
            Heard::Frame { from, bytes } => course.exchange.take(from, &bytes, &mut course.detector, now),
        }
    }

    /// Once a second: what has changed here, and what time has done to the table.
    fn beat(&self, course: &mut Course, beacon: &impl Fn() -> NodeRecord) {
        self.look_at_ourselves(course, beacon);
        let now = self.view.now();
        course.beats += 1;
        if course.beats % BEATS_PER_DIGEST == 1 {
            course.exchange.compare_with_one(now);
        }
        self.members.with(|members| {
            members.retire(self.retire_after_ms, now);
            members.put_out_for_ever().for_each(|node| course.detector.forget(*node));
        });
        self.keep(&mut course.kept);
    }

    /// Tells others of us, if there is news.
    fn look_at_ourselves(&self, course: &mut Course, beacon: &impl Fn() -> NodeRecord) {
        // Measuring the host reads files and asks file systems, which may take their time.
        let measured = tokio::task::block_in_place(beacon);
        let now = self.view.now();
        let mut twins = course.detector.twins(now.mono_ms, TWINS_NAMED);
        if course.exchange.heard_of_a_later_life(now, TWINS_NAMED) {
            twins.insert(self.net.node());
        }
        let own = NodeRecord { round: course.detector.round(), twins: twins.clone(), ..measured };
        let members = self.members.with(|members| {
            members.found_twins(twins);
            members.others().len()
        });
        let certificate = self.register.own();
        let is_renewed = certificate != course.shown;
        if is_renewed {
            course.announcer.repeat();
            course.shown.clone_from(&certificate);
        }
        // Our own parts see all of it; the others, what they read.
        let (to_tell, left_out) = own.clone().fitted();
        self.members.count(|all| all.left_out = left_out);
        let told = course.announcer.decide(&to_tell, members, now.mono_ms).map(|record| {
            let sealed = Sealed::seal(&record, &self.key).with(certificate);
            (record, sealed)
        });
        let own = NodeRecord { beat: course.announcer.beat(), ..own };
        let left = own.left;
        self.members.with(|members| members.take_own(own, told.clone(), now));
        if let Some((_, sealed)) = told {
            course.exchange.tell_of_us(sealed, is_renewed);
        }
        if left && !course.has_left {
            course.has_left = true;
            course.detector.leave(now.mono_ms);
        }
    }

    /// Carries out what a turn has brought about.
    fn settle(&self, course: &mut Course) {
        let now = self.view.now();
        course.exchange.send_probes(&mut course.detector);
        let changed = self.members.with(|members| {
            members.judge(course.detector.standings(), now);
            (members.changes() != course.seen_changes).then(|| {
                course.seen_changes = members.changes();
                (course.mesh.look(members), members.others())
            })
        });
        if let Some((happened, others)) = changed {
            for event in &happened {
                if let Event::Member(MemberEvent { node, name, status }) = event {
                    tracing::info!(%node, name, status, "member");
                    if *status == LOST {
                        // What waits for it would be old when it comes back, and hears what it has missed.
                        self.net.hang_up(*node);
                    }
                }
            }
            if !happened.is_empty() {
                self.members.moved.notify_one();
            }
            self.events.record(happened);
            if others != course.told {
                self.driver.members(others.clone());
                course.told = others;
            }
        }
        let (counters, doubt) = (course.detector.counters(), course.detector.doubt());
        self.members.count(|all| (all.detector, all.doubt) = (counters, doubt));
    }

    /// Keeps where members are to be found, whenever that has changed.
    fn keep(&self, kept: &mut Vec<Remembered>) {
        let now: Vec<Remembered> = self.members.with(|members| members.remember());
        if *kept == now {
            return;
        }
        match self.store.set_meta(REMEMBERED, Some(codec::encode(&now))) {
            Ok(_durable_soon_enough) => *kept = now,
            Err(error) => tracing::debug!(%error, "where members are found was not kept; the next beat tries again"),
        }
    }
}
