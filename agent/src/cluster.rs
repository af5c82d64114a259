//! Who belongs to a cluster: authorities that sign, certificates that members carry, tokens that strangers trade for one.
//!
//! Pure: keys, clocks and randomness are arguments; files are `folder`'s, bytes on a connection the network's. A cluster is
//! named by the key of its first authority. Whoever knows that name can judge every certificate, for an authority is only
//! believed when one that was believed before has endorsed it. The invariants: nothing that is signed for one purpose can be
//! used for another; a token admits once; no private key and no token is ever printed or stored as it is.

mod authority;
mod certificate;
mod deployment;
mod folder;
mod invitation;
mod join;
mod keys;
mod revocation;
mod roster;
mod signed;
mod trust;

pub use authority::Authority;
pub use certificate::{Certificate, Claims, Papers, ROLE_AUTHORITY, ROLE_DEPLOYER, ROLE_MEMBER};
pub use deployment::{Deployment, Unauthorised};
pub use folder::{Folder, FolderError};
pub use invitation::{Cancelled, Denied, Invitation, Invitations, TOKEN_ADDRESSES_MAX, Terms, Token, TokenError};
pub use join::{Answer, BACKDATED_S, Books, Desk, JoinError, Joining, Question};
pub use keys::NodeKeys;
pub use revocation::Revocation;
pub use roster::{Listed, Roster, RosterFull};
pub use signed::{AuthorityId, Signed, Unsound};
pub use trust::{EndorsementError, Refusal, Span, Trust, Worth};

/// Seconds since 1970.
pub type UnixSeconds = u64;

/// A time as text, RFC 3339. A year that no calendar holds is told as the last that one does.
#[must_use]
pub fn moment(at: UnixSeconds) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.min(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string()
}
