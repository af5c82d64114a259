//! Fetching over real networks on loopback, from honest members, liars, and those that go away.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::blobs::serve::Server;
use crate::blobs::serve::tests::Shelf;
use crate::net::{Admission, NetConfig, NetEvent, NetEvents, Refused, Reply};

const DEADLINE: Duration = Duration::from_secs(60);
const MAX: usize = 64 * CHUNK_BYTES;

struct Anybody;

impl Admission for Anybody {
    fn credentials(&self) -> Vec<u8> {
        b"anybody".to_vec()
    }

    fn judge(&self, _: NodeId, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
}

async fn start(seed: u8, bootstrap: Vec<String>) -> (Net, NetEvents) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let admission = Arc::new(Anybody);
    let config =
        NetConfig { secret_key: [seed; 32], admission, registrar: None, listen, bootstrap, advertise: Vec::new() };
    Net::start(config).await.expect("starts")
}

/// How a member answers.
type Ways = Box<dyn Fn(NodeId, usize, Vec<u8>, Reply) + Send>;

/// A network, and as many connected to it as there are ways to answer. Each is told the question and how many it has had.
async fn among(answers: Vec<Ways>) -> (Fetcher, Vec<Net>) {
    let (net, mut events) = start(1, Vec::new()).await;
    let mut others = Vec::new();
    for (seed, answer) in (2..).zip(answers) {
        let (other, mut asked) = start(seed, net.listen_addresses()).await;
        tokio::spawn(async move {
            let mut count = 0;
            while let Some(event) = asked.recv().await {
                if let NetEvent::Message { from, bytes, reply, .. } = event {
                    count += 1;
                    answer(from, count, bytes, reply);
                }
            }
        });
        let up = tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time");
        assert!(matches!(up, Some(NetEvent::Up { .. })));
        others.push(other);
    }
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    (Fetcher::new(net), others)
}

/// Answers as it should, from a shelf.
fn honest(shelf: &Shelf) -> Ways {
    let server = Server::new(Shelf::default(), shelf.clone());
    Box::new(move |from, _, question, reply| {
        let server = server.clone();
        tokio::spawn(async move { server.serve(from, &question, reply).await });
    })
}

/// Says with an honest outline that it has the blob, and gives chunks of its own making.
fn liar(bytes: &[u8], chunk: &'static [u8]) -> Ways {
    let outline = Outline::of(bytes);
    Box::new(move |_, _, question, reply| {
        let Question { want, .. } = codec::decode(&question, 1_024).expect("a question of ours");
        match want {
            Want::Outline => reply.send(codec::encode(&Some(outline.claimed()))),
            Want::Chunk(_) => reply.send(codec::encode(&Some(serde_bytes::ByteBuf::from(chunk)))),
        }
    })
}

fn blob(length: usize) -> (Digest, Bytes, Shelf) {
    let bytes: Bytes = (0..length).map(|at| u8::try_from(at / 7 % 251).expect("below 251")).collect::<Vec<_>>().into();
    let digest = Digest::of(&bytes);
    (digest, bytes.clone(), Shelf::of([bytes]))
}

async fn fetch(fetcher: &Fetcher, digest: Digest) -> Result<Bytes, FetchError> {
    let fetched = tokio::time::timeout(DEADLINE, fetcher.fetch(Sort::Asset, digest, MAX)).await.expect("in time");
    fetched.map(|fetched| fetched.bytes)
}

fn wrong(fetcher: &Fetcher) -> u64 {
    fetcher.net.counters().offences(Offence::WrongBytes)
}

#[tokio::test]
async fn blobs_of_every_size_arrive_from_whoever_has_them() {
    for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 7 * CHUNK_BYTES + 5] {
        let (digest, bytes, shelf) = blob(length);
        let (fetcher, _others) = among(vec![honest(&Shelf::default()), honest(&shelf), honest(&shelf)]).await;
        assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes, "{length}");
        assert_eq!(wrong(&fetcher), 0);
        let artifact = fetcher.fetch(Sort::Artifact, digest, MAX).await;
        assert!(matches!(artifact, Err(FetchError::Nowhere { .. })), "an asset is no artefact");
    }
}

#[tokio::test]
async fn liars_are_found_out_and_the_blob_arrives_from_the_honest() {
    let (digest, bytes, shelf) = blob(5 * CHUNK_BYTES);
    let (fetcher, others) = among(vec![liar(&bytes, b"not this"), honest(&shelf), liar(&bytes, b"")]).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    let score = |net: &Net| fetcher.net.peers().iter().find(|link| link.node == net.node()).map(|link| link.score);
    assert!(wrong(&fetcher) > 0);
    assert_eq!(score(&others[1]), Some(100), "who gave what it claimed is not blamed");
    assert!(score(&others[0]) < Some(100) || score(&others[2]) < Some(100));
}

#[tokio::test]
async fn an_outline_that_was_made_up_does_not_put_the_blame_on_the_honest() {
    let (digest, bytes, shelf) = blob(4 * CHUNK_BYTES);
    // Claims a blob of one chunk, which passes as an outline of whatever is asked for.
    let (fetcher, others) = among(vec![liar(b"", b"not this"), honest(&shelf)]).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    let score = |net: &Net| fetcher.net.peers().iter().find(|link| link.node == net.node()).map(|link| link.score);
    assert_eq!(score(&others[1]), Some(100));
}

#[tokio::test]
async fn only_liars_or_nobody_is_an_error_that_says_so() {
    let (digest, bytes, _) = blob(2 * CHUNK_BYTES);
    let (fetcher, _others) = among(vec![liar(&bytes, b"not this")]).await;
    let error = fetch(&fetcher, digest).await.expect_err("nobody has it");
    assert!(error.to_string().contains("other bytes than it has claimed"), "{error}");
    assert_eq!(wrong(&fetcher), 1, "blamed once, whatever else was under way");
    let (fetcher, _others) = among(vec![honest(&Shelf::default())]).await;
    let error = fetch(&fetcher, digest).await.expect_err("nobody has it");
    assert_eq!(error, FetchError::Nowhere { sort: Sort::Asset, digest, last: None });
    let (fetcher, _others) = among(Vec::new()).await;
    assert!(fetch(&fetcher, digest).await.is_err());
}

#[tokio::test]
async fn large_blobs_side_by_side_cost_their_giver_two_readings_each() {
    let blobs: Vec<Bytes> = (0..3).map(|number| Bytes::from(vec![number; 24 * CHUNK_BYTES])).collect();
    let shelf = Shelf::of(blobs.clone());
    let (fetcher, _others) = among(vec![honest(&shelf)]).await;
    let fetched = futures::future::join_all(blobs.iter().map(|bytes| fetch(&fetcher, Digest::of(bytes)))).await;
    assert!(fetched.into_iter().zip(&blobs).all(|(fetched, bytes)| fetched.is_ok_and(|fetched| fetched == bytes)));
    assert_eq!(shelf.bytes_read(), 2 * 72 * CHUNK_BYTES as u64, "for the outline, and for the chunks");
}

/// Gives what it has, each chunk a while after it was asked for it, and counts the questions for chunks.
fn slow(shelf: &Shelf, asked: &Arc<AtomicUsize>) -> Ways {
    let (server, asked) = (Server::new(Shelf::default(), shelf.clone()), Arc::clone(asked));
    Box::new(move |from, _, question, reply| {
        let (server, asked) = (server.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let Question { want, .. } = codec::decode(&question, 1_024).expect("a question of ours");
            if matches!(want, Want::Chunk(_)) {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            server.serve(from, &question, reply).await
        });
    })
}

#[tokio::test]
async fn a_giver_that_keeps_us_waiting_is_asked_for_little_while_there_is_another() {
    let (digest, bytes, shelf) = blob(40 * CHUNK_BYTES);
    let asked = Arc::<AtomicUsize>::default();
    let (fetcher, _others) = among(vec![slow(&shelf, &asked), honest(&shelf)]).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= gather::CHUNKS_AT_ONCE, "asked for {asked} of 40 chunks");
    assert_eq!(wrong(&fetcher), 0, "to be slow is no lie");
}

#[tokio::test]
async fn givers_that_are_all_slow_are_waited_for_and_each_chunk_is_asked_for_once() {
    let (digest, bytes, shelf) = blob(6 * CHUNK_BYTES);
    let asked = Arc::<AtomicUsize>::default();
    let (fetcher, _others) = among(vec![slow(&shelf, &asked)]).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    assert_eq!(asked.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn assets_that_take_all_their_room_keep_no_artefact_away() {
    let (digest, bytes, shelf) = blob(2 * CHUNK_BYTES);
    let server = Server::new(shelf, Shelf::default());
    let gives: Ways = Box::new(move |from, _, question, reply| {
        let server = server.clone();
        tokio::spawn(async move { server.serve(from, &question, reply).await });
    });
    let (fetcher, _others) = among(vec![gives]).await;
    let _assets = fetcher.asset_room.acquire_many(128).await.expect("open");
    let fetched = tokio::time::timeout(DEADLINE, fetcher.fetch(Sort::Artifact, digest, MAX)).await.expect("in time");
    assert_eq!(fetched.expect("arrives").bytes, bytes);
}

#[tokio::test]
async fn what_is_larger_than_allowed_is_not_fetched() {
    let (digest, _, shelf) = blob(3 * CHUNK_BYTES);
    let (fetcher, _others) = among(vec![honest(&shelf)]).await;
    let refused = fetcher.fetch(Sort::Asset, digest, 2 * CHUNK_BYTES).await;
    assert!(matches!(refused, Err(FetchError::Nowhere { .. })));
}

#[tokio::test]
async fn a_member_that_has_it_no_more_is_replaced_by_one_that_has() {
    let (digest, bytes, shelf) = blob(6 * CHUNK_BYTES);
    let (whole, nothing) =
        (Server::new(Shelf::default(), shelf.clone()), Server::new(Shelf::default(), Shelf::default()));
    let forgetful: Ways = Box::new(move |from, count, question, reply| {
        // It loses the blob after its second answer.
        let server = if count <= 2 { whole.clone() } else { nothing.clone() };
        tokio::spawn(async move { server.serve(from, &question, reply).await });
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let steady = honest(&shelf);
    let steady: Ways = Box::new(move |from, number, question, reply| {
        count.fetch_add(1, Ordering::Relaxed);
        steady(from, number, question, reply);
    });
    let (fetcher, _others) = among(vec![forgetful, steady]).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    assert!(asked.load(Ordering::Relaxed) > 1);
    assert_eq!(wrong(&fetcher), 0, "to have lost it is no lie");
}

#[tokio::test]
async fn the_far_are_asked_when_the_near_have_nothing_and_a_question_that_is_none_is_not_answered() {
    let (digest, bytes, shelf) = blob(3);
    let mut members: Vec<_> = (0..2 * ASKED_AT_ONCE).map(|_| honest(&Shelf::default())).collect();
    members.push(honest(&shelf));
    let (fetcher, others) = among(members).await;
    assert_eq!(fetch(&fetcher, digest).await.expect("arrives"), bytes);
    let answer = fetcher.net.request(others[0].node(), Lane::Artifact, b"?".to_vec(), DEADLINE).await;
    assert_eq!(answer, Err(RequestError::Unanswered));
}
