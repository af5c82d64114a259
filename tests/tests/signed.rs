//! What runs is signed: by a member that may deploy, and by nobody else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// The shipped `prediction`, as a file.
fn prediction(folder: &Path) -> PathBuf {
    let file = folder.join("prediction.wasm");
    let shipped = selvedge::shipped::shipped();
    let (_, wasm) = shipped.into_iter().find(|(name, _)| *name == "prediction").expect("is shipped");
    std::fs::write(&file, wasm).expect("is written");
    file
}

fn names(agent: &Agent) -> Vec<String> {
    let workloads = agent.json(&["workloads"]);
    let names = workloads.as_array().expect("a list").iter().map(|workload| workload["name"].to_string());
    names.map(|name| name.trim_matches('"').to_owned()).collect()
}

#[test]
fn a_member_that_may_not_deploy_deploys_nothing_and_runs_what_others_deployed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let wasm = prediction(folder.path());
    let deploy = ["deploy", &wasm.to_string_lossy(), "--name", "ahead", "--everywhere"];
    let first = at("first").founding("games").start();
    let token = first.json(&["invite", "--no-deploy"])["token"].as_str().expect("a token").to_owned();
    assert_eq!(first.json(&["invitations"])[0]["may_deploy"], json!(false));
    let kiosk = at("kiosk");
    assert_eq!(kiosk.prepare(&["join", &token]).code, 0);
    let kiosk = kiosk.start();
    eventually("both are there", PATIENCE, || (kiosk.alive() == 2).then_some(()));

    let refused = kiosk.cli(&deploy);
    assert!(refused.code != 0 && refused.stderr.contains("does not allow it to deploy"), "{refused:?}");
    assert!(names(&kiosk).is_empty(), "nothing was changed");

    let deployed = first.cli(&deploy);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let runs_on = |agent: &Agent| {
        let workloads = agent.json(&["workloads"]);
        let ready = |instance: &&serde_json::Value| instance["phase"] == json!("ready");
        workloads[0]["instances"].as_array().map_or(0, |instances| instances.iter().filter(ready).count())
    };
    eventually("both run it", PATIENCE, || (runs_on(&kiosk) == 2).then_some(()));
    let refused = kiosk.cli(&["undeploy", "ahead"]);
    assert!(refused.code != 0 && refused.stderr.contains("nor to undeploy"), "{refused:?}");
    assert_eq!(names(&first), ["ahead"], "nothing was changed");
}

#[test]
fn what_was_deployed_without_a_signature_is_named_and_not_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = prediction(folder.path());
    let deploy = |agent: &Agent, name: &str| {
        let deployed = agent.cli(&["deploy", &wasm.to_string_lossy(), "--name", name]);
        assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    };
    // An agent of no cluster asks for no signatures. What it knows is brought into one.
    let alone = Launch::new(folder.path(), "alone").start();
    deploy(&alone, "old");
    deploy(&alone, "older");
    let (alone, _) = alone.stop();
    let founded = alone.prepare(&["init", "--keep-state"]);
    assert_eq!(founded.code, 0, "{}", founded.stderr);

    let agent = alone.start();
    assert!(names(&agent).is_empty(), "{:?}", names(&agent));
    let reasons = || agent.json(&["status"])["health"]["reasons"].to_string();
    assert!(reasons().contains("`old` is not carried out: it is not signed"), "{}", reasons());
    // Either way out that it names is one.
    deploy(&agent, "old");
    assert_eq!(names(&agent), ["old"]);
    assert_eq!(agent.cli(&["undeploy", "older"]).code, 0);
    assert_eq!(reasons(), "[]");
}

#[test]
fn what_a_member_that_may_not_deploy_brings_along_runs_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let wasm = prediction(folder.path());
    let first = at("first").founding("games").start();
    let token = first.json(&["invite", "--no-deploy"])["token"].as_str().expect("a token").to_owned();
    // It deployed when it was alone, and brings that into the cluster as state of its own.
    let kiosk = at("kiosk").start();
    let deployed = kiosk.cli(&["deploy", &wasm.to_string_lossy(), "--name", "smuggled", "--everywhere"]);
    assert_eq!(deployed.code, 0, "{}", deployed.stderr);
    let (kiosk, _) = kiosk.stop();
    let joined = kiosk.prepare(&["join", "--keep-state", &token]);
    assert_eq!(joined.code, 0, "{}{}", joined.stdout, joined.stderr);
    let kiosk = kiosk.start();
    let reasons = |agent: &Agent| agent.json(&["status"])["health"]["reasons"].to_string();
    for agent in [&first, &kiosk] {
        eventually("it has arrived, and is named", PATIENCE, || {
            reasons(agent).contains("`smuggled` is not carried out").then_some(())
        });
        assert!(names(agent).is_empty(), "{:?}", names(agent));
    }
    // Who comes later has it from somebody else, as commits or as state, and does the same with it.
    let late = at("late").invited_by(&first).start();
    eventually("it has it too", PATIENCE, || reasons(&late).contains("`smuggled` is not carried out").then_some(()));
    assert!(names(&late).is_empty(), "{:?}", names(&late));
}
