//! What a member may cost others: signatures verified in vain, rooms filled, and what it writes to the agents' own keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_sync::commit::Batch;
use selvedge_sync::crdt::Op;
use selvedge_sync::replica::{Guard, Judgement};
use selvedge_sync::seal::{Keys, Testimony};

use super::*;

/// The stand-in for keys, and how many signatures it has verified.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Keys for Counting {
    fn sign(&self, me: NodeId, bytes: &[u8]) -> [u8; 64] {
        HashKeys.sign(me, bytes)
    }

    fn verify(&self, signer: NodeId, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        HashKeys.verify(signer, bytes, signature)
    }
}

/// Two members, of whom the first counts what it verifies.
fn counting() -> (Members, Arc<Counting>) {
    let (mut members, counting) = (Members::of(2), Arc::<Counting>::default());
    let config = Config { keys: Arc::<Counting>::clone(&counting), ..Config::default() };
    members.replicas[0] = Replica::new(members.replicas[0].me(), config);
    members.join(0);
    (members, counting)
}

fn relayed(batch: Batch) -> Message {
    Message::Commits { batches: vec![batch], more: false, hops: None }
}

/// `count` commits from `first` on that anybody may take, each sealed apart.
fn sealed_apart(of: Stream, first: u64, count: u64) -> Batch {
    let single = |seq| Batch::new(of, seq, vec![word(of, seq, &format!("word {seq}"))]).sealed(&HashKeys);
    let mut batch = Batch::new(of, first, Vec::new());
    for single in (first..first + count).map(single) {
        batch.commits.extend(single.commits);
        batch.seals.extend(single.seals);
    }
    batch
}

#[test]
fn signatures_that_are_verified_in_vain_are_rationed() {
    let (mut members, counting) = counting();
    let held = stream(node(50));
    let far = Commit { stream: held, seq: 1, hlc: Hlc::from_millis(WALL_MS * 2), request: None, ops: Vec::new() };
    let batch = Batch::new(held, 1, vec![far.encode()]).sealed(&HashKeys);
    for number in 0..20_000 {
        members.lie(0, relayed(batch.clone()));
        if number % 1_000 == 0 {
            members.now_ms += 50;
        }
    }
    // A second: what the bucket held, and what came in.
    let verified = counting.0.load(Ordering::Relaxed);
    assert!((4_096..=4_096 + 1_024).contains(&verified), "{verified} signatures");
    assert!(members.replicas[0].counters().unverified > 14_000);
    assert!((10..=20).contains(&members.offences(Offence::Flood)), "{}", members.offences(Offence::Flood));
    // Others pay for themselves only, and what brings something costs nobody anything.
    let relay = sealed_apart(stream(node(51)), 1, 900);
    members.feed(0, Input::Receive { from: node(1), message: relayed(relay) });
    assert_eq!(members.replicas[0].seen().seq(&stream(node(51))), 900);
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
}

#[test]
fn whoever_brings_something_new_is_not_charged_for_proving_it() {
    let (mut members, counting) = counting();
    let of = stream(node(50));
    for page in 0..20 {
        members.lie(0, relayed(sealed_apart(of, page * 1_000 + 1, 1_000)));
    }
    assert_eq!((members.replicas[0].seen().seq(&of), counting.0.load(Ordering::Relaxed)), (20_000, 20_000));
    assert_eq!((members.replicas[0].counters().unverified, members.offences(Offence::Flood)), (0, 0));
    // What is known of a batch is not verified again for the sake of what is new.
    members.lie(0, relayed(sealed_apart(of, 19_001, 1_001)));
    assert_eq!((members.replicas[0].seen().seq(&of), counting.0.load(Ordering::Relaxed)), (20_001, 20_001));
}

#[test]
fn a_batch_has_no_more_seals_than_a_page_needs() {
    let (mut members, counting) = counting();
    let of = stream(node(50));
    members.lie(0, relayed(sealed_apart(of, 1, 1_025)));
    assert_eq!((members.offences(Offence::Forged), counting.0.load(Ordering::Relaxed)), (1, 0));
    // A writer that seals each commit apart makes more: they are given in several batches.
    let own = stream(LIAR);
    members.send(0, sealed_apart(own, 1, 1_500));
    members.pass(3_000);
    assert_eq!(members.replicas.iter().map(|of| of.seen().seq(&own)).collect::<Vec<_>>(), [1_500, 1_500]);
}

#[test]
fn answers_about_our_stream_that_nobody_asked_for_are_rationed_too() {
    let (mut members, counting) = counting();
    members.write(0);
    members.pass(1_000);
    let own = stream(node(0));
    let bytes = members.replicas[0].log().get(&own, 1).expect("a commit").clone();
    let batch = Batch::new(own, 1, vec![bytes]).sealed(&HashKeys);
    let before = counting.0.load(Ordering::Relaxed);
    for _ in 0..10_000 {
        let batch = Some(batch.clone());
        members.lie(0, Message::Recalled { incarnation: Incarnation(1), known: 1, batch });
    }
    assert_eq!(counting.0.load(Ordering::Relaxed) - before, 4_096);
    assert!(members.replicas[0].counters().unverified > 5_000 && members.offences(Offence::Flood) > 0);
}

/// A proof that `of` gave its first name to two commits.
fn proof(of: Stream) -> Proof {
    let testimony = |text: &str| {
        let batch = Batch::new(of, 1, vec![word(of, 1, text)]).sealed(&HashKeys);
        Testimony { seal: batch.seals[0], hashes: batch.commits.iter().map(CommitBytes::hash).collect() }
    };
    Proof { stream: of, one: testimony("one"), other: testimony("other") }
}

fn invented(number: u32) -> NodeId {
    let mut name = [9; 32];
    name[..4].copy_from_slice(&number.to_be_bytes());
    NodeId(name)
}

#[test]
fn proofs_about_invented_keys_leave_room_and_are_told_to_nobody() {
    let mut members = Members::of(2);
    // Keys that nobody knows, and keys under which the liar has something written.
    for number in 0..3_000 {
        members.now_ms += 20;
        let of = stream(invented(number));
        if number % 4 == 0 {
            members.send(0, Batch::new(of, 1, vec![word(of, 1, "one")]).sealed(&HashKeys));
        }
        members.lie(0, Message::Proof(Box::new(proof(of))));
    }
    members.heard.clear();
    let counters = members.replicas[0].counters();
    assert_eq!((members.replicas[0].proofs().count(), counters.equivocations), (256, 256));
    assert_eq!(counters.proofs_crowded, 750 - 256 + 2_250 - 64);
    assert!(members.replicas[1].counters().equivocations <= 256, "who is told of nothing has nothing to tell");
    // There is room for what is proven about members, and it is told.
    equivocate(&mut members);
    members.pass(3_000);
    let known = |index: usize| members.replicas[index].proofs().any(|proof| proof.stream == stream(LIAR));
    assert!(known(0) && known(1));
    // The newest of the strangers are frozen all the same, without anybody being told.
    let last = stream(invented(2_999));
    let frozen = members.replicas[0].counters().frozen;
    members.send(0, Batch::new(last, 1, vec![word(last, 1, "one")]).sealed(&HashKeys));
    assert_eq!((members.replicas[0].counters().frozen, members.replicas[0].seen().seq(&last)), (frozen + 1, 0));
}

#[test]
fn a_proof_about_a_stranger_counts_in_full_once_it_is_a_member() {
    let mut members = Members::of(2);
    let late = invented(1);
    members.lie(0, Message::Proof(Box::new(proof(stream(late)))));
    members.pass(2_000);
    assert!(members.replicas.iter().all(|replica| replica.proofs().count() == 0));
    let all: BTreeSet<NodeId> = [node(0), node(1), LIAR, late].into();
    members.feed(1, Input::Members(all.clone()));
    members.feed(0, Input::Members(all));
    assert!(members.replicas.iter().all(|replica| replica.proofs().count() == 1), "and is told");
}

#[test]
fn what_one_member_sends_too_early_keeps_nobody_elses_out() {
    let mut members = Members::of(2);
    let big = |of: Stream, seq: u64| {
        let ops = vec![(key("gset/words"), Op::GSet(vec![Scalar::from("x".repeat(60_000).as_str())]))];
        Commit { stream: of, seq, hlc: Hlc::from_millis(WALL_MS), request: None, ops }.encode()
    };
    for seq in 2..200 {
        members.send(0, Batch::new(stream(LIAR), seq, vec![big(stream(LIAR), seq)]).sealed(&HashKeys));
    }
    assert!(members.replicas[0].counters().early_dropped > 150, "{}", members.replicas[0].counters().early_dropped);
    let other = stream(node(1));
    for seq in [2, 1] {
        let batch = Batch::new(other, seq, vec![word(other, seq, "other")]).sealed(&HashKeys);
        members.feed(0, Input::Receive { from: node(1), message: relayed(batch) });
    }
    assert_eq!(members.replicas[0].seen().seq(&other), 2, "the second waited for the first");
}

#[test]
fn what_waits_already_vouches_for_nothing_else() {
    let mut members = Members::of(1);
    let of = stream(node(50));
    let first = Commit { stream: of, seq: 1, hlc: Hlc::from_millis(WALL_MS + 900), request: None, ops: Vec::new() };
    let first = Batch::new(of, 1, vec![first.encode()]).sealed(&HashKeys);
    let second = Batch::new(of, 2, vec![word(of, 2, "second")]).sealed(&HashKeys);
    members.lie(0, relayed(second.clone()));
    members.lie(0, relayed(first.clone()));
    assert_eq!(members.replicas[0].counters().held, 1, "the first waits for our clock, and the second for the first");
    members.now_ms += 600;
    members.lie(0, relayed(first));
    assert_eq!(members.replicas[0].seen().seq(&of), 1, "the stream is not looked at again at once");
    members.lie(0, relayed(Batch { commits: vec![word(of, 2, "forged")], ..second.clone() }));
    assert_eq!((members.replicas[0].seen().seq(&of), members.offences(Offence::Forged)), (1, 1));
    members.lie(0, relayed(second));
    assert_eq!(members.replicas[0].seen().seq(&of), 2);
}

/// Of the agents' own sets, one word is fine, one comes later, and anything else is nothing that anybody may write.
#[derive(Debug)]
struct Words;

impl Guard for Words {
    fn judge(&self, _: &Key, op: &Op) -> Judgement {
        match op {
            Op::GSet(words) if *words == [Scalar::from("fine")] => Judgement::Taken,
            Op::GSet(words) if *words == [Scalar::from("later")] => Judgement::NotYet,
            _ => Judgement::Never,
        }
    }
}

#[test]
fn what_a_guard_bars_is_not_taken_and_holds_up_its_writer_alone() {
    let mut members = Members::of(2);
    for index in 0..2 {
        let config = Config { guard: Arc::new(Words), ..Config::default() };
        members.replicas[index] = Replica::new(members.replicas[index].me(), config);
        members.join(index);
    }
    let own = stream(LIAR);
    let write = |seq, of: &str, text: &str| {
        let ops = vec![(key(of), Op::GSet(vec![Scalar::from(text)]))];
        let commit = Commit { stream: own, seq, hlc: Hlc::from_millis(WALL_MS), request: None, ops };
        Batch::new(own, seq, vec![commit.encode()]).sealed(&HashKeys)
    };
    members.send(0, write(1, "gset/words", "anything"));
    members.send(0, write(2, "gset/selvedge:words", "fine"));
    members.send(0, write(3, "gset/selvedge:words", "later"));
    let counters = *members.replicas[0].counters();
    assert_eq!((members.replicas[0].seen().seq(&own), counters.barred, counters.rejected), (2, 1, 0));
    members.send(0, write(3, "gset/selvedge:words", "junk"));
    let counters = *members.replicas[0].counters();
    assert_eq!((members.replicas[0].seen().seq(&own), counters.barred, counters.rejected), (2, 2, 1));
    members.write(1);
    members.pass(1_000);
    assert!(members.agree());
    assert_eq!(members.replicas[1].seen().seq(&own), 2);
}

#[test]
fn a_digest_costs_no_more_than_it_brings_however_long_our_vector_is() {
    let mut members = Members::of(1);
    for number in 0..6_400 {
        members.now_ms += 2;
        let of = stream(invented(number));
        members.send(0, Batch::new(of, 1, vec![word(of, 1, "one")]).sealed(&HashKeys));
    }
    members.heard.clear();
    let digest =
        |vector| Message::Digest { root: ContentHash::default(), vector, durable: true, exact: true, tip: None };
    let shown = |members: &Members| {
        members.heard.iter().filter(|(_, message)| matches!(message, Message::Vector { answer: true, .. })).count()
    };
    for number in 0..1_000_u32 {
        members.now_ms += 1;
        let mut other = [0; 16];
        other[..4].copy_from_slice(&number.to_be_bytes());
        members.lie(0, digest(other));
    }
    // A hundred milliseconds for 6,400 streams.
    assert!((9..=11).contains(&shown(&members)), "{} in a second", shown(&members));
    assert!(members.replicas[0].counters().spared > 900);
}
