//! What the handles and the swarm's task share: tables behind locks, and what follows from an offence.
//!
//! Owns nothing but the bundle. The invariant: each lock is held for moments and never across an await, and of two that are needed
//! the conduct's is taken before the peers'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libp2p::Multiaddr;
use selvedge_sync::id::NodeId;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::conduct::{Conduct, Offence, Verdict};
use super::counters::{NetReason, Tally};
use super::dialer::Dialer;
use super::link::{self, LinkChange, LinkEvent, LinkView};
use super::lives::Lives;
use super::lock;
use super::peers::PeerTable;
use super::strangers::Strangers;

/// What the handles and the swarm's task share. Locks are held for moments, never across an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) own: NodeId,
    pub(super) advertise: Vec<String>,
    pub(super) tally: Arc<Tally>,
    pub(super) peers: Arc<Mutex<PeerTable>>,
    pub(super) conduct: Arc<Mutex<Conduct>>,
    pub(super) strangers: Arc<Mutex<Strangers>>,
    pub(super) lives: Arc<Mutex<Lives>>,
    pub(super) dialer: Mutex<Dialer>,
    pub(super) changes: broadcast::Sender<LinkChange>,
    pub(super) bound: Mutex<BTreeSet<Multiaddr>>,
    /// Addresses heard and not yet given to the dialer; the latest of a member wins.
    pub(super) learned: Mutex<BTreeMap<NodeId, Vec<String>>>,
    /// Who is to be disconnected.
    pub(super) expelled: Mutex<BTreeSet<NodeId>>,
    /// Members that do not answer, to be disconnected.
    pub(super) silent: Mutex<BTreeSet<NodeId>>,
    /// Who is never dialed again.
    pub(super) forbidden: Mutex<BTreeSet<NodeId>>,
    /// There are learned addresses to be taken, or somebody is to be disconnected.
    pub(super) work: Notify,
    pub(super) stop: CancellationToken,
    pub(super) stopped: CancellationToken,
}

impl Shared {
    pub(super) fn tell(&self, node: NodeId, event: LinkEvent) {
        // Nobody may be listening.
        drop(self.changes.send(LinkChange { node, event }));
    }

    pub(super) fn penalise(&self, node: NodeId, offence: Offence) {
        self.tally.offended(offence);
        let verdict = lock(&self.conduct).note(node, offence, Instant::now());
        match verdict {
            Verdict::Noted => {}
            Verdict::Slowed => {
                self.tally.count(NetReason::ConductSlowed);
                if let Some(desk) = lock(&self.peers).desk(node) {
                    desk.set_slowed(true);
                }
                self.tell(node, LinkEvent::Slowed { offence });
            }
            Verdict::Refused(lasting) => {
                self.tally.count(NetReason::ConductRefused);
                self.tell(node, LinkEvent::Refused { offence, lasting });
                lock(&self.expelled).insert(node);
                self.work.notify_one();
            }
        }
    }

    pub(super) fn links(&self) -> Vec<LinkView> {
        let now = Instant::now();
        let links = {
            let conduct = lock(&self.conduct);
            lock(&self.peers).links(&conduct, now)
        };
        let refused: BTreeMap<_, _> = lock(&self.conduct)
            .all_refused(now)
            .into_iter()
            .map(|(node, rest, offence)| (node, (rest, offence)))
            .collect();
        let prospects = lock(&self.dialer).prospects(now);
        link::views(links, prospects, &refused)
    }
}
