//! Chat moderation in WebAssembly, against matching a list natively: bytes of text a second.
//!
//! Ours is the shipped component, called through a bare wasmtime with all that a call costs there: the texts go in through
//! the component model, verdicts with spans come out, offences go to a stub of the state. It is called in both of its ways: `screen`
//! takes a batch as one text and answers what is not allowed, `moderate` takes and answers each message by itself. The peer is the automaton of the
//! `aho-corasick` crate as a DFA, ASCII case aside, with the first 1,000 entries of the same lists: it finds those and nothing
//! else, and knows no disguise and no probability. Both read the same messages, one by one, in batches of a call.
//!
//! The messages are those of the public data, which is not in the repository: it lies in `../shared/data` beside it, or where
//! `SELVEDGE_DATA` says.

mod component;

use std::path::PathBuf;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use anyhow::{Context, Result, ensure};

use self::component::{Chat, Line, Message};
use crate::report::{Goal, Row};
use crate::sample::{Pair, Spread, seconds};

const NAME: &str = "chat";
const ROUNDS: usize = 41;
/// Messages of one call.
const BATCH: usize = 256;
/// Batches measured at once.
const BATCHES: usize = 40;
/// Patterns of the peer.
const PATTERNS: usize = 1_000;
/// Ours over the peer's, in bytes a second.
const GOAL: f64 = 0.4;

pub(crate) fn run() -> Result<Vec<Row>> {
    let messages = messages()?;
    let joined: Vec<_> = messages.chunks(4).map(|lines| lines.join(" ")).collect();
    Ok(vec![
        measure("messages as they are sent, `screen`", &messages, screen, Goal::AtLeast(GOAL))?,
        measure("messages as they are sent, `moderate`", &messages, moderate, Goal::Told)?,
        measure("messages four times as long, `screen`", &joined, screen, Goal::Told)?,
    ])
}

/// A batch in both shapes.
struct Batch {
    messages: Vec<Message>,
    text: String,
    lines: Vec<Line>,
}

fn moderate(chat: &mut Chat, batch: &Batch) -> Result<usize> {
    chat.moderate(&batch.messages)
}

fn screen(chat: &mut Chat, batch: &Batch) -> Result<usize> {
    chat.screen(&batch.text, &batch.lines)
}

fn batch(messages: Vec<Message>) -> Batch {
    let mut batch = Batch { messages, text: String::new(), lines: Vec::new() };
    for Message { player, text } in &batch.messages {
        batch.text.push_str(text);
        let end = u32::try_from(batch.text.len()).expect("a call is bounded");
        batch.lines.push(Line { player: *player, end });
    }
    batch
}

fn measure(what: &str, messages: &[String], call: fn(&mut Chat, &Batch) -> Result<usize>, goal: Goal) -> Result<Row> {
    let mut chat = Chat::new()?;
    let peer = AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .ascii_case_insensitive(true)
        .build(patterns())
        .context("a thousand words make an automaton")?;
    let batches: Vec<Batch> = (0..BATCHES)
        .map(|batch| (0..BATCH).map(move |at| &messages[(batch * BATCH + at) % messages.len()]).cloned())
        .map(|texts| texts.enumerate().map(|(player, text)| Message { player: player as u64 % 100, text }).collect())
        .map(batch)
        .collect();
    let texts = || batches.iter().flat_map(|batch| &batch.messages).map(|message| &message.text);
    let bytes = texts().map(String::len).sum::<usize>() as f64;
    let mut pair = Pair::default();
    let (mut toxic, mut hits) = (0, 0);
    for round in 0..ROUNDS {
        let (ours, found) = seconds(|| batches.iter().map(|batch| call(&mut chat, batch)).sum::<Result<usize>>());
        toxic = found?;
        let (theirs, found) = seconds(|| texts().map(|text| peer.find_iter(text).count()).sum::<usize>());
        hits = found;
        pair.note(round, bytes / ours / 1e6, bytes / theirs / 1e6);
    }
    ensure!(toxic > 0 && hits > 0, "nothing was found");
    let count = (BATCH * BATCHES) as f64;
    Ok(Row::ratio(NAME, what, &pair, "aho-corasick DFA, native", "MB/s").goal(goal).note(format!(
        "{:.0} bytes a message; {:.0} ns a message; {:.0} % not allowed; {hits} hits of the peer",
        bytes / count,
        bytes / count * 1e3 / Spread::of(&pair.ours).median,
        100.0 * toxic as f64 / count,
    )))
}

/// The second of three columns, which may hold commas.
fn messages() -> Result<Vec<String>> {
    let folder = std::env::var_os("SELVEDGE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let file = folder.join("chat/conda_train.csv");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{}: no chat; SELVEDGE_DATA says where it lies", file.display()))?;
    let column = |line: &str| Some(line.split_once(',')?.1.rsplit_once(',')?.0.trim_matches('"').to_owned());
    let messages: Vec<_> = text.lines().skip(1).take(BATCH * BATCHES).filter_map(column).collect();
    ensure!(!messages.is_empty(), "{} has no messages", file.display());
    Ok(messages)
}

/// The first entries of the component's own lists.
fn patterns() -> Vec<String> {
    let lists = include_str!("../../../workloads/chat-moderation/data/lists.txt");
    let entries = lists.lines().filter(|line| !line.starts_with(['#', '['])).flat_map(str::split_ascii_whitespace);
    entries.take(PATTERNS).map(|entry| entry.trim_matches('*').replace('_', " ")).collect()
}
