//! Where this agent stands in its cluster: what it shows at the gate, whom it lets in, and whose records it believes.
//!
//! Holds the certificate, the authorities and the revoked, each replaced whole; files and replicated state are
//! [`vetting`](super::vetting)'s. An agent that belongs to no cluster meets only others that belong to none, on its own host: the
//! configuration lets it listen nowhere else.

mod vouching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use selvedge_sync::id::NodeId;

use crate::cluster::{Certificate, Claims, Papers, Refusal, Revocation, Signed, Trust, UnixSeconds, moment};
use crate::driver::DriverHandle;
use crate::net::{Admission, Refused};
use crate::view::wall_ms;

/// What agents without a cluster show each other.
const DEVELOPMENT: &[u8] = b"selvedge development: no cluster, loopback only";

/// Members whose certificates are remembered: as many as failure detection knows, with room.
const SHOWN_MAX: usize = 16_384;

/// For agents that belong to no cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Development;

impl Admission for Development {
    fn credentials(&self) -> Vec<u8> {
        DEVELOPMENT.to_vec()
    }

    fn judge(&self, _: NodeId, credentials: &[u8]) -> Result<(), Refused> {
        if credentials == DEVELOPMENT {
            return Ok(());
        }
        let reason = "it belongs to a cluster, and this agent to none; `selvedge join` makes it a member".to_owned();
        Err(Refused { reason, is_told: false })
    }
}

/// For members. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    inner: Arc<Mutex<Inner>>,
    /// Makes our commits, until we are revoked.
    writer: Arc<OnceLock<DriverHandle>>,
}

#[derive(Debug)]
struct Inner {
    trust: Trust,
    certificate: Certificate,
    own: Claims,
    revoked: BTreeMap<NodeId, Fallen>,
    /// What the revoked were called, as far as that was known when they fell: for people.
    names: BTreeMap<NodeId, String>,
    /// What members have shown, at the gate or with a record that somebody passed on; it was believed.
    shown: BTreeMap<NodeId, Shown>,
    /// Counts the changes of who is believed.
    edition: u64,
}

/// A certificate and what it says.
#[derive(Clone, Debug)]
struct Shown {
    claims: Claims,
    certificate: Certificate,
}

/// That somebody was put out, and by what everybody can verify it.
#[derive(Clone, Debug)]
struct Fallen {
    /// When an authority signed it.
    at: UnixSeconds,
    word: Revocation,
}

impl Inner {
    fn learn<'a>(&mut self, endorsements: impl IntoIterator<Item = &'a Signed>) {
        let known = self.trust.endorsements().count();
        self.trust.learn(endorsements);
        self.edition += u64::from(self.trust.endorsements().count() != known);
    }

    /// Keeps what was judged to be good.
    fn show(&mut self, shown: Shown) {
        let node = shown.claims.node;
        if self.shown.len() >= SHOWN_MAX && !self.shown.contains_key(&node) {
            self.shown.pop_first();
        }
        self.shown.insert(node, shown);
    }

    /// Whether a certificate that was believed once is still, by what changes with time.
    fn is_current(&self, claims: &Claims, now: UnixSeconds) -> bool {
        now <= claims.not_after && !self.revoked.contains_key(&claims.node)
    }
}

impl Standing {
    /// Of the holder of `node`'s key, who has these papers. They may have expired: then others refuse it, and it says why.
    ///
    /// # Errors
    /// They are not about this node, or not of this cluster.
    pub(super) fn new(trust: Trust, certificate: Certificate, node: NodeId) -> Result<Self, Refusal> {
        let own = trust.read(&certificate, node)?;
        let (revoked, names, shown, edition) = Default::default();
        let inner = Arc::new(Mutex::new(Inner { trust, certificate, own, revoked, names, shown, edition }));
        Ok(Self { inner, writer: Arc::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What our own certificate says.
    pub(super) fn own(&self) -> Claims {
        self.inner().own.clone()
    }

    /// The authorities, as known at this moment.
    pub(super) fn trust(&self) -> Trust {
        self.inner().trust.clone()
    }

    /// What the holder of `node`'s key has shown, if it is believed at `now`.
    pub(super) fn claims_of(&self, node: NodeId, now: UnixSeconds) -> Option<Claims> {
        let inner = self.inner();
        let claims = &inner.shown.get(&node)?.claims;
        inner.is_current(claims, now).then(|| claims.clone())
    }

    /// Members that have shown that they have `role`.
    pub(super) fn with_role(&self, role: &str) -> Vec<NodeId> {
        let has = |(node, shown): (&NodeId, &Shown)| shown.claims.roles.contains(role).then_some(*node);
        self.inner().shown.iter().filter_map(has).collect()
    }

    /// Takes endorsements of authorities, and drops those that do not count.
    pub(super) fn learn<'a>(&self, endorsements: impl IntoIterator<Item = &'a Signed>) {
        self.inner().learn(endorsements);
    }

    /// What makes our commits, once there is one.
    pub(super) fn writer(&self) -> Option<&DriverHandle> {
        self.writer.get()
    }

    /// Takes revocations, and drops those that do not count.
    pub(super) fn revoke<'a>(&self, revocations: impl IntoIterator<Item = &'a Revocation>) {
        let mut inner = self.inner();
        for word in revocations {
            if let Some((node, at)) = inner.trust.revoked(word) {
                // Of several the earliest counts, so that all agents say the same whatever they heard first.
                if inner.revoked.get(&node).is_none_or(|known| at < known.at) {
                    inner.revoked.insert(node, Fallen { at, word: word.clone() });
                    inner.edition += 1;
                    let own = (node == inner.own.node).then(|| inner.own.name.clone());
                    let shown = own.or_else(|| inner.shown.get(&node).map(|shown| shown.claims.name.clone()));
                    if let Some(name) = shown.filter(|name| !name.is_empty()) {
                        inner.names.insert(node, name);
                    }
                }
            }
        }
        drop(inner);
        self.bar();
    }

    /// From the moment at which this agent knows itself revoked, `writer` makes no more commits: nobody would take them.
    pub(super) fn guard(&self, writer: DriverHandle) {
        // There is one writer in an agent's life.
        drop(self.writer.set(writer));
        self.bar();
    }

    fn bar(&self) {
        if let (Some(writer), Some(why)) = (self.writer.get(), self.own_fall()) {
            writer.bar(why);
        }
    }

    /// Takes what somebody else knows of the names of the revoked, where it is not known here.
    pub(super) fn call(&self, names: impl IntoIterator<Item = (NodeId, String)>) {
        let mut inner = self.inner();
        for (node, name) in names {
            if inner.revoked.contains_key(&node) {
                inner.names.entry(node).or_insert(name);
            }
        }
    }

    /// What the revoked were called, as far as that is known.
    pub(super) fn names_of_revoked(&self) -> BTreeMap<NodeId, String> {
        self.inner().names.clone()
    }

    /// When `node` was revoked, if it was.
    pub(super) fn revoked_at(&self, node: NodeId) -> Option<UnixSeconds> {
        self.inner().revoked.get(&node).map(|fallen| fallen.at)
    }

    /// That this agent itself was revoked, and when.
    pub(super) fn own_revocation(&self) -> Option<(UnixSeconds, Revocation)> {
        let inner = self.inner();
        inner.revoked.get(&inner.own.node).map(|fallen| (fallen.at, fallen.word.clone()))
    }

    /// What members have shown.
    pub(super) fn shown(&self) -> Vec<Claims> {
        self.inner().shown.values().map(|shown| shown.claims.clone()).collect()
    }

    /// Our own certificate.
    pub(super) fn certificate(&self) -> Certificate {
        self.inner().certificate.clone()
    }

    /// Replaces our papers by some that hold for longer.
    ///
    /// # Errors
    /// They are not to be believed. Our own stay.
    pub(super) fn renew(&self, papers: Papers) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.learn(&papers.endorsements);
        let own = inner.trust.judge(&papers.certificate, inner.own.node, false, now_s())?;
        (inner.certificate, inner.own) = (papers.certificate, own);
        Ok(())
    }

    /// Changes whenever somebody else may be believed: an authority came, or a member went.
    pub(super) fn edition(&self) -> u64 {
        self.inner().edition
    }

    /// Who is revoked.
    pub(super) fn revoked(&self) -> BTreeSet<NodeId> {
        self.inner().revoked.keys().copied().collect()
    }

    /// Those who have shown that they were members, and are no more.
    pub(super) fn fallen(&self, now: UnixSeconds) -> Vec<NodeId> {
        let mut inner = self.inner();
        let Inner { revoked, shown, .. } = &mut *inner;
        let fallen: Vec<NodeId> = shown
            .iter()
            .filter(|(node, shown)| revoked.contains_key(node) || now > shown.claims.not_after)
            .map(|(node, _)| *node)
            .collect();
        fallen.iter().for_each(|node| drop(shown.remove(node)));
        fallen
    }
}

impl Admission for Standing {
    fn credentials(&self) -> Vec<u8> {
        let inner = self.inner();
        inner.trust.papers(&inner.certificate).encode()
    }

    fn judge(&self, node: NodeId, credentials: &[u8]) -> Result<(), Refused> {
        let stranger = |reason: String| Refused { reason, is_told: false };
        if credentials == DEVELOPMENT {
            return Err(stranger("it belongs to no cluster; `selvedge join` makes it a member".to_owned()));
        }
        let papers = Papers::decode(credentials)
            .map_err(|error| stranger(format!("what it shows is no certificate: {error}")))?;
        let mut inner = self.inner();
        inner.learn(&papers.endorsements);
        let is_revoked = inner.revoked.contains_key(&node);
        match inner.trust.judge(&papers.certificate, node, is_revoked, now_s()) {
            Ok(claims) => {
                inner.show(Shown { claims, certificate: papers.certificate });
                Ok(())
            }
            Err(refusal) => {
                // Only what an authority of ours has signed gets a reason: its bearer was a member, and wants to know.
                let is_told = matches!(
                    refusal,
                    Refusal::Expired { .. }
                        | Refusal::NotYet { .. }
                        | Refusal::Revoked
                        | Refusal::AuthorityOutOfTime(_)
                );
                Err(Refused { reason: refusal.to_string(), is_told })
            }
        }
    }

    fn verdict(&self, node: NodeId) -> Option<Vec<u8>> {
        self.inner().revoked.get(&node).map(|fallen| fallen.word.encode())
    }

    fn hear_verdict(&self, verdict: &[u8]) {
        // Whoever refuses us proves it: without an authority's signature it is only a stranger's word.
        if let Ok(word) = Revocation::decode(verdict) {
            self.revoke([&word]);
        }
    }
}

impl Standing {
    /// In the words of people: since when this agent is no member any more.
    pub(super) fn own_fall(&self) -> Option<String> {
        let (at, _) = self.own_revocation()?;
        Some(format!("this agent was revoked on {}: members refuse it, and it takes no writes", moment(at)))
    }
}

/// The time, in seconds since 1970.
pub(crate) fn now_s() -> UnixSeconds {
    wall_ms() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Authority, Span};

    const OWN: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    fn certify(authority: &Authority, node: NodeId, not_after: u64) -> Papers {
        let (name, region, roles) = ("a".to_owned(), "eu".to_owned(), BTreeSet::new());
        let claims = Claims { cluster: authority.id(), node, name, region, roles, not_before: 0, not_after };
        authority.found("games", Span { from: 0, to: u64::MAX }).papers(&authority.certify(&claims))
    }

    fn standing() -> (Authority, Standing) {
        let authority = Authority::from_seed(&[1; 32]);
        let trust = authority.found("games", Span { from: 0, to: u64::MAX });
        let standing = Standing::new(trust, certify(&authority, OWN, u64::MAX).certificate, OWN).expect("ours");
        (authority, standing)
    }

    #[test]
    fn members_let_each_other_in_and_strangers_hear_no_reason() {
        let (authority, standing) = standing();
        assert_eq!(standing.judge(OTHER, &certify(&authority, OTHER, u64::MAX).encode()), Ok(()));
        assert_eq!(standing.judge(OWN, &standing.credentials()), Ok(()));
        let stranger = Authority::from_seed(&[2; 32]);
        let expired = standing.judge(OTHER, &certify(&authority, OTHER, 1).encode()).expect_err("refused");
        assert!(expired.is_told && expired.reason.contains("expired"), "{expired}");
        for shown in
            [certify(&stranger, OTHER, u64::MAX).encode(), Vec::new(), b"nonsense".to_vec(), DEVELOPMENT.to_vec()]
        {
            let refused = standing.judge(OTHER, &shown).expect_err("refused");
            assert!(!refused.is_told, "{refused}");
        }
        assert!(Development.judge(OTHER, &standing.credentials()).is_err());
        assert_eq!(Development.judge(OTHER, &Development.credentials()), Ok(()));
    }

    #[test]
    fn who_is_revoked_or_expires_has_fallen() {
        let (authority, standing) = standing();
        let third = NodeId([3; 32]);
        for (node, until) in [(OTHER, u64::MAX), (third, now_s() + 1_000)] {
            standing.judge(node, &certify(&authority, node, until).encode()).expect("is a member");
        }
        assert_eq!(standing.fallen(now_s()), []);
        assert_eq!(standing.fallen(now_s() + 2_000), [third]);
        assert_eq!(standing.fallen(now_s() + 2_000), [], "once");
        standing.revoke([&Authority::from_seed(&[2; 32]).revoke(authority.id(), OTHER, 0)]);
        assert_eq!(standing.fallen(now_s()), [], "a stranger revokes nobody");
        standing.revoke([&authority.revoke(authority.id(), OTHER, 0)]);
        assert_eq!(standing.fallen(now_s()), [OTHER]);
        let refused = standing.judge(OTHER, &certify(&authority, OTHER, u64::MAX).encode()).expect_err("refused");
        assert!(refused.is_told && refused.reason.contains("revoked"), "{refused}");
    }

    #[test]
    fn who_is_refused_for_good_believes_it_only_with_an_authoritys_signature() {
        let (authority, standing) = standing();
        let word = authority.revoke(authority.id(), OTHER, 86_400);
        standing.revoke([&word]);
        assert_eq!((standing.verdict(OTHER), standing.verdict(OWN)), (Some(word.encode()), None));
        let forged = Authority::from_seed(&[2; 32]).revoke(authority.id(), OWN, 5).encode();
        for lie in [forged, word.encode(), b"nonsense".to_vec(), Vec::new()] {
            standing.hear_verdict(&lie);
            assert_eq!(standing.own_fall(), None);
        }
        standing.hear_verdict(&authority.revoke(authority.id(), OWN, 86_400).encode());
        let fall = standing.own_fall().expect("is revoked");
        assert!(fall.contains("revoked on 1970-01-02T00:00:00Z"), "{fall}");
    }

    #[test]
    fn a_new_authority_is_known_by_what_its_members_show() {
        let (first, standing) = standing();
        let second = Authority::from_seed(&[2; 32]);
        let mut trust = standing.trust();
        let endorsed = first.endorse(first.id(), second.id(), Span { from: now_s(), to: u64::MAX });
        trust.add(&endorsed).expect("endorsed");
        let (name, region, roles) = ("b".to_owned(), "eu".to_owned(), BTreeSet::new());
        let claims =
            Claims { cluster: first.id(), node: OTHER, name, region, roles, not_before: 0, not_after: u64::MAX };
        let papers = trust.papers(&second.certify(&claims));
        assert_eq!(standing.judge(OTHER, &papers.encode()), Ok(()));
        assert_eq!(standing.trust(), trust, "and is handed on");
    }

    #[test]
    fn a_certificate_is_replaced_only_by_one_of_ours() {
        let (authority, standing) = standing();
        let later = certify(&authority, OWN, u64::MAX - 1);
        assert_eq!(standing.renew(later.clone()), Ok(()));
        assert_eq!(standing.credentials(), later.encode());
        assert!(standing.renew(certify(&authority, OTHER, u64::MAX)).is_err());
        assert_eq!(standing.credentials(), later.encode());
    }
}
