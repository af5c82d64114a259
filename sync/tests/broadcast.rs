//! The broadcast tree, simulated: what it costs, how soon news is everywhere, and that it mends itself without anti-entropy.

#[path = "broadcast/mesh.rs"]
mod mesh;
#[path = "broadcast/rules.rs"]
mod rules;

use mesh::{Mesh, Network};
use selvedge_sync::limits::STRAIGHT_MEMBERS_MAX;

/// Members of the large meshes; fewer without optimisation.
const MANY: usize = if cfg!(debug_assertions) { 150 } else { 600 };

/// Long enough for everything that was asked for to come, and for what failed to be asked for again.
const SETTLE_MS: u64 = 5_000;

/// Lets time pass until everybody has everything; how many have not when it never happens.
fn settle(mesh: &mut Mesh) -> usize {
    for _ in 0..SETTLE_MS / mesh::TICK_MS {
        if mesh.behind().is_empty() {
            return 0;
        }
        mesh.run(mesh::TICK_MS);
    }
    mesh.behind().len()
}

/// Copies of a commit that a member received, on average.
fn copies(mesh: &Mesh) -> f64 {
    mesh.totals.copies as f64 / mesh.totals.applied as f64
}

/// What a run cost; times in mean delays of a link.
#[expect(clippy::print_stdout, reason = "the figures are for whoever reads the run")]
fn report(what: &str, count: usize, mesh: &Mesh, ms: u64) {
    let totals = &mesh.totals;
    let delay = (mesh.network.delay_ms.0 + mesh.network.delay_ms.1) as f64 / 2.0;
    let each = |number: u64| number as f64 / count as f64 / (ms as f64 / 1_000.0);
    let late = |permille| Mesh::quantile(&totals.latency_ms, permille) as f64 / delay;
    let hops = |permille| Mesh::quantile(&totals.hops, permille);
    let (_, links) = mesh.links(false);
    println!(
        "{what}: {count} members, {} applied, copies {:.3}, delays p50 {:.1} p99 {:.1} max {:.1}, hops p50 {} p99 {}, \
         per member and second: {:.1} announcements of {:.1} news, {:.2} grafts, {:.2} prunes; {:.1} links (max {})",
        totals.applied,
        copies(mesh),
        late(500),
        late(990),
        late(1_000),
        hops(500),
        hops(990),
        each(totals.announcements),
        totals.news as f64 / totals.announcements.max(1) as f64,
        each(totals.grafts),
        each(totals.prunes),
        links.iter().sum::<usize>() as f64 / links.len() as f64,
        links.iter().max().copied().unwrap_or(0),
    );
}

/// Several write at once while the network loses so many messages in a thousand.
fn under_loss(count: usize, loss_permille: u64, seed: u64) -> Mesh {
    let mut mesh = Mesh::new(count, seed, Network::losing(loss_permille));
    mesh.run(500);
    mesh.write_for(&[0, 1, count / 2, count - 1], 4, 20_000);
    assert_eq!(settle(&mut mesh), 0, "members that miss commits at {loss_permille} in a thousand lost");
    report(&format!("loss {loss_permille} in 1000, seed {seed}"), count, &mesh, mesh.now_ms);
    mesh
}

#[test]
fn up_to_32_members_get_each_commit_once_from_its_writer() {
    let mut mesh = Mesh::new(STRAIGHT_MEMBERS_MAX, 1, Network::losing(0));
    mesh.write_for(&[0, 5, 31], 10, 5_000);
    assert_eq!(settle(&mut mesh), 0);
    report("straight", STRAIGHT_MEMBERS_MAX, &mesh, mesh.now_ms);
    assert_eq!(mesh.totals.copies, mesh.totals.applied);
    assert_eq!((mesh.totals.announcements, mesh.totals.grafts, mesh.totals.prunes), (0, 0, 0));
    assert_eq!(Mesh::quantile(&mesh.totals.hops, 1_000), 1);
}

#[test]
fn one_member_more_and_the_writer_sends_to_its_neighbours_only() {
    let mut mesh = Mesh::new(STRAIGHT_MEMBERS_MAX + 1, 1, Network::losing(0));
    mesh.run(500);
    mesh.write_for(&[0], 10, 5_000);
    assert_eq!(settle(&mut mesh), 0);
    let (writer, _) = mesh.tree(0).neighbours();
    assert!(writer.len() < 12, "{} are pushed to", writer.len());
    assert!(Mesh::quantile(&mesh.totals.hops, 1_000) > 1);
    assert!(copies(&mesh) < 1.2, "{}", copies(&mesh));
}

#[test]
fn without_loss_the_links_become_a_tree() {
    let mut mesh = under_loss(MANY, 0, 1);
    let (connected, eager) = mesh.links(true);
    let ends: usize = eager.iter().sum();
    assert!(connected && ends == 2 * (MANY - 1), "{ends} ends of eager links among {MANY} members");
    let before = mesh.totals.clone();
    mesh.write_for(&[0, 1, MANY / 2, MANY - 1], 4, 5_000);
    assert_eq!(settle(&mut mesh), 0);
    // A grown tree brings every commit to everybody exactly once.
    assert_eq!(mesh.totals.copies - before.copies, mesh.totals.applied - before.applied);
    assert_eq!(mesh.totals.grafts, before.grafts);
}

#[test]
fn two_in_a_hundred_lost_cost_few_repeats_and_no_commit() {
    for seed in 1..=3 {
        let mesh = under_loss(MANY, 20, seed);
        assert!(copies(&mesh) <= 1.3, "{} copies", copies(&mesh));
        assert!(Mesh::quantile(&mesh.totals.latency_ms, 500) <= 10 * 20, "half take more than ten delays");
        assert!(Mesh::quantile(&mesh.totals.latency_ms, 990) <= 30 * 20, "one in a hundred takes more than thirty");
    }
}

#[test]
fn one_in_ten_lost_costs_more_repeats_and_no_commit() {
    let mesh = under_loss(MANY, 100, 1);
    assert!(copies(&mesh) <= 2.0, "{} copies", copies(&mesh));
}

#[test]
fn delays_that_vary_thirtyfold_cost_repeats_only() {
    let network = Network { loss_permille: 20, delay_ms: (5, 60), slow_permille: 20 };
    let mut mesh = Mesh::new(200, 4, network);
    mesh.run(1_000);
    mesh.write_for(&[3, 77, 140], 5, 20_000);
    assert_eq!(settle(&mut mesh), 0);
    report("delays vary", 200, &mesh, mesh.now_ms);
    assert!(copies(&mesh) <= 2.0, "{} copies", copies(&mesh));
}

#[test]
fn everybody_may_write() {
    let mut mesh = Mesh::new(200, 5, Network::losing(20));
    mesh.run(500);
    let writers: Vec<usize> = (0..200).collect();
    mesh.write_for(&writers, 1, 6_000);
    assert_eq!(settle(&mut mesh), 0);
    report("all write", 200, &mesh, mesh.now_ms);
    assert!(copies(&mesh) <= 1.75, "{} copies", copies(&mesh));
}

#[test]
fn members_crash_return_and_join_while_others_write() {
    let count = 200;
    let mut mesh = Mesh::new(count, 6, Network::losing(20));
    mesh.run(500);
    let writers = [0, 50, 199];
    for round in 0..8 {
        let gone: Vec<usize> = (0..10).map(|each| 1 + (round * 23 + each * 17) % 190).filter(|at| *at != 50).collect();
        gone.iter().for_each(|at| mesh.crash(*at));
        // Nobody knows yet: those below a silent member have to find another way.
        mesh.write_for(&writers, 5, 1_500);
        gone.iter().for_each(|at| mesh.notice(*at));
        mesh.write_for(&writers, 5, 1_500);
        mesh.join();
        gone.iter().for_each(|at| mesh.restart(*at));
        mesh.write_for(&writers, 5, 1_000);
    }
    assert_eq!(settle(&mut mesh), 0);
    report("crashes and joiners", count + 8, &mesh, mesh.now_ms);
    assert!(copies(&mesh) <= 2.0, "{} copies", copies(&mesh));
}

#[test]
fn halves_that_lost_each_other_bring_each_other_up_to_date() {
    let mut mesh = Mesh::new(200, 7, Network::losing(20));
    mesh.run(500);
    mesh.write_for(&[0, 199], 5, 3_000);
    mesh.cut(|at| u8::from(at >= 100));
    mesh.write_for(&[0, 199], 5, 1_000);
    mesh.notice_cut();
    mesh.write_for(&[0, 199], 5, 4_000);
    assert_eq!(mesh.behind().len(), 200, "both halves miss what the other wrote");
    mesh.cut(|_| 0);
    mesh.notice_all();
    // Nobody writes any more: that something is missing has to be told by whoever is a neighbour again.
    assert_eq!(settle(&mut mesh), 0);
    report("halves", 200, &mesh, mesh.now_ms);
}

#[test]
fn a_cut_that_nobody_noticed_is_mended_by_the_next_commit() {
    let mut mesh = Mesh::new(200, 8, Network::losing(20));
    mesh.run(500);
    mesh.write_for(&[0, 199], 5, 3_000);
    mesh.cut(|at| u8::from(at % 3 == 0));
    mesh.write_for(&[0, 199], 5, 2_000);
    mesh.cut(|_| 0);
    mesh.write_for(&[0, 199], 5, 2_000);
    assert_eq!(settle(&mut mesh), 0);
    report("a cut unnoticed", 200, &mesh, mesh.now_ms);
}

#[test]
fn members_that_count_differently_reach_each_other() {
    let mut mesh = Mesh::new(STRAIGHT_MEMBERS_MAX, 9, Network::losing(0));
    // Half of them write by the tree, the others straight.
    mesh.recount(|at| if at % 2 == 0 { STRAIGHT_MEMBERS_MAX } else { STRAIGHT_MEMBERS_MAX + 8 });
    mesh.run(500);
    mesh.write_for(&[0, 1, 2, 3], 5, 3_000);
    assert_eq!(settle(&mut mesh), 0);
    assert!(mesh.totals.hops[&1] > mesh.totals.applied / 2 && mesh.totals.hops.len() > 1, "{:?}", mesh.totals.hops);
    assert!(copies(&mesh) < 1.2, "{}", copies(&mesh));
}

#[test]
fn a_seed_means_the_same_run() {
    let run = |seed| {
        let mut mesh = Mesh::new(60, seed, Network::losing(50));
        mesh.write_for(&[0, 30], 10, 3_000);
        (mesh.trace, mesh.totals.clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn the_overlay_connects_everybody_and_stays_small_as_members_come_and_go() {
    for (count, seeds) in [(STRAIGHT_MEMBERS_MAX + 1, 40), (100, 30), (300, 5)] {
        for seed in 0..seeds {
            let mut mesh = Mesh::new(count, 1_000 + seed, Network::losing(0));
            mesh.run(200);
            let (connected, links) = mesh.links(false);
            assert!(connected, "{count} members, seed {seed}");
            assert!(links.iter().all(|links| (4..=20).contains(links)), "{links:?}");
            // Both ends of a link weigh it alike, so often both choose it.
            assert!(links.iter().sum::<usize>() < 7 * count, "{links:?}");
            // A fifth goes at once.
            let gone: Vec<usize> = (0..count / 5).map(|each| each * 5).collect();
            gone.iter().for_each(|at| mesh.crash(*at));
            gone.iter().for_each(|at| mesh.notice(*at));
            mesh.run(200);
            assert!(mesh.links(false).0, "{count} members without a fifth, seed {seed}");
            gone.iter().for_each(|at| mesh.restart(*at));
            (0..count / 10).for_each(|_| mesh.join());
            mesh.run(200);
            let (connected, links) = mesh.links(false);
            assert!(connected && links.iter().all(|links| (4..=20).contains(links)), "seed {seed}: {links:?}");
        }
    }
}
