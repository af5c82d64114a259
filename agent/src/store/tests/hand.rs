//! The hand that a store is lent: who writes what, and what comes of it when the disk fails or hangs.

use std::sync::mpsc;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::super::sim_disk::Mood;
use super::*;

/// A store whose hand is lent by a thread of its own, until this is dropped.
struct Helped {
    store: Store,
    events: StoreEvents,
    token: Token,
    end: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<()>>,
}

impl Helped {
    fn on(disk: &SimDisk) -> Self {
        let (store, events, _) = open_sim(disk);
        let (end, ends) = oneshot::channel::<()>();
        let (begin, begins) = mpsc::channel();
        let lent = store.clone();
        let ended = thread::spawn(move || {
            let runtime = Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = lent.lend_a_hand() => {}
                    _ = async { begin.send(()).expect("the test waits"); ends.await } => {}
                }
            });
        });
        begins.recv().expect("the hand is lent");
        Self { store, events, token: 0, end: Some(end), ended: Some(ended) }
    }

    /// Queues the next commit and says so.
    fn append(&mut self) {
        self.token += 1;
        self.store.append(self.token, vec![batch(1, self.token, 1)]).expect("room");
        self.store.stir();
    }

    fn append_durably(&mut self) {
        self.append();
        assert_eq!(next(&mut self.events), StoreEvent::Appended { token: self.token });
    }

    fn by_hand(&self) -> u64 {
        self.store.stats().frames_by_hand
    }

    /// Appends until the hand has written something.
    fn until_helped(&mut self) {
        let (before, begun) = (self.by_hand(), Instant::now());
        while self.by_hand() == before {
            assert!(begun.elapsed() < SOON, "the hand wrote nothing in {} appends", self.token);
            self.append_durably();
        }
    }
}

impl Drop for Helped {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.ended.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the hand panicked");
    }
}

#[test]
fn a_disk_has_to_be_quick_for_a_while_before_the_hand_writes_and_all_that_is_there_comes_back() {
    let disk = SimDisk::default();
    let mut helped = Helped::on(&disk);
    helped.append_durably();
    assert_eq!(helped.by_hand(), 0, "nothing is known of the disk yet");
    helped.until_helped();
    let written = helped.token;
    helped.store.clone().close().expect("closes");
    drop(helped);
    assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, written)]);
}

#[test]
fn what_is_large_or_for_the_database_is_the_threads_and_keeps_its_place() {
    let disk = SimDisk::default();
    let mut helped = Helped::on(&disk);
    helped.until_helped();
    let by_hand = helped.by_hand();
    let large = Batch::new(stream(2), 1, vec![CommitBytes::from_bytes(&vec![7; 64 * 1024])]);
    helped.store.append(1_000_000, vec![large]).expect("room");
    let pending = helped.store.set_meta("name", Some(vec![1])).expect("room");
    helped.store.append(1_000_001, vec![batch(3, 1, 1)]).expect("room");
    helped.store.stir();
    pending.wait().expect("durable");
    for token in [1_000_000, 1_000_001] {
        assert_eq!(next(&mut helped.events), StoreEvent::Appended { token });
    }
    assert!(helped.by_hand() <= by_hand + 1, "the last alone is small");
}

#[test]
fn a_write_that_fails_under_the_hand_is_the_threads_to_try_again() {
    for mood in [Mood::Full, Mood::Short, Mood::SyncFails, Mood::Gone] {
        let disk = SimDisk::default();
        let mut helped = Helped::on(&disk);
        helped.until_helped();
        disk.become_mood(mood);
        helped.append();
        let failed = next(&mut helped.events);
        assert!(matches!(failed, StoreEvent::Failed { .. }), "{mood:?}: {failed:?}");
        let first = helped.token;
        (0..5).for_each(|_| helped.append());
        disk.become_mood(Mood::Works);
        assert_eq!(next(&mut helped.events), StoreEvent::Recovered, "{mood:?}");
        for token in first..=helped.token {
            assert_eq!(next(&mut helped.events), StoreEvent::Appended { token }, "{mood:?}");
        }
        let written = helped.token;
        helped.store.clone().close().expect("closes");
        drop(helped);
        assert_eq!(open_sim(&disk).2.log, vec![batch(1, 1, written)], "{mood:?}");
    }
}

#[test]
fn a_disk_that_hangs_under_the_hand_holds_up_nobody_who_appends() {
    let disk = SimDisk::default();
    let mut helped = Helped::on(&disk);
    helped.until_helped();
    disk.become_mood(Mood::Hangs);
    let first = helped.token + 1;
    (0..10).for_each(|_| helped.append());
    assert_eq!(helped.events.try_next(), None, "nothing is durable");
    disk.become_mood(Mood::Works);
    for token in first..=helped.token {
        assert_eq!(next(&mut helped.events), StoreEvent::Appended { token });
    }
}

#[test]
fn without_the_hand_the_thread_writes() {
    let disk = SimDisk::default();
    let mut helped = Helped::on(&disk);
    helped.until_helped();
    drop(helped.end.take());
    let begun = Instant::now();
    while !helped.ended.as_ref().is_some_and(JoinHandle::is_finished) {
        assert!(begun.elapsed() < SOON);
        thread::yield_now();
    }
    let by_hand = helped.by_hand();
    (0..50).for_each(|_| helped.append_durably());
    assert_eq!(helped.by_hand(), by_hand);
}
