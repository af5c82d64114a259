//! Guests that loop, hoard, flood and trap: each costs its caller an error and nobody else anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixtures::{component, context, loaded, run, running};
use crate::wasm::{Blame, CallContext, CallError, Limits};

/// A core module behind the import of an interface's function, as `wit-component` would lay it out.
fn importing(interface: &str, function: &str, lowered: &str, core: &str) -> Arc<[u8]> {
    let text = format!(
        r#"(component
            (import "selvedge:workload/{interface}@0.1.0" (instance $host {function}))
            (core module $memory (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $mem (instantiate $memory))
            {lowered}
            (core module $m (import "host" "memory" (memory 1)) {core})
            (core instance $host-core (export "f" (func $f)) (export "memory" (memory $mem "memory")))
            (core instance $i (instantiate $m (with "host" (instance $host-core))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}")).into()
}

#[tokio::test]
async fn a_guest_that_loops_ends_at_its_deadline_and_holds_up_nobody() {
    let deadline = Duration::from_millis(20);
    let host = loaded(running("(loop (br 0))"), Limits { deadline, ..Limits::default() }).await;
    host.load("good", running("nop"), Limits::default()).await.expect("it loads");
    let begun = Instant::now();
    let (looped, good) = tokio::join!(run(&host), host.call("good", "run", json!([]), context()));
    assert_eq!(looped, Err(CallError::Deadline { deadline }));
    assert!(good.is_ok(), "{good:?}");
    // Generous towards a loaded machine; what matters is that it is nowhere near for ever.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // The worker is free again.
    assert!(host.call("good", "run", json!([]), context()).await.is_ok());
    let stats = host.stats();
    let guest = stats.workloads.iter().find(|workload| workload.workload == "guest").expect("it is loaded");
    assert_eq!((guest.deadlines, guest.failed, guest.calls, guest.warm), (1, 1, 0, 0));
}

#[tokio::test]
async fn the_callers_shorter_deadline_wins() {
    let host =
        loaded(running("(loop (br 0))"), Limits { deadline: Duration::from_secs(10), ..Limits::default() }).await;
    let deadline = Some(Duration::from_millis(15));
    let begun = Instant::now();
    let ended = host.call("guest", "run", json!([]), CallContext { deadline, ..context() }).await;
    assert!(matches!(ended, Err(CallError::Deadline { .. })), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    let late = CallContext { deadline: Some(Duration::ZERO), ..context() };
    assert_eq!(host.call("guest", "run", json!([]), late).await, Err(CallError::Expired));
}

#[tokio::test]
async fn a_guest_that_hoards_memory_is_stopped() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let host = loaded(running("(loop (drop (memory.grow (i32.const 1))) (br 0))"), limits).await;
    assert_eq!(run(&host).await, Err(CallError::Memory { what: "bytes of memory", limit: 1 << 20 }));
    assert_eq!(run(&host).await.map_err(|error| error.blame()), Err(Blame::Workload));
}

#[tokio::test]
async fn a_guest_that_hoards_table_elements_is_stopped() {
    let core =
        r#"(table 1 funcref) (func (export "run") (loop (drop (table.grow (ref.null func) (i32.const 100))) (br 0)))"#;
    let wasm = component(core, r#"(func (export "run") (canon lift (core func $i "run")))"#);
    let host = loaded(wasm, Limits { table_elements: 1_000, ..Limits::default() }).await;
    assert_eq!(run(&host).await, Err(CallError::Memory { what: "table elements", limit: 1_000 }));
}

#[tokio::test]
async fn an_endless_recursion_and_a_trap_are_errors() {
    let core = r#"(func $run (export "run") (call $run))"#;
    let wasm = component(core, r#"(func (export "run") (canon lift (core func $i "run")))"#);
    let host = loaded(wasm, Limits::default()).await;
    assert!(matches!(run(&host).await, Err(CallError::Trap { message }) if message.contains("stack")));
    let host = loaded(running("unreachable"), Limits::default()).await;
    assert!(matches!(run(&host).await, Err(CallError::Trap { message }) if message.contains("unreachable")));
}

#[tokio::test]
async fn a_trap_throws_the_instance_away_and_the_next_call_starts_clean() {
    // Counts its calls in a global and traps in the second. A third call in the same instance would give 3.
    let core = r#"(global $n (mut i32) (i32.const 0))
        (func (export "run") (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1)))
            (if (i32.eq (global.get $n) (i32.const 2)) (then unreachable))
            (global.get $n))"#;
    let wasm = component(core, r#"(func (export "run") (result u32) (canon lift (core func $i "run")))"#);
    let host = loaded(wasm, Limits::default()).await;
    assert_eq!(run(&host).await.map(|done| done.result), Ok(json!(1)));
    assert!(matches!(run(&host).await, Err(CallError::Trap { .. })));
    assert_eq!(run(&host).await.map(|done| done.result), Ok(json!(1)));
}

#[tokio::test]
async fn a_storm_of_host_calls_is_stopped() {
    let wasm = importing(
        "random",
        r#"(export "next" (func (result u64)))"#,
        r#"(core func $f (canon lower (func $host "next")))"#,
        r#"(import "host" "f" (func $f (result i64))) (func (export "run") (loop (drop (call $f)) (br 0)))"#,
    );
    let host = loaded(wasm, Limits { host_calls: 1_000, deadline: Duration::from_secs(10), ..Limits::default() }).await;
    assert_eq!(run(&host).await, Err(CallError::HostCalls { limit: 1_000 }));
}

#[tokio::test]
async fn a_flood_of_log_lines_is_dropped_and_counted() {
    let wasm = importing(
        "log",
        r#"(type $l (enum "debug" "info" "warn" "error")) (export "level" (type $level (eq $l)))
           (export "write" (func (param "level" $level) (param "message" string)))"#,
        r#"(core func $f (canon lower (func $host "write") (memory $mem "memory")))"#,
        r#"(import "host" "f" (func $f (param i32 i32 i32)))
           (func (export "run") (local $n i32)
             (loop (call $f (i32.const 0) (i32.const 0) (i32.const 9))
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $n) (i32.const 100)))))"#,
    );
    let host = loaded(wasm, Limits { log_lines: 3, ..Limits::default() }).await;
    assert!(run(&host).await.is_ok());
    assert_eq!(host.stats().workloads[0].log_lines_dropped, 97);
}

#[tokio::test]
async fn a_fault_reaches_the_caller_with_its_field() {
    let wasm = importing(
        "fault",
        r#"(export "invalid" (func (param "field" string) (param "message" string)))"#,
        r#"(core func $f (canon lower (func $host "invalid") (memory $mem "memory")))"#,
        r#"(import "host" "f" (func $f (param i32 i32 i32 i32))) (data (i32.const 0) "a.bmust be b")
           (func (export "run") (call $f (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 9)))"#,
    );
    let host = loaded(wasm, Limits::default()).await;
    let error = run(&host).await.expect_err("a fault");
    assert_eq!(error, CallError::Fault { field: "a.b".into(), message: "must be b".into() });
    assert_eq!((error.blame(), error.field()), (Blame::Caller, Some("a.b")));
}

#[tokio::test]
async fn an_output_that_is_too_large_is_refused_before_it_fills_the_host() {
    // The result claims 60,000 bytes: each would take the room of a whole value in the host.
    let core = r#"(memory (export "memory") 1) (data (i32.const 8) "\10\00\00\00\60\ea\00\00")
        (func (export "run") (result i32) (i32.const 8))"#;
    let lifts = r#"(func (export "run") (result (list u8)) (canon lift (core func $i "run") (memory $i "memory")))"#;
    let host = loaded(component(core, lifts), Limits { output_bytes: 10_000, ..Limits::default() }).await;
    assert_eq!(run(&host).await, Err(CallError::OutputTooLarge { limit_bytes: 10_000 }));
}

#[tokio::test]
async fn a_full_queue_answers_busy_at_once() {
    let deadline = Duration::from_millis(300);
    let host = loaded(running("(loop (br 0))"), Limits { deadline, concurrency: 1, ..Limits::default() }).await;
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.call("guest", "run", json!([]), context()).await })
        })
        .collect();
    let mut busy = 0;
    for call in calls {
        match call.await.expect("the task ends") {
            Err(CallError::Busy { limit }) => busy += i32::from(limit == 4),
            Err(CallError::Deadline { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    // One runs and four wait; how many more got in depends on how fast the first was taken up.
    assert!((6..=8).contains(&busy), "{busy}");
}
