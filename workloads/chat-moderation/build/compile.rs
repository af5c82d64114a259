//! The automaton of Aho and Corasick ("Efficient string matching: an aid to bibliographic search", 1975) over symbols,
//! as dense tables.
//!
//! Owns the construction. The automaton reads one word at a time and looks for entries of lists that are parts of words, for
//! innocent words and for names of people. Whole words are in the vocabulary. The invariant: any walk stays inside of the
//! tables.

use std::collections::VecDeque;

use crate::parse::{Entry, Lists};
use crate::symbol::{SPACE, SYMBOLS};

/// Among the lists of a state: what was read so far is the beginning of an innocent word, or names people.
const SPARED: u16 = 1 << 15;

/// What `automaton.rs` walks.
pub(crate) struct Tables {
    /// The next state, by state and symbol.
    pub(crate) next: Vec<u16>,
    /// Lists that have an entry ending in this state.
    pub(crate) hits: Vec<u16>,
    /// The state behind a boundary.
    pub(crate) start: u16,
}

#[derive(Clone, Default)]
struct Node {
    children: [Option<usize>; SYMBOLS],
    fail: usize,
    /// Entries that end here: list and index.
    entries: Vec<(usize, usize)>,
    /// Entries that are innocent here, by their symbols.
    innocent: Vec<Vec<u8>>,
    /// A beginning that weighs nothing ends here.
    spared: bool,
}

/// Whether an entry is a whole word.
pub(crate) fn is_whole(entry: &Entry) -> bool {
    entry.symbols.first() == Some(&SPACE) && entry.symbols.last() == Some(&SPACE)
}

/// Builds the tables. A number of states that is no power of two is filled up: masks then replace bounds checks.
pub(crate) fn compile(lists: &Lists) -> Tables {
    let mut trie = vec![Node::default()];
    insert(&mut trie, &[SPACE]);
    let mut symbols_of: Vec<&[u8]> = Vec::new();
    for entry in lists.entries.iter().filter(|entry| !is_whole(entry)) {
        let node = insert(&mut trie, &entry.symbols);
        trie[node].entries.push((entry.list, symbols_of.len()));
        symbols_of.push(&entry.symbols);
    }
    for innocent in &lists.innocent {
        spare(&mut trie, innocent, &symbols_of);
    }
    for beginning in lists.innocent.iter().chain(&lists.people) {
        let node = insert(&mut trie, beginning);
        trie[node].spared = true;
    }
    let order = link(&mut trie);
    settle(&mut trie, &order, &symbols_of);
    dense(&trie)
}

fn insert(trie: &mut Vec<Node>, symbols: &[u8]) -> usize {
    let mut at = 0;
    for symbol in symbols {
        let symbol = usize::from(*symbol);
        at = trie[at].children[symbol].unwrap_or_else(|| {
            trie.push(Node::default());
            let new = trie.len() - 1;
            trie[at].children[symbol] = Some(new);
            new
        });
    }
    at
}

/// Marks where entries end inside of an innocent word.
fn spare(trie: &mut Vec<Node>, innocent: &[u8], entries: &[&[u8]]) {
    for entry in entries {
        for end in entry.len()..=innocent.len() {
            // An entry for a beginning cannot be spared: the hit comes before the word shows its innocence.
            if innocent[..end].ends_with(entry) && end > entry.len() {
                let node = insert(trie, &innocent[..end]);
                trie[node].innocent.push(entry.to_vec());
            }
        }
        // "custard" ends as "*tard" does, with a boundary.
        let closed = [innocent, &[SPACE]].concat();
        if closed.ends_with(entry) && closed.len() > entry.len() {
            let node = insert(trie, &closed);
            trie[node].innocent.push(entry.to_vec());
        }
    }
}

/// Breadth first: failure links of all nodes, which are returned in that order.
fn link(trie: &mut [Node]) -> Vec<usize> {
    let mut order = Vec::with_capacity(trie.len());
    let mut queue = VecDeque::from([0]);
    while let Some(node) = queue.pop_front() {
        order.push(node);
        for symbol in 0..SYMBOLS {
            let fallback = if node == 0 { None } else { trie[trie[node].fail].children[symbol] };
            match trie[node].children[symbol] {
                Some(child) => {
                    trie[child].fail = fallback.unwrap_or(0);
                    queue.push_back(child);
                }
                // From here on a child is the transition of the automaton, also where the trie has none.
                None => trie[node].children[symbol] = Some(fallback.unwrap_or(0)),
            }
        }
    }
    order
}

/// Gathers along failure links, shorter patterns first.
fn settle(trie: &mut [Node], order: &[usize], symbols_of: &[&[u8]]) {
    for &node in order.iter().skip(1) {
        let inherited = trie[trie[node].fail].entries.clone();
        let innocent = std::mem::take(&mut trie[node].innocent);
        trie[node].entries.extend(inherited);
        trie[node].entries.retain(|(_, entry)| !innocent.iter().any(|innocent| innocent == symbols_of[*entry]));
    }
}

fn dense(trie: &[Node]) -> Tables {
    let states = trie.len().next_power_of_two();
    let half = |n: usize| u16::try_from(n).expect("a state is 16 bits");
    let mut tables = Tables { next: vec![0; states * SYMBOLS], hits: vec![0; states], start: 0 };
    for (index, node) in trie.iter().enumerate() {
        for symbol in 0..SYMBOLS {
            tables.next[index * SYMBOLS + symbol] = half(node.children[symbol].unwrap_or(0));
        }
        let lists = node.entries.iter().fold(0, |bits, (list, _)| bits | 1 << list);
        tables.hits[index] = lists | if node.spared { SPARED } else { 0 };
    }
    tables.start = tables.next[usize::from(SPACE)];
    tables
}

impl Tables {
    /// The lists that a word is in, and how many of its symbols, the first boundary with them, weigh nothing.
    pub(crate) fn walk(&self, word: &[u8]) -> (u16, usize) {
        let (mut state, mut lists, mut spared) = (usize::from(self.start), 0, 0);
        for (at, symbol) in word.iter().chain(&[SPACE]).enumerate() {
            state = usize::from(self.next[state * SYMBOLS + usize::from(*symbol)]);
            lists |= self.hits[state] & !SPARED;
            if self.hits[state] & SPARED != 0 {
                spared = at + 2;
            }
        }
        (lists, spared)
    }
}
