//! What one tree does with one event: each rule by itself.

use std::collections::BTreeSet;

use selvedge_sync::broadcast::{Action, Event, News, Tree, Want};
use selvedge_sync::causal::VersionVector;
use selvedge_sync::limits::{
    GIVEN_COMMITS_MAX, GRAFT_PATIENCE_MS, GRAFTS_MAX, LOST_PATIENCE_MS, NEIGHBOURS_MAX, NEWS_PER_ANNOUNCE, SHORTCUT_MS,
    STRAIGHT_MEMBERS_MAX, WANTED_COMMITS_MAX, WANTED_PER_NEIGHBOUR,
};
use selvedge_sync::time::Time;

use super::mesh::{node, stream};

fn at(mono_ms: u64) -> Time {
    Time { wall_ms: 1_800_000_000_000, mono_ms }
}

/// A tree with 40 peers, after it has chosen its neighbours.
fn alone() -> (Tree, VersionVector) {
    let (mut tree, seen) = (Tree::new(node(0), 1, STRAIGHT_MEMBERS_MAX), VersionVector::default());
    (1..=40).for_each(|peer| assert!(tree.handle(Event::PeerUp(node(peer)), &seen, at(0)).is_empty()));
    let chosen = tree.handle(Event::Tick, &seen, at(0));
    assert!(chosen.len() >= 4 && chosen.iter().all(|action| matches!(action, Action::Link { up: true, .. })));
    (tree, seen)
}

#[test]
fn what_a_neighbour_of_the_tree_lost_on_the_way_is_asked_from_it_first() {
    let (mut tree, mut seen) = alone();
    let (_, links) = tree.neighbours();
    let (lazy, eager) = (links[0], links[1]);
    assert!(tree.handle(Event::Pruned { from: lazy }, &seen, at(0)).is_empty());
    seen.advance(stream(30), 7);
    let news = vec![News { stream: stream(30), through: 9, hops: 2 }];
    tree.handle(Event::Announced { from: lazy, news: news.clone() }, &seen, at(100));
    tree.handle(Event::Announced { from: eager, news }, &seen, at(110));
    assert!(tree.handle(Event::Tick, &seen, at(120)).is_empty(), "it may still be on its way");
    let want = Want { stream: stream(30), after: 7, through: 9 };
    let graft = |to| vec![Action::Graft { to, wants: vec![want] }];
    assert_eq!(tree.handle(Event::Tick, &seen, at(150)), graft(eager));
    assert!(!tree.neighbours().0.contains(&lazy));
    assert!(tree.handle(Event::Tick, &seen, at(200)).is_empty(), "the answer may still be on its way");
    assert_eq!(tree.handle(Event::Tick, &seen, at(500)), graft(lazy));
    assert!(tree.neighbours().0.contains(&lazy), "the link has become one of the tree");
    seen.advance(stream(30), 9);
    assert!(tree.handle(Event::Tick, &seen, at(2_000)).is_empty());
    assert_eq!(tree.waiting().1, 0);
}

#[test]
fn what_is_announced_while_something_is_missing_has_its_own_time() {
    let (mut tree, mut seen) = alone();
    let from = tree.neighbours().1[0];
    let news = |through| Event::Announced { from, news: vec![News { stream: stream(30), through, hops: 2 }] };
    tree.handle(news(5), &seen, at(100));
    tree.handle(news(6), &seen, at(100 + LOST_PATIENCE_MS / 2));
    seen.advance(stream(30), 5);
    assert!(
        tree.handle(Event::Tick, &seen, at(100 + LOST_PATIENCE_MS)).is_empty(),
        "what was announced first has come"
    );
    let want = Want { stream: stream(30), after: 5, through: 6 };
    let graft = vec![Action::Graft { to: from, wants: vec![want] }];
    assert_eq!(tree.handle(Event::Tick, &seen, at(100 + LOST_PATIENCE_MS * 3 / 2)), graft);
}

#[test]
fn nobody_is_sent_what_it_said_that_it_has() {
    let (mut tree, mut seen) = alone();
    let (_, links) = tree.neighbours();
    let news = vec![News { stream: stream(30), through: 2, hops: 2 }];
    tree.handle(Event::Announced { from: links[1], news }, &seen, at(100));
    let mut told = |seq: u64| {
        seen.advance(stream(30), seq);
        let fresh = Event::Fresh { from: links[0], stream: stream(30), first: seq, through: seq, hops: Some(3) };
        let mut out = tree.handle(fresh, &seen, at(110 * seq));
        out.extend(tree.handle(Event::Tick, &seen, at(110 * seq)));
        let to = |action: &Action| match action {
            Action::Push { to, .. } | Action::Announce { to, .. } => *to,
            other => panic!("{other:?}"),
        };
        out.iter().map(to).collect::<Vec<_>>()
    };
    assert!(!told(2).contains(&links[1]));
    let next = told(3);
    assert_eq!(next.iter().filter(|to| **to == links[1]).count(), 2, "pushed to and announced to: {next:?}");
    assert!(!next.contains(&links[0]));
}

#[test]
fn more_news_than_fits_is_told_in_turns() {
    let (mut tree, mut seen) = alone();
    let from = tree.neighbours().1[0];
    let write = |tree: &mut Tree, seen: &mut VersionVector, now, seq| {
        for writer in 100..100 + 2 * NEWS_PER_ANNOUNCE {
            seen.advance(stream(writer), seq);
            let fresh = Event::Fresh { from, stream: stream(writer), first: seq, through: seq, hops: Some(2) };
            tree.handle(fresh, seen, at(now));
        }
    };
    let mut told = BTreeSet::new();
    for round in 1..=3 {
        // Each round everybody has written again before the rest was told.
        write(&mut tree, &mut seen, round * 200, round);
        for action in tree.handle(Event::Tick, &seen, at(round * 200)) {
            let Action::Announce { news, .. } = action else { panic!("{action:?}") };
            assert!(news.len() <= NEWS_PER_ANNOUNCE && news.is_sorted_by_key(|news| news.stream));
            told.extend(news.iter().map(|news| news.stream));
        }
    }
    assert_eq!(told.len(), 2 * NEWS_PER_ANNOUNCE);
}

#[test]
fn a_choice_that_was_never_heard_of_is_told_again() {
    let (mut tree, seen) = alone();
    let (_, links) = tree.neighbours();
    let stranger = (1..=40).map(node).find(|peer| !links.contains(peer)).expect("not all are neighbours");
    let push = Event::Duplicate { from: stranger, stream: stream(30), through: 0, hops: Some(2) };
    assert_eq!(tree.handle(push, &seen, at(50)), vec![Action::Link { to: stranger, up: false }]);
    // The same from the other side: whoever chose says so again, whoever did not forgets the link.
    let told = |tree: &mut Tree, from| tree.handle(Event::Linked { from, up: false }, &seen, at(60));
    assert_eq!(told(&mut tree, links[0]), vec![Action::Link { to: links[0], up: true }]);
    assert!(tree.handle(Event::Linked { from: stranger, up: true }, &seen, at(70)).is_empty());
    assert!(tree.neighbours().1.contains(&stranger));
    assert!(told(&mut tree, stranger).is_empty());
    assert!(!tree.neighbours().1.contains(&stranger));
}

#[test]
fn a_link_outside_the_tree_waits_until_the_tree_has_had_its_time() {
    let (mut tree, seen) = alone();
    let (_, links) = tree.neighbours();
    tree.handle(Event::Pruned { from: links[0] }, &seen, at(0));
    let news = vec![News { stream: stream(30), through: 1, hops: 2 }];
    tree.handle(Event::Announced { from: links[0], news }, &seen, at(100));
    assert!(tree.handle(Event::Tick, &seen, at(99 + GRAFT_PATIENCE_MS)).is_empty());
    assert_eq!(tree.handle(Event::Tick, &seen, at(100 + GRAFT_PATIENCE_MS)).len(), 1);
}

#[test]
fn what_came_too_early_is_not_asked_for_again_unless_it_was_dropped() {
    let (mut tree, mut seen) = alone();
    let from = tree.neighbours().1[0];
    seen.advance(stream(30), 3);
    tree.handle(Event::Early { from, stream: stream(30), first: 6, through: 6, hops: Some(2) }, &seen, at(100));
    let news = vec![News { stream: stream(30), through: 8, hops: 2 }];
    tree.handle(Event::Announced { from, news }, &seen, at(110));
    let want = |through| vec![Action::Graft { to: from, wants: vec![Want { stream: stream(30), after: 3, through }] }];
    assert_eq!(tree.handle(Event::Tick, &seen, at(150)), want(5));
    assert_eq!(tree.handle(Event::Tick, &seen, at(500)), want(8));
}

#[test]
fn repeats_prune_by_the_voice_of_one_stream_alone() {
    let (mut tree, mut seen) = alone();
    let (_, links) = tree.neighbours();
    for (writer, from) in [(20, links[0]), (30, links[1])] {
        seen.advance(stream(writer), 1);
        let fresh = Event::Fresh { from, stream: stream(writer), first: 1, through: 1, hops: Some(3) };
        tree.handle(fresh, &seen, at(100));
    }
    let repeat = |writer| Event::Duplicate { from: links[2], stream: stream(writer), through: 1, hops: Some(3) };
    assert!(tree.handle(repeat(30), &seen, at(120)).is_empty());
    assert_eq!(tree.handle(repeat(20), &seen, at(120)), vec![Action::Prune { to: links[2] }]);
    assert!(!tree.neighbours().0.contains(&links[2]));
    // When the first is silent, the other one takes its place.
    tree.handle(
        Event::Fresh { from: links[1], stream: stream(30), first: 2, through: 2, hops: Some(3) },
        &seen,
        at(2_500),
    );
    tree.handle(Event::Tick, &seen, at(2_600));
    let repeat = Event::Duplicate { from: links[0], stream: stream(30), through: 2, hops: Some(3) };
    assert_eq!(tree.handle(repeat, &seen, at(2_650)), vec![Action::Prune { to: links[0] }]);
}

#[test]
fn a_much_shorter_path_is_tried_but_not_again_and_again() {
    let (mut tree, mut seen) = alone();
    let (_, links) = tree.neighbours();
    tree.handle(Event::Pruned { from: links[1] }, &seen, at(0));
    let heard = |tree: &mut Tree, seen: &mut VersionVector, through, hops, now| {
        seen.advance(stream(30), through);
        let fresh = Event::Fresh { from: links[0], stream: stream(30), first: through, through, hops: Some(8) };
        tree.handle(fresh, seen, at(now));
        let news = vec![News { stream: stream(30), through, hops }];
        tree.handle(Event::Announced { from: links[1], news }, seen, at(now))
    };
    assert!(heard(&mut tree, &mut seen, 1, 6, 100).is_empty(), "one link less is no reason");
    let graft = vec![Action::Graft { to: links[1], wants: Vec::new() }];
    assert_eq!(heard(&mut tree, &mut seen, 2, 5, 200), graft);
    tree.handle(Event::Pruned { from: links[1] }, &seen, at(300));
    assert!(heard(&mut tree, &mut seen, 3, 5, 1_000).is_empty(), "it has just been tried");
    assert_eq!(heard(&mut tree, &mut seen, 4, 5, 200 + SHORTCUT_MS), graft);
}

#[test]
fn a_neighbour_that_invents_streams_fills_its_own_share() {
    let (mut tree, seen) = alone();
    let (_, links) = tree.neighbours();
    let invented = |from: usize| (from..).map(|writer| News { stream: stream(1_000 + writer), through: 5, hops: 1 });
    for round in 0..100 {
        let news = invented(round * NEWS_PER_ANNOUNCE).take(4 * NEWS_PER_ANNOUNCE).collect();
        tree.handle(Event::Announced { from: links[0], news }, &seen, at(100));
    }
    assert_eq!(tree.waiting().1, WANTED_PER_NEIGHBOUR);
    let news = vec![News { stream: stream(30), through: 1, hops: 1 }];
    tree.handle(Event::Announced { from: links[1], news }, &seen, at(100));
    assert_eq!(tree.waiting().1, WANTED_PER_NEIGHBOUR + 1, "what others say has room");
    assert!(tree.counters().wants_dropped > 0);
    let mut asked = 0;
    for tick in 0..400 {
        for action in tree.handle(Event::Tick, &seen, at(200 + tick * 50)) {
            let Action::Graft { wants, .. } = action else { panic!("{action:?}") };
            assert!(wants.len() <= NEWS_PER_ANNOUNCE);
            asked += wants.len();
        }
    }
    assert_eq!(asked, (WANTED_PER_NEIGHBOUR + 1) * GRAFTS_MAX as usize);
    assert_eq!(tree.waiting().1, 0, "nobody has it: it is given up");
}

#[test]
fn a_neighbour_that_asks_without_end_is_given_a_share_of_each_tick() {
    let (mut tree, mut seen) = alone();
    let from = tree.neighbours().1[0];
    seen.advance(stream(30), 1_000_000);
    let want = Want { stream: stream(30), after: 0, through: 1_000_000 };
    tree.handle(Event::Pruned { from }, &seen, at(0));
    for tick in 0..3 {
        let ask = Event::Grafted { from, wants: vec![want; 1_000] };
        let given = |out: Vec<Action>| -> u64 {
            let commits = |action: &Action| match action {
                Action::Push { first, through, .. } => through + 1 - first,
                other => panic!("{other:?}"),
            };
            out.iter().map(commits).sum()
        };
        assert_eq!(given(tree.handle(ask.clone(), &seen, at(100 + tick * 50))), GIVEN_COMMITS_MAX);
        assert_eq!(given(tree.handle(ask, &seen, at(100 + tick * 50))), 0);
        assert!(tree.handle(Event::Tick, &seen, at(120 + tick * 50)).is_empty());
    }
    assert!(tree.counters().grafts_refused > 0);
    assert!(tree.neighbours().0.contains(&from), "whoever asks is pushed to from then on");
}

#[test]
fn only_what_came_by_the_tree_before_prunes() {
    let (mut tree, mut seen) = alone();
    let (_, links) = tree.neighbours();
    let (parent, lazy) = (links[0], links[1]);
    tree.handle(Event::Pruned { from: lazy }, &seen, at(0));
    seen.advance(stream(30), 1);
    let fresh = |from, hops| Event::Fresh { from, stream: stream(30), first: 1, through: 1, hops };
    let repeat = |tree: &mut Tree| {
        let repeat = Event::Duplicate { from: parent, stream: stream(30), through: 1, hops: Some(3) };
        tree.handle(repeat, &seen, at(200))
    };
    // From anti-entropy; from the same peer, which was asked too soon; from another one that is pushed to as well.
    tree.handle(fresh(lazy, None), &seen, at(100));
    assert!(repeat(&mut tree).is_empty());
    tree.handle(fresh(parent, Some(3)), &seen, at(100));
    assert!(repeat(&mut tree).is_empty());
    tree.handle(fresh(links[2], Some(3)), &seen, at(100));
    assert_eq!(repeat(&mut tree), vec![Action::Prune { to: parent }]);
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let (mut tree, seen) = alone();
    let (_, links) = tree.neighbours();
    let from = links[0];
    let stream = stream(30);
    let want = Want { stream, after: u64::MAX, through: u64::MAX };
    assert!(tree.handle(Event::Grafted { from, wants: vec![want; 1_000] }, &seen, at(u64::MAX)).is_empty());
    let news = News { stream, through: u64::MAX, hops: u8::MAX };
    tree.handle(Event::Announced { from, news: vec![news; 1_000] }, &seen, at(u64::MAX));
    tree.handle(
        Event::Early { from, stream, first: u64::MAX, through: u64::MAX, hops: Some(u8::MAX) },
        &seen,
        at(u64::MAX),
    );
    assert_eq!(tree.waiting().1, 0);
    assert!(tree.counters().far_behind > 0, "{WANTED_COMMITS_MAX} commits are the most that the tree asks for");
    tree.handle(Event::Early { from, stream, first: 0, through: 0, hops: Some(0) }, &seen, at(0));
    tree.handle(Event::Fresh { from, stream, first: 0, through: 0, hops: Some(u8::MAX) }, &seen, at(0));
    tree.handle(Event::Tick, &seen, at(u64::MAX));
}

#[test]
fn whoever_chooses_us_beyond_the_bound_is_refused() {
    let (mut tree, seen) = (Tree::new(node(0), 1, STRAIGHT_MEMBERS_MAX), VersionVector::default());
    for peer in 1..=100 {
        tree.handle(Event::PeerUp(node(peer)), &seen, at(0));
        tree.handle(Event::Linked { from: node(peer), up: true }, &seen, at(0));
    }
    assert_eq!(tree.neighbours().1.len(), NEIGHBOURS_MAX);
    assert_eq!(tree.counters().links_refused, 100 - NEIGHBOURS_MAX as u64);
    assert!(
        tree.handle(Event::Linked { from: node(500), up: true }, &seen, at(0)).is_empty(),
        "nobody of that name is here"
    );
}
