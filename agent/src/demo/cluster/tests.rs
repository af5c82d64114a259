use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A shell script in the place of our executable. `$1` to `$#` are the arguments of `run`.
fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("fake-agent");
    let find = "while [ $# -gt 0 ]; do case $1 in --data-dir) data=$2;; --name) name=$2;; esac; shift; done";
    fs::write(&path, format!("#!/bin/sh\n{find}\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Serves by word, and ends with its stdin.
const GOOD: &str = r#"
umask 077
printf '%064d\n' 7 > "$data/api-token"
printf '{"pid":%d,"node":"n","api":["unix:/x","http://127.0.0.1:9"],"listen":["/ip4/127.0.0.1/tcp/1"],"started":"now"}' $$ > "$data/tmp"
mv "$data/tmp" "$data/agent.json"
cat > /dev/null
"#;

#[tokio::test]
async fn agents_start_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::prepare(script(dir.path(), GOOD)).unwrap();
    let folder = cluster.folder.path().to_owned();
    let agents = cluster.start(3).await.unwrap();
    let names: Vec<_> = agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["agent-1", "agent-2", "agent-3"]);
    assert_eq!((agents[0].api.to_string().as_str(), agents[0].token.len()), ("http://127.0.0.1:9", 64));
    let pids: Vec<_> = cluster.processes.iter().filter_map(|process| process.child.id()).collect();
    cluster.check().unwrap();
    assert_eq!(cluster.stop(false).await, (Vec::new(), None));
    assert!(!folder.exists());
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_is_shown_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::prepare(script(dir.path(), "echo port 7 is in use >&2; exit 3")).unwrap();
    let error = cluster.start(2).await.err().map(|error| error.to_string()).unwrap();
    assert!(
        error.contains("agent-1 ended by itself (exit status: 3)") && error.contains("port 7 is in use"),
        "{error}"
    );
    let (complaints, _) = cluster.stop(false).await;
    assert_eq!(complaints.len(), 1);
}

#[tokio::test]
async fn kept_data_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::prepare(script(dir.path(), GOOD)).unwrap();
    cluster.start(1).await.unwrap();
    let (complaints, kept) = cluster.stop(true).await;
    let kept = kept.unwrap();
    assert!(complaints.is_empty() && kept.join("agent-1/agent.json").exists());
    fs::remove_dir_all(kept).unwrap();
}

#[tokio::test]
async fn a_stale_description_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let stale = GOOD.replace("$$ >", "1 >");
    let mut cluster = Cluster::prepare(script(dir.path(), &stale)).unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), cluster.start(1)).await;
    assert!(waiting.is_err(), "it waits on");
    cluster.stop(false).await;
}

#[test]
fn a_long_log_is_cut_at_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, format!("{}\nthe last line\n", "x".repeat(5_000))).unwrap();
    assert_eq!(tail(&path), "the last line");
    assert!(tail(&dir.path().join("none")).contains("cannot be read"));
}
