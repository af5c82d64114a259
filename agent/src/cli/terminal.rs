//! The terminal that standard output is, if it is one: its size, and whether it takes colours
//! and more characters than ASCII.
//!
//! Owns what is asked of the system about it. The invariant: what is written elsewhere than to a terminal has no escape sequences.

mod raw;

use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;

pub(crate) use self::raw::Raw;

/// Columns and rows of the terminal, or of one of the usual size where it does not say.
#[must_use]
pub(crate) fn size() -> (u16, u16) {
    const USUAL: (u16, u16) = (80, 24);
    window().map_or(USUAL, |window| if window.ws_col == 0 { USUAL } else { (window.ws_col, window.ws_row.max(1)) })
}

#[expect(unsafe_code, reason = "the system call that tells the size has no other form")]
fn window() -> Option<libc::winsize> {
    let mut window = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ writes one `winsize` to where the pointer points, which is one of ours.
    let told = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, window.as_mut_ptr()) };
    // SAFETY: all bits zero is a `winsize`, whether the call wrote or not.
    (told == 0).then(|| unsafe { window.assume_init() })
}

/// Whether standard output is a terminal.
#[must_use]
pub(crate) fn is_one() -> bool {
    io::stdout().is_terminal()
}

/// Whether colours are wanted: on a terminal that has them, unless `NO_COLOR` is set (<https://no-color.org>).
#[must_use]
pub(crate) fn takes_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_one() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the locale has more characters than ASCII: the first of the three variables that is set says so (POSIX, "Locale").
#[must_use]
pub(crate) fn takes_unicode() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What a word says of what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Not as it should be, and perhaps soon is.
    Warn,
    /// Something is wrong.
    Bad,
    /// A title.
    Title,
    /// Nothing in particular.
    Plain,
}

impl Tone {
    /// The sequence that begins it (ECMA-48, select graphic rendition); empty for plain text.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Title => "\x1b[1m",
            Self::Plain => "",
        }
    }

    /// What a word of our tables says.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "alive" | "ready" | "connected" | "ok" | "equal" => Self::Good,
            "suspect" | "draining" | "slowed" | "dialing" | "resting" | "starting" | "pending" | "stopping"
            | "differs" => Self::Warn,
            "lost" | "failed" | "refused" | "revoked" | "not" => Self::Bad,
            _ => Self::of_count(word).unwrap_or(Self::Plain),
        }
    }

    /// What `1/2` says, as of the instances that are ready: of what is wanted there is all, too little, or nothing.
    fn of_count(word: &str) -> Option<Self> {
        let (there, wanted) = word.split_once('/')?;
        let (there, wanted) = (there.parse::<u64>().ok()?, wanted.parse::<u64>().ok()?);
        Some(match there {
            0 => Self::Bad,
            there if there >= wanted => Self::Good,
            _ => Self::Warn,
        })
    }
}

/// What ends every tone.
pub(crate) const PLAIN: &str = "\x1b[0m";

/// `text` with its words in their tones and the titles of tables in bold; only for terminals that take colours.
#[must_use]
pub(crate) fn painted(text: &str) -> String {
    text.split_inclusive('\n').map(paint_line).collect()
}

fn paint_line(line: &str) -> String {
    let letters = || line.chars().filter(|letter| letter.is_alphabetic());
    if letters().count() > 0 && letters().all(char::is_uppercase) {
        return format!("{}{}{PLAIN}\n", Tone::Title.code(), line.trim_end_matches('\n'));
    }
    let mut out = String::with_capacity(line.len());
    for word in line.split_inclusive(char::is_whitespace) {
        let (bare, tone) = (word.trim_end(), Tone::of(word.trim_end()));
        if tone == Tone::Plain {
            out += word;
        } else {
            out += &format!("{}{bare}{PLAIN}{}", tone.code(), &word[bare.len()..]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_titles_are_painted_and_nothing_else_changes() {
        let text = " NODE  STATUS \n a     alive  \n lostness lost";
        let painted = painted(text);
        assert_eq!(
            painted,
            "\x1b[1m NODE  STATUS \x1b[0m\n a     \x1b[32malive\x1b[0m  \n lostness \x1b[31mlost\x1b[0m"
        );
        let tones = ["2/2", "3/2", "1/2", "0/2", "0/0", "0/-", "a/b", "1/2/3"].map(Tone::of);
        let (good, warn, bad, plain) = (Tone::Good, Tone::Warn, Tone::Bad, Tone::Plain);
        assert_eq!(tones, [good, good, warn, bad, bad, plain, plain, plain], "by what is ready now");
    }
}
