//! Who may sign for a cluster, and whether a certificate is to be believed.
//!
//! Authorities are known by endorsements: a chain from the first one, which the cluster is named by. A new authority is
//! endorsed by the present one while both are valid, so that certificates of both are believed for a while and nobody has to
//! be in time. The invariant: only a chain of signatures that begins with the cluster's name adds an authority.

mod worth;

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::revocation::{self, Revoked};
use super::signed::Unsound;
use super::{AuthorityId, Certificate, Claims, Papers, Revocation, Signed, UnixSeconds, moment};

pub use worth::Worth;

/// What separates endorsements from everything else that an authority signs.
pub(super) const ENDORSEMENT: &str = "selvedge endorsement 1";

/// Most endorsements that are kept, and shown: they have to fit into the papers of every member.
const AUTHORITIES_MAX: usize = 12;

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its begin.
    #[serde(rename = "f")]
    pub from: UnixSeconds,
    /// Its end.
    #[serde(rename = "t")]
    pub to: UnixSeconds,
}

impl Span {
    /// Whether `now` lies in it.
    #[must_use]
    pub const fn holds(&self, now: UnixSeconds) -> bool {
        self.from <= now && now <= self.to
    }
}

/// An endorsement: `authority` may sign for `cluster` during `span`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endorsed {
    #[serde(rename = "c")]
    pub(super) cluster: AuthorityId,
    #[serde(rename = "a")]
    pub(super) authority: AuthorityId,
    #[serde(rename = "s")]
    pub(super) span: Span,
    /// The cluster's name for people; what the first authority says of itself counts.
    #[serde(rename = "n")]
    pub(super) name: String,
}

/// Why somebody is not taken for a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate is of another cluster.
    #[error("its certificate is of another cluster, {0}")]
    Foreign(AuthorityId),
    /// It is signed by a key that is no authority of this cluster.
    #[error("its certificate is signed by {0}, which is no authority of this cluster")]
    Stranger(AuthorityId),
    /// The authority's time is over, or has not come.
    #[error("its certificate is signed by {0}, whose time as an authority is not now")]
    AuthorityOutOfTime(AuthorityId),
    /// The certificate is forged or damaged.
    #[error("its certificate is unsound: {0}")]
    Unsound(#[from] Unsound),
    /// The certificate is about another node than the one that shows it.
    #[error("its certificate is about another node, {0}")]
    OtherNode(NodeId),
    /// The certificate does not hold yet.
    #[error("its certificate holds only from {} on, and it is {}", moment(*.from), moment(*.now))]
    NotYet {
        /// When it begins to hold.
        from: UnixSeconds,
        /// The time here.
        now: UnixSeconds,
    },
    /// The certificate does not hold any more.
    #[error("its certificate has expired at {}, and it is {}", moment(*.to), moment(*.now))]
    Expired {
        /// When it ceased to hold.
        to: UnixSeconds,
        /// The time here.
        now: UnixSeconds,
    },
    /// Its node was revoked.
    #[error("it was revoked")]
    Revoked,
}

impl Refusal {
    /// Whether it is for the time alone, so that a clock that is set right may change it.
    #[must_use]
    pub const fn is_of_time(&self) -> bool {
        matches!(self, Self::AuthorityOutOfTime(_) | Self::NotYet { .. } | Self::Expired { .. })
    }
}

/// An endorsement adds nobody. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// It is forged or damaged.
    #[error("the endorsement is unsound: {0}")]
    Unsound(#[from] Unsound),
    /// It is of another cluster.
    #[error("the endorsement is of another cluster, {0}")]
    Foreign(AuthorityId),
    /// Its signer is no authority, or was none when the endorsed one begins.
    #[error("the endorsement is signed by {0}, which may not endorse from that time on")]
    Stranger(AuthorityId),
    /// There are too many already.
    #[error("there are {AUTHORITIES_MAX} authorities already")]
    TooMany,
}

/// The authorities of one cluster, as one member knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    cluster: AuthorityId,
    name: String,
    authorities: BTreeMap<AuthorityId, Span>,
    /// What they are known by, to be handed on.
    endorsements: BTreeSet<Signed>,
}

impl Trust {
    /// What is known of a cluster by its name alone: nobody may sign yet, and only the first authority may endorse itself.
    #[must_use]
    pub const fn of(cluster: AuthorityId) -> Self {
        Self { cluster, name: String::new(), authorities: BTreeMap::new(), endorsements: BTreeSet::new() }
    }

    /// The cluster's name.
    #[must_use]
    pub const fn cluster(&self) -> AuthorityId {
        self.cluster
    }

    /// The cluster's name for people; empty before the first authority is known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the authorities are known by.
    pub fn endorsements(&self) -> impl Iterator<Item = &Signed> {
        self.endorsements.iter()
    }

    /// Who may sign, and when.
    pub fn authorities(&self) -> impl Iterator<Item = (AuthorityId, Span)> + '_ {
        self.authorities.iter().map(|(authority, span)| (*authority, *span))
    }

    /// When the last authority's time ends; `None` when there is none.
    #[must_use]
    pub fn ends(&self) -> Option<UnixSeconds> {
        self.authorities.values().map(|span| span.to).max()
    }

    /// Takes endorsements in whatever order they come, and leaves out those that add nobody.
    pub fn learn<'a>(&mut self, endorsements: impl IntoIterator<Item = &'a Signed>) {
        let mut rest: Vec<&Signed> = endorsements.into_iter().take(AUTHORITIES_MAX).collect();
        // Each pass adds at least one link of a chain, or ends it.
        while !rest.is_empty() {
            let before = rest.len();
            rest.retain(|endorsement| self.add(endorsement).is_err());
            if rest.len() == before {
                return;
            }
        }
    }

    /// Takes one endorsement; tells whether it was news.
    ///
    /// # Errors
    /// It is unsound, foreign, or signed by somebody who may not; or there are too many.
    pub fn add(&mut self, endorsement: &Signed) -> Result<bool, EndorsementError> {
        if self.endorsements.contains(endorsement) {
            return Ok(false);
        }
        let signer = endorsement.signer();
        // Who names no authority gets no work out of us.
        if signer != self.cluster && !self.authorities.contains_key(&signer) {
            return Err(EndorsementError::Stranger(signer));
        }
        let Endorsed { cluster, authority, span, name } = endorsement.open(ENDORSEMENT)?;
        if cluster != self.cluster {
            return Err(EndorsementError::Foreign(cluster));
        }
        let first = signer == self.cluster && authority == self.cluster;
        let may = first || self.authorities.get(&signer).is_some_and(|of_signer| of_signer.holds(span.from));
        if !may || span.from > span.to {
            return Err(EndorsementError::Stranger(signer));
        }
        if self.endorsements.len() >= AUTHORITIES_MAX {
            return Err(EndorsementError::TooMany);
        }
        if first {
            self.name = name;
        }
        let known = self.authorities.entry(authority).or_insert(span);
        (known.from, known.to) = (known.from.min(span.from), known.to.max(span.to));
        self.endorsements.insert(endorsement.clone());
        Ok(true)
    }

    /// What somebody shows who has this certificate.
    #[must_use]
    pub fn papers(&self, certificate: &Certificate) -> Papers {
        Papers { endorsements: self.endorsements.iter().cloned().collect(), certificate: certificate.clone() }
    }

    /// Whom a revocation is about and when it was signed, if it counts: signed by an authority of this cluster.
    #[must_use]
    pub fn revoked(&self, revocation: &Revocation) -> Option<(NodeId, UnixSeconds)> {
        let signed = &revocation.0;
        let Revoked { cluster, node, at } =
            self.authorities.get(&signed.signer()).and_then(|_| signed.open(revocation::PURPOSE).ok())?;
        (cluster == self.cluster).then_some((node, at))
    }

    /// Whether `authority` could sign for this cluster at `at`.
    #[must_use]
    pub fn may_sign(&self, authority: AuthorityId, at: UnixSeconds) -> bool {
        self.authorities.get(&authority).is_some_and(|span| span.holds(at))
    }

    /// What a certificate says, whoever bears it; `None` where it is not to be believed.
    #[must_use]
    pub fn subject(&self, certificate: &Certificate) -> Option<Claims> {
        let claims = certificate.claims().ok()?;
        self.read(certificate, claims.node).ok()
    }

    /// What a certificate says of the bearer of `node`'s key, whether it still holds or not.
    ///
    /// # Errors
    /// It is unsound, about somebody else, of another cluster, or signed by nobody who may.
    pub fn read(&self, certificate: &Certificate, node: NodeId) -> Result<Claims, Refusal> {
        let signer = certificate.signer();
        // Who names no authority gets no work out of us: only signatures of those are verified.
        if !self.authorities.contains_key(&signer) {
            return Err(Refusal::Stranger(signer));
        }
        let claims = certificate.claims()?;
        if claims.cluster != self.cluster {
            return Err(Refusal::Foreign(claims.cluster));
        }
        if claims.node == node { Ok(claims) } else { Err(Refusal::OtherNode(claims.node)) }
    }

    /// Judges the certificate that the bearer of `node`'s key shows at `now`, who may have been revoked.
    ///
    /// # Errors
    /// Why it is not to be taken for a member.
    pub fn judge(
        &self,
        certificate: &Certificate,
        node: NodeId,
        is_revoked: bool,
        now: UnixSeconds,
    ) -> Result<Claims, Refusal> {
        let signer = certificate.signer();
        let claims = self.read(certificate, node)?;
        if is_revoked {
            return Err(Refusal::Revoked);
        }
        if self.authorities.get(&signer).is_none_or(|span| !span.holds(now)) {
            return Err(Refusal::AuthorityOutOfTime(signer));
        }
        if now < claims.not_before {
            return Err(Refusal::NotYet { from: claims.not_before, now });
        }
        if now > claims.not_after {
            return Err(Refusal::Expired { to: claims.not_after, now });
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::codec;

    use super::*;
    use crate::cluster::{Authority, ROLE_MEMBER};

    const NODE: NodeId = NodeId([3; 32]);

    fn authority(seed: u8) -> Authority {
        Authority::from_seed(&[seed; 32])
    }

    fn span(from: u64, to: u64) -> Span {
        Span { from, to }
    }

    fn trust() -> (Authority, Trust) {
        let first = authority(1);
        let trust = first.found("games", span(0, 1_000));
        assert_eq!((trust.cluster(), trust.name(), trust.ends()), (first.id(), "games", Some(1_000)));
        (first, trust)
    }

    fn claims(cluster: AuthorityId) -> Claims {
        let roles = BTreeSet::from([ROLE_MEMBER.to_owned()]);
        Claims {
            cluster,
            node: NODE,
            name: "edge-1".into(),
            region: "eu".into(),
            roles,
            not_before: 100,
            not_after: 200,
        }
    }

    fn judged(trust: &Trust, certificate: &Certificate, now: u64) -> Result<Claims, Refusal> {
        trust.judge(certificate, NODE, false, now)
    }

    #[test]
    fn a_member_is_believed_in_its_time() {
        let (first, trust) = trust();
        let certificate = first.certify(&claims(first.id()));
        let papers = trust.papers(&certificate);
        assert_eq!(Papers::decode(&papers.encode()).expect("decodes"), papers);
        assert_eq!(judged(&trust, &certificate, 150), Ok(claims(first.id())));
        assert_eq!(judged(&trust, &certificate, 99), Err(Refusal::NotYet { from: 100, now: 99 }));
        assert_eq!(judged(&trust, &certificate, 201), Err(Refusal::Expired { to: 200, now: 201 }));
        assert_eq!(judged(&trust, &certificate, 1_001), Err(Refusal::AuthorityOutOfTime(first.id())));
    }

    #[test]
    fn others_are_not() {
        let (first, trust) = trust();
        let certificate = first.certify(&claims(first.id()));
        assert_eq!(trust.judge(&certificate, NODE, true, 150), Err(Refusal::Revoked));
        let thief = NodeId([4; 32]);
        assert_eq!(trust.judge(&certificate, thief, false, 150), Err(Refusal::OtherNode(NODE)));
        let stranger = authority(2);
        let forged = stranger.certify(&claims(first.id()));
        assert_eq!(judged(&trust, &forged, 150), Err(Refusal::Stranger(stranger.id())));
        let foreign = stranger.certify(&claims(stranger.id()));
        assert_eq!(judged(&trust, &foreign, 150), Err(Refusal::Stranger(stranger.id())));
        let misled = first.certify(&claims(stranger.id()));
        assert_eq!(judged(&trust, &misled, 150), Err(Refusal::Foreign(stranger.id())));
        let endorsement = first.endorse(first.id(), stranger.id(), span(0, 9));
        assert_eq!(judged(&trust, &Certificate(endorsement), 150), Err(Refusal::Unsound(Unsound::Signature)));
    }

    #[test]
    fn authorities_follow_each_other_and_both_are_believed_meanwhile() {
        let (first, mut trust) = trust();
        let second = authority(2);
        let next = first.endorse(first.id(), second.id(), span(500, 2_000));
        let certificate = second.certify(&Claims { not_before: 500, not_after: 3_000, ..claims(first.id()) });
        assert_eq!(judged(&trust, &certificate, 600), Err(Refusal::Stranger(second.id())), "before it is known");
        assert_eq!((trust.add(&next), trust.add(&next)), (Ok(true), Ok(false)));
        for now in [600, 1_000, 2_000] {
            assert!(judged(&trust, &certificate, now).is_ok(), "at {now}");
        }
        assert_eq!(judged(&trust, &certificate, 2_001), Err(Refusal::AuthorityOutOfTime(second.id())));
        assert_eq!(trust.ends(), Some(2_000));
        // Whoever was away gets the whole chain, in any order.
        let third = authority(3);
        let last = second.endorse(first.id(), third.id(), span(1_500, 4_000));
        let own = trust.endorsements().find(|own| own.signer() == first.id() && **own != next).expect("its own");
        let mut late = Trust::of(first.id());
        late.learn([&last, &next, own]);
        assert_eq!((late.ends(), late.name()), (Some(4_000), "games"));
    }

    #[test]
    fn nobody_becomes_an_authority_without_one() {
        let (first, mut trust) = trust();
        let (second, third) = (authority(2), authority(3));
        let usurped = second.endorse(first.id(), second.id(), span(0, 9_000));
        assert_eq!(trust.add(&usurped), Err(EndorsementError::Stranger(second.id())));
        let too_late = first.endorse(first.id(), second.id(), span(1_001, 9_000));
        assert_eq!(trust.add(&too_late), Err(EndorsementError::Stranger(first.id())), "after its own time");
        let elsewhere = first.endorse(second.id(), second.id(), span(0, 900));
        assert_eq!(trust.add(&elsewhere), Err(EndorsementError::Foreign(second.id())));
        let backwards = first.endorse(first.id(), third.id(), span(9, 8));
        assert_eq!(trust.add(&backwards), Err(EndorsementError::Stranger(first.id())));
        assert_eq!(trust.endorsements().count(), 1);
    }

    #[test]
    fn only_an_authority_revokes() {
        let (first, trust) = trust();
        let revocation = first.revoke(first.id(), NODE, 5);
        assert_eq!(trust.revoked(&Revocation::decode(&revocation.encode()).expect("decodes")), Some((NODE, 5)));
        let stranger = authority(2);
        assert_eq!(trust.revoked(&stranger.revoke(first.id(), NODE, 5)), None, "signed by a stranger");
        assert_eq!(trust.revoked(&first.revoke(stranger.id(), NODE, 5)), None, "of another cluster");
        let other = Revocation(first.certify(&claims(first.id())).0);
        assert_eq!(trust.revoked(&other), None, "a certificate is no revocation");
    }

    #[test]
    fn the_number_of_authorities_is_bounded() {
        let (first, mut trust) = trust();
        for seed in 0..200 {
            drop(trust.add(&first.endorse(first.id(), authority(seed).id(), span(5, 6))));
        }
        assert_eq!(trust.endorsements().count(), AUTHORITIES_MAX);
        let papers = trust.papers(&first.certify(&claims(first.id())));
        assert!(papers.encode().len() <= crate::cluster::certificate::PAPERS_BYTES_MAX, "{}", papers.encode().len());
    }
    #[test]
    fn documents_that_are_none_are_errors() {
        let (first, mut trust) = trust();
        let endorsement = first.endorse(first.id(), authority(2).id(), span(5, 600));
        trust.add(&endorsement).expect("is believed");
        let certificate = first.certify(&claims(first.id()));
        let papers = trust.papers(&certificate).encode();
        crate::outside::check("papers", &papers, |bytes| Papers::decode(bytes).is_ok());
        let revocation = first.revoke(first.id(), NODE, 5).encode();
        crate::outside::check("a revocation", &revocation, |bytes| Revocation::decode(bytes).is_ok());
        let endorsement = codec::encode(&endorsement);
        let read = |bytes: &[u8]| codec::decode::<Signed>(bytes, 1_024).is_ok();
        crate::outside::check("an endorsement", &endorsement, read);
    }
}
