//! Documents about membership: the cluster, invitations, revocations.

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::Committed;

/// The cluster that this agent belongs to, and with what papers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The key of its first authority, which it is known by.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Who may sign for it.
    pub authorities: Vec<AuthorityEntry>,
    /// Whether an authority's key lies on this host, so that it can invite and revoke.
    pub is_authority: bool,
    /// This agent's certificate.
    pub certificate: CertificateEntry,
    /// How many nodes were revoked.
    pub revoked: usize,
    /// Which, and when.
    #[serde(default)]
    pub revoked_nodes: Vec<RevokedEntry>,
}

/// A node that was put out of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedEntry {
    /// Which.
    pub node: NodeId,
    /// What it was called, if that was known here when it was put out.
    #[serde(default)]
    pub name: Option<String>,
    /// Since when, as RFC 3339.
    pub since: String,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityEntry {
    /// Its key.
    pub id: String,
    /// From when on it may sign, as RFC 3339.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// Whose.
    pub node: NodeId,
    /// The bearer's name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// From when on it holds, as RFC 3339.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// Whole seconds that are left; 0 when it has expired.
    pub seconds_left: u64,
}

/// An invitation that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteWanted {
    /// The name that the joiner gets.
    pub name: Option<String>,
    /// The region that the joiner gets.
    pub region: Option<String>,
    /// How long the token can be used, in seconds.
    pub ttl_s: u64,
    /// Whether what the joiner deploys is run by others.
    pub may_deploy: bool,
}

/// An invitation. The token is shown here and never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Its name in lists, by which it can be cancelled; no secret.
    pub id: String,
    /// What the joiner needs.
    pub token: String,
    /// Until when, as RFC 3339.
    pub expires: String,
    /// Where the joiner will look for this agent.
    pub addresses: Vec<String>,
    /// What the operator should know before handing it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An invitation that has not expired. Its token is known to nobody but whoever was given it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationEntry {
    /// Its name in lists.
    pub id: String,
    /// The name that the joiner gets; `None` leaves it to the joiner.
    pub name: Option<String>,
    /// The region that the joiner gets.
    pub region: Option<String>,
    /// Whether what the joiner deploys is run by others.
    pub may_deploy: bool,
    /// Until when it can be used, as RFC 3339.
    pub expires: String,
    /// Who has used it.
    pub used_by: Option<NodeId>,
    /// That member's name.
    pub used_by_name: Option<String>,
}

/// The authority that signs from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// Its key.
    pub authority: String,
}

/// Whether an agent is being emptied, and how far that has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Whether it takes no new workloads and hands over what it runs. It stays so over restarts.
    pub draining: bool,
    /// Since when, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What still runs here, in order of name. Empty while it is not being emptied.
    #[serde(default)]
    pub remaining: Vec<Remaining>,
}

/// A workload that still runs on an agent that is being emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Its name.
    pub workload: String,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// What holds it up, for people.
    pub reason: String,
    /// Whether it goes on here, as too few others may run it: until that changes, waiting is of no use.
    pub stays: bool,
}

/// How an agent leaves. It stops as soon as this was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Whether others run what it ran, and have what it acknowledged.
    pub handed_over: bool,
    /// What they do not, in sentences.
    pub reasons: Vec<String>,
}

/// A member that was put out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Who.
    pub node: NodeId,
    /// Its name, if this authority knows one.
    #[serde(default)]
    pub name: Option<String>,
    /// The commit that says so.
    pub commit: Committed,
}
