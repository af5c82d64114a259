//! Reading the log back: what is intact, what is damaged, and what never became durable.
//!
//! Owns the judgement over segments and frames; of the order within a stream it knows nothing. The rule that it stands on: a
//! frame is written only after the one before it was synced. So a frame that cannot be read and is followed by another is
//! damage, and one that is followed by nothing was never confirmed. Where writing failed, the next segment says with which
//! frame it goes on, and what the one before holds from there on does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use selvedge_sync::commit::CommitBytes;
use selvedge_sync::id::Stream;
use selvedge_sync::seal::Seal;

use super::super::disk::Disk;
use super::frame::{self, Entry, Frame, Name, Salt};
use super::page::page_after;
use super::{Segment, SegmentName};

/// Commits by stream and sequence number; `None` stands for one that is there and damaged.
pub(in crate::store) type Rows = BTreeMap<Stream, BTreeMap<u64, Option<CommitBytes>>>;

/// Seals by stream and by the last commit that they are for.
pub(in crate::store) type Seals = BTreeMap<Stream, BTreeMap<u64, Seal>>;

/// What the checkpoint says of the log.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Floors {
    /// Frames below this one were written before the checkpoint, which therefore stands for all that is in them.
    pub(in crate::store) covered: u64,
    /// Below these sequence numbers, commits in those frames are not needed any more.
    pub(in crate::store) firsts: BTreeMap<Stream, u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub(in crate::store) struct Found {
    /// The commits.
    pub(in crate::store) rows: Rows,
    /// The seals of commits, those that were given up among them.
    pub(in crate::store) seals: Seals,
    /// Frames above the checkpoint of which not even is known whose commits they held.
    pub(in crate::store) lost: u64,
    /// The segments, in order, without those that hold nothing.
    pub(in crate::store) segments: Vec<Segment>,
    /// The number of the frame that comes next.
    pub(in crate::store) next_frame: u64,
}

/// Reads the segments `names`, all of one generation and in order. `streams` are those that the log may speak of without
/// having named them in anything that is still intact.
pub(in crate::store) fn scan(
    disk: &dyn Disk,
    names: &[SegmentName],
    floors: &Floors,
    streams: impl Iterator<Item = Stream>,
) -> Found {
    let mut scan = Scan { floors, streams: streams.collect(), found: Found::default() };
    for (at, name) in names.iter().enumerate() {
        let stop = names.get(at + 1).map(|next| next.first_frame);
        scan.found.next_frame = scan.found.next_frame.max(name.first_frame);
        match disk.read(&name.to_string()) {
            Ok(bytes) => scan.segment(name, &bytes, stop),
            Err(error) => {
                tracing::error!(segment = %name, %error, "a segment of the log cannot be read");
                scan.lose(name.first_frame..stop.unwrap_or(u64::MAX));
            }
        }
    }
    scan.found
}

struct Scan<'a> {
    floors: &'a Floors,
    /// Every stream that was heard of so far.
    streams: BTreeSet<Stream>,
    found: Found,
}

/// What a segment calls streams.
type Names = BTreeMap<u64, Stream>;

impl Scan<'_> {
    fn segment(&mut self, name: &SegmentName, bytes: &[u8], stop: Option<u64>) {
        let salt = Salt::of(name.shape, name.generation, name.number);
        let number = |index: u32| name.first_frame.saturating_add(u64::from(index));
        let mut segment = Segment { name: *name, bytes: 0, newest: BTreeMap::new() };
        let mut names = Names::new();
        let (mut at, mut index, mut ended) = (0, 0, false);
        while !ended && stop.is_none_or(|stop| number(index) < stop) {
            let Some((begin, frame)) = next_frame(bytes, at, salt, index) else { break };
            if stop.is_some_and(|stop| number(frame.index) >= stop)
                || (stop.is_none() && self.is_torn(&frame, bytes, &names))
            {
                break;
            }
            if frame.index != index {
                self.lose(number(index)..number(frame.index));
            }
            let place = number(frame.index);
            match frame.entries() {
                Some(entries) => {
                    entries.into_iter().for_each(|entry| self.entry(&entry, place, &mut segment, &mut names));
                }
                None => self.lose(place..place.saturating_add(1)),
            }
            segment.bytes += (frame.end - begin) as u64;
            (at, index, ended) = (frame.end, frame.index + 1, frame.is_end());
        }
        let reached = number(index);
        match stop {
            Some(stop) if reached < stop => self.lose(reached..stop),
            Some(_) => {}
            None if !ended && bytes.len() > at => {
                tracing::info!(segment = %name, at, "the log was not closed in order; what follows here was never confirmed");
            }
            None => {}
        }
        self.found.next_frame = self.found.next_frame.max(stop.map_or(reached, |stop| stop.min(reached)));
        if segment.bytes > 0 {
            self.found.segments.push(segment);
        }
    }

    /// Whether a frame of the last segment is only in part what was written, and nothing follows it.
    fn is_torn(&self, frame: &Frame<'_>, bytes: &[u8], names: &Names) -> bool {
        let next = frame.index.saturating_add(1);
        if adjacent_frame(bytes, frame.end, frame.salt, next).is_some() {
            return false;
        }
        let mut names = names.clone();
        let whole = frame.entries().is_some_and(|entries| {
            let mut whole = entries.iter().map(|entry| Some(entry.commits(&self.whose(entry, &mut names)?)));
            whole.all(|commits| commits.flatten().is_some())
        });
        !whole && next_frame(bytes, frame.end, frame.salt, next).is_none()
    }

    /// Whose an entry is. Where the frame that named its stream cannot be read, one of those that were heard of may fit.
    fn whose(&self, entry: &Entry<'_>, names: &mut Names) -> Option<Stream> {
        let (name, stream) = match entry.name {
            Name::Spelled(stream, name) => (name, stream),
            Name::Known(name) => match names.get(&name) {
                Some(stream) => return Some(*stream),
                None => (name, *self.streams.iter().find(|stream| entry.may_be_of(name, stream))?),
            },
        };
        // Of two streams with one hash, only the first is ever referred to by it.
        names.entry(name).or_insert(stream);
        Some(stream)
    }

    fn entry(&mut self, entry: &Entry<'_>, place: u64, segment: &mut Segment, names: &mut Names) {
        let Some(stream) = self.whose(entry, names) else { return self.lose(place..place.saturating_add(1)) };
        self.streams.insert(stream);
        if entry.is_seals() {
            let seals = self.found.seals.entry(stream).or_default();
            return seals.extend(entry.seals(&stream).into_iter().map(|seal| (seal.through, seal)));
        }
        let commits = entry.commits(&stream);
        let count = commits.as_ref().map_or(entry.count, |commits| commits.len() as u64);
        let last = entry.first.saturating_add(count.saturating_sub(1));
        let newest = segment.newest.entry(stream).or_insert(last);
        *newest = last.max(*newest);
        let floor = self.floors.firsts.get(&stream).filter(|_| place < self.floors.covered).copied().unwrap_or(0);
        let rows = self.found.rows.entry(stream).or_default();
        let mut commits = commits.into_iter().flatten();
        for seq in (entry.first..=last).take_while(|_| count > 0) {
            let commit = commits.next();
            if seq < floor {
                continue;
            }
            match commit {
                Some(commit) => drop(rows.insert(seq, Some(commit))),
                None => drop(rows.entry(seq).or_insert(None)),
            }
        }
        if rows.is_empty() {
            self.found.rows.remove(&stream);
        }
    }

    /// Notes frames that cannot be read. Below the checkpoint they cost only history.
    fn lose(&mut self, frames: Range<u64>) {
        tracing::error!(from = frames.start, to = frames.end, "the log is damaged: these frames cannot be read");
        let lost = frames.end.saturating_sub(frames.start.max(self.floors.covered));
        self.found.lost = self.found.lost.saturating_add(lost);
    }
}

/// The frame at `at`, or the next one behind what cannot be read.
fn next_frame(bytes: &[u8], at: usize, salt: Salt, least: u32) -> Option<(usize, Frame<'_>)> {
    let adjacent = adjacent_frame(bytes, at, salt, least);
    adjacent.or_else(|| (at..bytes.len()).find_map(|begin| Some((begin, frame::parse(bytes, begin, salt, least)?))))
}

/// The frame `index`, if it lies where the one before it ends: at `at`, or where the next page begins.
fn adjacent_frame(bytes: &[u8], at: usize, salt: Salt, index: u32) -> Option<(usize, Frame<'_>)> {
    let places = [Some(at), page_after(at)];
    let mut frames = places.into_iter().flatten().filter_map(|at| Some((at, frame::parse(bytes, at, salt, index)?)));
    frames.find(|(_, frame)| frame.index == index)
}
