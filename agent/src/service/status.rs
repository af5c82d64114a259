//! Documents about hosts: this one's status, the members, and health.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{Link, WorkloadStatus};

/// Everything that one look at an agent should tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// This host.
    pub node: NodeStatus,
    /// Its cluster.
    pub cluster: ClusterStatus,
    /// The shared state, as this host holds it.
    pub state: StateStatus,
    /// The members that this host is connected to, or wants to be.
    pub peers: Vec<Peer>,
    /// Addresses that this host was told to begin with, and behind which nobody was found yet.
    #[serde(default)]
    pub unreached: Vec<Link>,
    /// What runs in the cluster.
    pub workloads: Vec<WorkloadStatus>,
    /// Whether all is well.
    pub health: Health,
}

/// This host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its identity.
    pub id: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Which life of its data directory this is.
    pub incarnation: u64,
    /// The version of the agent.
    pub version: String,
    /// The commit it was built from, with `+dirty` behind it where sources were changed since; nothing of a build outside of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Seconds since the agent started.
    pub uptime_s: u64,
    /// Whether its operator has it emptied.
    #[serde(default)]
    pub draining: bool,
    /// Since when, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<String>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its identity: the key of its first authority, or `development`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Seconds until this host's certificate expires; `None` where there is none.
    pub certificate_seconds_left: Option<u64>,
    /// How many nodes were put out of it.
    pub revoked: usize,
    /// How many members there are, this one included.
    pub members: usize,
    /// How many of them are alive.
    pub alive: usize,
    /// The membership epoch: how many lives of members that stayed away or began anew were closed so far.
    pub epoch: u64,
}

/// The shared state, as this host holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateStatus {
    /// Its root, in hexadecimal.
    pub root: String,
    /// How many keys hold something. What was emptied is forgotten at different times on different hosts, and does not count.
    pub keys: u64,
    /// How many commits have been applied, of all writers together.
    pub commits: u64,
    /// About how many bytes the content occupies in memory.
    pub bytes: u64,
    /// How many dots and empty objects are kept until every member has seen what made them so.
    pub garbage: u64,
    /// How the repair from another member's state goes on that this host is in the middle of: after a long absence, or when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<Resync>,
}

/// A repair from state that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resync {
    /// Who gives.
    pub from: NodeId,
    /// Its name for people.
    pub name: String,
    /// How much of the state is known to be as the giver has it, of a thousand.
    pub done_permille: u16,
    /// How many objects have been taken so far.
    pub objects: u64,
}

/// Another member, as this host sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its identity.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Round trip in milliseconds; `None` before it was measured.
    pub rtt_ms: Option<f64>,
    /// Whether its root equals this host's, as last heard.
    pub root_equal: bool,
    /// How many commits either side is known to lack; `None` before it was heard.
    pub lag_commits: Option<u64>,
    /// Milliseconds since its state was last known to equal this host's; `None` before that.
    pub last_sync_ms: Option<u64>,
    /// Whether it is there, in the word of the list of members; `unknown` before it was heard of.
    #[serde(default)]
    pub status: String,
    /// How things stand with the connection to it.
    #[serde(default)]
    pub link: Link,
}

/// Whether all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether there is nothing to complain of.
    pub ok: bool,
    /// Complaints in sentences.
    pub reasons: Vec<String>,
    /// What this host is well with and should not be forgotten, in sentences: that the agent is being emptied, that a workload lacks instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where it stands, if it says so.
    pub location: Option<Location>,
    /// What it can do, as its operator declares: `gpu`, `ssd`.
    pub capabilities: Vec<String>,
    /// What its operator says about it, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it has; `None` before it said so.
    pub resources: Option<Resources>,
    /// How busy it is, 0 to 1; `None` before it said so.
    pub load: Option<f64>,
    /// Whether it is there.
    pub status: NodeState,
    /// Whether it called itself well when it was last heard; `None` before it said so.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// Why it did not, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ailment: Option<String>,
    /// Since when it is being emptied, as RFC 3339, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<String>,
    /// The release that it runs; empty before it said so.
    #[serde(default)]
    pub version: String,
    /// What its certificate lets it do: `member`, `deployer`, `authority`. Empty where there is no cluster, and before it was shown.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// How the clock of another member stands to this host's, found by asking it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockReading {
    /// The member.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Milliseconds by which its clock is ahead of this host's; below 0, behind. `None` when it did not say in time.
    pub ahead_ms: Option<f64>,
    /// How far off that may be, in milliseconds: half of the round trip of the question.
    pub within_ms: Option<f64>,
}

/// Whether another member reaches this host at one of the addresses that others are told, found by asking it to knock there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachReading {
    /// The member.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// The address, as a multiaddress.
    pub address: String,
    /// Whether something opened there. `None` when it could not be asked, or did not try.
    pub reached: Option<bool>,
    /// Why not.
    pub why: Option<String>,
}

/// A member of the cluster, as closely as it can be looked at from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// What the list of members tells.
    #[serde(flatten)]
    pub node: Node,
    /// The version of its agent; empty before it was heard.
    pub release: String,
    /// Multiaddresses at which it says that it can be reached.
    pub addresses: Vec<String>,
    /// How old is what it said of itself, in milliseconds; `None` before it was heard.
    pub age_ms: Option<u64>,
    /// Round trips that it measured to other members, in milliseconds.
    pub round_trips_ms: BTreeMap<NodeId, f64>,
    /// What is here and not known to be there; `None` where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<UnseenKeys>,
}

/// Keys that were written by commits which are here and which a member is not known to have seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenKeys {
    /// Some of them, in order.
    pub keys: Vec<String>,
    /// Whether there may be more.
    pub more: bool,
}

/// A place on earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// What a host has, as it measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors, as far as limits let the agent use them.
    pub cpus: f64,
    /// Memory in bytes, as far as limits let the agent use it.
    pub memory_bytes: u64,
    /// What is free of it.
    pub memory_free_bytes: u64,
    /// Free bytes on the disk that holds the data directory.
    pub disk_free_bytes: u64,
}

/// Whether a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answers.
    Alive,
    /// It has not answered for a while.
    Suspect,
    /// It has not said in time that it lives, or nobody has heard it.
    Lost,
    /// It lives, takes nothing new and hands over what it runs.
    Draining,
    /// It has said that its agent is about to stop, and may be back in a moment.
    Stopping,
    /// It has left in good order.
    Left,
}

impl NodeState {
    /// The state in one word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Left => "left",
        }
    }
}
