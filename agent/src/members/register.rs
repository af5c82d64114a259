//! Whose records are believed: those of whom an authority has certified.
//!
//! A key costs nothing to make, and with it a record about it: it is a certificate that makes its bearer somebody to be listed, dialed
//! and waited for. Owns the question; what a certificate is worth is for whoever implements [`Register`] to say.

use crate::cluster::{Certificate, Refusal};

use super::NodeRecord;

/// Says whom a record is believed of.
pub trait Register: Send + Sync + 'static {
    /// Our own certificate, which goes with our record; `None` for an agent that belongs to no cluster.
    fn own(&self) -> Option<Certificate>;

    /// Judges whether a member may say this of itself. `certificate` is what came with the record; without one, what its bearer has
    /// shown here before counts. Gives back the certificate to be passed on with it, `None` where there are none.
    ///
    /// # Errors
    /// No certificate says so now. Nothing was changed.
    fn vouch(&self, record: &NodeRecord, certificate: Option<&Certificate>)
    -> Result<Option<Certificate>, Uncertified>;

    /// Whether a record that was believed with this certificate still is, so that it can be passed on.
    fn holds(&self, certificate: Option<&Certificate>) -> bool;
}

/// Why a record's member is not taken for one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncertified {
    /// It came without a certificate, and there is none here that holds.
    #[error("no certificate of it that holds is known here")]
    Missing,
    /// Its certificate is not to be believed, or not any more.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It says that it is called otherwise, or stands elsewhere, than its certificate says.
    #[error("it calls itself by another name or region than its certificate")]
    OtherName,
}

impl Uncertified {
    /// Whether no honest member passes this on, whatever its clock shows and whichever authorities it knows.
    #[must_use]
    pub const fn is_forged(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::OtherName => true,
            Self::Refused(refusal) => {
                matches!(refusal, Refusal::Unsound(_) | Refusal::OtherNode(_) | Refusal::Foreign(_))
            }
        }
    }
}
