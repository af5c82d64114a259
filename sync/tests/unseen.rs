//! What a replica can name of what a peer has not seen: keys of commits in its log, and never more than was asked for.

use std::collections::{BTreeSet, VecDeque};

use selvedge_sync::change::Change;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::replica::{Config, Input, Output, Replica};
use selvedge_sync::time::Time;

const NOW: Time = Time { wall_ms: 1_800_000_000_000, mono_ms: 0 };
const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);
const PLENTY: usize = 1 << 20;

fn replica(node: NodeId) -> Replica {
    let mut replica = Replica::new(ReplicaId { node, incarnation: Incarnation(1) }, Config::default());
    replica.handle(Input::Members(BTreeSet::from([A, B])), NOW);
    replica
}

/// Feeds `input` to the first of two, and carries what they say to each other until they are silent; disks report at once.
fn talk(hosts: &mut [(NodeId, Replica); 2], to: usize, input: Input, now: Time) {
    let mut queue = VecDeque::from([(to, input)]);
    while let Some((at, input)) = queue.pop_front() {
        let from = hosts[at].0;
        for output in hosts[at].1.handle(input, now) {
            match output {
                Output::Persist { token, .. } | Output::Checkpoint { token, .. } => {
                    queue.push_back((at, Input::Persisted { token }));
                }
                Output::Send { message, .. } => queue.push_back((1 - at, Input::Receive { from, message })),
                Output::Committed { result, .. } => drop(result.expect("the commit is made")),
                Output::Changed { .. } | Output::Watching { .. } | Output::Rebirth { .. } | Output::Event(_) => {}
            }
        }
    }
}

fn increment(key: &str) -> Input {
    let changes = vec![(key.parse().expect("a key"), Change::Increment(1))];
    Input::Commit { ticket: 0, changes, request: None }
}

#[test]
fn keys_that_a_peer_has_not_seen_are_named_within_bounds() {
    let mut hosts = [(A, replica(A)), (B, replica(B))];
    assert_eq!(hosts[0].1.unseen_by(&B, 20, PLENTY), None, "nobody knows what was never heard");
    for (at, peer) in [(0, B), (1, A)] {
        talk(&mut hosts, at, Input::PeerUp(peer), NOW);
    }
    talk(&mut hosts, 0, increment("gcounter/shared"), NOW);
    // That it was taken is known when the other has said so.
    for tick in 1..=40 {
        let now = Time { wall_ms: NOW.wall_ms + tick * 50, mono_ms: tick * 50 };
        (0..2).for_each(|at| talk(&mut hosts, at, Input::Tick, now));
    }
    let unseen = hosts[0].1.unseen_by(&B, 20, PLENTY).expect("it was heard");
    assert!(unseen.keys.is_empty() && !unseen.more, "{unseen:?}");

    for (at, peer) in [(0, B), (1, A)] {
        talk(&mut hosts, at, Input::PeerDown(peer), NOW);
    }
    for key in ["gcounter/a", "gcounter/b", "gcounter/a", "gcounter/c"] {
        let [(_, alone), _] = &mut hosts;
        for output in alone.handle(increment(key), NOW) {
            if let Output::Persist { token, .. } = output {
                alone.handle(Input::Persisted { token }, NOW);
            }
        }
    }
    let named = |keys_max, bytes_max| {
        let unseen = hosts[0].1.unseen_by(&B, keys_max, bytes_max).expect("it was heard");
        (unseen.keys.iter().map(ToString::to_string).collect::<Vec<_>>(), unseen.more)
    };
    assert_eq!(named(20, PLENTY), (["gcounter/a", "gcounter/b", "gcounter/c"].map(str::to_owned).to_vec(), false));
    assert_eq!(named(2, PLENTY), (["gcounter/a", "gcounter/b"].map(str::to_owned).to_vec(), true));
    assert_eq!(named(20, 1), (["gcounter/a".to_owned()].to_vec(), true), "one commit is more than a byte");
    assert_eq!(hosts[1].1.unseen_by(&A, 20, PLENTY).map(|unseen| unseen.keys.len()), Some(0), "it wrote nothing");
}
