//! The status page: complete without JavaScript, and safe with names that hosts gave themselves.

use selvedge_sync::id::NodeId;

use super::client::{get, post};
use super::fake::HOSTILE;
use super::serve;
use crate::api::page::render;
use crate::service::{Node, Peer, Service as _};

/// Bytes of everything that a first look loads, of a mesh of 32 and a few workloads.
const FIRST_PAINT_BYTES_MAX: usize = 100 * 1024;

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
        "in step",
        "17 commits on the way",
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
async fn a_page_of_a_large_mesh_is_small_and_needs_nothing_else() {
    let api = serve().await;
    let (mut status, mut nodes) = (api.service.status(), api.service.nodes());
    for number in 10..42 {
        let (node, name) = (NodeId([number; 32]), format!("a-host-with-a-long-name-{number}"));
        status.peers.push(Peer { node, name: name.clone(), ..status.peers[0].clone() });
        nodes.push(Node { id: node, name, ..nodes[0].clone() });
    }
    status.workloads = (0..8).map(|_| status.workloads[0].clone()).collect();
    let page = render(&status, &nodes, "nonce");
    assert!(page.len() <= FIRST_PAINT_BYTES_MAX, "{} bytes", page.len());
    for needs in ["<img", "<link rel=\"stylesheet\"", " src=\"", "@import", "@font-face", "url("] {
        assert!(!page.contains(needs), "the page loads something: {needs}");
    }
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
