//! What an authority's host does for others: it invites, certifies whoever comes with a token, renews, revokes.
//!
//! Owns the invitations, which the store keeps by hash. The invariant: a token counts as used before its bearer is told so.

use std::sync::{Arc, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use tokio::sync::Mutex;

use super::founding::AUTHORITY_LIFETIME_S;
use super::standing::{Standing, now_s};
use crate::cluster::{
    Authority, AuthorityId, BACKDATED_S, Denied, Desk, EndorsementError, Folder, FolderError, Invitations, Papers,
    Refusal, Revocation, Span, Terms, Token, UnixSeconds,
};
use crate::net::Registrar;
use crate::store::Store;

/// The name under which the store keeps invitations.
pub(super) const INVITATIONS: &str = "invitations";

/// Most bytes of stored invitations: a thousand of them.
const INVITATIONS_BYTES_MAX: usize = 512 * 1024;

/// Somebody holds an authority's key and works with it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Office(Arc<Inner>);

struct Inner {
    desk: std::sync::Mutex<Desk>,
    folder: Folder,
    standing: Standing,
    store: Store,
    invitations: Mutex<Invitations>,
}

/// Why no invitation was made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InviteError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the store cannot write: {0}")]
    Store(String),
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// Why the authority is the one that it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum RotateError {
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the new authority's own certificate is not believed: {0}")]
    Papers(#[from] Refusal),
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
}

impl Office {
    /// Opens with the invitations that the store has kept.
    pub(super) fn open(desk: Desk, folder: Folder, standing: Standing, store: Store, kept: Option<&[u8]>) -> Self {
        let kept = kept.map(|bytes| codec::decode(bytes, INVITATIONS_BYTES_MAX));
        let invitations = kept.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "the stored invitations cannot be read; whoever was invited needs a new token");
            None
        });
        let (desk, invitations) = (std::sync::Mutex::new(desk), Mutex::new(invitations.unwrap_or_default()));
        Self(Arc::new(Inner { desk, folder, standing, store, invitations }))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a new authority in the place of the present one, which endorses it. Certificates of both are believed, those of the
    /// former until its time is over. Blocks on the disk.
    ///
    /// # Errors
    /// The cluster has had too many, or the disk refuses; then the present one goes on.
    pub(super) fn rotate(&self) -> Result<AuthorityId, RotateError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let next = Authority::from_seed(&seed);
        let (mut desk, standing, folder) = (self.desk(), &self.0.standing, &self.0.folder);
        let (own, mut trust) = (standing.own(), standing.trust());
        let from = now_s().saturating_sub(BACKDATED_S);
        let span = Span { from, to: now_s().saturating_add(AUTHORITY_LIFETIME_S) };
        trust.add(&desk.authority.endorse(own.cluster, next.id(), span))?;
        // The endorsement first: a crash before the key is kept leaves an authority that never signs, and the former one goes on.
        folder.keep_trust(&trust)?;
        folder.keep_authority(&seed)?;
        desk.authority = next;
        let papers = trust.papers(&desk.renew(own, now_s()));
        // From here on the new one signs. What the former has certified holds on, ours too, so a disk that fails now undoes nothing.
        if let Err(error) = folder.keep_certificate(&papers.certificate) {
            tracing::error!(%error, "the certificate by the new authority could not be stored; the former one stays");
        }
        standing.renew(papers)?;
        Ok(desk.authority.id())
    }

    /// Makes a token for somebody who is to find us at `addresses`.
    ///
    /// # Errors
    /// There are too many invitations, or the disk refuses.
    pub(super) async fn invite(
        &self,
        name: Option<String>,
        region: Option<String>,
        ttl_s: u64,
        addresses: Vec<String>,
    ) -> Result<(Token, UnixSeconds), InviteError> {
        let (mut id, mut secret) = ([0; 8], [0; 16]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        let now = now_s();
        let not_after = now.saturating_add(ttl_s);
        let token = Token { cluster: self.0.standing.own().cluster, id, secret, addresses };
        let mut invitations = self.0.invitations.lock().await;
        let mut next = invitations.clone();
        next.invite(&token, Terms { name, region, not_after }, now)?;
        self.keep(&next).await.map_err(InviteError::Store)?;
        *invitations = next;
        Ok((token, not_after))
    }

    /// The signed word that a node's key is to be believed no more.
    pub(super) fn revoke(&self, node: NodeId) -> Revocation {
        self.desk().authority.revoke(self.0.standing.own().cluster, node, now_s())
    }

    /// Papers that say of a member what its present ones say, for longer; `None` for whoever is none.
    pub(super) fn renew(&self, node: NodeId) -> Option<Papers> {
        let standing = &self.0.standing;
        let own = standing.own();
        let claims = if node == own.node { Some(own) } else { standing.claims_of(node, now_s()) };
        Some(standing.trust().papers(&self.desk().renew(claims?, now_s())))
    }

    async fn answer(&self, node: NodeId, question: &[u8]) -> Option<Vec<u8>> {
        let standing = &self.0.standing;
        if standing.revoked().contains(&node) {
            // Its key is out for ever; the invitation is not used up, and another key can come with it.
            return None;
        }
        let (trust, own) = (standing.trust(), standing.certificate());
        let mut invitations = self.0.invitations.lock().await;
        let mut next = invitations.clone();
        let answer = self.desk().answer(question, node, (&trust, &own), &mut next, now_s())?;
        if *invitations != next {
            // Told before it is durable, a token could be used again after a crash.
            if let Err(error) = self.keep(&next).await {
                tracing::error!(%node, %error, "a joiner is sent away: its token cannot be stored as used");
                return None;
            }
            *invitations = next;
            tracing::info!(%node, "joined");
        }
        Some(codec::encode(&answer))
    }

    async fn keep(&self, invitations: &Invitations) -> Result<(), String> {
        let queued = self.0.store.set_meta(INVITATIONS, Some(codec::encode(invitations)));
        let pending = queued.map_err(|_| "its queue is full".to_owned())?;
        pending.durable().await.map_err(|error| error.to_string())
    }
}

impl Registrar for Office {
    fn answer(&self, node: NodeId, question: Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> {
        let office = self.clone();
        Box::pin(async move { Self::answer(&office, node, &question).await })
    }
}
