//! Anti-entropy: what it costs to find out that nothing is missing, and to bring a thousand commits that are.
//!
//! Sixteen members have each written; the bytes are those of encoded messages between two of them.

use anyhow::Result;
use selvedge_sync::causal::VersionVector;
use selvedge_sync::codec;
use selvedge_sync::commit::CommitBytes;
use selvedge_sync::id::Stream;
use selvedge_sync::log::Range;
use selvedge_sync::replica::{Config, Input, Replica};
use selvedge_sync::sim::Rng;

use crate::fill::{Held, commit, put, replica_id, settle};
use crate::mesh::{Mesh, agree};
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "entropy";
const MEMBERS: u64 = 16;
const MISSING: usize = 1_000;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for keys in [1_000, 100_000] {
        let held = sixteen_writers(keys);
        rows.push(equal(&held, keys));
        if keys == 100_000 {
            rows.extend(missing(&held, keys));
        }
    }
    Ok(rows)
}

/// What sixteen writers made together: `keys` players.
fn sixteen_writers(keys: usize) -> Held {
    let mut rng = Rng::new(11);
    let mut all = Held { objects: Vec::new(), vector: VersionVector::default() };
    for number in 0..MEMBERS {
        let mut writer = Replica::new(replica_id(number), Config::default());
        for key in (0..keys).filter(|key| *key as u64 % MEMBERS == number) {
            settle(&mut writer, commit(vec![put(key, &mut rng)]), crate::fill::NOON);
        }
        let held = Held::by(&writer);
        all.objects.extend(held.objects);
        all.vector.merge(&held.vector);
    }
    all.objects.sort_by(|(before, _), (after, _)| before.cmp(after));
    all
}

/// One exchange between two equal members, whatever it takes: a digest each way.
fn equal(held: &Held, keys: usize) -> Row {
    let mut mesh = Mesh::of(vec![held.recovered(0), held.recovered(1)]);
    mesh.connect();
    mesh.deliver(|_| false);
    mesh.pass(5_000);
    mesh.forget_counts();
    let seconds = 20;
    mesh.pass(seconds * 1_000);
    let turns = mesh.sent.values().map(|sent| sent.messages).sum::<u64>().max(1);
    let bytes = mesh.bytes() as f64 / turns as f64 * 2.0;
    Row::new(
        NAME,
        format!("two of 16 members compare equal states of {keys} keys, both ways"),
        Spread::exact(bytes),
        "B",
    )
    .goal(Goal::AtMost(200.0))
    .note(format!("in {seconds} s: {}", mesh.told()))
}

/// A member was away while another wrote a thousand commits.
fn missing(held: &Held, keys: usize) -> Vec<Row> {
    let mut ratios = Vec::new();
    let (mut rounds, mut told, mut until_equal) = (0.0_f64, String::new(), 0.0);
    for seed in 0..5 {
        let mut rng = Rng::new(100 + seed);
        let mut mesh = Mesh::of(vec![held.recovered(0), held.recovered(1)]);
        mesh.connect();
        mesh.run_until(agree);
        let (first, second) = (mesh.replicas[0].me(), mesh.replicas[1].me());
        mesh.give(0, Input::PeerDown(second.node), 0);
        mesh.give(1, Input::PeerDown(first.node), 0);
        mesh.pass(2_000);
        let before = mesh.replicas[1].seen().seq(&Stream::global(first));
        for _ in 0..MISSING {
            mesh.give(0, commit(vec![put(rng.index(keys), &mut rng)]), 0);
        }
        let floor = commits_bytes(&mesh.replicas[0], before) + codec::encode(mesh.replicas[1].seen()).len();
        mesh.forget_counts();
        mesh.give(0, Input::PeerUp(second.node), 0);
        mesh.give(1, Input::PeerUp(first.node), 0);
        mesh.run_until(agree);
        // From the question (the member that misses something says what it has) to the answer.
        let asked = mesh.kinds.get("Digest").copied().unwrap_or_default();
        rounds = f64::from(mesh.hops.saturating_sub(asked)) / 2.0;
        until_equal = mesh.bytes() as f64 / floor as f64;
        // What crossed on the wire counts too.
        mesh.pass(500);
        ratios.push(mesh.bytes() as f64 / floor as f64);
        told = mesh.told();
    }
    vec![
        Row::new(
            NAME,
            format!("{MISSING} commits missing of {keys} keys: bytes over commits + one vector"),
            Spread::of(&ratios),
            "x",
        )
        .goal(Goal::AtMost(1.10))
        .note(format!("until nothing more is said: {told}; {until_equal:.3}x had been sent when both were equal")),
        Row::new(
            NAME,
            format!("{MISSING} commits missing of {keys} keys: round trips after the digest"),
            Spread::exact(rounds),
            "",
        )
        .goal(Goal::AtMost(1.0)),
    ]
}

/// The size of our own commits after `seq`, as they travel.
fn commits_bytes(replica: &Replica, seq: u64) -> usize {
    let stream = Stream::global(replica.me());
    match replica.log().range(&stream, seq + 1, replica.seen().seq(&stream), usize::MAX) {
        Range::Batch { batch, .. } => batch.commits.iter().map(CommitBytes::len).sum(),
        _ => unreachable!("the log holds what was just written"),
    }
}
