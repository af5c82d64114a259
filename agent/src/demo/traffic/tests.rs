use serde_json::json;

use super::*;
use crate::cli::fake::{Say, Seen, serve};

/// An agent that acknowledges everything.
fn agreeable(seen: &Seen) -> Say {
    let body = if seen.line.contains("resolve") {
        json!(vec![json!({"damage_to_a": 1, "damage_to_b": 2, "health_a": 9, "health_b": 9}); 6])
    } else if seen.line.contains("predict") {
        json!(vec![json!({"x": 0, "y": 0, "z": 0, "confidence": 1}); 8])
    } else if seen.line.contains("moderate") {
        json!(vec![json!({"action": "block", "class": "explicit", "score": 1.0, "spans": []}); 4])
    } else if seen.line.contains("inspect") {
        json!(vec![json!({"rule": "none", "certainty": 0.5}); 12])
    } else if seen.line.contains("observe") {
        json!(null)
    } else if seen.line.contains("/plan") {
        json!(vec![json!({"player": 1, "assets": []}); 4])
    } else {
        json!({"commit": {"replica": "r.1", "seq": 1}, "value": 0})
    };
    Say::Answer(200, "selvedge-commit: r.1/1\r\n", body.to_string())
}

fn plan(addr: ApiAddr, rate: u32) -> Plan {
    Plan { agents: vec![(addr, None)], length: Duration::from_secs(1), rate }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_due_call_is_sent_and_counted() {
    let (addr, log) = serve(agreeable).await;
    let meter = Arc::new(Meter::new());
    let tally = drive(&plan(addr, 200), &meter).await.unwrap();
    let reading = meter.read();
    assert_eq!((reading.calls, reading.failed, reading.busy, reading.unsent), (200, 0, 0, 0), "{reading:?}");
    assert_eq!(reading.answered.values().sum::<u64>(), 200);
    assert_eq!(log.lock().unwrap().len(), 200);
    assert!(!tally.counters().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_charged_to_every_call_that_was_due_meanwhile() {
    let stalled = std::sync::atomic::AtomicBool::new(false);
    let (addr, _) = serve(move |seen| {
        if stalled.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return agreeable(seen);
        }
        Say::Late(Duration::from_millis(400), Box::new(agreeable(seen)))
    })
    .await;
    let meter = Arc::new(Meter::new());
    drive(&plan(addr, 100), &meter).await.unwrap();
    let reading = meter.read();
    assert_eq!(reading.calls, 100, "{reading:?}");
    // One connection of four stalled for 400 ms: ten calls were due there, and waited 400, 360, 320 ms and so on.
    assert!(reading.latency.max >= 400_000, "{reading:?}");
    let late = meter.read_late(200_000);
    assert!(late >= 5, "{late} calls were late by 200 ms or more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_apart() {
    let next = std::sync::atomic::AtomicU64::new(0);
    let (addr, _) = serve(move |seen| match next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 4 {
        0 => Say::Answer(429, "", "{}".to_owned()),
        1 => Say::Answer(503, "", json!({"error": {"code": "starting", "message": "not yet"}}).to_string()),
        2 => Say::Hangup,
        _ => agreeable(seen),
    })
    .await;
    let meter = Arc::new(Meter::new());
    drive(&plan(addr, 100), &meter).await.unwrap();
    let reading = meter.read();
    assert_eq!((reading.busy, reading.failed, reading.calls), (25, 50, 25), "{reading:?}");
    assert_eq!(reading.first_errors.len(), 5);
    assert!(reading.first_errors.iter().any(|error| error.contains("not yet (starting)")), "{reading:?}");
}

#[test]
fn the_schedule_neither_drifts_nor_overflows() {
    let start = Instant::now();
    let schedule = Schedule { start, calls: 3_600 * 20_000, connections: 64, rate: 20_000 };
    assert_eq!(schedule.end() - start, Duration::from_secs(3_600));
    let third = Schedule { rate: 3, calls: 9, ..schedule };
    assert_eq!(third.due(3) - start, Duration::from_secs(1));
}
