//! The workloads that ship, called as a game server would call them.

use std::collections::BTreeMap;
use std::time::Instant;

use selvedge_sync::change::Change;
use serde_json::{Value, json};

use super::fixtures::{Counters, context, host, host_over};
use crate::shipped::shipped;
use crate::wasm::{CallError, Limits, WasmHost};

pub(super) async fn with_shipped(host: WasmHost) -> WasmHost {
    for (name, wasm) in shipped() {
        host.load(name, wasm.into(), Limits::default()).await.expect("it loads");
    }
    host
}

pub(super) fn fighter(id: u64, tactic: &str) -> Value {
    json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 5, "tactic": tactic, "health": 100})
}

fn duel(seed: u64) -> Value {
    json!({"zone": 3, "seed": seed, "a": fighter(1, "power"), "b": fighter(2, "grab")})
}

fn changes(changes: &[(selvedge_sync::key::Key, Change)]) -> BTreeMap<String, Vec<Change>> {
    let mut by_key: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for (key, change) in changes {
        by_key.entry(key.to_string()).or_default().push(change.clone());
    }
    by_key
}

#[tokio::test]
async fn combat_writes_exactly_what_its_outcomes_say() {
    let host = with_shipped(host()).await;
    let duels: Vec<_> = (0..20).map(duel).collect();
    let done = host.call("combat", "resolve", json!([duels]), context()).await.expect("valid");
    let outcomes = done.result.as_array().expect("a list");
    assert_eq!(outcomes.len(), 20);
    let sum = |field: &str| outcomes.iter().map(|o| o[field].as_u64().expect("a number")).sum::<u64>();
    let (to_a, to_b) = (sum("damage_to_a"), sum("damage_to_b"));
    assert!(to_a > 0 && to_b > 0);
    let written = changes(&done.changes);
    assert_eq!(written["gcounter/combat:damage:1"], [Change::Increment(to_b)]);
    assert_eq!(written["gcounter/combat:damage:2"], [Change::Increment(to_a)]);
    // The first sight of a fighter: its health comes in as well.
    assert_eq!(written["pncounter/combat:health:1"], [Change::Increment(100), Change::Decrement(to_a)]);
    assert_eq!(written["pncounter/combat:health:2"], [Change::Increment(100), Change::Decrement(to_b)]);
    assert!(matches!(&written["lwwmap/combat:zone:3"][..], [Change::Put(fields)] if fields.len() == 8));
    assert_eq!(written.len(), 5);
    for outcome in outcomes {
        let health = |field: &str| outcome[field].as_i64().expect("a number");
        assert_eq!(health("health_a"), 100 - health("damage_to_a"));
        assert!(["win-win", "win-lose", "lose-win", "lose-lose"].contains(&outcome["result"].as_str().expect("text")));
    }
    // The same call again gives the same, whatever the warm instance remembers.
    let again = host.call("combat", "resolve", json!({"duels": duels}), context()).await.expect("valid");
    assert_eq!((again.result, again.changes), (done.result, done.changes));
}

#[tokio::test]
async fn combat_only_takes_from_a_health_that_is_known() {
    let known = BTreeMap::from([("pncounter/combat:health:2".to_owned(), 55)]);
    let host = with_shipped(host_over(Counters(known))).await;
    let done = host
        .call("combat", "combat.resolve", json!([(0..20).map(duel).collect::<Vec<_>>()]), context())
        .await
        .expect("valid");
    let written = changes(&done.changes);
    assert!(matches!(written["pncounter/combat:health:2"][..], [Change::Decrement(_)]), "{written:?}");
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_written() {
    let host = with_shipped(host()).await;
    let check = async |mend: fn(&mut Value), field: &str, by_the_guest: bool| {
        let mut duels = json!([[duel(1), duel(2)]]);
        mend(&mut duels[0][1]);
        let error = host.call("combat", "resolve", duels, context()).await.expect_err("wrong");
        assert_eq!(error.field(), Some(field), "{error}");
        assert_eq!(matches!(error, CallError::Fault { .. }), by_the_guest, "{error}");
    };
    check(|d| d["a"]["tactic"] = json!("fireball"), "duels[1].a.tactic", false).await;
    check(|d| d["a"]["focus"] = json!(300), "duels[1].a.focus", false).await;
    check(|d| d["a"]["focus"] = json!(21), "duels[1].a.focus", true).await;
    check(|d| d["b"]["id"] = json!(1), "duels[1].b.id", true).await;
    check(|d| d["seed"] = json!(-1), "duels[1].seed", false).await;
    check(|d| d["colour"] = json!("red"), "duels[1].colour", false).await;
    check(|d| d["b"] = json!([]), "duels[1].b", false).await;
    check(|d| drop(d.as_object_mut().map(|d| d.remove("zone"))), "duels[1].zone", false).await;
    let error = host.call("combat", "resolve", json!({"fights": []}), context()).await.expect_err("wrong");
    assert_eq!(error.field(), Some("duels"));
}

#[tokio::test]
async fn prediction_extends_a_straight_line() {
    let host = with_shipped(host()).await;
    let samples: Vec<_> =
        (0..10).map(|i| json!({"t_ms": 1000 + i * 50, "x": f64::from(i) * 0.2, "y": 1, "z": 0})).collect();
    let track = json!({"player": "18446744073709551615", "samples": samples, "horizon_ms": 500});
    let done = host.call("prediction", "predict", json!([[track]]), context()).await.expect("valid");
    let predicted = &done.result[0];
    assert_eq!(predicted["player"], json!(u64::MAX));
    assert_eq!(predicted["t_ms"], json!(1950));
    assert!((predicted["x"].as_f64().expect("a number") - 3.8).abs() < 1e-6, "{predicted}");
    assert!((predicted["vx"].as_f64().expect("a number") - 4.0).abs() < 1e-6, "{predicted}");
    assert!((0.0..=1.0).contains(&predicted["confidence"].as_f64().expect("a number")));
    assert_eq!(changes(&done.changes)["gcounter/prediction:tracks"], [Change::Increment(1)]);

    let empty = json!([[{"player": 1, "samples": [], "horizon_ms": 500}]]);
    let error = host.call("prediction", "predict", empty, context()).await.expect_err("wrong");
    assert_eq!(error.field(), Some("tracks[0].samples"));
    let wild = json!([[{"player": 1, "samples": [{"t_ms": 0, "x": 0, "y": "NaN", "z": 0}], "horizon_ms": 500}]]);
    let error = host.call("prediction", "predict", wild, context()).await.expect_err("wrong");
    assert_eq!(error.field(), Some("tracks[0].samples[0].y"));
}

pub(super) fn seen(player: u64, t_ms: u64, x: f64) -> Value {
    json!({"player": player, "t_ms": t_ms, "x": x, "y": 0, "z": 0, "action": null})
}

#[tokio::test]
async fn anti_cheat_names_a_jump_and_keeps_what_it_knows() {
    let known = BTreeMap::from([("pncounter/cheat:suspicion:8".to_owned(), 40)]);
    let host = with_shipped(host_over(Counters(known))).await;
    let still = (0..20).map(|step| seen(7, 1_000 + step * 50, 0.0));
    let seen: Vec<_> = still.chain([seen(7, 2_000, 90.0), seen(8, 2_000, 5.0)]).collect();
    let done = host.call("anti-cheat", "inspect", json!([seen]), context()).await.expect("valid");
    let verdicts = done.result.as_array().expect("a list");
    let rules: Vec<_> = verdicts.iter().map(|verdict| verdict["rule"].as_str().expect("text")).collect();
    assert_eq!((rules.len(), rules[20]), (22, "teleport"));
    assert_eq!(rules.iter().filter(|rule| **rule == "none").count(), 21);
    assert!(verdicts[20]["certainty"].as_f64().expect("a number") > 0.99);
    assert!(verdicts[20]["evidence"].as_str().expect("text").starts_with("90.0 m in 0.05 s"), "{}", verdicts[20]);
    assert_eq!((&verdicts[20]["suspicion"], &verdicts[21]["suspicion"]), (&json!(10), &json!(40)));
    let written = changes(&done.changes);
    assert_eq!(written["pncounter/cheat:suspicion:7"], [Change::Increment(10)]);
    assert_eq!(written["gcounter/cheat:inspected"], [Change::Increment(22)]);
    assert_eq!(written["gcounter/cheat:named"], [Change::Increment(1)]);
    assert!(matches!(&written["lwwmap/cheat:track:7"][..], [Change::Put(fields)] if fields.len() == 1));
    assert_eq!(written.len(), 5, "{written:?}");
}

#[tokio::test]
async fn anti_cheat_names_what_is_wrong() {
    let host = with_shipped(host()).await;
    let check = async |mend: fn(&mut Value), field: &str| {
        let mut call = json!([[seen(7, 0, 0.0), seen(7, 50, 0.0), seen(7, 100, 0.0)]]);
        mend(&mut call[0][2]);
        let error = host.call("anti-cheat", "inspect", call, context()).await.expect_err("wrong");
        assert_eq!(error.field(), Some(field), "{error}");
    };
    check(|seen| seen["x"] = json!("NaN"), "observations[2].x").await;
    check(|seen| seen["z"] = json!(1e9), "observations[2].z").await;
    check(|seen| seen["action"] = json!({"kind": "", "damage": 1}), "observations[2].action.kind").await;
    check(|seen| seen["action"] = json!({"kind": "shoot", "damage": -1}), "observations[2].action.damage").await;
}

#[tokio::test]
async fn chat_moderation_counts_offences_per_player_and_shows_where_they_are() {
    let host = with_shipped(host()).await;
    let said = |player: u64, text: &str| json!({"player": player, "text": text});
    let messages =
        json!([[said(7, "gg wp"), said(8, "you 1d10t"), said(8, "fuck you"), said(9, "report pls"), said(9, "")]]);
    let done = host.call("chat-moderation", "moderate", messages, context()).await.expect("valid");
    let verdicts = done.result.as_array().expect("a list");
    let classes: Vec<_> = verdicts.iter().map(|verdict| verdict["class"].as_str().expect("text")).collect();
    assert_eq!(classes, ["other", "explicit", "explicit", "action", "other"]);
    assert_eq!(verdicts[1]["spans"], json!([{"start": 4, "end": 9}]));
    assert_eq!(verdicts[0]["action"], json!("allow"));
    assert!((0.5..=1.0).contains(&verdicts[2]["score"].as_f64().expect("a number")), "{verdicts:?}");
    let written = changes(&done.changes);
    assert_eq!(
        written.into_iter().collect::<Vec<_>>(),
        [("pncounter/chat:offences:8".to_owned(), vec![Change::Increment(2)])]
    );

    let screened = json!(["gg wpyou 1d10t", [{"player": 7, "end": 5}, {"player": 8, "end": 14}]]);
    let done = host.call("chat-moderation", "screen", screened, context()).await.expect("valid");
    assert_eq!(done.result, json!([{"index": 1, "verdict": verdicts[1]}]));
    let keys: Vec<_> = changes(&done.changes).into_iter().collect();
    assert_eq!(keys, [("pncounter/chat:offences:8".to_owned(), vec![Change::Increment(1)])]);

    let long = json!([[said(1, "hi"), said(1, &"a".repeat(5_000))]]);
    let error = host.call("chat-moderation", "moderate", long, context()).await.expect_err("too long");
    assert_eq!(error.field(), Some("messages[1].text"));

    let together = json!([vec![said(1, &"a".repeat(4_096)); 17]]);
    let error = host.call("chat-moderation", "moderate", together, context()).await.expect_err("too long together");
    assert_eq!(error.field(), Some("messages"));
}

#[test]
fn what_ships_is_described() {
    let host = host();
    for (name, wasm) in shipped() {
        let info = host.inspect(wasm).expect("a workload");
        assert!(!info.exports.is_empty(), "{name}");
        assert!(info.imports.iter().all(|import| import.starts_with("selvedge:workload/")), "{info:?}");
    }
    let combat = host.inspect(shipped()[0].1).expect("a workload").exports.remove(0);
    assert_eq!((combat.interface.as_str(), combat.name.as_str()), ("selvedge:workload/combat@0.1.0", "resolve"));
    assert!(combat.params[0].1.starts_with("list<record { zone: u64, seed: u64, a: record { id: u64"), "{combat:?}");
}

/// Not a benchmark: shows where the time goes when somebody asks. `cargo test -- --ignored --nocapture latency`
#[tokio::test]
#[ignore = "prints figures, checks nothing"]
async fn latency_of_a_call() {
    let host = with_shipped(host()).await;
    for count in [1_u64, 16, 64, 256] {
        let duels: Vec<_> = (0..count)
            .map(|i| json!({"zone": 3, "seed": i, "a": fighter(2 * i, "power"), "b": fighter(2 * i + 1, "grab")}))
            .collect();
        let args = json!([duels]);
        let (mut whole, mut guest) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let begun = Instant::now();
            let done = host.call("combat", "resolve", args.clone(), context()).await.expect("valid");
            whole.push(begun.elapsed());
            guest.push(done.guest_time);
        }
        whole.sort();
        guest.sort();
        eprintln!("{count} duels: call p50 {:?} p99 {:?}; guest p50 {:?}", whole[150], whole[297], guest[150]);
    }
}
