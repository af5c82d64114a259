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
    _folder: tempfile::TempDir,
}

async fn ready() -> Ready {
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
    let (driver, handle) =
        Driver::new(owner, view.clone(), (store.clone(), store_events), net, events, Supervisor::of_environment());
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
async fn a_caller_makes_its_own_pass_while_nobody_else_does() {
    let Ready { driver, handle, view, .. } = ready().await;
    for number in 1..=3 {
        assert_eq!(commit(&handle, false).await.unwrap().dot.seq, number, "the loop does not even run");
    }
    assert_eq!(view.counter(&kills()), Some(3));
    let helm = driver.helm.lock().unwrap();
    let queued = tokio::spawn({
        let handle = handle.clone();
        async move { commit(&handle, false).await }
    });
    let begun = Instant::now();
    while handle.requests.capacity() == QUEUE_MAX {
        assert!(begun.elapsed() < DEADLINE, "it waits for nobody and is in no queue");
        std::thread::yield_now();
    }
    drop(helm);
    let stop = CancellationToken::new();
    let run = tokio::spawn(driver.run(stop.clone()));
    assert_eq!(queued.await.unwrap().unwrap().dot.seq, 4, "the loop took what was queued");
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_and_the_loop_lose_nothing_and_what_ends_is_durable() {
    const CALLERS: u64 = 16;
    const EACH: u64 = 50;
    let Ready { driver, handle, view, store, .. } = ready().await;
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
