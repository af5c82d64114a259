//! What this agent is to others: a neighbour on its own host, a member, or a member with an office.

use std::sync::Arc;

use ed25519_dalek::SigningKey;

use super::AgentError;
use super::data::Data;
use super::notary::Member;
use super::office::Office;
use super::standing::{Development, Standing};
use super::vetting::{Read, Vetting, names_of, take_over};
use crate::cluster::{Desk, Folder};
use crate::config::Config;
use crate::members::Register;
use crate::members::gossip::SharedMembers;
use crate::net::{Admission, Net, Registrar};
use crate::store::Store;
use crate::view::StateView;
use crate::workloads::Notary;

/// Membership of a cluster, and what follows from it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Membership {
    pub(super) standing: Standing,
    /// Where an authority's key lies on this host.
    pub(super) office: Option<Office>,
    folder: Folder,
}

impl Membership {
    /// As the data directory says; `None` for an agent that belongs to no cluster.
    pub(super) fn of(config: &Config, data: &Data) -> Result<Option<Self>, AgentError> {
        let Some((trust, certificate)) = config.cluster.papers.clone() else { return Ok(None) };
        let standing = Standing::new(trust, certificate, data.key.node())?;
        if let Some(reserved) = &data.reserved {
            reserved.follow(standing.clone());
        }
        // Before the first connection: a member that was revoked while we were stopped does not get in for a moment.
        take_over(&standing, &data.replica, &mut Read::default());
        let folder = Folder::in_data_dir(&config.node.data_dir);
        standing.revoke(&folder.revocation()?);
        standing.call(names_of(&data.revoked_names));
        let lifetime_s = config.cluster.certificate_lifetime.as_secs();
        let office = folder.authority()?.map(|authority| {
            let desk = Desk { authority, lifetime_s };
            Office::open(desk, folder.clone(), standing.clone(), data.store.clone(), &data.office)
        });
        Ok(Some(Self { standing, office, folder }))
    }

    /// The loop that keeps an eye on membership.
    pub(super) fn vetting(&self, view: StateView, net: Net, members: SharedMembers, store: Store) -> Vetting {
        let Self { standing, office, folder } = self.clone();
        Vetting { standing, office, folder, view, net, members, store }
    }
}

/// Whose records are believed.
pub(super) fn register(membership: Option<&Membership>) -> Arc<dyn Register> {
    match membership {
        None => Arc::new(Development),
        Some(Membership { standing, .. }) => Arc::new(standing.clone()),
    }
}

/// Who signs what is deployed here with the node's `key`, and judges what others signed.
pub(super) fn notary(membership: Option<&Membership>, key: &SigningKey) -> Arc<dyn Notary> {
    match membership {
        None => Arc::new(Development),
        Some(Membership { standing, .. }) => Arc::new(Member { standing: standing.clone(), key: key.clone() }),
    }
}

/// What stands at the gate.
pub(super) fn gate(membership: Option<&Membership>) -> (Arc<dyn Admission>, Option<Arc<dyn Registrar>>) {
    match membership {
        None => (Arc::new(Development), None),
        Some(Membership { standing, office, .. }) => {
            let registrar = office.clone().map(|office| Arc::new(office) as Arc<dyn Registrar>);
            (Arc::new(standing.clone()), registrar)
        }
    }
}
