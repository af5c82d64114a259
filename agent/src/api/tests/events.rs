//! Events over the wire: their form, coming back, and the bounds.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Stream, ask, get, post};
use super::fake::{LIFE, ME};
use super::{Served, serve};
use crate::service::{Event, MemberEvent};

/// An event as a listener has it: id, kind, data.
type Heard = (String, String, Value);

async fn write(api: &Served, key: &str) {
    let answer = api.ask(post(&format!("/v1/state/{key}"), r#"{"increment":1}"#)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// The next event, past ids that only say how far one has heard.
async fn heard(stream: &mut Stream) -> Heard {
    let next = async {
        loop {
            let block = stream.block().await.expect("the stream goes on");
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.map(|value| value.trim_start().to_owned()).unwrap_or_default()
            };
            if !field("data:").is_empty() {
                let data = serde_json::from_str(&field("data:")).expect("JSON");
                return (field("id:"), field("event:"), data);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("in time")
}

fn committed(position: u64, key: &str, value: i64, seq: u64) -> Heard {
    let data = json!({"keys": [key], "values": {key: value}, "replica": ME.to_string(), "seq": seq, "hlc": "1000.0"});
    (format!("{LIFE}-{position}"), "commit".to_owned(), data)
}

#[tokio::test]
async fn commits_are_told_as_they_happen_and_only_those_asked_for() {
    let api = serve().await;
    let mut kills = api.listen(get("/v1/events?prefix=gcounter/ki")).await;
    let mut all = api.listen(get("/v1/events")).await;
    assert_eq!((kills.status, kills.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(kills.header("cache-control"), Some("no-store"));
    write(&api, "gcounter/deaths").await;
    write(&api, "gcounter/kills").await;
    assert_eq!(heard(&mut kills).await, committed(4, "gcounter/kills", 1, 2));
    assert_eq!(heard(&mut all).await, committed(3, "gcounter/deaths", 1, 1));
    assert_eq!(heard(&mut all).await, committed(4, "gcounter/kills", 1, 2));
    let member = MemberEvent { node: ME.node, name: "alpha".to_owned(), status: "alive" };
    api.service.events.record([Event::Member(member)]);
    let told = json!({"node": ME.node.to_string(), "name": "alpha", "status": "alive"});
    assert_eq!(heard(&mut all).await, (format!("{LIFE}-5"), "member".to_owned(), told));
    write(&api, "gcounter/kicks").await;
    assert_eq!(heard(&mut kills).await, committed(6, "gcounter/kicks", 1, 3), "members were not asked for");
}

#[tokio::test]
async fn kinds_are_chosen_and_what_has_passed_is_told() {
    let api = serve().await;
    let mut members = api.listen(get("/v1/events?kinds=member,link")).await;
    write(&api, "gcounter/kills").await;
    let member = MemberEvent { node: ME.node, name: "alpha".to_owned(), status: "lost" };
    api.service.events.record([Event::Member(member)]);
    let told = json!({"node": ME.node.to_string(), "name": "alpha", "status": "lost"});
    let (id, kind, data) = heard(&mut members).await;
    assert_eq!((kind.as_str(), &data), ("member", &told), "commits were not asked for");
    let past: Value = serde_json::from_str(&api.ask(get("/v1/events/recent")).await.text).expect("JSON");
    assert_eq!(
        (past.as_array().map(Vec::len), &past[0]["id"], &past[0]["kind"]),
        (Some(1), &json!(id), &json!("member"))
    );
    assert_eq!((&past[0]["status"], &past[0]["name"]), (&json!("lost"), &json!("alpha")));
    for (path, field) in [("kinds=birth", "kinds"), ("kinds=", "kinds"), ("kinds=member&prefix=gset/", "prefix")] {
        let answer = api.ask(get(&format!("/v1/events?{path}"))).await;
        let error: Value = serde_json::from_str(&answer.text).expect("JSON");
        assert_eq!((answer.status, &error["error"]["field"]), (400, &json!(field)), "{}", answer.text);
    }
}

#[tokio::test]
async fn whoever_comes_back_hears_what_happened_meanwhile() {
    let api = serve().await;
    let mut first = api.listen(get("/v1/events?prefix=gcounter/")).await;
    write(&api, "gcounter/a").await;
    let (id, ..) = heard(&mut first).await;
    drop(first);
    write(&api, "gcounter/b").await;
    write(&api, "gcounter/a").await;
    let mut second = api.listen(get("/v1/events?prefix=gcounter/").header("last-event-id", &id)).await;
    assert_eq!(heard(&mut second).await, committed(3, "gcounter/b", 1, 2));
    assert_eq!(heard(&mut second).await, committed(4, "gcounter/a", 2, 3));
    for id in ["4-2", "5-99", "what?"] {
        let mut stranger = api.listen(get("/v1/events?prefix=gcounter/").header("last-event-id", id)).await;
        let (_, kind, data) = heard(&mut stranger).await;
        assert_eq!(kind, "reset", "{id}");
        assert!(data["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{data}");
    }
}

#[tokio::test]
async fn listeners_beyond_the_bound_are_refused_and_hold_up_nobody() {
    let api = serve().await;
    let mut listeners = Vec::new();
    let refused = loop {
        let listener = api.listen(get("/v1/events")).await;
        match listener.status {
            200 => listeners.push(listener),
            _ => break listener,
        }
        assert!(listeners.len() < 1_000, "there is no bound");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(api.ask(get("/v1/status")).await.status, 200);
    for _ in 0..listeners.len() {
        let by_right = Stream::open(&api.unix, get("/v1/events")).await;
        assert_eq!(by_right.status, 200, "as many places are kept for the unix socket");
        listeners.push(by_right);
    }
    assert_eq!(Stream::open(&api.unix, get("/v1/events")).await.status, 429);
    drop(listeners);
    let again = async { while api.listen(get("/v1/events")).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("whoever goes makes room");
}

#[tokio::test]
async fn the_end_of_the_agent_ends_the_streams_at_once() {
    let mut api = serve().await;
    let mut stream = api.listen(get("/v1/events")).await;
    let begun = std::time::Instant::now();
    api.stop().await;
    while stream.block().await.is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(4), "it was waited for: {:?}", begun.elapsed());
}

#[tokio::test]
async fn listening_needs_no_token_but_a_host_of_ours() {
    let api = serve().await;
    let stream = Stream::open(&api.tcp, get("/v1/events")).await;
    assert_eq!(stream.status, 200);
    let foreign = Stream::open(&api.tcp, get("/v1/events").header("host", "evil.example")).await;
    assert_eq!(foreign.status, 403);
    let head = api.ask(ask(hyper::Method::HEAD, "/v1/events", "")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}
