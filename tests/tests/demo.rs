//! The demo does what it says, and leaves nothing behind.

use std::process::Command;

use selvedge_tests::agent::binary;
use serde_json::Value;

#[test]
fn three_agents_find_each_other_serve_and_converge() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(binary())
        .args(["demo", "--seconds", "3", "--json"])
        .env("TMPDIR", folder.path())
        .output()
        .expect("the demo runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    assert_eq!(output.status.code(), Some(0), "{report:#}\n{stderr}");
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!((&report["agents"], &report["lost"], &report["counters_ok"]), (&3.into(), &0.into(), &true.into()));
    let roots = report["roots"].as_array().expect("a list of roots");
    assert!(roots.len() == 3 && roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    assert!(report["calls"].as_u64() > Some(100), "{report:#}");
    assert!(report["latency_us"]["p50"].as_u64() <= report["latency_us"]["p999"].as_u64());
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("can be listed").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
