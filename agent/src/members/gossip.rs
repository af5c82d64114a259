//! Carries records between members: our own about once a second to everybody connected, the whole table to one in turn.
//!
//! Owns the shared table and its loop; says nothing about what a record holds (the beacon does). The invariant: a frame
//! stays within the lane's limit however many members there are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Members, NodeRecord, Remembered};
use crate::driver::DriverHandle;
use crate::events::{Events, Mesh};
use crate::net::{Lane, Net};
use crate::store::Store;
use crate::view::StateView;

/// How often a member renews its record.
const BEAT: Duration = Duration::from_secs(1);

/// Bytes of records in one frame: half of what the lane takes, so that the record that overflows it still fits.
const FRAME_BYTES: usize = 128 * 1024;

/// Records that are looked at in one frame; an empty one takes 200 bytes.
const RECORDS_PER_FRAME_MAX: usize = 1_024;

/// The name under which the store keeps where members were to be found.
pub const REMEMBERED: &str = "members";

/// The table, shared. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedMembers {
    table: Arc<Mutex<Members>>,
    changed: Arc<Notify>,
}

/// What came over the members' lane, or happened to a link.
#[derive(Debug)]
pub enum Heard {
    /// Records, encoded.
    Records {
        /// Who sent them.
        from: NodeId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// A member has just been connected: it gets the whole table.
    Up(NodeId),
}

impl SharedMembers {
    /// Shares a table.
    #[must_use]
    pub fn new(members: Members) -> Self {
        Self { table: Arc::new(Mutex::new(members)), changed: Arc::new(Notify::new()) }
    }

    /// Looks at or changes the table. Never across an await.
    pub fn with<R>(&self, act: impl FnOnce(&mut Members) -> R) -> R {
        act(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Renews our own record at once: something that others wait for has changed.
    pub fn announce(&self) {
        self.changed.notify_one();
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
}

impl Gossip {
    /// Runs until `stop`. `beacon` describes this node; it is given the number of the beat.
    pub async fn run(
        self,
        mut heard: mpsc::Receiver<Heard>,
        beacon: impl Fn(u64) -> NodeRecord + Send,
        stop: CancellationToken,
    ) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = 0;
        let mut turn = None;
        let mut kept: Vec<Remembered> = Vec::new();
        let mut mesh = Mesh::default();
        for member in self.members.with(|members| members.remember()) {
            self.net.learn(member.node, member.addresses);
        }
        loop {
            let regular = tokio::select! {
                _ = beat.tick() => true,
                () = self.members.changed.notified() => false,
                event = heard.recv() => match event {
                    Some(event) => { self.take(event).await; continue }
                    None => return,
                },
                () = stop.cancelled() => return,
            };
            beats += 1;
            // Measuring the host reads files and asks file systems, which may take their time.
            let own = tokio::task::block_in_place(|| beacon(beats));
            let now = self.view.now();
            self.members.with(|members| members.take(own.clone(), own.node, now));
            self.events.record(self.members.with(|members| mesh.look(members, now)));
            let peers: Vec<NodeId> = self.net.peers().into_iter().map(|link| link.node).collect();
            peers.iter().for_each(|peer| self.send(*peer, std::slice::from_ref(&own)));
            if regular {
                turn = next_turn(&peers, turn);
                turn.iter().for_each(|peer| self.send_table(*peer));
                self.members.with(|members| members.retire(self.retire_after_ms, now));
                self.keep(&mut kept);
                self.driver.members(self.members.with(|members| members.others()));
            }
        }
    }

    async fn take(&self, heard: Heard) {
        match heard {
            Heard::Up(node) => self.send_table(node),
            Heard::Records { from, bytes } => {
                let records: Vec<NodeRecord> = match codec::decode(&bytes, Lane::Members.frame_bytes_max()) {
                    Ok(records) => records,
                    Err(error) => return tracing::warn!(%from, %error, "a member sent records that cannot be read"),
                };
                let now = self.view.now();
                for record in records.into_iter().take(RECORDS_PER_FRAME_MAX) {
                    let (node, addresses) = (record.node, record.addresses.clone());
                    if self.members.with(|members| members.take(record, from, now)) {
                        self.net.learn(node, addresses);
                    }
                }
                self.driver.members(self.members.with(|members| members.others()));
            }
        }
    }

    /// The whole table, in frames that fit whatever the records hold.
    fn send_table(&self, to: NodeId) {
        let records: Vec<NodeRecord> = self.members.with(|members| members.records().cloned().collect());
        let (mut frame, mut bytes) = (Vec::new(), 0);
        for record in records {
            let more = codec::encode(&record).len();
            if !frame.is_empty() && bytes + more > FRAME_BYTES {
                self.send(to, &std::mem::take(&mut frame));
                bytes = 0;
            }
            bytes += more;
            frame.push(record);
        }
        self.send(to, &frame);
    }

    /// A hint like all gossip: the next beat repeats it. The network counts what it drops.
    fn send(&self, to: NodeId, records: &[NodeRecord]) {
        if let Err(error) = self.net.send(to, Lane::Members, codec::encode(&records)) {
            tracing::debug!(%to, %error, "records were not sent");
        }
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

fn next_turn(peers: &[NodeId], last: Option<NodeId>) -> Option<NodeId> {
    let after = last.and_then(|last| peers.iter().copied().filter(|peer| *peer > last).min());
    after.or(peers.iter().copied().min())
}
