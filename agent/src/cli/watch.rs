//! `watch`: changes of the shared state, printed as they happen.
//!
//! Owns the reading of server-sent events, coming back after a broken connection, and how a change is shown. The invariant:
//! what was missed is said; silence means that nothing happened.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use selvedge_sync::replica::KeyPrefix;
use serde_json::{Value, json};

use super::address::ApiAddr;
use super::args::WatchPrefixArgs;
use super::client::{PATIENCE_DEFAULT, explain};
use super::connection::{Ask, Connection, segment};
use super::error::{CliError, EXIT_DONE, Problem};
use super::output::{note, print, printable};

/// Silence after which a connection counts as broken: the agent says something every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Pause before the first attempt to come back; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Bytes of one event at most; the agent bounds what it puts into one to a fraction of that.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Statuses of an agent that may well answer a little later.
const LATER: [u16; 3] = [429, 503, 504];

/// Prints changes until interrupted.
///
/// # Errors
/// The prefix is none, no agent answers at the first attempt, or the agent refuses.
pub(crate) async fn watch(args: &WatchPrefixArgs, addr: ApiAddr) -> Result<u8, CliError> {
    let wrong = |error| CliError::Usage(format!("{:?} is no beginning of a key: {error}", args.prefix));
    let prefix: KeyPrefix = args.prefix.parse().map_err(wrong)?;
    let path = format!("/v1/events?prefix={}", segment(prefix.as_str()));
    let patience = args.client.timeout.unwrap_or(PATIENCE_DEFAULT);
    let watching = Watching { addr, ask: Ask::get(path), patience, json: args.client.json };
    tokio::select! {
        ended = watching.run() => ended.map(|never| match never {}),
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Ok(EXIT_DONE),
            Err(error) => Err(CliError::Failed(format!("the operating system delivers no signals: {error}"))),
        },
    }
}

struct Watching {
    addr: ApiAddr,
    ask: Ask,
    patience: Duration,
    json: bool,
}

/// Nothing of this kind can be: a watch only ends by an error or an interruption.
enum Never {}

impl Watching {
    async fn run(&self) -> Result<Never, CliError> {
        let mut last_id = None;
        let mut body = self.begin(None).await?;
        loop {
            let reason = self.follow(body, &mut last_id).await?;
            note(&format!("note: {reason}; reconnecting to {}", self.addr));
            body = self.come_back(last_id.as_deref()).await?;
            note("note: connected again");
        }
    }

    async fn begin(&self, last_id: Option<&str>) -> Result<Incoming, CliError> {
        let beginning = async {
            let connection = Connection::open(&self.addr, None).await?;
            connection.stream(&self.ask, last_id).await
        };
        let begun = tokio::time::timeout(self.patience, beginning).await;
        let what = || format!("{} {}", self.ask.method, self.ask.path);
        let begun = begun.map_err(|_| CliError::TimedOut { what: what(), after: self.patience })?;
        match begun.map_err(|error| explain(&self.addr, &self.ask, error))? {
            Ok(body) => Ok(body),
            Err(refusal) => Err(CliError::Refused(Box::new(Problem::from_answer(refusal.status, &refusal.body)))),
        }
    }

    /// Tries again until the agent answers. An agent that refuses for good ends it.
    async fn come_back(&self, last_id: Option<&str>) -> Result<Incoming, CliError> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.begin(last_id).await {
                Ok(body) => return Ok(body),
                Err(CliError::Refused(problem)) if !LATER.contains(&problem.status) => {
                    return Err(CliError::Refused(problem));
                }
                Err(
                    error @ (CliError::Usage(_) | CliError::Unusable(_) | CliError::Output(_) | CliError::Interrupted),
                ) => return Err(error),
                Err(
                    CliError::Unreachable { .. }
                    | CliError::Forbidden { .. }
                    | CliError::TimedOut { .. }
                    | CliError::NotInTime { .. }
                    | CliError::Refused(_)
                    | CliError::BadAnswer { .. }
                    | CliError::Failed(_)
                    | CliError::After { .. },
                ) => tokio::time::sleep(pause).await,
            }
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Prints what comes, until nothing comes any more; returns why.
    async fn follow(&self, mut body: Incoming, last_id: &mut Option<String>) -> Result<String, CliError> {
        let mut events = Events::default();
        loop {
            let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
                Err(_) => return Ok(format!("the agent has been silent for {} s", SILENCE_MAX.as_secs())),
                Ok(None) => return Ok("the agent has closed the connection".to_owned()),
                Ok(Some(Err(error))) => return Ok(format!("the connection broke: {error}")),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            for event in events.take(&data).map_err(|reason| self.bad(reason))? {
                self.show(&event)?;
                *last_id = event.id.or_else(|| last_id.take());
            }
        }
    }

    fn bad(&self, reason: &str) -> CliError {
        let (what, api) = (self.ask.path.clone(), self.addr.to_string());
        CliError::BadAnswer { what, reason: reason.to_owned(), api }
    }

    fn show(&self, event: &Event) -> Result<(), CliError> {
        if event.data.is_empty() {
            return Ok(());
        }
        let data: Value = serde_json::from_str(&event.data).map_err(|_| self.bad("an event is no JSON"))?;
        match event.kind.as_str() {
            "commit" => {
                for line in changes(&data, event.id.as_deref(), self.json) {
                    print(&line)?;
                }
                Ok(())
            }
            "reset" => {
                let reason = data["reason"].as_str().unwrap_or("for a reason that it does not give");
                note(&format!("note: some changes were missed: {}", printable(reason)));
                if self.json {
                    print(&json!({"event": "reset", "id": event.id, "reason": reason}).to_string())?;
                }
                Ok(())
            }
            // Lagged: the agent closes, and we come back. Kinds of a later version are none of our business.
            _ => Ok(()),
        }
    }
}

/// One line for each key that changed.
fn changes(data: &Value, id: Option<&str>, as_json: bool) -> Vec<String> {
    let line = |key: &Value| {
        let name = key.as_str().unwrap_or_default();
        let value = data["values"].get(name);
        if as_json {
            let mut line = json!({
                "event": "commit", "id": id, "key": key,
                "replica": data["replica"], "seq": data["seq"], "hlc": data["hlc"],
            });
            if let Some(value) = value {
                line["value"] = value.clone();
            }
            return line.to_string();
        }
        let value = value.map_or_else(|| format!("(large; see `selvedge get {name}`)"), Value::to_string);
        printable(&format!("{name} {value}"))
    };
    data["keys"].as_array().into_iter().flatten().map(line).collect()
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<String>,
    kind: String,
    data: String,
}

/// The events in a stream of bytes, however those are cut.
#[derive(Debug, Default)]
struct Events {
    line: Vec<u8>,
    event: Event,
}

impl Events {
    /// The events that are complete with these bytes. One without data only says how far we have heard.
    fn take(&mut self, bytes: &Bytes) -> Result<Vec<Event>, &'static str> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.event.data.len() + piece.len() > EVENT_BYTES_MAX {
                return Err("an event is too large");
            }
            self.line.extend_from_slice(piece);
            if self.line.last() != Some(&b'\n') {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match std::str::from_utf8(&line).map_err(|_| "an event is no text")?.trim_end_matches(['\r', '\n']) {
                "" => complete.push(std::mem::take(&mut self.event)),
                line => self.field(line),
            }
        }
        Ok(complete)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, and what a later version may add.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
