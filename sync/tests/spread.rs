//! Whole replicas over a network that loses messages: everybody gets everything, by the broadcast tree where there are many, and
//! few copies of it. `tests/broadcast.rs` shows the same of the tree alone, among more members.

#[path = "spread/mesh.rs"]
mod mesh;
#[path = "spread/rules.rs"]
mod rules;

use mesh::Mesh;
use selvedge_sync::limits::STRAIGHT_MEMBERS_MAX;

/// Members of the largest mesh; fewer without optimisation.
const MANY: usize = if cfg!(debug_assertions) { 80 } else { 200 };

/// How soon everything has to be everywhere after the last write, in milliseconds.
const SETTLE_MS: u64 = 10_000;

/// So many members write for a while, until all have everything; says what it cost.
fn run(members: usize, loss_permille: u64, writers: &[usize], write_ms: u64) -> Mesh {
    let mut mesh = Mesh::new(members, loss_permille);
    mesh.run(1_000);
    mesh.write_for(writers, 250, write_ms);
    let wrote_ms = mesh.now_ms;
    while !mesh.is_converged() {
        assert!(mesh.now_ms < wrote_ms + SETTLE_MS, "{} of {members} members miss something", mesh.behind());
        mesh.run(50);
    }
    mesh.report(&format!("{members} members, {loss_permille} in 1000 lost"), mesh.now_ms - wrote_ms);
    mesh
}

#[test]
fn up_to_32_members_get_each_commit_once_and_nobody_passes_it_on() {
    let mesh = run(STRAIGHT_MEMBERS_MAX, 0, &[0, 7, 31], 5_000);
    assert!(mesh.copies() <= 1.05, "{} copies", mesh.copies());
    assert_eq!((mesh.relayed, mesh.count("announcements"), mesh.count("grafts")), (0, 0, 0));
}

#[test]
fn sixty_four_members_with_loss_get_everything_by_the_tree() {
    let mesh = run(64, 20, &[0, 20, 40, 63], 10_000);
    assert!(mesh.copies() <= 2.0, "{} copies", mesh.copies());
    assert!(mesh.relayed > 0, "nobody passes anything on");
}

#[test]
fn two_hundred_members_with_loss_get_everything_by_the_tree() {
    let mesh = run(MANY, 20, &[0, MANY / 3, MANY - 1], 8_000);
    assert!(mesh.copies() <= 2.0, "{} copies", mesh.copies());
    assert!(mesh.relayed > 0, "nobody passes anything on");
}
