//! Documents about workloads: artefacts, instances, figures, calls.

use std::time::{Duration, Instant};

use selvedge_sync::commit::RequestId;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{Committed, Rollout};
use crate::encoding::Encoding;
use crate::traces::Context;

/// A component that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// The hash that names it.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// The functions that it offers, with their types.
    pub exports: Vec<String>,
    /// The interfaces that it needs.
    pub imports: Vec<String>,
}

/// A workload: its spec, and how it fares. The spec's fields stand beside `name` and `status`; a document that was read can
/// be changed and sent back as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// How it fares.
    pub status: WorkloadStatus,
    /// What runs, or is to: of a deployment that was taken back the version before, and then `status.rejected` has its own.
    #[serde(flatten)]
    pub spec: serde_json::Map<String, serde_json::Value>,
}

/// How a workload fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadStatus {
    /// Its name.
    pub name: String,
    /// The artefact that its spec names.
    pub digest: String,
    /// What its spec would have instances made from: changes with the artefact, the limits, the configuration and the default
    /// answers, and an instance that was made from another revision is not ready.
    pub revision: String,
    /// Instances that are wanted.
    pub replicas: u32,
    /// Instances that there are, or ought to be.
    pub instances: Vec<Instance>,
    /// How its last start on this host went; `None` where there was none since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_start: Option<LastStart>,
    /// Calls that came in on this host since it started.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many of them were refused, as the caller's own mistake: counted in `calls`, and not in `errors`.
    #[serde(default)]
    pub refused: u64,
    /// How long they took, from request to answer, since the agent started.
    pub latency_us: LatencyUs,
    /// The same in full.
    #[serde(default)]
    pub latency_buckets: Vec<LatencyBucket>,
    /// How the deployment goes on.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// What was deployed last, where that does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// The same of the last minutes.
    #[serde(default)]
    pub recent: Recent,
}

/// A deployment that does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its name.
    pub deployment: String,
    /// What its instances would be made from.
    pub revision: String,
    /// Its spec, as it was deployed.
    pub spec: serde_json::Map<String, serde_json::Value>,
}

/// Calls of about the same latency. The bounds are 1, 2, 5, 10 and so on; buckets at either end that are empty are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyBucket {
    /// None of them took longer than this, in microseconds, and all longer than the bound before.
    pub le_us: u64,
    /// How many there were.
    pub calls: u64,
}

/// Calls of the last minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// How far it goes back, in seconds: less while the agent has not run for so long.
    pub window_s: u64,
    /// Calls in it that were not refused.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How long they took.
    pub latency_us: LatencyUs,
}

/// How a start went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastStart {
    /// The digest of what was started.
    pub digest: String,
    /// When it ended, as RFC 3339.
    pub ended: String,
    /// How long it took from the claim, in milliseconds.
    pub total_ms: f64,
    /// The stages that it went through, in their order.
    pub stages: Vec<StageTime>,
    /// Why it failed, if it did; then the last stage is where.
    pub error: Option<String>,
}

/// How long one stage of a start took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// `claimed`, `fetching`, `queued`, `verifying`, `compiling` or `warming`.
    pub stage: String,
    /// In milliseconds.
    pub ms: f64,
}

/// A spec that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// The commit that holds it.
    pub commit: Committed,
    /// What instances are made from now: they are ready when the workload's status shows this revision and says so.
    pub revision: String,
    /// The deployment's name, under which the workload's status shows how it goes on.
    pub deployment: String,
}

/// One instance of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The host.
    pub node: NodeId,
    /// How far it has got.
    pub phase: Phase,
    /// Why it is there, if there is something to say.
    pub reason: Option<String>,
    /// What it is to be is not ready yet, and the version before answers calls there meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub serves_previous: bool,
}

/// How far an instance has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Placed, and not begun.
    Pending,
    /// Being fetched, compiled or warmed up.
    Starting,
    /// Takes calls.
    Ready,
    /// Took calls when its host was last heard; the host does not answer at present, and may be lost.
    Suspect,
    /// Takes no new calls.
    Stopping,
    /// Could not be started.
    Failed,
}

impl Phase {
    /// The phase in one word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Suspect => "suspect",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// A distribution of latencies, in microseconds. All zero before the first call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Half of the calls took at most this.
    pub p50: u64,
    /// 99 of 100 took at most this.
    pub p99: u64,
    /// 999 of 1000 took at most this.
    pub p999: u64,
    /// None took longer.
    pub max: u64,
}

/// How a call is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// How long the caller is willing to wait; the workload's own deadline holds too.
    pub deadline: Option<Duration>,
    /// Makes a retry harmless: what a call with the same id wrote before is not written again.
    pub request: Option<RequestId>,
    /// What belongs together, for workloads that are routed by session: the same number goes to the same instance.
    pub session: Option<u64>,
    /// Whether to record the call, so that it can be replayed.
    pub record: bool,
    /// The trace that it is part of.
    pub trace: Option<Context>,
}

/// Who makes a call on this host, as far as rate limits tell callers apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Whoever holds the token: over TCP all callers are one.
    #[default]
    Token,
    /// A user of this host, by number, over a unix socket.
    User(u32),
}

/// A call that comes in on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Entry<'a> {
    /// Who makes it.
    pub caller: Caller,
    /// In which region the caller says that it is, or those whom it calls for.
    pub region: Option<&'a str>,
    /// Round trip to this host, in milliseconds, as the caller has measured it.
    pub rtt_ms: Option<f64>,
}

/// A call whose arguments are encoded yet.
#[derive(Clone, Copy, Debug)]
pub struct EncodedCall<'a> {
    /// The workload.
    pub name: &'a str,
    /// The function.
    pub function: &'a str,
    /// An array, or an object by parameter name, and how it is encoded.
    pub arguments: (Encoding, &'a [u8]),
    /// How the result is to be encoded.
    pub answer: Encoding,
    /// How to make it.
    pub options: CallOptions,
    /// When it was read: its deadline counts from then.
    pub asked: Instant,
}

/// What a call answered; its result as JSON, or encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct CallAnswer<R = serde_json::Value> {
    /// The function's result.
    pub result: R,
    /// The host whose instance answered.
    pub node: NodeId,
    /// The commit of what the call wrote; `None` when it wrote nothing.
    pub commit: Option<Committed>,
    /// Why the result is the workload's default answer, if it is: `deadline`, `expired` or `busy`.
    pub overrun: Option<String>,
    /// The recording of the call as JSON, if that was asked for.
    pub recording: Option<String>,
}
