//! The pure replication engine of Selvedge: CRDTs, commits, version vectors, anti-entropy.
//!
//! No I/O, no clock, no threads, no randomness of its own: time, identity and bytes are arguments, effects are returned as
//! data. The one door is [`replica::Replica::handle`]. Modules depend downwards only:
//! `sim` → `replica` → `{state, draft, change, commit, codec, log, broadcast}` → `{crdt, seal}` → `{id, hlc, key, scalar, causal, limits}`.

pub mod broadcast;
pub mod causal;
pub mod change;
pub mod codec;
pub mod commit;
pub mod crdt;
pub mod draft;
pub mod hlc;
pub mod id;
pub mod key;
pub mod limits;
pub mod log;
pub mod planted;
pub mod replica;
pub mod scalar;
pub mod seal;
pub mod sim;
pub mod state;
pub mod time;
