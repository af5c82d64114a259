use foca::{Header, Member, Message, State};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::sim::{Sim, node};
use super::swim::Life;
use super::wire::{Packet, Unread};
use super::*;

fn life(at: usize, life: u64, round: u32) -> Life {
    Life { node: node(at), life, round }
}

fn samples() -> Vec<Packet> {
    let other = life(3, 30, 3);
    let messages = [
        Message::Ping(1),
        Message::Ack(2),
        Message::PingReq { target: other, probe_number: 3 },
        Message::IndirectPing { origin: other, probe_number: 4 },
        Message::IndirectAck { target: other, probe_number: 5 },
        Message::ForwardedAck { origin: other, probe_number: 6 },
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::TurnUndead,
    ];
    let packet = |message| {
        let carries = !matches!(message, Message::Announce | Message::TurnUndead);
        let claims = [State::Alive, State::Suspect, State::Down].map(|state| Member::new(other, 7, state));
        let header = Header { src: life(1, 10, 1), src_incarnation: 9, dst: life(2, 20, 2), message };
        Packet { header, claims: carries.then(|| claims.to_vec()) }
    };
    messages.into_iter().map(packet).collect()
}

#[test]
fn messages_come_back_as_they_were_and_every_cut_is_an_error() {
    for packet in samples() {
        let bytes = Packet::body(&packet.whole()).expect("has a body");
        assert_eq!(Packet::read(node(1), node(2), &bytes), Ok(packet.clone()));
        for end in 0..bytes.len() {
            assert!(Packet::read(node(1), node(2), &bytes[..end]).is_err(), "cut at {end}: {packet:?}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Packet::read(node(1), node(2), &longer).is_err(), "{packet:?}");
        let versioned = [&[2], &bytes[1..]].concat();
        assert_eq!(Packet::read(node(1), node(2), &versioned), Err(Unread::Version(2)));
    }
    assert_eq!(Packet::read(node(1), node(2), &[1; 5_000]), Err(Unread::TooLong(5_000)));
}

#[test]
fn no_bytes_do_harm() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut detector = Detector::new(node(2), 20, 1, 0);
    detector.attest(node(3), 30, 3);
    for round in 0..20_000 {
        let sample = &samples()[round % 10];
        let mut bytes = Packet::body(&sample.whole()).expect("has a body");
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        // Read or not: it must not panic.
        let _whatever = detector.hear(node(1), &bytes, round as u64);
        detector.tick(round as u64);
        drop(detector.take_outgoing());
    }
    assert!(detector.timers.len() < 20_000 && detector.standings().count() <= 2);
}

/// What `from` says of others.
fn gossip(from: Life, to: Life, claims: Vec<Member<Life>>) -> Vec<u8> {
    let header = Header { src: from, src_incarnation: 0, dst: to, message: Message::Gossip };
    Packet::body(&Packet { header, claims: Some(claims) }.whole()).expect("has a body")
}

/// Two knows of One and Three, who have both spoken to it.
fn two() -> Detector {
    let mut two = Detector::new(node(2), 20, 1, 0);
    for at in [1, 3] {
        two.hear(node(at), &gossip(life(at, 10, 0), life(2, 20, 0), Vec::new()), 0).expect("is read");
    }
    two
}

fn standing(detector: &Detector, at: usize) -> Option<Standing> {
    detector.standings().find(|(seen, _)| *seen == node(at)).map(|(_, standing)| standing)
}

#[test]
fn nobody_is_lost_on_one_word() {
    let mut two = two();
    let me = life(2, 20, 0);
    let slander = gossip(life(1, 10, 0), me, vec![Member::new(life(3, 10, 0), 0, State::Down)]);
    two.hear(node(1), &slander, 10).expect("is read");
    assert_eq!(standing(&two, 3), Some(Standing::Suspect));
    // It answers, and the old word counts no more.
    let answer = Header { src: life(3, 10, 0), src_incarnation: 1, dst: me, message: Message::Gossip };
    let answer = Packet { header: answer, claims: Some(Vec::new()) };
    two.hear(node(3), &Packet::body(&answer.whole()).expect("a body"), 20).expect("is read");
    assert_eq!(standing(&two, 3), Some(Standing::Alive));
    two.hear(node(1), &slander, 30).expect("is read");
    assert_eq!(standing(&two, 3), Some(Standing::Alive));
    // Of itself it is believed.
    let farewell = gossip(life(3, 10, 0), me, vec![Member::new(life(3, 10, 0), 1, State::Down)]);
    two.hear(node(3), &farewell, 40).expect("is read");
    assert_eq!(standing(&two, 3), Some(Standing::Lost));
}

#[test]
fn who_is_accused_and_does_not_answer_is_lost_after_its_time() {
    let mut two = two();
    let slander = gossip(life(1, 10, 0), life(2, 20, 0), vec![Member::new(life(3, 10, 0), 0, State::Down)]);
    two.hear(node(1), &slander, 10).expect("is read");
    let mut lost_at = None;
    for now_ms in (100..6_000).step_by(100) {
        two.tick(now_ms);
        lost_at = lost_at.or_else(|| (standing(&two, 3) == Some(Standing::Lost)).then_some(now_ms));
    }
    assert!(lost_at.is_some_and(|at| (3_000..3_500).contains(&at)), "{lost_at:?}");
}

#[test]
fn nobody_makes_others_newer_than_they_said_themselves() {
    let mut two = two();
    let me = life(2, 20, 0);
    for ahead in [life(3, 10, 5), life(3, u64::MAX, 0), life(4, 1, 0)] {
        two.hear(node(1), &gossip(life(1, 10, 0), me, vec![Member::alive(ahead)]), 10).expect("is read");
    }
    assert_eq!(standing(&two, 4), None, "nobody has heard of it by its own word");
    // Three still counts as it says itself that it is.
    let leaves = gossip(life(3, 10, 0), me, vec![Member::down(life(3, 10, 0))]);
    two.hear(node(3), &leaves, 20).expect("is read");
    assert_eq!(standing(&two, 3), Some(Standing::Lost));
    // What was held counts once its member has said the same.
    two.attest(node(4), 1, 0);
    assert_eq!(standing(&two, 4), Some(Standing::Alive));
    // A later life of who was lost is heard of by its record.
    two.attest(node(3), 11, 0);
    assert_eq!(standing(&two, 3), Some(Standing::Alive));
}

#[test]
fn being_told_that_one_is_lost_again_and_again_costs_little() {
    let mut two = two();
    for now_ms in 0..5_000 {
        let me = life(2, 20, two.round());
        two.hear(node(1), &gossip(life(1, 10, 0), me, vec![Member::down(me)]), now_ms).expect("is read");
        if now_ms % 100 == 0 {
            two.tick(now_ms);
        }
    }
    assert!((1..=6).contains(&two.round()), "{}", two.round());
    assert!(two.counters().renewals_refused > 4_000);
    let sent = two.take_outgoing().len();
    assert!(sent < 100, "{sent} messages");
}

const RECENT: Duration = Duration::from_secs(60);

#[test]
fn two_hosts_with_one_key_are_found_and_a_restart_is_not() {
    let mut two = two();
    let me = life(2, 20, 0);
    let mut speaks = |lives: u64, now_ms| two.hear(node(3), &gossip(life(3, lives, 0), me, Vec::new()), now_ms);
    speaks(11, 1_000).expect("is read");
    speaks(10, 3_000).expect("is read");
    assert_eq!(two.twins(3_000, RECENT).len(), 0, "the rest of a process that has ended");
    let mut speaks = |lives: u64, now_ms| two.hear(node(3), &gossip(life(3, lives, 0), me, Vec::new()), now_ms);
    speaks(10, 7_000).expect("is read");
    assert_eq!(two.twins(8_000, RECENT), [node(3)].into());
    assert_eq!(two.twins(8_000_000, RECENT).len(), 0, "long ago");
}

/// A mesh that has settled.
fn settled(hosts: usize, seed: u64) -> Sim {
    let mut sim = Sim::new(hosts, seed);
    let all: Vec<usize> = (0..hosts).collect();
    let took = sim.until(60_000, |sim| sim.all_alive(&all));
    assert!(took.is_some(), "seed {seed}: {hosts} hosts do not find each other");
    sim
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// Kills a host; how long until the others agree, in milliseconds.
fn detection(hosts: usize, seed: u64) -> Vec<u64> {
    let mut sim = settled(hosts, seed);
    let (victim, died_ms) = (hosts / 2, sim.now_ms);
    sim.hosts[victim].dead = true;
    let all_know = |sim: &Sim| (0..hosts).filter(|at| *at != victim).all(|at| sim.lost.contains_key(&(at, victim)));
    assert!(sim.until(30_000, all_know).is_some(), "seed {seed}: somebody does not know");
    let wrongly: Vec<_> = sim.lost.keys().filter(|(_, about)| *about != victim).collect();
    assert!(wrongly.is_empty(), "seed {seed}: {wrongly:?}");
    sim.lost.values().map(|at| at - died_ms).collect()
}

#[test]
fn a_failure_is_found_as_fast_among_many() {
    let of = |hosts, seeds: std::ops::Range<u64>| median(seeds.flat_map(|seed| detection(hosts, seed)).collect());
    let (few, many) = (of(16, 0..20), of(128, 0..2));
    println!("detected everywhere, median: {few} ms among 16, {many} ms among 128");
    assert!((5_000..8_000).contains(&few), "{few} ms");
    assert!(many < few + 3_000, "{many} ms among 128, {few} ms among 16");
}

#[test]
#[ignore = "takes a minute: cargo test --release -p selvedge --lib detector -- --ignored"]
fn six_hundred_find_a_failure_as_fast() {
    let took = median(detection(600, 1));
    println!("detected everywhere, median: {took} ms among 600");
    assert!(took < 10_000, "{took} ms");
}

#[test]
fn messages_of_a_member_do_not_depend_on_how_many_there_are() {
    let rate = |hosts| {
        let mut sim = settled(hosts, 1);
        sim.run(30_000);
        sim.hosts.iter_mut().for_each(|host| (host.sent, host.sent_bytes) = (0, 0));
        sim.run(20_000);
        let sum = |of: fn(&sim::Host) -> u64| sim.hosts.iter().map(of).sum::<u64>() as f64;
        let per = hosts as f64 * 20.0;
        (sum(|host| host.sent) / per, sum(|host| host.sent_bytes) / per)
    };
    let (few, many) = (rate(16), rate(128));
    println!("messages and bytes per member and second: {few:?} among 16, {many:?} among 128");
    assert!(few.0 < 3.0 && many.0 < 3.0, "{few:?}, {many:?}");
    assert!(many.1 < few.1 * 3.0, "{few:?}, {many:?}");
}

#[test]
fn a_host_that_has_nothing_to_look_at_is_woken_for_its_probes_alone() {
    let mut sim = settled(16, 1);
    sim.run(60_000);
    sim.hosts.iter_mut().for_each(|host| host.ticks = 0);
    sim.run(60_000);
    let ticks: Vec<u64> = sim.hosts.iter().map(|host| host.ticks / 60).collect();
    assert!(ticks.iter().all(|ticks| (1..=3).contains(ticks)), "a second: {ticks:?}");
}

#[test]
fn while_a_tenth_stands_still_for_twenty_seconds_nobody_else_is_called_lost() {
    for seed in 0..8 {
        let mut sim = settled(16, seed);
        sim.loss = 10;
        let stalled = [3, 11];
        stalled.iter().for_each(|host| sim.stall(*host, 20_000));
        sim.run(20_000);
        let wrongly: Vec<_> = sim.lost.iter().filter(|((_, about), _)| !stalled.contains(about)).collect();
        assert!(wrongly.is_empty(), "seed {seed}: {wrongly:?}");
        assert!(sim.lost.keys().any(|(_, about)| *about == 3), "seed {seed}: it was not even missed");
        let all: Vec<usize> = (0..16).collect();
        let back = sim.until(10_000, |sim| sim.all_alive(&all));
        assert!(back.is_some_and(|ms| ms <= 2_500), "seed {seed}: back after {back:?} ms");
        sim.run(20_000);
        let wrongly: Vec<_> = sim.lost.iter().filter(|((_, about), _)| !stalled.contains(about)).collect();
        assert!(wrongly.is_empty(), "seed {seed}, afterwards: {wrongly:?}");
    }
}

#[test]
fn loss_and_one_way_cuts_make_nobody_lost() {
    for seed in 0..5 {
        let mut sim = settled(16, seed);
        sim.loss = 50;
        // Neither hears the other directly in one direction; anybody else can ask.
        sim.cuts.extend([(1, 2), (4, 3), (9, 2)]);
        sim.run(120_000);
        assert!(sim.lost.is_empty(), "seed {seed}: {:?}", sim.lost);
    }
}

#[test]
fn halves_lose_each_other_and_find_each_other_again() {
    for seed in 0..3 {
        let mut sim = settled(16, seed);
        let cuts = (0..8).flat_map(|a| (8..16).flat_map(move |b| [(a, b), (b, a)]));
        sim.cuts = cuts.collect();
        let apart = |sim: &Sim| (0..8).all(|a| (8..16).all(|b| sim.sees(a, b) == Some(Standing::Lost)));
        assert!(sim.until(120_000, apart).is_some(), "seed {seed}: never apart");
        assert!(sim.lost.keys().all(|(at, about)| (*at < 8) != (*about < 8)), "seed {seed}: {:?}", sim.lost);
        sim.cuts.clear();
        // Nothing tells them but their own looking for who is lost.
        let all: Vec<usize> = (0..16).collect();
        let healed = sim.until(60_000, |sim| sim.all_alive(&all));
        println!("seed {seed}: together after {healed:?} ms");
        assert!(healed.is_some(), "seed {seed}: never together");
    }
}

#[test]
fn who_leaves_is_gone_at_once_and_says_nothing_more() {
    let mut sim = settled(16, 1);
    let now_ms = sim.now_ms;
    sim.hosts[5].detector.leave(now_ms);
    let gone = sim.until(10_000, |sim| (0..16).all(|at| at == 5 || sim.sees(at, 5) == Some(Standing::Lost)));
    assert!(gone.is_some_and(|ms| ms <= 5_000), "{gone:?}");
}
