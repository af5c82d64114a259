//! `drain`: has an agent hand over what it runs, and waits until it has.
//!
//! Asks and tells; what is handed over, and when, the agent decides. The invariant: exit code 0 after `--wait` means that nothing runs there
//! any more.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::args::DrainArgs;
use super::client::Client;
use super::connection::Ask;
use super::error::CliError;
use super::output::{cell, note, print_either};

/// How often it is looked whether anything still runs there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Empties an agent, or has it take part again.
///
/// # Errors
/// No agent answers, it cannot keep it, or with `--wait` something still runs there.
pub(crate) async fn drain(args: &DrainArgs, client: &mut Client) -> Result<(), CliError> {
    let begun = client.json(Ask::post("/v1/drain", &json!({"off": args.off}))).await?;
    let json = match args.wait {
        Some(patience) => await_empty(begun, patience, client).await?,
        None => begun,
    };
    print_either(args.client.json, &json, |json| said(json, args.wait.is_some()))
}

/// Asks again until nothing is left, and tells whenever something else is.
async fn await_empty(mut json: Value, patience: Duration, client: &mut Client) -> Result<Value, CliError> {
    let deadline = Instant::now() + patience;
    let mut told = Vec::new();
    loop {
        if json["draining"] == false {
            let error =
                CliError::Failed("somebody has ended the draining meanwhile: `selvedge drain --off`".to_owned());
            return Err(error.after("some of what ran there may run elsewhere now"));
        }
        let left = remaining(&json);
        if left.is_empty() {
            return Ok(json);
        }
        if Instant::now() >= deadline {
            let what = format!("{}\n{} still here", left.join("\n"), plural(left.len()));
            let error = CliError::NotInTime { what, after: patience };
            return Err(error.after("it drains, and goes on with that; `selvedge drain --off` ends it"));
        }
        news(&left, &mut told).for_each(|line| note(line));
        tokio::time::sleep(LOOK_EVERY).await;
        json = client.json(Ask::get("/v1/drain")).await?;
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "1 workload".to_owned() } else { format!("{count} workloads") }
}

/// The lines that say something else of their workload than was told before. Times that run down are no news.
fn news<'a>(left: &'a [String], told: &mut Vec<String>) -> impl Iterator<Item = &'a String> {
    let gist = |line: &String| {
        let words = line.split([';', '(']).next().unwrap_or_default();
        words.split(" in ").next().unwrap_or_default().to_owned()
    };
    let before = std::mem::replace(told, left.iter().map(gist).collect());
    left.iter().filter(move |line| !before.contains(&gist(line)))
}

/// What still runs there, a line each.
fn remaining(json: &Value) -> Vec<String> {
    let line = |one: &Value| format!("{}: {}", cell(one, "/workload"), cell(one, "/reason"));
    json["remaining"].as_array().into_iter().flatten().map(line).collect()
}

fn said(json: &Value, has_waited: bool) -> String {
    if json["draining"] == false {
        return "it takes part again".to_owned();
    }
    let left = remaining(json);
    let mut lines = vec![match (has_waited, left.is_empty()) {
        (true, true) => "drained: nothing runs here any more".to_owned(),
        (_, true) => "draining: it takes no new workloads, and nothing runs here".to_owned(),
        (_, false) => format!(
            "draining: it takes no new workloads and hands over {}; `selvedge drain --wait` waits for that",
            plural(left.len())
        ),
    }];
    let stays = json["remaining"].as_array().into_iter().flatten().filter(|one| one["stays"] == true);
    lines.extend(stays.map(|one| format!("  {} stays: {}", cell(one, "/workload"), cell(one, "/reason"))));
    lines.push("`selvedge drain --off` ends that".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_told_again() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let mut told = Vec::new();
        let mut look = |left: &[&str]| news(&lines(left), &mut told).cloned().collect::<Vec<_>>();
        assert_eq!(look(&["a: handing over: 0 of 1 others are ready", "b: draining: stops in 5s"]).len(), 2);
        assert!(look(&["a: handing over: 0 of 1 others are ready", "b: draining: stops in 4s 100ms"]).is_empty());
        assert_eq!(look(&["a: draining: stops in 5s"]), ["a: draining: stops in 5s"], "and nothing of what has gone");
    }

    #[test]
    fn what_stays_is_named_with_the_reason() {
        let json = json!({"draining": true, "since": "2026-11-30T06:00:00Z", "remaining": [
            {"workload": "combat", "phase": "ready", "reason": "kept: this host is draining", "stays": true},
            {"workload": "guess", "phase": "stopping", "reason": "draining: stops in 2s", "stays": false},
        ]});
        let text = said(&json, false);
        assert!(text.contains("hands over 2 workloads") && text.contains("combat stays: kept"), "{text}");
        assert!(!text.contains("guess stays"), "{text}");
        let empty = json!({"draining": true, "remaining": []});
        assert!(said(&empty, true).starts_with("drained"));
        assert_eq!(said(&json!({"draining": false}), false), "it takes part again");
    }
}
