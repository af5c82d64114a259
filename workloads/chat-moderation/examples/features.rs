//! What the rules see, for the trainer: reads texts from standard input, one a line, and prints a line for each.
//!
//! `features` prints the symbols, the number of hits by list, and both again for the reading behind a disguise, if there
//! is one. `judge` prints the class, the score and the three margins. The trainer has no normalisation of its own, so
//! the two cannot disagree.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{self, BufRead};

use selvedge_chat_moderation::automaton::{Lists, State};
use selvedge_chat_moderation::fold::{fold, keys};
use selvedge_chat_moderation::normalise::{Sink, normalise};
use selvedge_chat_moderation::policy::Policy;
use selvedge_chat_moderation::record::Record;
use selvedge_chat_moderation::rules::judge;
use selvedge_chat_moderation::symbol::to_pattern;

fn main() -> io::Result<()> {
    let judging = std::env::args().nth(1).is_some_and(|mode| mode == "judge");
    for line in io::stdin().lock().lines() {
        let text = line?;
        println!("{}", if judging { verdict(&text) } else { features(&text) });
    }
    Ok(())
}

fn verdict(text: &str) -> String {
    let mut record = Record::default();
    normalise(text, &mut record);
    let [explicit, implicit, action] = record.margins();
    let found = judge(text, &Policy::default()).map_or_else(
        |fault| fault.message,
        |verdict| format!("{:?}\t{}\t{:?}\t{:?}", verdict.class, verdict.score, verdict.action, verdict.spans),
    );
    format!("{explicit}\t{implicit}\t{action}\t{found}")
}

fn features(text: &str) -> String {
    let mut plain = Seen::default();
    let odd = normalise(text, &mut plain);
    let mut worst: Option<Seen> = None;
    for key in keys(text).filter(|_| odd) {
        let mut reading = Seen::default();
        fold(text, key, &mut reading);
        if reading.explicit > worst.as_ref().unwrap_or(&plain).explicit {
            worst = Some(reading);
        }
    }
    [Some(plain), worst].iter().flatten().map(Seen::described).collect::<Vec<_>>().join("\t")
}

/// Symbols, and hits by list.
struct Seen {
    state: State,
    symbols: String,
    hits: [usize; Lists::NAMES.len()],
    explicit: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { state: State::START, symbols: "_".to_owned(), hits: [0; 7], explicit: 0 }
    }
}

impl Sink for Seen {
    fn take(&mut self, symbol: u8, _start: usize, _end: usize) {
        self.symbols.push(to_pattern(symbol));
        self.state = self.state.after(symbol);
        let lists = self.state.hit().0;
        self.explicit += usize::from(lists.meets(Lists::EXPLICIT));
        self.hits.iter_mut().enumerate().for_each(|(list, hits)| *hits += usize::from(lists.meets(Lists(1 << list))));
    }
}

impl Seen {
    fn described(&self) -> String {
        format!("{}\t{}", self.symbols, self.hits.map(|hits| hits.to_string()).join(" "))
    }
}
