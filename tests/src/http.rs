//! One request to an agent's API, as any program would make it.

use std::io::{BufRead, BufReader, Read, Write};
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
    ask_with(agent, (method, path), "", body)
}

/// The same with more lines of a head, each with its end.
///
/// # Panics
/// There is no answer in time.
#[must_use]
pub fn ask_with(agent: &Agent, (method, path): (&str, &str), lines: &str, body: &[u8]) -> Answer {
    let api = agent.api();
    let address = api.strip_prefix("http://").expect("an address over TCP");
    let token = std::fs::read_to_string(agent.data_dir().join("api-token")).expect("a token");
    exchange(address, method, path, &format!("Authorization: Bearer {}\r\n{lines}", token.trim()), body)
}

/// Asks whoever listens at an address, with more lines of a head, each with its end.
///
/// # Panics
/// There is no answer in time.
#[must_use]
pub fn exchange(address: &str, method: &str, path: &str, lines: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("written");
    let mut answer = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = answer.read_line(&mut head).expect("a head in time");
        assert!(read > 0, "the connection ends in the head: {head}");
    }
    let head = head.trim_end().to_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    // Not everybody closes a connection that it was asked to close.
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let mut body = Vec::new();
    answer.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).expect("an answer in time");
    Answer { status, head, body }
}
