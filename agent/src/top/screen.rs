//! What the terminal shows, and what of it has changed.
//!
//! Owns the last picture. The invariant: a line that is as it was is not written again.

use std::io::{self, Write as _};

use super::view::Line;
use crate::cli::terminal::PLAIN;

/// The last picture.
pub(super) struct Screen {
    colours: bool,
    lines: Vec<String>,
}

impl Screen {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, lines: Vec::new() }
    }

    /// The terminal's content is not known any more.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
    }

    /// Writes what differs from the last picture.
    pub(super) fn draw(&mut self, picture: &[Line], (_, rows): (u16, u16)) -> io::Result<()> {
        let changed = self.changed(picture, rows);
        let mut out = io::stdout().lock();
        out.write_all(changed.as_bytes())?;
        out.flush()
    }

    fn changed(&mut self, picture: &[Line], rows: u16) -> String {
        let mut lines: Vec<String> = picture.iter().map(|line| self.painted(line)).collect();
        lines.resize(usize::from(rows), String::new());
        // What was forgotten is all new.
        let mut out = if self.lines.is_empty() { "\x1b[2J".to_owned() } else { String::new() };
        for (row, line) in lines.iter().enumerate().filter(|(row, line)| self.lines.get(*row) != Some(line)) {
            out += &format!("\x1b[{};1H{line}\x1b[K", row + 1);
        }
        self.lines = lines;
        out
    }

    fn painted(&self, line: &Line) -> String {
        let paint = |(text, tone): &(String, crate::cli::terminal::Tone)| match tone.code() {
            "" => text.clone(),
            _ if !self.colours => text.clone(),
            code => format!("{code}{text}{PLAIN}"),
        };
        line.0.iter().map(paint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Tone;

    #[test]
    fn only_lines_that_differ_are_written() {
        let mut screen = Screen::new(true);
        let line = |text: &str, tone| Line(vec![(text.to_owned(), tone)]);
        let first = screen.changed(&[line("a", Tone::Plain), line("b", Tone::Good)], 3);
        assert_eq!(first, "\x1b[2J\x1b[1;1Ha\x1b[K\x1b[2;1H\x1b[32mb\x1b[0m\x1b[K\x1b[3;1H\x1b[K");
        assert_eq!(screen.changed(&[line("a", Tone::Plain), line("c", Tone::Plain)], 3), "\x1b[2;1Hc\x1b[K");
        assert_eq!(screen.changed(&[line("a", Tone::Plain)], 3), "\x1b[2;1H\x1b[K", "what is gone is cleared");
        screen.forget();
        assert!(screen.changed(&[line("a", Tone::Plain)], 1).starts_with("\x1b[2J"));
        assert_eq!(Screen::new(false).changed(&[line("a", Tone::Bad)], 1), "\x1b[2J\x1b[1;1Ha\x1b[K");
    }
}
