//! The log: segments of frames, each frame one write and one sync.
//!
//! Owns the segments from their creation until they are used again or removed; knows neither jobs nor the database. The
//! invariants: what [`Log::append`] accepted is durable, and after a failure nothing is written to the same segment again,
//! because what became of the pages that it was given is not known.

mod frame;
mod frame_two;
mod name;
mod page;
mod scan;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use selvedge_sync::causal::VersionVector;
use selvedge_sync::commit::Batch;
use selvedge_sync::id::Stream;

use self::frame::{Known, Salt};
use self::name::Shape;
pub(super) use self::name::{SegmentName, segments};
use self::page::{PAGE_BYTES, place_of};
pub(super) use self::scan::{Floors, Found, Rows, Seals, scan};
use super::disk::{Disk, LogFile};
use super::meter::Meter;

/// Bytes above which the next frame goes into a new segment: small enough that the log is given up in pieces, large enough
/// that a new file is rare.
pub(super) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Segments that are kept only for peers that are behind. What is older is served as state after a restart, which stays short.
const HISTORY_SEGMENTS_MAX: u64 = 4;

/// Segments that wait to be used again: what one checkpoint gives up at most, in a steady state.
const SPARES_MAX: usize = 4;

/// How a spare segment's name ends.
const SPARE: &str = ".spare";

/// A segment that holds what may still be needed.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    /// The highest sequence number of each stream in it.
    pub(super) newest: BTreeMap<Stream, u64>,
}

/// Where the log lies.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) meter: Arc<Meter>,
    /// [`SEGMENT_BYTES`], or less in a test.
    pub(super) segment_bytes: u64,
}

/// The log, open for writing.
pub(super) struct Log {
    folder: Folder,
    generation: u64,
    next_number: u64,
    next_frame: u64,
    live: VecDeque<Segment>,
    spares: Vec<String>,
    /// Segments that could not be made or removed on a failing disk, and hold nothing: no other is begun before they are gone,
    /// or each attempt would leave one.
    strays: Vec<String>,
    open: Option<Open>,
    floors: Floors,
    buffer: Vec<u8>,
}

/// The segment that is being written.
struct Open {
    file: Box<dyn LogFile>,
    salt: Salt,
    at: u64,
    /// How far pages were written whole.
    filled: u64,
    index: u32,
    known: Known,
}

impl Log {
    /// An empty log of a generation after `after`, and after all that the folder has seen. What is in the folder stays there
    /// until [`Log::tidy`].
    pub(super) fn anew(folder: &Folder, after: u64) -> io::Result<Self> {
        // The names of spares count too: what they hold must not be taken for frames of the segments that they become.
        let names: Vec<SegmentName> =
            folder.disk.segments()?.iter().filter_map(|name| name.trim_end_matches(SPARE).parse().ok()).collect();
        let generation = names.iter().map(|name| name.generation).fold(after, u64::max).saturating_add(1);
        let next_number = names.iter().map(|name| name.number.saturating_add(1)).max().unwrap_or(0);
        let (live, spares, strays, open, floors, buffer) = Default::default();
        let folder = folder.clone();
        Ok(Self { folder, generation, next_number, next_frame: 0, live, spares, strays, open, floors, buffer })
    }

    /// The log of this generation, going on after what was `found` in it.
    pub(super) fn going_on(mut self, generation: u64, found: &mut Found, floors: Floors) -> Self {
        self.next_frame = found.next_frame.max(floors.covered);
        self.live = std::mem::take(&mut found.segments).into();
        Self { generation, floors, ..self }
    }

    /// Which beginning of the log this is.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// What a checkpoint that is written now has to remember of the log, if it gives up what is below `firsts`.
    pub(super) fn floors_after(&self, firsts: &[(Stream, u64)]) -> Floors {
        let mut floors = Floors { covered: self.next_frame, firsts: firsts.iter().copied().collect() };
        // What was given up before and is still on the disk stays given up.
        for (stream, first) in &self.floors.firsts {
            if self.live.iter().any(|segment| segment.newest.contains_key(stream)) {
                floors.firsts.entry(*stream).or_insert(*first);
            }
        }
        floors
    }

    /// Writes `batches` as one frame. When this returns, they are durable.
    ///
    /// # Errors
    /// The disk does not take them. They may be found there or not; to append them again is right.
    pub(super) fn append(&mut self, batches: &[&Batch]) -> io::Result<()> {
        self.write(batches)?;
        if let Some(segment) = self.live.back_mut() {
            for batch in batches.iter().filter(|batch| !batch.commits.is_empty()) {
                let last = batch.first.saturating_add(batch.commits.len() as u64 - 1);
                let newest = segment.newest.entry(batch.stream).or_insert(last);
                *newest = last.max(*newest);
            }
        }
        self.note_size();
        Ok(())
    }

    /// Writes all of `batches`, in frames of the usual size.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn append_all(&mut self, batches: &[Batch]) -> io::Result<()> {
        let (mut frame, mut bytes): (Vec<Batch>, u64) = (Vec::new(), 0);
        for batch in batches {
            let mut seals = batch.seals.iter().peekable();
            for (seq, commit) in (batch.first..).zip(&batch.commits) {
                match frame.last_mut().filter(|last| last.stream == batch.stream) {
                    Some(last) if last.first + last.commits.len() as u64 == seq => last.commits.push(commit.clone()),
                    Some(_) | None => {
                        frame.push(Batch::new(batch.stream, seq, vec![commit.clone()]));
                    }
                }
                if let (Some(last), Some(seal)) = (frame.last_mut(), seals.next_if(|seal| seal.through <= seq)) {
                    last.seals.push(*seal);
                }
                bytes += commit.len() as u64;
                if bytes >= self.folder.segment_bytes {
                    self.append(&frame.iter().collect::<Vec<_>>())?;
                    (frame, bytes) = (Vec::new(), 0);
                }
            }
        }
        if frame.is_empty() { Ok(()) } else { self.append(&frame.iter().collect::<Vec<_>>()) }
    }

    /// Marks the log as closed in order: its last frame was confirmed, and if it cannot be read one day, it was damaged.
    ///
    /// # Errors
    /// The disk does not take the mark, which proves nothing then.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            return Ok(());
        }
        self.write(&[])?;
        self.open = None;
        Ok(())
    }

    /// Gives up segments after a checkpoint with `vector` and these `floors` has become durable.
    pub(super) fn give_up(&mut self, vector: &VersionVector, floors: Floors) {
        self.floors = floors;
        let mut history: u64 = self.live.iter().map(|segment| segment.bytes).sum();
        while let Some(oldest) = self.live.front() {
            // What the next segment begins with is where this one ends.
            let end = self.live.get(1).map(|next| next.name.first_frame);
            let covered = end.is_some_and(|end| end <= self.floors.covered);
            let needed = oldest.newest.iter().any(|(stream, newest)| match self.floors.firsts.get(stream) {
                Some(first) => newest >= first,
                None => *newest > vector.seq(stream),
            });
            if !covered || (needed && history <= HISTORY_SEGMENTS_MAX * self.folder.segment_bytes) {
                break;
            }
            history -= oldest.bytes;
            if let Some(segment) = self.live.pop_front() {
                self.spare(&segment.name.to_string(), segment.bytes);
            }
        }
        self.note_size();
    }

    /// Removes what the folder holds besides the log: what was given up, what another generation left.
    pub(super) fn tidy(&mut self) -> io::Result<()> {
        for name in self.folder.disk.segments()? {
            let live = name.parse().is_ok_and(|name: SegmentName| self.live.iter().any(|live| live.name == name));
            if live || self.spares.contains(&name) {
                continue;
            }
            if name.ends_with(SPARE) && self.spares.len() < SPARES_MAX {
                self.spares.push(name);
            } else {
                self.remove(&name);
            }
        }
        self.note_size();
        Ok(())
    }

    fn write(&mut self, batches: &[&Batch]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.at >= self.folder.segment_bytes) {
            self.begin()?;
        }
        let (Some(open), Some(segment)) = (self.open.as_mut(), self.live.back_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        self.buffer.clear();
        frame::encode(&mut self.buffer, open.salt, open.index, batches, &mut open.known);
        let length = self.buffer.len() as u64;
        let place = place_of(open.at, length);
        let end = place + length;
        if end > open.filled {
            // A page is written whole whatever is in it. A file that ends with a page need not be told its new length with each
            // frame, and whoever skips the rest of a page does not touch it again.
            open.filled = end.next_multiple_of(PAGE_BYTES);
            let rest = usize::try_from(open.filled - end).map_err(io::Error::other)?;
            self.buffer.resize(self.buffer.len() + rest, 0);
        }
        let written = open.file.write(place, &self.buffer).and_then(|()| {
            self.folder.meter.written.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
            self.folder.meter.syncs.fetch_add(1, Ordering::Relaxed);
            open.file.sync()
        });
        if let Err(error) = written {
            self.abandon();
            return Err(error);
        }
        open.at = end;
        open.index += 1;
        segment.bytes += length;
        self.next_frame += 1;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.open = None;
        self.remove_strays()?;
        let shape = Shape::Three;
        let (generation, number, first_frame) = (self.generation, self.next_number, self.next_frame);
        let name = SegmentName { generation, number, first_frame, shape };
        self.next_number += 1;
        let (disk, text) = (&self.folder.disk, name.to_string());
        let spare = self.spares.pop();
        let file = match &spare {
            Some(spare) => disk.reuse(spare, &text),
            None => disk.create(&text),
        };
        // Of what failed it is not known how far it came, nor under which name the file is now.
        let file = file.inspect_err(|_| self.strays.extend(spare.into_iter().chain([text])))?;
        let salt = Salt::of(shape, generation, number);
        self.live.push_back(Segment { name, bytes: 0, newest: BTreeMap::new() });
        self.open = Some(Open { file, salt, at: 0, filled: 0, index: 0, known: Known::new() });
        Ok(())
    }

    /// Leaves the segment to which a write failed. What was confirmed of it stays.
    fn abandon(&mut self) {
        self.open = None;
        if let Some(segment) = self.live.pop_back_if(|segment| segment.bytes == 0) {
            self.strays.push(segment.name.to_string());
            self.remove_strays()
                .unwrap_or_else(|error| tracing::debug!(%error, "a segment of the log was not removed"));
        }
    }

    fn remove_strays(&mut self) -> io::Result<()> {
        while let Some(stray) = self.strays.last() {
            match self.folder.disk.remove(stray) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => drop(self.strays.pop()),
            }
        }
        Ok(())
    }

    /// Keeps a segment to be used again, if there is room for it and it is of the usual size.
    fn spare(&mut self, name: &str, bytes: u64) {
        let spare = format!("{name}{SPARE}");
        if self.spares.len() < SPARES_MAX
            && bytes <= 2 * self.folder.segment_bytes
            && self.folder.disk.rename(name, &spare).is_ok()
        {
            self.spares.push(spare);
        } else {
            self.remove(name);
        }
    }

    /// What stays although it should go is found again by the next start.
    fn remove(&self, name: &str) {
        if let Err(error) = self.folder.disk.remove(name) {
            tracing::debug!(%error, name, "a segment of the log was not removed");
        }
    }

    fn note_size(&self) {
        self.folder.meter.segments.store(self.live.len() as u64, Ordering::Relaxed);
        self.folder.meter.log_bytes.store(self.live.iter().map(|segment| segment.bytes).sum(), Ordering::Relaxed);
    }
}

/// The name and the bytes of a segment as format 2 wrote it.
#[cfg(test)]
pub(super) fn segment_two(generation: u64, number: u64, first_frame: u64, frames: &[Vec<Batch>]) -> (String, Vec<u8>) {
    let shape = Shape::Two;
    let (salt, mut known, mut bytes) = (Salt::of(shape, generation, number), Default::default(), Vec::new());
    for (index, batches) in (0..).zip(frames) {
        bytes.extend(frame_two::encode(salt, index, batches, &mut known));
    }
    (SegmentName { generation, number, first_frame, shape }.to_string(), bytes)
}

#[cfg(test)]
pub(super) use self::tests::mutate;

#[cfg(test)]
mod tests;
