//! The compiler in its own process: what it makes, what it is spared, and what becomes of it.
//!
//! Lives in the agent's own package because only here is the binary's path known.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge::wasm::{
    CacheConfig, CallContext, CompileConfig, EmptyState, HelperLimits, Limits, LoadError, WasmConfig, WasmHost,
};
use selvedge_sync::hlc::Hlc;
use serde_json::json;

fn compile(limits: HelperLimits) -> CompileConfig {
    CompileConfig { helper: Some(env!("CARGO_BIN_EXE_selvedge").into()), limits, ..CompileConfig::default() }
}

fn host(compile: CompileConfig) -> WasmHost {
    let config = WasmConfig { workers: 1, instances: 4, memory_bytes: 16 << 20, compile, ..WasmConfig::default() };
    WasmHost::new(config, Arc::new(EmptyState)).expect("the engine starts")
}

fn wat(text: &str) -> Arc<[u8]> {
    wat::parse_str(text).expect("valid text").into()
}

/// A component around one core module that exports `run`.
fn component(core: &str) -> Arc<[u8]> {
    wat(&format!(
        r#"(component (core module $m {core}) (core instance $i (instantiate $m))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ))
}

fn answering(number: u32) -> Arc<[u8]> {
    component(&format!(r#"(func (export "run") (result i32) (i32.const {number}))"#))
}

async fn run(host: &WasmHost) -> serde_json::Value {
    let context = CallContext { seed: 1, now: Hlc::default(), deadline: None };
    host.call("guest", "run", json!([]), context).await.expect("it runs").result
}

fn cached(folder: &Path) -> CompileConfig {
    let cache = CacheConfig { folder: folder.to_owned(), key: [3; 32], bytes_max: 64 << 20 };
    CompileConfig { cache: Some(cache), ..compile(HelperLimits::default()) }
}

#[tokio::test]
async fn components_with_a_memory_each_are_refused_with_the_reason() {
    let two = wat(r#"(component
            (component $a
                (core module $m (memory (export "memory") 1) (func (export "f") (param i32 i32))
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (func (export "f") (param "text" string)
                    (canon lift (core func $i "f") (memory $i "memory") (realloc (func $i "realloc")))))
            (component $b
                (import "f" (func $f (param "text" string)))
                (core module $memory (memory (export "memory") 1))
                (core instance $mem (instantiate $memory))
                (core func $lowered (canon lower (func $f) (memory $mem "memory")))
                (core module $m (import "a" "f" (func $f (param i32 i32)))
                    (func (export "run") (result i32) (call $f (i32.const 0) (i32.const 1)) (i32.const 7)))
                (core instance $i (instantiate $m (with "a" (instance (export "f" (func $lowered))))))
                (func (export "run") (result u32) (canon lift (core func $i "run"))))
            (instance $one (instantiate $a))
            (instance $two (instantiate $b (with "f" (func $one "f"))))
            (export "run" (func $two "run")))"#);
    let refused = host(compile(HelperLimits::default())).inspect(&two).expect_err("there are two memories");
    assert!(
        matches!(&refused, LoadError::NotComponent(why) if why.contains("several components with a memory each")),
        "{refused}"
    );
}

#[tokio::test]
async fn code_is_compiled_once_and_a_restart_compiles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = host(cached(folder.path()));
    first.load("guest", answering(7), Limits::default()).await.expect("it loads");
    assert_eq!(run(&first).await, json!(7));
    assert_eq!((first.stats().code.compiled, first.stats().code.cached), (1, 0));
    drop(first);
    // A compiler that is not there shows that nothing is compiled.
    let config = CompileConfig { helper: Some("/nonexistent".into()), ..cached(folder.path()) };
    let second = host(config);
    second.load("guest", answering(7), Limits::default()).await.expect("it loads");
    assert_eq!(run(&second).await, json!(7));
    assert_eq!((second.stats().code.compiled, second.stats().code.cached), (0, 1));
    let error = second.load("guest", answering(8), Limits::default()).await.expect_err("nobody compiles it");
    assert!(matches!(error, LoadError::Host(_)), "{error}");
    assert_eq!(run(&second).await, json!(7), "what ran before still runs");
}

#[tokio::test]
async fn a_tampered_entry_is_refused_counted_and_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    host(cached(folder.path())).load("guest", answering(7), Limits::default()).await.expect("it loads");
    let entry = std::fs::read_dir(folder.path()).expect("lists").next().expect("one").expect("entry").path();
    let mut bytes = std::fs::read(&entry).expect("reads");
    // Somewhere in the machine code, or near it: whatever it is, it is not what was compiled.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entry, &bytes).expect("writes");
    let again = host(cached(folder.path()));
    again.load("guest", answering(7), Limits::default()).await.expect("it loads");
    assert_eq!(run(&again).await, json!(7));
    let code = again.stats().code;
    assert_eq!((code.refused, code.compiled, code.cached), (1, 1, 0));
    let healed = host(cached(folder.path()));
    healed.load("guest", answering(7), Limits::default()).await.expect("it loads");
    assert_eq!(healed.stats().code.cached, 1);
}

#[tokio::test]
async fn another_hosts_code_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    host(cached(folder.path())).load("guest", answering(7), Limits::default()).await.expect("it loads");
    let mut config = cached(folder.path());
    config.cache.as_mut().expect("there is a cache").key = [4; 32];
    let other = host(config);
    other.load("guest", answering(7), Limits::default()).await.expect("it loads");
    assert_eq!((other.stats().code.refused, other.stats().code.compiled), (1, 1));
}

#[test]
fn what_is_wrong_with_a_component_is_said_by_the_compiler() {
    let host = host(compile(HelperLimits::default()));
    let error = host.inspect(b"\0asm\x0d\0\x01\0 and then garbage").expect_err("garbage");
    assert!(matches!(&error, LoadError::NotComponent(_)), "{error}");
    assert_eq!(host.stats().code.failed, 1);
}

#[test]
fn a_compilation_that_wants_too_much_memory_is_ended() {
    // Enough for the program itself, and not for much more.
    let host = host(compile(HelperLimits { memory_bytes: 96 << 20, ..HelperLimits::default() }));
    let bomb = many_functions(100_000);
    let error = host.inspect(&bomb).expect_err("too much");
    assert!(matches!(error, LoadError::CompileLimit { .. } | LoadError::CompilerCrash), "{error}");
    assert_eq!(host.stats().code.killed, 1);
    assert!(host.inspect(&answering(7)).is_ok(), "the next one is compiled");
}

#[test]
fn a_compilation_that_takes_too_long_is_ended() {
    let limits = HelperLimits { cpu: Duration::from_secs(1), ..HelperLimits::default() };
    // Ten seconds and more, where the next test's takes two.
    let bomb = many_blocks(50_000, 400);
    let by_cpu = host(compile(limits));
    let error = by_cpu.inspect(&bomb).expect_err("too long");
    assert!(matches!(&error, LoadError::CompileLimit { limit } if limit.contains("CPU")), "{error}");
    let by_clock = host(CompileConfig { patience: Duration::from_millis(100), ..compile(HelperLimits::default()) });
    let error = by_clock.inspect(&bomb).expect_err("too long");
    assert!(matches!(&error, LoadError::CompileLimit { limit } if limit.contains("clock")), "{error}");
    assert_eq!(by_clock.stats().code.killed, 1);
}

#[tokio::test]
async fn neighbours_are_called_while_a_bomb_is_compiled() {
    let limits = HelperLimits { cpu: Duration::from_secs(2), ..HelperLimits::default() };
    let host = host(CompileConfig { patience: Duration::from_secs(10), ..compile(limits) });
    // Its deadline is no matter of this test: other tests crowd the machine too.
    let patient = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
    host.load("guest", answering(7), patient).await.expect("it loads");
    for bomb in [many_functions(100_000), many_blocks(50_000, 40)] {
        let theirs = host.clone();
        let bombing = tokio::task::spawn_blocking(move || theirs.inspect(&bomb));
        let begun = Instant::now();
        let mut calls = 0_u32;
        while !bombing.is_finished() {
            assert_eq!(run(&host).await, json!(7));
            calls += 1;
            assert!(begun.elapsed() < Duration::from_secs(120), "the compiler was not ended");
            // A game has something else to do, too.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(calls > 0);
        // It may fit into its limits; what matters is that it ended, and how nobody noticed.
        match bombing.await.expect("no panic") {
            Ok(_) | Err(LoadError::CompileLimit { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_component_of_100_mib_is_not_even_looked_into() {
    let host = host(CompileConfig { helper: Some("/nonexistent".into()), ..CompileConfig::default() });
    let mut large = answering(7).to_vec();
    large.resize(100 << 20, 0);
    assert!(matches!(host.inspect(&large), Err(LoadError::TooLarge { bytes, .. }) if bytes == 100 << 20));
}

fn many_functions(count: usize) -> Arc<[u8]> {
    let mut core = String::from(r#"(func (export "run") (result i32) (i32.const 1))"#);
    for number in 0..count {
        core.push_str(&format!("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const {number})))"));
    }
    component(&core)
}

/// One function of so many blocks, with so many locals that live through all of them.
fn many_blocks(count: usize, locals: usize) -> Arc<[u8]> {
    let mut core = String::from(r#"(func (export "run") (result i32)"#);
    core.push_str(&"(local i32)".repeat(locals));
    for number in 0..count {
        let (one, two) = (number % locals, (number * 7 + 3) % locals);
        core.push_str(&format!(
            "(block (br_if 0 (local.get {one})) (local.set {two} (i32.add (local.get {one}) (i32.const {number}))))"
        ));
    }
    core.push_str("(local.get 0))");
    component(&core)
}
