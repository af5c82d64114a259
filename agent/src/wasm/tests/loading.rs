//! Files that are no workload, each with its own reason.

use serde_json::json;

use super::fixtures::{component, context, host, loaded, running};
use crate::wasm::{CallError, Limits, LoadError};

fn refused(wasm: &[u8]) -> LoadError {
    host().inspect(wasm).expect_err("it is no workload")
}

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).expect("valid text")
}

#[test]
fn what_is_no_component_is_refused() {
    assert!(matches!(refused(b""), LoadError::NotComponent(_)));
    assert!(matches!(refused(b"#!/bin/sh\necho hello"), LoadError::NotComponent(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0 and then garbage"), LoadError::NotComponent(_)));
    assert_eq!(refused(&text("(module)")), LoadError::CoreModule);
    assert_eq!(refused(&text("(component)")), LoadError::NoFunction);
    let large = vec![0; 33 * 1024 * 1024];
    assert!(matches!(refused(&large), LoadError::TooLarge { bytes, .. } if bytes == large.len()));
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    for import in
        ["wasi:http/types@0.2.0", "wasi:cli/environment@0.3.0", "wasi:cli/environment", "game:rules/table@1.0.0"]
    {
        let wasm = text(&format!(r#"(component (import "{import}" (instance)))"#));
        assert!(matches!(refused(&wasm), LoadError::Import { import: named, .. } if named == import));
    }
    let wasm = text(
        r#"(component (import "selvedge:workload/clock@0.1.0" (instance (export "stop" (func))))
            (core module $m (func (export "run"))) (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    assert!(matches!(refused(&wasm), LoadError::ImportType(why) if why.contains("stop")));
}

#[tokio::test]
async fn a_component_that_cannot_start_is_refused_and_what_ran_before_still_runs() {
    let host = loaded(running("nop"), Limits::default()).await;
    let trapping = component(
        r#"(func $s unreachable) (start $s) (func (export "run"))"#,
        r#"(func (export "run") (canon lift (core func $i "run")))"#,
    );
    assert!(matches!(host.load("guest", trapping, Limits::default()).await, Err(LoadError::Start(_))));
    let looping = component(
        r#"(func $s (loop (br 0))) (start $s) (func (export "run"))"#,
        r#"(func (export "run") (canon lift (core func $i "run")))"#,
    );
    assert!(matches!(host.load("guest", looping, Limits::default()).await, Err(LoadError::Start(_))));
    let large =
        component(r#"(memory 64) (func (export "run"))"#, r#"(func (export "run") (canon lift (core func $i "run")))"#);
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    assert!(matches!(host.load("guest", large, limits).await, Err(LoadError::Start(_))));
    assert!(host.call("guest", "run", json!([]), context()).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let host = loaded(running("nop"), Limits::default()).await;
    let unknown = host.call("guest", "walk", json!([]), context()).await;
    assert_eq!(unknown, Err(CallError::UnknownFunction { function: "walk".into(), known: vec!["run".into()] }));
    host.unload("guest");
    assert!(!host.is_loaded("guest"));
    let gone = host.call("guest", "run", json!([]), context()).await;
    assert_eq!(gone, Err(CallError::NotLoaded { workload: "guest".into() }));
}

#[tokio::test]
async fn calls_that_the_component_before_would_have_taken_are_counted_apart() {
    let exporting = |name: &str| {
        component(r#"(func (export "run"))"#, &format!(r#"(func (export "{name}") (canon lift (core func $i "run")))"#))
    };
    let host = loaded(exporting("run"), Limits::default()).await;
    let refused = async |function: &str, args| {
        host.call("guest", function, args, context()).await.expect_err("it is refused");
        let stats = host.workload_stats("guest").expect("it is loaded");
        (stats.refused, stats.broken, stats.failed)
    };
    assert_eq!(refused("walk", json!([])).await, (1, 0, 0), "nobody was promised that");
    host.load("guest", exporting("walk"), Limits::default()).await.expect("it loads");
    assert_eq!(refused("run", json!([])).await, (1, 1, 0));
    assert_eq!(refused("run", json!([7])).await, (2, 1, 0), "the one before took no arguments");
    assert_eq!(refused("crawl", json!([])).await, (3, 1, 0));
    host.load("guest", exporting("walk"), Limits { log_lines: 1, ..Limits::default() }).await.expect("it loads");
    assert_eq!(refused("run", json!([])).await, (1, 0, 0), "it took its own place");
}
