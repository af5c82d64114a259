//! The workload `asset-preload` as it ships, over a state that keeps what it writes, on a host that knows some assets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_sync::change::Change;
use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::scalar::Scalar;
use serde_json::{Value, json};

use super::fixtures::{config, context};
use crate::shipped::shipped;
use crate::spec::Digest;
use crate::wasm::{AssetView, CallOutcome, Limits, LoadOptions, WasmHost};

/// A state of one writer.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    counters: BTreeMap<Key, i128>,
    sets: BTreeMap<Key, BTreeSet<Scalar>>,
    maps: BTreeMap<Key, BTreeMap<String, Scalar>>,
}

impl Kept {
    fn apply(&self, changes: Vec<(Key, Change)>) {
        let mut objects = self.0.lock().unwrap();
        for (key, change) in changes {
            match change {
                Change::Increment(by) => *objects.counters.entry(key).or_default() += i128::from(by),
                Change::Decrement(by) => *objects.counters.entry(key).or_default() -= i128::from(by),
                Change::Add(members) => objects.sets.entry(key).or_default().extend(members),
                Change::Put(fields) => objects.maps.entry(key).or_default().extend(fields),
                Change::Remove(_) | Change::RemoveFields(_) => panic!("it only adds"),
            }
        }
    }
}

impl ReadState for Kept {
    fn counter(&self, key: &Key) -> Option<i128> {
        self.0.lock().unwrap().counters.get(key).copied()
    }

    fn own_totals(&self, _: &Key) -> (u64, u64) {
        (0, 0)
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        self.0.lock().unwrap().sets.get(key).is_some_and(|set| set.contains(member))
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        self.0.lock().unwrap().sets.get(key).map(|set| set.iter().cloned().collect())
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        self.0.lock().unwrap().maps.get(key)?.get(field).cloned()
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        self.0.lock().unwrap().maps.get(key).cloned()
    }
}

/// A host that has one large asset.
#[derive(Debug)]
struct OneAsset(Digest);

impl AssetView for OneAsset {
    fn size(&self, digest: &Digest) -> Option<u64> {
        (*digest == self.0).then_some(60_000_000)
    }
}

/// Limits without haste: how fast it is, is for the benchmarks.
fn patient() -> Limits {
    Limits { deadline: Duration::from_secs(10), ..Limits::default() }
}

fn digest(zone: &str) -> String {
    Digest::of(zone.as_bytes()).to_string()
}

struct Town {
    host: WasmHost,
    state: Kept,
}

/// The workload with an asset for each zone; the mill's has a size that only the host knows.
async fn town(more: &[(&str, &str)]) -> Town {
    let state = Kept::default();
    let mill = OneAsset(Digest::of(b"mill"));
    let host = WasmHost::with_assets(config(), Arc::new(state.clone()), Arc::new(mill)).expect("starts");
    let (name, wasm) = shipped().into_iter().find(|(name, _)| *name == "asset-preload").expect("it ships");
    let zones = ["plaza", "harbour", "mill", "gate"];
    let bytes = |zone: &str| if zone == "mill" { "-" } else { "1000" };
    let table: String = zones.iter().map(|zone| format!("{} {} {zone}\n", digest(zone), bytes(zone))).collect();
    let mut config = BTreeMap::from([("assets".to_owned(), table)]);
    config.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    host.load(name, wasm.into(), LoadOptions { limits: patient(), config, ..LoadOptions::default() })
        .await
        .expect("loads");
    Town { host, state }
}

impl Town {
    async fn call(&self, function: &str, args: Value) -> CallOutcome {
        self.host.call("asset-preload", function, args, context()).await.expect("valid")
    }

    async fn walk(&self, player: u64, zones: &[&str]) {
        let moves: Vec<_> =
            zones.windows(2).map(|pair| json!({"player": player, "from_zone": pair[0], "to_zone": pair[1]})).collect();
        let done = self.call("observe", json!([moves])).await;
        self.state.apply(done.changes);
    }

    async fn plan(&self, zone: &str, recent: &[&str]) -> CallOutcome {
        self.call("plan", json!([[{"player": 7, "zone": zone, "recent": recent}]])).await
    }
}

#[tokio::test]
async fn what_was_observed_is_planned_and_wished_for() {
    let town = town(&[]).await;
    for player in 0..20 {
        town.walk(player, &["gate", "plaza", "harbour"]).await;
        town.walk(100 + player, &["mill", "plaza", "gate"]).await;
        town.walk(200 + player, &["mill", "plaza", "gate"]).await;
    }
    let counter = |name: &str| town.state.counter(&name.parse().expect("a key"));
    assert_eq!(counter("gcounter/preload:move:5:plaza>harbour"), Some(20));
    assert_eq!(counter("gcounter/preload:turn:4,5:mill>plaza>gate"), Some(40));
    let plan = town.plan("plaza", &["gate"]).await;
    let assets = plan.result[0]["assets"].as_array().expect("a list").clone();
    let zones: Vec<_> = assets.iter().map(|asset| asset["zone"].as_str().expect("text").to_owned()).collect();
    assert_eq!(zones[0], "harbour", "who comes from the gate goes on to the harbour: {assets:?}");
    assert_eq!(assets[0]["digest"], json!(digest("harbour")));
    assert!(assets[0]["probability"].as_f64().is_some_and(|p| (0.6..=1.0).contains(&p)), "{assets:?}");
    assert_eq!(plan.result[0]["player"], json!(7));
    assert_eq!(town.plan("plaza", &[]).await.result[0]["assets"][0]["zone"], "gate", "most go there");
    assert_eq!(plan.preloads[0].to_string(), digest("harbour"));
    assert!(plan.changes.is_empty(), "a plan writes nothing");
    assert_eq!(town.plan("plaza", &["gate"]).await.result, plan.result, "a warm instance says the same");
}

#[tokio::test]
async fn sizes_that_only_the_host_knows_count_against_the_budget() {
    let with = async |budget: &str| {
        let town = town(&[("budget-bytes", budget)]).await;
        for player in 0..20 {
            town.walk(player, &["plaza", "mill"]).await;
            town.walk(100 + player, &["plaza", "gate"]).await;
        }
        let plan = town.plan("plaza", &[]).await;
        let mut zones: Vec<_> = plan.result[0]["assets"].as_array().expect("a list").clone();
        zones.iter_mut().for_each(|asset| *asset = asset["zone"].take());
        zones
    };
    assert_eq!(with("61000000").await.len(), 2);
    assert_eq!(with("59000000").await, [json!("gate")]);
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_written_or_wished_for() {
    let town = town(&[]).await;
    let check = async |function: &str, args: Value, field: &str| {
        let error = town.host.call("asset-preload", function, args, context()).await.expect_err("wrong");
        assert_eq!(error.field(), Some(field), "{error}");
    };
    let step = |from: &str, to: &str| json!({"player": 1, "from_zone": from, "to_zone": to});
    check("observe", json!([[step("a", "b"), step("a", "")]]), "moves[1].to_zone").await;
    check("observe", json!([vec![step("a", "b"); 1_025]]), "moves").await;
    check("plan", json!([[{"player": 1, "zone": "a\n", "recent": []}]]), "players[0].zone").await;
    let odd = ["Old Town > gate", "🦀", "a:b"];
    town.walk(1, &odd).await;
    town.walk(2, &odd).await;
    let key = "gcounter/preload:turn:15,4:Old Town > gate>🦀>a:b".parse().expect("a key");
    assert_eq!(town.state.counter(&key), Some(2), "odd names are names");
}

#[tokio::test]
async fn a_thousand_moves_fit_into_one_call() {
    let town = town(&[]).await;
    let zone = |number: usize| format!("zone-{}", number * 7 % 97);
    let moves: Vec<_> =
        (0..1_024).map(|i| json!({"player": i % 50, "from_zone": zone(i / 50), "to_zone": zone(i / 50 + 1)})).collect();
    let done = town.call("observe", json!({ "moves": moves })).await;
    assert!(done.changes.len() < 200, "{} objects", done.changes.len());
}
