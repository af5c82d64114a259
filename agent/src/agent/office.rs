//! What an authority's host does for others: it invites, certifies whoever comes with a token, renews, revokes.
//!
//! Owns the books: the invitations, which the store keeps by hash, and the roster of those who were certified. The invariant: a token
//! counts as used, and a name as taken, before the bearer is told so.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::founding::AUTHORITY_LIFETIME_S;
use super::standing::{Standing, now_s};
use crate::cluster::{
    Authority, AuthorityId, BACKDATED_S, Books, Cancelled, Claims, Denied, Desk, EndorsementError, Folder, FolderError,
    Invitation, Listed, Papers, Refusal, Revocation, Span, Terms, Token, UnixSeconds, moment,
};
use crate::net::{Later, Registrar};
use crate::service::InviteWanted;
use crate::store::Store;

/// The names under which the store keeps the books.
const INVITATIONS: &str = "invitations";
const ROSTER: &str = "certified";

/// Most bytes of each book in the store: a thousand invitations, four thousand certificates.
const BOOK_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The books as the store kept them; empty where no authority ever worked here.
#[derive(Debug, Default)]
pub(super) struct KeptBooks {
    invitations: Option<Vec<u8>>,
    roster: Option<Vec<u8>>,
}

impl KeptBooks {
    /// Takes them out of what the store has kept.
    pub(super) fn take(meta: &mut BTreeMap<String, Vec<u8>>) -> Self {
        Self { invitations: meta.remove(INVITATIONS), roster: meta.remove(ROSTER) }
    }

    fn read(&self) -> Books {
        Books { invitations: book(self.invitations.as_ref()), roster: book(self.roster.as_ref()) }
    }
}

fn book<T: DeserializeOwned + Default>(kept: Option<&Vec<u8>>) -> T {
    let read = kept.map(|bytes| codec::decode(bytes, BOOK_BYTES_MAX)).transpose();
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "a book of this authority cannot be read and begins anew; whoever was invited needs a new token");
        None
    })
    .unwrap_or_default()
}

/// Somebody holds an authority's key and works with it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Office(Arc<Inner>);

struct Inner {
    desk: std::sync::Mutex<Desk>,
    folder: Folder,
    standing: Standing,
    store: Store,
    books: Mutex<Books>,
    renewals: std::sync::Mutex<Renewals>,
}

/// Who has been given a new certificate within this second: each is a signature and a write to the store, and nobody needs two.
#[derive(Debug, Default)]
struct Renewals(BTreeMap<NodeId, UnixSeconds>);

impl Renewals {
    fn may(&mut self, node: NodeId, now: UnixSeconds) -> bool {
        self.0.retain(|_, at| *at == now);
        self.0.insert(node, now).is_none()
    }
}

/// A member asks for certificates faster than it could use them. Nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("a member is given one certificate a second")]
pub(super) struct TooOften;

/// Why no invitation was made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InviteError {
    #[error("the name `{name}` is taken by member {by}")]
    NameTaken { name: String, by: NodeId },
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
    /// Opens with the books that the store has kept.
    pub(super) fn open(desk: Desk, folder: Folder, standing: Standing, store: Store, kept: &KeptBooks) -> Self {
        let (desk, books) = (std::sync::Mutex::new(desk), Mutex::new(kept.read()));
        Self(Arc::new(Inner { desk, folder, standing, store, books, renewals: Default::default() }))
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
        tracing::warn!(authority = %desk.authority.id(), "a new authority signs from now on");
        Ok(desk.authority.id())
    }

    /// Makes a token for somebody who is to find us at `addresses`.
    ///
    /// # Errors
    /// There are too many invitations, or the disk refuses.
    pub(super) async fn invite(
        &self,
        InviteWanted { name, region, ttl_s, may_deploy }: InviteWanted,
        addresses: Vec<String>,
    ) -> Result<(Token, UnixSeconds), InviteError> {
        let (mut id, mut secret) = ([0; 8], [0; 16]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        let now = now_s();
        let not_after = now.saturating_add(ttl_s);
        let mut books = self.0.books.lock().await;
        let mut next = self.up_to_date(&books, now);
        // Whoever came with it would be refused: better to hear it now.
        if let Some((name, by)) =
            name.as_ref().and_then(|name| Some((name.clone(), next.roster.bearer(name, None, now)?)))
        {
            return Err(InviteError::NameTaken { name, by });
        }
        let terms = Terms { name: name.clone(), region: region.clone(), may_deploy, not_after };
        let token = Token { cluster: self.0.standing.own().cluster, id, secret, addresses, name, region };
        next.invitations.invite(&token, terms, now)?;
        self.keep(&books, &next).await.map_err(InviteError::Store)?;
        *books = next;
        // Its name, not its secret: an operator can find it among the invitations, and nobody can use it.
        let (name, region) = (token.name.as_deref(), token.region.as_deref());
        tracing::info!(invitation = token.id_text(), name, region, until = moment(not_after), "invited somebody");
        Ok((token, not_after))
    }

    /// The invitations that have not expired, the oldest first, with the names of those who have used them.
    pub(super) async fn invitations(&self) -> Vec<(Invitation, Option<String>)> {
        let (books, now) = (self.0.books.lock().await, now_s());
        let name =
            |node: NodeId| books.roster.iter().find(|listed| listed.node == node).map(|listed| listed.name.clone());
        let open = books.invitations.iter().filter(|invitation| now <= invitation.terms.not_after);
        open.map(|invitation| (invitation.clone(), invitation.used_by.and_then(name))).collect()
    }

    /// Takes an invitation back that nobody has used.
    ///
    /// # Errors
    /// The disk refuses; then it still holds.
    pub(super) async fn cancel(&self, id: &str) -> Result<Cancelled, String> {
        let mut books = self.0.books.lock().await;
        let mut next = books.clone();
        let cancelled = next.invitations.cancel(id, now_s());
        if matches!(cancelled, Cancelled::Open(_)) {
            self.keep(&books, &next).await?;
            *books = next;
            tracing::info!(invitation = id, "took an invitation back");
        }
        Ok(cancelled)
    }

    /// Everybody whose certificate holds, as far as is known here; the revoked are left out.
    pub(super) async fn certified(&self) -> Vec<Listed> {
        let books = self.0.books.lock().await;
        self.up_to_date(&books, now_s()).roster.iter().cloned().collect()
    }

    /// The books with those who were certified elsewhere, or before there was a roster: ourselves, and whoever passed the gate.
    fn up_to_date(&self, books: &Books, now: UnixSeconds) -> Books {
        let (mut next, standing) = (books.clone(), &self.0.standing);
        let revoked = standing.revoked();
        for claims in standing.shown().iter().chain([&standing.own()]).filter(|claims| now <= claims.not_after) {
            if let Err(full) = next.roster.note(claims, now) {
                tracing::warn!(node = %claims.node, %full, "a member could not be noted");
            }
        }
        next.roster.strike(|node| revoked.contains(node));
        next
    }

    /// The signed word that a node's key is to be believed no more.
    pub(super) fn revoke(&self, node: NodeId) -> Revocation {
        self.desk().authority.revoke(self.0.standing.own().cluster, node, now_s())
    }

    /// Papers that say of a member what its present ones say, for longer; `None` for whoever is none.
    ///
    /// # Errors
    /// It was given some a moment ago.
    pub(super) fn renew(&self, node: NodeId) -> Result<Option<Papers>, TooOften> {
        if !self.0.renewals.lock().unwrap_or_else(PoisonError::into_inner).may(node, now_s()) {
            return Err(TooOften);
        }
        Ok(self.renewed(node))
    }

    fn renewed(&self, node: NodeId) -> Option<Papers> {
        let standing = &self.0.standing;
        let own = standing.own();
        let claims = if node == own.node { Some(own) } else { standing.claims_of(node, now_s()) };
        let certificate = self.desk().renew(claims?, now_s());
        let trust = standing.trust();
        if let Some(claims) = trust.subject(&certificate) {
            let office = self.clone();
            tokio::spawn(async move { office.note(&claims).await });
        }
        Some(trust.papers(&certificate))
    }

    /// Notes a renewal. The renewal counts without it; a crash before the disk has it only frees the name too early.
    async fn note(&self, claims: &Claims) {
        let mut books = self.0.books.lock().await;
        let mut next = books.clone();
        let noted = next.roster.note(claims, now_s()).map_err(|full| full.to_string());
        let kept = match noted {
            Ok(()) => self.keep(&books, &next).await,
            Err(full) => Err(full),
        };
        match kept {
            Ok(()) => {
                *books = next;
                tracing::info!(node = %claims.node, name = claims.name, until = moment(claims.not_after), "renewed a certificate");
            }
            Err(error) => tracing::warn!(node = %claims.node, error, "a renewal could not be noted"),
        }
    }

    async fn answer(&self, node: NodeId, question: &[u8]) -> Result<Option<Vec<u8>>, Later> {
        let standing = &self.0.standing;
        let who = (node, standing.revoked().contains(&node));
        let (trust, own) = (standing.trust(), standing.certificate());
        let mut books = self.0.books.lock().await;
        let mut next = self.up_to_date(&books, now_s());
        let answer = self.desk().answer(question, who, (&trust, &own), &mut next, now_s());
        let Some(answer) = answer else { return Ok(None) };
        if books.invitations != next.invitations {
            // Told before it is durable, a token could be used again after a crash.
            if let Err(error) = self.keep(&books, &next).await {
                tracing::error!(%node, %error, "a joiner is to come later: its token cannot be stored as used");
                return Err(Later);
            }
            *books = next;
            tracing::info!(%node, "certified a new member");
        }
        Ok(Some(codec::encode(&answer)))
    }

    /// Stores what has changed between `before` and `next`. The roster goes first: a crash between both leaves a name taken and its
    /// token unused, which the same key can still use.
    async fn keep(&self, before: &Books, next: &Books) -> Result<(), String> {
        let roster = (before.roster != next.roster).then(|| (ROSTER, codec::encode(&next.roster)));
        let invitations =
            (before.invitations != next.invitations).then(|| (INVITATIONS, codec::encode(&next.invitations)));
        for (name, bytes) in roster.into_iter().chain(invitations) {
            let pending = self.0.store.set_meta(name, Some(bytes)).map_err(|_| "its queue is full".to_owned())?;
            pending.durable().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Registrar for Office {
    fn answer(&self, node: NodeId, question: Vec<u8>) -> BoxFuture<'static, Result<Option<Vec<u8>>, Later>> {
        let office = self.clone();
        Box::pin(async move { Self::answer(&office, node, &question).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_given_one_certificate_a_second() {
        let (mut renewals, one, other) = (Renewals::default(), NodeId([1; 32]), NodeId([2; 32]));
        assert!(renewals.may(one, 5) && renewals.may(other, 5));
        assert!(!renewals.may(one, 5));
        assert!(renewals.may(one, 6));
        assert_eq!(renewals.0.len(), 1, "nobody is remembered for longer");
    }
}
