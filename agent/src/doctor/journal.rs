//! What the journal holds of the service's last run, as far as this user may read it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// Time for the journal to answer: it searches what may be gigabytes.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lines that are looked through for the one that says why: what the agent and systemd say of one end.
const LINES: &str = "--lines=30";
/// Letters of a line that are shown.
const LETTERS_MAX: usize = 400;
/// Priorities, as syslog(3) counts them, of what is an error.
const ERROR_MAX: u8 = 3;

/// The last error that `unit` has logged in the run that systemd knows by `invocation`, or else its last line. `None` where there is no
/// journal, nothing in it, or this user may not read it.
pub(super) async fn last_words(unit: &str, invocation: &str) -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args([
        "--no-pager",
        "--quiet",
        "--boot",
        "--output=json",
        "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER",
        LINES,
    ]);
    if invocation.is_empty() {
        command.args(["--unit", unit]);
    } else {
        // What the service has said, and what systemd has said of it.
        command.args([format!("_SYSTEMD_INVOCATION_ID={invocation}"), "+".to_owned()]);
        command.arg(format!("INVOCATION_ID={invocation}"));
    }
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    choose(&String::from_utf8_lossy(&output.stdout))
}

/// Of entries in JSON, one a line and the oldest first, the one that says why: systemd itself only says that it failed.
fn choose(entries: &str) -> Option<String> {
    let read = |line: &str| {
        let entry: Value = serde_json::from_str(line).ok()?;
        // What is no text comes as a list of bytes, and is no sentence either.
        let message = entry["MESSAGE"].as_str()?.trim().to_owned();
        let priority = entry["PRIORITY"].as_str().and_then(|text| text.parse().ok()).unwrap_or(u8::MAX);
        let worth = (priority <= ERROR_MAX, entry["SYSLOG_IDENTIFIER"] != "systemd");
        (!message.is_empty()).then_some((worth, message))
    };
    // Of several that are worth as much the last.
    let (_, message) = entries.lines().filter_map(read).max_by_key(|(worth, _)| *worth)?;
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Some(line.chars().take(LETTERS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_says_why_and_else_the_last_line() {
        let line = |who: &str, priority: &str, message: &str| {
            format!("{{\"SYSLOG_IDENTIFIER\":\"{who}\",\"PRIORITY\":\"{priority}\",\"MESSAGE\":\"{message}\"}}\n")
        };
        let (early, why) = (line("selvedge", "3", "earlier"), line("selvedge", "3", "error: no\\n  hint: do"));
        let (stops, failed) =
            (line("selvedge", "6", "stopping"), line("systemd", "3", "Failed to start selvedge.service."));
        assert_eq!(choose(&(early + &why + &stops + &failed)).as_deref(), Some("error: no hint: do"));
        assert_eq!(choose(&(stops + &failed)).as_deref(), Some("Failed to start selvedge.service."));
        let bytes = "{\"PRIORITY\":\"3\",\"MESSAGE\":[255,254]}\n";
        assert_eq!(choose(&(bytes.to_owned() + "nonsense\n" + &line("selvedge", "6", "  "))), None);
    }
}
