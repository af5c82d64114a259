//! Who may do what: tokens, and web pages that must not drive the agent.

use hyper::Method;

use super::client::{Answer, Ask, ask, get, post, put, send};
use super::{Served, TOKEN, TOKEN_FILE, serve};

const BY_ONE: &str = r#"{"increment":1}"#;

async fn check(api: &Served, ask: Ask, status: u16, code: &str) -> Answer {
    let what = format!("{ask:?}");
    let before = api.service.changes();
    let answer = send(&api.tcp, ask).await;
    assert_eq!(answer.status, status, "{what}: {}", answer.text);
    if status != 200 {
        assert_eq!(answer.json()["error"]["code"], code, "{what}");
        assert_eq!(api.service.changes(), before, "{what}: something changed");
    }
    answer
}

#[tokio::test]
async fn changes_over_tcp_need_the_token_and_reads_do_not() {
    let api = serve().await;
    let change = || post("/v1/state/gcounter/a", BY_ONE);
    let refused = check(&api, change(), 401, "unauthorized").await;
    assert_eq!(refused.json()["token_file"], TOKEN_FILE);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"selvedge\""));
    for wrong in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {TOKEN}"),
        format!("Bearer {TOKEN}0"),
        format!("Bearer {}", TOKEN.replace('0', "1")),
        format!("Bearer {}", &TOKEN[1..]),
    ] {
        check(&api, change().header("authorization", &wrong), 401, "unauthorized").await;
    }
    check(&api, put("/v1/artifacts", "\0asm"), 401, "unauthorized").await;
    check(&api, put("/v1/assets", "bytes"), 401, "unauthorized").await;
    check(&api, put("/v1/workloads/combat", "{}"), 401, "unauthorized").await;
    check(&api, ask(Method::DELETE, "/v1/workloads/combat", ""), 401, "unauthorized").await;
    check(&api, post("/v1/workloads/combat/call/resolve", "[]"), 401, "unauthorized").await;
    check(&api, post("/v1/nowhere", ""), 401, "unauthorized").await;
    check(&api, change().header("authorization", &format!("bearer {TOKEN}")), 200, "").await;
    check(&api, get("/v1/state/gcounter/a"), 200, "").await;
}

#[tokio::test]
async fn the_unix_socket_gives_the_right_to_change() {
    let api = serve().await;
    assert_eq!(send(&api.unix, post("/v1/state/gcounter/a", BY_ONE)).await.status, 200);
}

#[tokio::test]
async fn a_page_that_rebinds_its_name_is_refused() {
    let api = serve().await;
    for host in ["evil.example", "evil.example:7411", "127.0.0.1.nip.io", "localhost.evil.example", "10.0.0.1", ""] {
        check(&api, get("/v1/status").header("host", host), 403, "foreign_host").await;
        let change = post("/v1/state/gcounter/a", BY_ONE).header("authorization", &format!("Bearer {TOKEN}"));
        check(&api, change.header("host", host), 403, "foreign_host").await;
    }
    for host in ["localhost", "LOCALHOST:7411", "127.0.0.1", "[::1]:7411"] {
        check(&api, get("/v1/status").header("host", host), 200, "").await;
    }
    check(&api, get("http://evil.example/v1/status"), 403, "foreign_host").await;
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused() {
    let api = serve().await;
    let from = |origin: &str| get("/v1/status").header("host", "localhost:7411").header("origin", origin);
    for origin in
        ["https://evil.example", "null", "http://localhost:3000", "https://localhost:7411", "http://127.0.0.1:7411"]
    {
        check(&api, from(origin), 403, "foreign_origin").await;
    }
    check(&api, from("http://localhost:7411"), 200, "").await;
}

#[tokio::test]
async fn what_a_page_from_elsewhere_embeds_is_refused() {
    let api = serve().await;
    let everywhere = ["/", "/healthz", "/v1/status", "/v1/assets", "/v1/assets/blake3:00", "/v1/nowhere"];
    for site in ["cross-site", "same-site", "Same-Origin", "same-origin, none", ""] {
        for path in everywhere {
            check(&api, get(path).header("sec-fetch-site", site), 403, "foreign_site").await;
        }
        let change = post("/v1/state/gcounter/a", BY_ONE).header("authorization", &format!("Bearer {TOKEN}"));
        check(&api, change.header("sec-fetch-site", site), 403, "foreign_site").await;
    }
    let twice = get("/v1/status").header("sec-fetch-site", "none").header("sec-fetch-site", "cross-site");
    check(&api, twice, 403, "foreign_site").await;
    for site in ["same-origin", "none"] {
        check(&api, get("/v1/status").header("sec-fetch-site", site), 200, "").await;
    }
    let local = send(&api.unix, get("/v1/status").header("sec-fetch-site", "cross-site")).await;
    assert_eq!(local.status, 200, "the socket's permissions decide");
}
