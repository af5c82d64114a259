//! Segments as bytes: how long the search for a frame takes, and what is made of bytes that were changed.
//!
//! The seeds are fixed, so that what fails once fails again.

use std::collections::BTreeSet;

use selvedge_sync::commit::CommitBytes;
use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
use selvedge_sync::sim::Rng;

use super::super::sim_disk::SimDisk;
use super::*;

const MUTATIONS: u64 = if cfg!(debug_assertions) { 400 } else { 4_000 };

const SHAPES: [Shape; 2] = [Shape::Two, Shape::Three];

fn stream(node: u8) -> Stream {
    Stream::global(ReplicaId { node: NodeId([node; 32]), incarnation: Incarnation(7) })
}

/// A commit that is told from all others by what it begins with, and is as long as `length` says beside that.
fn commit(node: u8, seq: u64, length: usize) -> CommitBytes {
    let mut bytes = vec![node];
    bytes.extend(seq.to_le_bytes());
    let mut rng = Rng::new(seq << 8 | u64::from(node));
    bytes.extend((0..length).map(|_| rng.draw().to_le_bytes()[7]));
    CommitBytes::from_bytes(&bytes)
}

fn batch(node: u8, first: u64, count: u64, length: usize) -> Batch {
    let commits = (first..first + count).map(|seq| commit(node, seq, length)).collect();
    Batch::new(stream(node), first, commits)
}

fn name(shape: Shape, number: u64, first_frame: u64) -> SegmentName {
    SegmentName { generation: 3, number, first_frame, shape }
}

/// The bytes of a segment that holds `frames`, where the log would place them.
fn segment(name: SegmentName, frames: &[Vec<Batch>]) -> Vec<u8> {
    let salt = Salt::of(name.shape, name.generation, name.number);
    let (mut bytes, mut known, mut known_two) = (Vec::new(), Known::new(), BTreeSet::new());
    for (index, batches) in (0..).zip(frames) {
        let mut frame = Vec::new();
        match name.shape {
            Shape::Two => frame = frame_two::encode(salt, index, batches, &mut known_two),
            Shape::Three => {
                frame::encode(&mut frame, salt, index, &batches.iter().collect::<Vec<_>>(), &mut known);
                let place = place_of(bytes.len() as u64, frame.len() as u64);
                bytes.resize(usize::try_from(place).expect("a small segment"), 0);
            }
        }
        bytes.extend(frame);
    }
    bytes
}

fn found_in(segments: &[(SegmentName, Vec<u8>)]) -> Found {
    let disk = SimDisk::default();
    for (name, bytes) in segments {
        disk.create(&name.to_string()).expect("creates").write(0, bytes).expect("writes");
    }
    let names: Vec<_> = segments.iter().map(|(name, _)| *name).collect();
    scan(&disk, &names, &Floors::default(), std::iter::empty())
}

#[test]
fn old_frames_behind_the_last_are_searched_in_one_pass() {
    // Lone commits of every length there is, and now and then what many have written at once.
    let lengths = (0..).map(|seq: u64| usize::try_from(seq % 300).expect("a small number"));
    let mut old = Vec::new();
    for (seq, length) in (1..).zip(lengths).take(14_000) {
        let writers = if seq % 50 == 0 { 30 } else { 1 };
        old.push((1..=writers).map(|node| batch(node, seq, 1, length)).collect());
    }
    for shape in SHAPES {
        let mut bytes = segment(name(shape, 1, 0), &old);
        assert!(bytes.len() > 4 * 1024 * 1024, "{}", bytes.len());
        let again = segment(name(shape, 9, 0), &[vec![batch(1, 1, 1, 90)], vec![batch(1, 2, 1, 90)]]);
        bytes[..again.len()].copy_from_slice(&again);
        let length = bytes.len() as u64;
        frame::HASHED.set(0);
        let found = found_in(&[(name(shape, 9, 0), bytes)]);
        assert_eq!((found.next_frame, found.lost), (2, 0), "{shape:?}");
        let hashed = frame::HASHED.get();
        assert!(hashed <= 4 * length, "{shape:?}: {hashed} bytes were hashed to search {length}");
    }
}

/// What each frame of each segment holds.
type Frames = [Vec<Vec<Batch>>; 2];

/// Two segments of frames small and large, in pages that follow each other, and closed in order.
fn written(shape: Shape) -> (Frames, [(SegmentName, Vec<u8>); 2]) {
    let first = vec![
        vec![batch(1, 1, 1, 80), batch(2, 1, 3, 40)],
        vec![batch(1, 2, 1, 80)],
        vec![batch(3, 1, 20, 170), batch(1, 3, 1, 0)],
        vec![batch(2, 4, 1, 500)],
        vec![batch(1, 4, 2, 300), batch(2, 5, 1, 30)],
    ];
    let second = vec![
        vec![batch(2, 6, 1, 90)],
        vec![batch(1, 6, 4, 700), batch(4, 1, 1, 10)],
        vec![batch(2, 7, 2, 60), batch(3, 21, 1, 200)],
        Vec::new(),
    ];
    let frames = [first, second];
    let segments = [0, 1].map(|at| {
        let name = name(shape, at as u64, if at == 0 { 0 } else { frames[0].len() as u64 });
        (name, segment(name, &frames[at]))
    });
    (frames, segments)
}

/// Changes bytes in one of the ways in which disks, programs and people do.
pub(in crate::store) fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.between(1, 3) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.index(bytes.len());
        let end = (at + 1 + rng.index(600)).min(bytes.len());
        match rng.between(0, 7) {
            0 => bytes[at] ^= 1 << rng.between(0, 7),
            1 => bytes[at] = rng.draw().to_le_bytes()[7],
            2 => bytes[at..end].fill(0),
            3 => bytes[at..end].fill_with(|| rng.draw().to_le_bytes()[7]),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..end)),
            6 => {
                let to = rng.index(bytes.len() - (end - at) + 1);
                bytes.copy_within(at..end, to);
            }
            _ => {
                let part = bytes[at..end].to_vec();
                let to = rng.index(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

/// What is read is what was written; what is not there is damaged, lost, or the end of what was confirmed.
fn check_found(frames: &Frames, mutated: usize, found: &Found, at: &str) {
    let mut written: Rows = Rows::new();
    for (place, batches) in (0..).zip(frames.iter().flatten()) {
        for batch in batches {
            for (seq, commit) in (batch.first..).zip(&batch.commits) {
                written.entry(batch.stream).or_default().insert(seq, Some(commit.clone()));
                let row = found.rows.get(&batch.stream).and_then(|rows| rows.get(&seq));
                let is_end = mutated == 1 && place >= found.next_frame;
                assert!(row.is_some() || found.lost > 0 || is_end, "{at}: commit {seq} of frame {place} vanished");
            }
        }
    }
    for (stream, rows) in &found.rows {
        for (seq, commit) in rows.iter().filter(|(_, commit)| commit.is_some()) {
            let original = written.get(stream).and_then(|rows| rows.get(seq));
            assert_eq!(Some(commit), original, "{at}: commit {seq} is none that was written");
        }
    }
}

#[test]
fn of_segments_that_were_changed_only_what_was_written_is_read() {
    for shape in SHAPES {
        let (frames, segments) = written(shape);
        let whole = found_in(&segments);
        check_found(&frames, 0, &whole, "whole");
        assert!(whole.rows.values().flatten().all(|(_, commit)| commit.is_some()) && whole.lost == 0);
        assert_eq!(whole.next_frame, 9);
        let (mut rng, mut hurt) = (Rng::new(11), 0);
        for round in 0..MUTATIONS {
            let mut segments = segments.clone();
            let mutated = rng.index(2);
            mutate(&mut segments[mutated].1, &mut rng);
            let found = found_in(&segments);
            check_found(&frames, mutated, &found, &format!("{shape:?}, round {round}"));
            hurt += u64::from(found.rows != whole.rows);
        }
        assert!(hurt > MUTATIONS / 2 && hurt < MUTATIONS, "{shape:?}: {hurt} of {MUTATIONS} were hurt");
    }
}

/// Makes the sums of a frame's header and table hold again, where there is a header.
fn seal(bytes: &mut [u8], salt: Salt) {
    let Some(header) = frame::header(bytes, salt.shape) else { return };
    let end = header.bytes.saturating_add(header.table).min(bytes.len());
    let sum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[header.sum + frame::SUM_BYTES..end], salt.seed).to_le_bytes();
    bytes[header.sum..header.sum + frame::SUM_BYTES].copy_from_slice(&sum);
    if salt.shape == Shape::Three {
        let check = frame::check_of(&bytes[header.sum + frame::SUM_BYTES..header.bytes], salt);
        bytes[..header.sum].copy_from_slice(&check);
    }
}

#[test]
fn tables_of_nonsense_are_refused_even_where_their_sum_holds() {
    let batches = [batch(1, 1, 1, 20), batch(2, 1, 3, 10), batch(1, 2, 2, 5), batch(3, u64::MAX - 1, 1, 1)];
    for shape in SHAPES {
        let name = name(shape, 0, 0);
        let salt = Salt::of(shape, name.generation, name.number);
        let whole = segment(name, &[batches.to_vec()]);
        let (mut rng, mut parsed, mut read) = (Rng::new(12), 0, 0);
        for _ in 0..10 * MUTATIONS {
            let mut bytes = whole.clone();
            // The header, and the table that follows it.
            for _ in 0..rng.between(1, 3) {
                bytes[rng.index(160)] = [0, 1, 2, 0x7f, 0x80, 0xff, rng.draw().to_le_bytes()[7]][rng.index(7)];
            }
            seal(&mut bytes, salt);
            parsed += u64::from(frame::parse(&bytes, 0, salt, 0).is_some());
            let found = found_in(&[(name, bytes)]);
            let rows: usize = found.rows.values().map(BTreeMap::len).sum();
            assert!(rows <= whole.len(), "{rows} rows in {} bytes", whole.len());
            read += u64::from(found.rows.values().flatten().any(|(_, commit)| commit.is_some()));
        }
        assert!(parsed > MUTATIONS && read > MUTATIONS / 4, "{shape:?}: {parsed} frames were parsed, {read} were read");
    }
}
