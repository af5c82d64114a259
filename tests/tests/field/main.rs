//! Trouble on a real network: real processes on hosts of their own, whose wires are cut, whose addresses change, that stall and die.
//!
//! In all of it every agent takes all writes, nothing that was taken is lost, all agree once the trouble is over, and what each says
//! of the others is true. One field at a time; skipped, with the reason printed, where there are no namespaces.

mod cuts;
mod outcasts;
mod placed;
mod restarts;
mod shapes;
mod stalls;
