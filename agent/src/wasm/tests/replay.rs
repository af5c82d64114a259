//! Recording calls and running them again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_sync::draft::ReadState;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::{Float, Scalar};
use serde_json::json;

use super::fixtures::{Counters, component, context, host_over, loaded, running};
use crate::shipped::shipped;
use crate::wasm::instance::Base;
use crate::wasm::source::{Playback, READ_BYTES_MAX, Recorder};
use crate::wasm::{
    CallError, Difference, FailureKind, Limits, NoAssets, Plain, RECORDING_BYTES_MAX, Read, Recorded, Recording,
    RecordingError, replay,
};

fn combat() -> &'static [u8] {
    let [(_, wasm), ..] = shipped();
    wasm
}

/// A recorded round of combat between a fighter that is known and one that is not.
async fn recorded() -> Recording {
    let host = host_over(Counters(BTreeMap::from([("pncounter/combat:health:1".to_owned(), 70)])));
    host.load("combat", combat().into(), Limits::default()).await.expect("it loads");
    let fighter = |id: u64| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 5, "tactic": "grab", "health": 100});
    let duel = json!({"zone": 3, "seed": 11, "a": fighter(1), "b": fighter(2)});
    let Recorded { outcome, recording } = host.record("combat", "resolve", json!([[duel]]), context()).await;
    let (done, recording) = (outcome.expect("valid"), recording.expect("it was asked for"));
    assert_eq!((&recording.result, recording.writes.len()), (&done.result, done.changes.len()));
    *recording
}

fn differences(recording: &Recording) -> Vec<Difference> {
    replay(combat(), recording).expect("it can be run")
}

#[tokio::test]
async fn a_recording_that_went_through_bytes_replays_to_the_same() {
    let recording = recorded().await;
    assert!(recording.reads.len() > 1 && recording.writes.len() > 1, "{recording:?}");
    let bytes = recording.encode();
    let again = Recording::decode(bytes.as_bytes()).expect("what was written is read");
    assert_eq!(again, recording);
    assert_eq!(differences(&again), []);
}

#[tokio::test]
async fn whatever_is_not_the_same_is_told() {
    let sound = recorded().await;
    let check = |change: &dyn Fn(&mut Recording), expect: &dyn Fn(&Difference) -> bool| {
        let mut recording = sound.clone();
        change(&mut recording);
        let found = differences(&recording);
        assert!(found.iter().any(expect), "{found:?}");
    };
    let reads = |difference: &Difference| matches!(difference, Difference::Reads(_));
    let result = |difference: &Difference| matches!(difference, Difference::Result { .. });
    check(&|r| r.result[0]["health_a"] = json!(12), &result);
    check(&|r| r.arguments[0][0]["seed"] = json!(12), &result);
    check(&|r| drop(r.writes.pop()), &|d| matches!(d, Difference::Write { recorded: None, now: Some(_), .. }));
    check(&|r| r.writes.push(json!(1)), &|d| matches!(d, Difference::Write { recorded: Some(_), now: None, .. }));
    check(&|r| drop(r.reads.pop()), &reads);
    check(&|r| r.reads.push(r.reads[0].clone()), &reads);
    check(&|r| r.reads.reverse(), &reads);
    check(&|r| r.function = "nope".to_owned(), &|d| matches!(d, Difference::Failed { .. }));
    check(&|r| r.limits.memory_bytes = 0, &|d| matches!(d, Difference::Failed { .. }));
    check(&|r| r.preloads = Some(vec![r.artifact]), &|d| matches!(d, Difference::Preloads { .. }));
    check(&|r| r.artifact.0[0] ^= 1, &|d| matches!(d, Difference::Artifact { .. }));
    // Another state, to which the writes have to fit.
    let known = |r: &mut Recording| {
        for read in &mut r.reads {
            if let Read::Counter { value, .. } = read {
                *value = Some(1);
            }
        }
    };
    check(&known, &|difference| matches!(difference, Difference::Write { .. }));
}

#[tokio::test]
async fn a_recording_of_the_first_version_is_still_run() {
    let text = recorded().await.encode();
    let first = text.replace("\"version\":2", "\"version\":1").replace(",\"preloads\":[]", "");
    assert_eq!(text.len() - first.len(), ",\"preloads\":[]".len());
    assert_eq!(differences(&Recording::decode(first.as_bytes()).expect("it is read")), []);
}

#[tokio::test]
async fn a_recorded_call_knows_nothing_of_those_before_it() {
    let counts = component(
        r#"(global $calls (mut i32) (i32.const 0))
           (func (export "run") (result i32)
             (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))"#,
        r#"(func (export "run") (result u32) (canon lift (core func $i "run")))"#,
    );
    let host = loaded(counts.clone(), Limits::default()).await;
    host.call("guest", "run", json!([]), context()).await.expect("it runs");
    assert_eq!(host.call("guest", "run", json!([]), context()).await.expect("it runs").result, json!(2));
    let Recorded { outcome, recording } = host.record("guest", "run", json!([]), context()).await;
    assert_eq!(outcome.expect("it runs").result, json!(1));
    assert_eq!(replay(&counts, &recording.expect("recorded")).expect("it can be run"), []);
}

#[tokio::test]
async fn a_call_that_failed_is_recorded_and_fails_again_in_the_same_way() {
    let loops = "(loop (br 0))";
    for (body, kind) in [
        ("unreachable", FailureKind::Trap),
        ("(drop (memory.grow (i32.const 300)))", FailureKind::Memory),
        (loops, FailureKind::Deadline),
    ] {
        let wasm = running(body);
        let limits = Limits { memory_bytes: 1 << 20, deadline: Duration::from_millis(20), ..Limits::default() };
        let host = loaded(wasm.clone(), limits).await;
        let Recorded { outcome, recording } = host.record("guest", "run", json!([]), context()).await;
        let (error, recording) = (outcome.expect_err("it fails"), recording.expect("it is recorded all the same"));
        let failure = recording.failure.clone().expect("that is in it");
        assert_eq!((failure.kind, failure.message.clone()), (kind, error.to_string()));
        let again = Recording::decode(recording.encode().as_bytes()).expect("what was written is read");
        if body == loops {
            // A replay has seconds, and takes them: this call would use them up. Of one that ends, nothing is said against it.
            let told = replay(&running("nop"), &again).expect("it can be run");
            assert!(told.iter().any(|one| matches!(one, Difference::CutOff { now: None, .. })), "{told:?}");
            assert!(
                !told.iter().any(|one| matches!(one, Difference::Failed { .. } | Difference::Reads(_))),
                "{told:?}"
            );
            continue;
        }
        assert_eq!(replay(&wasm, &again).expect("it can be run"), []);
        let told = replay(&running("nop"), &again).expect("it can be run");
        assert!(told.iter().any(|one| matches!(one, Difference::Failed { recorded: Some(_), now: None })), "{told:?}");
        let mut sound = *recording;
        sound.failure = None;
        let told = replay(&wasm, &sound).expect("it can be run");
        assert!(told.iter().any(|one| matches!(one, Difference::Failed { recorded: None, now: Some(_) })), "{told:?}");
    }
    let host = loaded(running("nop"), Limits::default()).await;
    let never_began = host.record("guest", "nope", json!([]), context()).await;
    assert!(never_began.outcome.is_err() && never_began.recording.is_none(), "{never_began:?}");
}

/// A state in which everything is there, and strange.
struct Full;

impl ReadState for Full {
    fn counter(&self, _: &Key) -> Option<i128> {
        Some(i128::from(u64::MAX) * 4)
    }

    fn own_totals(&self, _: &Key) -> (u64, u64) {
        (u64::MAX, 0)
    }

    fn contains(&self, _: &Key, _: &Scalar) -> bool {
        true
    }

    fn members(&self, _: &Key) -> Option<Vec<Scalar>> {
        Some(vec![
            Scalar::Null,
            Scalar::Float(Float(-0.0)),
            Scalar::Bytes(vec![0, 255]),
            Scalar::from("x".repeat(1_000).as_str()),
        ])
    }

    fn field(&self, _: &Key, field: &str) -> Option<Scalar> {
        (field == "there").then_some(Scalar::Null)
    }

    fn fields(&self, _: &Key) -> Option<BTreeMap<String, Scalar>> {
        Some(BTreeMap::from([("f".to_owned(), Scalar::Float(Float(f64::NAN)))]))
    }
}

fn full() -> &'static Base {
    Box::leak(Box::new(Full))
}

fn key(kind: Kind) -> Key {
    Key::new(kind, "k").expect("a key")
}

#[test]
fn every_read_is_played_back_as_it_was() {
    let everything = |state: &dyn ReadState| {
        let map = key(Kind::LwwMap);
        (
            (state.counter(&key(Kind::GCounter)), state.own_totals(&key(Kind::GCounter))),
            (state.contains(&key(Kind::GSet), &Scalar::Int(5)), state.members(&key(Kind::OrSet))),
            (state.field(&map, "there"), state.field(&map, "not there"), state.fields(&map)),
        )
    };
    let mut recorder = Recorder::new(full(), Arc::new(NoAssets));
    let found = everything(&recorder);
    assert_eq!(found, everything(full()));
    let reads = recorder.take().expect("they fit");
    let text = serde_json::to_string(&reads).expect("JSON");
    let read: Vec<Read> = serde_json::from_str(&text).expect(&text);
    assert_eq!(read, reads);
    let mut playback = Playback::new(read);
    assert_eq!(everything(&playback), found);
    assert_eq!(playback.difference(), None);
}

#[test]
fn what_was_not_recorded_is_as_if_nobody_had_written_it() {
    let read = Read::Field { key: key(Kind::LwwMap), field: "f".to_owned(), value: Some(Plain(Scalar::Int(1))) };
    let mut playback = Playback::new(vec![read.clone(), read]);
    assert_eq!(playback.field(&key(Kind::LwwMap), "f"), Some(Scalar::Int(1)));
    assert_eq!(playback.counter(&key(Kind::GCounter)), None);
    // Nothing that comes after it counts.
    assert_eq!(playback.field(&key(Kind::LwwMap), "f"), None);
    let difference = playback.difference().expect("it is told");
    assert!(
        difference.contains("read 2 is of the counter gcounter/k") && difference.contains("a field of"),
        "{difference}"
    );
}

#[test]
fn a_call_that_reads_too_much_is_not_recorded() {
    let mut recorder = Recorder::new(full(), Arc::new(NoAssets));
    for _ in 0..READ_BYTES_MAX / 1_000 {
        recorder.members(&key(Kind::OrSet));
    }
    assert_eq!(recorder.take(), None);
    let error = CallError::RecordingTooLarge { limit_bytes: READ_BYTES_MAX };
    assert_eq!(error.blame(), crate::wasm::Blame::Caller);
}

#[tokio::test]
async fn bytes_from_anywhere_are_refused_or_replayed_and_break_nothing() {
    let sound = recorded().await.encode().into_bytes();
    assert!(matches!(Recording::decode(&vec![b' '; RECORDING_BYTES_MAX + 1]), Err(RecordingError::TooLarge)));
    let other = String::from_utf8(sound.clone()).expect("text").replace("\"version\":2", "\"version\":3");
    assert!(matches!(Recording::decode(other.as_bytes()), Err(RecordingError::Version { version: 3, .. })));
    let deep = [&b"[".repeat(100_000)[..], b"1"].concat();
    for bytes in [&b""[..], b"null", b"{}", b"{\"format\":1}", &deep] {
        assert!(matches!(Recording::decode(bytes), Err(RecordingError::Malformed(_))));
    }
    let (mut state, mut replayed) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("it is below a usize")
    };
    for _ in 0..20_000 {
        let mut bytes = sound.clone();
        for _ in 0..=draw(3) {
            let at = draw(bytes.len().max(1));
            if at >= bytes.len() {
                break;
            }
            match draw(3) {
                0 => bytes[at] = b"0123456789[]{}\",:-.enul \xff"[draw(24)],
                1 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        // Most are refused; some of those that are not are run, and end.
        if let Ok(recording) = Recording::decode(&bytes)
            && replayed < 8
        {
            replayed += 1;
            drop(replay(combat(), &recording));
        }
    }
    assert_eq!(replayed, 8, "some of them are still recordings");
}
