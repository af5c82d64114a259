//! The log as the journal keeps it: one datagram for each event, in the native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>),
//! with a field for each of the event's.
//!
//! Owns the form of an entry. Its text reads as a line of the log on a terminal does, values included, so that whoever reads the journal without
//! asking for fields sees them all the same; the libraries for this leave them out. The invariants: whatever a value holds, it makes no
//! field of its own; an entry fits a datagram; and a journal that does not read holds up no event for longer than [`PATIENCE`].

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// What the names of our fields begin with: `node` is `SELVEDGE_NODE`.
const PREFIX: &str = "SELVEDGE_";

/// How long an event waits for a journal whose queue is full, before it is counted as lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// Bytes of one value that are kept: names and errors are far shorter, and an event's dozen fit a datagram (208 KiB).
const VALUE_BYTES_MAX: usize = 4_096;

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Entries that it did not take since it last took one.
    lost: AtomicU64,
}

impl Journal {
    /// The journal of this host.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn connect() -> io::Result<Self> {
        Self::connect_to(Path::new(SOCKET))
    }

    fn connect_to(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, mut entry: Entry) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            entry.keep("lost_before", &lost.to_string(), &lost);
        }
        if self.socket.send(&entry.finish()).is_err() {
            self.lost.fetch_add(lost.saturating_add(1), Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut entry = Entry::default();
        entry.put("PRIORITY", priority(*about.level()));
        entry.put("SYSLOG_IDENTIFIER", "selvedge");
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.send(entry);
    }
}

/// As syslog(3) counts: what an operator wants to know is 6, what only whoever looks for a fault does, 7.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// An entry in the making.
#[derive(Debug, Default)]
struct Entry {
    bytes: Vec<u8>,
    message: String,
    /// What the text says of the fields.
    values: String,
}

impl Entry {
    /// A field, with its length in front of its value, so that a line end in it ends nothing.
    fn put(&mut self, name: &str, value: &str) {
        let value = cut(value);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'\n');
        self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(b'\n');
    }

    /// A field of the event's, and what the text says of it.
    fn keep(&mut self, name: &str, value: &str, shown: &dyn fmt::Debug) {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
        self.put(&PREFIX.chars().chain(name.chars().map(letter)).collect::<String>(), value);
        self.values += &format!(" {name}={shown:?}");
    }

    fn finish(mut self) -> Vec<u8> {
        let message = std::mem::take(&mut self.message) + &self.values;
        self.put("MESSAGE", message.trim_start());
        self.bytes
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.keep(name, value, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.keep(name, &text, value),
        }
    }
}

/// The beginning of a value that is kept.
fn cut(value: &str) -> &str {
    let end = (0..=VALUE_BYTES_MAX.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
    value.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What a journal understands of a datagram.
    fn read(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(bytes[..end].to_vec()).expect("is text");
            let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().expect("eight bytes"));
            let value_end = end + 9 + usize::try_from(length).expect("fits");
            let value = String::from_utf8(bytes[end + 9..value_end].to_vec()).expect("is text");
            assert_eq!(bytes[value_end], b'\n');
            assert_eq!(fields.insert(name, value), None, "twice");
            bytes = &bytes[value_end + 1..];
        }
        fields
    }

    /// A journal in a folder, and the agent's way to it.
    fn journal() -> (tempfile::TempDir, UnixDatagram, Journal) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let theirs = UnixDatagram::bind(&path).expect("is bound");
        let ours = Journal::connect_to(&path).expect("is there");
        (folder, theirs, ours)
    }

    fn next(socket: &UnixDatagram) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 1 << 18];
        let length = socket.recv(&mut buffer).expect("an entry");
        read(&buffer[..length])
    }

    #[test]
    fn an_event_becomes_an_entry_with_its_fields() {
        let (_folder, socket, journal) = journal();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::warn!(peer = "edge-2", lag = 7, error = %"no\nMESSAGE=route", "it is behind");
        });
        let entry = next(&socket);
        let check = |name: &str, expect: &str| assert_eq!(entry[name], expect, "{name}");
        check("PRIORITY", "4");
        check("SYSLOG_IDENTIFIER", "selvedge");
        check("SELVEDGE_PEER", "edge-2");
        check("SELVEDGE_LAG", "7");
        check("SELVEDGE_ERROR", "no\nMESSAGE=route");
        check("MESSAGE", "it is behind peer=\"edge-2\" lag=7 error=no\nMESSAGE=route");
        assert!(entry["CODE_FILE"].ends_with("journal.rs") && entry.contains_key("CODE_LINE"));
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_between_letters() {
        let (_folder, socket, journal) = journal();
        let long = format!("a{}", "ü".repeat(VALUE_BYTES_MAX));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
            tracing::info!(long, "text");
        });
        assert_eq!(next(&socket)["SELVEDGE_LONG"].len(), VALUE_BYTES_MAX - 1);
    }

    #[test]
    fn entries_that_a_full_journal_did_not_take_are_counted_in_the_next() {
        let (_folder, socket, journal) = journal();
        let mut taken = 0;
        while journal.lost.load(Ordering::Relaxed) < 2 {
            journal.send(Entry::default());
            taken += 1;
        }
        for _ in 2..taken {
            next(&socket);
        }
        journal.send(Entry::default());
        let entry = next(&socket);
        assert_eq!((entry["SELVEDGE_LOST_BEFORE"].as_str(), entry["MESSAGE"].as_str()), ("2", "lost_before=2"));
    }
}
