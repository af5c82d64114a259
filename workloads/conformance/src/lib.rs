//! A workload that does what a script says: the same script is run on a test host and on an agent's guest host.
//!
//! Owns the language of the scripts. Judges no answer. The invariant: what a step answers is all that a workload can see of it.

use std::fmt::Debug;

use selvedge_sdk::state::{self, Error, Gcounter, Gset, Lwwmap, Orset, Pncounter, Scalar};
use selvedge_sdk::{Fault, assets, clock, config, log, random};

selvedge_sdk::workload!(Conformance in "selvedge:conformance/conformance", from ["../wit", "wit"]);

impl Guest for Conformance {
    fn run(steps: Vec<Vec<String>>) -> Vec<String> {
        steps
            .iter()
            .map(|step| {
                let words: Vec<_> = step.iter().map(String::as_str).collect();
                take(&words).unwrap_or_else(|error| format!("refused: {error:?}"))
            })
            .collect()
    }
}

/// Does one step.
fn take(words: &[&str]) -> Result<String, Error> {
    match words {
        ["gcounter", name, rest @ ..] => gcounter(&Gcounter::new(name)?, rest),
        ["pncounter", name, rest @ ..] => pncounter(&Pncounter::new(name)?, rest),
        ["gset", name, rest @ ..] => {
            let set = Gset::new(name)?;
            match rest {
                ["add", members @ ..] => set.add(&scalars(members)).map(shown),
                ["contains", member] => Ok(shown(set.contains(&scalar(member)))),
                _ => Ok(shown(set.members())),
            }
        }
        ["orset", name, rest @ ..] => {
            let set = Orset::new(name)?;
            match rest {
                ["add", members @ ..] => set.add(&scalars(members)).map(shown),
                ["remove", members @ ..] => set.remove(&scalars(members)).map(shown),
                ["contains", member] => Ok(shown(set.contains(&scalar(member)))),
                _ => Ok(shown(set.members())),
            }
        }
        ["gcounters" | "pncounters", ..] => family(words).map_err(|refusal| {
            // Whoever reads the answers sees which entry it was.
            let state::Refusal { index, error } = refusal;
            Error::Limit(format!("entry {index}: {error:?}"))
        }),
        ["lwwmap", name, rest @ ..] => lwwmap(&Lwwmap::new(name)?, rest),
        ["now"] => Ok(shown(clock::now())),
        ["seed"] => Ok(shown(random::seed())),
        ["random"] => Ok(shown(random::next())),
        ["config", name] => Ok(shown(config::get(name))),
        ["asset", digest] => Ok(shown((assets::size(digest), assets::is_cached(digest), assets::preload(digest)))),
        ["log", line] => {
            log::write(log::Level::Info, line);
            Ok(String::new())
        }
        ["open", count] => {
            let handles: Vec<_> = (0..number(count)).map(|index| Gset::new(&format!("many:{index}"))).collect();
            Ok(shown(handles.iter().filter(|handle| handle.is_ok()).count()))
        }
        ["write", count] => {
            for index in 0..number(count) {
                Gcounter::new(&format!("many:{index}"))?.increment(1)?;
            }
            Ok(String::new())
        }
        ["fault", field, message] => Fault::new(*field, *message).raise(),
        other => panic!("no step: {other:?}"),
    }
}

fn gcounter(counter: &Gcounter, words: &[&str]) -> Result<String, Error> {
    match words {
        ["increment", by] => counter.increment(number(by)).map(shown),
        ["exists"] => Ok(shown(counter.exists())),
        _ => Ok(shown(counter.value())),
    }
}

fn pncounter(counter: &Pncounter, words: &[&str]) -> Result<String, Error> {
    match words {
        ["increment", by] => counter.increment(number(by)).map(shown),
        ["decrement", by] => counter.decrement(number(by)).map(shown),
        ["exists"] => Ok(shown(counter.exists())),
        _ => Ok(shown(counter.value())),
    }
}

/// Lists of counters: numbers to read, `5=1` to add 1 to number 5, `5=7+1-2` to start it from 7, add 1 and take 2.
fn family(words: &[&str]) -> Result<String, state::Refusal> {
    match words {
        ["gcounters", name, "increment", changes @ ..] => {
            let change = |word: &&str| {
                let (id, by) = word.split_once('=').expect("a change in a script");
                state::GcounterChange { id: number(id), increment: number(by) }
            };
            state::increment_gcounters(name, &changes.iter().map(change).collect::<Vec<_>>()).map(shown)
        }
        ["pncounters", name, "change", changes @ ..] => {
            let change = |word: &&str| {
                let parts: Vec<_> = word.split(['=', '+', '-']).map(number).collect();
                let [id, initial, increment, decrement] = parts[..] else { panic!("no change: {word}") };
                state::PncounterChange { id, initial, increment, decrement }
            };
            state::change_pncounters(name, &changes.iter().map(change).collect::<Vec<_>>()).map(shown)
        }
        ["gcounters", name, ids @ ..] => state::gcounter_values(name, &numbers(ids)).map(shown),
        ["pncounters", name, ids @ ..] => state::pncounter_values(name, &numbers(ids)).map(shown),
        other => panic!("no step: {other:?}"),
    }
}

fn lwwmap(map: &Lwwmap, words: &[&str]) -> Result<String, Error> {
    match words {
        ["put", entries @ ..] => {
            let entry = |pair: &[&str]| (text(pair[0]), scalar(pair[1]));
            map.put(&entries.chunks_exact(2).map(entry).collect::<Vec<_>>()).map(shown)
        }
        ["remove", fields @ ..] => map.remove(&fields.iter().map(|field| text(field)).collect::<Vec<_>>()).map(shown),
        ["get", field] => Ok(shown(map.get(field))),
        _ => Ok(shown(map.entries())),
    }
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number in a script")
}

fn numbers(words: &[&str]) -> Vec<u64> {
    words.iter().map(|word| number(word)).collect()
}

/// A text, or with `*5` five letters: scripts stay short when their values do not.
fn text(word: &str) -> String {
    word.strip_prefix('*').map_or_else(|| word.to_owned(), |count| "x".repeat(count.parse().expect("a length")))
}

fn scalars(words: &[&str]) -> Vec<Scalar> {
    words.iter().map(|word| scalar(word)).collect()
}

/// `null`, `true`, `i5`, `f1.5`, `tsome text`, `ysome bytes`.
fn scalar(word: &str) -> Scalar {
    match (word, word.split_at(1)) {
        ("null", _) => Scalar::Null,
        ("true", _) => Scalar::Boolean(true),
        ("false", _) => Scalar::Boolean(false),
        (_, ("i", rest)) => Scalar::Integer(rest.parse().expect("a whole number")),
        (_, ("f", rest)) => Scalar::Number(rest.parse().expect("a number")),
        (_, ("t", rest)) => Scalar::Text(text(rest)),
        (_, ("y", rest)) => Scalar::Bytes(text(rest).into_bytes()),
        _ => panic!("no scalar: {word}"),
    }
}
