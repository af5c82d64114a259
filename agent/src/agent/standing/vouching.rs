//! Whose records are believed: by the certificate that came with them, or that was shown before.
//!
//! The invariant: what is vouched for holds now, and is passed on with a certificate that shows it to anybody.

use super::{Development, Shown, Standing, now_s};
use crate::cluster::{Certificate, Refusal};
use crate::members::{NodeRecord, Register, Uncertified};

impl Register for Standing {
    fn own(&self) -> Option<Certificate> {
        Some(self.certificate())
    }

    fn vouch(
        &self,
        record: &NodeRecord,
        certificate: Option<&Certificate>,
    ) -> Result<Option<Certificate>, Uncertified> {
        let (mut inner, now) = (self.inner(), now_s());
        let known = inner.shown.get(&record.node).filter(|shown| inner.is_current(&shown.claims, now)).cloned();
        let shown = match certificate.filter(|new| known.as_ref().is_none_or(|known| known.certificate != **new)) {
            None => known.ok_or(Uncertified::Missing)?,
            Some(new) => match inner.trust.vouch(new, record.node, inner.revoked.contains_key(&record.node), now) {
                Ok(claims) => Shown { claims, certificate: new.clone() },
                // By an authority that is not known here yet, perhaps: what was shown before still holds.
                Err(Refusal::Stranger(signer)) => known.ok_or(Refusal::Stranger(signer))?,
                Err(refusal) => return Err(refusal.into()),
            },
        };
        let says = (&record.name, record.region.as_ref());
        if says != (&shown.claims.name, Some(&shown.claims.region)) {
            return Err(Uncertified::OtherName);
        }
        // Somebody may have shown an older one than we know.
        let is_newer = |known: &Shown| known.claims.not_after < shown.claims.not_after;
        let certificate = shown.certificate.clone();
        if inner.shown.get(&record.node).is_none_or(is_newer) {
            inner.show(shown);
        }
        Ok(Some(certificate))
    }

    fn holds(&self, certificate: Option<&Certificate>) -> bool {
        let claims = certificate.and_then(|certificate| certificate.peek().ok());
        claims.is_some_and(|claims| self.inner().is_current(&claims, now_s()))
    }
}

impl Register for Development {
    fn own(&self) -> Option<Certificate> {
        None
    }

    /// There is nobody who could certify anything, and everybody is on this host.
    fn vouch(&self, _: &NodeRecord, _: Option<&Certificate>) -> Result<Option<Certificate>, Uncertified> {
        Ok(None)
    }

    fn holds(&self, _: Option<&Certificate>) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use selvedge_sync::id::NodeId;

    use super::*;
    use crate::cluster::{Authority, Claims, Span};
    use crate::members::tests::record;
    use crate::net::Admission as _;

    const OWN: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    fn certify(authority: &Authority, of: &Authority, node: NodeId, not_after: u64) -> Certificate {
        let (name, region, roles) = ("a".to_owned(), "eu".to_owned(), BTreeSet::new());
        authority.certify(&Claims { cluster: of.id(), node, name, region, roles, not_before: 0, not_after })
    }

    fn standing(authority: &Authority) -> Standing {
        let trust = authority.found("games", Span { from: 0, to: u64::MAX });
        Standing::new(trust, certify(authority, authority, OWN, u64::MAX), OWN).expect("ours")
    }

    fn of(node: NodeId) -> NodeRecord {
        NodeRecord { name: "a".to_owned(), region: Some("eu".to_owned()), ..record(node, 1, 1) }
    }

    #[test]
    fn a_record_is_believed_of_whom_an_authority_has_certified() {
        let authority = Authority::from_seed(&[1; 32]);
        let standing = standing(&authority);
        let later = now_s() + 1_000;
        assert_eq!(standing.vouch(&of(OTHER), None), Err(Uncertified::Missing));
        let certificate = certify(&authority, &authority, OTHER, later);
        let believed = Ok(Some(certificate.clone()));
        assert_eq!(standing.vouch(&of(OTHER), Some(&certificate)), believed);
        assert_eq!(standing.vouch(&of(OTHER), None), believed, "what was shown is remembered");
        assert!(standing.claims_of(OTHER, now_s()).is_some());
        // A renewed one takes its place, and an older one does not.
        let renewed = certify(&authority, &authority, OTHER, later + 1_000);
        assert_eq!(standing.vouch(&of(OTHER), Some(&renewed)), Ok(Some(renewed.clone())));
        assert_eq!(standing.vouch(&of(OTHER), Some(&certificate)), believed);
        assert_eq!(standing.vouch(&of(OTHER), None), Ok(Some(renewed.clone())));
        for called in [NodeRecord { name: "b".to_owned(), ..of(OTHER) }, NodeRecord { region: None, ..of(OTHER) }] {
            assert_eq!(standing.vouch(&called, Some(&renewed)), Err(Uncertified::OtherName));
        }
        assert!(standing.holds(Some(&renewed)) && !standing.holds(None));
        let by_the_next = certify(&Authority::from_seed(&[2; 32]), &authority, OTHER, u64::MAX);
        assert_eq!(standing.vouch(&of(OTHER), Some(&by_the_next)), Ok(Some(renewed.clone())), "as long as that holds");
        standing.revoke([&authority.revoke(authority.id(), OTHER, 0)]);
        assert_eq!(standing.vouch(&of(OTHER), Some(&renewed)), Err(Refusal::Revoked.into()));
        assert!(standing.vouch(&of(OTHER), None).is_err() && !standing.holds(Some(&renewed)));
    }

    #[test]
    fn what_was_shown_at_the_gate_is_enough() {
        let authority = Authority::from_seed(&[1; 32]);
        let standing = standing(&authority);
        let certificate = certify(&authority, &authority, OTHER, u64::MAX);
        standing.judge(OTHER, &standing.trust().papers(&certificate).encode()).expect("is a member");
        assert_eq!(standing.vouch(&of(OTHER), None), Ok(Some(certificate)));
    }

    #[test]
    fn what_no_honest_member_passes_on_is_told_from_what_one_may() {
        let (authority, stranger) = (Authority::from_seed(&[1; 32]), Authority::from_seed(&[2; 32]));
        let standing = standing(&authority);
        let check = |certificate: &Certificate, is_forged, why: &str| {
            let uncertified = standing.vouch(&of(OTHER), Some(certificate)).expect_err(why);
            assert_eq!(uncertified.is_forged(), is_forged, "{why}: {uncertified}");
            assert_eq!(standing.vouch(&of(OTHER), None), Err(Uncertified::Missing), "{why}: nothing was learned");
        };
        check(&certify(&stranger, &authority, OTHER, u64::MAX), false, "an authority that may be new");
        check(&certify(&authority, &authority, OTHER, 5), false, "expired, by our clock");
        check(&certify(&authority, &authority, NodeId([3; 32]), u64::MAX), true, "about somebody else");
        check(&certify(&authority, &stranger, OTHER, u64::MAX), true, "of another cluster");
    }
}
