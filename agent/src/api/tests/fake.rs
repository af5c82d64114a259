//! A service in memory, just good enough for the routes: no replication, one workload, no clock.

mod nodes;
mod state;
mod told;

mod looks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use selvedge_sync::change::{Change, ChangeError};
use selvedge_sync::commit::RequestId;
use selvedge_sync::crdt::Value;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, Incarnation, NodeId, ReplicaId};
use selvedge_sync::key::Key;
use selvedge_sync::replica::KeyPrefix;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use self::state::apply;
use self::told::{invitation, workload, workload_status};
use crate::encoding::Encoding;
use crate::encoding::cbor::decode;
use crate::events::{Events, Patience, TooManyListeners};
use crate::service::*;
use crate::spec::Digest;

pub(super) struct Fake {
    inner: Mutex<Inner>,
    pub(super) events: Events,
    /// Each permit lets one call of `wait` end.
    pub(super) gate: Semaphore,
}

impl Default for Fake {
    fn default() -> Self {
        Self { inner: Mutex::default(), events: Events::new(LIFE, Patience::default()), gate: Semaphore::new(0) }
    }
}

/// A call that came in: its workload, who made it, and where it said that it was.
pub(super) type Entered = (String, Caller, Option<String>, Option<f64>);

#[derive(Default)]
struct Inner {
    values: BTreeMap<Key, Value>,
    seq: u64,
    requests: BTreeMap<RequestId, Committed>,
    workloads: BTreeMap<String, Json>,
    artifacts: usize,
    assets: BTreeMap<Digest, Bytes>,
    durable: bool,
    deadline: Option<Duration>,
    session: Option<u64>,
    entered: Vec<Entered>,
    waiting: usize,
    waiting_most: usize,
}

pub(super) const NODE: NodeId = NodeId([7; 32]);
/// Which life of the agent this is.
pub(super) const LIFE: u64 = 5;
pub(super) const OTHER: NodeId = NodeId([8; 32]);
pub(super) const ME: ReplicaId = ReplicaId { node: NODE, incarnation: Incarnation(3) };
/// Whoever waits for so long waits for ever.
pub(super) const NEVER: Duration = Duration::from_secs(300);
/// Nothing stops within so little.
pub(super) const TOO_SHORT: Duration = Duration::from_millis(1);
/// What the spec of any workload comes to.
pub(super) const REVISION: &str = "00000000000000aa";
/// What any deployment is called.
pub(super) const DEPLOYMENT: &str = "000000000000000000000000000000bb";
/// What stands for a recording.
pub(super) const RECORDING: &str = r#"{"format":"selvedge-recording"}"#;
/// A name as a hostile host could give itself.
pub(super) const HOSTILE: &str = "<script>alert('x')</script>\"&";

impl Fake {
    fn made_how(&self, how: CallOptions) {
        let mut state = self.lock();
        (state.deadline, state.session) = (how.deadline, how.session);
    }

    async fn wait(&self) {
        {
            let mut inner = self.lock();
            inner.waiting += 1;
            inner.waiting_most = inner.waiting_most.max(inner.waiting);
        }
        self.gate.acquire().await.expect("the gate stays").forget();
        self.lock().waiting -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds the lock")
    }

    fn made(&self) -> Committed {
        let mut inner = self.lock();
        inner.seq += 1;
        Committed { replica: ME, seq: inner.seq, hlc: Hlc::from_millis(1_000) }
    }
}

impl Service for Fake {
    fn status(&self) -> Status {
        Status {
            node: NodeStatus {
                id: NODE,
                name: "alpha".into(),
                region: "eu".into(),
                incarnation: 3,
                version: "0.1.0".into(),
                commit: Some("1f2e3d4c5b6a".into()),
                uptime_s: 3_725,
                draining: false,
                draining_since: None,
            },
            cluster: ClusterStatus {
                id: "c1".into(),
                name: "games".into(),
                certificate_seconds_left: Some(86_400),
                revoked: 1,
                members: 3,
                alive: 2,
                epoch: 0,
            },
            state: StateStatus {
                root: "ab".repeat(32),
                keys: 1_234,
                commits: 98_765,
                bytes: 2_345_678,
                garbage: 12,
                resync: Some(told::resync()),
            },
            peers: vec![
                Peer {
                    node: OTHER,
                    name: HOSTILE.into(),
                    rtt_ms: Some(0.42),
                    root_equal: false,
                    lag_commits: Some(17),
                    last_sync_ms: Some(120),
                    status: "suspect".into(),
                    link: Link { state: "connected".into(), ..Link::default() },
                },
                Peer {
                    node: NodeId([9; 32]),
                    name: "gamma".into(),
                    rtt_ms: None,
                    root_equal: false,
                    lag_commits: None,
                    last_sync_ms: None,
                    status: "lost".into(),
                    link: Link {
                        state: "resting".into(),
                        reason: Some(HOSTILE.into()),
                        next_try_ms: Some(12_000),
                        ..Link::default()
                    },
                },
            ],
            unreached: vec![],
            workloads: vec![workload_status("combat"), workload_status("prediction")],
            health: Health {
                ok: false,
                reasons: vec!["no bootstrap peer answers: 127.0.0.1:7400".into()],
                notes: vec![],
            },
        }
    }

    fn cluster(&self) -> Option<Cluster> {
        None
    }

    async fn invite(&self, wanted: InviteWanted) -> Result<Invited, ServiceError> {
        let expires = format!("in {} s", wanted.ttl_s);
        let addresses = vec!["127.0.0.1:7412".into()];
        Ok(Invited { id: "0a".into(), token: "selvedge-join-x".into(), expires, addresses, warning: None })
    }

    async fn invitations(&self) -> Result<Vec<InvitationEntry>, ServiceError> {
        Ok(vec![invitation("0a", None), invitation("0b", Some(OTHER))])
    }

    async fn cancel_invitation(&self, id: &str) -> Result<InvitationEntry, ServiceError> {
        match id {
            "0a" => Ok(invitation("0a", None)),
            _ => Err(ServiceError::not_found("unknown_invitation", "invitation", id).at("id")),
        }
    }

    async fn rotate_authority(&self) -> Result<Rotated, ServiceError> {
        Ok(Rotated { authority: "11111".into() })
    }

    async fn drain(&self, off: bool) -> Result<Drained, ServiceError> {
        Ok(Drained { draining: !off, ..self.drained() })
    }

    fn drained(&self) -> Drained {
        Drained { draining: false, since: None, remaining: Vec::new() }
    }

    async fn leave(&self, _forced: bool) -> Result<Leaving, ServiceError> {
        Ok(Leaving { handed_over: false, reasons: vec!["nobody else is there".to_owned()] })
    }

    async fn revoke(&self, node: &str) -> Result<Revoked, ServiceError> {
        let node = node.parse().map_err(|_| ServiceError::not_found("unknown_node", "member", node).at("node"))?;
        Ok(Revoked { node, name: None, commit: self.made() })
    }

    fn nodes(&self) -> Vec<Node> {
        nodes::nodes()
    }

    fn node(&self, id: NodeId) -> Option<NodeDetail> {
        self.nodes().into_iter().find(|node| node.id == id).map(told::detail)
    }

    fn history(&self) -> History {
        told::history()
    }

    fn past_events(&self) -> Vec<PastEvent> {
        self.events.past()
    }

    async fn reach(&self) -> Vec<ReachReading> {
        let (address, why) = ("/ip4/192.0.2.1/tcp/7412".to_owned(), Some("refused".to_owned()));
        vec![ReachReading { node: OTHER, name: HOSTILE.into(), address, reached: Some(false), why }]
    }

    async fn clocks(&self) -> Vec<ClockReading> {
        vec![ClockReading { node: OTHER, name: HOSTILE.into(), ahead_ms: Some(12.5), within_ms: Some(0.5) }]
    }

    fn health(&self) -> Health {
        Health { ok: true, reasons: vec![], notes: vec![] }
    }

    fn ready(&self) -> Health {
        Health { ok: false, reasons: vec!["the state is still being loaded".into()], notes: vec![] }
    }

    fn convergence(&self) -> Convergence {
        told::convergence()
    }

    fn workloads(&self) -> Vec<Workload> {
        let inner = self.lock();
        inner.workloads.iter().map(|(name, spec)| workload(name, spec)).collect()
    }

    fn workload(&self, name: &str) -> Option<Workload> {
        self.lock().workloads.get(name).map(|spec| workload(name, spec))
    }

    fn metrics_text(&self) -> String {
        "# EOF\n".into()
    }

    async fn await_converged(&self, timeout: Duration) -> Convergence {
        if timeout == NEVER {
            std::future::pending::<()>().await;
        }
        Convergence { converged: timeout >= Duration::from_secs(5), ..self.convergence() }
    }

    async fn keys(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<KeyPage, ServiceError> {
        let inner = self.lock();
        let matching = |key: &&Key| key.to_string().starts_with(prefix) && after.is_none_or(|after| *key > after);
        let mut keys: Vec<_> = inner.values.keys().filter(matching).take(limit + 1).cloned().collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = if more { keys.last().cloned() } else { None };
        let keys = keys.into_iter().map(|key| KeyEntry { kind: key.kind().to_string(), key }).collect();
        Ok(KeyPage { keys, next })
    }

    async fn read(&self, key: &Key) -> Result<Option<StateEntry>, ServiceError> {
        assert_ne!(key.name(), "panic", "a bug, on purpose");
        let inner = self.lock();
        Ok(inner.values.get(key).map(|value| StateEntry {
            key: key.clone(),
            value: value.clone(),
            root: "ab".repeat(32),
            clock: BTreeMap::from([(ME.to_string(), inner.seq)]),
        }))
    }

    async fn commit(&self, changes: Vec<(Key, Change)>, options: CommitOptions) -> Result<Committed, CommitError> {
        if let Some(first) = options.request.and_then(|id| self.lock().requests.get(&id).copied()) {
            return Ok(first);
        }
        for (index, (key, change)) in changes.iter().enumerate() {
            match (key.name(), change) {
                ("busy", _) => return Err(CommitError::Busy),
                ("full", _) => return Err(CommitError::ReadOnly("the disk is full".into())),
                ("slow", _) => return Err(CommitError::NoAnswer),
                (_, Change::Increment(by)) if *by > i64::MAX as u64 => {
                    return Err(CommitError::Change { index, error: ChangeError::Overflow });
                }
                _ => {}
            }
        }
        let commit = self.made();
        let mut inner = self.lock();
        inner.durable = options.durable;
        let mut changed = Vec::new();
        for (key, change) in changes {
            let value = inner.values.entry(key.clone()).or_insert_with(|| json::empty(key.kind()));
            apply(value, change);
            let value = Known::Value(Arc::new(value.clone()));
            changed.push(KeyChange { bytes: 0, key, value });
        }
        let dot = Some(Dot { replica: ME, seq: commit.seq });
        self.events.record([Event::Commit(CommitEvent { changes: changed, dot, hlc: commit.hlc })]);
        if let Some(id) = options.request {
            inner.requests.insert(id, commit);
        }
        Ok(commit)
    }

    async fn progress(&self, replica: ReplicaId, seq: u64) -> Result<Option<Progress>, ServiceError> {
        let there = replica == ME && seq <= self.changes().0;
        Ok(there.then(|| Progress { durable: true, seen_by: vec![NODE], stable: false }))
    }

    async fn events(&self, wanted: EventsWanted) -> Result<Notices, ServiceError> {
        let kinds = wanted.kinds();
        let prefix = kinds.has_commits().then(|| wanted.prefix.unwrap_or_else(KeyPrefix::everything));
        let interest = self.events.interest(prefix, wanted.by_right);
        let busy =
            |error: TooManyListeners| ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", error.to_string());
        let interest = interest.map_err(busy)?;
        if let Some(watched) = interest.watched() {
            self.events.began(watched.watch);
        }
        Ok(interest.listen(wanted.after.as_deref(), kinds))
    }

    async fn put_artifact(&self, wasm: Bytes, kept: bool) -> Result<ArtifactInfo, ServiceError> {
        if !wasm.starts_with(b"\0asm") {
            return Err(
                ServiceError::new(Fault::Caller, "no_component", "the body is no WebAssembly component").at("body")
            );
        }
        self.lock().artifacts += usize::from(kept);
        let size = wasm.len() as u64;
        Ok(ArtifactInfo { digest: "d1".into(), size, exports: vec!["resolve".into()], imports: vec![] })
    }

    async fn put_asset(&self, bytes: Bytes) -> Result<AssetInfo, ServiceError> {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        self.lock().assets.insert(digest, bytes);
        Ok(AssetInfo { digest: digest.to_string(), size })
    }

    fn assets(&self, after: Option<Digest>, limit: usize) -> AssetPage {
        let inner = self.lock();
        let mut rest = inner.assets.iter().filter(|(digest, _)| after.is_none_or(|after| **digest > after));
        let entry = |(digest, bytes): (&Digest, &Bytes)| AssetEntry {
            digest: *digest,
            size: bytes.len() as u64,
            keeping: "upload".to_owned(),
        };
        let assets: Vec<_> = rest.by_ref().take(limit).map(entry).collect();
        let next = rest.next().and(assets.last()).map(|last| last.digest);
        AssetPage { assets, next }
    }

    fn asset_bytes(&self, digest: Digest) -> Option<u64> {
        self.lock().assets.get(&digest).map(|bytes| bytes.len() as u64)
    }

    async fn asset(&self, digest: Digest) -> Result<Bytes, ServiceError> {
        let unknown = || ServiceError::not_found("unknown_asset", "asset", &digest.to_string());
        self.lock().assets.get(&digest).cloned().ok_or_else(unknown)
    }

    async fn remove_asset(&self, digest: Digest) -> Result<(), ServiceError> {
        let unknown = || ServiceError::not_found("unknown_asset", "asset", &digest.to_string());
        self.lock().assets.remove(&digest).map(drop).ok_or_else(unknown)
    }

    async fn deploy(&self, name: &str, spec: Json, _: bool) -> Result<Deployed, ServiceError> {
        if spec.get("artifact").is_none() {
            return Err(ServiceError::new(Fault::Caller, "missing_field", "a spec names its artifact").at("artifact"));
        }
        self.lock().workloads.insert(name.into(), spec);
        Ok(Deployed { commit: self.made(), revision: REVISION.to_owned(), deployment: DEPLOYMENT.to_owned() })
    }

    async fn foresee(&self, name: &str, _: Json, _: bool) -> Result<Json, ServiceError> {
        Ok(json!({"name": name, "dry_run": true}))
    }

    async fn roll_back(&self, name: &str, forced: bool) -> Result<Deployed, ServiceError> {
        if !self.lock().workloads.contains_key(name) {
            return Err(ServiceError::not_found("unknown_workload", "workload", name));
        }
        if !forced {
            return Err(ServiceError::new(Fault::Conflict, "older_schema", "the schema is older").at("state_schema"));
        }
        Ok(Deployed { commit: self.made(), revision: REVISION.to_owned(), deployment: DEPLOYMENT.to_owned() })
    }

    async fn undeploy(&self, name: &str, wait: Option<Duration>) -> Result<Committed, ServiceError> {
        if self.lock().workloads.remove(name).is_none() {
            return Err(ServiceError::not_found("unknown_workload", "workload", name));
        }
        if wait == Some(TOO_SHORT) {
            let error = ServiceError::new(Fault::TimedOut, "still_running", "`beta` still runs it");
            return Err(error.changed("the spec is removed"));
        }
        Ok(self.made())
    }

    async fn placement(&self, name: &str) -> Result<Json, ServiceError> {
        Ok(json!({"workload": name, "candidates": [], "why": format!("{HOSTILE} scores 0.91")}))
    }

    fn enter(&self, workload: &str, entry: &Entry<'_>) -> Result<(), ServiceError> {
        let mut state = self.lock();
        state.entered.push((workload.to_owned(), entry.caller, entry.region.map(str::to_owned), entry.rtt_ms));
        if workload == "hasty" {
            return Err(ServiceError::new(Fault::Busy { retry_after_s: 3 }, "rate_limited", "too soon"));
        }
        Ok(())
    }

    async fn call(&self, name: &str, function: &str, args: Json, how: CallOptions) -> Result<CallAnswer, ServiceError> {
        self.made_how(how);
        match (name, function) {
            ("combat", "resolve") => {
                let commit = Some(Committed { replica: ME, seq: 9, hlc: Hlc::from_millis(1) });
                let recording = how.record.then(|| RECORDING.to_owned());
                Ok(CallAnswer { result: args, node: OTHER, commit, overrun: None, recording })
            }
            ("combat", "read-only") => {
                let overrun = Some("deadline".to_owned());
                Ok(CallAnswer { result: Json::Null, node: NODE, commit: None, overrun, recording: None })
            }
            ("combat", "wait") => {
                self.wait().await;
                Ok(CallAnswer { result: args, node: NODE, commit: None, overrun: None, recording: None })
            }
            ("combat", "panic") => panic!("a bug, on purpose"),
            ("combat", "loop") => Err(ServiceError::new(Fault::TimedOut, "deadline", "the call ran out of time")),
            ("combat", _) => Err(ServiceError::not_found("unknown_function", "function", function).at("function")),
            _ => Err(ServiceError::not_found("unknown_workload", "workload", name).at("name")),
        }
    }

    /// Takes calls of one function, and one at a time: an agent takes as many as it has time for.
    async fn calls_encoded(&self, calls: &[EncodedCall<'_>]) -> Vec<Option<Result<CallAnswer<Vec<u8>>, ServiceError>>> {
        let Some(EncodedCall { name, function, arguments: (encoding, bytes), answer, options, asked: _ }) =
            calls.first()
        else {
            return Vec::new();
        };
        let args: Option<Json> = match encoding {
            Encoding::Json => serde_json::from_slice(bytes).ok(),
            Encoding::Cbor => decode(bytes).ok(),
        };
        let Some(args) = args.filter(|args| *function == "resolve" && (args.is_array() || args.is_object())) else {
            return vec![None];
        };
        let called = self.call(name, function, args, *options).await;
        vec![Some(called.map(|called| {
            let CallAnswer { result, node, commit, overrun, recording } = called;
            CallAnswer { result: answer.encode(&result), node, commit, overrun, recording }
        }))]
    }
}
