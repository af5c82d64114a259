//! Resident memory per key of one 64-byte LWW value, against the 64 bytes themselves.
//!
//! A process of its own fills a replica commit by commit, ticks pass so that the log is forgotten as it would be, and the
//! kernel tells how much more is resident afterwards. With the feature `count-allocations`, what is allocated is told too.

use std::collections::BTreeMap;

use anyhow::Result;
use selvedge_sync::replica::{Config, Input, Replica};
use selvedge_sync::scalar::Scalar;
use selvedge_sync::sim::Rng;
use selvedge_sync::time::Time;
use serde::{Deserialize, Serialize};

use crate::child::{self, own_figure};
use crate::fill::{NOON, VALUE_BYTES, commit, put, replica_id, settle, value};
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "memory";
const KEYS: usize = 100_000;
const ROUNDS: usize = 3;

/// What is filled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A replica that wrote all keys itself.
    Written,
    /// `BTreeMap<String, Vec<u8>>`, to compare with.
    Map,
}

/// What it took, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    resident: f64,
    /// Zero when allocations are not counted.
    allocated: f64,
}

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (request, what, goal) in [
        (Request::Written, "memory per key of 64 bytes, after writing 100,000 keys", Goal::AtMost(6.0)),
        (Request::Map, "the same in a BTreeMap<String, Vec<u8>>", Goal::Told),
    ] {
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            taken.push(child::ask::<Taken>(&child::Request::Memory(request))?);
        }
        let per_key = |of: fn(&Taken) -> f64| -> Spread {
            Spread::of(&taken.iter().map(|taken| of(taken) / KEYS as f64).collect::<Vec<_>>())
        };
        let (resident, allocated) = (per_key(|taken| taken.resident), per_key(|taken| taken.allocated));
        let mut note = format!("{:.0} B resident a key", resident.median);
        if allocated.median > 0.0 {
            note += &format!(", {:.0} B allocated", allocated.median);
        }
        rows.push(Row::new(NAME, what, resident.scaled(1.0 / VALUE_BYTES as f64), "x").goal(goal).note(note));
    }
    Ok(rows)
}

/// Fills this process.
pub(crate) fn serve(request: &Request) -> Result<Taken> {
    match request {
        Request::Written => measure(written),
        Request::Map => measure(|| {
            let mut rng = Rng::new(1);
            let field = |rng: &mut Rng| match value(rng) {
                Scalar::Bytes(bytes) => bytes,
                other => unreachable!("values are bytes, not {other:?}"),
            };
            (0..KEYS).map(|key| (format!("player:{key}"), field(&mut rng))).collect::<BTreeMap<String, Vec<u8>>>()
        }),
    }
}

fn measure<T>(fill: impl FnOnce() -> T) -> Result<Taken> {
    let (resident, before) = (own_figure("status", "VmRSS:")?, allocated());
    let content = fill();
    let kilobytes = own_figure("status", "VmRSS:")?.saturating_sub(resident);
    let taken = Taken { resident: kilobytes as f64 * 1024.0, allocated: allocated() - before };
    drop(std::hint::black_box(content));
    Ok(taken)
}

fn written() -> Replica {
    let mut rng = Rng::new(1);
    let mut replica = Replica::new(replica_id(1), Config::default());
    for key in 0..KEYS {
        // A thousand keys a second, so that checkpoints and forgetting come in between.
        let ms = key as u64;
        let now = Time { wall_ms: NOON.wall_ms + ms, mono_ms: NOON.mono_ms + ms };
        settle(&mut replica, commit(vec![put(key, &mut rng)]), now);
        if key % 50 == 0 {
            settle(&mut replica, Input::Tick, now);
        }
    }
    let later = Time { wall_ms: NOON.wall_ms + 300_000, mono_ms: NOON.mono_ms + 300_000 };
    settle(&mut replica, Input::Tick, later);
    replica
}

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Bytes that are allocated now.
#[cfg(feature = "count-allocations")]
fn allocated() -> f64 {
    ALLOCATOR.current_usage() as f64
}

/// Not counted.
#[cfg(not(feature = "count-allocations"))]
const fn allocated() -> f64 {
    0.0
}
