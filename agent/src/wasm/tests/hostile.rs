//! Guests that loop, hoard, flood and trap: each costs its caller an error and nobody else anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixtures::{Counters, component, config, context, host, importing, loaded, run, running};
use super::limits::writing;
use crate::wasm::{Blame, CallContext, CallError, Limits, WasmConfig, WasmHost};

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
    let workload = host.loaded().remove(0);
    host.unload(&workload);
    assert_eq!(host.stats().log_lines_dropped, 97, "a count of the host does not fall when a workload goes");
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

/// A guest whose `run` gives a list of bytes, a text and so on from where `result` says that it lies.
fn giving(ty: &str, result: &str, data: &str) -> Arc<[u8]> {
    let core = format!(
        r#"(memory (export "memory") 1) (data (i32.const 8) "{data}") (func (export "run") (result i32) {result})"#
    );
    let lifts = format!(
        r#"(type $t {ty}) (export $e "t" (type $t))
           (func (export "run") (result $e) (canon lift (core func $i "run") (memory $i "memory")))"#
    );
    component(&core, &lifts)
}

#[tokio::test]
async fn a_malformed_output_is_the_workloads_fault_and_nobody_elses() {
    let at_8 = "(i32.const 8)";
    for (what, wasm) in [
        ("a result outside of its memory", giving("string", "(i32.const 65536)", "")),
        ("a result that is not aligned", giving("string", "(i32.const 9)", "")),
        ("a text outside of its memory", giving("string", at_8, r"\00\00\ff\7f\10\00\00\00")),
        ("a text that ends outside", giving("string", at_8, r"\f0\ff\00\00\ff\ff\ff\7f")),
        ("a text of 4 GiB", giving("string", at_8, r"\00\00\00\00\ff\ff\ff\ff")),
        ("a text that is not UTF-8", giving("string", at_8, r"\10\00\00\00\02\00\00\00\c3\28")),
        ("a list of 4 Gi items", giving("(list u64)", at_8, r"\08\00\00\00\ff\ff\ff\ff")),
        ("a list that is not aligned", giving("(list u64)", at_8, r"\09\00\00\00\01\00\00\00")),
        ("a character beyond the last", giving("char", "(i32.const 0x110000)", "")),
        ("half of a surrogate pair", giving("char", "(i32.const 0xd800)", "")),
        ("a case that there is not", giving(r#"(enum "one" "two")"#, "(i32.const 2)", "")),
        ("a case far from any", giving(r#"(variant (case "one") (case "two" u8))"#, at_8, r"\ff\01")),
    ] {
        let host = loaded(wasm, Limits::default()).await;
        host.load("good", running("nop"), Limits::default()).await.expect("it loads");
        for _ in 0..3 {
            let error = run(&host).await.expect_err(what);
            assert_eq!(error.blame(), Blame::Workload, "{what}: {error}");
            assert!(host.call("good", "run", json!([]), context()).await.is_ok(), "after {what}");
        }
    }
}

#[tokio::test]
async fn an_allocator_or_a_clean_up_that_loops_or_lies_ends_with_the_call() {
    let taking = |realloc: &str| {
        let core = format!(
            r#"(memory (export "memory") 1) (func (export "run") (param i32 i32))
               (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc})"#
        );
        let lifts = r#"(func (export "run") (param "text" string)
            (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))"#;
        component(&core, lifts)
    };
    let after = component(
        r#"(func (export "run") (result i32) (i32.const 1)) (func (export "after") (param i32) (loop (br 0)))"#,
        r#"(func (export "run") (result u32) (canon lift (core func $i "run") (post-return (func $i "after"))))"#,
    );
    let limits = Limits { deadline: Duration::from_millis(5), ..Limits::default() };
    for (what, wasm, args) in [
        ("an allocator that loops", taking("(loop (br 0)) (i32.const 0)"), json!(["text"])),
        ("one that traps", taking("unreachable"), json!(["text"])),
        ("one that points outside", taking("(i32.const 0x7fffffff)"), json!(["text"])),
        ("one that points to the very end", taking("(i32.const 0xffff)"), json!(["text"])),
        ("a clean-up that loops", after, json!([])),
    ] {
        let host = loaded(wasm, limits.clone()).await;
        let error = host.call("guest", "run", args, context()).await.expect_err(what);
        assert_eq!(error.blame(), Blame::Workload, "{what}: {error}");
        assert_eq!(host.stats().workloads[0].warm, 0, "{what}: the instance is gone");
    }
}

#[tokio::test]
async fn traps_in_one_of_three_calls_cost_those_calls_only() {
    let core = r#"(func (export "run") (param i32) (result i32)
        (if (i32.eqz (i32.rem_u (local.get 0) (i32.const 3))) (then unreachable)) (local.get 0))"#;
    let lifts = r#"(func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run")))"#;
    let host = loaded(component(core, lifts), Limits::default()).await;
    host.load("good", running("nop"), Limits::default()).await.expect("it loads");
    for n in 0..300 {
        let done = host.call("guest", "run", json!([n]), context()).await;
        match done {
            Err(CallError::Trap { .. }) => assert_eq!(n % 3, 0),
            done => assert_eq!((done.map(|done| done.result), n % 3 != 0), (Ok(json!(n)), true)),
        }
        assert!(host.call("good", "run", json!([]), context()).await.is_ok());
    }
    let stats = host.stats();
    let of = |name: &str| stats.workloads.iter().find(|workload| workload.workload == name).expect("is loaded");
    assert_eq!((of("guest").calls, of("guest").failed), (200, 100));
    assert_eq!((of("good").calls, of("good").failed), (300, 0));
}

#[tokio::test]
async fn a_guest_that_panics_with_handles_open_and_writes_made_leaves_neither() {
    let host = loaded(writing(20, true, "unreachable"), Limits { handles: 25, ..Limits::default() }).await;
    for _ in 0..10 {
        // Were the handles of the last call still open, this one would run into the limit sooner and say so otherwise.
        let error = run(&host).await.expect_err("it panics");
        assert!(matches!(&error, CallError::Trap { message } if message.contains("unreachable")), "{error}");
    }
    // One that leaks them and goes on is replaced before it has too many.
    let host = loaded(writing(20, true, ""), Limits { handles: 300, ..Limits::default() }).await;
    for _ in 0..100 {
        assert_eq!(run(&host).await.expect("it writes").changes.len(), 20);
    }
}

#[tokio::test]
async fn what_one_guest_left_in_a_slot_is_not_there_for_the_next() {
    // One slot for all: whoever comes next is where the last one was.
    let host = WasmHost::new(WasmConfig { instances: 1, ..config() }, Arc::new(Counters::default())).expect("starts");
    let leaving = component(
        r#"(memory (export "memory") 4) (table $t 100 funcref) (global $g (mut i32) (i32.const 0)) (elem declare func $f) (func $f)
           (func (export "run")
             (drop (memory.grow (i32.const 100)))
             (memory.fill (i32.const 0) (i32.const 0xa5) (i32.mul (memory.size) (i32.const 65536)))
             (table.fill $t (i32.const 0) (ref.func $f) (i32.const 100)) (global.set $g (i32.const 1)))"#,
        r#"(func (export "run") (canon lift (core func $i "run")))"#,
    );
    // Looks at every byte that it can have, and at every element, and counts what is not zero or null.
    let looking = component(
        r#"(memory (export "memory") 1) (table $t 100 funcref) (global $g (mut i32) (i32.const 0))
           (func (export "run") (result i32) (local $n i32) (local $at i32) (local $end i32)
             (drop (memory.grow (i32.const 110)))
             (local.set $end (i32.mul (memory.size) (i32.const 65536)))
             (loop
               (local.set $n (i32.add (local.get $n) (i64.ne (i64.load (local.get $at)) (i64.const 0))))
               (local.set $at (i32.add (local.get $at) (i32.const 8)))
               (br_if 0 (i32.lt_u (local.get $at) (local.get $end))))
             (local.set $at (i32.const 0))
             (loop
               (local.set $n (i32.add (local.get $n) (i32.eqz (ref.is_null (table.get $t (local.get $at))))))
               (local.set $at (i32.add (local.get $at) (i32.const 1)))
               (br_if 0 (i32.lt_u (local.get $at) (i32.const 100))))
             (i32.add (local.get $n) (global.get $g)))"#,
        r#"(func (export "run") (result u32) (canon lift (core func $i "run")))"#,
    );
    let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
    for round in 0..3 {
        host.load("guest", Arc::clone(&leaving), limits.clone()).await.expect("it loads");
        assert!(run(&host).await.is_ok());
        host.unload("guest");
        host.load("guest", Arc::clone(&looking), limits.clone()).await.expect("it loads");
        assert_eq!(run(&host).await.map(|done| done.result), Ok(json!(0)), "round {round}");
        host.unload("guest");
    }
}

#[tokio::test]
async fn calls_on_the_callers_thread_end_and_are_counted_like_any_other() {
    let deadline = Duration::from_millis(5);
    let host = loaded(running("(loop (br 0))"), Limits { deadline, concurrency: 1, ..Limits::default() }).await;
    assert_eq!(host.call_here("guest", "run", &json!([]), context()), Err(CallError::Deadline { deadline }));
    assert_eq!(host.call_typed::<(), ()>("guest", "run", (), context()), Err(CallError::Deadline { deadline }));
    let wrong = host.call_typed::<(u32,), ()>("guest", "run", (1,), context());
    assert!(matches!(wrong, Err(CallError::Argument { .. })), "{wrong:?}");
    // A place that is taken is taken for everybody.
    let (theirs, begun) = (host.clone(), Instant::now());
    let other = std::thread::spawn(move || theirs.call_here("guest", "run", &json!([]), context()));
    while host.stats().running == 0 && !other.is_finished() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let second = host.call_here("guest", "run", &json!([]), context());
    let first = other.join().expect("no panic");
    assert!(matches!(first, Err(CallError::Deadline { .. })), "{first:?}");
    assert!(matches!(second, Err(CallError::Busy { limit: 1 } | CallError::Deadline { .. })), "{second:?}");
    let stats = host.stats().workloads.remove(0);
    assert_eq!((stats.calls, stats.running, stats.refused), (0, 0, 1));
    assert_eq!(stats.failed + stats.turned_away, 4);
}

#[tokio::test]
async fn a_quick_workload_that_turns_slow_is_sent_back_to_the_workers() {
    let core = r#"(func (export "run") (param i32) (if (local.get 0) (then (loop (br 0)))))"#;
    let wasm = component(core, r#"(func (export "run") (param "slowly" bool) (canon lift (core func $i "run")))"#);
    let host = host();
    host.load("guest", wasm, Limits { deadline: Duration::from_millis(5), ..Limits::default() })
        .await
        .expect("it loads");
    host.load("good", running("nop"), Limits::default()).await.expect("it loads");
    for round in 0..200 {
        let slowly = round % 20 == 19;
        let done = host.call("guest", "run", json!([slowly]), context()).await;
        assert_eq!(done.is_err(), slowly, "{done:?}");
        assert!(host.call("good", "run", json!([]), context()).await.is_ok());
    }
}
