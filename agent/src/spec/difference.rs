//! What differs between two specs, field by field.
//!
//! Owns the names of fields within fields: `limits.memory`. The invariant: what is the default and is not stored is `null` here.

use serde::Serialize;
use serde_json::Value;

use super::Spec;

/// A field that two specs have different values of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its name, with those of the fields around it.
    pub field: String,
    /// What it was; `null` where it was not set.
    pub from: Value,
    /// What it would be; `null` where it would not be set.
    pub to: Value,
}

/// What differs between two specs, in the order of the names. A field that is set in neither differs in nothing.
#[must_use]
pub fn differences(from: &Spec, to: &Spec) -> Vec<Difference> {
    let json = |spec: &Spec| serde_json::to_value(spec).expect("a spec serialises");
    let mut all = Vec::new();
    compare(String::new(), &json(from), &json(to), &mut all);
    all.sort_by(|a, b| a.field.cmp(&b.field));
    all
}

/// Objects are compared by their fields, whatever else as a whole.
fn compare(field: String, from: &Value, to: &Value, all: &mut Vec<Difference>) {
    let names: Vec<&String> = [from, to].into_iter().filter_map(Value::as_object).flat_map(|it| it.keys()).collect();
    let is_leaf = |value: &Value| !(value.is_object() || value.is_null());
    if names.is_empty() || is_leaf(from) || is_leaf(to) {
        if from != to {
            all.push(Difference { field, from: from.clone(), to: to.clone() });
        }
        return;
    }
    let dot = if field.is_empty() { "" } else { "." };
    for name in names.into_iter().collect::<std::collections::BTreeSet<_>>() {
        compare(format!("{field}{dot}{name}"), &from[name], &to[name], all);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let spec = |more: Value| {
            let mut json = json!({"artifact": super::super::Digest::of(b"x").to_string()});
            json.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            Spec::from_json(&json).expect("a spec")
        };
        let from = spec(json!({"routing": "session", "config": {"a": "1", "b": "2"}, "limits": {"deadline_ms": 5}}));
        let to = spec(json!({"config": {"b": "3"}, "limits": {"deadline_ms": 7}, "latency": {"max_ms": 20}}));
        let told: Vec<String> = differences(&from, &to)
            .iter()
            .map(|Difference { field, from, to }| format!("{field}: {from} -> {to}"))
            .collect();
        assert_eq!(
            told,
            [
                "config.a: \"1\" -> null",
                "config.b: \"2\" -> \"3\"",
                "latency.max_ms: null -> 20",
                "limits.deadline_ms: 5 -> 7",
                "routing: \"session\" -> null",
            ]
        );
        assert_eq!(differences(&from, &from), []);
    }
}
