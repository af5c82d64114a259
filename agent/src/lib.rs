//! stub

pub mod spec;
