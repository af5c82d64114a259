//! Routes about membership, and the list of routes.

use hyper::Method;
use serde_json::{Value, json};

use super::client::{ask, get, post, send};
use super::fake::OTHER;
use super::serve;

#[tokio::test]
async fn invitations_are_listed_and_taken_back() {
    let api = serve().await;
    let listed = api.ask(get("/v1/cluster/invitations")).await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["used_by"]), (&json!("0a"), &Value::Null));
    assert_eq!(listed[1]["used_by"], json!(OTHER));
    let made = api.ask(post("/v1/cluster/invitations", r#"{"name":"kiosk"}"#)).await.json();
    assert!(made["id"].is_string() && made["token"].is_string() && made.get("warning").is_none(), "{made}");
    let cancel = |id: &str| ask(Method::DELETE, &format!("/v1/cluster/invitations/{id}"), "");
    let cancelled = api.ask(cancel("0a")).await;
    assert_eq!((cancelled.status, &cancelled.json()["id"]), (200, &json!("0a")));
    let unknown = api.ask(cancel("ff")).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["field"]), (404, &json!("id")));
    assert_eq!(send(&api.tcp, cancel("0a")).await.status, 401, "only with the token");
}

#[tokio::test]
async fn the_routes_are_listed_and_there() {
    let api = serve().await;
    let routes = api.ask(get("/v1")).await.json();
    let routes = routes["routes"].as_array().expect("a list");
    assert!(routes.len() > 20, "{routes:?}");
    for route in routes {
        let path = route["path"].as_str().expect("a path");
        assert!(route["what"].as_str().is_some_and(|what| !what.is_empty()), "{path}");
        // A method that no route takes tells a route that is there from one that is not.
        let probed = api.ask(ask(Method::PATCH, &path.replace(['{', '}', '*'], ""), "")).await;
        assert_eq!(probed.status, 405, "{path}: {}", probed.text);
    }
    let nowhere = api.ask(get("/v1/nowhere")).await.json();
    assert!(nowhere["error"]["hint"].as_str().is_some_and(|hint| hint.contains("GET /v1")), "{nowhere}");
}
