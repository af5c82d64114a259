//! What this host may run while it is cut off from others.
//!
//! Owns how a host tells that it is: by how many of the members it sees, well or ill. It needs no agreement, so both sides of a cut may be wrong
//! about the other; what must not run twice asks for `stop-after` or `home-only` and pays with not running at all on one side.

use selvedge_sync::id::NodeId;
use serde::Serialize;

use crate::placement::{Mesh, NodeFacts};
use crate::spec::Partition;

/// Why a workload may not run here for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum CutOff {
    /// Most members have been out of sight for as long as the spec bears.
    #[error("{seen} of {members} members are in sight")]
    Minority {
        /// Members in sight, this one included.
        seen: usize,
        /// Members in all.
        members: usize,
    },
    /// Nobody of the home region is in sight.
    #[error("nobody of its home region {home} is in sight")]
    FarFromHome {
        /// The region.
        home: String,
    },
}

/// Whether a member is there. One that is ill is: it takes nothing, and nobody is cut off by that.
fn is_there(node: &NodeFacts, me: &NodeId) -> bool {
    node.node == *me || (!node.left && node.lost_ms.is_none())
}

/// How many members are in sight and how many there are, and whether those are most of them. Of two halves, the one with the first of
/// all members is.
fn in_sight(mesh: &Mesh, me: &NodeId) -> (usize, usize, bool) {
    let members = || mesh.nodes().filter(|node| !node.left);
    let in_sight = || members().filter(|node| is_there(node, me));
    let (seen, members_count) = (in_sight().count(), members().count());
    let has_first = in_sight().next().map(|node| node.node) == members().next().map(|node| node.node);
    (seen, members_count, seen * 2 > members_count || (seen * 2 == members_count && has_first))
}

/// How many members a host sees, itself included, for whoever asks what its plans are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InSight {
    /// Members in sight, well or ill.
    pub seen: usize,
    /// Members in all.
    pub members: usize,
    /// Whether those in sight are most of them.
    pub most: bool,
}

impl InSight {
    /// Of the members of `mesh`, by what `me` has heard.
    #[must_use]
    pub fn of(mesh: &Mesh, me: &NodeId) -> Self {
        let (seen, members, most) = in_sight(mesh, me);
        Self { seen, members, most }
    }
}

/// Whether this host sees most members: who does not, decides nothing for all.
#[must_use]
pub fn sees_most(mesh: &Mesh, me: &NodeId) -> bool {
    in_sight(mesh, me).2
}

/// Watches how much of the mesh is in sight.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    seen: usize,
    members: usize,
    /// Since when most members have been out of sight.
    minority_since_ms: Option<u64>,
}

impl Sight {
    /// Looks at who is there now.
    pub(super) fn look(&mut self, mesh: &Mesh, me: &NodeId, now_ms: u64) {
        let is_majority;
        (self.seen, self.members, is_majority) = in_sight(mesh, me);
        self.minority_since_ms = if is_majority { None } else { self.minority_since_ms.or(Some(now_ms)) };
    }

    /// Whether `policy` keeps a workload from running here.
    pub(super) fn forbids(&self, policy: &Partition, mesh: &Mesh, me: &NodeId, now_ms: u64) -> Option<CutOff> {
        match policy {
            Partition::KeepBoth => None,
            Partition::StopAfter(wait_ms) => {
                let since_ms = self.minority_since_ms?;
                let (seen, members) = (self.seen, self.members);
                (now_ms.saturating_sub(since_ms) >= *wait_ms).then_some(CutOff::Minority { seen, members })
            }
            Partition::HomeOnly(home) => {
                let seen = mesh.nodes().any(|node| is_there(node, me) && node.region.as_ref() == Some(home));
                (!seen).then(|| CutOff::FarFromHome { home: home.clone() })
            }
        }
    }
}
