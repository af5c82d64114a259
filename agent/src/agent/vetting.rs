//! Keeps an eye on membership: who is revoked or has expired is disconnected, and our own certificate is renewed in time.
//!
//! Revocations are replicated state, a set that only grows; an element counts when an authority has signed it, whoever wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_sync::change::Change;
use selvedge_sync::codec;
use selvedge_sync::crdt::ContentHash;
use selvedge_sync::id::NodeId;
use selvedge_sync::key::{Key, Kind, RESERVED_PREFIX};
use selvedge_sync::replica::Replica;
use selvedge_sync::scalar::Scalar;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::office::{Office, TooOften};
use super::standing::{Standing, now_s};
use crate::cluster::{BACKDATED_S, Claims, Folder, Papers, ROLE_AUTHORITY, Revocation, Signed, Trust, UnixSeconds};
use crate::members::gossip::SharedMembers;
use crate::net::{Lane, Net};
use crate::store::Store;
use crate::view::StateView;

/// How often revocations and expiry are looked at: a revoked member is out within a second of the news.
const LOOK: Duration = Duration::from_millis(500);

/// The longest that an authority may take to renew.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause after a renewal that failed, in seconds: nobody is in a hurry with a third of the lifetime left.
const RENEWAL_PAUSE_MAX_S: u64 = 30;

/// Longest endorsement, in bytes: two keys, a time, a name and a signature, with room.
pub(super) const ENDORSEMENT_BYTES_MAX: usize = 1_024;

/// What a member asks an authority on the members' lane.
const RENEW: &[u8] = b"renew";

/// The key of the set of revocations.
pub(super) fn revocations_key() -> Key {
    Key::new(Kind::GSet, &format!("{RESERVED_PREFIX}revoked")).expect("a sound name")
}

/// The key of the set of endorsements, by which members learn of an authority that came after them.
pub(super) fn authorities_key() -> Key {
    Key::new(Kind::GSet, &format!("{RESERVED_PREFIX}authorities")).expect("a sound name")
}

/// What the state said when it was last looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    authorities: Option<ContentHash>,
    revocations: Option<ContentHash>,
    /// How many endorsements were known: what the next authority signed counts once it is one.
    endorsements: usize,
}

/// Takes over what the state says of authorities and revocations, if that, or what it is judged by, has changed since `read`.
pub(super) fn take_over(standing: &Standing, replica: &Replica, read: &mut Read) {
    let hash = |key: &Key| replica.state().object(key).map(|object| object.content().hash());
    let members = |key: &Key| {
        let members = selvedge_sync::draft::ReadState::members(replica.readable(), key).unwrap_or_default();
        members.into_iter().filter_map(|member| if let Scalar::Bytes(bytes) = member { Some(bytes) } else { None })
    };
    let (authorities, revocations) = (authorities_key(), revocations_key());
    if hash(&authorities) != read.authorities {
        let endorsement = |bytes: Vec<u8>| codec::decode::<Signed>(&bytes, ENDORSEMENT_BYTES_MAX).ok();
        standing.learn(&members(&authorities).filter_map(endorsement).collect::<Vec<_>>());
    }
    let now = Read {
        authorities: hash(&authorities),
        revocations: hash(&revocations),
        endorsements: standing.trust().endorsements().count(),
    };
    if now.revocations != read.revocations || now.endorsements != read.endorsements {
        let revocation = |bytes: Vec<u8>| Revocation::decode(&bytes).ok();
        standing.revoke(&members(&revocations).filter_map(revocation).collect::<Vec<_>>());
    }
    *read = now;
}

/// The endorsements that the state does not tell of yet: what an authority signs waits elsewhere until its own is known.
pub(super) fn untold(trust: &Trust, replica: &Replica) -> Vec<Scalar> {
    let told = selvedge_sync::draft::ReadState::members(replica.readable(), &authorities_key()).unwrap_or_default();
    let endorsements = trust.endorsements().map(|endorsement| Scalar::Bytes(codec::encode(endorsement)));
    endorsements.filter(|endorsement| !told.contains(endorsement)).collect()
}

/// How long a certificate holds from the moment at which it was signed.
pub(super) fn lifetime(claims: &Claims) -> u64 {
    claims.not_after.saturating_sub(claims.not_before.saturating_add(BACKDATED_S))
}

/// When a certificate is to be renewed: in the last third of its time.
pub(super) fn renewal_due(claims: &Claims) -> UnixSeconds {
    claims.not_after.saturating_sub(lifetime(claims) / 3)
}

/// The loop and what it needs.
pub(super) struct Vetting {
    pub(super) standing: Standing,
    pub(super) office: Option<Office>,
    pub(super) folder: Folder,
    pub(super) view: StateView,
    pub(super) net: Net,
    pub(super) members: SharedMembers,
    pub(super) store: Store,
}

/// The name under which the store keeps what the revoked were called.
pub(super) const REVOKED_NAMES: &str = "revoked_names";

/// Bytes of that: as many names as there may be revocations.
const REVOKED_NAMES_BYTES_MAX: usize = 1024 * 1024;

/// What the store has kept of the names of the revoked. Without them they are known by their ids, which is no reason to stop.
pub(super) fn names_of(kept: &[u8]) -> BTreeMap<NodeId, String> {
    codec::decode(kept, REVOKED_NAMES_BYTES_MAX).unwrap_or_default()
}

impl Vetting {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read, mut asked, mut is_out) = (Read::default(), 0, false);
        let (mut kept, mut named) =
            (self.standing.trust().endorsements().count(), self.standing.names_of_revoked().len());
        self.fall(&mut is_out);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stop.cancelled() => return,
            }
            self.view.read_aside(|replica| take_over(&self.standing, replica, &mut read));
            self.keep_authorities(&mut kept);
            self.keep_names(&mut named);
            self.tell_authorities().await;
            self.fall(&mut is_out);
            let now = now_s();
            self.standing.fallen(now).into_iter().for_each(|node| self.net.expel(node));
            for node in self.standing.revoked() {
                self.net.forbid(node);
                self.members.with(|members| members.put_out(node));
            }
            let own = self.standing.own();
            let pause = (lifetime(&own) / 10).clamp(1, RENEWAL_PAUSE_MAX_S);
            if !is_out && now >= renewal_due(&own) && now >= asked + pause {
                asked = now;
                self.renew().await;
            }
        }
    }

    /// Stores authorities that were learned, or what they signed would mean nothing to the next start.
    fn keep_authorities(&self, kept: &mut usize) {
        let trust = self.standing.trust();
        let known = trust.endorsements().count();
        if known == *kept {
            return;
        }
        match self.folder.keep_trust(&trust) {
            Ok(()) => {
                tracing::info!(known, "a new authority of the cluster is known");
                *kept = known;
            }
            Err(error) => tracing::error!(%error, "a new authority could not be stored; the next look tries again"),
        }
    }

    /// Stores what the revoked were called: nobody shows their certificates any more, and people know hosts by their names.
    fn keep_names(&self, named: &mut usize) {
        let names = self.standing.names_of_revoked();
        if names.len() != *named {
            *named = names.len();
            // Nothing waits for it, and a crash that loses it costs a name.
            drop(self.store.set_meta(REVOKED_NAMES, Some(codec::encode(&names))));
        }
    }

    /// Where an authority is at home: puts into the state what others have to know of the authorities and do not.
    async fn tell_authorities(&self) {
        let (Some(_), Some(writer)) = (&self.office, self.standing.writer()) else { return };
        let trust = self.standing.trust();
        if trust.endorsements().count() < 2 {
            // Everybody knows the first.
            return;
        }
        let untold = self.view.read_aside(|replica| untold(&trust, replica));
        if untold.is_empty() {
            return;
        }
        if let Err(error) = writer.commit(vec![(authorities_key(), Change::Add(untold))], None, false).await {
            tracing::warn!(%error, "the members were not told of the new authority; the next look tries again");
        }
    }

    /// Once this agent itself is revoked, that is said and kept, so that the next start knows it before anybody says so.
    fn fall(&self, is_out: &mut bool) {
        let Some((_, word)) = self.standing.own_revocation().filter(|_| !*is_out) else { return };
        *is_out = true;
        tracing::error!("{}", self.standing.own_fall().unwrap_or_default());
        if let Err(error) = self.folder.keep_revocation(&word) {
            tracing::error!(%error, "that this agent was revoked could not be stored");
        }
    }

    async fn renew(&self) {
        let own = self.standing.own();
        let Some(papers) = self.renewed(own.node).await else {
            let days = own.not_after.saturating_sub(now_s()) / 86_400;
            tracing::warn!(days_left = days, "no authority has renewed this agent's certificate yet");
            return;
        };
        if let Err(refusal) = self.standing.renew(papers.clone()) {
            tracing::error!(%refusal, "an authority sent a certificate that is not to be believed");
            return;
        }
        // Our record carries it to those who have seen only the one before.
        self.members.announce();
        let kept = self
            .folder
            .keep_trust(&self.standing.trust())
            .and_then(|()| self.folder.keep_certificate(&papers.certificate));
        match kept {
            Ok(()) => tracing::info!(not_after = self.standing.own().not_after, "the certificate was renewed"),
            // It holds in memory, and the next start asks again.
            Err(error) => tracing::error!(%error, "the renewed certificate could not be stored"),
        }
    }

    /// New papers from our own office, or from whichever authority answers first.
    async fn renewed(&self, own: NodeId) -> Option<Papers> {
        if let Some(office) = &self.office {
            return office.renew(own).unwrap_or_default();
        }
        for authority in self.standing.with_role(ROLE_AUTHORITY) {
            let answer = self.net.request(authority, Lane::Members, RENEW.to_vec(), RENEWAL_TIMEOUT).await;
            match answer.map(|bytes| Papers::decode(&bytes)) {
                Ok(Ok(papers)) => return Some(papers),
                Ok(Err(error)) => tracing::warn!(%authority, %error, "an authority's answer cannot be read"),
                Err(error) => tracing::debug!(%authority, %error, "an authority does not answer"),
            }
        }
        None
    }
}

/// Answers a member's question on the members' lane, if it is one that we can answer.
///
/// # Errors
/// It asks too often.
pub(super) fn answer(office: Option<&Office>, from: NodeId, question: &[u8]) -> Result<Option<Vec<u8>>, TooOften> {
    let Some(office) = office.filter(|_| question == RENEW) else { return Ok(None) };
    Ok(office.renew(from)?.map(|papers| codec::encode(&papers)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::AuthorityId;

    #[test]
    fn renewal_is_due_in_the_last_third() {
        let check = |not_before, not_after, due| {
            let (name, region, roles) = (String::new(), String::new(), BTreeSet::new());
            let (cluster, node) = (AuthorityId([1; 32]), NodeId([1; 32]));
            let claims = Claims { cluster, node, name, region, roles, not_before, not_after };
            assert_eq!(renewal_due(&claims), due);
        };
        check(1_000, 1_000 + BACKDATED_S + 90, 1_000 + BACKDATED_S + 60);
        check(1_000, 1_000, 1_000);
        // One that never holds is due at its end, whenever that was.
        check(u64::MAX, 0, 0);
    }
}
