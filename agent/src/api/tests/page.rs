//! The status page: complete without JavaScript, and safe with names that hosts gave themselves.

use super::client::{get, post};
use super::fake::HOSTILE;
use super::serve;

#[tokio::test]
async fn the_page_tells_the_essentials_without_javascript() {
    let api = serve().await;
    let page = api.ask(get("/")).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for essential in [
        "alpha",
        "gamma",
        "combat",
        "2 of 3",
        "1 of 2 equal",
        "17 commits apart",
        "resting",
        "912 µs",
        "4.1 ms",
        "not enough memory",
        "no bootstrap peer answers",
        "http-equiv=\"refresh\"",
        &"ab".repeat(32),
    ] {
        assert!(page.text.contains(essential), "no {essential} in\n{}", page.text);
    }
    assert!(!page.text.contains("{{"), "every place is filled");
}

#[tokio::test]
async fn names_of_other_hosts_stay_text() {
    let api = serve().await;
    let page = api.ask(get("/")).await.text;
    assert!(!page.contains(HOSTILE));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"));
}

#[tokio::test]
async fn the_policy_lets_only_the_pages_own_parts_run() {
    let api = serve().await;
    let (first, second) = (api.ask(get("/")).await, api.ask(get("/")).await);
    let policy = first.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split('\'').find_map(|word| word.strip_prefix("nonce-")).expect("a nonce");
    let own = format!("nonce=\"{nonce}\"");
    assert_eq!(first.text.matches(&own).count(), 2, "style and script");
    assert!(!second.text.contains(&own), "a nonce is used once");
    assert!(
        !first.text.contains(" style=") && !first.text.contains(" onclick="),
        "nothing inline that the policy stops"
    );
}

/// Serves the fake for a look with a browser: `cargo test … look_at_the_page -- --ignored`, then kill it.
#[tokio::test]
#[ignore = "serves until it is killed; for people"]
async fn look_at_the_page() {
    let api = serve().await;
    api.ask(post("/v1/state/gcounter/kills", r#"{"increment":5}"#)).await;
    std::fs::write(std::env::temp_dir().join("selvedge-page"), api.tcp.to_string()).expect("written");
    std::future::pending::<()>().await;
}
