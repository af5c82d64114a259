//! The keys: what is typed, and what it means.

use std::io::Read as _;

use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
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
    /// Up by so many rows, or down.
    Scroll(i16),
    /// Stand still, or go on.
    Pause,
    /// What the keys are.
    Help,
}

/// Keys, by what a terminal sends, what it is called, and what it does.
pub(super) const KEYS: &[(&[u8], &str, &str, Key)] = &[
    (b"q", "q, Ctrl-C", "quit", Key::Quit),
    (b"o", "o", "overview", Key::Overview),
    (b"m", "m", "members", Key::Members),
    (b"w", "w", "workloads", Key::Workloads),
    (b"e", "e", "events", Key::Events),
    (b"k", "k, up", "up", Key::Scroll(-1)),
    (b"j", "j, down", "down", Key::Scroll(1)),
    (b"\x1b[5~", "page up", "ten rows up", Key::Scroll(-10)),
    (b"\x1b[6~", "page down", "ten rows down", Key::Scroll(10)),
    (b" ", "space", "stand still, or go on", Key::Pause),
    (b"?", "?", "this help, or back", Key::Help),
];

/// The arrows, as terminals send them in both of their modes.
const ARROWS: [(&[u8], Key); 4] = [
    (b"\x1b[A", Key::Scroll(-1)),
    (b"\x1bOA", Key::Scroll(-1)),
    (b"\x1b[B", Key::Scroll(1)),
    (b"\x1bOB", Key::Scroll(1)),
];

/// Keys that wait to be looked at: a held key repeats some thirty times a second.
const KEYS_WAITING: usize = 64;

/// Reads keys on a thread of its own, which ends with the process: a read of a terminal cannot be called off.
pub(super) fn read() -> mpsc::Receiver<Key> {
    let (told, keys) = mpsc::channel(KEYS_WAITING);
    std::thread::spawn(move || {
        let (mut stdin, mut bytes) = (std::io::stdin().lock(), [0; 32]);
        while let Ok(count @ 1..) = stdin.read(&mut bytes) {
            for key in meant(&bytes[..count]) {
                if told.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    keys
}

/// The keys in what was read; what means nothing is passed over.
fn meant(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let known = KEYS.iter().map(|(sent, .., key)| (*sent, *key)).chain(ARROWS);
        let found = known.filter(|(sent, _)| bytes.starts_with(sent)).max_by_key(|(sent, _)| sent.len());
        bytes = match found {
            Some((sent, key)) => {
                keys.push(key);
                &bytes[sent.len()..]
            }
            // A sequence that is none of ours goes whole: its letters are no keys.
            None if bytes[0] == 0x1b => &[],
            None => &bytes[1..],
        };
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_sequences() {
        let check = |bytes: &[u8], expect: &[Key]| assert_eq!(meant(bytes), expect, "{bytes:?}");
        check(b"q", &[Key::Quit]);
        check(b"jj", &[Key::Scroll(1), Key::Scroll(1)]);
        check(b"\x1b[A\x1b[6~x m", &[Key::Scroll(-1), Key::Scroll(10), Key::Pause, Key::Members]);
        check(b"\x1b[24~", &[]);
        check(b"\x1b", &[]);
        check("ä".as_bytes(), &[]);
    }
}
