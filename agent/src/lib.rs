//! stub
pub mod artifacts;
pub mod config;
pub mod spec;
pub mod store;
