//! stub

pub mod api;
pub mod metrics;
pub mod service;
