//! The model's n-grams, as a table to look them up in, and the arithmetic of lanes.
//!
//! Owns the construction. The invariant: a lane cannot run over into another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::gram::{GROUPS, Gram, LENGTHS, PLACES};
use crate::parse::Model;

/// The greatest weight, in 64ths of a unit of log-odds.
const WEIGHT_MAX: i32 = 500;
/// Bits between two lanes.
const LANE_BITS: u32 = 21;

/// Three weights as the lanes of one number. They are added with their borrows, which are undone when a sum is taken apart.
pub(crate) fn lanes(weights: &[i32; 3]) -> i64 {
    assert!(weights.iter().all(|weight| weight.abs() <= WEIGHT_MAX), "a lane would run over");
    weights.iter().rev().fold(0_i64, |lanes, weight| (lanes << LANE_BITS) + i64::from(*weight))
}

/// The n-grams of the lengths that are looked for: gram and lanes, by place; and the number of each group.
pub(crate) fn table(model: &Model) -> (Vec<u64>, Vec<u16>) {
    let mut groups = vec![Vec::new(); GROUPS];
    for (symbols, weights) in model.grams.iter().filter(|(symbols, _)| LENGTHS.contains(&symbols.len())) {
        let gram = symbols.iter().fold(Gram::default(), |gram, symbol| gram.with(*symbol)).last(symbols.len());
        groups[gram.group()].push((gram, lanes(weights).cast_unsigned()));
    }
    let (mut table, mut numbers) = (vec![0; 2 * PLACES], vec![0; GROUPS]);
    // The largest groups first, while there is room.
    let mut order: Vec<_> = (0..GROUPS).collect();
    order.sort_by_key(|group| Reverse(groups[*group].len()));
    for group in order {
        let fits = |number: &u16| {
            let places: BTreeSet<_> = groups[group].iter().map(|(gram, _)| gram.place(*number)).collect();
            places.len() == groups[group].len() && places.iter().all(|place| table[2 * place] == 0)
        };
        numbers[group] = (0..u16::MAX).find(fits).expect("there are twice as many places as n-grams");
        for (gram, lanes) in &groups[group] {
            let place = gram.place(numbers[group]);
            (table[2 * place], table[2 * place + 1]) = (gram.0, *lanes);
        }
    }
    (table, numbers)
}

/// What a word with its boundaries weighs by `weights`, and its n-grams; what lies within its first `spared` symbols left out.
pub(crate) fn weigh(weights: &BTreeMap<&[u8], i64>, word: &[u8], spared: usize) -> i64 {
    let pieces =
        LENGTHS.flat_map(|length| word.windows(length).enumerate().filter(move |(at, _)| at + length > spared));
    let whole = Some(word).filter(|word| word.len() >= LENGTHS.end && spared == 0);
    let pieces = pieces.map(|(_, piece)| piece).chain(whole);
    pieces.filter_map(|piece| weights.get(piece)).fold(0, |sum, lanes| lanes.wrapping_add(sum))
}

/// What a text weighs more, by its number of words up to the one from which on it stays the same.
pub(crate) fn lengths(model: &Model) -> Vec<i64> {
    let last = model.lengths.iter().map(|(words, _)| words + 1).max().unwrap_or(0);
    let weigh = |words: usize| {
        let steps = model.lengths.iter().filter(|(above, _)| words > *above);
        lanes(&steps.fold([0; 3], |sum, (_, weights)| std::array::from_fn(|lane| sum[lane] + weights[lane])))
    };
    (0..=last).map(weigh).collect()
}
