//! What the API may ask about membership: who we are, a token for another, a member put out.

use std::time::{Duration, UNIX_EPOCH};

use selvedge_sync::change::Change;
use selvedge_sync::id::NodeId;
use selvedge_sync::scalar::Scalar;

use super::membership::Membership;
use super::office::{InviteError, Office, RotateError};
use super::service::AgentService;
use super::standing::now_s;
use super::vetting::revocations_key;
use crate::cluster::{TOKEN_ADDRESSES_MAX, UnixSeconds};
use crate::config::CLUSTER_DEFAULT;
use crate::service::{
    AuthorityEntry, CertificateEntry, Cluster, ClusterStatus, CommitError, CommitOptions, Fault, InviteWanted, Invited,
    Revoked, Rotated, Service, ServiceError,
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

fn moment(at: UnixSeconds) -> String {
    // A year that no calendar holds is told as the last that one does.
    let at = UNIX_EPOCH + Duration::from_secs(at.min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}

fn office(service: &AgentService) -> Result<&Office, ServiceError> {
    let Some(membership) = &service.membership else {
        return Err(ServiceError::new(Fault::Conflict, "no_cluster", "this agent belongs to no cluster")
            .hint("`selvedge init` founds one, `selvedge join` enters one; both while the agent is stopped"));
    };
    membership.office.as_ref().ok_or_else(|| {
        ServiceError::new(Fault::Conflict, "no_authority", "no authority's key lies on this host")
            .hint("ask the agent on which the cluster was founded")
    })
}

/// Makes a token.
pub(super) async fn invite(service: &AgentService, wanted: InviteWanted) -> Result<Invited, ServiceError> {
    let mut addresses = service.net.advertised();
    addresses.truncate(TOKEN_ADDRESSES_MAX);
    let made = office(service)?.invite(wanted.name, wanted.region, wanted.ttl_s, addresses.clone()).await;
    let (token, expires) = made.map_err(|error| {
        let (fault, code) = match &error {
            InviteError::Denied(_) => (Fault::Conflict, "too_many_invitations"),
            InviteError::Store(_) | InviteError::Randomness(_) => (Fault::Unavailable, "not_invited"),
        };
        ServiceError::new(fault, code, error.to_string())
    })?;
    Ok(Invited { token: token.reveal(), expires: moment(expires), addresses })
}

/// Puts a new authority in the place of the present one.
pub(super) async fn rotate(service: &AgentService) -> Result<Rotated, ServiceError> {
    let office = office(service)?.clone();
    let rotated = tokio::task::spawn_blocking(move || office.rotate()).await;
    let rotated = rotated.map_err(|_| ServiceError::new(Fault::Internal, "internal", "the rotation did not end"))?;
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
    let node = find(service, node)?;
    if node == service.net.node() {
        return Err(ServiceError::new(Fault::Conflict, "own_node", "an agent does not revoke itself").at("node"));
    }
    let member = Scalar::Bytes(office.revoke(node).encode());
    let options = CommitOptions { request: None, durable: true };
    let made = service.commit(vec![(revocations_key(), Change::Add(vec![member]))], options).await;
    made.map(|commit| Revoked { node, commit }).map_err(|error| match error {
        CommitError::ReadOnly(reason) => ServiceError::new(Fault::Unavailable, "read_only", reason),
        CommitError::NotDurableInTime(_) | CommitError::NoAnswer => {
            ServiceError::new(Fault::TimedOut, "no_answer", "the disk has not confirmed it in time")
                .changed("the node may have been revoked; ask again")
        }
        CommitError::Busy => ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", "too many writes are waiting"),
        CommitError::Change { .. } | CommitError::TooLarge(_) => {
            ServiceError::new(Fault::Conflict, "too_many_revoked", "the set of the revoked takes no more")
        }
    })
}

/// The node of this id or name. One that was never seen here can be revoked by its id.
fn find(service: &AgentService, text: &str) -> Result<NodeId, ServiceError> {
    if let Ok(node) = text.parse() {
        return Ok(node);
    }
    let named: Vec<NodeId> = service.nodes().into_iter().filter(|node| node.name == text).map(|node| node.id).collect();
    match named.as_slice() {
        [one] => Ok(*one),
        [] => {
            Err(ServiceError::not_found("unknown_node", "member", text).at("node").hint("`selvedge nodes` lists them"))
        }
        _ => {
            Err(ServiceError::new(Fault::Conflict, "ambiguous_node", format!("{} members have this name", named.len()))
                .at("node")
                .hint("name it by its id"))
        }
    }
}
