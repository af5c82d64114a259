//! How deployments go on, in a few words.

use serde_json::Value;

use crate::cli::output::printable;

/// The stage of a rollout that is on, or was taken back; `None` where there is nothing to say. `name_of` tells a host's name by its id.
#[must_use]
pub(crate) fn stage(rollout: &Value, name_of: impl Fn(&str) -> String) -> Option<String> {
    let number = |field: &str| rollout[field].as_u64().unwrap_or_default();
    let names = |field: &str| -> Vec<String> {
        rollout[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(&name_of).collect()
    };
    Some(match rollout["stage"].as_str()? {
        "canary" => {
            let seconds = number("remaining_ms").div_ceil(1_000);
            let canary = rollout["canary"].as_str().map(&name_of).unwrap_or_default();
            let (calls, wanted) = (number("calls"), number("calls_wanted"));
            let left = if seconds == 0 && calls < wanted {
                format!("{calls} of {wanted} calls, at the latest in {} s", number("latest_ms").div_ceil(1_000))
            } else {
                format!("{calls} calls, {seconds} s to go")
            };
            format!("{canary} tries the new version: {left}")
        }
        "following" => {
            let behind = names("behind");
            let passed =
                if behind.is_empty() { String::new() } else { format!("; not waiting for {}", behind.join(", ")) };
            format!("the others follow: {} of {} serve the new version{passed}", number("done"), number("of"))
        }
        "switching" => {
            let hosts = names("old_on");
            let on = if hosts.is_empty() { String::new() } else { format!(", on {}", hosts.join(", ")) };
            format!("the old version stops first: {} instances to go{on}", number("old"))
        }
        "nowhere" => "no node qualifies for the new version".to_owned(),
        "pending" => "the new version has not begun".to_owned(),
        "fenced" => format!("does not run: {}", rollout["reason"].as_str().unwrap_or("no reason given")),
        "rolled_back" => format!("rolled back: {}", rollout["reason"].as_str().unwrap_or("no reason given")),
        _ => return None,
    })
}

/// A line for each workload of a list whose rollout has something to say. `name_of` tells a host's name by its id.
#[must_use]
pub(super) fn lines(workloads: &[Value], name_of: impl Fn(&str) -> String) -> String {
    let line = |workload: &Value| {
        let text = stage(&workload["rollout"], &name_of)?;
        Some(format!("\n{}: {}", workload["name"].as_str().unwrap_or("?"), text))
    };
    printable_lines(&workloads.iter().filter_map(line).collect::<String>())
}

fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stage_reads_in_a_few_words() {
        let stage = |rollout: &Value| stage(rollout, |id| format!("fra-{id}"));
        let canary = json!({"stage": "canary", "canary": "1", "calls": 7, "remaining_ms": 1_200});
        assert_eq!(stage(&canary).as_deref(), Some("fra-1 tries the new version: 7 calls, 2 s to go"));
        let quiet = json!({"stage": "canary", "canary": "1", "calls": 402, "calls_wanted": 500, "remaining_ms": 0, "latest_ms": 9_001});
        let wanted = "fra-1 tries the new version: 402 of 500 calls, at the latest in 10 s";
        assert_eq!(stage(&quiet).as_deref(), Some(wanted));
        let following = json!({"stage": "following", "done": 1, "of": 3});
        assert_eq!(stage(&following).as_deref(), Some("the others follow: 1 of 3 serve the new version"));
        let behind = json!({"stage": "following", "done": 1, "of": 3, "behind": ["2", "3"]});
        assert!(stage(&behind).is_some_and(|text| text.ends_with("new version; not waiting for fra-2, fra-3")));
        let switching = json!({"stage": "switching", "old": 2, "old_on": ["2", "3"]});
        assert_eq!(
            stage(&switching).as_deref(),
            Some("the old version stops first: 2 instances to go, on fra-2, fra-3")
        );
        for none in [json!(null), json!({"stage": "done"}), json!({"stage": "of a newer release"})] {
            assert_eq!(stage(&none), None);
        }
        let fenced = json!({"stage": "fenced", "reason": "the state is newer"});
        assert_eq!(stage(&fenced).as_deref(), Some("does not run: the state is newer"));
        let list =
            [json!({"name": "combat", "rollout": {"stage": "rolled_back", "reason": "it\u{1b}trapped"}}), json!({})];
        assert_eq!(lines(&list, str::to_owned), "\ncombat: rolled back: it\u{fffd}trapped");
    }
}
