//! A host over a small state, and components written as text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_sync::draft::ReadState;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;

use crate::wasm::{CallContext, CallError, CallOutcome, Limits, WasmConfig, WasmHost};

/// A state in which some counters have a value and there is nothing else.
#[derive(Default)]
pub(super) struct Counters(pub(super) BTreeMap<String, i128>);

impl ReadState for Counters {
    fn counter(&self, key: &Key) -> Option<i128> {
        self.0.get(&key.to_string()).copied()
    }

    fn own_totals(&self, _: &Key) -> (u64, u64) {
        (0, 0)
    }

    fn contains(&self, _: &Key, _: &Scalar) -> bool {
        false
    }

    fn members(&self, _: &Key) -> Option<Vec<Scalar>> {
        None
    }

    fn field(&self, _: &Key, _: &str) -> Option<Scalar> {
        None
    }

    fn fields(&self, _: &Key) -> Option<BTreeMap<String, Scalar>> {
        None
    }
}

pub(super) fn config() -> WasmConfig {
    WasmConfig { workers: 2, queue_per_workload: 4, instances: 8, memory_bytes: 16 << 20, ..WasmConfig::default() }
}

pub(super) fn host() -> WasmHost {
    host_over(Counters::default())
}

pub(super) fn host_over(state: Counters) -> WasmHost {
    WasmHost::new(config(), Arc::new(state)).expect("the engine starts")
}

pub(super) fn context() -> CallContext {
    CallContext { seed: 7, now: Hlc::from_millis(1_700_000_000_000), deadline: None }
}

/// A component that exports `run` (and whatever else the body does) around one core module.
///
/// `core` is the module's body; `lifts` are the component's own definitions after `(core instance $i …)`.
pub(super) fn component(core: &str, lifts: &str) -> Arc<[u8]> {
    text(&format!("(component (core module $m {core}) (core instance $i (instantiate $m)) {lifts})"))
}

/// A component whose function `run` takes and gives nothing.
pub(super) fn running(body: &str) -> Arc<[u8]> {
    component(
        &format!("(func (export \"run\") {body}) (memory (export \"memory\") 1)"),
        "(func (export \"run\") (canon lift (core func $i \"run\")))",
    )
}

pub(super) async fn loaded(wasm: Arc<[u8]>, limits: Limits) -> WasmHost {
    let host = host();
    host.load("guest", wasm, limits).await.expect("it loads");
    host
}

pub(super) async fn run(host: &WasmHost) -> Result<CallOutcome, CallError> {
    tokio::time::timeout(Duration::from_secs(20), host.call("guest", "run", serde_json::json!([]), context()))
        .await
        .expect("every call ends")
}

/// A component from its text.
pub(super) fn text(component: &str) -> Arc<[u8]> {
    wat::parse_str(component).unwrap_or_else(|error| panic!("{error}\n{component}")).into()
}

/// A core module behind the import of an interface's function, as `wit-component` would lay it out.
pub(super) fn importing(interface: &str, function: &str, lowered: &str, core: &str) -> Arc<[u8]> {
    // What was lowered is `$f`, and `$g` and `$h` where there is more.
    let exports: String = ["f", "g", "h"]
        .into_iter()
        .filter(|name| lowered.contains(&format!("core func ${name} ")))
        .map(|name| format!(r#"(export "{name}" (func ${name}))"#))
        .collect();
    let component = format!(
        r#"(component
            (import "selvedge:workload/{interface}@0.1.0" (instance $host {function}))
            (core module $memory (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $mem (instantiate $memory))
            {lowered}
            (core module $m (import "host" "memory" (memory 1)) {core})
            (core instance $host-core {exports} (export "memory" (memory $mem "memory")))
            (core instance $i (instantiate $m (with "host" (instance $host-core))))
            (func (export "run") (canon lift (core func $i "run"))))"#
    );
    text(&component)
}
