//! One agent is cut off, both sides go on writing, and the roots are equal again after the link is back.

use std::time::Duration;

use selvedge_tests::netns::Hosts;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

fn launch(hosts: &Hosts, folder: &std::path::Path, host: usize) -> Launch {
    let on = hosts.on(host);
    Launch::new(folder, &format!("host-{host}"))
        .with(&["--listen", &format!("{}:7412", hosts.address(host))])
        .through(&on.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn both_sides_of_a_cut_keep_their_writes() {
    let hosts = match Hosts::try_new(3) {
        Ok(hosts) => hosts,
        Err(reason) => return println!("skipped: no network namespaces here ({reason})"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let first = launch(&hosts, folder.path(), 0).founding("games").start();
    let [second, third] = [1, 2].map(|host| launch(&hosts, folder.path(), host).invited_by(&first).start());
    let agents = [first, second, third];
    for agent in &agents {
        eventually("everybody knows everybody", PATIENCE, || (agent.alive() == 3).then_some(()));
    }
    hosts.cut(2);
    eventually("the cut is noticed", PATIENCE, || (agents[0].alive() == 2).then_some(()));
    for (agent, by) in agents.iter().zip(["1", "10", "100"]) {
        assert_eq!(agent.cli(&["put", "gcounter/written", "increment", by]).code, 0);
        assert_eq!(agent.cli(&["put", "orset/side", "add", by]).code, 0);
        assert_eq!(agent.cli(&["put", "lwwmap/last", "put", &format!("writer={by}")]).code, 0);
    }
    assert_eq!(
        agents[2].value("gcounter/written"),
        Some(json!(100)),
        "the one that is cut off sees its own writes only"
    );
    eventually("the other side agrees without it", PATIENCE, || {
        (agents[0].value("gcounter/written") == Some(json!(11))).then_some(())
    });
    hosts.join(2);
    for agent in &agents {
        eventually("the mesh is whole", PATIENCE, || (agent.alive() == 3).then_some(()));
        let output = agent.cli(&["converged", "--wait", "30s"]);
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    }
    let roots: Vec<String> = agents.iter().map(Agent::root).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    for agent in &agents {
        assert_eq!(agent.value("gcounter/written"), Some(json!(111)));
        assert_eq!(agent.value("orset/side"), Some(json!([1, 10, 100])));
    }
}
