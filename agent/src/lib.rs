//! The agent.

pub mod net;
