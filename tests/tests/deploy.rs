//! What `deploy` and `undeploy` say is so when they say it: calls right after them meet what was deployed last, or nothing.

use std::path::Path;
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A component that ships with the agent, as a file.
fn component(folder: &Path, name: &str) -> String {
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(shipped, _)| *shipped == name).expect("it ships");
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, wasm).expect("written");
    path.to_string_lossy().into_owned()
}

/// What is done about an insult.
fn verdict(agent: &Agent) -> Value {
    let messages = json!([{"player": 1, "text": "you fucking idiot"}]).to_string();
    agent.json(&["call", "chat", "moderate", &messages])[0]["action"].clone()
}

fn deploy(agent: &Agent, wasm: &str, config: &[&str]) {
    let line = ["deploy", wasm, "--name", "chat", "--everywhere", "--canary", "0s", "--timeout", "120s"];
    let config: Vec<&str> = config.iter().flat_map(|entry| ["--config", entry]).collect();
    let done = agent.cli(&[&line[..], &config].concat());
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
}

#[test]
fn a_deployment_is_done_when_no_instance_answers_as_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = Launch::new(folder.path(), "one").joining(&[]).start();
    let two = Launch::new(folder.path(), "two").joining(&[&one]).start();
    eventually("they know each other", PATIENCE, || (one.alive() == 2 && two.alive() == 2).then_some(()));
    let wasm = component(folder.path(), "chat-moderation");
    for round in 0..3 {
        deploy(&one, &wasm, &[]);
        assert_eq!([verdict(&one), verdict(&two)], ["block", "block"], "round {round}");
        deploy(&one, &wasm, &["explicit-block=never", "explicit-flag=never"]);
        assert_eq!([verdict(&one), verdict(&two)], ["allow", "allow"], "round {round}");
    }

    // What a workload does not want of its configuration is told before anything is changed.
    let wrong = ["deploy", &wasm, "--name", "chat", "--everywhere", "--config", "explicit-block=often", "--json"];
    let refused = one.cli(&wrong);
    let told: Value = serde_json::from_str(&refused.stderr).unwrap_or_else(|error| panic!("{error}: {refused:?}"));
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert_eq!(
        (&told["error"]["code"], &told["error"]["field"]),
        (&json!("bad_config"), &json!("config.explicit-block"))
    );
    assert!(
        told["error"]["changed"] == false
            && told["error"]["message"].as_str().is_some_and(|text| text.contains("often"))
    );
    let refused = one.cli(&wrong[..wrong.len() - 1]);
    assert!(refused.code == 1 && refused.stderr.contains("nothing was changed"), "{refused:?}");
    assert_eq!([verdict(&one), verdict(&two)], ["allow", "allow"], "what ran before goes on");

    for round in 0..3 {
        let gone = one.cli(&["undeploy", "chat"]);
        assert_eq!(gone.code, 0, "{}{}", gone.stdout, gone.stderr);
        for agent in [&one, &two] {
            let called = agent.cli(&["call", "chat", "moderate", "[]"]);
            assert!(called.code == 1 && called.stderr.contains("chat"), "round {round}: {called:?}");
        }
        deploy(&one, &wasm, &[]);
    }

    // A member that does not answer has not said that it has stopped.
    two.stall();
    let gone = one.cli(&["undeploy", "chat", "--timeout", "1s"]);
    assert!(gone.code == 4 && gone.stderr.contains("two"), "{gone:?}");
    assert!(gone.stderr.contains("the spec is removed"), "{gone:?}");
    two.resume();
}

/// What no host may run is said at once and with the reasons, before it is deployed and after; what stays all the same is no success.
#[test]
fn a_deployment_that_no_host_may_run_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").with(&["--listen", "127.0.0.1:0"]).start();
    let wasm = component(folder.path(), "chat-moderation");
    deploy(&agent, &wasm, &[]);

    let line = ["deploy", &wasm, "--name", "chat", "--must", "workload=nosuch", "--canary", "0s", "--timeout", "120s"];
    let foreseen = agent.cli(&[&line[..], &["--dry-run"]].concat());
    assert!(foreseen.stdout.starts_with("nothing was changed"), "{foreseen:?}");
    assert!(
        foreseen.code == 1 && foreseen.stderr.contains("no node qualifies\n  one: breaks the rule"),
        "{foreseen:?}"
    );
    let done = agent.cli(&line);
    assert!(
        done.code == 1 && done.stderr.contains("one: breaks the rule workload=nosuch; what runs there"),
        "{done:?}"
    );
    assert!(done.stderr.contains("its spec is stored"), "{done:?}");
    assert_eq!(verdict(&agent), "block", "what ran goes on");
    eventually("it is shown as kept", PATIENCE, || {
        let table = agent.cli(&["workloads"]).stdout;
        table.contains("kept, though its host breaks the rule workload=nosuch").then_some(())
    });
    let explained = agent.cli(&["explain", "chat"]).stdout;
    assert!(explained.contains("asks for: must workload=nosuch"), "{explained}");
    assert!(explained.contains("kept for want of others"), "{explained}");
    assert_eq!(agent.json(&["status"])["health"]["ok"], true, "it answers");

    // In another region it is forbidden, and stops; then nothing of it is ready, and health says so.
    let line = ["deploy", &wasm, "--name", "chat", "--region", "nowhere", "--canary", "0s"];
    let refused = agent.cli(&line);
    assert!(refused.code == 1 && refused.stderr.contains("(no_host_left)"), "{refused:?}");
    assert!(!refused.stderr.contains("changed nevertheless"), "{refused:?}");
    assert_eq!(verdict(&agent), "block", "one typo stops nothing");
    let away = agent.cli(&[&line[..], &["--force"]].concat());
    assert!(away.code == 1 && away.stderr.contains("asks for region nowhere"), "{away:?}");
    eventually("health names it", PATIENCE, || {
        let health = agent.json(&["status"])["health"].take();
        let notes = health["notes"].to_string();
        let is_named = notes.contains("`chat` has 0 of 1 instances ready") && notes.contains("no host qualifies");
        assert_eq!(health["ok"], true, "no fault of this host: {health}");
        is_named.then_some(())
    });
}
