//! Clients that write a whole request before they read a byte of the answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Endpoint, TOKEN, serve};

/// More than what the kernel buffers between two sockets, so that the client would hang or break if nobody read.
const BODY_BYTES: usize = 24 * 1024 * 1024;

/// Writes all, then reads all: the status, the head and the body.
fn write_then_read(endpoint: &Endpoint, head: &str, body: &[u8]) -> (u16, String, Value) {
    let Endpoint::Tcp(address) = endpoint else { panic!("over TCP") };
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    let head = format!("{head}\r\nHost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("all is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and then the end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

async fn check(head: String, body: Vec<u8>, status: u16, code: &str) {
    let api = serve().await;
    let endpoint = api.tcp.clone();
    let answered = tokio::task::spawn_blocking(move || write_then_read(&endpoint, &head, &body)).await;
    let (answered, head, body) = answered.expect("no panic");
    assert_eq!((answered, &body["error"]["code"]), (status, &code.into()), "{body}");
    assert!(head.contains("connection: close"), "what was not read is not the next request: {head}");
    assert_eq!(body["error"]["changed"], false, "{body}");
    assert_eq!(api.service.changes(), (0, 0, 0));
}

#[tokio::test]
async fn whoever_writes_too_much_before_reading_hears_that_it_was_too_much() {
    for path in ["/v1/workloads/combat/call/resolve", "/v1/commits"] {
        let head = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {BODY_BYTES}");
        check(head, vec![b' '; BODY_BYTES], 413, "body_too_large").await;
    }
}

#[tokio::test]
async fn the_same_of_a_body_that_comes_in_chunks_without_an_announced_length() {
    let head = format!("POST /v1/commits HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked");
    let mut body = format!("{BODY_BYTES:x}\r\n").into_bytes();
    body.resize(body.len() + BODY_BYTES, b' ');
    body.extend_from_slice(b"\r\n0\r\n\r\n");
    check(head, body, 413, "body_too_large").await;
}

#[tokio::test]
async fn whoever_has_no_right_hears_it_however_much_it_sent() {
    let head = format!("PUT /v1/artifacts HTTP/1.1\r\nContent-Length: {BODY_BYTES}");
    check(head, vec![0; BODY_BYTES], 401, "unauthorized").await;
    let head = format!("PUT /v1/nothing HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {BODY_BYTES}");
    check(head, vec![0; BODY_BYTES], 404, "unknown_route").await;
}

#[tokio::test]
async fn whoever_asks_before_it_sends_is_answered_at_once() {
    let head = format!(
        "POST /v1/commits HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {BODY_BYTES}\r\nExpect: 100-continue"
    );
    let api = serve().await;
    let endpoint = api.tcp.clone();
    let answered = tokio::task::spawn_blocking(move || write_then_read(&endpoint, &head, b"")).await;
    let (status, head, body) = answered.expect("no panic");
    assert_eq!((status, &body["error"]["code"]), (413, &"body_too_large".into()));
    assert!(head.contains("connection: close"), "the body was not read: {head}");
}

/// Requests of one connection that come in two pieces: the second once the answer to the first could have gone.
async fn write_in_two(stream: &mut tokio::net::TcpStream, head: &str, body: &[u8]) -> io::Result<String> {
    stream.write_all(head.as_bytes()).await?;
    let early = tokio::time::timeout(Duration::from_millis(4), stream.readable()).await;
    assert!(early.is_err(), "an answer came before the body: {head}");
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length) {
            return Ok(text);
        }
    }
}

#[tokio::test]
async fn a_kept_connection_is_still_there_after_requests_that_were_refused_unread() {
    let api = serve().await;
    let Endpoint::Tcp(address) = &api.tcp else { panic!("over TCP") };
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (line, token, status, code) in [
        ("POST /v1/workloads/hasty/call/resolve", &*token, 429, "rate_limited"),
        ("POST /v1/workloads/hasty/call/resolve", "", 401, "unauthorized"),
        ("POST /v1/nothing", &token, 404, "unknown_route"),
        ("POST /v1/status", &token, 405, "wrong_method"),
        ("POST /v1/workloads/combat/call/resolve?what=1", &token, 400, "unknown_parameter"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        for (number, framing) in ["Content-Length: 2", "Transfer-Encoding: chunked"].repeat(25).into_iter().enumerate()
        {
            let body: &[u8] = if framing.ends_with('2') { b"[]" } else { b"2\r\n[]\r\n0\r\n\r\n" };
            let head = format!("{line} HTTP/1.1\r\nHost: {address}\r\n{token}{framing}\r\n\r\n");
            let told = write_in_two(&mut stream, &head, body).await;
            let told = told.unwrap_or_else(|error| panic!("request {number} of {line}: {error}"));
            assert!(told.starts_with(&format!("http/1.1 {status} ")) && told.contains(code), "{told}");
            assert!(!told.contains("connection: close"), "{told}");
        }
    }
}
