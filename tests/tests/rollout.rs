//! A new version of a workload on three real agents: a good one goes through, a bad one is taken back by itself, and callers lose
//! nothing by either.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use selvedge_tests::netns::Wires;
use selvedge_tests::{Agent, Field, Launch, Output, eventually, http};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// How long after its start an agent has certainly kept on disk where the others are.
const REMEMBERED_AFTER_S: u64 = 4;

/// Between two calls of one caller.
const PACE: Duration = Duration::from_millis(5);

/// A component whose function `run` does this and answers a number.
fn guest(folder: &Path, name: &str, body: &str) -> String {
    exporting(folder, name, "run", "u32", body)
}

/// A component with this function, which does this and answers a number of this type.
fn exporting(folder: &Path, name: &str, function: &str, kind: &str, body: &str) -> String {
    let text = format!(
        r#"(component (core module $m (func (export "run") (result i32) {body})) (core instance $i (instantiate $m))
           (func (export "{function}") (result {kind}) (canon lift (core func $i "run"))))"#
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, wat::parse_str(text).expect("a component")).expect("written");
    path.to_string_lossy().into_owned()
}

/// A guest that answers this number.
fn answering(folder: &Path, number: u32) -> String {
    guest(folder, &format!("v{number}"), &format!("i32.const {number}"))
}

/// Three agents that know each other.
fn three(folder: &Path) -> [Agent; 3] {
    let one = Launch::new(folder, "one").joining(&[]).start();
    let two = Launch::new(folder, "two").joining(&[&one]).start();
    let three = Launch::new(folder, "three").joining(&[&one]).start();
    let all = [one, two, three];
    eventually("they know each other", PATIENCE, || all.iter().all(|agent| agent.alive() == 3).then_some(()));
    all
}

fn try_deploy(agent: &Agent, wasm: &str, options: &[&str]) -> Output {
    agent.cli(&[&["deploy", wasm, "--name", "w", "--everywhere", "--timeout", "120s"], options].concat())
}

fn deploy(agent: &Agent, wasm: &str, options: &[&str]) {
    let done = try_deploy(agent, wasm, options);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
}

fn answer(agent: &Agent) -> Value {
    agent.json(&["call", "w", "run"])
}

fn workload(agent: &Agent) -> Value {
    serde_json::from_slice(&http::ask(agent, "GET", "/v1/workloads/w", b"").body).expect("JSON")
}

fn rollout(agent: &Agent) -> Value {
    workload(agent)["status"]["rollout"].clone()
}

/// How calls went.
#[derive(Debug, Default)]
struct Calls {
    answered: AtomicU64,
    failed: AtomicU64,
    /// The first answer that was no success.
    lost: std::sync::Mutex<Option<String>>,
}

/// Calls every agent at a steady rate while `act` runs.
fn under_load<R>(agents: &[Agent], act: impl FnOnce(&Calls) -> R) -> (R, Calls) {
    let (calls, over) = (Calls::default(), AtomicBool::new(false));
    let done = std::thread::scope(|scope| {
        for agent in agents {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = http::ask(agent, "POST", "/v1/workloads/w/call/run", b"[]");
                    if answer.status == 200 {
                        calls.answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        calls.failed.fetch_add(1, Ordering::Relaxed);
                        let text = format!("{}\n{}", answer.head, String::from_utf8_lossy(&answer.body));
                        calls.lost.lock().expect("no panic").get_or_insert(text);
                    }
                    std::thread::park_timeout(PACE);
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&calls)));
        over.store(true, Ordering::Relaxed);
        done
    });
    (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), calls)
}

#[test]
fn a_rolling_update_under_steady_load_loses_no_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    deploy(&agents[0], &answering(folder.path(), 1), &[]);
    let ((), calls) = under_load(&agents, |calls| {
        eventually("calls flow", PATIENCE, || (calls.answered.load(Ordering::Relaxed) > 100).then_some(()));
        deploy(&agents[1], &answering(folder.path(), 2), &["--canary", "2s"]);
        assert_eq!(agents.each_ref().map(answer), [2, 2, 2]);
        // And back by hand, at once.
        let back = agents[2].json(&["rollback", "w"]);
        assert_eq!(agents.each_ref().map(answer), [1, 1, 1]);
        assert!(back["status"]["rollout"]["reverts"].is_string(), "{back}");
    });
    assert_eq!(calls.failed.load(Ordering::Relaxed), 0, "{calls:?}");
    let again = agents[0].cli(&["rollback", "w"]);
    assert!(again.code == 1 && again.stderr.contains("no version of `w` to go back to"), "{again:?}");
}

#[test]
fn a_version_that_traps_is_taken_back_by_itself_and_all_say_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    deploy(&agents[0], &answering(folder.path(), 1), &[]);
    let bad = guest(folder.path(), "bad", "unreachable");
    let (refused, calls) = under_load(&agents, |_| try_deploy(&agents[0], &bad, &["--canary", "60s"]));
    assert!(refused.code == 1 && refused.stderr.contains("rolled back"), "{refused:?}\n{}", agents[0].log());
    assert!(refused.stderr.contains("calls of the new version failed"), "{refused:?}");
    // One host of three tried it, and not for long.
    let (answered, failed) = (calls.answered.load(Ordering::Relaxed), calls.failed.load(Ordering::Relaxed));
    assert!(failed >= 3 && failed < answered, "{calls:?}");
    for agent in &agents {
        let told = eventually("it is told everywhere", PATIENCE, || {
            let told = rollout(agent);
            (told["stage"] == "rolled_back").then_some(told)
        });
        assert!(told["reason"].as_str().is_some_and(|why| why.contains("calls of the new version failed")), "{told}");
        assert!(told["judged_by"].is_string() && told["deployed_by"] == agents[0].node(), "{told}");
        eventually("the version before answers", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() == "1").then_some(())
        });
    }
    // It does not come again by itself, not even where an agent starts anew.
    let [one, two, three] = agents;
    let (launch, _) = three.stop();
    let three = launch.start();
    eventually("it runs again", PATIENCE, || (three.cli(&["call", "w", "run"]).stdout.trim() == "1").then_some(()));
    // The next version is held against the one that was good.
    deploy(&two, &answering(folder.path(), 2), &["--canary", "1s"]);
    assert_eq!([&one, &two, &three].map(answer), [2, 2, 2]);
}

#[test]
fn a_canary_whose_host_dies_is_followed_by_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    deploy(&agents[0], &answering(folder.path(), 1), &[]);
    let new = answering(folder.path(), 2);
    let stored = try_deploy(&agents[0], &new, &["--canary", "8s", "--no-wait"]);
    assert_eq!(stored.code, 0, "{stored:?}");
    let canary = eventually("somebody tries it", PATIENCE, || {
        let told = rollout(&agents[0]);
        (told["stage"] == "canary" && told["remaining_ms"].as_u64() < Some(6_000)).then(|| told["canary"].clone())
    });
    let (dead, alive): (Vec<Agent>, Vec<Agent>) = agents.into_iter().partition(|agent| canary == agent.node());
    let _launches: Vec<Launch> = dead.into_iter().map(Agent::kill).collect();
    assert_eq!(alive.len(), 2, "{canary}");
    for agent in &alive {
        eventually("the others go on without it", PATIENCE, || (rollout(agent)["stage"] == "done").then_some(()));
        eventually("they serve it", PATIENCE, || (agent.cli(&["call", "w", "run"]).stdout.trim() == "2").then_some(()));
    }
}

#[test]
fn a_version_whose_canary_is_lost_twice_is_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut agents = Vec::from(three(folder.path()));
    for agent in &agents {
        eventually("it has kept where the others are", PATIENCE, || {
            let status = agent.json(&["status"]);
            (status["node"]["uptime_s"].as_u64() >= Some(REMEMBERED_AFTER_S)).then_some(())
        });
    }
    deploy(&agents[0], &answering(folder.path(), 1), &[]);
    let stored = try_deploy(&agents[0], &answering(folder.path(), 2), &["--canary", "10m", "--no-wait"]);
    assert_eq!(stored.code, 0, "{stored:?}");
    let mut before = Value::Null;
    for _ in 0..2 {
        let canary = eventually("another tries it", PATIENCE, || {
            let told = agents.iter().map(rollout).find(|told| told["stage"] == "canary" && told["canary"] != before)?;
            let tries = told["remaining_ms"].as_u64() < Some(600_000);
            tries.then(|| told["canary"].clone())
        });
        let place = agents.iter().position(|agent| canary == agent.node()).expect("it is one of them");
        let launch = agents.remove(place).kill();
        agents.insert(place, launch.start());
        before = canary;
    }
    for agent in &agents {
        let told = eventually("it is taken back", PATIENCE, || {
            let told = rollout(agent);
            (told["stage"] == "rolled_back").then_some(told)
        });
        assert_eq!(told["reason"], "2 times a host was lost while it tried the new version", "{told}");
        eventually("the version before answers", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() == "1").then_some(())
        });
    }
}

#[test]
fn a_rollout_whose_mesh_is_cut_goes_on_with_most_and_reaches_the_rest() {
    let Some(field) = Field::try_whole(5) else { return };
    let agent = |host| field.agent(host);
    let stage = |host: usize| {
        let workload = field.door(host).get("/v1/workloads/w").unwrap_or_default();
        workload["status"]["rollout"]["stage"].clone()
    };
    deploy(agent(0), &answering(field.folder(), 1), &[]);
    let stored = try_deploy(agent(0), &answering(field.folder(), 2), &["--canary", "4s", "--no-wait"]);
    assert_eq!(stored.code, 0, "{stored:?}");
    eventually("it has begun everywhere", PATIENCE, || {
        field.running().into_iter().all(|host| stage(host) == "canary").then_some(())
    });
    let (few, most) = ([0, 1], [2, 3, 4]);
    field.hosts.wire(&Wires::groups(&[&few, &most]));
    for host in most {
        eventually("most go on", PATIENCE, || (stage(host) == "done").then_some(()));
    }
    assert_ne!(stage(few[0]), "done", "who sees few decides nothing for all");
    field.hosts.wire(&Wires::default());
    for host in field.running() {
        eventually("all agree", PATIENCE, || (stage(host) == "done").then_some(()));
        eventually("all serve it", PATIENCE, || {
            (agent(host).cli(&["call", "w", "run"]).stdout.trim() == "2").then_some(())
        });
    }
    field.unharmed();
}

#[test]
fn callers_of_other_hosts_lose_nothing_by_a_new_version_and_judge_it_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    let one = |wasm: &str, canary: &str| {
        agents[0].cli(&["deploy", wasm, "--name", "w", "--replicas", "1", "--timeout", "120s", "--canary", canary])
    };
    let first = one(&answering(folder.path(), 1), "2s");
    assert_eq!(first.code, 0, "{first:?}");
    for agent in &agents {
        eventually("it is called from everywhere", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() == "1").then_some(())
        });
    }
    let (second, calls) = under_load(&agents, |_| one(&answering(folder.path(), 2), "2s"));
    assert_eq!(
        (second.code, calls.failed.load(Ordering::Relaxed)),
        (0, 0),
        "{second:?} {calls:?}\n{}",
        agents[0].log()
    );
    assert_eq!(agents.each_ref().map(answer), [2, 2, 2]);
    let bad = guest(folder.path(), "bad", "unreachable");
    let (refused, _) = under_load(&agents, |_| one(&bad, "60s"));
    assert!(refused.code == 1 && refused.stderr.contains("calls of the new version failed"), "{refused:?}");
    for agent in &agents {
        eventually("the version before answers", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() == "2").then_some(())
        });
    }
}

#[test]
fn one_replica_is_replaced_in_its_place_and_taken_back_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = [Launch::new(folder.path(), "one").joining(&[]).start()];
    let agent = &agents[0];
    let one = |wasm: &str, options: &[&str]| {
        agent.cli(&[&["deploy", wasm, "--name", "w", "--timeout", "120s"], options].concat())
    };
    let first = one(&answering(folder.path(), 1), &[]);
    assert!(first.code == 0 && rollout(agent)["stage"] == "done", "{first:?}");
    // Nobody calls it: it takes no longer than its canary and some moments. What it is, the configuration decides too.
    let second = one(&answering(folder.path(), 2), &["--canary", "1s", "--json"]);
    assert!(second.code == 0 && answer(agent) == 2, "{second:?}\n{}", agent.log());
    let spinning = guest(folder.path(), "spinning", "(loop $again (br $again)) i32.const 3");
    let (refused, _) = under_load(&agents, |_| one(&spinning, &["--canary", "60s"]));
    assert!(refused.code == 1 && refused.stderr.contains("rolled back"), "{refused:?}\n{}", agent.log());
    assert_eq!(answer(agent), 2);
    // At once, and nothing is compared.
    assert_eq!(one(&spinning, &["--canary", "0s"]).code, 0);
    assert_eq!(rollout(agent)["stage"], "done");
    let back = agent.json(&["rollback", "w"]);
    assert_eq!((answer(agent), &back["status"]["rollout"]["stage"]), (json!(2), &json!("done")));
}

#[test]
fn a_schema_of_the_state_is_not_left_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    let [one, two, _] = &agents;
    deploy(one, &answering(folder.path(), 1), &[]);
    deploy(two, &answering(folder.path(), 2), &["--state-schema", "1"]);
    assert_eq!(agents.each_ref().map(answer), [2, 2, 2]);
    let older = try_deploy(one, &answering(folder.path(), 3), &[]);
    assert!(older.code == 1 && older.stderr.contains("schema 1"), "{older:?}");
    let back = one.cli(&["rollback", "w"]);
    assert!(back.code == 1 && back.stderr.contains("schema 1") && back.stderr.contains("--force"), "{back:?}");
    assert_eq!(agents.each_ref().map(answer), [2, 2, 2], "nothing was changed");
    let forced = one.cli(&["rollback", "w", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}\n{}", one.log());
    assert_eq!(agents.each_ref().map(answer), [1, 1, 1]);
}

#[test]
fn a_schema_outlasts_its_workload_and_is_left_by_force_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = [Launch::new(folder.path(), "one").joining(&[]).start()];
    let agent = &agents[0];
    deploy(agent, &answering(folder.path(), 1), &["--state-schema", "2"]);
    assert_eq!(agent.cli(&["undeploy", "w"]).code, 0);
    let old = answering(folder.path(), 2);
    for options in [&["--state-schema", "1"][..], &[], &["--dry-run"]] {
        let older = try_deploy(agent, &old, options);
        assert!(older.code == 1 && older.stderr.contains("schema 2") && older.stderr.contains("--force"), "{older:?}");
    }
    assert_eq!(agent.json(&["workloads"]), json!([]), "nothing was changed");
    deploy(agent, &old, &["--state-schema", "1", "--force"]);
    assert_eq!(answer(agent), 2);
    // The one that was forced is what counts from now on.
    deploy(agent, &answering(folder.path(), 3), &["--state-schema", "1", "--canary", "0s"]);
    assert_eq!(answer(agent), 3);
}

#[test]
fn of_two_schemas_that_were_deployed_apart_the_older_does_not_run_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let launch = |name: &str| Launch::new(folder.path(), name);
    let one = launch("one").joining(&[]).start();
    let two = launch("two").joining(&[&one]).start();
    eventually("they know each other", PATIENCE, || (one.alive() == 2 && two.alive() == 2).then_some(()));
    deploy(&one, &answering(folder.path(), 1), &[]);
    eventually("both have it", PATIENCE, || (two.cli(&["call", "w", "run"]).stdout.trim() == "1").then_some(()));
    // Each deploys while the other is away; the second does so later, and without knowing of the first. Who sees a minority records
    // nothing, so neither of them waits for the end.
    let alone = |agent: &Agent, number: u32, options: &[&str]| {
        deploy(agent, &answering(folder.path(), number), &[options, &["--no-wait"]].concat());
        eventually("it runs", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() == number.to_string()).then_some(())
        });
    };
    drop(two.stop());
    alone(&one, 2, &["--state-schema", "1"]);
    drop(one.stop());
    let two = launch("two").joining(&[]).start();
    alone(&two, 3, &["--canary", "0s"]);
    let one = launch("one").joining(&[&two]).start();
    for agent in [&one, &two] {
        let told = eventually("it is told", PATIENCE, || {
            let told = rollout(agent);
            (told["stage"] == "fenced").then_some(told)
        });
        assert!(told["reason"].as_str().is_some_and(|why| why.contains("schema 1")), "{told}");
        let health = agent.json(&["status"])["health"].to_string();
        assert!(health.contains("`w` is not carried out") && health.contains("schema 1"), "{health}");
        let table = agent.cli(&["workloads"]).stdout;
        assert!(table.contains("does not run") && table.contains("schema 1"), "{table}");
        eventually("`explain` says so", PATIENCE, || {
            agent.cli(&["explain", "w"]).stdout.contains("fenced").then_some(())
        });
        eventually("nobody answers with it", PATIENCE, || {
            (agent.cli(&["call", "w", "run"]).stdout.trim() != "3").then_some(())
        });
    }
    deploy(&one, &answering(folder.path(), 4), &["--state-schema", "1"]);
    assert_eq!([answer(&one), answer(&two)], [4, 4]);
}

#[test]
fn a_component_that_lacks_what_callers_use_is_refused_unless_it_is_forced() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = [Launch::new(folder.path(), "one").joining(&[]).start()];
    let agent = &agents[0];
    deploy(agent, &answering(folder.path(), 1), &[]);
    let other = exporting(folder.path(), "other", "walk", "u32", "i32.const 2");
    for options in [&[][..], &["--dry-run"], &["--canary", "0s"]] {
        let refused = try_deploy(agent, &other, options);
        assert!(refused.code == 1 && refused.stderr.contains("`run` is gone"), "{refused:?}");
        assert!(refused.stderr.contains("--force"), "{refused:?}");
    }
    let changed = exporting(folder.path(), "changed", "run", "s32", "i32.const 2");
    let refused = try_deploy(agent, &changed, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("`run` was `-> u32` and is `-> s32`"), "{refused:?}");
    assert_eq!(answer(agent), 1, "nothing was changed");
    let foreseen = try_deploy(agent, &other, &["--dry-run", "--force"]);
    assert!(foreseen.code == 0 && foreseen.stdout.contains("breaks callers: `run` is gone"), "{foreseen:?}");
    // Calls that were to be expected to fail take nothing back.
    let (done, calls) = under_load(&agents, |_| try_deploy(agent, &other, &["--force", "--canary", "2s"]));
    assert_eq!(done.code, 0, "{done:?}\n{}", agent.log());
    assert!(calls.failed.load(Ordering::Relaxed) > 0, "{calls:?}");
    assert_eq!(agent.json(&["call", "w", "walk"]), 2);
    assert_eq!(agent.cli(&["undeploy", "w"]).code, 0);
    deploy(agent, &changed, &[]);
    assert_eq!(answer(agent), 2, "what is new breaks nothing");
}

#[test]
fn what_was_taken_back_is_told_apart_from_what_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = [Launch::new(folder.path(), "one").joining(&[]).start()];
    let agent = &agents[0];
    deploy(agent, &answering(folder.path(), 1), &[]);
    let good = workload(agent);
    assert!(good["status"]["rejected"].is_null(), "{good}");
    let bad = guest(folder.path(), "bad", "unreachable");
    let (refused, _) = under_load(&agents, |_| try_deploy(agent, &bad, &["--canary", "60s"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    let now = workload(agent);
    assert_eq!(now["artifact"], good["artifact"], "{now}");
    let rejected = &now["status"]["rejected"];
    assert_ne!(rejected["spec"]["artifact"], good["artifact"], "{now}");
    assert_eq!(
        (&rejected["deployment"], &rejected["revision"].is_string()),
        (&now["status"]["rollout"]["deployment"], &true)
    );
    let back = agent.cli(&["rollback", "w"]);
    assert!(back.code == 1 && back.stderr.contains("was taken back already, and revision"), "{back:?}");
    assert_eq!(&workload(agent)["status"]["rejected"], rejected, "and nothing changes");
    // Another place is no version, so there is none to go back to.
    deploy(agent, &answering(folder.path(), 1), &["--affinity", "region=eu"]);
    let back = agent.cli(&["rollback", "w"]);
    assert!(back.code == 1 && back.stderr.contains("another place or number is no new version"), "{back:?}");
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let agents = three(folder.path());
    let [one, two, _] = &agents;
    let (old, new) = (answering(folder.path(), 1), answering(folder.path(), 2));
    let components = |agent: &Agent| {
        let kept = std::fs::read_dir(agent.data_dir().join("artifacts")).map(Iterator::count);
        kept.unwrap_or_default()
    };
    let dry =
        |wasm: &str, options: &[&str]| one.json(&[&["deploy", wasm, "--name", "w", "--dry-run"], options].concat());
    let first = dry(&old, &["--everywhere"]);
    assert_eq!((&first["way"], first["changes"].as_array().map(Vec::len)), (&json!("first"), Some(3)), "{first}");
    assert_eq!((components(one), one.json(&["workloads"])), (0, json!([])), "nothing is there");

    deploy(two, &old, &[]);
    let (root, before, kept) = (one.root(), workload(one), components(one));
    let line = ["deploy", &new, "--name", "w", "--dry-run", "--json", "--replicas", "1", "--require", "gpu"];
    let nowhere = one.cli(&line);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("no node qualifies"), "{nowhere:?}");
    let next: Value = serde_json::from_str(&nowhere.stdout).expect("what would happen is told all the same");
    assert_eq!(next["way"], "canary");
    assert_eq!(next["plan"]["rejected"].as_array().map(Vec::len), Some(3), "with each reason: {next}");
    let stops = next["changes"].as_array().map(|all| all.iter().filter(|change| change["change"] == "stop").count());
    assert_eq!(stops, Some(3), "{next}");
    let same = dry(&old, &["--everywhere"]);
    assert_eq!((&same["way"], &same["changes"]), (&json!("placement"), &json!([])), "{same}");
    let next = dry(&new, &["--everywhere"]);
    assert_eq!(next["tries_first"].as_array().map(Vec::len), Some(3), "nobody calls it anywhere: {next}");
    let text = one.cli(&["deploy", &new, "--name", "w", "--everywhere", "--dry-run"]);
    assert!(
        text.code == 0 && text.stdout.contains("nothing was changed") && text.stdout.contains("replace"),
        "{text:?}"
    );
    let refused = one.cli(&["deploy", &new, "--name", "w", "--dry-run", "--deadline", "1h"]);
    assert!(refused.code == 1 && refused.stderr.contains("limits.deadline_ms"), "{refused:?}");
    let spec = |workload: &Value| (workload["artifact"].clone(), workload["status"]["rollout"]["deployment"].clone());
    assert_eq!((one.root(), spec(&workload(one)), components(one)), (root, spec(&before), kept));
}
