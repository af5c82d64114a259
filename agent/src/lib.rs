//! Selvedge, an agent for edge hosts: replicated state, placed workloads, sandboxed WebAssembly.

pub mod agent;
pub mod cli;
pub mod config;
mod demo;
pub mod runtime_info;
pub mod shipped;
