//! What agents export is what the reference lists, what the alerts and the dashboard ask for, and what Prometheus can read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually, guest, http};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Labels that Prometheus adds, or that belong to the form of a histogram.
const ADDED: [&str; 3] = ["instance", "job", "le"];

/// One name that is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metric {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

type Metrics = BTreeMap<String, Metric>;

fn root() -> PathBuf {
    guest::root()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn scrape(agent: &Agent) -> String {
    String::from_utf8(http::ask(agent, "GET", "/metrics", b"").body).expect("metrics are text")
}

/// The labels between braces, by name.
fn labels(braces: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = braces;
    while let Some((name, behind)) = rest.split_once('=') {
        names.insert(name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').to_owned());
        let Some(value) = behind.split_once('"').map(|(_, value)| value) else { break };
        rest = value.split_once('"').map_or("", |(_, rest)| rest);
    }
    names
}

/// What a scrape in the Prometheus text format tells.
fn told(text: &str, into: &mut Metrics) {
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                help.clone_into(&mut into.entry(name.to_owned()).or_default().help);
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                kind.clone_into(&mut into.entry(name.to_owned()).or_default().kind);
            }
            _ => {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let family = family.filter(|family| into.contains_key(*family)).unwrap_or(name);
                let metric = into.get_mut(family).unwrap_or_else(|| panic!("`{line}` belongs to no family"));
                let braces = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map(|(braces, _)| braces);
                metric.labels.extend(braces.map(labels).unwrap_or_default().into_iter().filter(|name| name != "le"));
            }
        }
    }
}

/// Two agents that have had something of everything to do.
fn exported(folder: &Path) -> (Metrics, String) {
    let one = Launch::new(folder, "one").founding("observed").joining(&[]).start();
    let two = Launch::new(folder, "two").invited_by(&one).joining(&[]).start();
    let wasm = folder.join("combat.wasm");
    let (_, component) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").expect("it ships");
    fs::write(&wasm, component).expect("written");
    let done = one.cli(&["deploy", &wasm.to_string_lossy(), "--name", "combat", "--timeout", "120s"]);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, one.log());
    for agent in [&one, &two] {
        // One of both forwards it.
        eventually("the call is answered", PATIENCE, || {
            (agent.cli(&["call", "combat", "resolve", "[]"]).code == 0).then_some(())
        });
        let written = http::ask(agent, "POST", "/v1/state/gcounter/kills?durable=true", br#"{"increment": 1}"#);
        assert_eq!(written.status, 200);
    }
    let converged = one.cli(&["converged", "--wait", "30s"]);
    assert_eq!(converged.code, 0, "{}{}", converged.stdout, converged.stderr);
    let whole = |text: &str| ["peer_round_trip_seconds{", "peer_lag_commits{"].iter().all(|part| text.contains(part));
    let text = eventually("the link was measured", PATIENCE, || Some(scrape(&one)).filter(|text| whole(text)));
    let mut metrics = Metrics::new();
    told(&text, &mut metrics);
    told(&scrape(&two), &mut metrics);
    (metrics, text)
}

/// The names of ours in an expression of PromQL, each with the labels that it is asked for by.
fn asked_for(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("selvedge_") {
        let rest = &expression[at..];
        let name: String = rest.chars().take_while(|letter| is_of_names(*letter)).collect();
        let braces = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        found.push((name, braces.map(|(braces, _)| labels(braces)).unwrap_or_default()));
    }
    // What is grouped by has to be a label of all that is asked for.
    for (_, behind) in
        expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')').map(|rest| ((), rest.0)))
    {
        let by = behind.split(',').map(|label| label.trim().to_owned());
        found.iter_mut().for_each(|(_, labels)| labels.extend(by.clone()));
    }
    found
}

fn check(metrics: &Metrics, place: &str, expression: &str) {
    let asked = asked_for(expression);
    assert!(!asked.is_empty() || expression.starts_with("up{"), "{place} asks for nothing of ours: {expression}");
    for (name, labels) in asked {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let metric = metrics.get(&name).or_else(|| metrics.get(family?));
        let metric = metric.unwrap_or_else(|| panic!("{place} asks for {name}, which no agent exports"));
        for label in labels.iter().filter(|label| !ADDED.contains(&label.as_str())) {
            assert!(metric.labels.contains(label), "{place} asks for {name} by {label}; it has {:?}", metric.labels);
        }
    }
}

/// Every expression in a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Alerts with where they send whoever is woken: a section of the runbook.
fn sections(rules: &str) -> Vec<(String, String)> {
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let link = rule.split_once("runbook: ").and_then(|(_, rest)| rest.lines().next()).unwrap_or_default();
        (rule.lines().next().unwrap_or_default().trim().to_owned(), link.trim().to_owned())
    });
    rules.collect()
}

/// Alerts with their expressions, each of which is a line, or some that are indented further.
fn alerts(rules: &str) -> Vec<(String, String)> {
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let name = rule.lines().next().unwrap_or_default().trim().to_owned();
        let expression = rule.split_once("expr: ").expect("an alert has an expression").1;
        let lines =
            expression.lines().take_while(|line| !["for:", "labels:"].iter().any(|key| line.trim().starts_with(key)));
        (name, lines.map(str::trim).collect::<Vec<_>>().join(" "))
    });
    rules.collect()
}

#[test]
fn what_is_exported_is_listed_and_what_is_asked_for_is_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (metrics, text) = exported(folder.path());
    let row = |(name, metric): (&String, &Metric)| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { "–".to_owned() } else { labels };
        format!("| `{name}` | {} | {labels} | {} |", metric.kind, metric.help)
    };
    let rows: Vec<String> = metrics.iter().map(row).collect();
    let reference = read("docs/metrics.md");
    let listed: Vec<&str> = reference.lines().filter(|line| line.starts_with("| `selvedge_")).collect();
    assert!(listed == rows, "docs/metrics.md is to list\n{}", rows.join("\n"));
    for (name, metric) in &metrics {
        for unit in ["seconds", "bytes"].into_iter().filter(|unit| name.trim_end_matches("_total").ends_with(unit)) {
            assert!(metric.help.contains(unit), "{name} is in {unit}, which its help does not say: {}", metric.help);
        }
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name}");
    }

    let runbook = read("docs/operations.md");
    let alerts = alerts(&read("deploy/prometheus/alerts.yml"));
    assert!(alerts.len() > 10, "{alerts:?}");
    for (name, expression) in &alerts {
        check(&metrics, name, expression);
        assert!(runbook.contains(&format!("\n### {name}\n")), "docs/operations.md has no section {name}");
    }
    for (name, link) in sections(&read("deploy/prometheus/alerts.yml")) {
        assert_eq!(link, format!("docs/operations.md#{}", name.to_lowercase()), "{name} leads nowhere");
    }
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/selvedge.json")).expect("JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 20, "{found:?}");
    found.iter().for_each(|expression| check(&metrics, "the dashboard", expression));
    for panel in dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row") {
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        for (what, text) in [("a description", &panel["description"]), ("a unit", unit)] {
            assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{} has no {what}", panel["title"]);
        }
    }

    if guest::is_there("promtool") {
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = promtool.spawn().expect("promtool runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        let done = child.wait_with_output().expect("promtool ends");
        let complaints = [done.stdout, done.stderr].concat();
        assert!(done.status.success() && complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
    }
}

#[test]
fn alerts_fire_when_they_should() {
    if !guest::is_there("promtool") {
        return;
    }
    for command in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        println!(
            "{}",
            guest::run(Command::new("promtool").current_dir(root().join("deploy/prometheus")).args(command))
        );
    }
    let tested = read("deploy/prometheus/alerts_test.yml");
    for (name, _) in alerts(&read("deploy/prometheus/alerts.yml")) {
        assert!(tested.contains(&format!("alertname: {name}\n")), "no test of {name}");
    }
}
