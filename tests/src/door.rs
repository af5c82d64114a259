//! An agent's API over its unix socket, which is reached from every network: a question for each connection, or a stream of events.
//!
//! HTTP/1.1 by hand, as far as agents speak it: an end-to-end test should not share the code of what it tests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// The longest that an answer may take; long enough for questions that wait for something.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where an agent is asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(PathBuf);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The header, line by line, names in lower case.
    pub head: String,
    /// What came with it.
    pub body: String,
}

impl Door {
    /// A door at this socket; nobody need be behind it yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// As `--api` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:{}", self.0.display())
    }

    /// Asks, and awaits the answer.
    ///
    /// # Errors
    /// Nobody answers, or not in HTTP.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let mut reader = self.send(method, path, body)?;
        let (status, head) = head(&mut reader)?;
        let mut body = String::new();
        reader.read_to_string(&mut body)?;
        Ok(Answer { status, head, body })
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Nobody answers, or something else than a document.
    pub fn get(&self, path: &str) -> io::Result<Value> {
        let answer = self.ask("GET", path, "")?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("{path}: {} {}", answer.status, answer.body)));
        }
        serde_json::from_str(&answer.body).map_err(io::Error::other)
    }

    /// Begins to listen to all events. Returns when whatever happens from now on will be told.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub fn events(&self) -> io::Result<BufReader<UnixStream>> {
        let mut reader = self.send("GET", "/v1/events", "")?;
        // It lasts as long as the test does, and events may be rare.
        reader.get_ref().set_read_timeout(None)?;
        match head(&mut reader)? {
            (200, _) => Ok(reader),
            (status, _) => Err(io::Error::other(format!("/v1/events: {status}"))),
        }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> io::Result<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let fields = format!(
            "Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}"
        );
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}").as_bytes())?;
        Ok(BufReader::new(stream))
    }
}

/// Reads up to where the body begins; gives the status and the rest of the header.
fn head(reader: &mut impl BufRead) -> io::Result<(u16, String)> {
    let mut lines = reader.lines();
    let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut rest = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return status.map(|status| (status, rest)).ok_or_else(|| io::Error::other(first));
        }
        rest.push_str(&line);
        rest.push('\n');
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
