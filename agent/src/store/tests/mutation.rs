//! What recovery makes of segments whose bytes were changed at random, from a fixed seed.

use selvedge_sync::sim::Rng;

use super::migration::write_format_2;
use super::*;

const MUTATIONS: u64 = if cfg!(debug_assertions) { 30 } else { 100 };

/// What was told of each log when it was written: frames in order, each with its commits.
type Frames = Vec<Vec<Batch>>;

/// Frames of two streams over several segments; the last is closed in order when `closed`.
fn written(closed: bool) -> (SimDisk, Frames) {
    let disk = SimDisk::default();
    let (store, mut events, _) = open_sim(&disk);
    store.set_identity(Identity { replica: replica(1) }).expect("room").wait().expect("durable");
    let mut frames = Frames::new();
    for token in 1..=30 {
        let others = token % 3;
        let batches = if others == 0 {
            vec![batch(1, token, 1)]
        } else {
            vec![batch(1, token, 1), batch(2, token - token / 3, 1)]
        };
        append_durably(&store, &mut events, token, batches.clone());
        frames.push(batches);
    }
    let killed = disk.after_power_cut(1);
    store.close().expect("closes");
    (if closed { disk } else { killed }, frames)
}

/// The highest number of each of both streams in the first `length` frames.
fn tops(frames: &[Vec<Batch>]) -> [u64; 2] {
    [1, 2].map(|node| {
        let runs = frames.iter().flatten().filter(|run| run.stream == stream(node));
        runs.map(|run| run.first + run.commits.len() as u64 - 1).max().unwrap_or(0)
    })
}

/// What is read is what was written, and what is not is reported, unless it is the end of the log that `may_end` early.
fn check(disk: &SimDisk, frames: &[Vec<Batch>], may_end: bool, at: &str) -> bool {
    let (store, _events, recovered) = open_sim(disk);
    store.close().expect("closes");
    assert!(!recovered.damaged, "{at}: the checkpoint is whole");
    for run in recovered.log.iter().chain(&recovered.orphans.doubtful) {
        let node = run.stream.replica.node.0[0];
        for (seq, found) in (run.first..).zip(&run.commits) {
            assert_eq!(*found, commit(node, seq), "{at}: commit {seq} of {node} is none that was written");
        }
    }
    let last = |node| {
        let run = recovered.log.iter().find(|run| run.stream == stream(node));
        run.map_or(recovered.checkpoint_vector.seq(&stream(node)), |run| run.first + run.commits.len() as u64 - 1)
    };
    let found = [last(1), last(2)];
    let is_whole = found == tops(frames);
    let is_end = may_end && (0..frames.len()).any(|length| found == tops(&frames[..length]));
    let is_told = recovered.own_damaged || !recovered.cuts.is_empty();
    assert!(is_whole || is_told || is_end, "{at}: {found:?} are there, and nothing was said");
    let (store, _events, again) = open_sim(disk);
    store.close().expect("closes");
    assert_eq!((again.log, again.own_damaged), (recovered.log, recovered.own_damaged), "{at}: it is found again");
    is_whole
}

fn mutate_and_check(written: &dyn Fn() -> (SimDisk, Frames), rounds: u64, at: &str) {
    let (mut rng, mut whole) = (Rng::new(13), 0);
    for round in 0..rounds {
        let (disk, frames) = written();
        let segments: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".log")).collect();
        assert!(segments.len() >= 2, "{segments:?}");
        let mutated = rng.index(segments.len());
        disk.tamper(&segments[mutated], |bytes| log::mutate(bytes, &mut rng));
        let may_end = mutated + 1 == segments.len();
        whole += u64::from(check(&disk, &frames, may_end, &format!("{at}, round {round}, {}", segments[mutated])));
    }
    assert!(whole < rounds * 3 / 4, "{at}: {whole} of {rounds} were not hurt");
}

#[test]
fn logs_that_were_changed_are_read_as_written_or_reported() {
    for closed in [true, false] {
        let (disk, frames) = written(closed);
        assert!(check(&disk.after_power_cut(1), &frames, false, "whole"));
        let copy = || (disk.after_power_cut(1), frames.clone());
        mutate_and_check(&copy, MUTATIONS, &format!("format 3, closed: {closed}"));
    }
    let disk = SimDisk::default();
    let frames = write_format_2(&disk);
    assert!(check(&disk.after_power_cut(1), &frames, false, "whole"));
    mutate_and_check(&|| (disk.after_power_cut(1), frames.clone()), MUTATIONS, "format 2");
}
