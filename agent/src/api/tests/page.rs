//! The status page: complete without JavaScript, and safe with names that hosts gave themselves.

use selvedge_sync::id::NodeId;

use super::client::{get, post};
use super::fake::HOSTILE;
use super::serve;
use crate::api::page::render;
use crate::service::{Health, Node, Peer, Rollout, Service as _};

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
async fn what_was_rolled_back_is_a_concern_until_another_version_is_deployed() {
    let api = serve().await;
    let (mut status, mut nodes) = (api.service.status(), api.service.nodes());
    status.health = Health { ok: true, ..Health::default() };
    status.peers.clear();
    nodes.truncate(1);
    status.workloads.truncate(1);
    let workload = &mut status.workloads[0];
    (workload.replicas, workload.instances) = (0, Vec::new());
    let at = |stage: &str, reason: Option<&str>| {
        Some(Rollout { stage: stage.to_owned(), reason: reason.map(str::to_owned), ..Rollout::default() })
    };
    let mut shown = |rollout| {
        status.workloads[0].rollout = rollout;
        render(&status, &nodes, "nonce")
    };
    let all_is_well = "<li data-state=\"good\">All is well.</li>";
    for rollout in [None, at("done", None)] {
        let page = shown(rollout);
        assert!(page.contains(all_is_well) && !page.contains("<ul class=\"places\">"), "{page}");
    }
    let page = shown(at("canary", None));
    assert!(page.contains(all_is_well) && page.contains("<span class=\"mark\" data-state=\"warn\">rollout canary"));
    for (stage, concern, place) in [
        (
            "rolled_back",
            "the new version of combat was rolled back: it traps &lt;often&gt;",
            "warn\">rollout rolled back</span>: it traps",
        ),
        ("nowhere", "no host may run combat at present", "bad\">rollout nowhere</span>"),
    ] {
        let page = shown(at(stage, Some("it traps <often>")));
        assert!(page.contains("<li data-state=\"good\">This host is well.</li>"), "{stage}");
        assert!(page.contains(&format!("<li data-state=\"warn\">{concern}")) && page.contains(place), "{page}");
    }
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
