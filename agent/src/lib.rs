//! The agent.

pub mod shipped;
pub mod spec;
pub mod wasm;
