//! What the API may ask about membership: who we are, a token for another, a member put out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use selvedge_sync::change::Change;
use selvedge_sync::id::NodeId;
use selvedge_sync::scalar::Scalar;

use super::membership::Membership;
use super::office::{InviteError, Office, RotateError};
use super::service::AgentService;
use super::standing::{Standing, now_s};
use super::vetting::{authorities_key, revocations_key, untold};
use super::whom;
use crate::cluster::{Cancelled, Invitation, TOKEN_ADDRESSES_MAX, Terms, moment};
use crate::config::CLUSTER_DEFAULT;
use crate::service::{
    AuthorityEntry, CertificateEntry, Cluster, ClusterStatus, CommitError, CommitOptions, Fault, InvitationEntry,
    InviteWanted, Invited, Node, NodeState, Revoked, RevokedEntry, Rotated, Service, ServiceError, shorten,
};

/// The cluster and this agent's papers.
pub(super) fn cluster(membership: &Membership) -> Cluster {
    let (trust, own) = (membership.standing.trust(), membership.standing.own());
    let authority = |(id, span): (crate::cluster::AuthorityId, crate::cluster::Span)| AuthorityEntry {
        id: id.to_string(),
        not_before: moment(span.from),
        not_after: moment(span.to),
    };
    Cluster {
        id: trust.cluster().to_string(),
        name: trust.name().to_owned(),
        authorities: trust.authorities().map(authority).collect(),
        is_authority: membership.office.is_some(),
        certificate: CertificateEntry {
            node: own.node,
            name: own.name,
            region: own.region,
            roles: own.roles.into_iter().collect(),
            not_before: moment(own.not_before),
            not_after: moment(own.not_after),
            seconds_left: own.not_after.saturating_sub(now_s()),
        },
        revoked: membership.standing.revoked().len(),
        revoked_nodes: revoked(&membership.standing),
    }
}

fn revoked(standing: &Standing) -> Vec<RevokedEntry> {
    let mut names = standing.names_of_revoked();
    let entry =
        |node| Some(RevokedEntry { node, name: names.remove(&node), since: moment(standing.revoked_at(node)?) });
    standing.revoked().into_iter().filter_map(entry).collect()
}

/// Fills in what the certificates of `nodes` let them do.
pub(super) fn roles(membership: &Membership, nodes: &mut [Node]) {
    let (standing, now) = (&membership.standing, now_s());
    let own = standing.own();
    for node in nodes {
        let claims = if node.id == own.node { Some(own.clone()) } else { standing.claims_of(node.id, now) };
        node.roles = claims.map_or_else(Vec::new, |claims| claims.roles.into_iter().collect());
    }
}

/// The cluster at one look.
pub(super) fn status(membership: Option<&Membership>, (members, alive): (usize, usize), epoch: u64) -> ClusterStatus {
    let Some(Membership { standing, .. }) = membership else {
        let (id, name) = (CLUSTER_DEFAULT.to_owned(), CLUSTER_DEFAULT.to_owned());
        return ClusterStatus { id, name, certificate_seconds_left: None, revoked: 0, members, alive, epoch };
    };
    let trust = standing.trust();
    ClusterStatus {
        id: trust.cluster().to_string(),
        name: trust.name().to_owned(),
        certificate_seconds_left: Some(standing.own().not_after.saturating_sub(now_s())),
        revoked: standing.revoked().len(),
        members,
        alive,
        epoch,
    }
}

fn office(service: &AgentService) -> Result<&Office, ServiceError> {
    let Some(membership) = &service.membership else {
        return Err(ServiceError::new(Fault::Conflict, "no_cluster", "this agent belongs to no cluster")
            .hint("`selvedge init` founds one, `selvedge join` enters one; both while the agent is stopped"));
    };
    membership.office.as_ref().ok_or_else(|| {
        let holders: Vec<String> = service.nodes().into_iter().filter(is_authority).map(|node| node.name).collect();
        let hint = if holders.is_empty() {
            "ask the agent on which the cluster was founded".to_owned()
        } else {
            format!("ask the agent on {}, where one does", holders.join(" or "))
        };
        ServiceError::new(Fault::Conflict, "no_authority", "no authority's key lies on this host").hint(hint)
    })
}

/// Whether an authority's key lies here, and no other member that is there has one.
pub(super) fn is_last_authority(service: &AgentService) -> bool {
    let holds_key = service.membership.as_ref().is_some_and(|membership| membership.office.is_some());
    let me = service.net.node();
    let is_other = |node: &Node| {
        let is_there = !matches!(node.status, NodeState::Lost | NodeState::Left | NodeState::Stopping);
        node.id != me && is_there && is_authority(node)
    };
    holds_key && !service.nodes().iter().any(is_other)
}

fn is_authority(node: &Node) -> bool {
    node.roles.iter().any(|role| role == "authority")
}

/// Makes a token.
pub(super) async fn invite(service: &AgentService, wanted: InviteWanted) -> Result<Invited, ServiceError> {
    let mut addresses = service.net.advertised();
    addresses.truncate(TOKEN_ADDRESSES_MAX);
    let made = office(service)?.invite(wanted, addresses.clone()).await;
    let (token, expires) = made.map_err(|error| {
        let (fault, code) = match &error {
            InviteError::NameTaken { .. } => (Fault::Conflict, "name_taken"),
            InviteError::Denied(_) => (Fault::Conflict, "too_many_invitations"),
            InviteError::Store(_) | InviteError::Randomness(_) => (Fault::Unavailable, "not_invited"),
        };
        let refused = ServiceError::new(fault, code, error.to_string());
        match &error {
            InviteError::NameTaken { by, .. } => refused
                .at("name")
                .hint(format!("choose another name; if that machine is gone for good: selvedge revoke {by}")),
            InviteError::Denied(_) => {
                refused.hint("`selvedge invitations` lists them, `selvedge invite --cancel ID` takes one back")
            }
            InviteError::Store(_) | InviteError::Randomness(_) => refused,
        }
    })?;
    let warning = addresses.iter().all(|address| is_loopback(address)).then(|| {
        "this agent has loopback's addresses only, because it listens nowhere else or because this host has no address in a network \
         yet, so the token's lead here from this host alone; to invite other machines, run it with --listen or --advertise at an \
         address that they reach, and ask for another token once it has one"
            .to_owned()
    });
    Ok(Invited { id: token.id_text(), token: token.reveal(), expires: moment(expires), addresses, warning })
}

/// Whether an address, `HOST:PORT` or a multiaddress, leads to its own host only.
fn is_loopback(address: &str) -> bool {
    let multi = address.strip_prefix('/').and_then(|rest| rest.split('/').nth(1));
    let host = multi.or_else(|| address.rsplit_once(':').map(|(host, _)| host)).unwrap_or(address);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The invitations that have not expired.
pub(super) async fn invitations(service: &AgentService) -> Result<Vec<InvitationEntry>, ServiceError> {
    let listed = office(service)?.invitations().await;
    Ok(listed.into_iter().map(|(invitation, by)| entry(&invitation, by)).collect())
}

/// Takes an invitation back.
pub(super) async fn cancel_invitation(service: &AgentService, id: &str) -> Result<InvitationEntry, ServiceError> {
    let cancelled = office(service)?.cancel(id).await.map_err(|error| {
        let message = format!("the store cannot write: {error}; the invitation still holds");
        ServiceError::new(Fault::Unavailable, "not_cancelled", message)
    })?;
    match cancelled {
        Cancelled::Open(invitation) => Ok(entry(&invitation, None)),
        Cancelled::UsedBy(node) => {
            let message = format!("the invitation was used by {node}");
            let hint = format!("to put that member out: selvedge revoke {node}");
            Err(ServiceError::new(Fault::Conflict, "invitation_used", message).at("id").hint(hint))
        }
        Cancelled::Unknown => {
            let message = format!("there is no open invitation `{}`", shorten(id));
            let hint = "`selvedge invitations` lists them; those that have expired are forgotten";
            Err(ServiceError::new(Fault::NotFound, "unknown_invitation", message).at("id").hint(hint))
        }
    }
}

fn entry(invitation: &Invitation, used_by_name: Option<String>) -> InvitationEntry {
    let Terms { name, region, may_deploy, not_after } = invitation.terms.clone();
    let (id, expires, used_by) = (invitation.id(), moment(not_after), invitation.used_by);
    InvitationEntry { id, name, region, may_deploy, expires, used_by, used_by_name }
}

/// Puts a new authority in the place of the present one.
pub(super) async fn rotate(service: &AgentService) -> Result<Rotated, ServiceError> {
    let office = office(service)?.clone();
    let rotated = tokio::task::spawn_blocking(move || office.rotate()).await;
    let rotated = rotated.map_err(|_| {
        ServiceError::new(Fault::Internal, "internal", "the rotation did not end")
            .changed("unknown: `selvedge status` shows the authority")
    })?;
    rotated.map(|authority| Rotated { authority: authority.to_string() }).map_err(|error| {
        let (fault, code) = match &error {
            RotateError::Endorsement(_) => (Fault::Conflict, "too_many_authorities"),
            RotateError::Folder(_) | RotateError::Papers(_) | RotateError::Randomness(_) => {
                (Fault::Unavailable, "not_rotated")
            }
        };
        ServiceError::new(fault, code, error.to_string())
    })
}

/// Puts a member out. Answers when that is on this disk; it reaches the others as every commit does.
pub(super) async fn revoke(service: &AgentService, node: &str) -> Result<Revoked, ServiceError> {
    let office = office(service)?;
    let mut known: BTreeMap<NodeId, String> =
        office.certified().await.into_iter().map(|listed| (listed.node, listed.name)).collect();
    // Those that are known by hearsay only: an authority that lost its books can still put them out by name.
    for Node { id, name, .. } in service.nodes() {
        known.entry(id).or_insert(name);
    }
    let node = whom::find(&known, node)?;
    if node == service.net.node() {
        let message = "an agent does not revoke itself";
        return Err(ServiceError::new(Fault::Conflict, "own_node", message).at("node"));
    }
    if let Some(at) = service.membership.as_ref().and_then(|membership| membership.standing.revoked_at(node)) {
        let message = format!("{node} was revoked on {} already", moment(at));
        return Err(ServiceError::new(Fault::Conflict, "already_revoked", message).at("node"));
    }
    let word = office.revoke(node);
    let member = Scalar::Bytes(word.encode());
    let options = CommitOptions { request: None, durable: true };
    let mut changes = vec![(revocations_key(), Change::Add(vec![member]))];
    if let Some(membership) = &service.membership {
        // Its signer may have become an authority a moment ago: the others have to know that first, or at the same time.
        let trust = membership.standing.trust();
        let untold = service.view.read(|replica| untold(&trust, replica));
        if trust.endorsements().count() > 1 && !untold.is_empty() {
            changes.push((authorities_key(), Change::Add(untold)));
        }
    }
    let made = service.commit(changes, options).await;
    let name = known.remove(&node).filter(|name| !name.is_empty());
    if let (Ok(_), Some(membership)) = (&made, &service.membership) {
        // At once, not with the next look at the state: its name is free when we say that it is out.
        membership.standing.revoke([&word]);
        membership.standing.call(name.clone().map(|name| (node, name)));
        tracing::warn!(%node, name, "revoked a member");
    }
    made.map(|commit| Revoked { node, name, commit }).map_err(|error| match error {
        CommitError::ReadOnly(reason) => ServiceError::new(Fault::Unavailable, "read_only", reason),
        CommitError::NotDurableInTime(_) | CommitError::NoAnswer => {
            ServiceError::new(Fault::TimedOut, "no_answer", "the disk has not confirmed it in time")
                .changed("the node may have been revoked; ask again")
        }
        CommitError::Busy => {
            let message = "too many writes are waiting";
            ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", message)
        }
        CommitError::Change { .. } | CommitError::TooLarge(_) => {
            let message = "the set of the revoked takes no more";
            ServiceError::new(Fault::Conflict, "too_many_revoked", message)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_nowhere_else_are_known() {
        let check = |address: &str, expect: bool| assert_eq!(is_loopback(address), expect, "{address}");
        for own in
            ["127.0.0.1:7412", "localhost:7412", "[::1]:7412", "/ip4/127.0.0.1/udp/7412/quic-v1", "/ip6/::1/tcp/7412"]
        {
            check(own, true);
        }
        for other in
            ["203.0.113.5:7412", "edge.example:7412", "/ip4/10.0.0.1/tcp/7412", "/dns4/edge.example/tcp/1", "", "/"]
        {
            check(other, false);
        }
    }
}
