//! What documents are worth that others pass on: certificates with records, and what is in the sets that authorities speak through, to
//! which any member can write.
//!
//! Decides; adds nothing. The invariant: what is worth nothing to one member is worth nothing to any, at any time; what counts for
//! one, counts for whoever knows the same authorities.

use selvedge_sync::id::NodeId;

use super::revocation::{self, Revoked};
use super::{Certificate, Claims, ENDORSEMENT, Endorsed, Refusal, Revocation, Signed, Trust, UnixSeconds};

/// What a document is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// An authority of this cluster has signed it.
    Counts,
    /// Its signer is no authority that is known here, or not yet.
    Unknown,
    /// Nobody can have had a reason to write it.
    Nothing,
}

impl Trust {
    /// Judges a certificate of `node` that somebody passed on: as [`Self::judge`] does, but what would be refused without looking at its
    /// signature is, for whoever passes on many of those pays nothing for them.
    ///
    /// # Errors
    /// Why its bearer is not to be taken for a member.
    pub fn vouch(
        &self,
        certificate: &Certificate,
        node: NodeId,
        is_revoked: bool,
        now: UnixSeconds,
    ) -> Result<Claims, Refusal> {
        if is_revoked {
            return Err(Refusal::Revoked);
        }
        let claims = certificate.peek()?;
        if now > claims.not_after {
            return Err(Refusal::Expired { to: claims.not_after, now });
        }
        self.judge(certificate, node, is_revoked, now)
    }

    /// What a revocation is worth.
    #[must_use]
    pub fn weigh_revocation(&self, revocation: &Revocation) -> Worth {
        let signed = &revocation.0;
        if !self.authorities.contains_key(&signed.signer()) {
            return Worth::Unknown;
        }
        match signed.open::<Revoked>(revocation::PURPOSE) {
            Ok(revoked) if revoked.cluster == self.cluster => Worth::Counts,
            Ok(_) | Err(_) => Worth::Nothing,
        }
    }

    /// What an endorsement of an authority is worth.
    #[must_use]
    pub fn weigh_endorsement(&self, endorsement: &Signed) -> Worth {
        let signer = endorsement.signer();
        if self.endorsements.contains(endorsement) {
            return Worth::Counts;
        }
        if signer != self.cluster && !self.authorities.contains_key(&signer) {
            return Worth::Unknown;
        }
        match endorsement.open::<Endorsed>(ENDORSEMENT) {
            Ok(endorsed) if endorsed.cluster == self.cluster && endorsed.span.from <= endorsed.span.to => {
                let holds = self.authorities.get(&signer).is_some_and(|span| span.holds(endorsed.span.from));
                if holds || endorsed.authority == self.cluster { Worth::Counts } else { Worth::Unknown }
            }
            Ok(_) | Err(_) => Worth::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Authority, Span};

    const SPAN: Span = Span { from: 0, to: 1_000 };

    #[test]
    fn only_what_an_authority_signed_counts_and_what_nobody_can_mean_is_nothing() {
        let authority = |seed: u8| Authority::from_seed(&[seed; 32]);
        let (first, second, stranger) = (authority(1), authority(2), authority(3));
        let (cluster, node) = (first.id(), NodeId([7; 32]));
        let mut trust = first.found("games", SPAN);
        let revoked = |trust: &Trust, by: &Authority, of| trust.weigh_revocation(&by.revoke(of, node, 5));
        assert_eq!(revoked(&trust, &first, cluster), Worth::Counts);
        assert_eq!(revoked(&trust, &first, stranger.id()), Worth::Nothing, "of another cluster");
        assert_eq!(revoked(&trust, &second, cluster), Worth::Unknown, "perhaps it will be one");
        let endorsed = first.endorse(cluster, second.id(), Span { from: 500, to: 2_000 });
        assert_eq!(trust.weigh_endorsement(&endorsed), Worth::Counts, "before it is known");
        assert_eq!(trust.weigh_revocation(&Revocation(endorsed.clone())), Worth::Nothing, "signed for something else");
        trust.learn([&endorsed]);
        assert_eq!(trust.weigh_endorsement(&endorsed), Worth::Counts, "and after");
        assert_eq!(revoked(&trust, &second, cluster), Worth::Counts);
        let late = first.endorse(cluster, stranger.id(), Span { from: 1_001, to: 2_000 });
        assert_eq!(
            trust.weigh_endorsement(&late),
            Worth::Unknown,
            "its signer's time is over by then, as far as we know"
        );
        let none = first.endorse(cluster, stranger.id(), Span { from: 9, to: 8 });
        assert_eq!(trust.weigh_endorsement(&none), Worth::Nothing);
        assert_eq!(trust.weigh_endorsement(&stranger.endorse(cluster, stranger.id(), SPAN)), Worth::Unknown);
    }
}
