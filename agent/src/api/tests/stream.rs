//! The call stream over real sockets: frames, bounds, rights, and both kinds of end.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::client::{get, send};
use super::fake::{NODE, OTHER};
use super::{Served, TOKEN, serve};
use crate::api::Endpoint;
use crate::api::limits::{FRAME_BYTES_MAX, FRAMES_IN_FLIGHT_MAX};
use crate::encoding::cbor::{decode, encode};
use crate::service::Caller;

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(30);

struct Talk<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::Binary(encode(frame).into())).await.expect("sent");
    }

    async fn call(&mut self, id: u64, function: &str, args: Value) {
        self.say(&json!({"id": id, "workload": "combat", "function": function, "args": args})).await;
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something comes");
        next.expect("it goes on").expect("it is whole")
    }

    async fn hear(&mut self) -> Value {
        match self.next().await {
            Message::Binary(bytes) => decode(&bytes).expect("CBOR"),
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The code and the reason of the goodbye that comes next.
    async fn goodbye(&mut self) -> (CloseCode, String) {
        match self.next().await {
            Message::Close(Some(close)) => (close.code, close.reason.to_string()),
            other => panic!("no goodbye: {other:?}"),
        }
    }
}

async fn open(api: &Served) -> Talk<TcpStream> {
    try_open(api, &[("authorization", &format!("Bearer {TOKEN}"))]).await.expect("let in")
}

async fn try_open(api: &Served, headers: &[(&'static str, &str)]) -> Result<Talk<TcpStream>, Error> {
    let Endpoint::Tcp(address) = &api.tcp else { panic!("tcp") };
    let mut request = format!("ws://{address}/v1/stream").into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    let stream = TcpStream::connect(address).await.expect("connected");
    client_async(request, stream).await.map(|(talk, _)| Talk(talk))
}

fn refused(opened: Result<Talk<TcpStream>, Error>) -> u16 {
    match opened {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_frame_says_where_its_caller_is_and_is_refused_alone_when_it_comes_too_soon() {
    let api = serve().await;
    let mut talk = open(&api).await;
    let frame = |workload: &str| json!({"id": "y", "workload": workload, "function": "resolve", "args": [], "session": "anna", "region": "eu"});
    talk.say(&frame("combat")).await;
    assert_eq!(talk.hear().await["id"], "y");
    let (entered, session) = api.service.entered();
    let last = ("combat".to_owned(), Caller::Token, Some("eu".to_owned()), None);
    assert_eq!((entered.last(), session.is_some()), (Some(&last), true));
    talk.say(&frame("hasty")).await;
    let hasty = talk.hear().await;
    assert_eq!((&hasty["id"], &hasty["error"]["code"]), (&json!("y"), &json!("rate_limited")));
    talk.say(&frame("combat")).await;
    assert_eq!(talk.hear().await["node"], json!(OTHER), "the connection goes on");
}

#[tokio::test]
async fn frames_are_answered_by_their_ids_in_any_order() {
    let api = serve().await;
    let mut talk = open(&api).await;
    talk.call(1, "wait", json!(["slow"])).await;
    talk.call(2, "resolve", json!([u64::MAX])).await;
    let commit = format!("{}/9", super::fake::ME);
    assert_eq!(talk.hear().await, json!({"id": 2, "result": [u64::MAX], "node": OTHER, "commit": commit}));
    api.service.gate.add_permits(1);
    assert_eq!(talk.hear().await, json!({"id": 1, "result": ["slow"], "node": NODE}));
    talk.say(&json!({"id": "x", "workload": "combat", "function": "resolve", "deadline_ms": 70})).await;
    assert_eq!(talk.hear().await["id"], "x");
    assert_eq!(api.service.last_deadline(), Some(Duration::from_millis(70)));
    assert_eq!(api.streams.figures().answered, 3);
}

#[tokio::test]
async fn the_unix_socket_has_it_too_and_wants_no_token() {
    let api = serve().await;
    let Endpoint::Unix(path) = &api.unix else { panic!("unix") };
    let stream = UnixStream::connect(path).await.expect("connected");
    let (talk, _) = client_async("ws://selvedge/v1/stream", stream).await.expect("let in");
    let mut talk = Talk(talk);
    talk.call(7, "resolve", json!([])).await;
    assert_eq!(talk.hear().await["id"], 7);
}

#[tokio::test]
async fn over_tcp_it_takes_the_token_and_no_page_from_elsewhere() {
    let api = serve().await;
    let token = format!("Bearer {TOKEN}");
    assert_eq!(refused(try_open(&api, &[]).await), 401);
    assert_eq!(refused(try_open(&api, &[("authorization", "Bearer no")]).await), 401);
    assert_eq!(refused(try_open(&api, &[("authorization", &token), ("origin", "http://evil.example")]).await), 403);
    assert_eq!(refused(try_open(&api, &[("authorization", &token), ("host", "evil.example")]).await), 403);
    let plain = send(&api.tcp, get("/v1/stream")).await;
    assert_eq!((plain.status, plain.json()["error"]["code"].as_str()), (400, Some("no_websocket")));
    assert_eq!(api.streams.figures().open, 0);
}

#[tokio::test]
async fn what_is_wrong_with_one_frame_is_answered_and_the_next_one_is_served() {
    let api = serve().await;
    let mut talk = open(&api).await;
    let check = async |talk: &mut Talk<TcpStream>, id: Value, code: &str| {
        let answer = talk.hear().await;
        assert_eq!((&answer["id"], answer["error"]["code"].as_str()), (&id, Some(code)), "{answer}");
    };
    talk.0.send(Message::Binary(vec![0xff].into())).await.expect("sent");
    check(&mut talk, Value::Null, "malformed_cbor").await;
    talk.0.send(Message::Binary(vec![0; FRAME_BYTES_MAX + 1].into())).await.expect("sent");
    check(&mut talk, Value::Null, "frame_too_large").await;
    talk.say(&json!({"id": 1, "workload": "combat"})).await;
    check(&mut talk, json!(1), "missing_field").await;
    talk.call(2, "nope", json!([])).await;
    check(&mut talk, json!(2), "unknown_function").await;
    talk.call(3, "panic", json!([])).await;
    check(&mut talk, json!(3), "internal").await;
    talk.call(4, "resolve", json!([])).await;
    assert_eq!(talk.hear().await["id"], 4);
    let figures = api.streams.figures();
    assert_eq!((figures.malformed, figures.failed, figures.answered), (3, 2, 1));
}

#[tokio::test]
async fn a_text_ends_it_with_a_reason() {
    let api = serve().await;
    let mut talk = open(&api).await;
    talk.0.send(Message::Text("{}".into())).await.expect("sent");
    let (code, reason) = talk.goodbye().await;
    assert_eq!(code, CloseCode::Unsupported);
    assert!(reason.contains("binary"), "{reason}");
    until("it is counted", || api.streams.figures().broken == 1).await;
}

#[tokio::test]
async fn so_many_calls_are_under_way_and_the_next_one_is_read_when_one_ends() {
    let api = serve().await;
    let mut talk = open(&api).await;
    let all = FRAMES_IN_FLIGHT_MAX + 10;
    for id in 0..all {
        talk.call(id as u64, "wait", json!([])).await;
    }
    until("as many as may be are under way", || api.service.waiting().0 == FRAMES_IN_FLIGHT_MAX).await;
    api.service.gate.add_permits(1);
    let first = talk.hear().await["id"].as_u64().expect("an id");
    until("another one is taken", || api.service.waiting().0 == FRAMES_IN_FLIGHT_MAX).await;
    api.service.gate.add_permits(all);
    let mut ids = BTreeSet::from([first]);
    while ids.len() < all {
        ids.insert(talk.hear().await["id"].as_u64().expect("an id"));
    }
    assert_eq!(api.service.waiting(), (0, FRAMES_IN_FLIGHT_MAX));
}

#[tokio::test]
async fn an_agent_that_stops_answers_what_it_has_read_and_says_goodbye() {
    let mut api = serve().await;
    let mut talk = open(&api).await;
    talk.call(1, "wait", json!([])).await;
    until("the call is under way", || api.service.waiting().0 == 1).await;
    let gate = std::sync::Arc::clone(&api.service);
    let heard = tokio::spawn(async move {
        // What comes before the end of the call would come here first.
        gate.gate.add_permits(1);
        let answer = talk.hear().await;
        (answer, talk.goodbye().await)
    });
    api.stop().await;
    let (answer, (code, reason)) = heard.await.expect("no panic");
    assert_eq!(answer["id"], 1);
    assert_eq!(code, CloseCode::Away);
    assert!(reason.contains("stopping"), "{reason}");
    assert_eq!(api.streams.figures().open, 0);
}

#[tokio::test]
async fn whoever_sends_and_does_not_read_is_let_go_of() {
    let api = serve().await;
    let mut talk = open(&api).await;
    let large = json!(["x".repeat(FRAME_BYTES_MAX / 2)]);
    let stuffed = async {
        loop {
            let frame = json!({"id": 1, "workload": "combat", "function": "resolve", "args": large});
            if talk.0.send(Message::Binary(encode(&frame).into())).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, stuffed).await.expect("the connection is broken off");
    until("it is counted", || api.streams.figures().stuck == 1).await;
    until("nothing of it is left", || api.streams.figures().open == 0).await;
}
