use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "node": {"id": "12D3KooWAAAAAAAA", "name": "edge-1", "region": "eu", "incarnation": 1, "version": "0.1.0", "uptime_s": 65},
        "cluster": {"id": "c", "name": "games", "certificate_seconds_left": 86_400, "members": 2, "alive": 2, "epoch": 1},
        "state": {"root": "00112233445566778899", "keys": 3, "commits": 9, "bytes": 100, "garbage": 0},
        "peers": [{"node": "12D3KooWBBBBBBBB", "name": "edge-2", "rtt_ms": 1.2345, "root_equal": false, "lag_commits": 4,
                   "last_sync_ms": null}],
        "workloads": [{"name": "combat", "digest": "blake3:0123456789abcdef", "replicas": 2, "calls": 7, "errors": 0,
                       "instances": [{"node": "12D3KooWAAAAAAAA", "phase": "ready", "reason": null},
                                     {"node": "12D3KooWBBBBBBBB", "phase": "failed", "reason": "no memory"}],
                       "latency_us": {"p50": 10, "p99": 90, "p999": 95, "max": 99}}],
        "health": {"ok": false, "reasons": ["no peer", "disk is full"]}
    })
}

fn check(text: &str, wanted: &[&str]) {
    wanted.iter().for_each(|wanted| assert!(text.contains(wanted), "{wanted:?} is not in\n{text}"));
}

#[test]
fn a_status_shows_everything_at_one_look() {
    let text = status(&document());
    check(
        &text,
        &[
            "edge-1 (12D3KooWAAAAAAAA)",
            "up 1m 5s",
            "2 of 2 members alive, epoch 1",
            "certificate holds for 1day",
            "root 0011223344556677,",
        ],
    );
    check(&text, &["not well: no peer\n           disk is full", "1.2 ms", "differs"]);
    check(&text, &["1/2", "edge-1, edge-2 (failed: no memory)"]);
}

#[test]
fn who_serves_the_version_before_counts_as_ready_while_the_new_one_comes() {
    let mut json = document();
    json["workloads"][0]["instances"][1] = json!({"node": "12D3KooWBBBBBBBB", "phase": "starting",
        "reason": "serves the previous version until the new one is ready", "serves_previous": true});
    json["workloads"][0]["rollout"] =
        json!({"stage": "canary", "canary": "12D3KooWAAAAAAAA", "calls": 7, "remaining_ms": 1_200});
    check(&workloads(&json), &["2/2", "edge-1, edge-2 (previous version)", "combat: edge-1 tries the new version"]);
}

#[test]
fn a_status_names_no_cluster_where_there_is_none_and_no_time_that_is_over() {
    let mut json = document();
    (json["cluster"]["id"], json["cluster"]["name"]) = (json!("development"), json!("development"));
    json["cluster"]["certificate_seconds_left"] = json!(0);
    check(&status(&json), &["cluster    none (development", "certificate has expired"]);
}

#[test]
fn documents_of_other_versions_still_show() {
    for json in [json!({}), json!(null), json!([1, "x"]), json!({"peers": [{}], "workloads": [{"instances": [{}]}]})] {
        for show in [status, nodes, peers, workloads, explain] {
            assert!(!show(&json).is_empty());
        }
    }
}

#[test]
fn nodes_are_listed_bare_or_under_a_name() {
    let node = json!({"id": "12D3KooWAAAAAAAA", "name": "edge-1", "region": "eu", "status": "alive", "load": 0.256,
        "capabilities": ["gpu"], "labels": {"tier": "edge"}, "version": "0.1.0", "roles": ["authority", "deployer", "member"], "resources": {"cpus": 2.0, "memory_free_bytes": 1_610_612_736_u64, "disk_free_bytes": 2048}});
    for json in [json!([node]), json!({"nodes": [node]})] {
        check(
            &nodes(&json),
            &[
                "edge-1",
                "AAAAAAAA",
                "alive",
                "26 %",
                "1.5 GiB",
                "2.0 KiB",
                "gpu, tier=edge",
                "authority, deployer",
                "0.1.0",
            ],
        );
    }
    let mut unwell = node.clone();
    (unwell["healthy"], unwell["ailment"]) = (json!(false), json!("read-only: the store cannot write"));
    check(&nodes(&json!([unwell])), &["alive, not well", "edge-1 is not well: read-only: the store cannot write"]);
    let revoked = json!([{"node": "12D3KooWCCCCCCCC", "since": "2026-11-30T06:00:00Z"}]);
    check(&nodes(&json!({"nodes": [node], "revoked": revoked})), &["\n12D3KooWCCCCCCCC revoked since 2026-11-30"]);
    let revoked = json!([{"node": "12D3KooWCCCCCCCC", "name": "edge-3", "since": "2026-11-30T06:00:00Z"}]);
    check(
        &nodes(&json!({"nodes": [node], "revoked": revoked})),
        &["\nedge-3 (12D3KooWCCCCCCCC) revoked since 2026-11-30"],
    );
}

#[test]
fn an_explanation_shows_four_terms_and_the_rejected() {
    let terms = json!({"resource": 0.5, "latency": 1.0, "load": 0.25, "affinity": 1.0});
    let json = json!({
        "workload": "combat", "wanted": 1, "everywhere": false,
        "weights": {"resource": 0.3, "latency": 0.4, "load": 0.2, "affinity": 0.1},
        "candidates": [{"name": "worse", "score": 0.5, "terms": terms, "inputs": {}, "chosen": false},
                       {"name": "better", "score": 0.7, "terms": terms, "inputs": {"phase": "ready"}, "chosen": true}],
        "rejected": [{"name": "far", "reason": "region", "message": "is in us, not eu"}],
    });
    let text = explain(&json);
    check(&text, &["0.30·resource + 0.40·latency", "0.700", "0.25", "far", "is in us, not eu"]);
    assert!(text.find("better") < text.find("worse"), "best first:\n{text}");
}
