//! The status page: complete without JavaScript, and safe with names that hosts gave themselves.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::client::{get, post};
use super::fake::HOSTILE;
use super::{Served, serve};
use crate::api::page::render;
use crate::service::{Health, Instance, Node, Peer, Phase, Rollout, Service as _, Status, WorkloadStatus};

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
        "1 of 3 equal",
        "1 lost member awaited",
        "resting",
        "6 failed in 5 min",
        "912 µs",
        "4.1 ms",
        "not enough memory",
        "This host is not well.",
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

/// The host as if it were the only one, and well.
fn alone(api: &Served) -> (Status, Vec<Node>) {
    let (mut status, mut nodes) = (api.service.status(), api.service.nodes());
    status.health = Health { ok: true, ..Health::default() };
    status.peers.clear();
    nodes.truncate(1);
    (status, nodes)
}

#[tokio::test]
async fn what_was_rolled_back_is_a_concern_until_another_version_is_deployed() {
    let api = serve().await;
    let (mut status, nodes) = alone(&api);
    status.workloads.truncate(1);
    let workload = &mut status.workloads[0];
    (workload.replicas, workload.instances) = (0, Vec::new());
    let whys = BTreeMap::from([("combat".to_owned(), "<i>near</i>".to_owned())]);
    let at = |stage: &str, reason: Option<&str>| {
        Some(Rollout { stage: stage.to_owned(), reason: reason.map(str::to_owned), ..Rollout::default() })
    };
    let mut shown = |rollout| {
        status.workloads[0].rollout = rollout;
        render(&status, &nodes, &whys, "nonce")
    };
    let all_is_well = "<p>All is well.</p>";
    for rollout in [None, at("done", None)] {
        let page = shown(rollout);
        assert!(
            page.contains(all_is_well) && page.contains("<p>nowhere</p><p class=\"why\">&lt;i&gt;near&lt;/i&gt;"),
            "{page}"
        );
    }
    let page = shown(at("canary", None));
    assert!(
        page.contains(all_is_well)
            && page.contains("<p class=\"mark\" data-state=\"busy\">a member tries the new version")
    );
    for (stage, tone, concern, place) in [
        (
            "rolled_back",
            "warn",
            "was rolled back to the version before: it traps &lt;often&gt;",
            "warn\">the new version was rolled back: it traps &lt;often&gt;</p>",
        ),
        ("nowhere", "bad", "may not run on any host at present", "bad\">no host may run the new version</p>"),
        ("fenced", "bad", "does not run: it traps &lt;often&gt;", "bad\">does not run: it traps &lt;often&gt;</p>"),
    ] {
        let page = shown(at(stage, Some("it traps <often>")));
        assert!(page.contains("<p>This host is well. One thing in the mesh wants a look.</p>"), "{stage}");
        let item = format!("<li data-state=\"{tone}\"><b>combat</b> <span>{concern}</span>");
        assert!(page.contains(&item) && page.contains(place), "{page}");
    }
}

#[tokio::test]
async fn the_worst_is_named_first_and_what_passes_is_no_fault() {
    let api = serve().await;
    let (mut status, nodes) = alone(&api);
    let here = nodes[0].id;
    let instance = |phase| Instance { node: here, phase, reason: None, serves_previous: false };
    let workload = |name: &str, phase| {
        let instances = vec![instance(phase)];
        WorkloadStatus { name: name.to_owned(), replicas: 1, instances, ..status.workloads[0].clone() }
    };
    let workloads =
        [workload("starts", Phase::Starting), workload("stands", Phase::Ready), workload("fails", Phase::Failed)];
    let shown = |status: &Status| render(status, &nodes, &BTreeMap::new(), "nonce");
    status.workloads = workloads[..2].to_vec();
    let page = shown(&status);
    assert!(page.contains("<p>All is well.</p><ul><li data-state=\"busy\"><b>starts</b>"), "{page}");
    // What runs wherever it may is complete with fewer than there are members; the agent notes what is not.
    status.workloads[1].replicas = 2;
    assert!(shown(&status).contains("data-state=\"good\">1 of 2</span>"));
    status.workloads = workloads.to_vec();
    status.health.notes = vec!["`stands` has 1 of 2 instances ready, for 42s now: nobody has <room>".to_owned()];
    status.workloads[1].replicas = 2;
    let page = shown(&status);
    let places = [
        "<b>fails</b>",
        "<b>stands</b> <span>has 1 of 2 instances ready, for 42s now: nobody has &lt;room&gt;",
        "<b>starts</b>",
    ];
    let found = places.map(|place| page.find(place));
    assert!(found[0].is_some() && found.is_sorted(), "{found:?} in {page}");
    let rows =
        ["<th scope=\"row\">fails", "<th scope=\"row\">stands", "<th scope=\"row\">starts"].map(|row| page.find(row));
    assert!(rows[0].is_some() && rows.is_sorted(), "{rows:?}");
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
    let why = "edge-1 scores 0.91, edge-2 0.88; the next is edge-3 with 0.74, farther from its callers".to_owned();
    let whys = BTreeMap::from([(status.workloads[0].name.clone(), why)]);
    let page = render(&status, &nodes, &whys, "nonce");
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
