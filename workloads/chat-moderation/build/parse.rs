//! The files in `data/`, parsed.
//!
//! Owns their two formats. The invariant: what is returned is in symbols, and anything that is not understood ends the
//! build with its line.

use crate::symbol::{SPACE, of_pattern};

/// The lists, in the order of their bits.
pub(crate) const LISTS: [&str; 7] = ["slur", "insult", "profanity", "sexual", "threat", "taunt", "action"];

/// An entry of a list that is one word, or a part of one.
pub(crate) struct Entry {
    /// Index in [`LISTS`].
    pub(crate) list: usize,
    /// With its boundaries.
    pub(crate) symbols: Vec<u8>,
}

/// An entry of several words.
pub(crate) struct Phrase {
    /// Index in [`LISTS`].
    pub(crate) list: usize,
    /// Two or more, without boundaries.
    pub(crate) words: Vec<Vec<u8>>,
}

/// `lists.txt`.
#[derive(Default)]
pub(crate) struct Lists {
    /// Words that are a hit.
    pub(crate) entries: Vec<Entry>,
    /// Words that are one in a row.
    pub(crate) phrases: Vec<Phrase>,
    /// Innocent words, or their beginnings, boundary first.
    pub(crate) innocent: Vec<Vec<u8>>,
    /// Names of people, or their beginnings, boundary first.
    pub(crate) people: Vec<Vec<u8>>,
}

/// `model.txt`: weights for explicit, implicit and action, in 64ths of a unit of log-odds.
pub(crate) struct Model {
    /// Of every text.
    pub(crate) bias: [i32; 3],
    /// Of a word that is in a list, or ends a phrase of it.
    pub(crate) lists: [[i32; 3]; LISTS.len()],
    /// Of a text with more different words than the number.
    pub(crate) lengths: Vec<(usize, [i32; 3])>,
    /// Of an n-gram, with its boundaries; none within.
    pub(crate) grams: Vec<(Vec<u8>, [i32; 3])>,
    /// Probability of toxicity in thousandths, at equal steps of the margin.
    pub(crate) calibration: Vec<u16>,
}

/// Parses `lists.txt`.
pub(crate) fn lists(text: &str) -> Lists {
    let mut lists = Lists::default();
    let mut list = None;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let wrong = |what: &str| -> ! { panic!("data/lists.txt:{}: {what}", number + 1) };
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            list = LISTS.iter().position(|known| *known == name);
            if list.is_none() && !["innocent", "people"].contains(&name) {
                wrong("no list is called that");
            }
            continue;
        }
        for word in line.split_ascii_whitespace() {
            let symbols = |text: &str| symbols(text).unwrap_or_else(|| wrong(word));
            let begins = |word| [vec![SPACE], symbols(word)].concat();
            match (word.split_at(1), list) {
                (("!", innocent), None) => lists.innocent.push(begins(innocent)),
                (("~", people), None) => lists.people.push(begins(people)),
                (_, Some(list)) if word.contains('_') => {
                    if word.contains('*') || word.split('_').any(str::is_empty) {
                        wrong("a phrase consists of whole words");
                    }
                    lists.phrases.push(Phrase { list, words: word.split('_').map(symbols).collect() });
                }
                (_, Some(list)) => {
                    let begins = if word.starts_with('*') { "" } else { "_" };
                    let ends = if word.ends_with('*') { "" } else { "_" };
                    let symbols = symbols(&format!("{begins}{}{ends}", word.trim_matches('*')));
                    lists.entries.push(Entry { list, symbols });
                }
                _ => wrong(word),
            }
        }
    }
    lists
}

/// Parses `model.txt`.
pub(crate) fn model(text: &str) -> Model {
    let mut model = Model {
        bias: [0; 3],
        lists: [[0; 3]; LISTS.len()],
        lengths: Vec::new(),
        grams: Vec::new(),
        calibration: Vec::new(),
    };
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let wrong = || -> ! { panic!("data/model.txt:{}: {line}", number + 1) };
        let mut parts = line.split_ascii_whitespace();
        let name = parts.next().unwrap_or_else(|| wrong());
        let numbers: Vec<i32> = parts.map(|part| part.parse().unwrap_or_else(|_| wrong())).collect();
        if name == "@calibration" {
            model.calibration = numbers.iter().map(|n| u16::try_from(*n).unwrap_or_else(|_| wrong())).collect();
            continue;
        }
        let weights: [i32; 3] = numbers.try_into().unwrap_or_else(|_| wrong());
        match name.strip_prefix('@') {
            Some("bias") => model.bias = weights,
            Some(length) if length.starts_with("words>") => {
                let words = length["words>".len()..].parse().unwrap_or_else(|_| wrong());
                model.lengths.push((words, weights));
            }
            Some(list) => {
                let index = LISTS.iter().position(|known| *known == list).unwrap_or_else(|| wrong());
                model.lists[index] = weights;
            }
            None => {
                let symbols = symbols(name).unwrap_or_else(|| wrong());
                if symbols.iter().skip(1).rev().skip(1).any(|symbol| *symbol == SPACE) {
                    wrong();
                }
                model.grams.push((symbols, weights));
            }
        }
    }
    assert!(!model.lengths.is_empty(), "data/model.txt: no @words>");
    assert!(model.calibration.len() > 1, "data/model.txt: no @calibration");
    model
}

fn symbols(text: &str) -> Option<Vec<u8>> {
    text.bytes().map(of_pattern).collect()
}
