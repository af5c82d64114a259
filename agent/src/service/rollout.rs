//! Documents about rollouts: how a deployment goes on.

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

/// How a deployment goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The deployment's name.
    pub deployment: String,
    /// `pending`, `canary`, `following`, `switching`, `nowhere`, `fenced`, `done` or `rolled_back`.
    pub stage: String,
    /// The host that tries it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<NodeId>,
    /// Calls that it has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Milliseconds until it can pass, if it is called often enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Calls that it is to answer by then, if it is called at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_wanted: Option<u32>,
    /// Milliseconds until it can pass with however few calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_ms: Option<u64>,
    /// 99th percentile of the times of the canary's calls, in microseconds; absent before it and the old version were called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_p99_us: Option<u64>,
    /// What that is held against: the same of the old version, there or elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_p99_us: Option<u64>,
    /// Hosts that serve the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<usize>,
    /// Hosts that are to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
    /// Those of them that have been asked to and cannot, or not in time: nobody waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<NodeId>,
    /// Hosts that still have the old version, which has to stop first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<usize>,
    /// Which those are, as they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_on: Vec<NodeId>,
    /// Why it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By whose agent it was deployed, or rolled back by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_by: Option<NodeId>,
    /// When, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_at_ms: Option<u64>,
    /// Which host has recorded the last verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<NodeId>,
    /// The revision that `rollback` goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The deployment that was taken back by hand with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<String>,
}

/// A deployment that has reached a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolloutEvent {
    /// Which workload.
    pub workload: String,
    /// `deployed` (everywhere at once), `canary`, `promoted`, `switching` (between two schemas of the state), `nowhere` (no host may run
    /// it), `completed`, `rolled_back`, or `undeployed`, which is told by the agent that was asked for it alone: what is removed keeps no
    /// record of who did it.
    pub stage: &'static str,
    /// The deployment's name.
    pub deployment: String,
    /// The revision that it deploys.
    pub revision: String,
    /// The host that tries it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Why it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By whose agent it was deployed, or rolled back by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployed_by: Option<NodeId>,
    /// By whose agent it was undeployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeployed_by: Option<NodeId>,
    /// Which host has recorded the last verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<NodeId>,
}
