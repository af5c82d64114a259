//! What the rules see, for the trainer: reads texts from standard input, one a line, and prints a line for each.
//!
//! `features` prints the symbols, the number of hits by list, and both again for the reading behind a disguise, if there
//! is one. `judge` prints the three margins and the verdict. The trainer has no normalisation of its own, so the two
//! cannot disagree.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{self, BufRead};

use selvedge_chat_moderation::fold::Glyphs;
use selvedge_chat_moderation::normalise::{Sink, normalise};
use selvedge_chat_moderation::policy::Policy;
use selvedge_chat_moderation::reading::Reading;
use selvedge_chat_moderation::rules::Judge;
use selvedge_chat_moderation::symbol::pattern_of;

fn main() -> io::Result<()> {
    let judging = std::env::args().nth(1).is_some_and(|mode| mode == "judge");
    for line in io::stdin().lock().lines() {
        let text = line?;
        println!("{}", if judging { verdict(&text) } else { features(&text) });
    }
    Ok(())
}

fn verdict(text: &str) -> String {
    let mut reading = Reading::default();
    reading.read(text);
    let [explicit, implicit, action] = reading.margins();
    let verdict = Judge::default().judge(text, &Policy::default());
    let found = format!("{:?}\t{}\t{:?}\t{:?}", verdict.class, verdict.score, verdict.action, verdict.spans);
    format!("{explicit}\t{implicit}\t{action}\t{found}")
}

fn features(text: &str) -> String {
    let mut plain = Reading::default();
    plain.read(text);
    let mut symbols = Symbols::default();
    normalise(text, 0..text.len(), &mut symbols);
    let mut seen = vec![described(&symbols, &plain)];
    let mut explicit = plain.explicit();
    let mut glyphs = Glyphs::default();
    glyphs.look(text);
    for key in glyphs.keys().filter(|_| plain.is_odd()) {
        let (mut reading, mut symbols) = (Reading::default(), Symbols::default());
        glyphs.fold(key, &mut reading);
        glyphs.fold(key, &mut symbols);
        if reading.explicit() > explicit {
            explicit = reading.explicit();
            seen.truncate(1);
            seen.push(described(&symbols, &reading));
        }
    }
    seen.join("\t")
}

fn described(symbols: &Symbols, reading: &Reading) -> String {
    format!("_{}\t{}", symbols.0, reading.hits().map(|hits| hits.to_string()).join(" "))
}

/// As they are written in patterns.
#[derive(Default)]
struct Symbols(String);

impl Sink for Symbols {
    fn take(&mut self, symbol: u8, _start: usize, _end: usize) {
        self.0.push(char::from(pattern_of(symbol)));
    }
}
