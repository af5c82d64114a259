//! From commits that were found to what each stream can be continued from.
//!
//! Owns the judgement over the order within a stream; reads nothing. The invariant: each stream's log continues the checkpoint
//! without a gap.

use std::collections::BTreeMap;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::commit::{Batch, CommitBytes};
use selvedge_sync::id::Stream;

use super::Cut;
use super::log::{Rows, Seals};

/// What was found, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// The log above and below the checkpoint.
    pub(super) log: Vec<Batch>,
    /// Where it had to be cut.
    pub(super) cuts: Vec<Cut>,
    /// What is intact behind the cuts.
    pub(super) behind: Vec<Batch>,
}

/// What continues the checkpoint, and what does not.
pub(super) fn continuing(rows: Rows, vector: &VersionVector) -> Runs {
    let (mut runs, mut behind) = (Runs::default(), Rows::new());
    for (stream, rows) in rows {
        let scan = StreamScan::over(stream, vector.seq(&stream), rows);
        runs.log.extend(Some(scan.run).filter(|run| !run.commits.is_empty()));
        runs.cuts.extend(scan.cut);
        behind.insert(stream, scan.behind);
    }
    runs.behind = intact(behind);
    runs
}

/// Puts seals to the commits that they are for.
pub(super) fn seal(batches: &mut [Batch], seals: &Seals) {
    for batch in batches.iter_mut().filter(|batch| !batch.commits.is_empty()) {
        let last = batch.first.saturating_add(batch.commits.len() as u64 - 1);
        let of_stream = seals.get(&batch.stream).into_iter().flat_map(|seals| seals.range(batch.first..=last));
        batch.seals = of_stream.map(|(_, seal)| *seal).collect();
    }
}

/// All that is intact, whatever it continues.
pub(super) fn intact(rows: Rows) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (stream, rows) in rows {
        for (seq, commit) in rows {
            let Some(commit) = commit else { continue };
            match batches.last_mut() {
                Some(last) if last.stream == stream && last.first + last.commits.len() as u64 == seq => {
                    last.commits.push(commit);
                }
                Some(_) | None => batches.push(Batch::new(stream, seq, vec![commit])),
            }
        }
    }
    batches
}

/// Reads the log of one stream.
///
/// Above the checkpoint every commit counts: the first that is damaged or missing ends the log. Below it the objects hold
/// everything already, so damage there costs only history that peers might have asked for.
struct StreamScan {
    checkpoint: u64,
    /// The commits that are kept, so far.
    run: Batch,
    cut: Option<Cut>,
    /// What follows the cut.
    behind: BTreeMap<u64, Option<CommitBytes>>,
}

impl StreamScan {
    fn over(stream: Stream, checkpoint: u64, rows: BTreeMap<u64, Option<CommitBytes>>) -> Self {
        let run = Batch::new(stream, 0, Vec::new());
        let mut scan = Self { checkpoint, run, cut: None, behind: BTreeMap::new() };
        for (seq, commit) in rows {
            scan.row(seq, commit);
        }
        if scan.next() <= checkpoint {
            scan.run.commits.clear();
        }
        scan
    }

    /// The number that continues the run, or the checkpoint where there is no run.
    fn next(&self) -> u64 {
        match self.run.commits.len() {
            0 => self.checkpoint.saturating_add(1),
            length => self.run.first.saturating_add(length as u64),
        }
    }

    fn row(&mut self, seq: u64, commit: Option<CommitBytes>) {
        if let Some(cut) = &mut self.cut {
            cut.rows += 1;
            self.behind.insert(seq, commit);
            return;
        }
        let continues = !self.run.commits.is_empty() && seq == self.next();
        match commit {
            Some(commit) if continues => self.run.commits.push(commit),
            Some(commit) if seq <= self.checkpoint.saturating_add(1) => {
                // History below the checkpoint that does not lead up to it is given up.
                self.run.commits.clear();
                self.run.first = seq;
                self.run.commits.push(commit);
            }
            None if seq <= self.checkpoint => self.run.commits.clear(),
            other => {
                let from = self.next().max(self.checkpoint.saturating_add(1));
                self.cut = Some(Cut { stream: self.run.stream, from, rows: 1 });
                self.behind.insert(seq, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};

    /// Rows as (number, intact); what is kept as (first, length), what is cut as (from, rows).
    fn check(checkpoint: u64, rows: &[(u64, bool)], kept: Option<(u64, usize)>, cut: Option<(u64, u64)>) {
        let stream = Stream::global(ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(1) });
        let found = rows
            .iter()
            .map(|(seq, intact)| (*seq, intact.then(|| CommitBytes::from_bytes(&seq.to_le_bytes()))))
            .collect();
        let runs = continuing(Rows::from([(stream, found)]), &[(stream, checkpoint)].into_iter().collect());
        let (run, found_cut) = (runs.log.first(), runs.cuts.first());
        let intact = |from: u64| rows.iter().filter(|(seq, intact)| *intact && *seq >= from).count();
        let behind: usize = runs.behind.iter().map(|batch| batch.commits.len()).sum();
        assert_eq!(behind, cut.map_or(0, |(from, _)| intact(from)), "behind the cut of {rows:?}");
        assert_eq!(run.map(|run| (run.first, run.commits.len())), kept, "kept of {rows:?}");
        if let Some(run) = run {
            let numbers: Vec<_> = run.commits.iter().map(|commit| commit.as_bytes().to_vec()).collect();
            assert!((run.first..).map(|seq| seq.to_le_bytes().to_vec()).zip(&numbers).all(|(a, b)| a == *b));
        }
        assert_eq!(found_cut.map(|cut| (cut.from, cut.rows)), cut, "cut of {rows:?}");
    }

    #[test]
    fn an_intact_log_is_kept_whole() {
        check(0, &[(1, true), (2, true)], Some((1, 2)), None);
        check(2, &[(1, true), (2, true), (3, true)], Some((1, 3)), None);
        check(5, &[(6, true)], Some((6, 1)), None);
        check(5, &[(4, true), (5, true)], Some((4, 2)), None);
    }

    #[test]
    fn damage_above_the_checkpoint_cuts_the_log() {
        check(0, &[(1, true), (2, false), (3, true)], Some((1, 1)), Some((2, 2)));
        check(0, &[(1, false), (2, true)], None, Some((1, 2)));
        check(1, &[(1, true), (2, true), (4, true)], Some((1, 2)), Some((3, 1)));
        check(3, &[(5, true)], None, Some((4, 1)));
        check(3, &[(2, true), (5, true)], None, Some((4, 1)));
    }

    #[test]
    fn damage_below_the_checkpoint_costs_only_history() {
        check(3, &[(1, true), (2, false), (3, true), (4, true)], Some((3, 2)), None);
        check(3, &[(1, true), (2, true), (3, false), (4, true)], Some((4, 1)), None);
        check(9, &[(1, true), (2, true)], None, None);
        check(9, &[(1, true), (2, true), (9, true), (10, true)], Some((9, 2)), None);
    }
}
