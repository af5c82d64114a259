//! stub

pub mod placement;
pub mod reconcile;
pub mod resources;
pub mod spec;
