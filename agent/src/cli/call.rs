//! `call`: a function of a workload from the command line.
//!
//! Owns how words become arguments; the agent checks their types. The invariant: the result on stdout is the function's,
//! unchanged.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;

use super::args::CallArgs;
use super::client::Client;
use super::connection::{Ask, segment};
use super::error::CliError;
use super::output::{pretty, print};
use crate::wasm::Recording;

/// Bytes read from stdin at most. The agent has a limit of its own, far below.
const STDIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Calls the function and prints its result as JSON.
///
/// # Errors
/// The arguments are no JSON, or the agent or the workload refused them.
pub(crate) async fn call(args: &CallArgs, client: &mut Client) -> Result<(), CliError> {
    let arguments = match args.arguments.as_slice() {
        [one] if one == "-" => from_text(&read_stdin()?)?,
        words => Value::Array(words.iter().enumerate().map(|(i, word)| argument(i, word)).collect::<Result<_, _>>()?),
    };
    let path = call_path(&args.name, &args.function);
    let path = if args.record.is_some() { format!("{path}?record=true") } else { path };
    let mut ask = Ask::post(path, &arguments);
    ask.idempotency_key.clone_from(&args.idempotency_key);
    ask.headers = headers(args);
    let result = match &args.record {
        None => client.json(ask).await?,
        Some(file) => recorded(file, &ask, client).await?,
    };
    print(&pretty(&result))
}

/// Makes the call, keeps its recording in `file`, also of one that fails, and returns its result. Nothing is called when there is no place for it.
async fn recorded(file: &Path, ask: &Ask, client: &mut Client) -> Result<Value, CliError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let no_place = |error: &std::io::Error| format!("{} cannot be written: {error}", file.display());
    let unfinished = tempfile::NamedTempFile::new_in(folder).map_err(|error| CliError::Unusable(no_place(&error)))?;
    let keep = move |bytes: &[u8]| {
        let mut unfinished = unfinished;
        unfinished.write_all(bytes)?;
        unfinished.persist(file).map(drop).map_err(|error| error.error)
    };
    let answer = client.answer(ask, client.patience()).await?;
    if !answer.is_success() {
        let mut problem = client.problem(ask, &answer).await;
        let recording = problem.recording.take();
        let kept = recording.is_some_and(|recording| keep(recording.as_bytes()).is_ok());
        return Err(CliError::Refused(Box::new(if kept { problem.hinting(&replay_hint(file)) } else { problem })));
    }
    let recording = Recording::decode(&answer.body).map_err(|error| client.bad_answer(ask, error.to_string()))?;
    keep(&answer.body).map_err(|error| {
        let wrote = recording.commit.as_ref().map(|commit| format!("what the call wrote is commit {commit}"));
        CliError::Failed(no_place(&error))
            .after(wrote.unwrap_or_else(|| "the call was made, and wrote nothing".to_owned()))
    })?;
    Ok(recording.result)
}

fn replay_hint(file: &Path) -> String {
    format!("the call that failed is recorded: selvedge replay {}", file.display())
}

/// What is said of the call beside its arguments.
fn headers(args: &CallArgs) -> Vec<(&'static str, String)> {
    let deadline = args.deadline.map(|deadline| ("Selvedge-Deadline-Ms", deadline.as_millis().to_string()));
    let session = args.session.clone().map(|session| ("Selvedge-Session", session));
    let region = args.region.clone().map(|region| ("Selvedge-Region", region));
    [deadline, session, region].into_iter().flatten().collect()
}

/// The route of a function.
#[must_use]
pub(crate) fn call_path(name: &str, function: &str) -> String {
    format!("/v1/workloads/{}/call/{}", segment(name), segment(function))
}

/// JSON, or plain text. What was clearly meant as JSON and is none is not passed on as text: the workload would only say
/// that it wants a list.
pub(crate) fn argument(index: usize, word: &str) -> Result<Value, CliError> {
    match serde_json::from_str(word) {
        Ok(json) => Ok(json),
        Err(error) if word.starts_with(['[', '{', '"']) => {
            Err(CliError::Usage(format!("argument {} is no JSON: {error}", index + 1)))
        }
        Err(_) => Ok(Value::String(word.to_owned())),
    }
}

fn from_text(text: &str) -> Result<Value, CliError> {
    let json = serde_json::from_str(text).map_err(|error| CliError::Unusable(format!("stdin is no JSON: {error}")))?;
    match json {
        Value::Array(_) | Value::Object(_) => Ok(json),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(CliError::Usage(
            "stdin must hold the arguments as a JSON array in order, or as an object by parameter name".to_owned(),
        )),
    }
}

fn read_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() as u64 <= STDIN_BYTES_MAX => Ok(text),
        Ok(_) => Err(CliError::Unusable(format!("stdin holds more than {STDIN_BYTES_MAX} bytes"))),
        Err(error) => Err(CliError::Unusable(format!("stdin cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_become_arguments() {
        let check = |word: &str, expect: Value| assert_eq!(argument(0, word).unwrap(), expect, "{word}");
        check("[1,2]", json!([1, 2]));
        check("-5", json!(-5));
        check("hello", json!("hello"));
        check("\"5\"", json!("5"));
        check("hello world", json!("hello world"));
        for word in ["[1,", "{a:1}", "\"x"] {
            let error = argument(1, word).unwrap_err();
            assert!(error.to_string().starts_with("argument 2 is no JSON"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn stdin_holds_all_arguments() {
        assert_eq!(from_text("[[]]").unwrap(), json!([[]]));
        assert_eq!(from_text(" {\"duels\": []}\n").unwrap(), json!({"duels": []}));
        for text in ["", "5", "null", "[", "[] []"] {
            assert_eq!(from_text(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(call_path("combat", "resolve"), "/v1/workloads/combat/call/resolve");
        assert_eq!(call_path("a/b", "c d"), "/v1/workloads/a%2Fb/call/c%20d");
    }
}
