//! The terminal that `ratatui` draws on: its cells as ECMA-48 sequences.
//!
//! Owns what is written. The invariant: whatever a cell holds, it cannot write a control sequence, and what stands after it stands
//! where it should.

use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

use crate::cli::moves;
use crate::cli::terminal::{self, PLAIN};

/// Writes to a terminal.
pub(super) struct Ansi<W> {
    out: W,
    /// Gathered until there is a whole picture: half of one would flicker.
    pending: Vec<u8>,
    colours: bool,
    unicode: bool,
    cursor: Position,
}

/// What a cell looks like besides its symbol.
type Look = (Color, Color, Modifier);

const UNADORNED: Look = (Color::Reset, Color::Reset, Modifier::empty());

impl<W: Write> Ansi<W> {
    /// A terminal behind `out`: with colours, or without any attributes; with all characters, or with those of ASCII alone.
    pub(super) const fn new(out: W, colours: bool, unicode: bool) -> Self {
        Self { out, pending: Vec::new(), colours, unicode, cursor: Position::ORIGIN }
    }

    fn go(&mut self, to: Position) -> io::Result<()> {
        self.cursor = to;
        write!(self.pending, "\x1b[{};{}H", u32::from(to.y) + 1, u32::from(to.x) + 1)
    }

    fn adorn(&mut self, (front, back, modifier): Look) -> io::Result<()> {
        self.pending.write_all(PLAIN.as_bytes())?;
        let modifiers = [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)];
        let modifiers = modifiers.into_iter().filter(|(one, _)| modifier.contains(*one)).map(|(_, code)| code);
        let colours = [colour(front), colour(back).map(|code| code + 10)].into_iter().flatten();
        modifiers.chain(colours).try_for_each(|code| write!(self.pending, "\x1b[{code}m"))
    }

    fn put(&mut self, symbol: &str) -> io::Result<()> {
        let is_plain = symbol.is_ascii();
        if symbol.chars().any(moves) {
            return self.pending.write_all(b"?");
        }
        match symbol.chars().next() {
            Some(char) if !is_plain && !self.unicode => write!(self.pending, "{}", ascii(char)),
            Some(_) | None => self.pending.write_all(symbol.as_bytes()),
        }
    }
}

impl<W: Write> Backend for Ansi<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut next, mut look) = (None, UNADORNED);
        for (x, y, cell) in content {
            let at = Position { x, y };
            if next != Some(at) {
                self.go(at)?;
            }
            let wanted = (cell.fg, cell.bg, cell.modifier);
            if self.colours && wanted != look {
                self.adorn(wanted)?;
                look = wanted;
            }
            self.put(cell.symbol())?;
            // Terminals differ in how wide they take some characters: after those, where the next one stands is said anew.
            next = cell.symbol().is_ascii().then_some(Position { x: x.saturating_add(1), y });
        }
        if look == UNADORNED { Ok(()) } else { self.pending.write_all(PLAIN.as_bytes()) }
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.pending.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.pending.write_all(b"\x1b[?25h")
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.cursor)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.go(position.into())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        let sequence = match clear_type {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        };
        self.pending.write_all(sequence.as_bytes())
    }

    fn size(&self) -> io::Result<Size> {
        let (width, height) = terminal::size();
        Ok(Size { width, height })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.pending)?;
        self.pending.clear();
        self.out.flush()
    }
}

/// The parameter of a colour that a character has (ECMA-48, select graphic rendition); `None` for the terminal's own.
const fn colour(colour: Color) -> Option<u8> {
    match colour {
        Color::Red => Some(31),
        Color::Green => Some(32),
        Color::Yellow => Some(33),
        Color::Cyan => Some(36),
        // The view has no others.
        _ => None,
    }
}

/// What stands for a character where there is only ASCII: lines and bars look alike, of the rest it is only said that it is there.
const fn ascii(char: char) -> char {
    match char {
        '─' => '-',
        '━' => '=',
        '│' => '|',
        '▁' | '▂' | '·' => '.',
        '▃' | '▄' => ':',
        '▅' | '▆' => '+',
        '▇' | '█' => '#',
        '▸' => '>',
        '▲' => '^',
        '▼' => 'v',
        '…' => '~',
        '×' => 'x',
        '≤' => '<',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(colours: bool, unicode: bool, cells: &[(u16, u16, Cell)]) -> String {
        let mut terminal = Ansi::new(Vec::new(), colours, unicode);
        terminal.draw(cells.iter().map(|(x, y, cell)| (*x, *y, cell))).expect("memory takes all");
        assert!(terminal.out.is_empty(), "nothing is written before the picture is whole");
        terminal.flush().expect("memory takes all");
        String::from_utf8(terminal.out).expect("text")
    }

    fn cell(symbol: &'static str, front: Color) -> Cell {
        let mut cell = Cell::new(symbol);
        cell.set_fg(front);
        cell
    }

    #[test]
    fn cells_in_a_row_are_written_in_one_go() {
        let cells = [(0, 0, cell("a", Color::Reset)), (1, 0, cell("b", Color::Green)), (0, 2, cell("c", Color::Green))];
        assert_eq!(drawn(true, true, &cells), "\x1b[1;1Ha\x1b[0m\x1b[32mb\x1b[3;1Hc\x1b[0m");
        assert_eq!(drawn(false, true, &cells), "\x1b[1;1Hab\x1b[3;1Hc");
    }

    #[test]
    fn what_is_not_ascii_is_replaced_or_followed_by_a_position() {
        let cells = [(0, 0, cell("▇", Color::Reset)), (1, 0, cell("b", Color::Reset)), (2, 0, cell("é", Color::Reset))];
        assert_eq!(drawn(true, true, &cells), "\x1b[1;1H▇\x1b[1;2Hbé");
        assert_eq!(drawn(true, false, &cells), "\x1b[1;1H#\x1b[1;2Hb?");
    }

    #[test]
    fn no_cell_writes_a_sequence() {
        let cells = [(0, 0, cell("\x1b[2J", Color::Reset)), (1, 0, cell("\u{9b}", Color::Reset))];
        assert_eq!(drawn(true, true, &cells).matches('\x1b').count(), 1, "the position alone");
    }
}
