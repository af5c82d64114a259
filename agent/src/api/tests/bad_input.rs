//! Every kind of bad input gets an error that names it, and changes nothing.

use bytes::Bytes;
use hyper::Method;

use super::client::{Ask, ask, get, post, put};
use super::{Served, serve};
use crate::api::limits::{ASSETS_IN_ANSWERS_MIB_MAX, WAITERS_MAX, Waits};
use crate::assets::ASSET_BYTES_MAX;
use crate::service::Service as _;

/// Status, code, field.
type Expect = (u16, &'static str, &'static str);

async fn check(api: &Served, ask: Ask, (status, code, field): Expect) {
    let before = api.service.changes();
    let what = format!("{ask:?}").chars().take(300).collect::<String>();
    let answer = api.ask(ask).await;
    let error = &answer.json()["error"];
    assert_eq!(answer.status, status, "{what}: {}", answer.text);
    assert_eq!(error["code"], code, "{what}: {}", answer.text);
    assert_eq!(error["field"].as_str().unwrap_or_default(), field, "{what}: {}", answer.text);
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
    assert!(error.get("hint").is_some(), "{what}: the field is there, be it null");
    let in_doubt = ["no_answer", "internal"].contains(&code);
    assert!(error["changed"] == in_doubt || in_doubt && error["changed"].is_string(), "{what}: {}", answer.text);
    assert_eq!(api.service.changes(), before, "{what}: something changed");
}

#[tokio::test]
async fn values_of_the_wrong_type_are_named_by_their_path() {
    let api = serve().await;
    for (key, body, field) in [
        ("gcounter/a", r#"{"increment":"5"}"#, "increment"),
        ("gcounter/a", r#"{"increment":-5}"#, "increment"),
        ("gcounter/a", r#"{"increment":0.5}"#, "increment"),
        ("gcounter/a", r#"{"increment":18446744073709551616}"#, "increment"),
        ("gcounter/a", r#"{"increment":null}"#, "increment"),
        ("gcounter/a", "[]", "body"),
        ("gcounter/a", "7", "body"),
        ("pncounter/a", r#"{"decrement":[1]}"#, "decrement"),
        ("gset/a", r#"{"add":"x"}"#, "add"),
        ("gset/a", r#"{"add":["x",["y"]]}"#, "add[1]"),
        ("gset/a", r#"{"add":[9223372036854775808]}"#, "add[0]"),
        ("gset/a", r#"{"add":[1e300, 18446744073709551617]}"#, "add[0]"),
        ("gset/a", r#"{"add":[{"bytes":"?"}]}"#, "add[0]"),
        ("gset/a", r#"{"add":[{"bytes":"","more":1}]}"#, "add[0]"),
        ("orset/a", r#"{"remove":{"x":1}}"#, "remove"),
        ("lwwmap/a", r#"{"put":["k"]}"#, "put"),
        ("lwwmap/a", r#"{"put":{"k":[]}}"#, "put.k"),
        ("lwwmap/a", r#"{"remove":[1]}"#, "remove[0]"),
    ] {
        check(&api, post(&format!("/v1/state/{key}"), body), (422, "wrong_type", field)).await;
    }
    check(&api, post("/v1/state/lwwmap/a", r#"{"put":{"":1}}"#), (422, "bad_field_name", "put")).await;
    check(&api, post("/v1/workloads/combat/call/resolve", "7"), (422, "wrong_type", "body")).await;
    check(&api, put("/v1/workloads/combat", "[]"), (422, "wrong_type", "body")).await;
}

#[tokio::test]
async fn a_wrong_operation_in_a_commit_is_named_and_none_is_applied() {
    let api = serve().await;
    let sound = r#"{"key":"gcounter/kills","increment":1}"#;
    for (body, expect) in [
        (format!(r#"{{"ops":[{sound},{{"key":"gset/s","add":[[]]}}]}}"#), (422, "wrong_type", "ops[1].add[0]")),
        (
            format!(r#"{{"ops":[{sound},{{"key":"lwwmap/m","put":{{"k":{{}}}}}}]}}"#),
            (422, "wrong_type", "ops[1].put.k"),
        ),
        (format!(r#"{{"ops":[{sound},7]}}"#), (422, "wrong_type", "ops[1]")),
        (format!(r#"{{"ops":{sound}}}"#), (422, "wrong_type", "ops")),
        (format!(r#"{{"ops":[{sound},{{"key":7,"increment":1}}]}}"#), (422, "wrong_type", "ops[1].key")),
        (format!(r#"{{"ops":[{sound},{{"increment":1}}]}}"#), (400, "missing_field", "ops[1].key")),
        (format!(r#"{{"ops":[{sound},{{"key":"gcounter/a"}}]}}"#), (400, "missing_field", "ops[1]")),
        (
            format!(r#"{{"ops":[{sound},{{"key":"counter/a","increment":1}}]}}"#),
            (400, "unknown_key_type", "ops[1].key"),
        ),
        (format!(r#"{{"ops":[{sound},{{"key":"kills","increment":1}}]}}"#), (400, "bad_key", "ops[1].key")),
        (
            format!(r#"{{"ops":[{sound},{{"key":"gset/a","increment":1}}]}}"#),
            (400, "unknown_field", "ops[1].increment"),
        ),
        (format!(r#"{{"ops":[{sound},{{"key":"gset/selvedge:x","add":[1]}}]}}"#), (403, "reserved_key", "ops[1].key")),
        (
            format!(r#"{{"ops":[{sound},{{"key":"gcounter/a","increment":18446744073709551615}}]}}"#),
            (409, "overflow", "ops[1].increment"),
        ),
        (format!(r#"{{"ops":[{sound}],"op":1}}"#), (400, "unknown_field", "op")),
        (r#"{"ops":[]}"#.to_owned(), (400, "missing_field", "ops")),
        ("{}".to_owned(), (400, "missing_field", "ops")),
        (format!(r#"{{"ops":[{}]}}"#, vec![sound; 8193].join(",")), (413, "too_many_operations", "ops")),
    ] {
        check(&api, post("/v1/commits", body), expect).await;
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let api = serve().await;
    for (ask, expect) in [
        (post("/v1/state/counter/a", r#"{"increment":1}"#), (400, "unknown_key_type", "type")),
        (get("/v1/state/counter/a"), (400, "unknown_key_type", "type")),
        (get("/v1/state?prefix=bogus"), (400, "unknown_key_type", "prefix")),
        (get("/v1/state?prefix=gset2/a"), (400, "unknown_key_type", "prefix")),
        (get("/v1/state/kills"), (400, "bad_key", "type")),
        (get("/v1/state/gset/"), (400, "bad_key", "name")),
        (get("/v1/state/gset/a%0Ab"), (400, "bad_key", "name")),
        (get("/v1/state/gset/%FF"), (400, "bad_path", "path")),
        (get(&format!("/v1/state/gset/{}", "x".repeat(257))), (400, "bad_key", "name")),
        (get("/v1/state/gset/never-written"), (404, "unknown_key", "key")),
        (post("/v1/state/gcounter/a", r#"{"add":["x"]}"#), (400, "unknown_field", "add")),
        (post("/v1/state/gset/a", r#"{"remove":["x"]}"#), (400, "unknown_field", "remove")),
        (post("/v1/state/gcounter/a", r#"{"increment":1,"by":2}"#), (400, "unknown_field", "by")),
        (post("/v1/state/gcounter/a", r#"{"key":1}"#), (400, "unknown_field", "key")),
        (post("/v1/state/gcounter/a", "{}"), (400, "missing_field", "body")),
        (post("/v1/state/gcounter/selvedge:a", r#"{"increment":1}"#), (403, "reserved_key", "name")),
        (get("/v1/workloads/chess"), (404, "unknown_workload", "name")),
        (get("/v1/nodes/nobody"), (404, "unknown_node", "id")),
        (ask(Method::DELETE, "/v1/workloads/chess", ""), (404, "unknown_workload", "")),
        (post("/v1/workloads/chess/call/move", "[]"), (404, "unknown_workload", "name")),
        (post("/v1/workloads/combat/call/dance", "[]"), (404, "unknown_function", "function")),
        (put("/v1/workloads/combat", r#"{"name":"other","artifact":"d1"}"#), (400, "wrong_name", "name")),
        (put("/v1/workloads/combat", r#"{"replicas":1}"#), (400, "missing_field", "artifact")),
        (get("/v1/commits/x/1"), (400, "bad_commit_name", "replica")),
        (get(&format!("/v1/commits/{}/x", super::fake::ME)), (400, "bad_commit_name", "seq")),
        (get(&format!("/v1/commits/{}/99", super::fake::ME)), (404, "unknown_commit", "")),
        (get("/v2/status"), (404, "unknown_route", "")),
        (get("/v1/state/"), (404, "unknown_route", "")),
        (post("/v1/status", "{}"), (405, "wrong_method", "")),
        (ask(Method::DELETE, "/v1/state/gset/a", ""), (405, "wrong_method", "")),
    ] {
        check(&api, ask, expect).await;
    }
    let refused = api.ask(post("/v1/status", "{}")).await;
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn broken_documents_and_parameters_are_named() {
    let api = serve().await;
    for (ask, expect) in [
        (post("/v1/commits", "{\"ops\":\n [}"), (400, "malformed_json", "body")),
        (post("/v1/commits", ""), (400, "malformed_json", "body")),
        (post("/v1/commits", vec![0xff]), (400, "malformed_json", "body")),
        (post("/v1/commits", "[".repeat(1000)), (400, "malformed_json", "body")),
        (put("/v1/artifacts", ""), (400, "empty_artifact", "body")),
        (put("/v1/assets", ""), (400, "empty_asset", "body")),
        (get("/v1/assets?after=x"), (400, "bad_digest", "after")),
        (get("/v1/assets/blake3:00"), (400, "bad_digest", "digest")),
        (get("/v1/assets/..%2F..%2Fnode.key"), (400, "bad_digest", "digest")),
        (put("/v1/artifacts", "no wasm"), (400, "no_component", "body")),
        (get("/v1/state?prefx=a"), (400, "unknown_parameter", "prefx")),
        (get("/v1/state?after=a"), (400, "bad_key", "after")),
        (get("/v1/state?limit=0"), (400, "bad_parameter", "limit")),
        (get("/v1/state?limit=1001"), (400, "bad_parameter", "limit")),
        (get("/v1/events?prefx=a"), (400, "unknown_parameter", "prefx")),
        (get("/v1/events?prefix=counter/a"), (400, "unknown_key_type", "prefix")),
        (get("/v1/events?prefix=gset/a%0A"), (400, "bad_key", "prefix")),
        (get("/v1/convergence?wait=10"), (400, "bad_parameter", "wait")),
        (get("/v1/convergence?wait=1d"), (400, "bad_parameter", "wait")),
        (post("/v1/state/gcounter/a?durable=maybe", r#"{"increment":1}"#), (400, "bad_parameter", "durable")),
        (
            post("/v1/workloads/combat/call/resolve", "[]").header("selvedge-deadline-ms", "0"),
            (400, "bad_header", "selvedge-deadline-ms"),
        ),
        (
            post("/v1/commits", r#"{"ops":[{"key":"gcounter/a","increment":1}]}"#)
                .header("idempotency-key", &"k".repeat(256)),
            (400, "bad_header", "idempotency-key"),
        ),
    ] {
        check(&api, ask, expect).await;
    }
    let refused = api.ask(post("/v1/commits", "{\"ops\":\n [}")).await.json();
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("line 2 column 3"), "{message}");
}

#[tokio::test]
async fn bodies_and_values_that_are_too_large_are_refused() {
    let api = serve().await;
    let too_large = (413, "body_too_large", "body");
    check(&api, post("/v1/commits", " ".repeat(1024 * 1024 + 1)), too_large).await;
    check(&api, post("/v1/workloads/combat/call/resolve", "x".repeat(2 * 1024 * 1024)), too_large).await;
    check(&api, put("/v1/artifacts", vec![0; 64 * 1024 * 1024 + 1]), too_large).await;
    let large = format!(r#"{{"add":["{}"]}}"#, "x".repeat(65_537));
    check(&api, post("/v1/state/gset/a", large), (413, "value_too_large", "add")).await;
    let many = format!(r#"{{"add":[{}]}}"#, vec!["1"; 4097].join(","));
    check(&api, post("/v1/state/gset/a", many), (413, "too_many_members", "add")).await;
}

#[tokio::test]
async fn failures_of_the_agent_say_so() {
    let api = serve().await;
    let by_one = r#"{"increment":1}"#;
    check(&api, post("/v1/state/gcounter/full", by_one), (503, "read_only", "")).await;
    check(&api, post("/v1/state/gcounter/busy", by_one), (429, "busy", "")).await;
    check(&api, post("/v1/state/gcounter/slow", by_one), (504, "no_answer", "")).await;
    check(&api, post("/v1/workloads/combat/call/loop", "[]"), (504, "deadline", "")).await;
    check(&api, get("/v1/state/gset/panic"), (500, "internal", "")).await;
    assert_eq!(api.ask(put("/v1/workloads/beta", r#"{"artifact":"d1"}"#)).await.status, 200);
    let late = api.ask(ask(Method::DELETE, "/v1/workloads/beta?wait=1ms", "")).await;
    assert_eq!((late.status, &late.json()["error"]["changed"]), (504, &"the spec is removed".into()), "{}", late.text);
    let busy = api.ask(post("/v1/state/gcounter/busy", by_one)).await;
    assert_eq!(busy.header("retry-after"), Some("1"));
    let slow = api.ask(post("/v1/state/gcounter/slow", by_one)).await;
    assert!(slow.json()["error"]["changed"].is_string(), "{}", slow.text);
    assert_eq!(api.ask(get("/healthz")).await.status, 200, "the server outlives a panic");
}

#[tokio::test]
async fn those_who_wait_do_not_crowd_out_those_who_work() {
    let api = std::sync::Arc::new(serve().await);
    let waiting: Vec<_> = (0..WAITERS_MAX)
        .map(|_| {
            let api = std::sync::Arc::clone(&api);
            tokio::spawn(async move { api.ask(get("/v1/convergence?wait=300s")).await })
        })
        .collect();
    let refused = async {
        loop {
            let answer = api.ask(get("/v1/convergence?wait=1ms")).await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.expect("refused in time");
    assert_eq!((&refused.json()["error"]["code"], refused.header("retry-after")), (&"busy".into(), Some("1")));
    assert_eq!(api.ask(get("/v1/status")).await.status, 200);
    let over_unix = super::client::send(&api.unix, get("/v1/convergence?wait=1ms")).await;
    assert_eq!(over_unix.status, 504, "who needs no right to connect takes no place from who does: {}", over_unix.text);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn assets_that_nobody_reads_are_bounded_and_give_way_once_their_readers_go() {
    let api = serve().await;
    let (path, mut readers) = unread(&api).await;
    let refused = api.ask(get(&path)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &"busy".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(super::client::send(&api.unix, get(&path)).await.status, 200, "over the other socket there is room");
    drop(readers.pop());
    let given = async { while api.ask(get(&path)).await.status != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), given).await.expect("given in time");
}

#[tokio::test]
async fn readers_that_stay_and_do_not_read_give_way_when_patience_ends() {
    // Longer than it takes to fill the room, which nobody else then has.
    let api = super::serve_with(Waits { read: std::time::Duration::from_secs(2), ..Waits::default() }).await;
    let (path, readers) = unread(&api).await;
    let given = async { while api.ask(get(&path)).await.status != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), given).await.expect("given in time");
    assert!(api.streams.figures().unread > 0);
    drop(readers);
}

/// The largest asset, and as many who ask for it and do not read as there is room for.
async fn unread(api: &Served) -> (String, Vec<super::client::Stream>) {
    // More than the kernel buffers, so that answers stay in memory until they are read.
    let largest = Bytes::from(vec![7; ASSET_BYTES_MAX]);
    let stored = api.service.put_asset(largest).await.expect("is kept");
    let path = format!("/v1/assets/{}", stored.digest);
    let mut readers = Vec::new();
    for _ in 0..ASSETS_IN_ANSWERS_MIB_MAX * 1024 * 1024 / ASSET_BYTES_MAX {
        // A part holds all of it.
        readers.push(api.listen(get(&path).header("range", "bytes=1-")).await);
    }
    assert!(readers.iter().all(|reader| reader.status == 206));
    (path, readers)
}
