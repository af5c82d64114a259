//! Configurations that a workload does not want, and checks of them that do not behave.

use std::sync::Arc;

use super::fixtures::{component, context, host};
use crate::shipped::shipped;
use crate::wasm::{LoadError, LoadOptions, Problem};

fn with(entries: &[(&str, &str)]) -> LoadOptions {
    let config = entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    LoadOptions { config, ..LoadOptions::default() }
}

fn problems(refused: Result<(), LoadError>) -> Vec<Problem> {
    match refused {
        Err(LoadError::Configuration(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_workload_that_ships_refuses_what_it_does_not_read_and_keeps_what_ran_before() {
    let host = host();
    for (name, wasm) in shipped() {
        let wasm: Arc<[u8]> = wasm.into();
        host.load(name, Arc::clone(&wasm), LoadOptions::default()).await.expect("it needs no configuration");
        let unread = with(&[("nobody-reads-this", "1")]);
        for told in [problems(host.check(&wasm, unread.clone())), problems(host.load(name, wasm, unread).await)] {
            let named: Vec<_> = told.iter().map(|problem| problem.name.as_str()).collect();
            assert_eq!(named, ["nobody-reads-this"], "{name}");
        }
        assert!(host.is_loaded(name));
    }
    let exports: Vec<_> = shipped().iter().flat_map(|(_, wasm)| host.inspect(wasm).expect("sound").exports).collect();
    assert!(exports.iter().all(|function| function.name != "check"), "it is no function for callers: {exports:?}");
}

#[tokio::test]
async fn a_wrong_value_and_an_old_name_are_told_with_what_would_be_right() {
    let host = host();
    let [_, _, _, (name, wasm), _] = shipped();
    assert_eq!(name, "anti-cheat");
    host.check(wasm, with(&[("speed-max", "7.5"), ("damage-max.headshot", "900")])).expect("sound");
    let told = problems(host.check(wasm, with(&[("max_speed", "7.5"), ("rate-max", "often")])));
    assert!(told.iter().any(|problem| problem.to_string() == "`max_speed` is called `speed-max` now"), "{told:?}");
    assert!(told.iter().any(|problem| problem.name == "rate-max" && problem.message.contains("often")), "{told:?}");
}

/// A workload whose check takes the names and does `body`, and gives a list of texts.
fn checking(body: &str) -> Arc<[u8]> {
    component(
        &format!(
            r#"(memory (export "memory") 1) (func (export "run"))
               (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
               (func (export "check") (param i32 i32) (result i32) {body})"#
        ),
        r#"(func (export "run") (canon lift (core func $i "run")))
           (func $check (param "names" (list string)) (result (list string))
                (canon lift (core func $i "check") (memory $i "memory") (realloc (func $i "realloc"))))
           (instance $configuration (export "check" (func $check)))
           (export "selvedge:workload/configuration@0.1.0" (instance $configuration))"#,
    )
}

#[tokio::test]
async fn a_check_is_bounded_like_any_call() {
    let host = host();
    for (body, why) in [
        ("(loop (br 0)) unreachable", "deadline"),
        ("unreachable", "unreachable"),
        // A list of one text, which is no problem's name and message.
        (
            "(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1)) (i32.const 0)",
            "configuration.wit",
        ),
    ] {
        match host.load("guest", checking(body), LoadOptions::default()).await {
            Err(LoadError::Check(told)) => assert!(told.contains(why), "{told}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    host.load("guest", checking("(i32.const 0)"), LoadOptions::default()).await.expect("an empty list is content");
    assert!(host.call("guest", "run", serde_json::json!([]), context()).await.is_ok());
}
