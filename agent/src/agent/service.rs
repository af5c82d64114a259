//! What the API may ask, answered from the parts of the agent.
//!
//! Gathers and translates; decides nothing. Reads of values and of convergence take the view's lock, and wait for the driver's pass; the
//! requests that change something wait for the driver itself. The invariant: status, health and metrics wait for neither.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use selvedge_sync::change::Change;
use selvedge_sync::crdt::ContentHash;
use selvedge_sync::id::{Dot, NodeId, ReplicaId};
use selvedge_sync::key::Key;
use selvedge_sync::replica::PeerView;
use serde_json::Value;

use super::assets;
use super::clocks;
use super::departure::{self, Departure};
use super::deployments::{self, unknown_workload};
use super::figures;
use super::health::Health;
use super::history::History;
use super::listeners;
use super::membership::Membership;
use super::others;
use super::papers;
use super::reach;
use super::readiness;
use crate::api::StreamStats;
use crate::artifacts::Artifacts;
use crate::assets::Assets;
use crate::blobs::serve::Server;
use crate::calls::Calls;
use crate::config::Config;
use crate::driver::{DriverError, DriverHandle};
use crate::events::Events;
use crate::members::gossip::SharedMembers;
use crate::members::{Member, Status as MemberStatus};
use crate::metrics::Metrics;
use crate::net::Net;
use crate::rates::Rates;
use crate::release;
use crate::service::{
    ArtifactInfo, AssetInfo, AssetPage, CallAnswer, CallOptions, ClockReading, Cluster, CommitError, CommitOptions,
    Committed, Convergence, Deployed, Drained, EncodedCall, Entry, EventsWanted, Health as HealthReport,
    History as HistoryDocument, InvitationEntry, InviteWanted, Invited, KeyEntry, KeyPage, Leaving, Node, NodeDetail,
    NodeStatus, Notices, PastEvent, Progress, ReachReading, Resync, Revoked, Rotated, Service, ServiceError,
    StateEntry, StateStatus, Status, Workload,
};
use crate::spec::Digest;
use crate::store::Store;
use crate::traces::Traces;
use crate::view::StateView;
use crate::wasm::WasmHost;
use crate::workloads::Workloads;

/// Keys that are named of what a member lacks: as many as somebody reads.
const UNSEEN_KEYS_MAX: usize = 20;

/// Commits that are looked through for them, in bytes: the driver waits meanwhile, for less than a millisecond.
const UNSEEN_BYTES_MAX: usize = 64 * 1_024;

/// Keys looked at under one lock, so that a listing never holds the driver up for long.
const KEYS_PER_LOOK: usize = 1_024;

/// How often a wait for convergence looks again. Peers say where they are a few times a second.
const CONVERGENCE_LOOK: Duration = Duration::from_millis(20);

/// Everything that the API's answers come from.
pub(super) struct AgentService {
    pub(super) config: Config,
    pub(super) started: Instant,
    pub(super) view: StateView,
    pub(super) driver: DriverHandle,
    pub(super) events: Events,
    pub(super) store: Store,
    pub(super) net: Net,
    pub(super) members: SharedMembers,
    pub(super) wasm: WasmHost,
    pub(super) artifacts: Artifacts,
    pub(super) assets: Assets,
    pub(super) served: Server,
    pub(super) workloads: Workloads,
    pub(super) calls: Calls,
    pub(super) rates: Arc<Rates>,
    pub(super) traces: Traces,
    pub(super) health: Health,
    pub(super) metrics: Arc<Metrics>,
    pub(super) streams: Arc<StreamStats>,
    pub(super) membership: Option<Membership>,
    pub(super) departure: Departure,
    pub(super) history: History,
}

impl AgentService {
    pub(super) fn all_members(&self) -> Vec<Member> {
        let now = self.view.now();
        self.members.with(|members| members.all(now))
    }
}

impl Service for AgentService {
    fn status(&self) -> Status {
        let members = self.all_members();
        let present = members.iter().filter(|member| member.status != MemberStatus::Left).count();
        let state = self.view.summary();
        let (peers, unreached) = others::peers(&state, self.view.now(), &self.net, &members);
        let alive = members.iter().filter(|member| member.status == MemberStatus::Alive).count();
        let resync = state.resync.map(|repair| Resync {
            from: repair.from,
            name: others::name(members.iter().find(|member| member.node == repair.from)),
            done_permille: repair.done_permille,
            objects: repair.objects,
        });
        Status {
            node: NodeStatus {
                id: state.me.node,
                name: self.config.node.name.clone(),
                region: self.config.node.region.clone(),
                incarnation: state.me.incarnation.0,
                version: release::VERSION.to_owned(),
                commit: release::COMMIT.map(str::to_owned),
                uptime_s: self.started.elapsed().as_secs(),
                draining: self.departure.draining.order().is_some(),
                draining_since: self.departure.draining.order().and_then(|order| order.since()),
            },
            cluster: papers::status(self.membership.as_ref(), (present, alive), state.epoch),
            state: StateStatus {
                root: state.root.to_string(),
                keys: state.keys,
                commits: state.commits,
                bytes: state.bytes,
                garbage: state.garbage,
                resync,
            },
            peers,
            unreached,
            workloads: figures::statuses(&self.workloads, &self.calls, &members),
            health: self.health.report(&state),
        }
    }

    fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.all_members().into_iter().map(others::node).collect();
        if let Some(membership) = &self.membership {
            papers::roles(membership, &mut nodes);
        }
        nodes.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        nodes
    }

    fn node(&self, id: NodeId) -> Option<NodeDetail> {
        let member = self.all_members().into_iter().find(|member| member.node == id)?;
        let unseen = self.view.read(|replica| replica.unseen_by(&id, UNSEEN_KEYS_MAX, UNSEEN_BYTES_MAX));
        let mut detail = others::detail(member, unseen);
        if let Some(membership) = &self.membership {
            papers::roles(membership, std::slice::from_mut(&mut detail.node));
        }
        Some(detail)
    }

    fn history(&self) -> HistoryDocument {
        self.history.document()
    }

    fn past_events(&self) -> Vec<PastEvent> {
        self.events.past()
    }

    async fn clocks(&self) -> Vec<ClockReading> {
        let members = self.all_members();
        let name = |node| others::name(members.iter().find(|member| member.node == node));
        clocks::ask(&self.net, name).await
    }

    async fn reach(&self) -> Vec<ReachReading> {
        let members = self.all_members();
        let name = |node| others::name(members.iter().find(|member| member.node == node));
        reach::ask(&self.net, name).await
    }

    fn health(&self) -> HealthReport {
        self.health.report(&self.view.summary())
    }

    fn ready(&self) -> HealthReport {
        let reasons = readiness::reasons(self);
        HealthReport { ok: reasons.is_empty(), reasons, notes: Vec::new() }
    }

    fn convergence(&self) -> Convergence {
        // Of this moment, for it answers for commits that have been acknowledged.
        let now = self.view.now();
        let (root, known) = self.view.read(|replica| (replica.root(), replica.peers(now)));
        self.convergence_of(root, &known)
    }

    fn cluster(&self) -> Option<Cluster> {
        self.membership.as_ref().map(papers::cluster)
    }

    async fn invite(&self, wanted: InviteWanted) -> Result<Invited, ServiceError> {
        papers::invite(self, wanted).await
    }

    async fn invitations(&self) -> Result<Vec<InvitationEntry>, ServiceError> {
        papers::invitations(self).await
    }

    async fn cancel_invitation(&self, id: &str) -> Result<InvitationEntry, ServiceError> {
        papers::cancel_invitation(self, id).await
    }

    async fn revoke(&self, node: &str) -> Result<Revoked, ServiceError> {
        papers::revoke(self, node).await
    }

    async fn drain(&self, off: bool) -> Result<Drained, ServiceError> {
        self.departure.draining.set(off, &self.workloads).await
    }

    fn drained(&self) -> Drained {
        self.departure.draining.show(&self.workloads)
    }

    async fn leave(&self, forced: bool) -> Result<Leaving, ServiceError> {
        departure::leave(self, forced).await
    }

    async fn rotate_authority(&self) -> Result<Rotated, ServiceError> {
        papers::rotate(self).await
    }

    fn workloads(&self) -> Vec<Workload> {
        figures::workloads(&self.workloads, &self.calls, &self.all_members())
    }

    fn workload(&self, name: &str) -> Option<Workload> {
        self.workloads().into_iter().find(|workload| workload.name == name)
    }

    fn metrics_text(&self) -> String {
        figures::render(self)
    }

    async fn await_converged(&self, timeout: Duration) -> Convergence {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut look = tokio::time::interval(CONVERGENCE_LOOK);
        loop {
            look.tick().await;
            let convergence = self.convergence();
            if convergence.converged || tokio::time::Instant::now() >= deadline {
                return convergence;
            }
        }
    }

    async fn keys(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<KeyPage, ServiceError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut last = after.cloned();
        loop {
            let seen: Vec<Key> = self.view.read(|replica| {
                replica
                    .readable()
                    .objects_after(last.as_ref())
                    .take(KEYS_PER_LOOK)
                    .map(|(key, _)| key.clone())
                    .collect()
            });
            let finished = seen.len() < KEYS_PER_LOOK;
            last = seen.last().cloned();
            keys.extend(seen.into_iter().filter(|key| key.to_string().starts_with(prefix)));
            if keys.len() > limit || finished {
                break;
            }
            tokio::task::yield_now().await;
        }
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = if more { keys.last().cloned() } else { None };
        let keys = keys.into_iter().map(|key| KeyEntry { kind: key.kind().to_string(), key }).collect();
        Ok(KeyPage { keys, next })
    }

    async fn read(&self, key: &Key) -> Result<Option<StateEntry>, ServiceError> {
        Ok(self.view.read(|replica| {
            let value = replica.readable().value(key)?;
            let clock = replica.seen().iter().map(|(stream, seq)| (stream.replica.to_string(), seq)).collect();
            Some(StateEntry { key: key.clone(), value, root: replica.root().to_string(), clock })
        }))
    }

    async fn commit(&self, changes: Vec<(Key, Change)>, options: CommitOptions) -> Result<Committed, CommitError> {
        let made = self.driver.commit(changes, options.request, options.durable).await;
        made.map(committed).map_err(|error| self.commit_error(error))
    }

    async fn progress(&self, replica: ReplicaId, seq: u64) -> Result<Option<Progress>, ServiceError> {
        let dot = Dot { replica, seq };
        let me = self.net.node();
        let progress = self.view.read(|replica| replica.progress(&dot));
        Ok(progress.map(|progress| {
            let own = progress.durable.then_some(me);
            Progress {
                durable: progress.durable,
                seen_by: progress.seen_by.into_iter().chain(own).collect(),
                stable: progress.stable,
            }
        }))
    }

    async fn events(&self, wanted: EventsWanted) -> Result<Notices, ServiceError> {
        listeners::listen(&self.events, &self.driver, wanted).await
    }

    async fn put_artifact(&self, wasm: Bytes, kept: bool) -> Result<ArtifactInfo, ServiceError> {
        deployments::put_artifact(&self.wasm, &self.artifacts, &wasm, kept).await
    }

    async fn put_asset(&self, bytes: Bytes) -> Result<AssetInfo, ServiceError> {
        assets::put(&self.assets, bytes).await
    }

    fn assets(&self, after: Option<Digest>, limit: usize) -> AssetPage {
        assets::list(&self.assets, after, limit)
    }

    fn asset_bytes(&self, digest: Digest) -> Option<u64> {
        assets::bytes(&self.assets, &digest)
    }

    async fn asset(&self, digest: Digest) -> Result<Bytes, ServiceError> {
        assets::get(&self.assets, digest).await
    }

    async fn remove_asset(&self, digest: Digest) -> Result<(), ServiceError> {
        assets::remove(&self.assets, digest).await
    }

    async fn deploy(&self, name: &str, spec: Value, forced: bool) -> Result<Deployed, ServiceError> {
        deployments::deploy(&self.wasm, &self.workloads, &self.config.wasm, (name, spec, forced)).await
    }

    async fn foresee(&self, name: &str, spec: Value, forced: bool) -> Result<Value, ServiceError> {
        deployments::foresee(&self.wasm, &self.workloads, &self.config.wasm, (name, spec, forced)).await
    }

    async fn roll_back(&self, name: &str, forced: bool) -> Result<Deployed, ServiceError> {
        deployments::roll_back(&self.workloads, name, forced).await
    }

    async fn undeploy(&self, name: &str, wait: Option<Duration>) -> Result<Committed, ServiceError> {
        deployments::undeploy(self, name, wait).await.map(committed)
    }

    async fn placement(&self, name: &str) -> Result<Value, ServiceError> {
        let unknown = || unknown_workload(name);
        let workload = name.parse().map_err(|_| unknown())?;
        let explanation = self.workloads.explain(&workload).ok_or_else(unknown)?;
        let why = explanation.why();
        let mut shown = serde_json::to_value(explanation).expect("an explanation serialises");
        others::say_why_unhealthy(&mut shown, &self.all_members());
        shown["sight"] = serde_json::to_value(self.workloads.in_sight()).expect("numbers serialise");
        shown["why"] = why.into();
        if let Some(deployed) = self.workloads.deployed().get(&workload) {
            let rollout = figures::rollout(&workload, deployed, &self.workloads);
            shown["rollout"] = serde_json::to_value(rollout).expect("a rollout serialises");
            shown["asks"] = deployments::asks(deployed.planned());
            let instances = figures::of_workload(&workload, deployed, &self.workloads, &self.all_members());
            shown["instances"] = serde_json::to_value(instances).expect("instances serialise");
        }
        shown["here"] = others::placed_here(&self.config.node.name, self.net.node(), &workload, &self.workloads);
        Ok(shown)
    }

    fn enter(&self, workload: &str, entry: &Entry<'_>) -> Result<(), ServiceError> {
        self.rates.admit(entry.caller, workload).inspect_err(|_| self.calls.came_too_soon(workload))?;
        if entry.region.is_some() || entry.rtt_ms.is_some() {
            self.calls.note_origin(workload, &self.config.node.region, entry);
        }
        Ok(())
    }

    async fn call(
        &self,
        name: &str,
        function: &str,
        arguments: Value,
        options: CallOptions,
    ) -> Result<CallAnswer, ServiceError> {
        let unknown = || unknown_workload(name);
        let workload = name.parse().map_err(|_| unknown())?;
        let spec_deadline = || {
            let spec = self.workloads.spec(&workload).ok_or_else(unknown)?;
            Ok(Duration::from_millis(u64::from(spec.limits.deadline_ms)))
        };
        self.calls.call(&workload, function, arguments, options, spec_deadline).await
    }

    async fn calls_encoded(&self, calls: &[EncodedCall<'_>]) -> Vec<Option<Result<CallAnswer<Vec<u8>>, ServiceError>>> {
        self.calls.calls_encoded(calls).await
    }
}

impl AgentService {
    /// Whether all agree, when our root is this and the peers were last heard to be so.
    pub(super) fn convergence_of(&self, root: ContentHash, known: &[PeerView]) -> Convergence {
        // Every member counts, a silent one too: what it holds is not known to be the same. It stops counting when it retires.
        let others = self.members.with(|members| members.others());
        let met_somebody = !(known.is_empty() && others.is_empty());
        let looks_for_nobody = self.net.unreached_bootstrap().is_empty();
        let members = self.all_members();
        let left = members.iter().filter(|member| member.status == MemberStatus::Left).map(|member| member.node);
        let nodes: BTreeSet<NodeId> =
            others.iter().copied().chain(known.iter().map(|peer| peer.node)).chain(left).collect();
        let peer = |node: NodeId| {
            let view = known.iter().find(|peer| peer.node == node);
            let member = members.iter().find(|member| member.node == node);
            others::awaited(node, view, member, self.config.state.retire_after)
        };
        let peers: Vec<_> = nodes.into_iter().map(peer).collect();
        let all_agree = peers.iter().filter(|peer| peer.awaited).all(|peer| peer.root_equal);
        Convergence { converged: all_agree && (met_somebody || looks_for_nobody), root: root.to_string(), peers }
    }

    fn commit_error(&self, error: DriverError) -> CommitError {
        use selvedge_sync::replica::CommitError as Refused;
        match error {
            DriverError::Refused(Refused::Change { index, source }) => CommitError::Change { index, error: source },
            DriverError::Refused(Refused::TooLarge(what)) => CommitError::TooLarge(what.to_owned()),
            DriverError::Refused(Refused::ReadOnly) => CommitError::ReadOnly(
                self.driver.stats().store_failure.unwrap_or_else(|| "its store cannot write".to_owned()),
            ),
            DriverError::Refused(error @ Refused::Fenced) => CommitError::ReadOnly(error.to_string()),
            DriverError::Barred(why) => CommitError::ReadOnly(why),
            DriverError::Busy => CommitError::Busy,
            DriverError::NotDurableInTime(made) => CommitError::NotDurableInTime(committed(made)),
            DriverError::NoAnswer => CommitError::NoAnswer,
        }
    }
}

pub(super) const fn committed(made: selvedge_sync::replica::Committed) -> Committed {
    Committed { replica: made.dot.replica, seq: made.dot.seq, hlc: made.hlc }
}
