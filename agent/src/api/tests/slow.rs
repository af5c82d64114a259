//! Clients that say little, slowly, or nothing that makes sense: they are told so or let go of, and hold up nobody else.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::client::{get, post, send};
use super::{Endpoint, TOKEN, serve, serve_with};
use crate::api::limits::{CONNECTIONS_MAX, Waits};
use crate::service::Service as _;

/// How long anything may take until a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slow clients of each kind, a thousand together on one socket: some who come while there is room, more bodies than a host has cores, workers
/// or queues for, and the rest while more than half of all places are taken.
const EARLY: usize = 20;
const BODIES: usize = 600;
const HEADS: usize = 140;
const IDLE: usize = 210;
const DEAF: usize = 30;

/// Clients that ask now and then and stay: more than there are places.
const POLITE: usize = 1_100;

/// Bytes of what those do not read, more than the system takes for them; all of it together has room in answers.
const UNREAD_BYTES: usize = 8 * 1024 * 1024;

/// The bounds that they meet, as far apart from each other as those that hold outside of tests.
const WAITS: Waits =
    Waits { read: Duration::from_secs(4), head: Duration::from_secs(120), head_crowded: Duration::from_secs(2) };

/// Open files that so many clients and their servers take, and what else a test has open.
const FILES: u64 = 4_096;

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Both for S {}

async fn connect(endpoint: &Endpoint) -> Box<dyn Both> {
    match endpoint {
        Endpoint::Tcp(address) => Box::new(TcpStream::connect(address).await.expect("connected")),
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.expect("connected")),
    }
}

/// Sends `begin`, then a byte now and then, until the server has said something or hung up. Gives what it said.
async fn drip(mut stream: Box<dyn Both>, begin: String) -> String {
    let mut heard = Vec::new();
    if stream.write_all(begin.as_bytes()).await.is_ok() {
        loop {
            tokio::select! {
                // Whoever is hung up on with bytes unread sees a reset.
                _ended = stream.read_to_end(&mut heard) => break,
                () = tokio::time::sleep(Duration::from_millis(300)) => {
                    if stream.write_all(b"1").await.is_err() {
                        break;
                    }
                }
            }
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// How many files this process may have open.
fn files_max() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_are_answered_or_let_go_of_and_others_are_served() {
    if files_max() < FILES {
        println!("skipped: this process may have only {} open files (ulimit -n)", files_max());
        return;
    }
    let api = serve_with(WAITS).await;
    let asset = api.service.put_asset(vec![7; UNREAD_BYTES].into()).await.expect("is kept").digest;
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let (mut early, mut heads, mut bodies, mut deaf) = (JoinSet::new(), JoinSet::new(), JoinSet::new(), Vec::new());
    for _ in 0..EARLY {
        early.spawn(drip(connect(&api.tcp).await, head("GET /v1/status") + "X: "));
    }
    for _ in 0..BODIES {
        let begin = head("POST /v1/workloads/combat/call/resolve") + "Content-Length: 60000\r\n\r\n[";
        bodies.spawn(drip(connect(&api.tcp).await, begin));
    }
    for _ in 0..HEADS {
        heads.spawn(drip(connect(&api.tcp).await, head("GET /v1/status") + "X: "));
    }
    for _ in 0..IDLE {
        heads.spawn(drip_nothing(connect(&api.tcp).await, head("GET /healthz") + "\r\n"));
    }
    for _ in 0..DEAF {
        let mut stream = connect(&api.tcp).await;
        stream.write_all((head(&format!("GET /v1/assets/{asset}")) + "\r\n").as_bytes()).await.expect("asked");
        deaf.push(stream);
    }
    for _ in 0..10 {
        for endpoint in [&api.tcp, &api.unix] {
            assert_eq!(send(endpoint, get("/v1/status")).await.status, 200);
            let call = post("/v1/workloads/combat/call/resolve", "[[]]");
            let call = send(endpoint, call.header("authorization", &format!("Bearer {TOKEN}"))).await;
            assert_eq!(call.status, 200, "{}", call.text);
        }
    }
    // They were not answered because the others had gone.
    assert!(bodies.try_join_next().is_none() && early.try_join_next().is_none(), "calls waited for those who are slow");
    let ended = async {
        while heads.join_next().await.transpose().expect("no panic").is_some() {}
        while let Some(told) = bodies.join_next().await.transpose().expect("no panic") {
            assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("slow_body"), "{told}");
        }
        // To those that do not read the system may give all of their answer: then they are idle to us.
        while api.streams.figures().unread == 0 || api.streams.figures().late < HEADS as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(api.streams.figures().late, HEADS as u64, "who is idle between two requests is late with nothing");
    };
    tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap_or_else(|_| panic!("not all were answered or let go of: {:?}", api.streams.figures()));
    assert!(early.try_join_next().is_none(), "who came while there was room may take longer than who came to a crowd");
}

/// Asks on a connection that stays; what it was told, or `None` if it was hung up on.
async fn ask_again(stream: &mut Box<dyn Both>, head: &str) -> Option<String> {
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut told = Vec::new();
    while !told.ends_with(b"}") {
        let read = stream.read_buf(&mut told).await.ok()?;
        (read > 0).then_some(())?;
    }
    String::from_utf8(told).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_politely_for_ever_keeps_nobody_out() {
    if files_max() < FILES {
        println!("skipped: this process may have only {} open files (ulimit -n)", files_max());
        return;
    }
    // So that nobody is let go of for being idle.
    let api = serve_with(Waits { head_crowded: WAITS.head, ..WAITS }).await;
    let events = api.listen(get("/v1/events")).await;
    let with_token = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let without = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut trusted = connect(&api.tcp).await;
    assert!(ask_again(&mut trusted, &with_token).await.is_some());
    let mut polite = Vec::new();
    let crowd = async {
        for _ in 0..POLITE {
            let mut stream = connect(&api.tcp).await;
            let told = ask_again(&mut stream, without).await.expect("a newcomer is answered");
            assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
            polite.push(stream);
        }
    };
    tokio::time::timeout(PATIENCE, crowd).await.expect("a newcomer finds a place");
    // On a machine that is busy one more may be asked before the first has left.
    assert!(api.streams.figures().displaced >= (POLITE + 2 - CONNECTIONS_MAX) as u64, "{:?}", api.streams.figures());
    assert!(ask_again(&mut polite[0], without).await.is_none(), "who was silent for longest has left");
    let last = polite.last_mut().expect("many");
    assert!(ask_again(last, without).await.is_some(), "who came last is still there");
    assert!(
        ask_again(&mut trusted, &with_token).await.is_some(),
        "who showed the token stays, however long it was silent"
    );
    drop(events);
}

/// Asks once, and says nothing from then on.
async fn drip_nothing(mut stream: Box<dyn Both>, request: String) -> String {
    let mut heard = String::new();
    stream.write_all(request.as_bytes()).await.expect("asked");
    stream.read_to_string(&mut heard).await.expect("it is hung up on in good order");
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    heard
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_the_form_of_all_problems() {
    let api = serve().await;
    let long = "a".repeat(70_000);
    let fields: String = (0..100).map(|number| format!("x{number}: y\r\n")).collect();
    for (request, status, code) in [
        (b"GET /v1/state/gset/\xff HTTP/1.1\r\n\r\n".to_vec(), 400, "malformed_http"),
        (b"nonsense\r\n\r\n".to_vec(), 400, "malformed_http"),
        (b"POST /v1/drain HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_vec(), 400, "malformed_http"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(), 414, "path_too_long"),
        (format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes(), 431, "head_too_large"),
    ] {
        for endpoint in [&api.tcp, &api.unix] {
            let mut stream = connect(endpoint).await;
            stream.write_all(&request).await.expect("written");
            let mut told = Vec::new();
            // What was not read of the request may end the connection with a reset, behind the answer.
            let _ended: io::Result<usize> = stream.read_to_end(&mut told).await;
            let told = String::from_utf8_lossy(&told);
            let (head, body) = told.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{code}: {told}"));
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
            let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {told}"));
            assert_eq!((&body["error"]["code"], &body["error"]["changed"]), (&code.into(), &false.into()));
        }
    }
}

#[tokio::test]
async fn over_the_unix_socket_problems_have_the_same_form() {
    let api = serve().await;
    let cbor = post("/v1/commits", vec![0xa0]).header("content-type", "application/cbor");
    for (ask, status, code) in [
        (get("/v2"), 404, "unknown_route"),
        (post("/v1/status", ""), 405, "wrong_method"),
        (post("/v1/commits", vec![0xff]), 400, "malformed_json"),
        (post("/v1/commits", " ".repeat(1024 * 1024 + 1)), 413, "body_too_large"),
        (cbor, 400, "wrong_media_type"),
        (get("/v1/state/gset/%FF"), 400, "bad_path"),
    ] {
        let answer = send(&api.unix, ask).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (status, &code.into()), "{}", answer.text);
        assert!(error["message"].is_string() && error.get("field").is_some() && error["changed"] == false, "{error}");
        assert_eq!(answer.header("allow").is_some(), status == 405);
    }
}
