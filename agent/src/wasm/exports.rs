//! What of a component can be called, and the search for one of its functions by name.
//!
//! Keeps no code: what a version promised to its callers outlasts the version. The invariant: a spelling that could mean several
//! functions means none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::error::CallError;
use super::lower;
use super::program::Function;

/// The functions of a component. Clones share them.
#[derive(Clone)]
pub(super) struct Exports {
    functions: Arc<[Function]>,
    names: Arc<Names>,
}

/// Which function each spelling means; those that could mean several are left out.
type Names = HashMap<String, usize>;

impl Exports {
    pub(super) fn new(functions: Vec<Function>) -> Self {
        let names = Arc::new(names(&functions));
        Self { functions: functions.into(), names }
    }

    pub(super) fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function that `wanted` names: `resolve`, `combat.resolve`, or with the interface's full name.
    pub(super) fn find(&self, wanted: &str) -> Result<&Function, CallError> {
        if let Some(number) = self.names.get(wanted) {
            return Ok(&self.functions[*number]);
        }
        let spelt = wanted.replace('_', "-");
        let mut found = self.functions.iter().filter(|function| function.answers_to(&spelt));
        let shown = |text: &str| text.chars().take(120).collect::<String>();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(CallError::UnknownFunction {
                function: shown(wanted),
                known: self.functions.iter().map(Function::short_path).collect(),
            }),
            (Some(first), Some(second)) => Err(CallError::AmbiguousFunction {
                function: shown(wanted),
                candidates: [first, second].into_iter().chain(found).map(Function::path).collect(),
            }),
        }
    }

    /// Whether one of them would have taken this call.
    pub(super) fn take(&self, function: &str, args: &Value, argument_bytes: usize) -> bool {
        self.find(function).is_ok_and(|function| lower::arguments(&function.signature, args, argument_bytes).is_ok())
    }
}

/// Every way to write a function that means no other.
fn names(functions: &[Function]) -> Names {
    let mut meanings: HashMap<String, BTreeSet<usize>> = HashMap::new();
    for function in functions {
        for path in [function.name.clone(), function.short_path(), function.path()] {
            for spelling in [path.replace('-', "_"), path] {
                meanings.entry(spelling).or_default().insert(function.number);
            }
        }
    }
    let only = |(name, numbers): (String, BTreeSet<usize>)| match (numbers.first(), numbers.len()) {
        (Some(number), 1) => Some((name, *number)),
        (Some(_) | None, _) => None,
    };
    meanings.into_iter().filter_map(only).collect()
}
