//! `deploy --dry-run`: what deploying would come to. Stores and changes nothing.

use bytes::Bytes;
use serde_json::Value;

use super::readiness::{reasons, shortage};
use super::workload_path;
use crate::cli::client::Client;
use crate::cli::connection::{Ask, AskBody};
use crate::cli::error::CliError;
use crate::cli::output::{cell, print_either, printable};
use crate::cli::tables;

/// Hosts that are named of which one would be the first to try a version.
const FIRST_NAMED_MAX: usize = 4;
/// Characters that are shown of a value of the spec: two and its name fit on a line of 100.
const VALUE_CHARS_MAX: usize = 32;

/// Has the agent look at a component without keeping it, and returns what it found.
///
/// # Errors
/// It is no component, or imports what the agent does not offer.
pub(super) async fn inspect(client: &mut Client, wasm: Bytes) -> Result<Value, CliError> {
    client.json(Ask::put("/v1/artifacts?dry_run=true", AskBody::Wasm(wasm))).await
}

/// Prints what deploying `spec` would come to.
///
/// # Errors
/// The agent would refuse it, or fewer nodes qualify than are wanted; then the print is there all the same.
pub(super) async fn foresee(
    client: &mut Client,
    (name, forced): (&str, bool),
    spec: &Value,
    as_json: bool,
) -> Result<(), CliError> {
    let force = if forced { "&force=true" } else { "" };
    let path = format!("{}?dry_run=true{force}", workload_path(name));
    let foreseen = client.json(Ask::put(path, AskBody::json(spec))).await?;
    print_either(as_json, &foreseen, |foreseen| text(foreseen, spec))?;
    lacking(name, &foreseen["plan"]).map_or(Ok(()), Err)
}

/// That it would not run as often as is wanted; `None` where it would.
fn lacking(name: &str, plan: &Value) -> Option<CliError> {
    let shortage = shortage(plan)?;
    Some(CliError::Failed(format!(
        "if {name} was deployed now, {shortage}{}\n  hint: what is missing would start when a node qualifies",
        reasons(plan)
    )))
}

fn text(foreseen: &Value, spec: &Value) -> String {
    let way = match foreseen["way"].as_str() {
        Some("first") => "it would be the first of this name".to_owned(),
        Some("placement") => {
            "its instances would stay as they are; only their number, their places or how calls reach them would change"
                .to_owned()
        }
        Some("canary") => {
            format!("{} would try the new version, and the others would follow if it is no worse", first(foreseen))
        }
        Some("at_once") => "all hosts would change to the new version at once".to_owned(),
        Some("switch") => {
            "the old version would stop everywhere before the new one starts, for its state has another schema"
                .to_owned()
        }
        Some(_) | None => "how it would come is not known here".to_owned(),
    };
    let mut text = format!("nothing was changed. If it was deployed, {way}:\n") + &spec_changes(foreseen, spec);
    let changes = foreseen["changes"].as_array().map_or(&[][..], Vec::as_slice);
    if changes.is_empty() {
        text += "\n  nothing starts and nothing stops\n";
    }
    for change in changes {
        let at = |pointer: &str| cell(change, pointer);
        text += &format!("\n  {:<8}{} on {}", at("/change"), at("/workload"), at("/name"));
    }
    let ends_on: Vec<String> =
        foreseen["ends_on"].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect();
    if !ends_on.is_empty() {
        text +=
            &format!("\n\nrefused without --force: no host would be left, and it is ready on {}", ends_on.join(", "));
    }
    for broken in foreseen["breaks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text += &format!("\n\nbreaks callers: {}", printable(broken));
    }
    if let Some(why) = foreseen["unchecked"].as_str() {
        text += &format!("\n\nnot checked: {why}");
    }
    format!("{text}\n\n{}", tables::explain(&foreseen["plan"]))
}

/// Who would try a version first, as far as that is known before it has a name.
fn first(foreseen: &Value) -> String {
    let hosts: Vec<String> =
        foreseen["tries_first"].as_array().into_iter().flatten().filter_map(Value::as_str).map(printable).collect();
    match hosts.as_slice() {
        [] => "one host".to_owned(),
        [one] => one.clone(),
        [most @ .., last] if hosts.len() <= FIRST_NAMED_MAX => format!("{} or {last}", most.join(", ")),
        many => format!("one of {} hosts", many.len()),
    }
}

/// What of the spec would be another, and what that means for later versions.
fn spec_changes(foreseen: &Value, spec: &Value) -> String {
    let value = |value: &Value| match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    };
    let (mut text, mut loses) = (String::new(), false);
    for change in foreseen["spec_changes"].as_array().into_iter().flatten() {
        loses |= change["to"].is_null();
        text += &format!("\n  {}: {} -> {}", cell(change, "/field"), value(&change["from"]), value(&change["to"]));
    }
    if loses {
        text += "\n  what is set now and not given again is lost";
    }
    if let Some(schema) = spec["state_schema"].as_u64().filter(|schema| *schema > 0) {
        text += &format!("\n  from then on versions below schema {schema} are refused");
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// A value's beginning, as much as a line holds.
fn shortened(text: &str) -> String {
    let text = printable(text);
    let mut chars = text.chars();
    let beginning: String = chars.by_ref().take(VALUE_CHARS_MAX).collect();
    if chars.next().is_some() { beginning + "…" } else { beginning }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn that_too_few_qualify_is_said_and_ends_with_an_error() {
        let enough = json!({"wanted": 1, "candidates": [{"chosen": true}]});
        assert!(lacking("w", &enough).is_none());
        let none = json!({"wanted": 1, "candidates": [], "rejected": [{"name": "fra", "message": "lacks gpu"}]});
        let error = lacking("w", &none).expect("it would run nowhere");
        assert!(error.exit_code() == 1 && error.changed().is_none(), "{error:?}");
        assert!(error.to_string().contains("no node qualifies\n  fra: lacks gpu"), "{error}");
    }

    #[test]
    fn who_would_try_first_is_named_as_far_as_it_is_known() {
        let check = |hosts: &[&str], expect: &str| assert_eq!(first(&json!({"tries_first": hosts})), expect);
        check(&["fra-1"], "fra-1");
        check(&["fra-1", "fra-2", "par"], "fra-1, fra-2 or par");
        check(&["a", "b", "c", "d", "e"], "one of 5 hosts");
        assert_eq!(first(&json!({})), "one host", "an agent of an older release");
    }

    #[test]
    fn it_says_what_would_happen_and_that_nothing_did() {
        let change = |change: &str, name: &str| json!({"change": change, "workload": "w", "name": name});
        let foreseen = json!({"way": "canary", "changes": [change("replace", "fra-1"), change("stop", "par")],
            "ends_on": ["fra-1", "par"], "unchecked": "the component is not here", "plan": {"workload": "w"},
            "spec_changes": [{"field": "routing", "from": "session", "to": null},
                {"field": "config.motd", "from": "x".repeat(33), "to": "y"}]});
        let text = text(&foreseen, &json!({"state_schema": 3}));
        assert!(
            text.contains("refused without --force: no host would be left, and it is ready on fra-1, par"),
            "{text}"
        );
        let changes = format!(
            "\n  routing: session -> not set\n  config.motd: {}… -> y\n  what is set now and not given again is lost\n  from then on versions below schema 3 are refused\n",
            "x".repeat(VALUE_CHARS_MAX)
        );
        assert!(text.contains(&changes), "{text}");
        for wanted in
            ["nothing was changed", "one host would try", "replace w on fra-1", "stop    w on par", "not checked"]
        {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}
