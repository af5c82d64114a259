//! Whom an authority has certified, whether they ever ran or not.
//!
//! Owns the list by which a name is known to be taken and a member can be put out that nobody has met. A name belongs to one key
//! for as long as a certificate says so: the invariant is that no other key is certified under it meanwhile.

use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{Claims, UnixSeconds};

/// Certificates that are remembered at a time; as many as there may be members.
const ROSTER_MAX: usize = 4_096;

/// What is remembered of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whose.
    #[serde(rename = "k")]
    pub node: NodeId,
    /// Its name for people.
    #[serde(rename = "n")]
    pub name: String,
    /// Where it stands.
    #[serde(rename = "r")]
    pub region: String,
    /// Until when it holds.
    #[serde(rename = "t")]
    pub not_after: UnixSeconds,
}

/// The list is full. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ROSTER_MAX} certificates hold already, which is as many as there may be members")]
pub struct RosterFull;

/// The certificates that hold. One that has expired is forgotten when the next is noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster(Vec<Listed>);

impl Roster {
    /// Notes a certificate; a later one of the same key takes the place of the former.
    ///
    /// # Errors
    /// There are too many.
    pub fn note(&mut self, claims: &Claims, now: UnixSeconds) -> Result<(), RosterFull> {
        let Claims { node, not_after, .. } = *claims;
        let (name, region) = (claims.name.clone(), claims.region.clone());
        let listed = Listed { node, name, region, not_after };
        if let Some(known) = self.0.iter_mut().find(|known| known.node == node) {
            if known.not_after < not_after {
                *known = listed;
            }
            return Ok(());
        }
        self.0.retain(|known| now <= known.not_after);
        if self.0.len() >= ROSTER_MAX {
            return Err(RosterFull);
        }
        self.0.push(listed);
        Ok(())
    }

    /// Forgets those of whom `is_out` says that they are no members any more: their names are free.
    pub fn strike(&mut self, is_out: impl Fn(&NodeId) -> bool) {
        self.0.retain(|known| !is_out(&known.node));
    }

    /// The other key than `node`'s that is certified under `name` at `now`.
    #[must_use]
    pub fn bearer(&self, name: &str, node: Option<NodeId>, now: UnixSeconds) -> Option<NodeId> {
        let taken = |known: &&Listed| known.name == name && Some(known.node) != node && now <= known.not_after;
        self.0.iter().find(taken).map(|known| known.node)
    }

    /// Those that are noted, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::AuthorityId;

    fn claims(number: u16, name: &str, not_after: u64) -> Claims {
        let mut node = [0; 32];
        node[..2].copy_from_slice(&number.to_be_bytes());
        Claims {
            cluster: AuthorityId([1; 32]),
            node: NodeId(node),
            name: name.to_owned(),
            region: "eu".to_owned(),
            roles: BTreeSet::new(),
            not_before: 0,
            not_after,
        }
    }

    #[test]
    fn a_name_is_taken_while_a_certificate_of_another_key_holds() {
        let mut roster = Roster::default();
        let first = claims(1, "kiosk", 100);
        roster.note(&first, 0).expect("there is room");
        assert_eq!(roster.bearer("kiosk", None, 100), Some(first.node));
        assert_eq!(roster.bearer("kiosk", Some(first.node), 100), None, "its own");
        assert_eq!(roster.bearer("kiosk", None, 101), None, "expired");
        assert_eq!(roster.bearer("other", None, 100), None);
        roster.note(&claims(1, "kiosk", 200), 50).expect("is renewed");
        roster.note(&claims(1, "kiosk", 150), 50).expect("an earlier one changes nothing");
        assert_eq!((roster.bearer("kiosk", None, 200), roster.iter().count()), (Some(first.node), 1));
        roster.strike(|node| *node == first.node);
        assert_eq!(roster.bearer("kiosk", None, 0), None, "put out");
    }

    #[test]
    fn the_roster_is_bounded_and_makes_room_when_certificates_expire() {
        let mut roster = Roster::default();
        for number in 0..u16::try_from(ROSTER_MAX).expect("is small") {
            roster.note(&claims(number, "x", 100), 0).expect("there is room");
        }
        assert_eq!(roster.note(&claims(9_999, "y", 300), 100), Err(RosterFull));
        assert_eq!(roster.note(&claims(1, "x", 300), 100), Ok(()), "who is there is renewed");
        assert_eq!(roster.note(&claims(9_999, "y", 300), 101), Ok(()));
        assert_eq!(roster.iter().count(), 2);
    }
}
