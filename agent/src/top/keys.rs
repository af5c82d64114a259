//! The keys: what a terminal sends, which key that is, and what each of them does.
//!
//! Owns the reading of the keyboard and the one table of keys, which the help shows too. The invariant: what is no key of ours does nothing.

use std::io::Read as _;
use std::time::Duration;

use tokio::sync::mpsc;

/// A key, or a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// End.
    Quit,
    /// Everything at one look.
    Overview,
    /// The members alone.
    Members,
    /// The workloads alone.
    Workloads,
    /// What has happened alone.
    Events,
    /// Down by so many rows; up, below 0.
    Move(isize),
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// The other list of the overview.
    Other,
    /// What is chosen, closely.
    Open,
    /// Where one came from.
    Back,
    /// By the next column.
    Sort,
    /// The other way round.
    Reverse,
    /// Only rows with a text that is typed now.
    Filter,
    /// Stand still, or go on.
    Pause,
    /// What the keys are.
    Help,
}

/// Keys that do something: which, what they are called, what they do.
pub(super) const BINDINGS: &[(&[Key], &str, &str, Action)] = &[
    (&[Key::Char('q')], "q, Ctrl-C", "quit", Action::Quit),
    (&[Key::Char('o')], "o", "overview", Action::Overview),
    (&[Key::Char('m')], "m", "members", Action::Members),
    (&[Key::Char('w')], "w", "workloads", Action::Workloads),
    (&[Key::Char('e')], "e", "events", Action::Events),
    (&[Key::Tab], "tab", "from members to workloads, and back", Action::Other),
    (&[Key::Char('k'), Key::Up], "k, up", "up", Action::Move(-1)),
    (&[Key::Char('j'), Key::Down], "j, down", "down", Action::Move(1)),
    (&[Key::PageUp], "page up", "ten rows up", Action::Move(-10)),
    (&[Key::PageDown], "page down", "ten rows down", Action::Move(10)),
    (&[Key::Char('g'), Key::Home], "g, home", "to the first row", Action::First),
    (&[Key::Char('G'), Key::End], "G, end", "to the last row", Action::Last),
    (&[Key::Enter], "enter", "the chosen member or workload, closely", Action::Open),
    (&[Key::Escape, Key::Backspace], "esc", "back", Action::Back),
    (&[Key::Char('s')], "s", "sort by the next column", Action::Sort),
    (&[Key::Char('r')], "r", "the other way round", Action::Reverse),
    (&[Key::Char('/')], "/", "only rows that have a text", Action::Filter),
    (&[Key::Char(' ')], "space", "stand still, or go on", Action::Pause),
    (&[Key::Char('?')], "?", "this help, or back", Action::Help),
];

/// What terminals send for keys that are no characters, in both modes of the arrows (ECMA-48; xterm's control sequences).
const SEQUENCES: [(&[u8], Key); 15] = [
    (b"\x1b[A", Key::Up),
    (b"\x1bOA", Key::Up),
    (b"\x1b[B", Key::Down),
    (b"\x1bOB", Key::Down),
    (b"\x1b[5~", Key::PageUp),
    (b"\x1b[6~", Key::PageDown),
    (b"\x1b[H", Key::Home),
    (b"\x1bOH", Key::Home),
    (b"\x1b[1~", Key::Home),
    (b"\x1b[F", Key::End),
    (b"\x1bOF", Key::End),
    (b"\x1b[4~", Key::End),
    (b"\r", Key::Enter),
    (b"\n", Key::Enter),
    (b"\t", Key::Tab),
];
/// Both are sent for the key that goes back.
const BACKSPACES: [u8; 2] = [0x7f, 0x08];
/// What begins a sequence, and is a key where it stands alone.
const ESCAPE: u8 = 0x1b;

/// Reads that wait to be looked at: a held key repeats some thirty times a second.
const READS_WAITING: usize = 64;
/// How long the rest of a sequence may be on its way after its beginning: a packet of a bad line. Whoever presses escape does not see it.
const REST_WITHIN: Duration = Duration::from_millis(50);

/// What a key does.
pub(super) fn action(key: Key) -> Option<Action> {
    BINDINGS.iter().find(|(keys, ..)| keys.contains(&key)).map(|(.., action)| *action)
}

/// Reads keys until the terminal is gone.
pub(super) fn read() -> mpsc::Receiver<Key> {
    let (told, keys) = mpsc::channel(READS_WAITING);
    let mut reads = bytes();
    tokio::spawn(async move {
        while let Some(mut bytes) = reads.recv().await {
            if bytes.last() == Some(&ESCAPE)
                && let Ok(Some(rest)) = tokio::time::timeout(REST_WITHIN, reads.recv()).await
            {
                bytes.extend(rest);
            }
            for key in meant(&bytes) {
                if told.send(key).await.is_err() {
                    return;
                }
            }
        }
    });
    keys
}

/// Reads the terminal on a thread of its own, which ends with the process: a read cannot be called off.
fn bytes() -> mpsc::Receiver<Vec<u8>> {
    let (told, reads) = mpsc::channel(READS_WAITING);
    std::thread::spawn(move || {
        let (mut stdin, mut bytes) = (std::io::stdin().lock(), [0; 32]);
        loop {
            match stdin.read(&mut bytes) {
                Ok(count @ 1..) if told.blocking_send(bytes[..count].to_vec()).is_ok() => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    });
    reads
}

/// The keys in what was read; what means nothing is passed over.
fn meant(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        if let Some((sent, key)) = SEQUENCES.iter().find(|(sent, _)| bytes.starts_with(sent)) {
            keys.push(*key);
            bytes = &bytes[sent.len()..];
        } else if *first == ESCAPE {
            // A sequence that is none of ours goes whole: its letters are no keys.
            keys.extend(rest.is_empty().then_some(Key::Escape));
            bytes = &[];
        } else if BACKSPACES.contains(first) {
            keys.push(Key::Backspace);
            bytes = rest;
        } else {
            let (char, length) = character(bytes);
            keys.extend(char.filter(|char| !char.is_control()).map(Key::Char));
            bytes = &bytes[length..];
        }
    }
    keys
}

/// The first character, and how many bytes it takes; `None` for bytes that are none.
fn character(bytes: &[u8]) -> (Option<char>, usize) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    text.chars().next().map_or((None, 1), |char| (Some(char), char.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_sequences() {
        let check = |bytes: &[u8], expect: &[Key]| assert_eq!(meant(bytes), expect, "{bytes:?}");
        check(b"q", &[Key::Char('q')]);
        check(b"jj", &[Key::Char('j'), Key::Char('j')]);
        check(b"\x1b[A\x1b[6~x\t", &[Key::Up, Key::PageDown, Key::Char('x'), Key::Tab]);
        check(b"\r\x7f\x08", &[Key::Enter, Key::Backspace, Key::Backspace]);
        check(b"\x1b", &[Key::Escape]);
        check(b"\x1b[24~", &[]);
        check("ä".as_bytes(), &[Key::Char('ä')]);
        check(b"\xff\xc3q\x01", &[Key::Char('q')]);
    }

    #[test]
    fn no_key_does_two_things() {
        let keys: Vec<Key> = BINDINGS.iter().flat_map(|(keys, ..)| keys.iter().copied()).collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key:?}");
        }
    }
}
