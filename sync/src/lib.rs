//! The pure replication engine of Selvedge.

pub mod id;
