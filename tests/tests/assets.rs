//! Assets: uploaded to one agent, loaded from any, whatever becomes of the others and of the files; and planned by the workload
//! that ships for it.

use std::path::PathBuf;
use std::time::Duration;

use selvedge::shipped::shipped;
use selvedge::spec::Digest;
use selvedge_tests::http::ask;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn upload(agent: &Agent, bytes: &[u8]) -> String {
    let answer = ask(agent, "PUT", "/v1/assets", bytes);
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status, &told["size"]), (200, &json!(bytes.len())), "{told}");
    assert_eq!(told["digest"], json!(Digest::of(bytes).to_string()));
    format!("/v1/assets/{}", Digest::of(bytes))
}

fn figure(agent: &Agent, name: &str) -> u64 {
    let text = String::from_utf8(ask(agent, "GET", "/metrics", b"").body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn file(agent: &Agent, folder: &str, bytes: &[u8]) -> PathBuf {
    agent.data_dir().join("assets").join(folder).join(format!("{}.asset", Digest::of(bytes).hex()))
}

/// Some megabytes that compress badly, so that they travel in several chunks.
fn bundle() -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..5 * 1024 * 1024 + 77).map(|_| next()).collect()
}

#[test]
fn what_one_agent_has_all_give_and_keep() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    eventually("they know each other", PATIENCE, || (one.alive() == 2 && two.alive() == 2).then_some(()));
    let bundle = bundle();
    let path = upload(&one, &bundle);
    let nobody = format!("/v1/assets/{}", Digest::of(b"nobody has this"));
    assert_eq!(ask(&two, "GET", &nobody, b"").status, 404);
    let given = ask(&two, "GET", &path, b"");
    assert_eq!((given.status, given.body == bundle), (200, true), "{}", given.head);
    assert!(given.head.to_lowercase().contains(&format!("etag: \"{}\"", Digest::of(&bundle))), "{}", given.head);
    assert_eq!(ask(&two, "GET", &path, b"").status, 200);
    assert_eq!(figure(&two, "selvedge_asset_misses_total"), 2);
    assert_eq!(figure(&two, "selvedge_asset_hits_total{tier=\"memory\"}"), 1);
    assert_eq!(figure(&two, "selvedge_asset_fetched_bytes_total"), bundle.len() as u64);
    assert_eq!(figure(&two, "selvedge_asset_held_bytes{tier=\"copies\"}"), bundle.len() as u64);

    // The copy outlives a crash of its host.
    let two = two.kill().start();
    assert!(ask(&two, "GET", &path, b"").body == bundle);
    assert_eq!(figure(&two, "selvedge_asset_hits_total{tier=\"disk\"}"), 1);

    // Damaged, it is nobody's; once a member is connected that has it, it is whole again.
    let two = two.kill();
    let copy = two.data_dir().join("assets/copies").join(format!("{}.asset", Digest::of(&bundle).hex()));
    std::fs::write(&copy, &bundle[1..]).expect("damages");
    let two = two.start();
    eventually("it is fetched again", PATIENCE, || (ask(&two, "GET", &path, b"").body == bundle).then_some(()));
    assert_eq!(figure(&two, "selvedge_asset_failures_total{reason=\"damaged\"}"), 1);
    assert!(std::fs::read(&copy).is_ok_and(|bytes| bytes == bundle));
    assert_eq!(figure(&two, "selvedge_offences_total{offence=\"wrong_bytes\"}"), 0);

    // It does not need the host that it came from, which keeps its own.
    let upload = file(&one, "uploads", &bundle);
    drop(one.stop());
    assert!(ask(&two, "GET", &path, b"").body == bundle && upload.exists());
}

#[test]
fn a_plan_brings_its_assets_to_the_host_that_made_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    eventually("they know each other", PATIENCE, || (one.alive() == 2 && two.alive() == 2).then_some(()));
    let harbour = b"all that the harbour needs";
    upload(&one, harbour);
    let (table, wasm) = (folder.path().join("assets.txt"), folder.path().join("preload.wasm"));
    std::fs::write(&table, format!("{} {} harbour\n", Digest::of(harbour), harbour.len())).expect("written");
    let (_, bytes) = shipped().into_iter().find(|(name, _)| *name == "asset-preload").expect("it ships");
    std::fs::write(&wasm, bytes).expect("written");
    let (config, wasm) = (format!("assets=@{}", table.display()), wasm.display().to_string());
    let deploy = ["deploy", &wasm, "--name", "asset-preload", "--everywhere", "--config", &config, "--timeout", "120s"];
    let deployed = one.cli(&deploy);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let spec: Value = serde_json::from_slice(&ask(&two, "GET", "/v1/workloads/asset-preload", b"").body).expect("JSON");
    assert!(spec["config"]["assets"].as_str().is_some_and(|table| table.contains("harbour")), "{spec}");
    eventually("it runs on both", PATIENCE, || {
        let everywhere = two.json(&["workloads"])[0]["instances"].clone();
        let ready = everywhere.as_array()?.iter().filter(|instance| instance["phase"] == "ready").count();
        (ready == 2).then_some(())
    });

    let moves = r#"[{"player":1,"from_zone":"plaza","to_zone":"harbour"},{"player":2,"from_zone":"plaza","to_zone":"harbour"}]"#;
    assert_eq!(one.cli(&["call", "asset-preload", "observe", moves]).code, 0);
    let players = r#"[{"player":3,"zone":"plaza","recent":["gate"]}]"#;
    let plan = eventually("what one has seen the other plans with", PATIENCE, || {
        let plan = two.json(&["call", "asset-preload", "plan", players])[0]["assets"].clone();
        (plan.as_array()?.len() == 1).then_some(plan)
    });
    assert_eq!((&plan[0]["zone"], &plan[0]["digest"]), (&json!("harbour"), &json!(Digest::of(harbour).to_string())));
    eventually("the asset comes by itself", PATIENCE, || file(&two, "copies", harbour).exists().then_some(()));
    assert_eq!(figure(&two, "selvedge_asset_misses_total"), 0);

    // Another configuration, and the same workload goes on with it.
    let deployed = one.cli(&["deploy", &wasm, "--name", "asset-preload", "--everywhere", "--timeout", "120s"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    eventually("it plans without assets", PATIENCE, || {
        let called = two.cli(&["call", "asset-preload", "plan", players, "--json"]);
        assert_eq!(called.code, 0, "no call fails while it changes: {}", called.stderr);
        let plan: Value = serde_json::from_str(&called.stdout).expect("JSON");
        plan[0]["assets"].as_array()?.is_empty().then_some(())
    });
}
