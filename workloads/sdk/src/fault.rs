//! The caller's fault, as a value.
//!
//! Owns the type that rules return when an argument breaks them; the host's answer to the caller is made from it.
//! The invariant: raising one never returns, so nothing of the call is committed.

/// An argument that breaks a rule of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path from the parameters on, as JSON callers write it: `duels[3].a.focus`.
    pub field: String,
    /// What would be right.
    pub message: String,
}

impl Fault {
    /// A fault at `field`; `message` says what would be right.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// Ends the call with this fault.
    #[cfg(target_family = "wasm")]
    pub fn raise(&self) -> ! {
        crate::bindings::selvedge::workload::fault::invalid(&self.field, &self.message);
        unreachable!("the host ends the call inside the import");
    }

    /// Ends the call with this fault: [`TestHost::call`](crate::TestHost::call) answers with it.
    #[cfg(not(target_family = "wasm"))]
    pub fn raise(&self) -> ! {
        crate::testing::raise(self)
    }
}
