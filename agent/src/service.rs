//! What the API may ask of the agent: one trait, and the documents that it answers with.
//!
//! Owns the seam between the routes and everything behind them, so that the routes are tested against a fake. Decides
//! nothing and touches nothing. The invariant: every document serialises to the JSON that users hold on to; fields may be
//! added, never renamed.
//!
//! A request whose connection breaks is dropped where it waits, so each method has to be safe to cancel: what it began is
//! finished elsewhere, or has not begun.

mod asset;
mod cluster;
mod error;
mod events;
mod history;
pub mod json;
mod link;
mod rollout;
mod state;
mod status;
mod text;
mod workload;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use selvedge_sync::change::Change;
use selvedge_sync::id::{NodeId, ReplicaId};
use selvedge_sync::key::Key;

use crate::spec::Digest;

pub use self::asset::{AssetEntry, AssetInfo, AssetPage};
pub use self::cluster::{
    AuthorityEntry, CertificateEntry, Cluster, Drained, InvitationEntry, InviteWanted, Invited, Leaving, Remaining,
    Revoked, RevokedEntry, Rotated,
};
pub(crate) use self::error::shorten;
pub use self::error::{Fault, ServiceError};
pub(crate) use self::events::COMMIT;
pub use self::events::{
    CommitEvent, DecisionEvent, Event, EventId, EventsWanted, FraudEvent, KeyChange, Kinds, Known, LinkEvent,
    MemberEvent, Notice, Notices, ParseEventIdError, ParseKindsError, PastEvent, PlacementEvent,
};
pub use self::history::History;
pub use self::link::{Link, Traffic};
pub use self::rollout::{Rollout, RolloutEvent};
pub use self::state::{
    CommitError, CommitOptions, Committed, Convergence, ConvergencePeer, KeyEntry, KeyPage, Progress, StateEntry,
};
pub use self::status::{
    ClockReading, ClusterStatus, Health, Location, Node, NodeDetail, NodeState, NodeStatus, Peer, ReachReading,
    Resources, Resync, StateStatus, Status, UnseenKeys,
};
pub use self::workload::{
    ArtifactInfo, CallAnswer, CallOptions, Caller, Deployed, EncodedCall, Entry, Instance, LastStart, LatencyBucket,
    LatencyUs, Phase, Recent, Rejected, StageTime, Workload, WorkloadStatus,
};

/// The agent, as its API sees it.
///
/// The methods that return at once never wait for a lock that is held across a commit, the disk or the network.
pub trait Service: Send + Sync + 'static {
    /// This node, its cluster, state, peers and workloads, as last measured.
    fn status(&self) -> Status;

    /// The cluster that this agent belongs to; `None` for one that belongs to none.
    fn cluster(&self) -> Option<Cluster>;

    /// Makes a one-time token with which another machine joins. Only an authority's host can.
    fn invite(&self, wanted: InviteWanted) -> impl Future<Output = Result<Invited, ServiceError>> + Send;

    /// The invitations that have not expired, the oldest first. Only an authority's host knows them.
    fn invitations(&self) -> impl Future<Output = Result<Vec<InvitationEntry>, ServiceError>> + Send;

    /// Takes back the invitation of this id, which nobody has used. Only an authority's host can.
    fn cancel_invitation(&self, id: &str) -> impl Future<Output = Result<InvitationEntry, ServiceError>> + Send;

    /// Puts the member of this id, part of an id or name out of the cluster, for ever. Only an authority's host can.
    fn revoke(&self, node: &str) -> impl Future<Output = Result<Revoked, ServiceError>> + Send;

    /// Puts a new authority in the place of the present one, which endorses it. Only an authority's host can.
    fn rotate_authority(&self) -> impl Future<Output = Result<Rotated, ServiceError>> + Send;

    /// Has this agent take no new workloads and hand over what it runs, also after a restart; or, `off`, take part again.
    fn drain(&self, off: bool) -> impl Future<Output = Result<Drained, ServiceError>> + Send;

    /// Whether this agent is being emptied, and what still runs here.
    fn drained(&self) -> Drained;

    /// Hands over what it can, tells everybody that this agent leaves, and stops it. Started again it is a member again.
    ///
    /// Where only this agent holds an authority's key it has to be `forced`: without it nobody is invited, renewed or revoked. A fault
    /// of [`Fault::Conflict`] otherwise.
    fn leave(&self, forced: bool) -> impl Future<Output = Result<Leaving, ServiceError>> + Send;

    /// Every member that this agent knows, itself included, in order of name.
    fn nodes(&self) -> Vec<Node>;

    /// One member; `None` for a node that is none.
    fn node(&self, id: NodeId) -> Option<NodeDetail>;

    /// What was counted over the last minutes.
    fn history(&self) -> History;

    /// What happened lately, commits left aside, the latest first.
    fn past_events(&self) -> Vec<PastEvent>;

    /// How the clocks of the connected members stand to this host's. Asks each, once.
    fn clocks(&self) -> impl Future<Output = Vec<ClockReading>> + Send;

    /// Whether a few connected members reach this host at the addresses that others are told. Asks each, once.
    fn reach(&self) -> impl Future<Output = Vec<ReachReading>> + Send;

    /// Whether the agent works, and what is wrong if not.
    fn health(&self) -> Health;

    /// Whether the agent is ready to take calls: its state is loaded and its workloads have had their chance to start.
    fn ready(&self) -> Health;

    /// Whether every member holds the same state, as last heard from them. A silent member counts until it retires.
    fn convergence(&self) -> Convergence;

    /// All workloads, in order of name.
    fn workloads(&self) -> Vec<Workload>;

    /// One workload; `None` when nobody deployed it.
    fn workload(&self, name: &str) -> Option<Workload>;

    /// All metrics in the OpenMetrics text format.
    fn metrics_text(&self) -> String;

    /// Waits until every member holds the same state; after `timeout` answers with what there is, not converged.
    fn await_converged(&self, timeout: Duration) -> impl Future<Output = Convergence> + Send;

    /// Up to `limit` keys whose text begins with `prefix`, in order, beginning after `after`.
    fn keys(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> impl Future<Output = Result<KeyPage, ServiceError>> + Send;

    /// The value of a key with everything that this host has applied; `None` when nobody wrote it.
    fn read(&self, key: &Key) -> impl Future<Output = Result<Option<StateEntry>, ServiceError>> + Send;

    /// Applies all changes as one commit, in their order, or none of them. A second commit with the same request id is
    /// answered with the first.
    fn commit(
        &self,
        changes: Vec<(Key, Change)>,
        options: CommitOptions,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send;

    /// How far a commit has got; `None` when this host has not seen it.
    fn progress(
        &self,
        replica: ReplicaId,
        seq: u64,
    ) -> impl Future<Output = Result<Option<Progress>, ServiceError>> + Send;

    /// What happens from now on, or since an event that the caller names. A commit that is made after this has answered is
    /// told for certain.
    fn events(&self, wanted: EventsWanted) -> impl Future<Output = Result<Notices, ServiceError>> + Send;

    /// Checks a component and, if it is to be `kept`, stores it. Storing one that is there already changes nothing and succeeds.
    fn put_artifact(&self, wasm: Bytes, kept: bool) -> impl Future<Output = Result<ArtifactInfo, ServiceError>> + Send;

    /// Keeps an asset on this host until it is removed. Keeping one that is here already changes nothing and succeeds.
    fn put_asset(&self, bytes: Bytes) -> impl Future<Output = Result<AssetInfo, ServiceError>> + Send;

    /// Up to `limit` assets on this host's disk, in order of digest, those after `after`.
    fn assets(&self, after: Option<Digest>, limit: usize) -> AssetPage;

    /// The size of an asset, in bytes, if it is on this host.
    fn asset_bytes(&self, digest: Digest) -> Option<u64>;

    /// An asset's bytes, from this host or from another member; a fault of [`Fault::NotFound`] when nobody in reach has it.
    fn asset(&self, digest: Digest) -> impl Future<Output = Result<Bytes, ServiceError>> + Send;

    /// Removes an asset from this host; a fault of [`Fault::NotFound`] when it is not here.
    fn remove_asset(&self, digest: Digest) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Validates a spec and makes it the workload's. Answers once it is committed, not once it runs. A fault of [`Fault::Conflict`] when
    /// it would break what is there, unless it is `forced`.
    fn deploy(
        &self,
        name: &str,
        spec: serde_json::Value,
        forced: bool,
    ) -> impl Future<Output = Result<Deployed, ServiceError>> + Send;

    /// What deploying a spec would come to; changes nothing, and is refused where deploying would be.
    fn foresee(
        &self,
        name: &str,
        spec: serde_json::Value,
        forced: bool,
    ) -> impl Future<Output = Result<serde_json::Value, ServiceError>> + Send;

    /// Puts the version before in the place of the present one, at once on all hosts; over another schema of the state only if
    /// `forced`. A fault of [`Fault::Conflict`] when there is none to go back to.
    fn roll_back(&self, name: &str, forced: bool) -> impl Future<Output = Result<Deployed, ServiceError>> + Send;

    /// Removes a workload; a fault of [`Fault::NotFound`] when there is none. With `wait`, answers when no member that is there says
    /// any more that it runs it; a fault of [`Fault::TimedOut`] when that takes longer, and then the spec is removed all the same.
    fn undeploy(
        &self,
        name: &str,
        wait: Option<Duration>,
    ) -> impl Future<Output = Result<Committed, ServiceError>> + Send;

    /// Why a workload runs where it runs: the score of every candidate and why the rejected were rejected.
    fn placement(&self, name: &str) -> impl Future<Output = Result<serde_json::Value, ServiceError>> + Send;

    /// A call comes in. What its caller says of where it is counts for where the workload is placed.
    ///
    /// # Errors
    /// The caller makes more calls of this workload than it may. Nothing was done.
    fn enter(&self, workload: &str, entry: &Entry<'_>) -> Result<(), ServiceError>;

    /// Calls a function of a workload, here or where it runs. `arguments` is an array, or an object by parameter name.
    fn call(
        &self,
        name: &str,
        function: &str,
        arguments: serde_json::Value,
        options: CallOptions,
    ) -> impl Future<Output = Result<CallAnswer, ServiceError>> + Send;

    /// Calls that follow each other, with arguments that are encoded yet. Answers the first ones, as many as there is time for; `None`
    /// for one that cannot be made so, with which nothing was done: whoever decodes its arguments and makes it learns more.
    fn calls_encoded(
        &self,
        calls: &[EncodedCall<'_>],
    ) -> impl Future<Output = Vec<Option<Result<CallAnswer<Vec<u8>>, ServiceError>>>> + Send;
}
