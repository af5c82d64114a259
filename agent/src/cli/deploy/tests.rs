use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command};
use crate::cli::fake::{Log, Say, ok, serve};

fn args(line: &str) -> DeployArgs {
    match Cli::parse_from(std::iter::once("selvedge").chain(line.split(' '))).command {
        Command::Deploy(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn instance(phase: &str, reason: Option<&str>) -> Value {
    json!({"node": "n1", "phase": phase, "reason": reason})
}

fn workload(wanted: u32, instances: &[Value]) -> Value {
    json!({"name": "w", "status": {"digest": "blake3:aa", "revision": "aa", "replicas": wanted, "instances": instances}})
}

/// An agent whose workload shows the given documents, one after the other, and then the last for ever.
async fn agent(documents: Vec<Value>) -> (Client, Log) {
    let next = AtomicUsize::new(0);
    let (addr, log) = serve(move |seen| match seen.line.as_str() {
        "PUT /v1/artifacts" => ok(&json!({"digest": "blake3:aa", "size": 8, "exports": [], "imports": []})),
        "PUT /v1/workloads/w" => ok(&json!({"commit": {"replica": "r", "seq": 1, "hlc": "0.0"}, "revision": "aa"})),
        "GET /v1/workloads/w" => ok(&documents[next.fetch_add(1, Ordering::Relaxed).min(documents.len() - 1)]),
        _ => Say::Answer(404, "", "{}".to_owned()),
    })
    .await;
    (Client::new(addr, Duration::from_secs(5), None), log)
}

async fn awaited(client: &mut Client, revision: &str, patience: Duration) -> Result<Value, CliError> {
    let committed = json!({"revision": revision, "deployment": "d1"});
    await_ready(client, Awaited { name: "w", committed: &committed, instances_min: 1 }, patience).await
}

fn component(dir: &Path) -> String {
    let path = dir.join("w.wasm");
    std::fs::write(&path, b"\0asm\x0d\0\x01\0").unwrap();
    path.display().to_string()
}

#[test]
fn flags_become_a_spec() {
    let stored = json!({"digest": "blake3:aa"});
    let check = |line: &str, expect: Value| {
        let args = args(line);
        let read = (read_config(&args.config).unwrap(), read_answers(&args.on_overrun).unwrap());
        assert_eq!(spec(&args, read, &stored), expect, "{line}");
    };
    check("deploy a.wasm --name a", json!({"artifact": "blake3:aa"}));
    check("deploy a.wasm --name a --everywhere", json!({"artifact": "blake3:aa", "everywhere": true}));
    check(
        "deploy a.wasm --name a --replicas 2 --region eu --require gpu --affinity !node=x --memory 64MiB --deadline 5ms --max-latency 20ms",
        json!({"artifact": "blake3:aa", "replicas": 2, "region": "eu", "require": ["gpu"], "affinity": ["!node=x"],
               "limits": {"memory": "64MiB", "deadline_ms": "5ms"}, "latency": {"max_ms": "20ms"}}),
    );
    check(
        "deploy a.wasm --name a --per-region eu=2 --per-region us=1 --must !workload=b --routing session --partition keep-both",
        json!({"artifact": "blake3:aa", "per_region": {"eu": 2, "us": 1}, "must": ["!workload=b"], "routing": "session",
               "partition": "keep-both"}),
    );
    check(
        "deploy a.wasm --name a --replicas 3 --spread-regions",
        json!({"artifact": "blake3:aa", "replicas": 3, "spread": "regions"}),
    );
    check(
        "deploy a.wasm --name a --config speed-max=7.5 --config rule=a=b --config off=",
        json!({"artifact": "blake3:aa", "config": {"speed-max": "7.5", "rule": "a=b", "off": ""}}),
    );
    check(
        "deploy a.wasm --name a --on-overrun predict=[] --on-overrun count=0",
        json!({"artifact": "blake3:aa", "on_overrun": {"predict": [], "count": 0}}),
    );
    for wrong in ["predict", "predict=["] {
        assert_eq!(read_answers(&[wrong.to_owned()]).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_value_can_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("zones"), "plaza\nharbour\n").unwrap();
    std::fs::write(path("large"), "x".repeat(CONFIG_BYTES_MAX + 1)).unwrap();
    std::fs::write(path("binary"), [0xff]).unwrap();
    let read = |entry: String| read_config(&[entry]);
    assert_eq!(read(format!("zones=@{}", path("zones"))).unwrap()["zones"], "plaza\nharbour\n");
    for name in ["large", "binary", "absent"] {
        let error = read(format!("zones=@{}", path(name))).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(read("zones".to_owned()).unwrap_err().exit_code(), 2);
    assert_eq!(read_config(&["a=1".to_owned(), "a=2".to_owned()]).unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn it_waits_until_all_wanted_instances_are_ready() {
    let dir = tempfile::tempdir().unwrap();
    let ready = instance("ready", None);
    let documents = vec![
        workload(2, &[]),
        workload(2, &[ready.clone(), instance("starting", None)]),
        workload(2, &[ready.clone(), ready]),
    ];
    let (mut client, log) = agent(documents).await;
    deploy(&args(&format!("deploy {} --name w", component(dir.path()))), &mut client).await.unwrap();
    let lines: Vec<_> = log.lock().unwrap().iter().map(|seen| seen.line.clone()).collect();
    assert_eq!(lines[..2], ["PUT /v1/artifacts", "PUT /v1/workloads/w"]);
    let plans = lines.iter().filter(|line| line.ends_with("/placement")).count();
    assert_eq!((lines.len(), plans), (8, 3), "each look asks where it is to run: {lines:?}");
}

#[tokio::test]
async fn a_failed_instance_is_reported_with_its_reason() {
    let (mut client, _) = agent(vec![workload(1, &[instance("failed", Some("not enough memory"))])]).await;
    let error = awaited(&mut client, "aa", Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("not enough memory"), "{error}");
}

#[tokio::test]
async fn a_start_that_failed_at_first_is_waited_for() {
    let documents = vec![
        workload(1, &[instance("failed", Some("nobody holds the component"))]),
        workload(1, &[instance("starting", None)]),
        workload(1, &[instance("ready", None)]),
    ];
    let (mut client, _) = agent(documents).await;
    awaited(&mut client, "aa", Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_workload_that_nobody_can_run_times_out_with_a_hint() {
    let (mut client, _) = agent(vec![workload(0, &[])]).await;
    let error = awaited(&mut client, "aa", Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("no node qualifies"), "{error}");
}

#[tokio::test]
async fn instances_of_an_older_deployment_do_not_count() {
    let (mut client, _) = agent(vec![workload(1, &[instance("ready", None)])]).await;
    let error = awaited(&mut client, "bb", Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn what_is_no_component_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wasm");
    std::fs::write(&path, "#!/bin/sh").unwrap();
    let (mut client, log) = agent(vec![workload(1, &[])]).await;
    for file in [path.display().to_string(), dir.path().display().to_string(), "/nowhere/a.wasm".to_owned()] {
        let error = deploy(&args(&format!("deploy {file} --name w")), &mut client).await.unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(error.to_string().contains(&file), "{error}");
    }
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_new_version_is_waited_for_until_its_rollout_is_over() {
    let at = |stage: &str| {
        let mut document = workload(1, &[instance("ready", None)]);
        document["status"]["rollout"] = json!({"deployment": "d1", "stage": stage, "reason": "3 of 3 calls failed"});
        document
    };
    let (mut client, log) = agent(["pending", "canary", "following", "done"].map(at).to_vec()).await;
    awaited(&mut client, "aa", Duration::from_secs(5)).await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 5, "while two versions have their turn nobody asks for the plan");

    let (mut client, _) = agent(["canary", "rolled_back"].map(at).to_vec()).await;
    let error = awaited(&mut client, "aa", Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("rolled back: 3 of 3 calls failed"), "{error}");
    assert!(error.changed().is_some_and(|changed| changed.contains("the version before runs")), "{error}");
}

#[tokio::test]
async fn where_no_node_qualifies_that_is_said_at_once_with_each_reason() {
    let (addr, _) = serve(|seen| match seen.line.as_str() {
        "GET /v1/workloads/w" => ok(&workload(1, &[])),
        "GET /v1/workloads/w/placement" => ok(&json!({"wanted": 1, "candidates": [],
            "rejected": [{"name": "fra-1", "message": "lacks gpu"}]})),
        _ => Say::Answer(404, "", "{}".to_owned()),
    })
    .await;
    let mut client = Client::new(addr, Duration::from_secs(5), None);
    let began = std::time::Instant::now();
    let error = awaited(&mut client, "aa", Duration::from_secs(600)).await.unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("fra-1: lacks gpu"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(300), "it did not wait out its time");
}

#[tokio::test]
async fn what_runs_where_it_may_not_any_more_is_no_success() {
    let kept = json!({"wanted": 1, "candidates": [],
        "rejected": [{"node": "n1", "name": "fra-1", "message": "breaks the rule workload=nosuch", "keeps": true}]});
    let (addr, _) = serve(move |seen| match seen.line.as_str() {
        "GET /v1/workloads/w" => ok(&workload(1, &[instance("ready", None)])),
        "GET /v1/workloads/w/placement" => ok(&kept),
        _ => Say::Answer(404, "", "{}".to_owned()),
    })
    .await;
    let mut client = Client::new(addr, Duration::from_secs(5), None);
    let error = awaited(&mut client, "aa", Duration::from_secs(600)).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let wanted = "fra-1: breaks the rule workload=nosuch; what runs there stays for want of another place";
    assert!(error.to_string().contains(wanted), "{error}");
}

/// The document of a workload whose rollout is that of `deployment`.
fn of_deployment(deployment: &str, more: &Value) -> Value {
    let mut document = workload(1, &[instance("ready", None)]);
    let mut rollout = json!({"deployment": deployment, "stage": "canary", "deployed_by": "n1"});
    rollout.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    document["status"]["rollout"] = rollout;
    document
}

#[tokio::test]
async fn who_waits_hears_at_once_that_another_deployment_counts() {
    let own = || of_deployment("d1", &json!({}));
    let check = async |documents: Vec<Value>, wanted: &str| {
        let (mut client, _) = agent(documents).await;
        let error = awaited(&mut client, "aa", Duration::from_secs(600)).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 1, "{text}");
        for wanted in [wanted, "at n1: deployment d2 counts now, and revision aa is to run"] {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(error.after("w is deployed").changed().is_some_and(|changed| changed.contains("taken its place")));
    };
    let overtaken = of_deployment("d2", &json!({"stage": "done"}));
    check(vec![own(), overtaken.clone()], "overtaken by another deployment").await;
    check(vec![overtaken], "overtaken by another deployment").await;
    let back = of_deployment("d2", &json!({"stage": "done", "reverts": "d1"}));
    check(vec![back], "rolled back by hand").await;
    let another = of_deployment("d2", &json!({"stage": "rolled_back", "reverts": "d0", "reason": "it trapped"}));
    check(vec![own(), another], "overtaken by another deployment").await;
}

#[tokio::test]
async fn an_agent_that_has_not_heard_of_the_deployment_yet_is_given_a_moment() {
    let old = of_deployment("d0", &json!({"stage": "done"}));
    let (mut client, _) = agent(vec![old.clone(), old, of_deployment("d1", &json!({"stage": "done"}))]).await;
    awaited(&mut client, "aa", Duration::from_secs(600)).await.unwrap();
}

#[tokio::test]
async fn a_workload_that_is_gone_was_undeployed() {
    let (addr, _) =
        serve(|_| Say::Answer(404, "", json!({"error": {"code": "unknown_workload", "message": "x"}}).to_string()))
            .await;
    let mut client = Client::new(addr, Duration::from_secs(5), None);
    let error = awaited(&mut client, "aa", Duration::from_secs(600)).await.unwrap_err().after("w is deployed");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("w was undeployed meanwhile"), "{error}");
    assert!(error.changed().is_some_and(|changed| changed.contains("removed since")), "{error}");
}
