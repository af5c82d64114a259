//! `get`, `put` and `converged`: the shared state from the command line.
//!
//! Owns how words become an operation of the API; the agent decides whether it applies. The invariant: what reaches the
//! agent is an operation that the key's type has, so that a typing mistake costs no round trip.

use std::future::Future;
use std::time::Duration;

use selvedge_sync::key::{Key, Kind};
use serde_json::{Map, Value, json};

use super::args::{ConvergedArgs, GetArgs, PutArgs};
use super::client::Client;
use super::connection::{Ask, segment};
use super::error::{CliError, EXIT_DONE, EXIT_FAILED, EXIT_TIMED_OUT};
use super::output::{cell, pretty, print_either, print_shown, printable, short};
use super::progress::Progress;
use super::rows::table;
use super::tables::{resync, tail};

/// The status of an agent that did not converge in the time it was given.
const GATEWAY_TIMEOUT: u16 = 504;
/// How often is looked how far an agent has come.
const LOOK: Duration = Duration::from_millis(250);
/// Characters of a root in a table.
const ROOT_CHARS: usize = 16;

/// Prints the value of an object.
///
/// # Errors
/// The key is malformed, or the agent does not have it.
pub(crate) async fn get(args: &GetArgs, client: &mut Client) -> Result<(), CliError> {
    let json = client.json(Ask::get(path(&parse_key(&args.key)?))).await?;
    print_either(args.client.json, &json, |json| pretty(json.get("value").unwrap_or(json)))
}

/// Changes an object and prints its new value.
///
/// # Errors
/// The words are no operation of this type, or the agent refused it.
pub(crate) async fn put(args: &PutArgs, client: &mut Client) -> Result<(), CliError> {
    let key = parse_key(&args.key)?;
    let query = if args.durable { "?durable=true" } else { "" };
    let mut ask = Ask::post(format!("{}{query}", path(&key)), &operation(key.kind(), &args.operation)?);
    ask.idempotency_key.clone_from(&args.idempotency_key);
    let json = client.json(ask).await?;
    print_either(args.client.json, &json, |json| pretty(json.get("value").unwrap_or(json)))
}

/// Says whether all agents hold the same state; returns the exit code.
///
/// # Errors
/// The agent could not be asked.
pub(crate) async fn converged(args: &ConvergedArgs, client: &mut Client) -> Result<u8, CliError> {
    let wait = args.wait.unwrap_or(Duration::ZERO);
    let path = match args.wait {
        None => "/v1/convergence".to_owned(),
        Some(wait) => format!("/v1/convergence?wait={}ms", wait.as_millis()),
    };
    let ask = Ask::get(path);
    let progress = args.wait.map(|_| Progress::of("waiting until every member holds the same state"));
    let looker = client.another();
    let answer = client.answer(&ask, wait + client.patience());
    let answer = match progress {
        Some(progress) if progress.is_seen() => catching_up(looker, &progress, answer).await?,
        Some(_) | None => answer.await?,
    };
    let json = client.decode(&ask, &answer)?;
    let Some(converged) = json.get("converged").and_then(Value::as_bool) else {
        return Err(CliError::Refused(Box::new(super::error::Problem::from_answer(answer.status, &answer.body))));
    };
    print_shown(args.client.json, &json, show_convergence)?;
    Ok(match (converged, answer.status) {
        (true, _) => EXIT_DONE,
        (false, GATEWAY_TIMEOUT) => EXIT_TIMED_OUT,
        (false, _) => EXIT_FAILED,
    })
}

/// Shows how far the agent has come while `answer` is awaited: of a resync what is settled, else of the commits that were missing those that
/// are not any more.
async fn catching_up<T>(mut looker: Client, progress: &Progress, answer: impl Future<Output = T>) -> T {
    let look = async {
        let mut most = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            // An agent that is too busy to say is looked at again.
            let Ok(status) = looker.json(Ask::get("/v1/status")).await else { continue };
            if let Some((permille, what)) = caught_up(&status, &mut most) {
                progress.done(permille, what);
            }
        }
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        () = look => unreachable!("it looks until the answer is there"),
    }
}

/// How far it has come, of a thousand, and in words; `most` is the most commits that were missing so far. `None` where nothing is known to be missing.
fn caught_up(status: &Value, most: &mut u64) -> Option<(u64, String)> {
    if let Some(words) = resync(status) {
        let done = status.pointer("/state/resync/done_permille").and_then(Value::as_u64).unwrap_or(0);
        return Some((done, format!("resync: {words}")));
    }
    let peers = status["peers"].as_array().into_iter().flatten();
    let missing = peers.filter_map(|peer| peer["lag_commits"].as_u64()).max().filter(|missing| *missing > 0)?;
    *most = missing.max(*most);
    Some((
        (*most - missing) * 1_000 / *most,
        format!("{missing} of {most} commits to go between this agent and the others"),
    ))
}

fn show_convergence(json: &Value) -> String {
    let verdict = match json["converged"].as_bool() {
        Some(true) => "converged: every member holds the same state",
        Some(false) | None => "not converged",
    };
    let mut rows = table(&["node", "?id", "~status", "root", "equal", ">lag (commits)"]);
    let mut waits = String::new();
    for peer in json["peers"].as_array().into_iter().flatten() {
        let (name, id) = (cell(peer, "/name"), tail(&cell(peer, "/node")));
        if let Some(reason) = peer["reason"].as_str() {
            let verb = if peer["awaited"] == false { "is not awaited" } else { "is awaited" };
            waits += &format!("\n{} ({id}) {verb}: {}", if name.is_empty() { "?" } else { &name }, printable(reason));
        }
        rows.add_row([
            name,
            id,
            cell(peer, "/status"),
            short(&cell(peer, "/root"), ROOT_CHARS),
            cell(peer, "/root_equal"),
            cell(peer, "/lag_commits"),
        ]);
    }
    let waits = if waits.is_empty() { waits } else { format!("\n{waits}") };
    let hint = match json["converged"].as_bool() {
        Some(true) => "",
        Some(false) | None => {
            "\n\nhint: --wait 10s waits for it; `selvedge peers` shows the links to those that lag, `selvedge revoke NODE` ends the wait \
             for one that is gone for good"
        }
    };
    format!("{verdict}\nroot {}\n\n{rows}{waits}{hint}", cell(json, "/root"))
}

fn parse_key(text: &str) -> Result<Key, CliError> {
    text.parse().map_err(|error| CliError::Usage(format!("{text:?} is no key: {error}")))
}

fn path(key: &Key) -> String {
    format!("/v1/state/{}/{}", key.kind(), segment(key.name()))
}

/// The operation that `words` stand for, as the API takes it.
fn operation(kind: Kind, words: &[String]) -> Result<Value, CliError> {
    let allowed = match kind {
        Kind::GCounter => "increment N",
        Kind::PnCounter => "increment N, or decrement N",
        Kind::GSet => "add VALUE…",
        Kind::OrSet => "add VALUE…, or remove VALUE…",
        Kind::LwwMap => "put FIELD=VALUE…, or remove FIELD…",
    };
    let wrong = |why: &str| CliError::Usage(format!("{why}\n  hint: with a {kind} one can: {allowed}"));
    let Some((verb, rest)) = words.split_first() else { return Err(wrong("no operation was given")) };
    if rest.is_empty() {
        return Err(wrong(&format!("{verb:?} needs something to work on")));
    }
    match (kind, verb.as_str()) {
        (Kind::GCounter | Kind::PnCounter, "increment") | (Kind::PnCounter, "decrement") => match rest {
            [one] => match one.parse::<u64>() {
                Ok(by) => Ok(json!({ verb: by })),
                Err(_) => Err(wrong(&format!("{one:?} is no whole number from 0 up"))),
            },
            _ => Err(wrong(&format!("{verb:?} takes one number, not {}", rest.len()))),
        },
        (Kind::GSet | Kind::OrSet, "add") | (Kind::OrSet, "remove") => {
            Ok(json!({ verb: rest.iter().map(|word| value(word)).collect::<Vec<_>>() }))
        }
        (Kind::LwwMap, "remove") => Ok(json!({ verb: rest })),
        (Kind::LwwMap, "put") => {
            let mut fields = Map::new();
            for word in rest {
                let split = word.split_once('=').ok_or_else(|| wrong(&format!("{word:?} is not FIELD=VALUE")))?;
                if fields.insert(split.0.to_owned(), value(split.1)).is_some() {
                    return Err(wrong(&format!("the field {:?} is given twice", split.0)));
                }
            }
            Ok(json!({ verb: fields }))
        }
        (_, verb) => Err(wrong(&format!("a {kind} has no operation {verb:?}"))),
    }
}

/// JSON if it parses, text otherwise.
fn value(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ClientArgs;
    use crate::cli::fake::{Say, serve};

    #[test]
    fn what_was_missing_and_is_not_any_more_is_told() {
        let mut most = 0;
        let behind = |lag: u64| json!({"peers": [{"lag_commits": 3}, {"lag_commits": lag}, {"lag_commits": null}]});
        assert_eq!(
            caught_up(&behind(200), &mut most),
            Some((0, "200 of 200 commits to go between this agent and the others".into()))
        );
        assert_eq!(caught_up(&behind(50), &mut most).map(|(permille, _)| permille), Some(750));
        assert_eq!(caught_up(&json!({"peers": [{"lag_commits": 0}]}), &mut most), None);
        let resync =
            json!({"state": {"resync": {"from": "12D3", "name": "kiosk", "done_permille": 425, "objects": 7}}});
        let words = "resync: 42.5 % of the state is as kiosk has it, 7 objects taken";
        assert_eq!(caught_up(&resync, &mut most), Some((425, words.into())));
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_become_operations() {
        let check = |kind: Kind, text: &str, expect: Value| {
            assert_eq!(operation(kind, &words(text)).unwrap(), expect, "{text}");
        };
        check(Kind::GCounter, "increment 5", json!({"increment": 5}));
        check(Kind::PnCounter, "decrement 18446744073709551615", json!({"decrement": u64::MAX}));
        check(Kind::GSet, "add x", json!({"add": ["x"]}));
        check(Kind::OrSet, "add alice 5 true \"5\" -1", json!({"add": ["alice", 5, true, "5", -1]}));
        check(Kind::OrSet, "remove null", json!({"remove": [null]}));
        check(
            Kind::LwwMap,
            "put hp=5 name=x eq=a=b empty=",
            json!({"put": {"hp": 5, "name": "x", "eq": "a=b", "empty": ""}}),
        );
        check(Kind::LwwMap, "remove 5 hp", json!({"remove": ["5", "hp"]}));
    }

    #[test]
    fn other_words_are_wrong_usage_and_say_what_is_right() {
        let check = |kind: Kind, text: &str, expect: &str| {
            let error = operation(kind, &words(text)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expect), "{text}: {error}");
        };
        check(Kind::GCounter, "decrement 5", "one can: increment N");
        check(Kind::GCounter, "increment -5", "no whole number");
        check(Kind::GCounter, "increment 1.5", "no whole number");
        check(Kind::GCounter, "increment 1 2", "one number");
        check(Kind::GCounter, "increment", "needs something");
        check(Kind::GSet, "remove a", "no operation \"remove\"");
        check(Kind::LwwMap, "put hp", "not FIELD=VALUE");
        check(Kind::LwwMap, "put a=1 a=2", "twice");
    }

    #[test]
    fn keys_become_paths() {
        assert_eq!(path(&parse_key("lwwmap/player:42").unwrap()), "/v1/state/lwwmap/player:42");
        assert_eq!(path(&parse_key("orset/a/b c").unwrap()), "/v1/state/orset/a%2Fb%20c");
        assert_eq!(parse_key("counter/a").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn convergence_names_members_and_says_why_the_silent_count() {
        let json = json!({"converged": false, "root": "aa", "peers": [
            {"node": "12D3KooWAAAAAAAA", "name": "kiosk", "status": "alive", "awaited": true, "reason": null, "root": "aa",
             "root_equal": true, "lag_commits": 0},
            {"node": "12D3KooWBBBBBBBB", "name": "gate", "status": "dead", "awaited": true, "reason": "silent for 42s", "root": null,
             "root_equal": false, "lag_commits": null},
            {"node": "12D3KooWCCCCCCCC"},
        ]});
        let text = show_convergence(&json);
        for wanted in ["kiosk", "AAAAAAAA", "dead", "gate (BBBBBBBB) is awaited: silent for 42s", "CCCCCCCC"] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(!text.contains("kiosk (AAAAAAAA) is"), "nothing to explain:\n{text}");
    }

    #[tokio::test]
    async fn convergence_sets_the_exit_code() {
        let check = async |status: u16, body: Value, wait: Option<Duration>, expect: Result<u8, u8>| {
            let text = body.to_string();
            let (addr, log) = serve(move |_| Say::Answer(status, "", text.clone())).await;
            let client = ClientArgs { api: None, json: false, timeout: None };
            let args = ConvergedArgs { wait, client };
            let mut client = Client::new(addr, Duration::from_secs(5), None);
            let got = converged(&args, &mut client).await.map_err(|error| error.exit_code());
            assert_eq!(got, expect, "{status} {body}");
            let line = log.lock().unwrap()[0].line.clone();
            assert_eq!(line.ends_with("?wait=2000ms"), wait.is_some(), "{line}");
        };
        let wait = Some(Duration::from_secs(2));
        check(200, json!({"converged": true, "root": "aa", "peers": []}), None, Ok(0)).await;
        check(200, json!({"converged": false, "root": "aa", "peers": [{"node": "b"}]}), None, Ok(1)).await;
        check(504, json!({"converged": false, "root": "aa", "peers": []}), wait, Ok(4)).await;
        check(504, json!({"error": {"message": "not in time"}}), wait, Err(4)).await;
        check(503, json!({"error": {"message": "starting"}}), None, Err(1)).await;
    }
}
