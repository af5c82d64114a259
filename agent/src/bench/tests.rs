use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::cli::fake::{Say, ok, serve};
use crate::cli::{ApiAddr, Over};

const MAX_P99: Duration = Duration::from_millis(100);

fn target(addr: ApiAddr) -> Target {
    let agents = vec![target::Agent { addr, token: None }];
    let (workload, function) = ("w".to_owned(), "f".to_owned());
    Target { workload, function, generated: false, samples: vec![json!([1]), json!([2])], agents }
}

fn stage(rate: u32, millis: u64, patience: Duration) -> Stage {
    Stage { rate, length: Duration::from_millis(millis), patience }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stalls_is_measured_from_when_calls_were_due() {
    let (first, start) = (AtomicUsize::new(0), Instant::now());
    let (addr, log) = serve(move |_| match first.fetch_add(1, Ordering::SeqCst) {
        // The only connection stands still while calls go on being due.
        0 => Say::Late(Duration::from_millis(400), Box::new(ok(&json!(1)))),
        _ => ok(&json!(1)),
    })
    .await;
    let patience = Duration::from_secs(10);
    let lines = Lines::open(&target(addr), Over::Http, 1, patience, MAX_P99);
    let measured = stage(100, 400, patience).run(&lines).await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!((measured.counts.due, measured.counts.answered), (40, 40), "{measured:?}");
    // Half of the calls were due in the first half of the stall, and waited at least the other half of it.
    assert!(measured.counts.latency.p50 >= 100_000, "waiting counts: {measured:?}");
    let log = log.lock().unwrap();
    assert!(log[0].line == "POST /v1/workloads/w/call/f" && log[0].body == "[1]" && log[1].body == "[2]", "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_in_one_count_by_its_kind() {
    let calls = AtomicUsize::new(0);
    let busy = json!({"error": {"code": "busy", "message": "no"}}).to_string();
    let (addr, _) = serve(move |_| match calls.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => Say::Answer(429, "", busy.clone()),
        1 => Say::Hangup,
        2 => Say::Silence,
        _ => ok(&json!([])),
    })
    .await;
    let patience = Duration::from_millis(200);
    let lines = Lines::open(&target(addr), Over::Http, 8, patience, MAX_P99);
    let counts = stage(200, 200, patience).run(&lines).await.counts;
    let failed: u64 = counts.errors.values().sum();
    assert_eq!((counts.due, counts.answered + failed), (40, 40), "{counts:?}");
    for kind in ["busy", "connection", "timed_out"] {
        assert!(counts.errors.contains_key(kind), "{kind} is not in {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_an_error_of_each_call_and_ends() {
    for over in [Over::Http, Over::Stream] {
        let patience = Duration::from_millis(300);
        let nowhere = target(ApiAddr::Unix("/nowhere/api.sock".into()));
        let lines = Lines::open(&nowhere, over, 2, patience, MAX_P99);
        let counts = stage(100, 200, patience).run(&lines).await.counts;
        assert_eq!((counts.due, counts.answered), (20, 0));
        assert_eq!(counts.errors.values().sum::<u64>(), 20, "{counts:?}");
    }
}

#[test]
fn rates_rise_by_one_factor() {
    assert_eq!(rates(250, 16_000, 7), [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000]);
    assert_eq!(rates(10, 1_000, 1), [10]);
    assert_eq!(rates(5, 5, 4), [5], "a stage that is like the one before says nothing");
}

/// What `bench` reports of one stage of 400 ms at 500 calls a second, over one connection of HTTP, to an agent that takes so long.
async fn one_at_a_time(takes: Duration, max_p99: Duration) -> (stage::Measured, Report) {
    let (addr, _) = serve(move |_| Say::Late(takes, Box::new(ok(&json!(1))))).await;
    let patience = Duration::from_secs(30);
    let lines = Lines::open(&target(addr.clone()), Over::Http, 1, patience, max_p99);
    let measured = stage(500, 400, patience).run(&lines).await;
    let args = BenchArgs { over: Over::Http, connections: Some(1), ..args() };
    let mut report = Report::new(&args, &target(addr));
    report.push(Row::new(measured.clone(), &Bounds { p99: max_p99, errors: 0.01 }));
    report.conclude();
    (measured, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_all_busy_are_the_senders_limit_and_not_the_clusters() {
    // 200 calls, one after the other: the last ones wait for a second and more, and none of that is the agent's.
    let (measured, report) = one_at_a_time(Duration::from_millis(10), Duration::from_millis(900)).await;
    let counts = &measured.counts;
    assert_eq!((counts.answered, counts.sent), (200, 200), "{measured:?}");
    assert!(counts.latency.p99 > 900_000 && counts.waited.p99 > 900_000, "both count from when it was due: {counts:?}");
    let json = serde_json::to_value(&report).expect("JSON");
    let row = &json["stages"][0];
    assert!(row["in_flight"].as_f64().is_some_and(|calls| calls <= 1.0), "one connection carries one call: {json:#}");
    assert_eq!((&row["limited_by_connections"], &row["breaks"]), (&json!(true), &Value::Null), "{json:#}");
    assert_eq!((&json["breaking"], &json["holds"]), (&Value::Null, &Value::Null), "{json:#}");
    let text = report.text();
    assert!(text.contains("at 500/s the one connection was busy: raise --connections"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_too_slow_by_itself_breaks_whatever_waits_for_a_connection() {
    let (measured, report) = one_at_a_time(Duration::from_millis(10), Duration::from_millis(5)).await;
    assert!(measured.counts.wire.p99 > 10_000, "{measured:?}");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["breaking"]["offered"], &json["breaking"]["breach"]["kind"]), (&json!(500), &json!("p99")));
    assert!(!report.text().contains("raise --connections"), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_never_answers_is_the_clusters_however_many_calls_wait_for_a_connection() {
    let (addr, log) = serve(|_| Say::Silence).await;
    let patience = Duration::from_millis(300);
    let lines = Lines::open(&target(addr.clone()), Over::Http, 2, patience, MAX_P99);
    let measured = stage(200, 1_500, patience).run(&lines).await;
    let (counts, written) = (&measured.counts, log.lock().unwrap().len());
    // Two at a time, each for at least as long as an answer may take: what comes too late for that is not written.
    assert!((2..100).contains(&written), "{written} were written: {counts:?}");
    assert_eq!((counts.due, counts.answered), (300, 0), "{counts:?}");
    assert!(["timed_out", "not_sent"].iter().all(|kind| counts.errors.contains_key(*kind)), "{counts:?}");
    let mut report = Report::new(&BenchArgs { over: Over::Http, connections: Some(2), ..args() }, &target(addr));
    report.push(Row::new(measured, &Bounds { p99: MAX_P99, errors: 0.01 }));
    report.conclude();
    let json = serde_json::to_value(&report).expect("JSON");
    let row = &json["stages"][0];
    assert!(row["connections_busy"].as_f64().is_some_and(|share| share > 0.5), "the connections were busy: {json:#}");
    assert_eq!((&row["limited_by_connections"], &row["breach"]["kind"]), (&json!(false), &json!("errors")), "{json:#}");
    assert!(!report.text().contains("raise --connections"), "{}", report.text());
}

fn args() -> BenchArgs {
    BenchArgs {
        name: None,
        function: None,
        arguments: Vec::new(),
        api: Vec::new(),
        over: Over::Stream,
        from: 1,
        to: 2,
        stages: 2,
        stage: Duration::from_secs(1),
        connections: None,
        max_p99: Duration::from_millis(100),
        max_errors: 1.0,
        timeout: Duration::from_secs(1),
        svg: None,
        json: false,
    }
}

fn report(rows: &[(u32, u64, u64, u64)]) -> Report {
    let args = args();
    let bounds = Bounds { p99: args.max_p99, errors: 0.01 };
    let mut report = Report::new(&args, &target(ApiAddr::Unix("/x".into())));
    for &(offered, answered, p99, took_ms) in rows {
        let due = u64::from(offered);
        let latency = meter::LatencyUs { mean: 1_000.0 * p99 as f64, p99: 1_000 * p99, ..meter::LatencyUs::default() };
        let lost = due - answered;
        let errors = (lost > 0).then(|| ("busy".to_owned(), lost)).into_iter().collect();
        let counts = meter::Counts { due, answered, errors, latency, ..meter::Counts::default() };
        let counts = meter::Counts { sent: due, wire: latency, ..counts };
        let took = Duration::from_millis(took_ms);
        report.push(Row::new(stage::Measured { offered, took, lasted: took, counts }, &bounds));
    }
    report.conclude();
    report
}

#[test]
fn a_report_names_the_breaking_point_and_what_held() {
    let report = report(&[(100, 100, 1, 1_000), (200, 200, 2, 1_000), (400, 390, 40, 1_000), (800, 500, 90, 2_000)]);
    let text = report.text();
    for wanted in [
        "w.f over the call stream, one agent",
        "breaks at 400/s: 2.5 % of the calls failed; holds at 200/s",
        "10 busy",
        "index 0.31",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 132), "{text}");
    let json: Value = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["holds"], &json["breaking"]["stage"]), (&json!(200), &json!(3)), "{json:#}");
    let breach = json!({"kind": "errors", "value": 0.025, "unit": "share"});
    assert_eq!((&json["breaking"]["breach"], &json["stages"][2]["breach"]), (&breach, &breach), "{json:#}");
    assert_eq!((&json["stages"][2]["errors"]["busy"], &json["over"]), (&json!(10), &json!("stream")));
    let svg = drawing::svg(&report);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("breaks"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn a_report_of_nothing_is_still_one() {
    let report = report(&[]);
    assert!(report.text().contains("nothing was measured"));
    assert!(drawing::svg(&report).contains("</svg>"));
}
