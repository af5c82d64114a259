//! Agents that start again: all at once where nearly all addresses have changed, and one among many.

use selvedge_tests::field::{PATIENCE, Traffic, name};
use selvedge_tests::{Field, eventually};
use serde_json::{Value, json};

/// Agents on one machine: full meshes of more are the simulator's.
const CROWD: u8 = 16;

#[test]
fn all_restart_with_stale_addresses_and_find_each_other() {
    let Some(mut field) = Field::try_whole(5) else { return };
    let traffic = Traffic::start("before", &field.doors(&field.running()));
    eventually("there is something to lose", PATIENCE, || (traffic.taken() >= 200).then_some(()));
    field.settle(traffic);
    let taken = field.value(0, "gcounter/before").as_u64().expect("a counter");
    field.await_remembered();
    let all = field.running();
    for host in &all {
        // What a writer said before is on its disk with this.
        field.put_durably(*host, "gset/sealed", &json!({"add": [name(*host)]}));
    }
    field.kill(&all);
    // All but one are elsewhere now, the one too that the tokens named.
    for host in [0, 1, 3, 4] {
        let last = u8::try_from(100 + host).expect("a few hosts");
        field.hosts.renumber(host, last);
    }
    field.start_all();
    let traffic = Traffic::start("after", &field.doors(&all));
    field.await_alive(&all, 5);
    field.note("all have found each other");
    field.settle(traffic);
    for host in &all {
        field.holds(*host, "before", taken);
        assert_eq!(field.value(*host, "gset/sealed"), json!(all.iter().map(|host| name(*host)).collect::<Vec<_>>()));
    }
    for (one, other) in [(0, 1), (3, 4), (4, 0)] {
        assert!(field.linked(one, other), "those who have moved reach each other");
    }
    field.note("done");
}

fn shipped(field: &Field, name: &str) -> String {
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(shipped, _)| *shipped == name).expect("is shipped");
    let file = field.folder().join(format!("{name}.wasm"));
    std::fs::write(&file, wasm).expect("is written");
    file.to_string_lossy().into_owned()
}

/// Where a workload is ready, as an agent has heard.
fn instances(field: &Field, host: usize) -> Vec<String> {
    let workload = field.door(host).get("/v1/workloads/combat").expect("it is deployed");
    let instances = workload["status"]["instances"].as_array().cloned().unwrap_or_default();
    let is_ready = |instance: &&Value| instance["phase"] == json!("ready");
    instances.iter().filter(is_ready).filter_map(|instance| instance["node"].as_str()).map(str::to_owned).collect()
}

fn resolve(field: &Field, host: usize) -> bool {
    let fighter = |id: u64| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 10, "tactic": "speed", "health": 100});
    let duels = json!([[{"zone": 1, "seed": 7, "a": fighter(1), "b": fighter(2)}]]).to_string();
    let answer = field.door(host).ask("POST", "/v1/workloads/combat/call/resolve", &duels);
    answer.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn sixteen_on_one_machine_miss_nothing_when_one_dies() {
    let Some(mut field) = Field::try_whole(CROWD) else { return };
    let all = field.running();
    let wasm = shipped(&field, "combat");
    let deployed = field.agent(0).cli(&["deploy", &wasm, "--name", "combat", "--replicas", "3"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    field.note("deployed");
    let traffic = Traffic::start("crowd", &field.doors(&all));
    eventually("all have written", PATIENCE, || (traffic.taken() >= 1_600).then_some(()));
    field.settle(traffic);
    field.note("agreed");
    // The one that dies runs the workload.
    let hosts = eventually("three run it", PATIENCE, || Some(instances(&field, 0)).filter(|hosts| hosts.len() == 3));
    let victim = all.iter().copied().find(|host| hosts.contains(&field.agent(*host).node())).expect("one of ours");
    let dead = field.agent(victim).node();
    field.kill(&[victim]);
    let others = field.running();
    let traffic = Traffic::start("meanwhile", &field.doors(&others));
    field.await_lost(&others, &[victim]);
    field.note("the death is known");
    for host in [others[0], others[14]] {
        eventually("calls are answered", PATIENCE, || resolve(&field, host).then_some(()));
    }
    eventually("another runs it in its place", PATIENCE, || {
        let now = instances(&field, others[0]);
        (now.len() == 3 && !now.contains(&dead)).then_some(())
    });
    field.note("it runs elsewhere");
    field.start_all();
    field.settle(traffic);
    assert_eq!(field.running().len(), usize::from(CROWD));
    field.note("done");
}
