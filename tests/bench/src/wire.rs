//! Bytes on the wire for each replicated update of 64 bytes.
//!
//! Two replicas in memory; players' fields are written in batches, own ones and ones that the other wrote last. A batch is
//! sent either as that many commits that became durable together, or as one commit that writes that many players. Counted
//! are the encoded messages that carry commits, and by themselves all the others until both agree.

use anyhow::Result;
use selvedge_sync::replica::{Input, Replica};
use selvedge_sync::sim::Rng;

use crate::fill::{VALUE_BYTES, commit, put, replica_id};
use crate::mesh::{Mesh, agree};
use crate::report::{Goal, Row};
use crate::sample::Spread;

const NAME: &str = "wire";
const PLAYERS: usize = 1_000;
const ROUNDS: usize = 40;

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in [16, 64, 256] {
        for contested in [false, true] {
            for shape in [Shape::Commits, Shape::Changes] {
                rows.push(measure(batch, contested, shape));
            }
        }
    }
    Ok(rows)
}

#[derive(Clone, Copy)]
enum Shape {
    /// As many commits, one update each, durable together.
    Commits,
    /// One commit with as many updates.
    Changes,
}

fn measure(batch: usize, contested: bool, shape: Shape) -> Row {
    let replicas = (0..2).map(|number| Replica::new(replica_id(number), selvedge_sync::replica::Config::default()));
    let mut mesh = Mesh::of(replicas.collect());
    let mut rng = Rng::new(7);
    mesh.connect();
    for player in 0..PLAYERS {
        mesh.give(usize::from(contested), commit(vec![put(player, &mut rng)]), 0);
    }
    mesh.run_until(agree);
    mesh.pass(2_000);
    let (mut carried, mut all) = (Vec::new(), Vec::new());
    // Contested players are written by the other in between, so that each update names a dot that it supersedes.
    for round in 0..ROUNDS {
        let players: Vec<usize> = (0..batch).map(|at| (round * batch + at) % PLAYERS).collect();
        if contested {
            mesh.give(1, commit(players.iter().map(|player| put(*player, &mut rng)).collect()), 0);
            mesh.run_until(agree);
            mesh.pass(2_000);
        }
        mesh.forget_counts();
        write(&mut mesh, &players, shape, &mut rng);
        mesh.run_until(agree);
        let payload = (batch * VALUE_BYTES) as f64;
        let commits = mesh.sent.get("Commits").map_or(0, |sent| sent.bytes);
        carried.push(commits as f64 / payload);
        mesh.pass(1_000);
        all.push(mesh.bytes() as f64 / payload);
    }
    let (whose, how) = (
        if contested { "contested" } else { "own" },
        match shape {
            Shape::Commits => "commits of 1",
            Shape::Changes => "updates in 1 commit",
        },
    );
    Row::new(NAME, format!("bytes per 64-byte update, {batch} {how}, {whose}"), Spread::of(&carried), "x")
        .goal(Goal::AtMost(2.0))
        .note(format!("{:.2}x with all digests and answers of the second after it", Spread::of(&all).median))
}

fn write(mesh: &mut Mesh, players: &[usize], shape: Shape, rng: &mut Rng) {
    let changes: Vec<_> = players.iter().map(|player| put(*player, rng)).collect();
    match shape {
        Shape::Commits => {
            let inputs: Vec<Input> = changes.into_iter().map(|change| commit(vec![change])).collect();
            let tokens = inputs.into_iter().flat_map(|input| mesh.give_without_disk(0, input, 0)).collect::<Vec<_>>();
            // A group commit reports its last token for all.
            mesh.persisted(0, tokens.last().copied().into_iter().collect(), 0);
        }
        Shape::Changes => mesh.give(0, commit(changes), 0),
    }
}
