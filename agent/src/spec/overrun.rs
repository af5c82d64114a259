//! What a workload answers in place of a call that runs out of time or finds no place.
//!
//! Owns the form and the bounds. Whether an answer fits its function only the component can tell, when it is deployed and
//! loaded. The invariant: what passes here fits, as part of a spec, into one field of the shared state.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SpecError;
use super::fields::Fields;

/// Most bytes of all default answers together, as JSON: what a configuration of full size leaves of a spec, halved.
pub const ANSWERS_BYTES_MAX: usize = 8 * 1024;

/// Default answers, by function. Calls of functions without one end in an error.
pub type OnOverrun = BTreeMap<String, Value>;

/// Reads the field `on_overrun` of a spec: `"error"`, or an object of answers by function. Empty for the first, and when it is
/// left out.
pub(super) fn read(spec: &Fields<'_>) -> Result<OnOverrun, SpecError> {
    let json = spec.object("on_overrun");
    match json {
        None => Ok(OnOverrun::new()),
        Some(Value::String(word)) if word == "error" => Ok(OnOverrun::new()),
        Some(json @ Value::Object(answers)) => {
            if json.to_string().len() > ANSWERS_BYTES_MAX {
                let why = format_args!("at most {ANSWERS_BYTES_MAX} bytes as JSON, all answers together");
                return Err(spec.invalid("on_overrun", why));
            }
            Ok(answers.iter().map(|(function, answer)| (function.clone(), answer.clone())).collect())
        }
        Some(other) => {
            Err(spec.wrong_type("on_overrun", "\"error\" or an object of default answers by function", other))
        }
    }
}
