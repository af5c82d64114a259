//! Components that import WASI, and the empty machine that they find.

use serde_json::json;

use super::fixtures::{context, loaded, run, text};
use crate::wasm::{CallError, Limits};

/// Imports one stream and has `run` do `body` with it; the core functions are `$stdout`, `$write` and `$drop`.
fn printing(body: &str) -> std::sync::Arc<[u8]> {
    text(&format!(
        r#"(component
            (import "wasi:io/streams@0.2.6" (instance $streams
                (export "output-stream" (type $os (sub resource)))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result))))))
            (alias export $streams "output-stream" (type $os))
            (import "wasi:cli/stdout@0.2.6" (instance $stdout
                (export "output-stream" (type $own (eq $os)))
                (export "get-stdout" (func (result (own $own))))))
            (core module $memory (memory (export "memory") 1) (data (i32.const 0) "one\ntwo\nthree"))
            (core instance $memory (instantiate $memory))
            (core func $stdout (canon lower (func $stdout "get-stdout")))
            (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
                (memory $memory "memory")))
            (core func $drop (canon resource.drop $os))
            (core module $m
                (import "h" "stdout" (func $stdout (result i32)))
                (import "h" "write" (func $write (param i32 i32 i32) (result i32)))
                (import "h" "drop" (func $drop (param i32)))
                (import "h" "memory" (memory 1))
                (func (export "run") (local $i i32) {body}))
            (core instance $i (instantiate $m (with "h" (instance
                (export "stdout" (func $stdout)) (export "write" (func $write)) (export "drop" (func $drop))
                (export "memory" (memory $memory "memory"))))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    ))
}

#[tokio::test]
async fn time_and_random_numbers_are_the_calls_own() {
    let host = loaded(
        text(
            r#"(component
            (import "wasi:random/random@0.2.3" (instance $random (export "get-random-u64" (func (result u64)))))
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
            (core func $draw (canon lower (func $random "get-random-u64")))
            (core func $now (canon lower (func $clock "now")))
            (core module $m
                (import "h" "draw" (func $draw (result i64))) (import "h" "now" (func $now (result i64)))
                (func (export "draw") (result i64) (drop (call $draw)) (call $draw))
                (func (export "now") (result i64) (call $now)))
            (core instance $i (instantiate $m (with "h" (instance
                (export "draw" (func $draw)) (export "now" (func $now))))))
            (func (export "draw") (result u64) (canon lift (core func $i "draw")))
            (func (export "now") (result u64) (canon lift (core func $i "now"))))"#,
        ),
        Limits::default(),
    )
    .await;
    let call = async |function: &str, seed: u64| {
        let context = crate::wasm::CallContext { seed, ..context() };
        host.call("guest", function, json!([]), context).await.expect("it answers").result
    };
    let drawn = call("draw", 7).await;
    assert_eq!(call("draw", 7).await, drawn);
    assert_ne!(call("draw", 8).await, drawn);
    assert_eq!(call("now", 7).await, json!(context().now.millis() * 1_000_000));
}

#[tokio::test]
async fn what_is_printed_counts_among_the_lines_of_log() {
    // Two lines, and a third that ends with its stream.
    let body = "(local.set $i (call $stdout))
        (if (call $write (local.get $i) (i32.const 0) (i32.const 13)) (then unreachable)) (call $drop (local.get $i))";
    let host = loaded(printing(body), Limits { log_lines: 1, ..Limits::default() }).await;
    run(&host).await.expect("it prints");
    assert_eq!(host.stats().workloads[0].log_lines_dropped, 2);
}

#[tokio::test]
async fn handles_count_among_those_that_may_be_open() {
    let endless = "(loop (drop (call $stdout)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 100))))";
    let host = loaded(printing(endless), Limits { handles: 50, ..Limits::default() }).await;
    assert!(matches!(run(&host).await, Err(CallError::Trap { .. })));
    let dropping = "(loop (call $drop (call $stdout)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 100))))";
    let host = loaded(printing(dropping), Limits { handles: 50, ..Limits::default() }).await;
    assert!(run(&host).await.is_ok());
    let host = loaded(printing(dropping), Limits { host_calls: 99, ..Limits::default() }).await;
    assert_eq!(run(&host).await, Err(CallError::HostCalls { limit: 99 }));
}

#[tokio::test]
async fn an_instance_that_leaks_handles_is_replaced() {
    let leaking = "(loop (drop (call $stdout)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $i) (i32.const 300))))";
    let host = loaded(printing(leaking), Limits { handles: 1_000, ..Limits::default() }).await;
    // The table would be full in the fourth.
    for _ in 0..10 {
        assert!(run(&host).await.is_ok());
    }
}

#[tokio::test]
async fn a_line_that_a_call_did_not_end_is_not_the_next_ones() {
    // Each call begins a line; every second one closes the stream that the one before began it on.
    let body = "(local.set $i (i32.load (i32.const 32)))
        (if (local.get $i)
          (then (call $drop (local.get $i)) (i32.store (i32.const 32) (i32.const 0)))
          (else
            (local.set $i (call $stdout))
            (drop (call $write (local.get $i) (i32.const 0) (i32.const 3)))
            (i32.store (i32.const 32) (local.get $i))))";
    let host = loaded(printing(body), Limits { log_lines: 0, ..Limits::default() }).await;
    for _ in 0..4 {
        run(&host).await.expect("it prints");
    }
    assert_eq!(host.stats().workloads[0].log_lines_dropped, 0);
}

#[tokio::test]
async fn whoever_exits_has_failed() {
    let host = loaded(
        text(
            r#"(component
            (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
            (core func $exit (canon lower (func $exit "exit")))
            (core module $m (import "h" "exit" (func $exit (param i32))) (func (export "run") (call $exit (i32.const 0))))
            (core instance $i (instantiate $m (with "h" (instance (export "exit" (func $exit))))))
            (func (export "run") (canon lift (core func $i "run"))))"#,
        ),
        Limits::default(),
    )
    .await;
    assert!(matches!(run(&host).await, Err(CallError::Trap { message }) if message.contains("exit")));
}
