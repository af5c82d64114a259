//! What may be written to keys that belong to the agents themselves.
//!
//! The engine takes whatever a member writes, for a member is trusted with content. What an agent reads from its own keys it can bound
//! by its meaning, which the engine does not know: so it asks. The invariant: nobody is refused for ever what another replica with the
//! same guard has taken.

use std::fmt::Debug;

use crate::crdt::Op;
use crate::key::Key;

/// What becomes of a commit that somebody else wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is taken.
    Taken,
    /// It may be sound, and what would show it is not known here yet: its stream waits.
    NotYet,
    /// It is nothing that anybody may write, on any replica, at any time: it breaks the rules.
    Never,
}

/// Judges what others write to reserved keys.
pub trait Guard: Debug + Send + Sync {
    /// What becomes of a commit with this operation on a key of the agents' own. [`Judgement::Taken`] and [`Judgement::Never`] are for
    /// ever, and what one replica takes no other may judge as never to be taken.
    fn judge(&self, key: &Key, op: &Op) -> Judgement;
}

/// Takes everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unguarded;

impl Guard for Unguarded {
    fn judge(&self, _: &Key, _: &Op) -> Judgement {
        Judgement::Taken
    }
}
