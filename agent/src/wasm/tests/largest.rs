//! The workloads that ship, called with as much as their pages say that a call may hold.
//!
//! Owns the largest calls, in the shape that costs most. What is more than that is refused (`shipped`).

use std::time::Duration;

use serde_json::{Value, json};

use super::fixtures::{context, host};
use super::shipped::{fighter, seen};
use crate::shipped::shipped;
use crate::wasm::Limits;

/// Everybody fights once, so everybody is written.
fn duels() -> Value {
    let duel =
        |at: u64| json!({"zone": 3, "seed": at, "a": fighter(2 * at, "power"), "b": fighter(2 * at + 1, "grab")});
    json!([(0..999).map(duel).collect::<Vec<_>>()])
}

/// As many tracks as the arguments have room for.
fn tracks() -> Value {
    let sample = |at: u64| json!({"t_ms": at * 50, "x": at, "y": 1, "z": 0});
    let samples: Vec<_> = (0..64).map(sample).collect();
    json!([(0..330).map(|player| json!({"player": player, "samples": samples, "horizon_ms": 500})).collect::<Vec<_>>()])
}

fn observations() -> Value {
    json!([(0..4_096_u32)
        .map(|at| seen(u64::from(at % 512), u64::from(at / 512) * 50, f64::from(at)))
        .collect::<Vec<_>>()])
}

/// Each is a way of its own, as far as they can be learned.
fn moves() -> Value {
    let way = |at: u64| json!({"player": at, "from_zone": format!("z{}", at / 8), "to_zone": format!("z{}", at % 128)});
    json!([(0..1_024).map(way).collect::<Vec<_>>()])
}

fn positions() -> Value {
    let recent: Vec<_> = (0..64).map(|at| format!("z{at}")).collect();
    json!([(0..1_024).map(|player| json!({"player": player, "zone": "z1", "recent": recent})).collect::<Vec<_>>()])
}

/// Each word is read in seven ways.
fn disguises() -> Value {
    json!([vec![json!({"player": 7, "text": "q*z1 hqx ".repeat(455)}); 16]])
}

/// Each is another player's offence.
fn insults() -> Value {
    json!([(0..4_000).map(|player| json!({"player": player, "text": "you idiot"})).collect::<Vec<_>>()])
}

#[tokio::test]
async fn the_largest_calls_fit_into_every_limit() {
    let host = host();
    // How long they take is measured elsewhere: a machine that has much else to do is no fault of theirs.
    let limits = Limits { deadline: Duration::from_secs(10), ..Limits::default() };
    for (name, wasm) in shipped() {
        host.load(name, wasm.into(), limits.clone()).await.expect("it loads");
    }
    for (workload, function, arguments) in [
        ("combat", "resolve", duels()),
        ("prediction", "predict", tracks()),
        ("anti-cheat", "inspect", observations()),
        ("asset-preload", "observe", moves()),
        ("asset-preload", "plan", positions()),
        ("chat-moderation", "moderate", disguises()),
        ("chat-moderation", "moderate", insults()),
    ] {
        let done = host.call(workload, function, arguments, context()).await;
        done.unwrap_or_else(|error| panic!("{workload}.{function}: {error}"));
    }
}
