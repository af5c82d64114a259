//! stub

pub mod net;
