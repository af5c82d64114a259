//! The automaton of Aho and Corasick ("Efficient string matching: an aid to bibliographic search", 1975) over symbols,
//! as dense tables.
//!
//! Owns the construction. A state's weights are the sum of those of every n-gram and list entry that ends there, so that
//! scoring a text is a walk with one addition a symbol, however many patterns overlap. The invariants: any walk stays
//! inside of the tables, and the lanes of 128 bytes cannot run into each other.

use std::collections::VecDeque;

use crate::parse::{GRAVE, LISTS, Lists, Model};
use crate::symbol::{SPACE, SYMBOLS};

/// The greatest sum of weights of one state, in 64ths: 258 symbols of it stay within a lane of 19 bits.
const STATE_WEIGHT_MAX: i32 = 1_000;
/// Bits between two lanes.
const LANE_BITS: u32 = 19;
/// Bits below the lanes that count grave hits. 64 of them in 258 symbols would run over into a lane that is full of them.
const GRAVE_BITS: u32 = 6;
/// Above the lanes, where sums run over: some list has an entry that ends here.
const LISTED: i64 = i64::MIN;
/// Bits of the lists in a hit; the length of the longest entry lies above them.
const LIST_BITS: usize = LISTS.len();

/// What `automaton.rs` walks.
pub(crate) struct Tables {
    /// The next state, by state and symbol.
    pub(crate) next: Vec<u16>,
    /// Explicit, implicit and action weights of a state, in three lanes of one number.
    pub(crate) lanes: Vec<i64>,
    /// Lists that have an entry ending in this state, and how many symbols the longest has.
    pub(crate) hits: Vec<u16>,
    /// The state behind a boundary.
    pub(crate) start: u16,
}

#[derive(Clone, Default)]
struct Node {
    children: [Option<usize>; SYMBOLS],
    fail: usize,
    weights: [i32; 3],
    /// Entries that end here: list and length. A handful at most.
    entries: Vec<(usize, usize)>,
    /// Entries that are innocent here, by their symbols.
    spared: Vec<Vec<u8>>,
}

/// Builds the tables. A number of states that is no power of two is filled up: masks then replace bounds checks.
pub(crate) fn compile(lists: &Lists, model: &Model) -> Tables {
    let mut trie = vec![Node::default()];
    insert(&mut trie, &[SPACE]);
    for (symbols, weights) in &model.grams {
        let node = insert(&mut trie, symbols);
        trie[node].weights = *weights;
    }
    let mut symbols_of: Vec<&[u8]> = Vec::new();
    for entry in &lists.entries {
        let node = insert(&mut trie, &entry.symbols);
        trie[node].entries.push((entry.list, symbols_of.len()));
        symbols_of.push(&entry.symbols);
    }
    for innocent in &lists.innocent {
        insert(&mut trie, innocent);
        spare(&mut trie, innocent, &symbols_of);
    }
    for people in &lists.people {
        insert(&mut trie, people);
    }
    let order = link(&mut trie);
    settle(&mut trie, &order, model, &symbols_of);
    lists.innocent.iter().for_each(|innocent| acquit(&mut trie, innocent, 0));
    // Half of what makes a text toxic: a word beside it has to do the rest.
    lists.people.iter().for_each(|people| acquit(&mut trie, people, -model.bias[0].max(model.bias[1]) / 2));
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
                trie[node].spared.push(entry.to_vec());
            }
        }
        // "custard" ends as "*tard" does, with a boundary.
        let closed = [innocent, &[SPACE]].concat();
        if closed.ends_with(entry) && closed.len() > entry.len() {
            let node = insert(trie, &closed);
            trie[node].spared.push(entry.to_vec());
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

/// Sums up along failure links, shorter patterns first.
fn settle(trie: &mut [Node], order: &[usize], model: &Model, symbols_of: &[&[u8]]) {
    for &node in order.iter().skip(1) {
        let fail = trie[node].fail;
        let (weights, inherited) = (trie[fail].weights, trie[fail].entries.clone());
        let spared = std::mem::take(&mut trie[node].spared);
        trie[node].entries.extend(inherited);
        trie[node].entries.retain(|(_, entry)| !spared.iter().any(|spared| spared == symbols_of[*entry]));
        trie[node].weights.iter_mut().zip(weights).for_each(|(own, more)| *own += more);
    }
    for node in trie.iter_mut() {
        // Two entries of one list that end together, "idiot*" and "*idiot*", are one hit.
        for (list, of_list) in model.lists.iter().enumerate() {
            if node.entries.iter().any(|(hit, _)| *hit == list) {
                node.weights.iter_mut().zip(of_list).for_each(|(own, more)| *own += more);
            }
        }
        for weight in &mut node.weights {
            *weight = (*weight).clamp(-STATE_WEIGHT_MAX, STATE_WEIGHT_MAX);
        }
        for (_, entry) in &mut node.entries {
            *entry = symbols_of[*entry].len();
        }
    }
}

/// Takes back at the end of a word what its n-grams say of toxicity beyond `most`.
fn acquit(trie: &mut [Node], innocent: &[u8], most: i32) {
    let (mut at, mut sums) = (0, [0; 3]);
    for (index, symbol) in innocent.iter().enumerate() {
        at = trie[at].children[usize::from(*symbol)].unwrap_or(0);
        if index > 0 {
            sums.iter_mut().zip(trie[at].weights).for_each(|(sum, weight)| *sum += weight);
        }
    }
    for (weight, sum) in trie[at].weights.iter_mut().zip(sums).take(2) {
        *weight = (*weight - (sum - most).max(0)).max(-STATE_WEIGHT_MAX);
    }
}

/// Nodes are numbered as they were inserted, the commonest n-grams first.
fn dense(trie: &[Node]) -> Tables {
    let states = trie.len().next_power_of_two();
    assert!(states <= 1 << 16, "a state is 16 bits");
    let half = |n: usize| u16::try_from(n).expect("a state is 16 bits");
    let mut tables =
        Tables { next: vec![0; states * SYMBOLS], lanes: vec![0; states], hits: vec![0; states], start: 0 };
    for (index, node) in trie.iter().enumerate() {
        for symbol in 0..SYMBOLS {
            tables.next[index * SYMBOLS + symbol] = half(node.children[symbol].unwrap_or(0));
        }
        // Lanes are added with their borrows, which are undone when a sum is taken apart.
        let lanes = node.weights.iter().rev().fold(0_i64, |lanes, weight| (lanes << LANE_BITS) + i64::from(*weight));
        let grave = i64::from(node.entries.iter().any(|(list, _)| GRAVE.contains(&LISTS[*list])));
        tables.lanes[index] = ((lanes << GRAVE_BITS) + grave) & !LISTED;
        if !node.entries.is_empty() {
            tables.lanes[index] |= LISTED;
        }
        let lists = node.entries.iter().fold(0, |bits, (list, _)| bits | 1 << list);
        let longest = node.entries.iter().map(|(_, length)| *length).max().unwrap_or(0);
        tables.hits[index] = half(lists | longest << LIST_BITS);
    }
    tables.start = tables.next[usize::from(SPACE)];
    tables
}
