//! What an operator sets for a workload beyond its limits: names and texts that the guest reads through its import `config`.
//!
//! Owns the bounds and the checks; what the names mean is the workload's own affair. The invariant: whatever passes here fits,
//! as part of a spec, into one field of the shared state, and every entry can be written as `KEY=VALUE` on a command line.

use std::collections::BTreeMap;

use serde_json::Value;

use super::SpecError;
use super::fields::{Fields, shown};

/// Most entries: a threshold each for a large rule set, with room to spare. Tables go into one value.
pub const CONFIG_ENTRIES_MAX: usize = 256;
/// Longest name, in bytes: that of a key in the shared state is no longer.
pub const CONFIG_NAME_BYTES_MAX: usize = 256;
/// Most bytes of all names and values together, as JSON. A spec is one scalar of the shared state, of at most 64 KiB, and what
/// else a spec may hold needs less than 16 of them.
pub const CONFIG_BYTES_MAX: usize = 48 * 1024;

/// A workload's configuration, by name.
pub type Config = BTreeMap<String, String>;

/// Reads the field `config` of a spec; empty when it is left out.
pub(super) fn read(spec: &Fields<'_>) -> Result<Config, SpecError> {
    let Some(json) = spec.object("config") else { return Ok(Config::new()) };
    let Value::Object(entries) = json else { return Err(spec.wrong_type("config", "an object of texts", json)) };
    if entries.len() > CONFIG_ENTRIES_MAX {
        return Err(spec.invalid("config", format_args!("at most {CONFIG_ENTRIES_MAX} entries")));
    }
    if json.to_string().len() > CONFIG_BYTES_MAX {
        return Err(
            spec.invalid("config", format_args!("at most {CONFIG_BYTES_MAX} bytes as JSON, all entries together"))
        );
    }
    let read = |(name, value): (&String, &Value)| {
        let field = format!("config.{}", shown(name));
        if !is_name(name) {
            let why = format_args!("a name has 1 to {CONFIG_NAME_BYTES_MAX} bytes, without `=` and control characters");
            return Err(spec.invalid(&field, why));
        }
        match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(spec.wrong_type(&field, "text (numbers too are written as text)", value)),
        }
    };
    entries.iter().map(read).collect()
}

fn is_name(name: &str) -> bool {
    (1..=CONFIG_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(|c: char| c == '=' || c.is_control())
}
