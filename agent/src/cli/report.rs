//! A failed command's last words on stderr: for people, or with `--json` as the problem object that the API answers with too.
//!
//! Owns the one place where a command says whether it changed anything; the texts are the errors' own. The invariant: a command
//! that changes something never fails without saying whether it did.

use serde_json::{Value, json};

use super::error::{CliError, HINT};
use super::output::{pretty, printable};

/// What the command of this name says that failed.
#[must_use]
pub(crate) fn text(error: &CliError, command: &str, is_change: bool) -> String {
    let silent = is_change && error.changed().is_none();
    let text = error.to_string();
    let usage = usage_hint(error, command, &text).map_or_else(String::new, |hint| format!("{HINT}{hint}"));
    let text: String = text.split('\n').map(printable).collect::<Vec<_>>().join("\n");
    format!("error: {text}{usage}{}", if silent { "\n  nothing was changed" } else { "" })
}

/// The same for the journal, which keeps each line for itself: in one, and marked as an error (sd-daemon(3)), so that whoever looks for
/// errors finds it.
#[must_use]
pub(crate) fn entry(error: &CliError, command: &str) -> String {
    let text = text(error, command, false);
    format!("<3>{}", text.lines().map(str::trim).collect::<Vec<_>>().join("; "))
}

/// What is advised to whoever got the words wrong, unless the error itself says what is right.
fn usage_hint(error: &CliError, command: &str, text: &str) -> Option<String> {
    let is_usage = matches!(error.root(), CliError::Usage(_)) && !text.contains(HINT);
    is_usage.then(|| format!("`selvedge {command} --help` shows what it takes"))
}

/// The same for scripts: `{"error": {"code", "message", "field", "hint", "changed"}}`, where `changed` is false or a text.
#[must_use]
pub(crate) fn json(error: &CliError, command: &str) -> String {
    pretty(&document(error, command))
}

/// The problem object.
#[must_use]
pub(crate) fn document(error: &CliError, command: &str) -> Value {
    let changed = error.changed().map_or(Value::Bool(false), |what| Value::String(what.into_owned()));
    let (message, field, hint) = match error.root() {
        CliError::Refused(problem) => (problem.message.clone(), problem.field.clone(), problem.hint.clone()),
        other => {
            let text = other.to_string();
            match text.split_once(HINT) {
                Some((message, hint)) => (message.to_owned(), None, Some(hint.to_owned())),
                None => {
                    let hint = usage_hint(other, command, &text);
                    (text, None, hint)
                }
            }
        }
    };
    let error = json!({"code": error.code(), "message": message, "field": field, "hint": hint, "changed": changed});
    json!({ "error": error })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::error::Problem;
    use super::*;

    fn check(error: &CliError, text: &str, json: &Value) {
        assert_eq!(self::text(error, "deploy", true), text);
        let told: Value = serde_json::from_str(&self::json(error, "deploy")).expect("JSON");
        assert_eq!(told["error"], *json);
    }

    #[test]
    fn a_change_that_failed_says_whether_it_changed_anything() {
        check(
            &CliError::Usage("--config x: expected KEY=VALUE\n  hint: as in a=b".to_owned()),
            "error: --config x: expected KEY=VALUE\n  hint: as in a=b\n  nothing was changed",
            &json!({"code": "usage", "message": "--config x: expected KEY=VALUE", "field": null, "hint": "as in a=b", "changed": false}),
        );
        let refused = br#"{"error":{"code":"bad_spec","message":"no","field":"limits","hint":null,"changed":false}}"#;
        check(
            &CliError::Refused(Box::new(Problem::from_answer(422, refused))),
            "error: no (bad_spec)\n  field: limits\n  nothing was changed",
            &json!({"code": "bad_spec", "message": "no", "field": "limits", "hint": null, "changed": false}),
        );
        let halfway = br#"{"error":{"code":"no_answer","message":"slow","changed":"perhaps"}}"#;
        check(
            &CliError::Refused(Box::new(Problem::from_answer(504, halfway))),
            "error: slow (no_answer)\n  changed nevertheless: perhaps",
            &json!({"code": "no_answer", "message": "slow", "field": null, "hint": null, "changed": "perhaps"}),
        );
        let late = CliError::TimedOut { what: "w to run".to_owned(), after: Duration::from_secs(1) };
        check(
            &late.after("the spec of w is stored"),
            "error: no answer within 1s while waiting for w to run\n  hint: raise --timeout; the agent may still finish it\n  changed \
             nevertheless: the spec of w is stored",
            &json!({"code": "timed_out", "message": "no answer within 1s while waiting for w to run", "field": null,
                    "hint": "raise --timeout; the agent may still finish it", "changed": "the spec of w is stored"}),
        );
    }

    #[test]
    fn what_others_wrote_does_not_move_the_cursor() {
        let evil = CliError::Failed("fra-1: a\u{1b}[2Jb\n  hint: look".to_owned());
        assert_eq!(text(&evil, "deploy", false), "error: fra-1: a\u{fffd}[2Jb\n  hint: look");
    }

    #[test]
    fn the_journal_gets_one_line() {
        let error = CliError::Failed(format!("no room{HINT}make some"));
        assert_eq!(entry(&error, "run"), "<3>error: no room; hint: make some");
    }

    #[test]
    fn who_only_looks_is_not_told_that_nothing_changed() {
        let away = CliError::Failed("x".to_owned());
        assert_eq!(text(&away, "status", false), "error: x");
    }

    #[test]
    fn help_is_advised_by_the_commands_name_and_only_where_it_helps() {
        let wrong = CliError::Usage("\"kills\" is no key".to_owned());
        assert_eq!(
            text(&wrong, "get", false),
            "error: \"kills\" is no key\n  hint: `selvedge get --help` shows what it takes"
        );
        let broken = CliError::Unusable("call.json cannot be read: No such file".to_owned());
        assert_eq!(text(&broken, "replay", false), "error: call.json cannot be read: No such file");
        assert_eq!(broken.exit_code(), 2);
    }
}
