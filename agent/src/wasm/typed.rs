//! Calls with values of Rust's types in place of JSON.
//!
//! For programs that hold the agent in their own process and know what they call: no value passes through text. The types are
//! those that the engine's `bindgen!` makes from WIT, and what it takes for plain ones; here alone the engine shows.

use std::time::Duration;

use selvedge_sync::change::Change;
use selvedge_sync::key::Key;
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use crate::spec::Digest;

/// Arguments: a tuple, in the order of the parameters.
pub trait Params: ComponentNamedList + Lower + Send + 'static {}

impl<T: ComponentNamedList + Lower + Send + 'static> Params for T {}

/// Results: a tuple of one, or of none for a function without.
pub trait Results: ComponentNamedList + Lift + Send + 'static {}

impl<T: ComponentNamedList + Lift + Send + 'static> Results for T {}

/// What a typed call that succeeded leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedOutcome<R> {
    /// The result.
    pub result: R,
    /// What is to be written, as one commit. Empty for a call that wrote nothing.
    pub changes: Vec<(Key, Change)>,
    /// Assets that it asked this host to fetch, once what it wrote is committed.
    pub preloads: Vec<Digest>,
    /// How long the guest ran.
    pub guest_time: Duration,
}
