use super::*;
use crate::catalogue::Catalogue;
use crate::learn::{Move, NEIGHBOURS_MAX, ZONES_MAX, observe};
use crate::ledger::Memory;

fn digest(number: usize) -> String {
    format!("blake3:{number:064x}")
}

/// Each zone's asset is `digest(its position)`, of 1,000 bytes unless told otherwise.
fn catalogue(zones: &[&str], more: &[(&str, &str)]) -> Catalogue {
    let table: String = zones.iter().enumerate().map(|(i, zone)| format!("{} 1000 {zone}\n", digest(i))).collect();
    let get = |name: &str| match name {
        "assets" => Some(table.clone()),
        name => more.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned()),
    };
    let (catalogue, complaints) = Catalogue::read(get);
    assert!(complaints.is_empty(), "{complaints:?}");
    catalogue
}

fn walk(memory: &mut Memory, player: u64, zones: &[&str]) {
    let moves: Vec<_> = zones.windows(2).map(|pair| Move { player, from: pair[0], to: pair[1] }).collect();
    let mut ledger = Ledger::new(&*memory);
    observe(&mut ledger, &moves).unwrap();
    let writes = ledger.into_writes();
    memory.apply(writes);
}

fn zones(memory: &Memory, catalogue: &Catalogue, zone: &str, recent: &[&str]) -> Vec<String> {
    let recent: Vec<String> = recent.iter().map(ToString::to_string).collect();
    let position = Position { zone, recent: &recent };
    let planned = plan(&mut Ledger::new(memory), catalogue, &position, &mut |_| None);
    planned.into_iter().map(|planned| planned.zone).collect()
}

/// A crossing where it depends on where one came from: west goes on east, north goes on south.
fn crossing() -> Memory {
    let mut memory = Memory::default();
    for player in 0..40 {
        walk(&mut memory, player, &["west", "crossing", "east"]);
        walk(&mut memory, 100 + player, &["north", "crossing", "south"]);
        walk(&mut memory, 200 + player, &["north", "crossing", "south"]);
    }
    memory
}

#[test]
fn where_a_player_came_from_decides_and_without_it_the_most_frequent_comes_first() {
    let (memory, catalogue) = (crossing(), catalogue(&["west", "crossing", "east", "north", "south"], &[]));
    assert_eq!(zones(&memory, &catalogue, "crossing", &["west"])[0], "east");
    assert_eq!(zones(&memory, &catalogue, "crossing", &["north"])[0], "south");
    assert_eq!(zones(&memory, &catalogue, "crossing", &[])[0], "south");
    assert_eq!(zones(&memory, &catalogue, "crossing", &["harbour"])[0], "south", "an unknown past says nothing");
    assert!(zones(&memory, &catalogue, "harbour", &["west"]).is_empty(), "nothing is known of this zone");
}

#[test]
fn a_past_that_is_the_other_way_round_or_ends_here_is_understood() {
    let (memory, catalogue) = (crossing(), catalogue(&["west", "crossing", "east", "north", "south"], &[]));
    for recent in
        [&["south", "west"][..], &["east", "west", "crossing"], &["crossing", "west", "south"], &["west", "east"]]
    {
        assert_eq!(zones(&memory, &catalogue, "crossing", recent)[0], "east", "{recent:?}");
    }
}

#[test]
fn probabilities_of_shared_assets_add_up_and_what_is_here_is_not_planned() {
    let mut memory = Memory::default();
    for (player, to) in ["a", "b", "c", "c", "c"].iter().enumerate() {
        walk(&mut memory, player as u64, &["plaza", to]);
    }
    let table = format!("{0} 1 a\n{0} 1 b\n{1} 1 c\n{1} 1 plaza\n{2} 1 c\n", digest(0), digest(1), digest(2));
    let (catalogue, _) = Catalogue::read(|name| (name == "assets").then(|| table.clone()));
    let position = Position { zone: "plaza", recent: &[] };
    let planned = plan(&mut Ledger::new(&memory), &catalogue, &position, &mut |_| None);
    let told: Vec<_> = planned.iter().map(|planned| (planned.asset, planned.zone.as_str())).collect();
    assert_eq!(told, [(2, "c"), (0, "a")], "the one of the plaza is loaded already");
    let sum: f64 = planned.iter().map(|planned| planned.probability).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{planned:?}");
    assert!(planned[0].probability > 0.55 && planned[1].probability > 0.35, "{planned:?}");
}

#[test]
fn large_assets_give_way_to_small_ones_and_the_budget_holds() {
    let mut memory = Memory::default();
    for (player, to) in ["large", "large", "small", "small", "small", "tiny"].iter().enumerate() {
        walk(&mut memory, player as u64, &["plaza", to]);
    }
    let table = format!("{} 9000000 large\n{} 1000000 small\n{} - tiny\n", digest(0), digest(1), digest(2));
    let planned = |budget: &str| {
        let (catalogue, _) = Catalogue::read(|name| match name {
            "assets" => Some(table.clone()),
            "budget-bytes" => Some(budget.to_owned()),
            _ => None,
        });
        let position = Position { zone: "plaza", recent: &[] };
        let mut size_of = |digest_wanted: &str| (digest_wanted == digest(2)).then_some(1_000);
        let planned = plan(&mut Ledger::new(&memory), &catalogue, &position, &mut size_of);
        planned.into_iter().map(|planned| planned.zone).collect::<Vec<_>>()
    };
    assert_eq!(planned("20000000"), ["small", "large", "tiny"], "all fit: the likeliest first");
    assert_eq!(planned("9500000"), ["small", "tiny"]);
    assert_eq!(planned("1000"), ["tiny"]);
    assert!(planned("999").is_empty());
}

#[test]
fn many_moves_in_one_call_teach_the_same_as_one_call_each() {
    let path = ["a", "b", "c", "a", "b", "d", "a", "b", "c", "a", "c", "b", "a", "d", "c", "a", "b", "c"];
    let (mut at_once, mut one_by_one) = (Memory::default(), Memory::default());
    walk(&mut at_once, 7, &path);
    for pair in path.windows(2) {
        walk(&mut one_by_one, 7, pair);
    }
    assert_eq!(at_once, one_by_one);
    assert!(at_once.counter("preload:loss:8").is_some_and(|cost| cost > 0));
    assert_eq!(at_once.counter("preload:turn:1,1:a>b>c"), Some(3));
}

#[test]
fn a_move_that_does_not_follow_the_last_has_no_past() {
    let mut memory = Memory::default();
    walk(&mut memory, 1, &["a", "b"]);
    walk(&mut memory, 1, &["c", "d"]);
    walk(&mut memory, 2, &["b", "e"]);
    assert_eq!(memory.counter(names::TURNS), None);
    walk(&mut memory, 2, &["e", "e"]);
    walk(&mut memory, 2, &["e", "f"]);
    assert_eq!(memory.counter(names::TURNS), Some(1), "staying is no move");
}

#[test]
fn where_the_past_says_nothing_the_model_stops_listening_to_it() {
    // Two ways in, two ways out, drawn without regard to each other: few of each pair, so order 2 only sees noise.
    let mut memory = Memory::default();
    let (mut seed, ways) = (1_u64, 30);
    for player in 0..600 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (into, out) = ((seed >> 33) % ways, (seed >> 50) % 8);
        walk(&mut memory, player, &[&format!("in{}", into % 20), "hub", &format!("out{out}")]);
    }
    let cost = |name: &str| memory.counter(&names::loss(name)).unwrap();
    assert!(
        cost("32") < cost("0.5") && cost("order-1") < cost("0.5"),
        "{} {} {}",
        cost("32"),
        cost("order-1"),
        cost("0.5")
    );
}

#[test]
fn neighbours_and_zones_are_bounded_and_what_is_dropped_is_counted() {
    let mut memory = Memory::default();
    for number in 0..NEIGHBOURS_MAX + 5 {
        walk(&mut memory, number as u64, &["hub", &format!("out{number}")]);
    }
    assert_eq!(memory.members(&names::near("hub")).len(), NEIGHBOURS_MAX);
    assert_eq!(memory.counter(names::DROPPED), Some(5));
    for number in 0..ZONES_MAX {
        walk(&mut memory, number, &[&format!("from{number}"), &format!("to{number}")]);
    }
    assert!(memory.counter(names::ZONES).unwrap() <= ZONES_MAX);
    let objects = memory.objects();
    walk(&mut memory, 1, &["elsewhere", "nowhere"]);
    assert_eq!(memory.objects(), objects);
    walk(&mut memory, 1, &["hub", "out1"]);
    assert_eq!(memory.counter(&names::moved("hub", "out1")), Some(2), "what is known is still counted");
}

#[test]
fn faults_name_their_field() {
    let memory = Memory::default();
    let long = "x".repeat(names::ZONE_BYTES_MAX + 1);
    let observe = |moves: &[Move<'_>]| observe(&mut Ledger::new(&memory), moves).unwrap_err().field;
    let good = Move { player: 1, from: "a", to: "b" };
    assert_eq!(observe(&[good, Move { from: "", ..good }]), "moves[1].from_zone");
    assert_eq!(observe(&[Move { to: &long, ..good }]), "moves[0].to_zone");
    assert_eq!(observe(&vec![good; 1_025]), "moves");
    let recent = ["a".to_owned(), "b\n".to_owned()];
    let check = |zone: &str, recent: &[String]| check(2, &Position { zone, recent }).unwrap_err().field;
    assert_eq!(check("", &[]), "players[2].zone");
    assert_eq!(check("a", &recent), "players[2].recent[1]");
    assert_eq!(check("a", &vec!["a".to_owned(); 65]), "players[2].recent");
}
