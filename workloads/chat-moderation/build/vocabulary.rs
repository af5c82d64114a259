//! The vocabulary: what common words and those of lists come to, and the phrases that are made of some of them.
//!
//! Owns both tables. The invariant: what the table says of a word is what a walk says of it, and what only a whole word has.

use std::collections::BTreeMap;

use crate::compile::{Tables, is_whole};
use crate::grams::{lanes, weigh};
use crate::key::{Key, PLACES};
use crate::parse::{Lists, Model};
use crate::symbol::{SPACE, pattern_of};

/// Numbers of a place: low and high half of the key, the lanes, and the rest (`words.rs` takes it apart).
pub(crate) const PLACE_NUMBERS: usize = 4;
/// The word has nothing but Latin letters.
const PLAIN: u64 = 1 << 15;
/// Bits below the node of the phrases that begin with this word.
const NODE_BIT: u32 = 16;
/// Bits below the number of a word that is in a phrase.
const NUMBER_BIT: u32 = 32;

/// What `words.rs` and `phrases.rs` look things up in.
pub(crate) struct Vocabulary {
    /// By place, [`PLACE_NUMBERS`] each.
    pub(crate) places: Vec<u64>,
    /// Steps of phrases, node by node: by a word, to a node, and the lists of the phrases that end there.
    pub(crate) steps: Vec<[u16; 3]>,
    /// The first step from each node, and the end of all.
    pub(crate) firsts: Vec<u16>,
}

/// Builds both. The words are those of the model, commonest first, and of the lists.
pub(crate) fn build(lists: &Lists, model: &Model, tables: &Tables) -> Vocabulary {
    let Phrases { numbers, begun, steps } = phrases(lists);
    let whole = |symbols: &[u8]| Some(symbols.strip_prefix(&[SPACE])?.strip_suffix(&[SPACE])?.to_vec());
    let weights = model.grams.iter().map(|(symbols, weights)| (symbols.as_slice(), lanes(weights))).collect();
    let mut listed: BTreeMap<&[u8], u16> = BTreeMap::new();
    for entry in lists.entries.iter().filter(|entry| is_whole(entry)) {
        *listed.entry(&entry.symbols).or_default() |= 1 << entry.list;
    }
    let mut places = vec![0; PLACES * PLACE_NUMBERS];
    let words = model.grams.iter().filter_map(|(symbols, _)| whole(symbols));
    let words = words.chain(listed.keys().filter_map(|symbols| whole(symbols))).chain(numbers.keys().cloned());
    for word in words.filter(|word| !word.is_empty()) {
        let pattern: Vec<u8> = word.iter().map(|symbol| pattern_of(*symbol)).collect();
        let Some(key) = Key::of(pattern.iter().copied()) else {
            panic!("{}: longer than a key", String::from_utf8_lossy(&pattern));
        };
        let closed = [&[SPACE], &word[..], &[SPACE]].concat();
        let (parts, spared) = tables.walk(&word);
        let in_lists = parts | listed.get(&closed[..]).copied().unwrap_or(0);
        let mut sum = weigh(&weights, &closed, spared);
        for list in (0..model.lists.len()).filter(|list| in_lists >> list & 1 == 1) {
            sum = sum.wrapping_add(lanes(&model.lists[list]));
        }
        let plain = if pattern.iter().all(u8::is_ascii_lowercase) { PLAIN } else { 0 };
        let node = u64::from(begun.get(&word).copied().unwrap_or(0)) << NODE_BIT;
        let number = u64::from(numbers.get(&word).copied().unwrap_or(0)) << NUMBER_BIT;
        let rest = u64::from(in_lists) | plain | node | number;
        place(&mut places, key, [key.low, key.high, sum.cast_unsigned(), rest]);
    }
    let nodes = steps.values().map(|(to, _)| *to).chain(begun.into_values()).max().unwrap_or(0);
    let first = |node| u16::try_from(steps.range(..(node, 0)).count()).expect("a few hundred");
    let firsts = (0..=nodes + 1).map(first).collect();
    Vocabulary { places, steps: steps.into_iter().map(|((_, by), (to, lists))| [by, to, lists]).collect(), firsts }
}

/// Phrases, word by word.
struct Phrases {
    /// A number for each word of any.
    numbers: BTreeMap<Vec<u8>, u16>,
    /// The node behind each word that begins one.
    begun: BTreeMap<Vec<u8>, u16>,
    /// From a node by a word to a node, with the lists of the phrases that end there.
    steps: BTreeMap<(u16, u16), (u16, u16)>,
}

/// The first free place from the key's own on.
fn place(places: &mut [u64], key: Key, numbers: [u64; PLACE_NUMBERS]) {
    for step in 0..PLACES {
        let at = (key.place() + step) % PLACES * PLACE_NUMBERS;
        let there = &mut places[at..at + PLACE_NUMBERS];
        if there[..2] == numbers[..2] {
            return;
        }
        if there[..2] == [0, 0] {
            there.copy_from_slice(&numbers);
            return;
        }
    }
    panic!("the vocabulary is full");
}

fn phrases(lists: &Lists) -> Phrases {
    let mut found = Phrases { numbers: BTreeMap::new(), begun: BTreeMap::new(), steps: BTreeMap::new() };
    let mut nodes = 0;
    let mut another = || {
        nodes += 1;
        nodes
    };
    for phrase in &lists.phrases {
        for word in &phrase.words {
            let next = u16::try_from(found.numbers.len() + 1).expect("a few hundred");
            found.numbers.entry(word.clone()).or_insert(next);
        }
        let mut node = *found.begun.entry(phrase.words[0].clone()).or_insert_with(&mut another);
        for (at, word) in phrase.words.iter().enumerate().skip(1) {
            let step = found.steps.entry((node, found.numbers[word])).or_insert_with(|| (another(), 0));
            step.1 |= if at + 1 == phrase.words.len() { 1 << phrase.list } else { 0 };
            node = step.0;
        }
    }
    found
}
