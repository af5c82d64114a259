//! The agent.

pub mod shipped;
