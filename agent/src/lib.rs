//! The Selvedge agent: everything that touches the world.
//!
//! The pure engine is `selvedge-sync`; this crate feeds it and carries out what it decides. `net`, `store`, `wasm` and `api`
//! never import each other; only [`driver`] and [`agent`] see them together, through their handles. See `ARCHITECTURE.md`.

pub mod agent;
pub mod api;
pub mod artifacts;
pub mod assets;
pub(crate) mod bench;
pub mod blobs;
pub mod calls;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
pub(crate) mod doctor;
pub mod driver;
pub mod encoding;
pub mod events;
pub mod members;
pub mod metrics;
pub mod net;
#[cfg(test)]
mod outside;
pub mod placement;
pub mod rates;
pub mod reconcile;
pub mod release;
pub mod resources;
pub mod rollout;
pub mod routing;
pub mod runtime_info;
pub mod service;
pub mod shipped;
pub mod spec;
pub mod splitmix;
pub mod store;
pub mod supervisor;
pub(crate) mod text;
pub mod timing;
pub(crate) mod top;
pub mod traces;
pub mod view;
pub mod wasm;
pub mod workloads;
