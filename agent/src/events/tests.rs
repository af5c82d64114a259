use std::time::Duration;

use futures::StreamExt as _;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::NodeId;
use selvedge_sync::key::Key;

use super::ring::Look;
use super::*;
use crate::service::{KeyChange, Known, MemberEvent};

const LIFE: u64 = 3;
/// Whoever waits for so long waits in vain.
const SOON: Duration = Duration::from_secs(20);

fn bus() -> Events {
    // Nothing happens by itself in most tests: silence is long, patience longer.
    Events::new(LIFE, Patience { keep_alive: 10 * SOON, stalled: 10 * SOON })
}

fn prefix(text: &str) -> KeyPrefix {
    text.parse().expect("a prefix")
}

fn commit(keys: &[&str]) -> Event {
    let change = |key: &&str| KeyChange { key: key.parse::<Key>().expect("a key"), value: Known::Nothing, bytes: 1 };
    Event::Commit(CommitEvent { changes: keys.iter().map(change).collect(), dot: None, hlc: Hlc::default() })
}

fn member() -> Event {
    Event::Member(MemberEvent { node: NodeId([1; 32]), name: "alpha".to_owned(), status: "alive" })
}

/// Listens to what changes under `text`; the replica watches at once.
fn listen(events: &Events, text: &str, after: Option<&str>) -> Notices {
    let interest = events.interest(Some(prefix(text)), true).expect("there is room");
    events.began(interest.watched().expect("a watch").watch);
    interest.listen(after, Kinds::commits())
}

/// The next notice: its id, and in a word or two what it tells.
async fn next(notices: &mut Notices) -> Option<(String, String)> {
    let notice = tokio::time::timeout(SOON, notices.next()).await.expect("in time")?;
    let told = match notice.event.as_deref() {
        None => String::new(),
        Some(Event::Commit(commit)) => {
            commit.changes.iter().map(|change| change.key.to_string()).collect::<Vec<_>>().join(" ")
        }
        Some(Event::Lagged { missed }) => format!("lagged {missed}"),
        Some(other) => other.name().to_owned(),
    };
    Some((notice.id.to_string(), told))
}

async fn check(notices: &mut Notices, expect: &[(&str, &str)]) {
    for (id, told) in expect {
        let got = next(notices).await;
        assert_eq!(got.as_ref().map(|(id, told)| (id.as_str(), told.as_str())), Some((*id, *told)));
    }
}

/// Waits until the tasks of listeners that are gone have noticed.
async fn until_nobody_listens(events: &Events) {
    let nobody = async {
        while events.stats().listeners > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, nobody).await.expect("in time");
}

#[tokio::test]
async fn a_listener_hears_its_part_of_what_happens() {
    let events = bus();
    let mut kills = listen(&events, "gcounter/ki", None);
    let everything = events.interest(Some(KeyPrefix::everything()), true).expect("there is room");
    events.began(everything.watched().expect("a watch").watch);
    let mut everything = everything.listen(None, Kinds::all());
    events.record([commit(&["gcounter/kills", "gset/seen"]), commit(&["gset/seen"]), member()]);
    events.record([commit(&["gcounter/kicks"])]);
    check(&mut kills, &[("3-1", ""), ("3-3", "gcounter/kills"), ("3-6", "gcounter/kicks")]).await;
    let all = [("3-2", ""), ("3-3", "gcounter/kills gset/seen"), ("3-4", "gset/seen"), ("3-5", "member")];
    check(&mut everything, &all).await;
}

#[tokio::test]
async fn who_wants_no_commits_hears_none_and_has_nothing_watched() {
    let events = bus();
    let interest = events.interest(None, true).expect("there is room");
    assert_eq!(interest.watched(), None);
    let mut members = interest.listen(None, "member".parse().expect("kinds"));
    events.record([commit(&["gset/a"]), member(), commit(&["gset/b"])]);
    check(&mut members, &[("3-0", ""), ("3-2", "member")]).await;
    drop(members);
    until_nobody_listens(&events).await;
    events.record([member()]);
    let interest = events.interest(None, true).expect("there is room");
    let mut again = interest.listen(Some("3-2"), "member".parse().expect("kinds"));
    check(&mut again, &[("3-2", ""), ("3-4", "member")]).await;
}

#[test]
fn what_happened_is_remembered_though_commits_have_passed_since() {
    let events = bus();
    events.record([member()]);
    (0..10_000).for_each(|_| events.record([commit(&["gset/a"])]));
    events.record([member()]);
    let past = events.past();
    let told: Vec<_> = past.iter().map(|past| (past.id.to_string(), past.kind)).collect();
    assert_eq!(told, [("3-10002".to_owned(), "member"), ("3-1".to_owned(), "member")]);
    assert!(past.iter().all(|past| past.at_ms > 1_700_000_000_000));
    (0..1_000).for_each(|_| events.record([member()]));
    assert_eq!(events.past().len(), 128);
}

#[tokio::test]
async fn whoever_comes_back_has_missed_nothing() {
    let events = bus();
    let mut first = listen(&events, "gset/", None);
    events.record([commit(&["gset/a"]), commit(&["gset/b"])]);
    check(&mut first, &[("3-1", ""), ("3-2", "gset/a")]).await;
    drop(first);
    until_nobody_listens(&events).await;
    events.record([commit(&["gcounter/other"]), commit(&["gset/c"])]);
    let mut second = listen(&events, "gset/", Some("3-2"));
    check(&mut second, &[("3-2", ""), ("3-3", "gset/b"), ("3-5", "gset/c")]).await;
    drop(second);
    let mut third = listen(&events, "gset/", Some("3-5"));
    events.record([commit(&["gset/d"])]);
    check(&mut third, &[("3-5", ""), ("3-6", "gset/d")]).await;
}

#[tokio::test]
async fn whoever_has_missed_something_is_told_so() {
    let events = bus();
    let kept = listen(&events, "gset/", None);
    events.record([commit(&["gset/a"])]);
    // A prefix that nobody watched before, although nothing was recorded since; another life, no id, an id of the future.
    for (text, after) in [("gcounter/", "3-2"), ("gset/", "2-1"), ("gset/", "x"), ("gset/", "3-9999")] {
        let mut notices = listen(&events, text, Some(after));
        let (id, told) = next(&mut notices).await.expect("an opening");
        assert_eq!(told, "reset", "{text} after {after}");
        let (_, position) = id.split_once('-').expect("an id");
        let position: u64 = position.parse().expect("a position");
        events.record([commit(&[&format!("{text}b")])]);
        let heard = next(&mut notices).await.expect("an event");
        assert_eq!(heard, (format!("3-{}", position + 1), format!("{text}b")), "it goes on from the reset");
    }
    drop(kept);
}

#[tokio::test]
async fn a_listener_that_falls_behind_is_told_so_and_dropped() {
    let events = bus();
    let mut slow = listen(&events, "gset/", None);
    // Its task has not run yet: all of this happens behind its back.
    (0..10_000).for_each(|_| events.record([commit(&["gset/a"])]));
    check(&mut slow, &[("3-1", ""), ("3-1", "lagged 1808")]).await;
    assert_eq!(next(&mut slow).await, None, "it is dropped");
    assert_eq!((events.stats().lagged, events.stats().recorded), (1, 10_000));
    until_nobody_listens(&events).await;
    let mut again = listen(&events, "gset/", Some("3-1"));
    assert_eq!(next(&mut again).await.expect("an opening").1, "reset", "what it missed is not kept");
}

#[tokio::test]
async fn a_listener_that_takes_nothing_is_dropped() {
    let events = Events::new(LIFE, Patience { keep_alive: SOON, stalled: Duration::from_millis(1) });
    let mut stalled = listen(&events, "gset/", None);
    events.record((0..100).map(|_| commit(&["gset/a"])));
    until_nobody_listens(&events).await;
    assert_eq!(events.stats().stalled, 1);
    let mut heard = 0;
    while next(&mut stalled).await.is_some() {
        heard += 1;
    }
    assert!((1..100).contains(&heard), "{heard}: what had been handed over is still there");
}

#[tokio::test]
async fn silence_says_how_far_one_has_heard() {
    let events = Events::new(LIFE, Patience { keep_alive: Duration::from_millis(1), stalled: SOON });
    let mut notices = listen(&events, "gset/", None);
    events.record([commit(&["gcounter/other"])]);
    let up_to_date = async { while next(&mut notices).await != Some(("3-2".to_owned(), String::new())) {} };
    tokio::time::timeout(SOON, up_to_date).await.expect("in time");
}

#[tokio::test]
async fn listeners_are_bounded_and_make_room_when_they_go() {
    let events = bus();
    let mut listeners: Vec<_> = (0..LISTENERS_MAX).map(|_| listen(&events, "gset/", None)).collect();
    assert_eq!(events.interest(None, true).err(), Some(TooManyListeners::All));
    assert_eq!((events.stats().listeners, events.stats().refused), (64, 1));
    listeners.clear();
    until_nobody_listens(&events).await;
    assert!(events.interest(None, true).is_ok());
}

#[test]
fn half_of_the_places_are_kept_for_who_has_a_right() {
    let events = bus();
    let interest = |by_right| events.interest(None, by_right);
    let mut open: Vec<_> = (0..LISTENERS_OPEN_MAX).map(|_| interest(false).expect("there is room")).collect();
    assert_eq!(interest(false).err(), Some(TooManyListeners::Open));
    drop(open.pop());
    let mut kept: Vec<_> =
        (LISTENERS_OPEN_MAX - 1..LISTENERS_MAX).map(|_| interest(true).expect("it was kept")).collect();
    assert_eq!([interest(true).err(), interest(false).err()], [Some(TooManyListeners::All); 2]);
    drop(kept.pop());
    open.push(interest(false).expect("who was refused holds no place"));
    assert_eq!(interest(false).err(), Some(TooManyListeners::Open));
    assert_eq!((events.stats().listeners, events.stats().refused), (64, 4));
    drop((open, kept));
    assert_eq!(events.stats().listeners, 0);
}

#[test]
fn events_are_kept_by_weight_too() {
    let mut ring = Ring::default();
    let large = |bytes| {
        let key = "gset/large".parse().expect("a key");
        let changes = vec![KeyChange { key, value: Known::TooLarge, bytes }];
        Arc::new(Event::Commit(CommitEvent { changes, dot: None, hlc: Hlc::default() }))
    };
    (0..100).for_each(|_| ring.push(large(1024 * 1024)));
    assert_eq!((ring.next(), ring.first()), (101, 86), "fifteen and their overhead fit into 16 MiB");
    assert!(matches!(ring.look(85), Look::Gone(1)));
    assert!(matches!(ring.look(86), Look::Events(events) if events.len() == 15));
    assert!(matches!(ring.look(101), Look::Events(events) if events.is_empty()));
    ring.push(large(100 * 1024 * 1024));
    assert_eq!((ring.next(), ring.first()), (102, 101), "the newest is always kept");
}
