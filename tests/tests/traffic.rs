//! Calls that go on while hosts come, are drained, stop and die: none is lost but those under way on a host that was killed, and each of those says so.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually, http};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
const WORKLOAD: &str = "prediction";
const REPLICAS: usize = 2;

/// What the callers have met.
#[derive(Default)]
struct Met {
    answered: AtomicU64,
    errors: Mutex<Vec<Value>>,
    over: AtomicBool,
}

impl Met {
    /// Calls an agent until it is over, one call after another.
    fn call(&self, agent: &Agent) {
        let sample = |t: u32| json!({"t_ms": t, "x": 1.0, "y": 2.0, "z": 0.0});
        let arguments = json!([[{"player": 7, "samples": [sample(0), sample(50)], "horizon_ms": 100}]]).to_string();
        let path = format!("/v1/workloads/{WORKLOAD}/call/predict");
        while !self.over.load(Ordering::Relaxed) {
            let answer = http::ask(agent, "POST", &path, arguments.as_bytes());
            if answer.status == 200 {
                self.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                let error = serde_json::from_slice(&answer.body).unwrap_or(json!(answer.head));
                self.errors.lock().expect("nobody panics with it").push(error);
            }
        }
    }

    /// Waits until so many more calls were answered.
    fn more(&self, calls: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + calls;
        eventually("calls are answered", PATIENCE, || (self.answered.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    fn none_lost(&self, what: &str) {
        let errors = self.errors.lock().expect("nobody panics with it");
        assert!(errors.is_empty(), "{what}: {} lost, the first: {}", errors.len(), errors[0]);
    }
}

fn instances(agent: &Agent) -> Vec<(String, String)> {
    let workload = agent.json(&["workloads"]).as_array().and_then(|all| all.first().cloned()).unwrap_or_default();
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let instances = workload["instances"].as_array().cloned().unwrap_or_default();
    instances.iter().map(|instance| (text(instance, "node"), text(instance, "phase"))).collect()
}

/// The hosts that it runs on, once there are as many as are wanted, all are ready, and none of them is `not`.
fn settled(agent: &Agent, not: &str) -> Vec<String> {
    eventually("there are as many instances as are wanted", PATIENCE, || {
        let instances = instances(agent);
        let all_ready = instances.iter().all(|(node, phase)| phase == "ready" && node != not);
        (all_ready && instances.len() == REPLICAS).then(|| instances.into_iter().map(|(node, _)| node).collect())
    })
}

fn deploy(agent: &Agent, folder: &Path) {
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == WORKLOAD).expect("it ships");
    let file = folder.join("prediction.wasm");
    std::fs::write(&file, wasm).expect("written");
    // The caller's own host never runs it: each call is forwarded.
    let line = ["deploy", &file.to_string_lossy(), "--name", WORKLOAD, "--replicas", "2", "--must", "!node=caller"];
    let done = agent.cli(&[&line[..], &["--deadline", "2s", "--timeout", "120s"]].concat());
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
}

/// Takes the agent of this node out of the list.
fn take(agents: &mut Vec<Agent>, node: &str) -> Agent {
    let place = agents.iter().position(|agent| agent.node() == node).expect("it is one of ours");
    agents.swap_remove(place)
}

#[test]
fn no_call_is_lost_while_hosts_join_drain_stop_and_die_but_on_the_one_that_was_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name);
    let caller = at("caller").joining(&[]).start();
    let mut hosts: Vec<Agent> = ["one", "two", "three"].map(|name| at(name).joining(&[&caller]).start()).into();
    eventually("all know each other", PATIENCE, || {
        hosts.iter().chain([&caller]).all(|agent| agent.alive() == 4).then_some(())
    });
    deploy(&caller, folder.path());
    let met = Met::default();
    std::thread::scope(|scope| {
        // Ends the callers also where something fails.
        let end = End(&met);
        for _ in 0..2 {
            scope.spawn(|| met.call(&caller));
        }
        met.more(50);

        let drained = settled(&caller, "")[0].clone();
        let host = hosts.iter().find(|host| host.node() == drained).expect("it is one of ours");
        assert_eq!(host.cli(&["drain"]).code, 0);
        settled(&caller, &drained);
        met.more(50);
        assert_eq!(host.cli(&["drain", "--off"]).code, 0);
        met.none_lost("a host was drained");

        hosts.push(at("four").joining(&[&caller]).start());
        eventually("the new one is there", PATIENCE, || (caller.alive() == 5).then_some(()));
        met.more(50);
        met.none_lost("a host joined");

        let stopped = settled(&caller, "")[0].clone();
        assert_eq!(take(&mut hosts, &stopped).stop().1, Some(0));
        met.more(50);
        met.none_lost("a host stopped");
        settled(&caller, &stopped);

        let killed = settled(&caller, "")[0].clone();
        drop(take(&mut hosts, &killed).kill());
        settled(&caller, &killed);
        met.more(50);
        drop(end);
    });
    for error in met.errors.lock().expect("nobody panics with it").iter() {
        let told = &error["error"];
        let may_be_made = told["changed"].as_str().is_some_and(|changed| changed.contains("may have been"));
        assert!(may_be_made && told["message"].as_str().is_some_and(|text| text.contains("forwarded")), "{error}");
    }
}

/// The end of the callers.
struct End<'a>(&'a Met);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
