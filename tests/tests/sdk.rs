//! The test host of the SDK against the guest host of the agent: the same scripts, natively on the one and as a component on the
//! other, give the same answers, the same errors and the same state.

use std::sync::Arc;
use std::time::Duration;

use selvedge::view::{StateOwner, StateView, share};
use selvedge::wasm::{CallContext, CallError as Refusal, Limits as HostLimits, LoadOptions, WasmConfig, WasmHost};
use selvedge_conformance::Conformance;
use selvedge_conformance::bindings::Guest;
use selvedge_sdk::{CallError, Limits, TestHost};
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::replica::{Config, Input, Output, Replica};
use selvedge_tests::guest;
use serde_json::json;
use tokio::runtime::Runtime;

type Script = Vec<Vec<String>>;

const NOW_MS: u64 = 1_800_000_000_000;
const SEED: u64 = 7;
/// Seeds of drawn scripts. A run of one takes some milliseconds.
const SEEDS: u64 = 300;

/// The agent's side: a guest host over a replica, without the rest.
struct Real {
    runtime: Runtime,
    host: WasmHost,
    owner: StateOwner,
    view: StateView,
}

impl Real {
    fn new(wasm: &Arc<[u8]>, limits: Limits) -> Self {
        let runtime = Runtime::new().expect("threads");
        let me = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) };
        let (owner, view) = share(Replica::new(me, Config::default()));
        let config = WasmConfig { workers: 1, instances: 4, ..WasmConfig::default() };
        let host = WasmHost::new(config, Arc::new(view.clone())).expect("the engine starts");
        let limits = HostLimits {
            deadline: Duration::from_secs(10),
            host_calls: limits.host_calls,
            handles: limits.handles,
            writes: limits.writes,
            write_bytes: limits.write_bytes,
            ..HostLimits::default()
        };
        let options =
            LoadOptions { limits, config: [("mode".to_owned(), "hard".to_owned())].into(), ..LoadOptions::default() };
        runtime.block_on(host.load("conformance", Arc::clone(wasm), options)).expect("it loads");
        Self { runtime, host, owner, view }
    }

    fn call(&mut self, script: &Script) -> Result<Vec<String>, String> {
        let context = CallContext { seed: SEED, now: Hlc::from_millis(NOW_MS), deadline: None };
        let called = self.runtime.block_on(self.host.call("conformance", "run", json!([script]), context));
        let done = called.map_err(|error| match error {
            Refusal::Fault { field, message } => format!("fault: {field}: {message}"),
            Refusal::Trap { .. } => "trap".to_owned(),
            Refusal::HostCalls { limit } => format!("host calls: {limit}"),
            Refusal::Writes { what, limit } => format!("writes: {limit} {what}"),
            other => panic!("{other}"),
        })?;
        if !done.changes.is_empty() {
            let now = self.view.now();
            let commit = Input::Commit { ticket: 1, changes: done.changes, request: None };
            for output in self.owner.write(|replica| replica.handle(commit, now)) {
                match output {
                    Output::Committed { result, .. } => drop(result.map_err(|error| format!("commit: {error}"))?),
                    Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                        self.owner.write(|replica| drop(replica.handle(Input::Persisted { token }, now)));
                    }
                    _ => {}
                }
            }
        }
        let mut answers: Vec<String> = serde_json::from_value(done.result).expect("a list of texts");
        answers.extend(done.preloads.iter().map(|digest| format!("asked for {digest}")));
        Ok(answers)
    }
}

/// The test host's side.
struct Test(TestHost);

impl Test {
    fn new(limits: Limits) -> Self {
        let mut host = TestHost::new().with_config("mode", "hard").with_limits(limits);
        host.set_seed(SEED);
        host.set_time_ms(NOW_MS);
        Self(host)
    }

    fn call(&mut self, script: &Script) -> Result<Vec<String>, String> {
        let done = self.0.call(|| Conformance::run(script.clone()));
        let asked = self.0.preloads().iter().map(|digest| format!("asked for {digest}"));
        done.map(|answers| answers.into_iter().chain(asked).collect()).map_err(|error| match error {
            CallError::Fault(fault) => format!("fault: {}: {}", fault.field, fault.message),
            CallError::Trap(_) => "trap".to_owned(),
            CallError::HostCalls { limit } => format!("host calls: {limit}"),
            CallError::Writes { what, limit } => format!("writes: {limit} {what}"),
            CallError::ObjectFull(key) => format!("commit: {key} is full"),
        })
    }
}

fn script(steps: &[String]) -> Script {
    steps.iter().map(|step| step.split(' ').map(str::to_owned).collect()).collect()
}

/// `SplitMix64`.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).expect("small")]
    }

    fn words(&mut self, of: &[&str], most: u64) -> String {
        (0..=self.below(most)).map(|_| format!(" {}", self.one(of))).collect()
    }

    /// A step of a script whose objects are the seed's own.
    fn step(&mut self, seed: u64) -> String {
        const NAMES: &[&str] = &["a", "b", "c", "a", "b", "selvedge:own", "tab\there", ""];
        const NUMBERS: &[&str] = &["0", "1", "5", "9223372036854775807", "18446744073709551615"];
        const SCALARS: &[&str] = &[
            "null", "true", "false", "i5", "i-5", "f5", "f-0.0", "f0.0", "f1e300", "fNaN", "finf", "t", "tb", "tä",
            "y", "yb", "t*65536", "t*65537", "y*65537", "t*300",
        ];
        const FIELDS: &[&str] = &["x", "y", "ä", "*256", "*257", ""];
        let name = match self.one(NAMES) {
            plain @ ("a" | "b" | "c") => format!("{plain}{seed}"),
            odd => odd.to_owned(),
        };
        match self.below(14) {
            0 => format!("gcounter {name} increment {}", self.one(NUMBERS)),
            1 => format!("pncounter {name} increment {}", self.one(NUMBERS)),
            2 => format!("pncounter {name} decrement {}", self.one(NUMBERS)),
            3 => format!("{} {name} {}", self.one(&["gcounter", "pncounter"]), self.one(&["exists", "value"])),
            4 => format!("{} {name} add{}", self.one(&["gset", "orset"]), self.words(SCALARS, 3)),
            5 => format!("orset {name} remove{}", self.words(SCALARS, 3)),
            6 => format!("{} {name} contains {}", self.one(&["gset", "orset"]), self.one(SCALARS)),
            7 => format!("{} {name} members", self.one(&["gset", "orset"])),
            8 => {
                let entries: String =
                    (0..=self.below(2)).map(|_| format!(" {} {}", self.one(FIELDS), self.one(SCALARS))).collect();
                format!("lwwmap {name} put{entries}")
            }
            9 => format!("lwwmap {name} remove{}", self.words(FIELDS, 2)),
            10 => format!("lwwmap {name} get {}", self.one(FIELDS)),
            11 => {
                let changes = |draw: &mut Self| format!(" {}={}", draw.below(3), draw.one(NUMBERS));
                let changes: String = (0..self.below(4)).map(|_| changes(self)).collect();
                format!("gcounters {name} increment{changes}")
            }
            12 => {
                let change = |draw: &mut Self| {
                    let (id, initial, up) = (draw.below(3), draw.one(NUMBERS), draw.one(NUMBERS));
                    format!(" {id}={initial}+{up}-{}", draw.one(NUMBERS))
                };
                let changes: String = (0..self.below(4)).map(|_| change(self)).collect();
                format!("pncounters {name} change{changes}")
            }
            _ => match self.below(40) {
                0 => "fault steps[0] is wrong".to_owned(),
                1 => "nonsense".to_owned(),
                2..5 => format!("asset blake3:{:064X}", self.below(9)),
                5 => format!("asset {}", self.one(&["blake3:ab", "sha256:00", ""])),
                _ => self.one(&["now", "seed", "random", "config mode", "config none", "log hello"]).to_owned(),
            },
        }
    }
}

/// What shows all that the scripts of a seed write.
fn look(seed: u64) -> Script {
    const LOOKS: [&str; 11] = [
        "gcounter N exists",
        "gcounter N value",
        "pncounter N exists",
        "pncounter N value",
        "gset N members",
        "orset N members",
        "lwwmap N entries",
        "gcounters N 0 1 2 18446744073709551615",
        "pncounters N 2 1 0",
        "gcounter N1 exists",
        "pncounter N2 value",
    ];
    let names = ["a", "b", "c"].map(|name| format!("{name}{seed}"));
    let steps: Vec<_> = names.iter().flat_map(|name| LOOKS.map(|look| look.replace('N', name))).collect();
    script(&steps)
}

#[test]
fn drawn_scripts_give_the_same_on_both() {
    if !guest::can_be_built() {
        return;
    }
    let wasm = guest::component("selvedge-conformance");
    let (mut real, mut test) = (Real::new(&wasm, Limits::default()), Test::new(Limits::default()));
    let mut ended_well = 0;
    for seed in 0..SEEDS {
        let mut draw = Draw(seed);
        for call in 0..=draw.below(4) {
            let steps: Vec<_> = (0..=draw.below(9)).map(|_| draw.step(seed)).collect();
            let steps = script(&steps);
            let (expect, seen) = (real.call(&steps), test.call(&steps));
            assert_eq!(seen, expect, "seed {seed}, call {call}: {steps:#?}");
            ended_well += usize::from(expect.is_ok());
            let look = look(seed);
            assert_eq!(test.call(&look), real.call(&look), "seed {seed}, after call {call}: {steps:#?}");
        }
    }
    assert!(ended_well > 300, "only {ended_well} calls succeeded");
}

#[test]
fn limits_hold_alike() {
    if !guest::can_be_built() {
        return;
    }
    let wasm = guest::component("selvedge-conformance");
    let limits = Limits { host_calls: 40, handles: 8, writes: 3, write_bytes: 2_000, ..Limits::default() };
    let (mut real, mut test) = (Real::new(&wasm, limits), Test::new(limits));
    let repeated = |step: &str, count: usize| vec![step.to_owned(); count];
    let mut check = |steps: &[String], expect: &str| {
        let (seen, wanted) = (test.call(&script(steps)), real.call(&script(steps)));
        assert_eq!(seen, wanted, "{steps:?}");
        assert!(format!("{wanted:?}").contains(expect), "{steps:?} gave {wanted:?}");
    };
    check(&repeated("random", 40), "Ok");
    check(&repeated("random", 41), "host calls: 40");
    check(&repeated("open 8", 1), "8");
    check(&repeated("open 9", 1), "8");
    check(&repeated("write 3", 1), "Ok");
    check(&repeated("write 4", 1), "writes: 3 objects");
    check(&repeated("gset a add t*1000", 1), "Ok");
    check(&repeated("gset a add t*1000", 2), "writes: 2000 bytes");
    check(&repeated("lwwmap a put *200 i5", 9), "Ok");
    check(&repeated("lwwmap a put *200 i5", 10), "writes: 2000 bytes");
    check(&repeated("write 0", 1), "Ok");
    // Each entry of a list is a host call; an empty list is one.
    let ids = |count: usize| format!("gcounters a{}", " 1".repeat(count));
    check(&repeated(&ids(40), 1), "Ok");
    check(&repeated(&ids(41), 1), "host calls: 40");
    check(&repeated("gcounters a", 40), "Ok");
    check(&repeated("gcounters a", 41), "host calls: 40");
    check(&repeated("gcounters a increment 1=1 2=1 3=1 3=1", 1), "Ok");
    check(&repeated("gcounters a increment 1=1 2=1 3=1 4=1", 1), "writes: 3 objects");
    check(&repeated("gcounters a increment 1=1 2=18446744073709551615 3=1", 1), "entry 1");
    check(&repeated("pncounters selvedge: change 1=1+1-1", 1), "entry 0");
    check(&repeated(&format!("pncounters {}", "x".repeat(255)), 1), "Ok");
    check(&repeated(&format!("pncounters {} 5 55", "x".repeat(255)), 1), "entry 1");
    check(&repeated(&format!("pncounters {} change{}", "x".repeat(190), " 1=0+0-0".repeat(10)), 1), "Ok");
    check(
        &repeated(&format!("pncounters {} change{}", "x".repeat(192), " 1=0+0-0".repeat(10)), 1),
        "writes: 2000 bytes",
    );
}

#[test]
fn an_object_is_full_on_both_at_the_same_size() {
    if !guest::can_be_built() {
        return;
    }
    let wasm = guest::component("selvedge-conformance");
    let (mut real, mut test) = (Real::new(&wasm, Limits::default()), Test::new(Limits::default()));
    let mut full = 0;
    // Each call adds three members of 64 KiB; two mebibytes hold 31 of them.
    for round in 0..14 {
        let member = |index: usize| format!("gset big add t{}{}", (b'a' + round) as char, "x".repeat(65_000 + index));
        let steps = script(&[member(0), member(1), member(2)]);
        let (seen, wanted) = (test.call(&steps).map_err(|error| error.contains("full")), real.call(&steps));
        assert_eq!(seen, wanted.map_err(|error| error.contains("holds 2097152 bytes already")), "round {round}");
        full += usize::from(seen == Err(true));
    }
    assert!(full > 1, "it was never full");
    let mut remove = |steps: &[String]| assert_eq!(test.call(&script(steps)), real.call(&script(steps)));
    remove(&["gset small add i1".to_owned(), "gset small members".to_owned()]);
}
