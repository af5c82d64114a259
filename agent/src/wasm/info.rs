//! What a component says of itself: its imports, and the functions that can be called.

use std::fmt;

/// What a component offers and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The functions that can be called.
    pub exports: Vec<FunctionInfo>,
    /// The interfaces that it imports, with their versions.
    pub imports: Vec<String>,
}

/// A function of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// The interface, such as `selvedge:workload/combat@0.1.0`; empty for a function that the component exports directly.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Name (as in JSON) and type of each parameter.
    pub params: Vec<(String, String)>,
    /// The type of the result, if there is one.
    pub result: Option<String>,
}

impl fmt::Display for FunctionInfo {
    /// `interface.name(parameter: type, …) -> type`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.interface.is_empty() {
            write!(f, "{}.", self.interface)?;
        }
        let params: Vec<_> = self.params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        write!(f, "{}({})", self.name, params.join(", "))?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}
