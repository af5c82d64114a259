use serde_json::json;

use super::*;

fn evidence() -> Evidence {
    let root = "aa".repeat(32);
    Evidence {
        seconds: 10,
        rate: 300,
        took_s: 10.0,
        reading: Reading {
            calls: 3_000,
            answered: [(Kind::Combat, 1_500), (Kind::Prediction, 900), (Kind::Chat, 200), (Kind::Write, 400)].into(),
            latency: LatencyUs { p50: 450, p99: 2_250, p999: 4_000, max: 5_000 },
            ..Reading::default()
        },
        commits: 2_100,
        commits_twice: 0,
        convergence: Convergence {
            converged: true,
            converge_ms: Some(210),
            roots_equal_ms: Some(12),
            roots: vec![root.clone(), root.clone(), root],
        },
        findings: Findings { counters: 90, ..Findings::default() },
        complaints: Vec::new(),
        status_pages: vec!["http://127.0.0.1:1/".to_owned()],
    }
}

#[test]
fn the_json_has_the_promised_fields() {
    let json = serde_json::to_value(Report::new(evidence())).unwrap();
    let expect = json!({
        "agents": 3, "seconds": 10, "calls": 3_000, "calls_per_second": 300.0,
        "latency_us": {"p50": 450, "p99": 2_250, "p999": 4_000, "max": 5_000},
        "commits": 2_100, "converged": true, "converge_ms": 210, "lost": 0, "counters_ok": true, "ok": true,
    });
    for (field, value) in expect.as_object().unwrap() {
        assert_eq!(&json[field], value, "{field}");
    }
    assert_eq!(json["roots"].as_array().unwrap().len(), 3);
}

#[test]
fn any_flaw_is_not_ok() {
    let check = |flaw: fn(&mut Evidence), told: &str| {
        let mut evidence = evidence();
        flaw(&mut evidence);
        let report = Report::new(evidence);
        assert!(!report.ok(), "{told}");
        let text = report.text();
        assert!(text.contains(told) && text.ends_with("NOT OK"), "{told}:\n{text}");
    };
    check(|e| e.convergence.converged = false, "converged    NO");
    check(|e| e.findings.lost = 1, "1 lost");
    check(
        |e| {
            e.findings.mismatched = 1;
            e.findings.mismatches = vec!["a: gcounter/x reads 1, not 2".to_owned()];
        },
        "reads 1, not 2",
    );
    check(|e| e.findings.errors = vec!["b: gone".to_owned()], "b: gone");
    check(|e| e.reading.failed = 1, "1 errors");
    check(|e| e.reading.unsent = 5, "too slow for --rate 300");
    check(|e| e.reading.calls = 0, "no call succeeded");
    check(|e| e.commits_twice = 1, "commit of another call");
    check(|e| e.complaints = vec!["agent-2 was killed".to_owned()], "agent-2 was killed");
}

#[test]
fn a_busy_agent_is_explained_and_so_is_ok() {
    let mut evidence = evidence();
    evidence.reading.busy = 7;
    assert!(Report::new(evidence).ok());
}

#[test]
fn people_see_the_figures() {
    let text = Report::new(evidence()).text();
    for figure in [
        "3000 (300.0 per second)",
        "1500 combat, 900 prediction, 200 chat, 0 inspections",
        "p50 450 us, p99 2.2 ms",
        "210 ms after",
        "all equal: aaaa",
        "exact: yes",
    ] {
        assert!(text.contains(figure), "{figure} is not in\n{text}");
    }
}
