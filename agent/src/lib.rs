//! stub

pub mod placement;
pub mod spec;
