//! Every limit that a workload or a host has, and a guest that runs into it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fixtures::{Counters, component, config, context, host, importing, loaded, run, running, text};
use crate::wasm::{CallContext, CallError, Limits, LoadError, LoadOptions, Overrun, WasmConfig, WasmHost};

fn refused(component: &str) -> LoadError {
    host().inspect(&text(component)).expect_err("it is too much")
}

#[test]
fn a_component_has_at_most_so_many_memories_tables_and_instances() {
    let around = |core: &str| {
        format!(
            r#"(component (core module $m {core} (func (export "run"))) (core instance $i (instantiate $m))
                (func (export "run") (canon lift (core func $i "run"))))"#
        )
    };
    let two = r#"(component (core module $m (memory 1) (func (export "run"))) (core instance $i (instantiate $m))
        (core instance $j (instantiate $m)) (func (export "run") (canon lift (core func $i "run"))))"#;
    assert!(refused(two).to_string().contains("memories"), "{}", refused(two));
    let tables = around("(table 1 funcref) (table 1 funcref) (table 1 funcref)");
    assert!(refused(&tables).to_string().contains("tables"), "{}", refused(&tables));
    let instances: String = (0..100).map(|n| format!("(core instance $i{n} (instantiate $m))")).collect();
    let many = format!(
        r#"(component (core module $m (func (export "run"))) {instances}
            (func (export "run") (canon lift (core func $i0 "run"))))"#
    );
    assert!(refused(&many).to_string().contains("instances"), "{}", refused(&many));
}

#[test]
fn types_that_spell_out_to_millions_are_refused() {
    let mut types = String::from("(type $t0 (tuple u8 u8))");
    for n in 1..16 {
        types.push_str(&format!("(type $t{n} (tuple $t{} $t{}))", n - 1, n - 1));
    }
    let wasm = format!(
        r#"(component {types} (core module $m (memory (export "memory") 1) (func (export "run") (param i32))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func (export "run") (param "value" $t15)
                (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#
    );
    let error = refused(&wasm);
    assert!(matches!(&error, LoadError::FunctionType { message, .. } if message.contains("too large")), "{error}");
}

#[tokio::test]
async fn a_host_has_room_for_so_many_instances() {
    let config = WasmConfig { instances: 1, ..config() };
    let host = WasmHost::new(config, Arc::new(Counters::default())).expect("the engine starts");
    host.load("guest", running("nop"), Limits::default()).await.expect("it loads");
    let looping = Limits { deadline: Duration::from_secs(5), ..Limits::default() };
    host.load("guest", running("(loop (br 0))"), looping).await.expect("it loads, and what it replaces gives way");
    let under_way = tokio::spawn({
        let host = host.clone();
        async move { run(&host).await }
    });
    let begun = Instant::now();
    while host.stats().workloads[0].warm > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the call never began");
        tokio::task::yield_now().await;
    }
    let second = host.load("second", running("nop"), Limits::default()).await;
    assert!(matches!(second, Err(LoadError::Host(_))), "{second:?}");
    assert!(matches!(under_way.await.expect("the task ends"), Err(CallError::Deadline { .. })));
    host.load("second", running("nop"), Limits::default()).await.expect("there is room again");
}

#[tokio::test]
async fn idle_instances_give_way_to_whoever_has_none() {
    let host = WasmHost::new(WasmConfig { instances: 2, ..config() }, Arc::new(Counters::default())).expect("starts");
    let names = ["one", "two", "three", "four"];
    for name in names {
        host.load(name, running("nop"), Limits::default()).await.expect("it loads");
    }
    for _ in 0..10 {
        for name in names {
            let called = host.call(name, "run", json!([]), context()).await;
            assert!(called.is_ok(), "{name}: {called:?}");
        }
    }
    assert!(host.record("one", "run", json!([]), context()).await.outcome.is_ok());
    assert!(host.stats().workloads.iter().map(|workload| workload.warm).sum::<usize>() <= 2);
}

#[tokio::test]
async fn arguments_have_a_size() {
    let core = r#"(memory (export "memory") 16) (func (export "run") (param i32 i32))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))"#;
    let lifts = r#"(func (export "run") (param "items" (list u8))
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))"#;
    let host = loaded(component(core, lifts), Limits { argument_bytes: 1_000, ..Limits::default() }).await;
    let call = async |count: usize| host.call("guest", "run", json!([vec![1; count]]), context()).await;
    assert!(call(100).await.is_ok());
    assert_eq!(call(1_000).await, Err(CallError::ArgumentsTooLarge { limit_bytes: 1_000 }));
}

/// A guest that makes counters and writes to each of them, `count` times; `keep` is whether it keeps the handles open.
pub(super) fn writing(count: u32, keep: bool, then: &str) -> Arc<[u8]> {
    let close = if keep { "" } else { r#"(call $drop (i32.load (i32.const 36)))"# };
    importing(
        "state",
        r#"(type $error (variant (case "invalid-name" string) (case "invalid-value" string) (case "too-large" string)
               (case "overflow") (case "limit" string)))
           (export "error" (type $e (eq $error)))
           (export "gcounter" (type $g (sub resource)))
           (export "[constructor]gcounter" (func (param "name" string) (result (result (own $g) (error $e)))))
           (export "[method]gcounter.increment" (func (param "self" (borrow $g)) (param "by" u64)
               (result (result (error $e)))))"#,
        r#"(alias export $host "gcounter" (type $g))
           (core func $f (canon lower (func $host "[constructor]gcounter") (memory $mem "memory") (realloc (func $mem "realloc"))))
           (core func $g (canon lower (func $host "[method]gcounter.increment") (memory $mem "memory") (realloc (func $mem "realloc"))))
           (core func $h (canon resource.drop $g))"#,
        // The name is four letters at 0; what the host answers goes to 32 and 64; the error's text to 1,024.
        &format!(
            r#"(import "host" "f" (func $open (param i32 i32 i32))) (import "host" "g" (func $increment (param i32 i64 i32)))
               (import "host" "h" (func $drop (param i32)))
               (data (i32.const 0) "aaaa")
               (func (export "run") (local $n i32)
                 (loop
                   (i32.store8 (i32.const 0) (i32.add (i32.const 97) (i32.rem_u (local.get $n) (i32.const 26))))
                   (i32.store8 (i32.const 1) (i32.add (i32.const 97) (i32.div_u (local.get $n) (i32.const 26))))
                   (call $open (i32.const 0) (i32.const 4) (i32.const 32))
                   (if (i32.load8_u (i32.const 32)) (then unreachable))
                   (call $increment (i32.load (i32.const 36)) (i64.const 1) (i32.const 64))
                   (if (i32.load8_u (i32.const 64)) (then unreachable))
                   {close}
                   (local.set $n (i32.add (local.get $n) (i32.const 1)))
                   (br_if 0 (i32.lt_u (local.get $n) (i32.const {count}))))
                 {then})"#
        ),
    )
}

#[tokio::test]
async fn handles_and_writes_are_counted() {
    let some = loaded(writing(20, false, ""), Limits::default()).await;
    assert_eq!(run(&some).await.expect("it writes").changes.len(), 20);
    let handles = loaded(writing(20, true, ""), Limits { handles: 10, ..Limits::default() }).await;
    assert!(matches!(run(&handles).await, Err(CallError::Trap { .. })), "the guest is told, and this one traps");
    let writes = loaded(writing(20, false, ""), Limits { writes: 10, ..Limits::default() }).await;
    assert_eq!(run(&writes).await, Err(CallError::Writes { what: "objects", limit: 10 }));
    let bytes = loaded(writing(20, false, ""), Limits { write_bytes: 100, ..Limits::default() }).await;
    assert_eq!(run(&bytes).await, Err(CallError::Writes { what: "bytes", limit: 100 }));
}

#[tokio::test]
async fn a_deadline_of_a_millisecond_is_kept_and_neighbours_go_on() {
    let host =
        loaded(running("(loop (br 0))"), Limits { deadline: Duration::from_millis(1), ..Limits::default() }).await;
    host.load("good", running("nop"), Limits::default()).await.expect("it loads");
    for _ in 0..50 {
        let (looped, good) = tokio::join!(run(&host), host.call("good", "run", json!([]), context()));
        assert!(
            matches!(looped, Err(CallError::Deadline { deadline }) if deadline == Duration::from_millis(1)),
            "{looped:?}"
        );
        assert!(good.is_ok(), "{good:?}");
    }
}

#[tokio::test]
async fn a_guest_is_not_ended_before_its_time() {
    // Counts to a number that takes some milliseconds; its deadline is far off, and ticks come all the while.
    let body = "(local $n i32) (loop (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 20000000))))";
    let host = loaded(running(body), Limits { deadline: Duration::from_secs(10), ..Limits::default() }).await;
    assert!(run(&host).await.is_ok());
}

#[tokio::test]
async fn without_a_clock_that_ends_them_no_guests_run() {
    let config = WasmConfig { in_place: 1, ..config() };
    let host = WasmHost::new(config, Arc::new(Counters::default())).expect("the engine starts");
    host.load("guest", running("nop"), Limits::default()).await.expect("it loads");
    let (service, begun) = (host.0.service("guest").expect("it is loaded"), Instant::now());
    while !service.pace.is_quick() {
        assert!(run(&host).await.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(20), "it never shows that it is quick");
    }
    let here = CallContext { deadline: Some(Duration::from_millis(20)), ..context() };
    assert!(host.0.place_here(&service, here).is_some());
    host.0.ticker.die();
    let begun = Instant::now();
    let refused = loop {
        // However long a dead clock is waited for, it is no longer than the call may take.
        match host.call_here("guest", "run", &json!([]), here) {
            // This machine may have had something else to do for that long.
            Ok(_) | Err(CallError::Expired) => assert!(begun.elapsed() < Duration::from_secs(20), "guests still run"),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(&refused, CallError::Host(why) if why.contains("clock")), "{refused}");
    assert!(host.0.place_here(&service, here).is_none(), "an async thread would wait for the clock");
    assert!(host.ticker_age() >= Duration::from_secs(1), "health sees it by its age");
    assert!(matches!(host.load("other", running("nop"), Limits::default()).await, Err(LoadError::Host(_))));
}

#[tokio::test]
async fn the_shortest_deadline_that_can_be_asked_for_is_enough_for_a_quick_call() {
    let host = loaded(running("nop"), Limits::default()).await;
    let shortest = CallContext { deadline: Some(Duration::from_millis(1)), ..context() };
    let begun = Instant::now();
    // This machine may have something else to do for a millisecond, now and then.
    while host.call("guest", "run", json!([]), shortest).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "a deadline of 1 ms is never kept");
    }
}

/// A guest whose `run` loops, and whose `walk` gives a number or loops, as asked.
fn slow_or_quick() -> Arc<[u8]> {
    component(
        r#"(func (export "run") (loop (br 0)))
           (func (export "walk") (param i32) (result i32) (if (local.get 0) (then (loop (br 0)))) (i32.const 7))"#,
        r#"(func (export "run") (canon lift (core func $i "run")))
           (func (export "walk") (param "slowly" bool) (result u32) (canon lift (core func $i "walk")))"#,
    )
}

fn answering(function: &str, answer: Value, concurrency: usize) -> LoadOptions {
    let limits = Limits { deadline: Duration::from_millis(20), concurrency, ..Limits::default() };
    LoadOptions { limits, on_overrun: [(function.to_owned(), answer)].into(), ..LoadOptions::default() }
}

#[tokio::test]
async fn a_call_that_runs_out_of_time_is_given_the_declared_answer() {
    let host = host();
    host.load("guest", slow_or_quick(), answering("walk", json!(42), 4)).await.expect("it loads");
    let walk = async |slowly: bool, deadline| {
        host.call("guest", "walk", json!([slowly]), CallContext { deadline, ..context() }).await
    };
    let quick = walk(false, None).await.expect("it ends");
    assert_eq!((quick.result, quick.overrun), (json!(7), None));
    let slow = walk(true, None).await.expect("it is answered");
    assert_eq!((slow.result, slow.overrun, slow.changes), (json!(42), Some(Overrun::Deadline), vec![]));
    let late = walk(false, Some(Duration::ZERO)).await.expect("it is answered");
    assert_eq!((late.result, late.overrun), (json!(42), Some(Overrun::Expired)));
    // The other function declares nothing, and a wrong argument stays one.
    assert!(matches!(run(&host).await, Err(CallError::Deadline { .. })));
    assert!(matches!(host.call("guest", "walk", json!([1]), context()).await, Err(CallError::Argument { .. })));
    let stats = host.stats().workloads.remove(0);
    assert_eq!((stats.calls, stats.deadlines, stats.answered_by_default, stats.refused), (1, 2, 2, 1));
}

#[tokio::test]
async fn a_full_queue_gives_the_declared_answer() {
    let host = host();
    host.load("guest", slow_or_quick(), answering("walk", json!(42), 1)).await.expect("it loads");
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move { host.call("guest", "walk", json!([true]), context()).await })
        })
        .collect();
    let mut busy = 0;
    for call in calls {
        let done = call.await.expect("the task ends").expect("it is answered");
        assert_eq!(done.result, json!(42));
        busy += i32::from(done.overrun == Some(Overrun::Busy));
    }
    assert!(busy > 0, "the queue never filled");
}

/// A guest that counts for a millisecond or a few.
fn counting() -> Arc<[u8]> {
    running(
        "(local $n i32) (local.set $n (i32.const 3000000))
         (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_can_be_made_are_told_of_and_turned_away_early() {
    let config = WasmConfig { queue_per_workload: 1_024, ..config() };
    let host = WasmHost::new(config, Arc::new(Counters::default())).expect("the engine starts");
    let limits = Limits { deadline: Duration::from_secs(5), concurrency: 1, ..Limits::default() };
    host.load("guest", counting(), limits).await.expect("it loads");
    assert_eq!((host.is_overloaded("guest"), host.is_overloaded("other")), (Some(false), None));
    let mut quick = Duration::MAX;
    for _ in 0..20 {
        quick = quick.min(run(&host).await.expect("it answers").guest_time);
    }
    // Callers who call again as soon as they know, and would wait for a hundred others.
    let call = CallContext { deadline: Some(quick * 40), ..context() };
    let stop = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (host, stop) = (host.clone(), stop.clone());
            tokio::spawn(async move {
                let mut turned_away = 0;
                while !stop.is_cancelled() {
                    match host.call("guest", "run", json!([]), call).await {
                        Err(CallError::Overloaded { expected_ms: _, retry_after_ms }) => {
                            assert!(retry_after_ms >= 100);
                            turned_away += 1;
                            tokio::time::sleep(quick).await;
                        }
                        Ok(_) | Err(CallError::Expired | CallError::Deadline { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                turned_away
            })
        })
        .collect();
    let news = tokio::time::timeout(Duration::from_secs(20), host.overload_changed());
    news.await.expect("it is told when it is so");
    assert_eq!(host.overloaded(), ["guest"]);
    let shed = async {
        while host.stats().shed_overloaded == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shed).await.expect("calls are turned away");
    stop.cancel();
    let mut turned_away = 0;
    for caller in callers {
        turned_away += caller.await.expect("the task ends");
    }
    let stats = host.stats();
    assert_eq!(turned_away, stats.shed_late + stats.shed_overloaded);
    let over = async {
        while host.is_overloaded("guest") == Some(true) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("it ends by itself");
    run(&host).await.expect("it answers");
}

#[tokio::test]
async fn a_default_answer_fits_its_function_or_the_workload_is_refused() {
    let host = host();
    for (function, answer, message) in [
        ("walk", json!("seven"), "must be a whole number"),
        ("walk", json!(-1), "from 0"),
        ("run", json!(1), "gives nothing"),
        ("fly", json!(1), "no function"),
    ] {
        let error = host.load("guest", slow_or_quick(), answering(function, answer, 4)).await.expect_err("refused");
        assert!(matches!(&error, LoadError::DefaultAnswer { function: named, .. } if named == function), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    host.load("guest", slow_or_quick(), answering("run", Value::Null, 4)).await.expect("nothing is an answer of it");
    assert_eq!(run(&host).await.map(|done| done.overrun), Ok(Some(Overrun::Deadline)));
}

#[tokio::test]
async fn a_caller_in_a_hurry_is_no_failure_of_the_workload() {
    let host =
        loaded(running("(loop (br 0))"), Limits { deadline: Duration::from_millis(200), ..Limits::default() }).await;
    let hurried = CallContext { deadline: Some(Duration::from_millis(20)), ..context() };
    assert!(matches!(host.call("guest", "run", json!([]), hurried).await, Err(CallError::Deadline { .. })));
    let stats = host.stats().workloads.remove(0);
    assert_eq!((stats.failed, stats.refused), (0, 1), "a tenth of the workload's own time is no fair trial");
    assert!(matches!(run(&host).await, Err(CallError::Deadline { .. })));
    let stats = host.stats().workloads.remove(0);
    assert_eq!((stats.failed, stats.deadlines), (1, 1), "its own time was not enough");
}
