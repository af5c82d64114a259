//! Bytes that no client library sends: requests that two readers could take for different ones, paths that lead elsewhere, and methods
//! that a route has not.

use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{ask, get};
use super::{Endpoint, Served, TOKEN, serve};

/// Sends a request and, in the same bytes, another one that asks for the end; the status and the code of each answer.
async fn told(api: &Served, request: &str) -> Vec<(u16, String)> {
    let Endpoint::Tcp(address) = &api.tcp else { panic!("over TCP") };
    let (host, token) = (format!("Host: {address}\r\n"), format!("Authorization: Bearer {TOKEN}\r\n"));
    let request = request.replace("HOST\r\n", &host).replace("TOKEN\r\n", &token);
    let next = format!("GET /healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(format!("{request}{next}").as_bytes()).await.expect("written");
    let mut answers = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut answers)).await;
    // Whoever is not heard to the end may see its connection reset, behind the answer.
    assert!(read.is_ok(), "it does not end: {request}");
    let answers = String::from_utf8(answers).expect("text");
    let each = answers.split("HTTP/1.1 ").skip(1).map(|answer| {
        let status = answer.get(..3).and_then(|status| status.parse().ok()).expect("a status");
        let code = answer.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
        (status, code.unwrap_or_default().to_owned())
    });
    each.collect()
}

async fn check(cases: &[(&str, &[(u16, &str)])]) {
    let api = serve().await;
    for (request, expected) in cases {
        let told = told(&api, request).await;
        let told: Vec<(u16, &str)> = told.iter().map(|(status, code)| (*status, code.as_str())).collect();
        assert_eq!(told, *expected, "{request:?}");
        assert_eq!(api.service.changes(), (0, 0, 0), "{request:?}");
    }
}

/// The request after it was read as one of its own.
const NEXT: (u16, &str) = (200, "");

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_the_last_of_its_connection() {
    const POST: &str = "POST /v1/commits HTTP/1.1\r\nHOST\r\nTOKEN\r\n";
    let post = |rest: &str| format!("{POST}{rest}");
    let inner = "GET /v1/status HTTP/1.1\r\nHOST\r\n\r\n";
    let smuggled = post(&format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"));
    let malformed: &[(u16, &str)] = &[(400, "malformed_http")];
    let broken: &[(u16, &str)] = &[(400, "broken_body")];
    check(&[
        (&post("Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), malformed),
        (&post("Content-Length: +2\r\n\r\n{}"), malformed),
        (&post("Content-Length: 99999999999999999999\r\n\r\n{}"), malformed),
        (&smuggled, &[(400, "malformed_json")]),
        (&post("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), malformed),
        (&post("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), malformed),
        (&post("Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), broken),
        (&post("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), broken),
        (&post("Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n"), broken),
        ("GET /healthz HTTP/1.1\r\nHOST\r\nX: a\r\n b\r\n\r\n", malformed),
        ("GET /healthz HTTP/1.1\r\nHOST\r\nX: a\rY: b\r\n\r\n", malformed),
        ("GET /healthz HTTP/1.1\r\nHOST\r\nX : a\r\n\r\n", malformed),
        ("GET /healthz HTTP/1.1\r\n X: a\r\nHOST\r\n\r\n", malformed),
    ])
    .await;
}

#[tokio::test]
async fn codings_that_are_not_undone_and_second_hosts_and_origins_are_refused() {
    let own = "GET /v1/status HTTP/1.1\r\nHost: localhost:7411\r\n";
    check(&[
        (
            "POST /v1/commits HTTP/1.1\r\nHOST\r\nTOKEN\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            &[(400, "malformed_http"), NEXT],
        ),
        (&format!("{own}Host: evil.example\r\n\r\n"), &[(400, "malformed_http"), NEXT]),
        (&format!("{own}Host: localhost:7411\r\n\r\n"), &[(400, "malformed_http"), NEXT]),
        (
            &format!("{own}Origin: http://localhost:7411\r\nOrigin: http://evil.example\r\n\r\n"),
            &[(403, "foreign_origin"), NEXT],
        ),
        ("GET /v1/status HTTP/1.1\r\n\r\n", &[(403, "foreign_host"), NEXT]),
        (
            "GET http://localhost/v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            &[(403, "foreign_host"), NEXT],
        ),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost.\r\n\r\n", &[(403, "foreign_host"), NEXT]),
        (
            "GET /v1/stream HTTP/1.1\r\nHOST\r\nTOKEN\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: null\r\n\r\n",
            &[(403, "foreign_origin"), NEXT],
        ),
    ])
    .await;
}

#[tokio::test]
async fn paths_lead_nowhere_else_and_a_token_in_them_counts_for_nothing() {
    let stream = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    check(&[
        ("GET /v1/../healthz HTTP/1.1\r\nHOST\r\n\r\n", &[(404, "unknown_route"), NEXT]),
        ("GET /v1/%2e%2e/healthz HTTP/1.1\r\nHOST\r\n\r\n", &[(404, "unknown_route"), NEXT]),
        ("GET //healthz HTTP/1.1\r\nHOST\r\n\r\n", &[(404, "unknown_route"), NEXT]),
        ("GET /healthz%00 HTTP/1.1\r\nHOST\r\n\r\n", &[(404, "unknown_route"), NEXT]),
        ("GET /v1/state/gset/a%00b HTTP/1.1\r\nHOST\r\n\r\n", &[(400, "bad_key"), NEXT]),
        ("GET /v1/state/gset/a%0d%0aX:%201 HTTP/1.1\r\nHOST\r\n\r\n", &[(400, "bad_key"), NEXT]),
        (
            &format!("POST /v1/drain?token={TOKEN} HTTP/1.1\r\nHOST\r\nContent-Length: 0\r\n\r\n"),
            &[(401, "unauthorized"), NEXT],
        ),
        (&format!("GET /v1/stream?token={TOKEN} HTTP/1.1\r\nHOST\r\n{stream}\r\n"), &[(401, "unauthorized"), NEXT]),
    ])
    .await;
}

#[tokio::test]
async fn every_route_names_its_methods_to_whoever_comes_with_another() {
    let api = serve().await;
    let description = api.ask(get("/openapi.json")).await.json();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        let has = |method: &str| operations.get(method.to_lowercase()).is_some();
        let parts = path.split('/').map(|part| if part.starts_with('{') { "a" } else { part });
        let asked = parts.collect::<Vec<_>>().join("/");
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if has(method) || method == "HEAD" && has("GET") {
                continue;
            }
            let verb: Method = method.parse().expect("a method");
            let answer = api.ask(ask(verb, &asked, "")).await;
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
            let allowed: Vec<&str> = answer.header("allow").expect("the header Allow").split(',').collect();
            for other in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
                let is_there = has(other) || other == "HEAD" && has("GET");
                assert_eq!(allowed.contains(&other), is_there, "{path} allows {allowed:?}");
            }
        }
    }
}
