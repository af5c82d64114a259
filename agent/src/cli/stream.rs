//! `call --stream`: many calls over one connection of the call stream, one on each line.
//!
//! Owns how lines become frames and answers lines; the agent makes the calls, and answers in whatever order they are done. The
//! invariants: each line of stdin has one line of stdout, which bears its number; never more calls are on their way than
//! [`IN_FLIGHT_MAX`], and answers are read while calls are sent, so neither side waits for the other.

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::address::ApiAddr;
use super::args::CallArgs;
use super::client::Client;
use super::error::{CliError, EXIT_DONE, EXIT_FAILED, Problem};
use super::output::print;

/// Calls on their way: what an agent answers at one time on one connection.
const IN_FLIGHT_MAX: usize = 128;
/// Longest line that is read, in bytes: a frame has at most as many.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How long the goodbye may take when all is answered.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

/// A connection to an agent, of either kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}
/// An open call stream.
pub(crate) type Talk = WebSocketStream<Box<dyn Socket>>;

/// Calls the function once for each line of stdin, and prints an answer for each, as they come. The exit code says whether all
/// succeeded.
///
/// # Errors
/// No agent answers, it refuses the connection, or the connection, or whoever reads the answers, ends before all is answered.
pub(crate) async fn stream(args: &CallArgs, addr: &ApiAddr, client: &mut Client) -> Result<u8, CliError> {
    let token = client.token_for_changes().await?;
    let (sink, answers) = open(addr, token).await?.split();
    // There is room for whatever may be on its way: sending never waits, so answers are always read.
    let (frames, to_send) = mpsc::channel(IN_FLIGHT_MAX);
    let sending = tokio::spawn(send(sink, to_send));
    let mut calls = Calls { args, lines: lines(), frames, at_end: false, open: BTreeSet::new(), failed: false };
    let exit = calls.run(answers, client).await.map_err(|error| match error {
        // Other commands have only shown something; here calls were to be made, and are not.
        CliError::Output(error) => {
            calls.in_doubt(CliError::Failed(format!("nobody reads the answers ({error}); no more calls are made")))
        }
        other => other,
    });
    // The end of what is to be sent is our goodbye. An agent that failed us is not waited for.
    drop(calls);
    if exit.is_ok() {
        drop(tokio::time::timeout(GOODBYE_PATIENCE, sending).await);
    }
    exit
}

/// The calls of one command.
struct Calls<'a> {
    args: &'a CallArgs,
    lines: mpsc::Receiver<(u64, Result<String, String>)>,
    /// Dropped when all is answered, and not before: its end is our goodbye.
    frames: mpsc::Sender<Message>,
    /// Whether there are no more lines.
    at_end: bool,
    /// Lines that have been sent and not answered.
    open: BTreeSet<u64>,
    failed: bool,
}

impl Calls<'_> {
    async fn run(&mut self, mut answers: SplitStream<Talk>, client: &Client) -> Result<u8, CliError> {
        loop {
            if self.at_end && self.open.is_empty() {
                return Ok(if self.failed { EXIT_FAILED } else { EXIT_DONE });
            }
            let may_send = !self.at_end && self.open.len() < IN_FLIGHT_MAX;
            let late = tokio::time::sleep(client.patience());
            tokio::select! {
                line = self.lines.recv(), if may_send => match line {
                    Some((number, line)) => self.call(number, line).await?,
                    None => self.at_end = true,
                },
                answer = answers.next() => self.hear(answer)?,
                () = late, if !self.open.is_empty() => {
                    let what = format!("the answers to line {}", self.shown());
                    return Err(self.in_doubt(CliError::TimedOut { what, after: client.patience() }));
                }
            }
        }
    }

    /// Sends what a line says; a line that says nothing sensible is answered here.
    async fn call(&mut self, number: u64, line: Result<String, String>) -> Result<(), CliError> {
        let arguments =
            line.and_then(|line| serde_json::from_str(&line).map_err(|error| format!("the line is no JSON: {error}")));
        let arguments: Value = match arguments {
            Ok(arguments) => arguments,
            Err(message) => {
                self.failed = true;
                let error = json!({"code": "usage", "message": message, "field": null, "hint": null, "changed": false});
                return print(&json!({"id": number, "error": error}).to_string());
            }
        };
        let frame = frame(self.args, number, arguments);
        let mut bytes = Vec::new();
        ciborium::into_writer(&frame, &mut bytes).expect("a vector takes any number of bytes");
        self.open.insert(number);
        // A connection that takes no more is told by its answers, or by their end.
        drop(self.frames.send(Message::Binary(Bytes::from(bytes))).await);
        Ok(())
    }

    fn hear(&mut self, answer: Option<Result<Message, Error>>) -> Result<(), CliError> {
        let ended = |why: String| CliError::Failed(format!("the stream of calls ended: {why}"));
        let bytes = match answer {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(Some(close)))) => return Err(self.in_doubt(ended(close.to_string()))),
            Some(Ok(Message::Close(None) | Message::Text(_) | Message::Frame(_))) | None => {
                return Err(self.in_doubt(ended("the agent closed it".to_owned())));
            }
            Some(Err(error)) => return Err(self.in_doubt(ended(error.to_string()))),
        };
        let answer: Value =
            ciborium::from_reader(&*bytes).map_err(|error| self.in_doubt(ended(format!("no CBOR: {error}"))))?;
        self.failed |= answer.get("error").is_some();
        match answer["id"].as_u64().filter(|number| self.open.remove(number)) {
            Some(_) => print(&answer.to_string()),
            None => Err(self.in_doubt(ended(format!("an answer to nothing that was asked: {answer}")))),
        }
    }

    /// What is said when calls are on their way and no answer will come.
    fn in_doubt(&self, error: CliError) -> CliError {
        if self.open.is_empty() {
            return error;
        }
        error.after(format!("the calls of line {} may have been made", self.shown()))
    }

    /// The lines without an answer, the first few of them.
    fn shown(&self) -> String {
        const SHOWN_MAX: usize = 8;
        let first: Vec<_> = self.open.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        let more = self.open.len().saturating_sub(SHOWN_MAX);
        if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
    }
}

/// What asks for the call of a line.
fn frame(args: &CallArgs, number: u64, arguments: Value) -> Value {
    let CallArgs { name, function, deadline, session, region, .. } = args;
    let mut frame = json!({"id": number, "workload": name, "function": function, "args": arguments});
    if let Some(deadline) = deadline {
        frame["deadline_ms"] = json!(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
    }
    for (field, text) in [("session", session), ("region", region)] {
        if let Some(text) = text {
            frame[field] = json!(text);
        }
    }
    frame
}

async fn send(mut sink: SplitSink<Talk, Message>, mut frames: mpsc::Receiver<Message>) {
    while let Some(frame) = frames.recv().await {
        if sink.send(frame).await.is_err() {
            // Whoever reads the answers finds out why.
            return;
        }
    }
    drop(sink.close().await);
}

/// The lines of stdin with their numbers from 1, read by a thread of their own; empty ones do not count.
fn lines() -> mpsc::Receiver<(u64, Result<String, String>)> {
    let (told, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        for number in 1.. {
            let line = match read_line(&mut stdin) {
                Ok(None) => return,
                Ok(Some(Line::TooLong)) => {
                    Err(format!("the line has more than {LINE_BYTES_MAX} bytes; nothing was called"))
                }
                Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => continue,
                Ok(Some(Line::Whole(line))) => {
                    String::from_utf8(line).map_err(|_| "the line is no text in UTF-8".to_owned())
                }
                Err(error) => Err(format!("stdin cannot be read: {error}")),
            };
            let is_over = line.as_ref().is_err_and(|why| why.starts_with("stdin"));
            if told.blocking_send((number, line)).is_err() || is_over {
                return;
            }
        }
    });
    lines
}

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// With its end.
    Whole(Vec<u8>),
    /// More than [`LINE_BYTES_MAX`]; the rest of it was read and dropped.
    TooLong,
}

fn read_line(stdin: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    stdin.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if line.len() > LINE_BYTES_MAX {
        if line.last() != Some(&b'\n') {
            stdin.skip_until(b'\n')?;
        }
        return Ok(Some(Line::TooLong));
    }
    Ok((!line.is_empty()).then_some(Line::Whole(line)))
}

/// Opens the call stream.
///
/// # Errors
/// Nobody answers there, or the agent refuses.
pub(crate) async fn open(addr: &ApiAddr, token: Option<String>) -> Result<Talk, CliError> {
    let away = |reason: String| CliError::Unreachable { api: addr.to_string(), reason };
    let socket: Box<dyn Socket> = match addr {
        ApiAddr::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| away(error.to_string()))?;
            // A frame is one small packet: waiting to merge it with the next would only add latency.
            stream.set_nodelay(true).map_err(|error| away(error.to_string()))?;
            Box::new(stream)
        }
        ApiAddr::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(|error| away(error.to_string()))?),
    };
    let request = request(addr, token).map_err(|error| CliError::Usage(error.to_string()))?;
    match client_async(request, socket).await {
        Ok((talk, _)) => Ok(talk),
        Err(Error::Http(refused)) => {
            let body = refused.body().as_deref().unwrap_or_default();
            Err(CliError::Refused(Box::new(Problem::from_answer(refused.status().as_u16(), body))))
        }
        Err(error) => Err(away(error.to_string())),
    }
}

fn request(addr: &ApiAddr, token: Option<String>) -> Result<Request<()>, Error> {
    let mut request = format!("ws://{}/v1/stream", addr.host_header()).into_client_request()?;
    if let Some(token) = token {
        let value = format!("Bearer {token}")
            .parse()
            .map_err(|error| Error::HttpFormat(tokio_tungstenite::tungstenite::http::Error::from(error)))?;
        request.headers_mut().insert("authorization", value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_a_longer_one_than_a_frame_may_be_is_passed_over() {
        let long = vec![b'1'; LINE_BYTES_MAX];
        let text = [b"[1]\n\n", &long[..], b"11\n", &long[..], b"\n[2]"].concat();
        let mut text = &text[..];
        let mut next = || read_line(&mut text).expect("bytes can be read");
        let whole = |line: &[u8]| Some(Line::Whole(line.to_vec()));
        assert_eq!(next(), whole(b"[1]\n"));
        assert_eq!(next(), whole(b"\n"));
        assert_eq!(next(), Some(Line::TooLong));
        assert_eq!(next(), Some(Line::TooLong), "with its end it is one byte too long");
        assert_eq!(next(), whole(b"[2]"), "what follows is read");
        assert_eq!(next(), None);
    }
}
