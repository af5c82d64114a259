//! A call that another host answers is one trace: a collector gets the spans of both agents, each with its parent; and metrics name it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_tests::{Agent, Launch, eventually, http};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// What agents have sent, each span with the name of its host.
type Spans = Arc<Mutex<Vec<(String, Value)>>>;

/// A collector on a port of the system's choice, until the test is over.
fn collector() -> (String, Spans) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let (address, spans) = (listener.local_addr().expect("an address"), Spans::default());
    let taken = Arc::clone(&spans);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            taken.lock().expect("nobody panics with it").extend(take(&stream.expect("a connection")));
        }
    });
    (format!("http://{address}"), spans)
}

fn take(mut stream: &TcpStream) -> Vec<(String, Value)> {
    let mut request = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        request.read_line(&mut line).expect("a head");
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    request.read_exact(&mut body).expect("a body");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("written");
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    let of = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for resource in of(&document["resourceSpans"]) {
        let host = attribute(&resource["resource"], "host.name").expect("a host's name");
        for scope in of(&resource["scopeSpans"]) {
            spans.extend(of(&scope["spans"]).into_iter().map(|span| (host.clone(), span)));
        }
    }
    spans
}

fn attribute(of: &Value, key: &str) -> Option<String> {
    let attributes = of["attributes"].as_array()?;
    let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
    found["value"]["stringValue"].as_str().map(str::to_owned)
}

/// Two agents that send their traces there, of which only `one` runs the workload.
fn two(folder: &Path, collector: &str) -> (Agent, Agent) {
    let file = folder.join("selvedge.toml");
    fs::write(&file, format!("[log]\notlp = \"{collector}\"\n")).expect("written");
    let with = ["--config", &file.to_string_lossy()];
    let one = Launch::new(folder, "one").with(&with).founding("traced").joining(&[]).start();
    let two = Launch::new(folder, "two").with(&with).invited_by(&one).joining(&[&one]).start();
    let wasm = folder.join("combat.wasm");
    let (_, component) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").expect("it ships");
    fs::write(&wasm, component).expect("written");
    let done = one.cli(&["deploy", &wasm.to_string_lossy(), "--name", "combat", "--timeout", "120s"]);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, one.log());
    (one, two)
}

fn call(agent: &Agent, traceparent: &str) -> Option<http::Answer> {
    let answer = http::ask_with(
        agent,
        ("POST", "/v1/workloads/combat/call/resolve"),
        &format!("traceparent: {traceparent}\r\n"),
        b"[[]]",
    );
    (answer.status == 200).then_some(answer)
}

/// The spans of a trace by what they are called, with their hosts, when all of `names` are there.
fn gathered(spans: &Spans, trace: &str, names: &[&str]) -> Option<BTreeMap<String, (String, Value)>> {
    let spans = spans.lock().expect("nobody panics with it");
    let of_trace = spans.iter().filter(|(_, span)| span["traceId"] == trace);
    let by_name: BTreeMap<String, (String, Value)> = of_trace
        .map(|(host, span)| (span["name"].as_str().unwrap_or_default().to_owned(), (host.clone(), span.clone())))
        .collect();
    names.iter().all(|name| by_name.contains_key(*name)).then_some(by_name)
}

/// The traces and spans that an agent's metrics name, in the format that can; what is said of each is as OpenMetrics 1.0 wants it.
fn exemplars(agent: &Agent) -> Vec<(String, String)> {
    let classic = String::from_utf8(http::ask(agent, "GET", "/metrics", b"").body).expect("text");
    assert!(!classic.contains("trace_id"), "the older format has no exemplars");
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\n";
    let answer = http::ask_with(agent, ("GET", "/metrics"), accept, b"");
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{}", answer.head);
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "it ends as it should");
    let (mut found, mut below) = (Vec::new(), 0.0);
    for line in text.lines().filter(|line| line.starts_with("selvedge_call_duration_seconds_bucket{")) {
        let bound = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a bound");
        let bound: f64 = bound.parse().expect("a number");
        if let Some((_, exemplar)) = line.split_once(" # ") {
            let (labels, figures) = exemplar.strip_prefix('{').and_then(|rest| rest.split_once("} ")).expect("labels");
            assert!(labels.len() <= 128, "{line}");
            let label = |name: &str| {
                let value =
                    labels.split(',').find_map(|label| label.strip_prefix(&format!("{name}=\""))?.strip_suffix('"'));
                value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
            };
            let figures: Vec<f64> = figures.split(' ').map(|figure| figure.parse().expect("a number")).collect();
            let [took_s, at_s] = figures[..] else { panic!("a value and a time: {line}") };
            assert!(below < took_s && took_s <= bound && at_s > 1.7e9, "{line}");
            found.push((label("trace_id"), label("span_id")));
        }
        below = if bound.is_finite() { bound } else { 0.0 };
    }
    found
}

#[test]
fn a_call_that_is_forwarded_is_one_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, spans) = collector();
    let (one, two) = two(folder.path(), &address);
    let unsampled = format!("00-{}-{CALLER}-00", TRACE.replace('4', "5"));
    let answer = eventually("the call is answered", PATIENCE, || call(&two, &unsampled).and(call(&one, &unsampled)));
    let node = |agent: &Agent| agent.node();
    let runs_on = |agent: &Agent| answer.head.to_lowercase().contains(&node(agent).to_lowercase());
    let (entry, host) = if runs_on(&one) { (&two, &one) } else { (&one, &two) };
    eventually("the call is answered", PATIENCE, || call(entry, &format!("00-{TRACE}-{CALLER}-01")));

    let names = ["call", "forward", "serve", "run"].map(|verb| format!("{verb} combat/resolve"));
    let names = names.each_ref().map(String::as_str);
    let found = eventually("both agents' spans", PATIENCE, || gathered(&spans, TRACE, &names));
    let [called, forwarded, served, ran] = names.map(|name| &found[name]);
    let name = |agent: &Agent| agent.json(&["status"])["node"]["name"].as_str().expect("a name").to_owned();
    assert_eq!([&called.0, &forwarded.0, &served.0, &ran.0], [&name(entry), &name(entry), &name(host), &name(host)]);
    let parents = [&called.1, &forwarded.1, &served.1, &ran.1].map(|span| &span["parentSpanId"]);
    assert_eq!(parents, [&CALLER.into(), &called.1["spanId"], &forwarded.1["spanId"], &served.1["spanId"]]);
    assert_eq!(attribute(&forwarded.1, "selvedge.peer"), Some(node(host)));
    assert_eq!(attribute(&served.1, "selvedge.peer"), Some(node(entry)));

    let spans_of_calls = exemplars(entry);
    let span = called.1["spanId"].as_str().expect("an id");
    assert!(spans_of_calls.contains(&(TRACE.to_owned(), span.to_owned())), "no {TRACE} {span} in {spans_of_calls:?}");
    assert!(!spans_of_calls.iter().any(|(trace, _)| *trace == TRACE.replace('4', "5")), "{spans_of_calls:?}");

    let all = spans.lock().expect("nobody panics with it");
    let unwanted = all.iter().find(|(_, span)| span["traceId"] == TRACE.replace('4', "5"));
    assert_eq!(unwanted, None, "a caller that is not sampled is not recorded");
}

#[test]
fn a_collector_that_is_not_there_costs_no_call_and_one_line_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let (one, _two) = two(folder.path(), &format!("http://{nobody}"));
    let sampled = format!("00-{TRACE}-{CALLER}-01");
    let lost = || {
        let text = String::from_utf8(http::ask(&one, "GET", "/metrics", b"").body).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("selvedge_drops_total{reason=\"span_unsent\"} "));
        line.and_then(|count| count.parse::<u64>().ok()).expect("it is counted")
    };
    for _ in 0..2 {
        let before = lost();
        eventually("spans are given up", PATIENCE, || {
            assert!(call(&one, &sampled).is_some(), "{}", one.log());
            (lost() > before).then_some(())
        });
    }
    let warned = one.log().matches("the collector does not take traces").count();
    assert_eq!(warned, 1, "{}", one.log());
}
