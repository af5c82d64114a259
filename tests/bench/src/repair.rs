//! Repair without shared history: a thousand of 100,000 keys differ, and the giver's log does not reach back.
//!
//! Ours: messages are pumped between two replicas until they agree; all bytes but those of the differing objects count as
//! overhead, requests and vectors included, before messages are packed (what that saves of them cannot be told from what it saves
//! of the objects; it is told beside), and all time in `handle`, `encode` and `decode`, merging included. The peers
//! reconcile sets of ids, a hash of key and content, held ready on both sides: 32 bytes for negentropy, which knows no other
//! size, and 8 for riblt. Their bytes are those of reconciliation alone and, told beside, with the request for the ids that
//! it found missing; their time is that of reconciliation alone.

use std::fmt::Debug;

use anyhow::{Result, anyhow, ensure};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use riblt::{RatelessIBLT, UnmanagedRatelessIBLT};
use selvedge_sync::codec;
use selvedge_sync::crdt::ObjectState;
use selvedge_sync::key::Key;
use selvedge_sync::replica::Replica;
use selvedge_sync::sim::Rng;

use crate::fill::{Held, NOON, commit, put, settle, writer};
use crate::mesh::{Mesh, agree};
use crate::report::{Goal, Row};
use crate::sample::{Spread, seconds};

const NAME: &str = "repair";
const KEYS: usize = 100_000;
const DIFFERENT: usize = 1_000;
const ROUNDS: u64 = 5;

/// What differs.
#[derive(Clone, Copy)]
enum Case {
    /// The receiver lacks keys that the giver has.
    Missing,
    /// The receiver has older content under the same keys.
    Changed,
}

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in [Case::Missing, Case::Changed] {
        rows.extend(measure(case)?);
    }
    Ok(rows)
}

/// Bytes and seconds of one reconciliation.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: usize,
    /// With the request for what was found missing.
    bytes_asked: usize,
    seconds: f64,
    /// Making ready what the two sides keep anyway.
    prepared: f64,
    round_trips: f64,
}

fn measure(case: Case) -> Result<Vec<Row>> {
    let (mut ours, mut sorted, mut iblt) = (Vec::new(), Vec::new(), Vec::new());
    let mut told = String::new();
    for round in 0..ROUNDS {
        let (giver, receiver) = states(case, round);
        let (cost, kinds) = repaired(&giver, &receiver)?;
        ours.push(cost);
        told = kinds;
        let (giver, receiver) = (ids(&giver), ids(&receiver));
        sorted.push(by_negentropy(&giver, &receiver)?);
        iblt.push(by_riblt(&giver, &receiver)?);
    }
    let name = match case {
        Case::Missing => "missing",
        Case::Changed => "changed",
    };
    let what = |aspect: &str| format!("{DIFFERENT} of {KEYS} keys {name}: {aspect}");
    let bytes = |costs: &[Cost]| Spread::of(&costs.iter().map(|cost| cost.bytes as f64).collect::<Vec<_>>());
    let time = |costs: &[Cost]| Spread::of(&costs.iter().map(|cost| cost.seconds * 1e3).collect::<Vec<_>>());
    let ratio = |peer: &[Cost], of: fn(&Cost) -> f64| {
        Spread::of(&ours.iter().zip(peer).map(|(ours, peer)| of(ours) / of(peer)).collect::<Vec<_>>())
    };
    let rows = [("negentropy", &sorted, Goal::AtMost(1.0)), ("riblt", &iblt, Goal::Told)].map(|(peer, costs, goal)| {
        let last = costs[costs.len() - 1];
        let of_bytes =
            Row::new(NAME, what(&format!("bytes against {peer}")), ratio(costs, |cost| cost.bytes as f64), "x")
                .goal(goal)
                .parts(bytes(&ours), bytes(costs), peer, "B")
                .note(format!(
                    "{peer} with the request for what is missing: {} B; {} round trips",
                    last.bytes_asked, last.round_trips
                ));
        let of_time = Row::new(NAME, what(&format!("CPU against {peer}")), ratio(costs, |cost| cost.seconds), "x")
            .goal(Goal::AtMost(1.0))
            .parts(time(&ours), time(costs), peer, "ms")
            .note(format!("{peer} took {:.1} ms before that to make its two sets ready", last.prepared * 1e3));
        [of_bytes, of_time]
    });
    let trips = Row::new(NAME, what("round trips of ours"), Spread::exact(ours[0].round_trips), "").note(told);
    Ok(rows.into_iter().flatten().chain([trips]).collect())
}

/// What the giver and the receiver hold. Both know one writer, the receiver up to an earlier point.
fn states(case: Case, seed: u64) -> (Held, Held) {
    let mut rng = Rng::new(1_000 + seed);
    match case {
        Case::Missing => {
            let before = writer(50 + seed, KEYS - DIFFERENT);
            let receiver = Held::by(&before);
            let mut after = before;
            for key in KEYS - DIFFERENT..KEYS {
                settle(&mut after, commit(vec![put(key, &mut rng)]), NOON);
            }
            (Held::by(&after), receiver)
        }
        Case::Changed => {
            let mut writer = writer(50 + seed, KEYS);
            let receiver = Held::by(&writer);
            // Every hundredth key, from somewhere.
            let offset = rng.index(KEYS);
            for at in 0..DIFFERENT {
                let key = (offset + at * (KEYS / DIFFERENT)) % KEYS;
                settle(&mut writer, commit(vec![put(key, &mut rng)]), NOON);
            }
            (Held::by(&writer), receiver)
        }
    }
}

fn repaired(giver: &Held, receiver: &Held) -> Result<(Cost, String)> {
    let mut mesh = Mesh::of(vec![giver.recovered(1), receiver.recovered(2)]);
    let objects = object_bytes(&mesh.replicas[0], &mesh.replicas[1]);
    mesh.connect();
    mesh.run_until(agree);
    let overhead = usize::try_from(mesh.plain_bytes())?.saturating_sub(objects);
    let cost = Cost {
        bytes: overhead,
        bytes_asked: overhead,
        seconds: mesh.busy.as_secs_f64(),
        prepared: 0.0,
        round_trips: f64::from(mesh.hops) / 2.0,
    };
    Ok((cost, format!("{}; {objects} B of them are the objects", mesh.told())))
}

/// The size before packing of the giver's objects that the receiver does not hold so.
fn object_bytes(giver: &Replica, receiver: &Replica) -> usize {
    let differs = |key: &Key, state: &ObjectState| {
        receiver.state().object(key).map(|object| object.state()).as_ref() != Some(state)
    };
    let states = giver.state().objects_after(None).map(|(key, object)| (key, object.state()));
    // Without the envelope's version byte, which a page has once.
    states.filter(|(key, state)| differs(key, state)).map(|item| codec::encode(&item).len() - 1).sum()
}

/// The hash of each object with its key.
fn ids(held: &Held) -> Vec<[u8; 32]> {
    held.objects.iter().map(|item| *blake3::hash(&codec::encode(item)).as_bytes()).collect()
}

fn by_negentropy(giver: &[[u8; 32]], receiver: &[[u8; 32]]) -> Result<Cost> {
    let failed = |error| anyhow!("negentropy: {error}");
    let storage = |ids: &[[u8; 32]]| -> Result<NegentropyStorageVector> {
        let mut storage = NegentropyStorageVector::with_capacity(ids.len());
        for id in ids {
            storage.insert(0, Id::from_byte_array(*id)).map_err(failed)?;
        }
        storage.seal().map_err(failed)?;
        Ok(storage)
    };
    let (prepared, sets) = seconds(|| Ok::<_, anyhow::Error>((storage(giver)?, storage(receiver)?)));
    let (giver_set, receiver_set) = sets?;
    let (mut have, mut need, mut bytes, mut messages) = (Vec::new(), Vec::new(), 0, 0_u32);
    let (seconds, done) = seconds(|| -> Result<()> {
        let mut client = Negentropy::borrowed(&receiver_set, 0).map_err(failed)?;
        let mut server = Negentropy::borrowed(&giver_set, 0).map_err(failed)?;
        let mut question = Some(client.initiate().map_err(failed)?);
        while let Some(asked) = question {
            let answer = server.reconcile(&asked).map_err(failed)?;
            bytes += asked.len() + answer.len();
            messages += 2;
            question = client.reconcile_with_ids(&answer, &mut have, &mut need).map_err(failed)?;
        }
        Ok(())
    });
    done?;
    ensure!(need.len() == DIFFERENT, "negentropy found {} of {DIFFERENT}", need.len());
    Ok(Cost { bytes, bytes_asked: bytes + 32 * need.len(), seconds, prepared, round_trips: f64::from(messages) / 2.0 })
}

/// An id as riblt takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Short(u64);

impl riblt::Symbol for Short {
    const BYTE_ARRAY_LENGTH: usize = 8;

    fn encode_to_bytes(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn decode_from_bytes(bytes: &Vec<u8>) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(bytes);
        Self(u64::from_le_bytes(id))
    }

    /// Ids are hashes already; another mixing keeps the sum of hashes apart from the sum of ids.
    fn hash_(&self) -> u64 {
        let mut mixed = self.0 ^ (self.0 >> 31);
        mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

/// Bytes of a coded symbol on the wire: sum, hash, and a count that a variable-length integer holds in three.
const CODED_BYTES: usize = 8 + 8 + 3;

/// The stream is decoded once at the shortest length that suffices: neither side pays for attempts that came too early.
fn by_riblt(giver: &[[u8; 32]], receiver: &[[u8; 32]]) -> Result<Cost> {
    let short = |ids: &[[u8; 32]]| -> Vec<Short> {
        let head = |id: &[u8; 32]| id.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
        ids.iter().map(|id| Short(head(id))).collect()
    };
    let (prepared, (giver, receiver)) = seconds(|| (short(giver), short(receiver)));
    let enough = shortest(&giver, &receiver)?;
    let (seconds, found) = seconds(|| decode(&giver, &receiver, enough));
    let found = found.ok_or_else(|| anyhow!("riblt does not decode what it decoded before"))?;
    let need = found.iter().filter(|one| format!("{one:?}").starts_with("Remote")).count();
    ensure!(need == DIFFERENT, "riblt found {need} of {DIFFERENT}");
    let bytes = enough * CODED_BYTES;
    Ok(Cost { bytes, bytes_asked: bytes + 8 * need, seconds, prepared, round_trips: 1.0 })
}

/// What is peeled from the difference; `None` when something is left. (The crate does not name the type of a peeled symbol.)
fn decode(giver: &[Short], receiver: &[Short], symbols: usize) -> Option<Vec<impl Debug>> {
    let mut theirs = RatelessIBLT::new(giver.to_vec());
    theirs.extend_coded_symbols(symbols - 1);
    let mut stream = UnmanagedRatelessIBLT::new();
    (0..symbols).for_each(|at| stream.add_coded_symbol(&theirs.get_coded_symbol(at)));
    let mut ours = RatelessIBLT::new(receiver.to_vec());
    let mut left = ours.collapse(&stream);
    let peeled = left.peel_all_symbols();
    left.is_empty().then_some(peeled)
}

/// The shortest prefix of the stream, to 1 %, that decodes.
fn shortest(giver: &[Short], receiver: &[Short]) -> Result<usize> {
    let (mut low, mut high) = (DIFFERENT, 6 * DIFFERENT);
    ensure!(decode(giver, receiver, high).is_some(), "riblt does not decode {high} symbols");
    while high - low > DIFFERENT / 100 {
        let middle = usize::midpoint(low, high);
        if decode(giver, receiver, middle).is_some() {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}
