use std::collections::BTreeMap;

use serde_json::json;

use super::combat::{DUELS_PER_CALL, HEALTH_FULL};
use super::movement::SAMPLES_PER_TRACK;
use super::*;
use crate::cli::connection::AskBody;

fn answer(body: &Value, commit: Option<&str>) -> Answer {
    Answer { status: 200, commit: commit.map(str::to_owned), body: body.to_string().into() }
}

fn body(turn: &Turn) -> Value {
    match &turn.ask.body {
        Some(AskBody::Json(bytes)) => serde_json::from_slice(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn turn_of(player: &mut Player, kind: Kind) -> Turn {
    std::iter::repeat_with(|| player.next_turn()).find(|turn| turn.kind() == kind).unwrap()
}

#[test]
fn the_same_number_plays_the_same_game() {
    let (mut a, mut b) = (Player::new(7), Player::new(7));
    for _ in 0..100 {
        let (a, b) = (a.next_turn(), b.next_turn());
        assert_eq!((&a.ask.path, body(&a)), (&b.ask.path, body(&b)));
    }
}

#[test]
fn every_kind_is_played_about_as_often_as_said() {
    let mut player = Player::new(1);
    let mut counts = BTreeMap::new();
    for _ in 0..10_000 {
        *counts.entry(player.next_turn().kind()).or_insert(0) += 1;
    }
    let expect = [
        (Kind::Combat, 3_500),
        (Kind::Prediction, 2_000),
        (Kind::Chat, 1_000),
        (Kind::Inspection, 1_000),
        (Kind::Moves, 500),
        (Kind::Plan, 500),
        (Kind::Write, 1_500),
    ];
    for (kind, expect) in expect {
        assert!((expect - 300..expect + 300).contains(&counts[&kind]), "{counts:?}");
    }
}

#[test]
fn requests_are_within_what_the_workloads_take() {
    let (mut player, mut clock) = (Player::new(3), 0);
    for _ in 0..1_000 {
        let turn = player.next_turn();
        let body = body(&turn);
        match turn.kind() {
            Kind::Combat => {
                let duels = body[0].as_array().unwrap();
                assert_eq!(duels.len() as u64, DUELS_PER_CALL);
                for duel in duels {
                    assert!(duel["seed"].as_u64().unwrap() < 1 << 53);
                    assert_ne!(duel["a"]["id"], duel["b"]["id"]);
                    for stat in ["focus", "perception", "reason", "belief", "vitality"] {
                        assert!((1..=20).contains(&duel["a"][stat].as_u64().unwrap()));
                    }
                }
            }
            Kind::Prediction => {
                let tracks = body[0].as_array().unwrap();
                assert!(
                    tracks.iter().all(|track| track["samples"].as_array().unwrap().len() as u64 == SAMPLES_PER_TRACK)
                );
            }
            Kind::Chat => assert!(body[0].as_array().unwrap().iter().all(|message| message["text"].is_string())),
            Kind::Inspection => {
                let times: Vec<_> =
                    body[0].as_array().unwrap().iter().map(|one| one["t_ms"].as_u64().unwrap()).collect();
                assert!(times.is_sorted() && times[0] > clock, "{times:?} after {clock}");
                clock = times[times.len() - 1];
            }
            Kind::Moves => {
                let moves = body[0].as_array().unwrap();
                assert!(moves.iter().all(|step| step["from_zone"] != step["to_zone"]), "{moves:?}");
            }
            Kind::Plan => assert!(body[0].as_array().unwrap().iter().all(|player| player["recent"].is_array())),
            Kind::Write => assert_eq!(body.as_object().unwrap().len(), 1),
        }
    }
}

#[test]
fn damage_is_credited_to_whoever_dealt_it() {
    let mut player = Player::new(5);
    let turn = turn_of(&mut player, Kind::Combat);
    let duels = body(&turn)[0].as_array().unwrap().clone();
    let outcomes: Vec<_> =
        duels.iter().map(|_| json!({"damage_to_a": 0, "damage_to_b": 9, "health_a": 100, "health_b": 91})).collect();
    player.learn(&turn, &answer(&json!(outcomes), Some("r.1/4"))).unwrap();
    let expect: BTreeMap<_, _> =
        duels.iter().map(|duel| (format!("gcounter/combat:damage:{}", duel["a"]["id"]), 9)).collect();
    let tally = player.into_tally();
    assert_eq!((tally.counters(), tally.commits()), (&expect, 1));
}

#[test]
fn who_falls_comes_back_fresh() {
    let mut player = Player::new(5);
    let turn = turn_of(&mut player, Kind::Combat);
    let fallen = body(&turn)[0][0]["b"]["id"].as_u64().unwrap();
    let outcome = json!({"damage_to_a": 0, "damage_to_b": 100, "health_a": 55, "health_b": 0});
    player.learn(&turn, &answer(&json!(vec![outcome; 6]), Some("r.1/4"))).unwrap();
    assert_eq!(player.fights.health[&fallen], HEALTH_FULL);
}

#[test]
fn acknowledged_writes_are_counted() {
    let mut player = Player::new(9);
    let mut expect = 0;
    for seq in 1..=500_u64 {
        let turn = turn_of(&mut player, Kind::Write);
        if turn.ask.path.contains("demo:shots") {
            expect += i128::from(body(&turn)["increment"].as_i64().unwrap());
        }
        player.learn(&turn, &answer(&json!({"commit": {"replica": "r.1", "seq": seq}, "value": 0}), None)).unwrap();
    }
    let tally = player.into_tally();
    assert_eq!((tally.counters()["gcounter/demo:shots"], tally.commits()), (expect, 500));
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let mut player = Player::new(2);
    let check = |player: &mut Player, kind: Kind, body: Value, commit: Option<&str>, expect: &str| {
        let turn = turn_of(player, kind);
        let error = player.learn(&turn, &answer(&body, commit)).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    check(&mut player, Kind::Combat, json!([]), Some("r.1/1"), "outcomes were asked for");
    let outcome = json!({"damage_to_a": 0, "damage_to_b": 1, "health_a": 5, "health_b": 4});
    check(&mut player, Kind::Combat, json!(vec![outcome; 6]), None, "no commit");
    check(&mut player, Kind::Combat, json!(vec![json!({}); 6]), Some("r.1/1"), "outcomes were asked for");
    check(&mut player, Kind::Prediction, json!([{"x": 1}]), None, "predictions were asked for");
    check(&mut player, Kind::Chat, json!([]), None, "verdicts were asked for");
    let offence = json!({"action": "block", "class": "explicit", "score": 1.0, "spans": []});
    check(&mut player, Kind::Chat, json!(vec![offence; 4]), None, "no commit");
    check(&mut player, Kind::Inspection, json!(null), Some("r.1/1"), "verdicts were asked for");
    check(&mut player, Kind::Moves, json!(null), None, "no commit");
    check(&mut player, Kind::Plan, json!([{}]), None, "plans were asked for");
    check(&mut player, Kind::Write, json!({"value": 5}), None, "no commit");
}

#[test]
fn what_the_workloads_count_is_counted() {
    let mut player = Player::new(4);
    let (mut offences, mut inspected, mut named, mut moves) = (0, 0, 0, 0);
    for seq in 1..=600_u64 {
        let turn = player.next_turn();
        let asked = body(&turn)[0].as_array().map_or(0, Vec::len);
        let said = match turn.kind() {
            Kind::Chat => {
                offences += 1;
                let (fine, foul) = (json!({"action": "allow", "score": 0.0}), json!({"action": "flag", "score": 0.9}));
                json!([fine, foul, fine, fine])
            }
            Kind::Inspection => {
                inspected += asked;
                named += 1;
                let mut verdicts = vec![json!({"rule": "none", "certainty": 0.0}); asked];
                verdicts[3] = json!({"rule": "speed", "certainty": 0.99});
                json!(verdicts)
            }
            Kind::Moves => {
                moves += asked;
                json!(null)
            }
            Kind::Combat | Kind::Prediction | Kind::Plan | Kind::Write => continue,
        };
        player.learn(&turn, &answer(&said, Some(&format!("r.1/{seq}")))).unwrap();
    }
    let tally = player.into_tally();
    let sum = |prefix: &str| -> i128 {
        tally.counters().iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value).sum()
    };
    assert_eq!(sum("pncounter/chat:offences:"), offences);
    assert_eq!((sum("gcounter/cheat:inspected"), sum("gcounter/cheat:named")), (inspected as i128, named));
    assert_eq!((sum("gcounter/preload:moves"), sum("gcounter/preload:move:")), (moves as i128, moves as i128));
    assert!(offences > 0 && inspected > 0 && moves > 0);
}
