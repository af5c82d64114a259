//! Sound requests get the documents that INTERFACE promises.

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Ask, ask, get, post, put};
use super::fake::{DEPLOYMENT, HOSTILE, ME, NODE, OTHER, REVISION};
use super::{Served, serve};

async fn check(api: &Served, ask: Ask, expect: Value) {
    let what = format!("{ask:?}");
    let answer = api.ask(ask).await;
    assert_eq!(answer.status, 200, "{what}: {}", answer.text);
    assert_eq!(answer.json(), expect, "{what}");
}

#[tokio::test]
async fn changes_answer_their_commit_and_the_value() {
    let api = serve().await;
    for (seq, (key, body, value)) in (1_u64..).zip([
        ("gcounter/kills", r#"{"increment":5}"#, json!(5)),
        ("pncounter/hp:42", r#"{"increment":5}"#, json!(5)),
        ("pncounter/hp:42", r#"{"decrement":7}"#, json!(-2)),
        ("gset/seen", r#"{"add":["b",2,"a",null,true,0.5]}"#, json!([null, true, 2, 0.5, "a", "b"])),
        ("gset/bytes", r#"{"add":[{"bytes":"AP8="}]}"#, json!([{"bytes": "AP8="}])),
        ("orset/online", r#"{"add":["x","y"]}"#, json!(["x", "y"])),
        ("orset/online", r#"{"add":["z"],"remove":["x"]}"#, json!(["y", "z"])),
        ("orset/online", r#"{"add":["y"],"remove":["y"]}"#, json!(["y", "z"])),
        ("lwwmap/player:42", r#"{"put":{"name":"Ada","hp":7}}"#, json!({"hp": 7, "name": "Ada"})),
        ("lwwmap/player:42", r#"{"remove":["hp"]}"#, json!({"name": "Ada"})),
        ("gset/big", r#"{"add":[1e300,-9223372036854775808]}"#, json!([i64::MIN, 1e300])),
    ]) {
        let commit = json!({"replica": ME.to_string(), "seq": seq, "hlc": "1000.0"});
        check(&api, post(&format!("/v1/state/{key}"), body), json!({"commit": commit, "value": value})).await;
        let read = api.ask(get(&format!("/v1/state/{key}"))).await.json();
        assert_eq!((&read["key"], &read["value"]), (&json!(key), &value));
        assert_eq!(read["clock"][ME.to_string()], seq);
        assert!(read["root"].is_string());
    }
}

#[tokio::test]
async fn names_may_hold_slashes_and_colons_encoded_or_not() {
    let api = serve().await;
    for path in ["lwwmap/player:42/inventory", "lwwmap/player%3A42%2Finventory", "lwwmap%2Fplayer:42/inventory"] {
        let answer = api.ask(post(&format!("/v1/state/{path}"), r#"{"put":{"k":1}}"#)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    api.ask(post("/v1/state/gset/caf%C3%A9%20%25", r#"{"add":[1]}"#)).await;
    let keys = json!([
        {"key": "gset/café %", "type": "gset"},
        {"key": "lwwmap/player:42/inventory", "type": "lwwmap"},
    ]);
    check(&api, get("/v1/state"), json!({"keys": keys, "next": null})).await;
}

#[tokio::test]
async fn keys_come_in_pages() {
    let api = serve().await;
    for name in ["a:1", "a:2", "a:3", "b"] {
        api.ask(post(&format!("/v1/state/gcounter/{name}"), r#"{"increment":1}"#)).await;
    }
    let key = |name: &str| json!({"key": format!("gcounter/{name}"), "type": "gcounter"});
    let first = json!({"keys": [key("a:1"), key("a:2")], "next": "gcounter/a:2"});
    check(&api, get("/v1/state?prefix=gcounter/a%3A&limit=2"), first).await;
    let last = json!({"keys": [key("a:3")], "next": null});
    check(&api, get("/v1/state?prefix=gcounter/a%3A&limit=2&after=gcounter/a%3A2"), last).await;
}

#[tokio::test]
async fn several_operations_make_one_commit() {
    let api = serve().await;
    let body = r#"{"ops":[{"key":"gcounter/kills","increment":1},{"key":"orset/on","add":["x"],"remove":["y"]}]}"#;
    let commit = json!({"commit": {"replica": ME.to_string(), "seq": 1, "hlc": "1000.0"}});
    check(&api, post("/v1/commits?durable=true", body), commit).await;
    assert!(api.service.last_was_durable());
    let progress = json!({"durable": true, "seen_by": [NODE.to_string()], "stable": false});
    check(&api, get(&format!("/v1/commits/{ME}/1")), progress).await;
}

#[tokio::test]
async fn an_idempotency_key_makes_a_retry_harmless() {
    let api = serve().await;
    let by = |path: &str, key: &str| post(path, r#"{"increment":1}"#).header("idempotency-key", key);
    let first = api.ask(by("/v1/state/gcounter/a", "k1")).await.json();
    let again = api.ask(by("/v1/state/gcounter/a", "k1")).await.json();
    assert_eq!(first, again);
    let other = api.ask(by("/v1/state/gcounter/a", "k2")).await.json();
    assert_eq!(other["value"], 2);
    let elsewhere = api.ask(by("/v1/state/gcounter/b", "k1")).await.json();
    assert_eq!(elsewhere["commit"]["seq"], 3, "the same key means another request on another path");
}

#[tokio::test]
async fn workloads_are_deployed_shown_called_and_removed() {
    let api = serve().await;
    let artifact = json!({"digest": "d1", "size": 8, "exports": ["resolve"], "imports": []});
    check(&api, put("/v1/artifacts", "\0asm1234"), artifact).await;
    let spec = json!({"artifact": "d1", "replicas": 3});
    let changed =
        |seq: u64| json!({"name": "combat", "commit": {"replica": ME.to_string(), "seq": seq, "hlc": "1000.0"}});
    let set = |seq: u64| {
        let mut set = changed(seq);
        set["revision"] = json!(REVISION);
        set["deployment"] = json!(DEPLOYMENT);
        set
    };
    check(&api, put("/v1/workloads/combat", spec.to_string()), set(1)).await;
    let shown = api.ask(get("/v1/workloads/combat")).await;
    assert_eq!(shown.json()["artifact"], "d1");
    assert_eq!(shown.json()["status"]["instances"][2]["reason"], "not enough memory");
    check(&api, put("/v1/workloads/combat", shown.text.clone()), set(2)).await;
    assert_eq!(api.ask(get("/v1/workloads/combat")).await.text, shown.text, "what was read can be sent back");
    assert_eq!(api.ask(get("/v1/workloads")).await.json(), json!([shown.json()]));
    check(
        &api,
        get("/v1/workloads/combat/placement"),
        json!({"workload": "combat", "candidates": [], "why": format!("{HOSTILE} scores 0.91")}),
    )
    .await;
    let before = api.service.changes();
    check(&api, put("/v1/workloads/chess?dry_run=true", spec.to_string()), json!({"name": "chess", "dry_run": true}))
        .await;
    assert_eq!(api.ask(put("/v1/artifacts?dry_run=true", "\0asm1234")).await.json()["digest"], "d1");
    assert_eq!(api.service.changes(), before, "nothing was changed");
    check(&api, post("/v1/workloads/combat/rollback?force=true", ""), set(3)).await;
    assert_eq!(api.ask(post("/v1/workloads/combat/rollback", "")).await.status, 409);
    check(&api, ask(Method::DELETE, "/v1/workloads/combat", ""), changed(4)).await;
    check(&api, put("/v1/workloads/combat", spec.to_string()), set(5)).await;
    check(&api, ask(Method::DELETE, "/v1/workloads/combat?wait=10s", ""), changed(6)).await;
}

#[tokio::test]
async fn a_call_answers_its_result_and_says_who_answered() {
    let api = serve().await;
    let call = post("/v1/workloads/combat/call/resolve", r#"{"duels":[1]}"#).header("selvedge-deadline-ms", "25");
    let answer = api.ask(call).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"duels":[1]}"#));
    assert_eq!(answer.header("selvedge-node"), Some(OTHER.to_string().as_str()));
    assert_eq!(answer.header("selvedge-commit"), Some(format!("{ME}/9").as_str()));
    assert_eq!(api.service.last_deadline(), Some(std::time::Duration::from_millis(25)));
    let answer = api.ask(post("/v1/workloads/combat/call/read-only", "")).await;
    assert_eq!((answer.status, answer.text.as_str(), answer.header("selvedge-commit")), (200, "null", None));
    assert_eq!(answer.header("selvedge-overrun"), Some("deadline"), "a default answer says that it is one");
}

#[tokio::test]
async fn a_caller_says_where_it_is_and_is_told_when_it_comes_too_often() {
    let api = serve().await;
    api.ask(post("/v1/workloads/combat/call/resolve", "[]")).await;
    let call = post("/v1/workloads/combat/call/resolve", "[]").header("selvedge-region", "eu-west");
    api.ask(call.header("selvedge-rtt-ms", "12.5")).await;
    let (entered, _) = api.service.entered();
    let token = crate::service::Caller::Token;
    assert_eq!(entered[0], ("combat".to_owned(), token, None, None));
    assert_eq!(entered[1], ("combat".to_owned(), token, Some("eu-west".to_owned()), Some(12.5)));
    let hasty = api.ask(post("/v1/workloads/hasty/call/resolve", "[]")).await;
    assert_eq!((hasty.status, hasty.header("retry-after")), (429, Some("3")));
    assert_eq!(hasty.json()["error"]["code"], "rate_limited");
    for (header, value) in [
        ("selvedge-region", "two words"),
        ("selvedge-region", ""),
        ("selvedge-rtt-ms", "-1"),
        ("selvedge-rtt-ms", "NaN"),
    ] {
        let wrong = api.ask(post("/v1/workloads/combat/call/resolve", "[]").header(header, value)).await;
        assert_eq!((wrong.status, &wrong.json()["error"]["field"]), (400, &serde_json::json!(header)), "{value}");
    }
}

#[tokio::test]
async fn the_host_tells_of_itself() {
    let api = serve().await;
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 503),
        ("/metrics", 200),
        ("/v1/status", 200),
        ("/v1/nodes", 200),
        ("/v1/history", 200),
        ("/v1/clocks", 200),
        ("/v1/reach", 200),
        ("/v1/convergence", 200),
        ("/v1/convergence?wait=5s", 200),
        ("/v1/convergence?wait=500ms", 504),
    ] {
        assert_eq!(api.ask(get(path)).await.status, status, "{path}");
    }
    let status = api.ask(get("/v1/status")).await.json();
    for path in [
        "/node/id",
        "/cluster/alive",
        "/state/root",
        "/peers/0/lag_commits",
        "/workloads/0/latency_us/p999",
        "/workloads/0/latency_buckets/0/le_us",
        "/workloads/0/instances/0/phase",
        "/health/reasons/0",
    ] {
        assert!(status.pointer(path).is_some(), "{path} in {status}");
    }
    let other = api.ask(get(&format!("/v1/nodes/{OTHER}"))).await.json();
    assert_eq!((&other["id"], &other["round_trips_ms"][NODE.to_string()]), (&json!(OTHER), &json!(0.42)));
    let late = api.ask(get("/v1/convergence?wait=500ms")).await.json();
    assert_eq!((&late["converged"], &late["peers"][0]["root"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn assets_are_kept_given_in_parts_and_removed() {
    let api = serve().await;
    let stored = api.ask(put("/v1/assets", "0123456789")).await;
    let digest = stored.json()["digest"].as_str().expect("a digest").to_owned();
    assert_eq!((stored.status, &stored.json()["size"]), (200, &json!(10)));
    let path = format!("/v1/assets/{digest}");
    let whole = api.ask(get(&path)).await;
    assert_eq!((whole.status, whole.text.as_str()), (200, "0123456789"));
    let tag = whole.header("etag").expect("a tag").to_owned();
    assert_eq!(tag, format!("\"{digest}\""));
    assert!(whole.header("cache-control").is_some_and(|told| told.contains("immutable")));
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    let part = api.ask(get(&path).header("range", "bytes=2-4")).await;
    assert_eq!((part.status, part.text.as_str(), part.header("content-range")), (206, "234", Some("bytes 2-4/10")));
    let beyond = api.ask(get(&path).header("range", "bytes=10-")).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let other = api.ask(get(&path).header("range", "bytes=2-4").header("if-range", "\"other\"")).await;
    assert_eq!((other.status, other.text.as_str()), (200, "0123456789"));
    for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let known = api.ask(get(&path).header("if-none-match", &tags)).await;
        assert_eq!((known.status, known.text.as_str()), (304, ""), "{tags}");
    }
    let more = api.ask(put("/v1/assets", "more")).await.json()["digest"].as_str().expect("a digest").to_owned();
    let mut entries = [(digest.clone(), 10), (more, 4)]
        .map(|(digest, size)| json!({"digest": digest, "size": size, "keeping": "upload"}));
    entries.sort_by_key(|entry| entry["digest"].to_string());
    check(&api, get("/v1/assets"), json!({"assets": entries, "next": null})).await;
    let first = entries[0]["digest"].as_str().expect("a digest");
    check(&api, get("/v1/assets?limit=1"), json!({"assets": [entries[0]], "next": first})).await;
    let rest = format!("/v1/assets?limit=1&after={first}");
    check(&api, get(&rest), json!({"assets": [entries[1]], "next": null})).await;
    check(&api, ask(Method::DELETE, &path, ""), json!({"digest": digest})).await;
    assert_eq!(api.ask(get(&path)).await.status, 404);
    assert_eq!(api.ask(ask(Method::DELETE, &path, "")).await.status, 404);
}
