//! One request to an agent's API, as any program would make it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::agent::Agent;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// The status of its first line.
    pub status: u16,
    /// All lines before the body.
    pub head: String,
    /// The body, as it came.
    pub body: Vec<u8>,
}

/// Asks an agent over TCP, with its token.
///
/// # Panics
/// There is no answer in time.
#[must_use]
pub fn ask(agent: &Agent, method: &str, path: &str, body: &[u8]) -> Answer {
    let api = agent.api();
    let address = api.strip_prefix("http://").expect("an address over TCP");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let token = std::fs::read_to_string(agent.data_dir().join("api-token")).expect("a token");
    let (token, length) = (token.trim(), body.len());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("written");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer in time");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}
