//! Who may deploy, and in what form a spec is told to others.

use selvedge_sync::id::NodeId;
use selvedge_sync::scalar::Scalar;

/// Why this agent cannot deploy. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// What became of a look at a stored spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be carried out: the spec's text.
    Sound(String),
    /// It may be, and what would show it is not known here yet; what ran goes on.
    NotYet {
        /// What follows "it": "is signed by …, which is no authority".
        why: String,
    },
    /// It is not, and why.
    Refused {
        /// What follows "it": "is not signed".
        why: String,
        /// Whether a signature had to be verified to find out.
        took_work: bool,
    },
}

/// Signs what is deployed here, and judges what was deployed anywhere.
pub trait Notary: Send + Sync + 'static {
    /// A spec's text as it is stored, in the name of this node.
    ///
    /// # Errors
    /// This node may not deploy.
    fn sign(&self, workload: &str, spec: &str) -> Result<Scalar, NotPermitted>;

    /// Whether this node may change what runs.
    ///
    /// # Errors
    /// It may not.
    fn may_deploy(&self) -> Result<(), NotPermitted>;

    /// Judges what is stored for a workload.
    fn judge(&self, workload: &str, stored: &Scalar) -> Verdict;

    /// When a member was put out of the cluster, in milliseconds since the Unix epoch; `None` of one that was not.
    fn revoked_ms(&self, node: &NodeId) -> Option<u64>;

    /// Changes whenever another judgement may be due.
    fn edition(&self) -> u64;
}
