//! Invitations: a token that a stranger trades for a certificate, once.
//!
//! The token is shown to whoever asks for it and never again: what is kept is its hash. It names the cluster, so that a joiner
//! knows whom it may tell the secret, and addresses to go to. Who loses the answer may ask again with the same key; who comes
//! with another key gets nothing.

use std::fmt;
use std::str::FromStr;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::{AuthorityId, RosterFull, UnixSeconds};

/// What a token begins with: a human sees what it is, and a scanner for leaked secrets too.
const TOKEN_PREFIX: &str = "selvedge-join-";

/// What separates hashes of tokens from all other hashes.
const HASH_CONTEXT: &str = "selvedge 2026 join token hash 1";

/// Longest token in its text, in characters, with room for a few addresses.
const TOKEN_CHARS_MAX: usize = 2_048;

/// Bytes of a token's hash at its end, which tell a typing error from an unknown token.
const CHECK_BYTES: usize = 4;

/// Addresses in a token; a joiner tries them one after the other.
pub const TOKEN_ADDRESSES_MAX: usize = 8;

/// Invitations that are kept at a time, used ones included until they expire.
const INVITATIONS_MAX: usize = 1_000;

/// Length of a token's name, which is no secret.
pub(super) const TOKEN_ID_BYTES: usize = 8;

/// Length of a token's secret.
pub(super) const TOKEN_SECRET_BYTES: usize = 16;

/// What is handed to whoever shall join. Printed only by [`Token::reveal`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The cluster, by the key of its first authority.
    #[serde(rename = "c")]
    pub cluster: AuthorityId,
    /// Which invitation.
    #[serde(rename = "i", with = "serde_bytes")]
    pub id: [u8; TOKEN_ID_BYTES],
    /// What proves that the bearer was given it.
    #[serde(rename = "s", with = "serde_bytes")]
    pub secret: [u8; TOKEN_SECRET_BYTES],
    /// Where a member with an authority's key is to be found.
    #[serde(rename = "a")]
    pub addresses: Vec<String>,
    /// The name that the joiner gets, so that it can object before the token is used; the invitation itself is what counts.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The region that the joiner gets.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("cluster", &self.cluster)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// A text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as one.
    #[error("a join token begins with {TOKEN_PREFIX}; `selvedge invite` makes one")]
    Prefix,
    /// It was cut or mistyped.
    #[error("the join token is incomplete or mistyped")]
    Damaged,
}

impl Token {
    /// The text that is handed over.
    #[must_use]
    pub fn reveal(&self) -> String {
        let bytes = codec::encode(self);
        let check = blake3::hash(&bytes);
        format!("{TOKEN_PREFIX}{}", bs58::encode([&bytes, &check.as_bytes()[..CHECK_BYTES]].concat()).into_string())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim().strip_prefix(TOKEN_PREFIX).ok_or(TokenError::Prefix)?;
        if text.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::Damaged);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| TokenError::Damaged)?;
        let (bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError::Damaged)?;
        if blake3::hash(bytes).as_bytes()[..CHECK_BYTES] != *check {
            return Err(TokenError::Damaged);
        }
        let token: Self = codec::decode(bytes, TOKEN_CHARS_MAX).map_err(|_| TokenError::Damaged)?;
        if (1..=TOKEN_ADDRESSES_MAX).contains(&token.addresses.len()) { Ok(token) } else { Err(TokenError::Damaged) }
    }
}

/// What whoever joins by an invitation is called, where it stands, and until when the invitation holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The name that the joiner gets; `None` leaves it to the joiner.
    #[serde(rename = "n")]
    pub name: Option<String>,
    /// The region that the joiner gets; `None` leaves it to the joiner.
    #[serde(rename = "r")]
    pub region: Option<String>,
    /// Whether the joiner may deploy.
    #[serde(rename = "d", default = "yes")]
    pub may_deploy: bool,
    /// The last second at which it is taken.
    #[serde(rename = "t")]
    pub not_after: UnixSeconds,
}

/// What invitations grant that were made before they could withhold it.
const fn yes() -> bool {
    true
}

/// An invitation, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    #[serde(rename = "i", with = "serde_bytes")]
    id: [u8; TOKEN_ID_BYTES],
    #[serde(rename = "h", with = "serde_bytes")]
    hash: [u8; blake3::OUT_LEN],
    /// What it grants.
    #[serde(rename = "w")]
    pub terms: Terms,
    /// Who has used it.
    #[serde(rename = "u")]
    pub used_by: Option<NodeId>,
}

/// Why an invitation admits nobody. What a stranger hears is only that it does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none with this name and secret.
    #[error("no invitation has this token")]
    Unknown,
    /// Its time is over.
    #[error(
        "the invitation has expired; ask for a new token (`selvedge invite`) and join with that, into the same data directory"
    )]
    Expired,
    /// Somebody else has used it.
    #[error(
        "the invitation was used by another node; ask for a new token (`selvedge invite`) and join with that, into the same data directory"
    )]
    Used,
    /// Another member has its name.
    #[error(
        "the name `{name}` is taken by member {by}; join under another one, or have that member revoked first; the token is unused"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        by: NodeId,
    },
    /// The key that asks was put out.
    #[error(
        "this key was revoked, for ever; take an empty data directory, which makes a new key, and join with the same token: it is unused"
    )]
    KeyRevoked,
    /// There are as many members as there may be.
    #[error("{0}; the token is unused")]
    Full(#[from] RosterFull),
    /// There are too many that have not expired.
    #[error("there are {INVITATIONS_MAX} invitations that have not expired; wait for some to expire")]
    TooMany,
}

impl Invitation {
    /// Its name in lists: no secret, and of no use to whoever would join.
    #[must_use]
    pub fn id(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Token {
    /// The name of its invitation in lists.
    #[must_use]
    pub fn id_text(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What became of a wish to cancel an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is gone, and nobody had used it.
    Open(Invitation),
    /// This node has used it already. It stays.
    UsedBy(NodeId),
    /// There is none of this id, or it has expired.
    Unknown,
}

/// The invitations of one authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitations(Vec<Invitation>);

impl Invitations {
    /// Adds the invitation that `token` stands for.
    ///
    /// # Errors
    /// There are too many; nothing was changed.
    pub fn invite(&mut self, token: &Token, terms: Terms, now: UnixSeconds) -> Result<(), Denied> {
        self.forget_expired(now);
        if self.0.len() >= INVITATIONS_MAX {
            return Err(Denied::TooMany);
        }
        self.0.push(Invitation { id: token.id, hash: *hash(&token.secret).as_bytes(), terms, used_by: None });
        Ok(())
    }

    /// Whether there is an invitation of this name that may still be used: enough to answer a stranger at all.
    #[must_use]
    pub fn awaits(&self, id: &[u8; TOKEN_ID_BYTES], now: UnixSeconds) -> bool {
        self.0.iter().any(|invitation| invitation.id == *id && now <= invitation.terms.not_after)
    }

    /// Uses an invitation for `node`. It is used only once this has been stored.
    ///
    /// # Errors
    /// It admits nobody, or not this one. Nothing was changed.
    pub fn claim(
        &mut self,
        id: &[u8; TOKEN_ID_BYTES],
        secret: &[u8; TOKEN_SECRET_BYTES],
        node: NodeId,
        now: UnixSeconds,
    ) -> Result<Terms, Denied> {
        let invitation = self.admitting(id, secret, node, now)?;
        invitation.used_by = Some(node);
        Ok(invitation.terms.clone())
    }

    /// What the bearer of `node`'s key would get for its token, which stays unused.
    ///
    /// # Errors
    /// It would get nothing.
    pub fn terms(
        &mut self,
        id: &[u8; TOKEN_ID_BYTES],
        secret: &[u8; TOKEN_SECRET_BYTES],
        node: NodeId,
        now: UnixSeconds,
    ) -> Result<Terms, Denied> {
        self.admitting(id, secret, node, now).map(|invitation| invitation.terms.clone())
    }

    fn admitting(
        &mut self,
        id: &[u8; TOKEN_ID_BYTES],
        secret: &[u8; TOKEN_SECRET_BYTES],
        node: NodeId,
        now: UnixSeconds,
    ) -> Result<&mut Invitation, Denied> {
        let hash = hash(secret);
        // Hashes compare in constant time.
        let sound =
            |invitation: &&mut Invitation| invitation.id == *id && hash == blake3::Hash::from_bytes(invitation.hash);
        let invitation = self.0.iter_mut().find(sound).ok_or(Denied::Unknown)?;
        if now > invitation.terms.not_after {
            return Err(Denied::Expired);
        }
        if invitation.used_by.is_some_and(|by| by != node) {
            return Err(Denied::Used);
        }
        Ok(invitation)
    }

    /// Takes an invitation back that nobody has used.
    pub fn cancel(&mut self, id: &str, now: UnixSeconds) -> Cancelled {
        let found = self.0.iter().position(|invitation| invitation.id() == id && now <= invitation.terms.not_after);
        let Some(found) = found else { return Cancelled::Unknown };
        match self.0[found].used_by {
            Some(node) => Cancelled::UsedBy(node),
            None => Cancelled::Open(self.0.remove(found)),
        }
    }

    /// Drops what cannot be used any more.
    pub fn forget_expired(&mut self, now: UnixSeconds) {
        self.0.retain(|invitation| now <= invitation.terms.not_after);
    }

    /// Those that are kept, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Invitation> {
        self.0.iter()
    }
}

fn hash(secret: &[u8; TOKEN_SECRET_BYTES]) -> blake3::Hash {
    blake3::Hash::from_bytes(blake3::derive_key(HASH_CONTEXT, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u8) -> Token {
        Token {
            cluster: AuthorityId([1; 32]),
            id: [number; TOKEN_ID_BYTES],
            secret: [number.wrapping_add(100); TOKEN_SECRET_BYTES],
            addresses: vec!["203.0.113.5:7412".to_owned()],
            name: Some("edge-2".to_owned()),
            region: None,
        }
    }

    fn terms(not_after: u64) -> Terms {
        Terms { name: Some("edge-2".to_owned()), region: None, may_deploy: true, not_after }
    }

    #[test]
    fn a_token_survives_being_copied_and_nothing_else() {
        let text = token(3).reveal();
        assert_eq!(text.parse(), Ok(token(3)));
        assert_eq!(format!("  {text}\n").parse(), Ok(token(3)));
        assert_eq!("hello".parse::<Token>(), Err(TokenError::Prefix));
        assert_eq!(text[..text.len() - 1].parse::<Token>(), Err(TokenError::Damaged));
        for at in TOKEN_PREFIX.len()..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(typo).expect("ascii");
            assert_eq!(typo.parse::<Token>(), Err(TokenError::Damaged), "{at}");
        }
        assert!(!format!("{:?}", token(3)).contains("103"), "the secret is not printed");
    }

    #[test]
    fn an_invitation_admits_one_node_in_its_time() {
        let mut invitations = Invitations::default();
        invitations.invite(&token(1), terms(100), 0).expect("there is room");
        let (id, secret) = (token(1).id, token(1).secret);
        let (node, other) = (NodeId([7; 32]), NodeId([8; 32]));
        assert!(invitations.awaits(&id, 100) && !invitations.awaits(&id, 101) && !invitations.awaits(&token(2).id, 0));
        assert_eq!(invitations.claim(&id, &token(2).secret, node, 50), Err(Denied::Unknown));
        assert_eq!(invitations.claim(&token(2).id, &secret, node, 50), Err(Denied::Unknown));
        assert_eq!(invitations.claim(&id, &secret, node, 101), Err(Denied::Expired));
        assert_eq!(invitations.claim(&id, &secret, node, 50), Ok(terms(100)));
        assert_eq!(invitations.claim(&id, &secret, node, 60), Ok(terms(100)), "the answer was lost");
        assert_eq!(invitations.claim(&id, &secret, other, 60), Err(Denied::Used));
    }

    #[test]
    fn an_invitation_is_taken_back_until_it_is_used() {
        let mut invitations = Invitations::default();
        for number in [1, 2] {
            invitations.invite(&token(number), terms(100), 0).expect("there is room");
        }
        let [open, used] = [token(1), token(2)];
        invitations.claim(&used.id, &used.secret, NodeId([7; 32]), 50).expect("is used");
        assert_eq!(invitations.cancel(&used.id_text(), 50), Cancelled::UsedBy(NodeId([7; 32])));
        assert_eq!(invitations.cancel(&token(3).id_text(), 50), Cancelled::Unknown);
        assert_eq!(invitations.cancel(&open.id_text(), 101), Cancelled::Unknown, "expired");
        assert!(matches!(invitations.cancel(&open.id_text(), 50), Cancelled::Open(_)));
        assert_eq!(invitations.claim(&open.id, &open.secret, NodeId([7; 32]), 50), Err(Denied::Unknown));
        assert_eq!(invitations.iter().map(Invitation::id).collect::<Vec<_>>(), [used.id_text()]);
    }

    #[test]
    fn what_is_kept_does_not_tell_the_secret() {
        let mut invitations = Invitations::default();
        invitations.invite(&token(1), terms(100), 0).expect("there is room");
        let kept = codec::encode(&invitations);
        assert!(!kept.windows(TOKEN_SECRET_BYTES).any(|bytes| bytes == token(1).secret));
        assert_eq!(codec::decode::<Invitations>(&kept, 1 << 16).expect("decodes"), invitations);
    }

    #[test]
    fn invitations_are_bounded_and_make_room_when_they_expire() {
        let mut invitations = Invitations::default();
        for _ in 0..INVITATIONS_MAX {
            invitations.invite(&token(1), terms(100), 0).expect("there is room");
        }
        assert_eq!(invitations.invite(&token(2), terms(300), 100), Err(Denied::TooMany));
        assert_eq!(invitations.invite(&token(2), terms(300), 101), Ok(()));
        assert_eq!(invitations.iter().count(), 1);
    }
}
