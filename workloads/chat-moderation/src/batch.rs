//! Many texts at a time, as fast as memory answers.
//!
//! Owns the order of work: texts become symbols one after the other, then several are walked side by side. A walk waits
//! for one look-up before it knows the next; four of them wait together. The invariant: each text gets the sum that it
//! would have got alone.

use crate::automaton::{SUM_BYTES_MAX, State};
use crate::normalise::{Sink, normalise};

/// Symbols of a group: a power of two, small enough for the first cache.
const SYMBOLS: usize = 8_192;
/// Texts of a group.
const TEXTS: usize = 256;
/// Walks side by side.
const WALKS: usize = 4;
/// Symbols of a text that is summed up.
const TEXT_SYMBOLS_MAX: usize = 2 * SUM_BYTES_MAX + 2;

/// What is known of a text at first sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// The sum of its lanes; 0 for a text that is too long for one.
    pub lanes: i64,
    /// Folding might find more in it: see [`normalise`].
    pub odd: bool,
    /// It is too long for a sum.
    pub long: bool,
    from: usize,
    end: usize,
}

/// The memory of a group.
pub struct Batch {
    symbols: Box<[u8; SYMBOLS]>,
    /// After each symbol.
    states: Box<[State; SYMBOLS]>,
    /// Symbols in use.
    length: usize,
    glances: Vec<Glance>,
}

impl Default for Batch {
    fn default() -> Self {
        let (symbols, states) = (Box::new([0; SYMBOLS]), Box::new([State::START; SYMBOLS]));
        Self { symbols, states, length: 0, glances: Vec::with_capacity(TEXTS) }
    }
}

impl Sink for Batch {
    #[inline(always)]
    fn take(&mut self, symbol: u8, _start: usize, _end: usize) {
        // There is always room; the mask costs less than saying so.
        self.symbols[self.length & (SYMBOLS - 1)] = symbol;
        self.length += 1;
    }
}

impl Batch {
    /// Glances at as many of `texts` as fit, at least one if there is one.
    pub fn glance<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        self.length = 0;
        self.glances.clear();
        for text in texts.take(TEXTS) {
            let from = self.length;
            let long = text.len() > SUM_BYTES_MAX;
            let odd = !long && normalise(text, self);
            self.glances.push(Glance { lanes: 0, odd, long, from, end: self.length });
            if self.length + TEXT_SYMBOLS_MAX > SYMBOLS {
                break;
            }
        }
        self.walk();
    }

    /// A glance for each text of the group.
    #[must_use]
    pub fn glances(&self) -> &[Glance] {
        &self.glances
    }

    /// The states that a text went through, symbol by symbol.
    #[must_use]
    pub fn states(&self, glance: &Glance) -> &[State] {
        &self.states[glance.from..glance.end]
    }

    /// Walks all texts, [`WALKS`] at a time: as far as the shortest has to go, then others take the places of those that
    /// have arrived.
    fn walk(&mut self) {
        let mut walks = [Walk::default(); WALKS];
        let mut next = 0;
        loop {
            for walk in &mut walks {
                while walk.left == 0 && next < self.glances.len() {
                    self.arrive(walk);
                    let Glance { from, end, .. } = self.glances[next];
                    *walk = Walk { text: next, at: from, left: end - from, ..Walk::default() };
                    next += 1;
                }
            }
            let together = walks.iter().map(|walk| walk.left).min().unwrap_or(0);
            if together == 0 {
                break;
            }
            // Named one by one, so that they stay in registers.
            let [mut a, mut b, mut c, mut d] = walks;
            for _ in 0..together {
                a.step(&self.symbols, &mut self.states);
                b.step(&self.symbols, &mut self.states);
                c.step(&self.symbols, &mut self.states);
                d.step(&self.symbols, &mut self.states);
            }
            walks = [a, b, c, d];
            walks.iter_mut().for_each(|walk| walk.left -= together);
        }
        for mut walk in walks {
            for _ in 0..walk.left {
                walk.step(&self.symbols, &mut self.states);
            }
            self.arrive(&walk);
        }
    }

    fn arrive(&mut self, walk: &Walk) {
        if let Some(glance) = self.glances.get_mut(walk.text) {
            glance.lanes = walk.lanes;
        }
    }
}

#[derive(Clone, Copy)]
struct Walk {
    text: usize,
    at: usize,
    left: usize,
    state: State,
    lanes: i64,
}

impl Default for Walk {
    fn default() -> Self {
        Self { text: usize::MAX, at: 0, left: 0, state: State::START, lanes: 0 }
    }
}

impl Walk {
    #[inline(always)]
    fn step(&mut self, symbols: &[u8; SYMBOLS], states: &mut [State; SYMBOLS]) {
        let at = self.at & (SYMBOLS - 1);
        self.state = self.state.after(symbols[at]);
        states[at] = self.state;
        self.lanes = self.lanes.wrapping_add(self.state.lanes());
        self.at += 1;
    }
}
