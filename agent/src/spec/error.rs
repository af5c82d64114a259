//! What can be wrong with a spec, always by the full name of the field.

/// Why a spec was refused. Always the sender's fault; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field without a default was left out.
    #[error("`{field}` is missing")]
    Missing {
        /// Full name of the field.
        field: String,
    },
    /// A field that no spec has, most often a misspelt one.
    #[error("`{field}` is no field of a workload's spec; known here: {known}")]
    Unknown {
        /// Full name of the field.
        field: String,
        /// The fields that are known at its place.
        known: String,
    },
    /// A value of the wrong JSON type.
    #[error("{}expected {expected}, got {got}", prefix(field))]
    Type {
        /// Full name of the field; empty for the spec as a whole.
        field: String,
        /// What would have been right.
        expected: &'static str,
        /// The JSON type that came.
        got: &'static str,
    },
    /// A number outside its bounds.
    #[error("`{field}` must be {min} to {max}, got {got}")]
    Range {
        /// Full name of the field.
        field: String,
        /// Least allowed value.
        min: u64,
        /// Greatest allowed value.
        max: u64,
        /// The value that came.
        got: u64,
    },
    /// A value of the right type that means nothing here.
    #[error("`{field}`: {reason}")]
    Invalid {
        /// Full name of the field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SpecError {
    /// Full name of the field at fault, such as `limits.memory`; empty when the spec as a whole is.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Missing { field }
            | Self::Unknown { field, .. }
            | Self::Type { field, .. }
            | Self::Range { field, .. }
            | Self::Invalid { field, .. } => field,
        }
    }
}

fn prefix(field: &str) -> String {
    if field.is_empty() { "a workload's spec: ".to_owned() } else { format!("`{field}`: ") }
}
