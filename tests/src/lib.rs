//! What the end-to-end tests share: real agents as processes, driven through the same binary that users run.
//!
//! Owns starting, finding, stopping and killing agents; asserts nothing itself. The invariants: every port is 0 and resolved by
//! the agent; every wait is on a level with a deadline; whatever a test started is gone when its value is dropped.

#![expect(clippy::print_stdout, reason = "a test that fails says on stdout how far it got and why")]

pub mod agent;
pub mod browser;
pub mod door;
pub mod field;
pub mod guest;
pub mod guide;
pub mod http;
pub mod machine;
pub mod netns;
pub mod skip;
pub mod wait;

pub use agent::{Agent, Launch, Output};
pub use browser::Browser;
pub use field::Field;
pub use skip::skip;
pub use wait::eventually;
