//! Passes by callers and by the loop, on a real store and a network without peers.

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge_sync::change::Change;
use selvedge_sync::draft::ReadState as _;
use selvedge_sync::id::{Incarnation, ReplicaId};
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Config, Replica};

use super::*;
use crate::events::Patience;
use crate::net::{Admission, NetConfig, Refused, node_of_seed};
use crate::supervisor::Supervisor;
use crate::supervisor::tests::{supervisor, told};
use crate::view::share;

const SEED: [u8; 32] = [1; 32];

/// Far beyond what any step takes.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Nobody;

impl Admission for Nobody {
    fn credentials(&self) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, _: selvedge_sync::id::NodeId, _: &[u8]) -> Result<(), Refused> {
        Err(Refused { reason: "nobody is a member".to_owned(), is_told: false })
    }
}

/// A driver that does not run yet.
struct Ready {
    driver: Driver,
    handle: DriverHandle,
    view: StateView,
    store: Store,
    /// To be kept for as long as the store is used: it misses a folder that is away.
    _folder: tempfile::TempDir,
}

async fn ready() -> Ready {
    watched_by(Supervisor::nobody()).await
}

async fn watched_by(supervisor: Supervisor) -> Ready {
    let folder = tempfile::tempdir().unwrap();
    let (store, store_events, _) = Store::open(folder.path()).unwrap();
    let me = ReplicaId { node: node_of_seed(SEED), incarnation: Incarnation(1) };
    let (owner, view) = share(Replica::new(me, Config::default()));
    let config = NetConfig {
        secret_key: SEED,
        admission: Arc::new(Nobody),
        registrar: None,
        listen: Vec::new(),
        bootstrap: Vec::new(),
        advertise: Vec::new(),
    };
    let net = Net::start(config).await.unwrap();
    let events = Events::new(1, Patience::default());
    let (driver, handle) = Driver::new(owner, view.clone(), (store.clone(), store_events), net, events, supervisor);
    Ready { driver, handle, view, store, _folder: folder }
}

fn kills() -> Key {
    "gcounter/kills".parse().unwrap()
}

async fn commit(handle: &DriverHandle, durable: bool) -> Result<selvedge_sync::replica::Committed, DriverError> {
    let work = handle.commit(vec![(kills(), Change::Increment(1))], None, durable);
    tokio::time::timeout(DEADLINE, work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_makes_its_own_commit_and_what_follows_comes_with_the_next_pass() {
    let Ready { driver, handle, view, _folder, .. } = ready().await;
    for number in 1..=3 {
        assert_eq!(commit(&handle, false).await.unwrap().dot.seq, number, "the loop does not even run");
    }
    let helm = driver.helm.lock().unwrap();
    // Somebody makes a pass: what is not to be durable is made and answered all the same.
    let fourth = handle.begin_commit(vec![(kills(), Change::Increment(1))], None).unwrap();
    handle.end_pass();
    assert_eq!(view.counter(&kills()), Some(4));
    let begun = Instant::now();
    while handle.requests.capacity() == QUEUE_MAX {
        assert!(begun.elapsed() < DEADLINE, "nobody was told that something is to be carried out");
        std::thread::yield_now();
    }
    drop(helm);
    assert_eq!(fourth.made().await.unwrap().dot.seq, 4);
    let stop = CancellationToken::new();
    let run = tokio::spawn(driver.run(stop.clone()));
    assert_eq!(commit(&handle, true).await.unwrap().dot.seq, 5);
    view.read(|replica| assert_eq!(replica.durable(), replica.seen()));
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_and_the_loop_lose_nothing_and_what_ends_is_durable() {
    const CALLERS: u64 = 16;
    const EACH: u64 = 50;
    let Ready { driver, handle, view, store, _folder, .. } = ready().await;
    let stop = CancellationToken::new();
    let run = tokio::spawn(driver.run(stop.clone()));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut names = Vec::new();
                for number in 0..EACH {
                    names.push(commit(&handle, number % 10 == caller % 10).await.unwrap().dot.seq);
                }
                names
            })
        })
        .collect();
    let mut names = BTreeSet::new();
    for caller in callers {
        names.extend(caller.await.unwrap());
    }
    assert_eq!(names, (1..=CALLERS * EACH).collect(), "each commit has a name of its own");
    assert_eq!(view.counter(&kills()), Some(i128::from(CALLERS * EACH)));
    stop.cancel();
    run.await.unwrap();
    view.read(|replica| assert_eq!(replica.durable(), replica.seen()));
    assert_eq!(commit(&handle, false).await, Err(DriverError::NoAnswer), "nobody takes it any more");
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_loop_that_is_stuck_gives_no_sign_of_life_whatever_else_runs() {
    let (supervisor, socket) = supervisor(Some(Duration::ZERO));
    let Ready { driver, handle, _folder, .. } = watched_by(supervisor).await;
    let (stop, helm) = (CancellationToken::new(), Arc::clone(&driver.helm));
    let running = tokio::spawn(driver.run(stop.clone()));
    let signs = || told(&socket).len();
    let alive = async {
        while signs() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, alive).await.expect("it lives");

    // Somebody holds what the loop needs, and never gives it back; the rest of the process goes on.
    let (held, release) = std::sync::mpsc::channel::<()>();
    let (took, taken) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _helm = helm.lock();
        took.send(()).expect("somebody waits");
        assert!(release.recv().is_err(), "the other side is dropped");
    });
    tokio::task::block_in_place(|| taken.recv()).expect("it is held");
    signs();
    // No timer of the runtime: the thread that is stuck may be the one that keeps them.
    tokio::task::block_in_place(|| std::thread::sleep(IDLE_TICK * 3));
    assert_eq!(signs(), 0);
    drop(held);
    holder.join().expect("ends");
    commit(&handle, true).await.expect("it goes on");
    stop.cancel();
    running.await.expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_share_a_pass_are_applied_one_by_one() {
    let Ready { driver, handle, view, _folder, .. } = ready().await;
    let begin = || handle.begin_commit(vec![(kills(), Change::Increment(1))], None).unwrap();
    let first = begin();
    assert_eq!(view.counter(&kills()), Some(1));
    let second = begin();
    assert_eq!(view.counter(&kills()), Some(2));
    handle.end_pass();
    assert_eq!((first.made().await.unwrap().dot.seq, second.made().await.unwrap().dot.seq), (1, 2));
    // Without room there, a commit goes by a pass, which finds out whether there is.
    handle.core.lock().unwrap().has_room = false;
    driver.helm.lock().unwrap().said_room = false;
    let third = Box::pin(begin().made());
    let stop = CancellationToken::new();
    let run = tokio::spawn(driver.run(stop.clone()));
    assert_eq!(tokio::time::timeout(DEADLINE, third).await.unwrap().unwrap().dot.seq, 3);
    assert_eq!(commit(&handle, true).await.unwrap().dot.seq, 4);
    assert!(handle.core.lock().unwrap().has_room, "a pass with room says so");
    stop.cancel();
    run.await.unwrap();
    assert!(matches!(handle.begin_commit(vec![(kills(), Change::Increment(1))], None), Err(DriverError::NoAnswer)));
    view.read(|replica| assert_eq!(replica.durable(), replica.seen()));
}
