//! The chunks of one outline, taken from all who gave it.
//!
//! Owns which chunk is asked for next and of whom. A giver that keeps us waiting is asked for nothing more while there is another, and what
//! it was asked for is asked for again: the first right answer wins. The invariants: a chunk is asked for of one giver that is not late at a
//! time, and of none twice at once; how much is under way is bounded; what is put together are chunks that fit.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use selvedge_sync::id::NodeId;

use super::{Asking, Finds, Wanted};
use crate::blobs::outline::{CHUNK_BYTES, Outline};
use crate::net::RequestError;

/// Chunks of one blob that are asked for at once: enough to fill a link while one is being checked.
pub(super) const CHUNKS_AT_ONCE: usize = 4;
/// How long a chunk may take before another giver is asked for it, if there is one: a mebibyte at four megabits a second.
const CHUNK_HASTE: Duration = Duration::from_secs(2);
/// Chunks that are late and were asked for again, of one blob: 16 MiB that may come twice.
const LATE_MAX: usize = 16;

type Answer = Result<Option<Vec<u8>>, RequestError>;

/// What became of a question.
enum Turn<'a> {
    /// It was answered, or is not going to be.
    Over(NodeId, usize, Answer),
    /// It takes its time; the answer may still come.
    Late(NodeId, usize, BoxFuture<'a, Answer>),
}

/// One that gave the outline.
struct Giver {
    node: NodeId,
    /// Questions that it has not answered.
    asked: usize,
    /// Whether it was late. That stays: all givers over a thin link are, and what they send is not to be asked for twice.
    is_late: bool,
}

/// A chunk: whether it is here, and how many givers are asked for it.
#[derive(Clone, Copy, Default)]
struct Chunk {
    is_here: bool,
    asked: usize,
}

/// The blob as far as it has come.
pub(super) struct Gathering<'a> {
    wanted: Wanted<'a>,
    outline: &'a Outline,
    givers: Vec<Giver>,
    chunks: Vec<Chunk>,
    /// Asked for of nobody.
    missing: VecDeque<usize>,
    /// Asked for of somebody who is late, and of nobody else.
    overdue: VecDeque<usize>,
    prompt: FuturesUnordered<BoxFuture<'a, Turn<'a>>>,
    late: FuturesUnordered<BoxFuture<'a, Turn<'a>>>,
    whole: Vec<u8>,
    length: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(wanted: Wanted<'a>, outline: &'a Outline) -> Self {
        let chunks = outline.chunks();
        Self {
            wanted,
            outline,
            givers: Vec::new(),
            chunks: vec![Chunk::default(); chunks],
            missing: (0..chunks).collect(),
            overdue: VecDeque::new(),
            prompt: FuturesUnordered::new(),
            late: FuturesUnordered::new(),
            // Chunks go where they belong as they come: no second copy is needed of what may be as large as can be.
            whole: vec![0; chunks * CHUNK_BYTES],
            length: 0,
        }
    }

    /// The bytes, from `givers` and those who turn out to have them too; `None` when none of them is left.
    pub(super) async fn run(
        mut self,
        givers: Vec<NodeId>,
        asking: &mut Asking<'_>,
        finds: &mut Finds,
    ) -> Option<Vec<u8>> {
        self.know(givers);
        while self.chunks.iter().any(|chunk| !chunk.is_here) {
            self.ask();
            if self.prompt.is_empty() && self.late.is_empty() {
                // Whoever has not answered yet, or was not asked, may have it, too.
                finds.note(asking.next().await?);
            } else {
                if self.givers.iter().all(|giver| giver.is_late) {
                    asking.ask();
                }
                tokio::select! {
                    Some(turn) = self.prompt.next() => self.take(turn, finds),
                    Some(turn) = self.late.next() => self.take(turn, finds),
                    Some(found) = asking.under_way.next() => finds.note(found),
                }
            }
            self.know(finds.givers(self.outline));
        }
        self.whole.truncate(self.length);
        Some(self.whole)
    }

    fn know(&mut self, nodes: Vec<NodeId>) {
        self.givers.extend(nodes.into_iter().map(|node| Giver { node, asked: 0, is_late: false }));
    }

    /// Asks for as much as may be under way.
    fn ask(&mut self) {
        while let Some((giver, index)) = self.next() {
            let node = self.givers[giver].node;
            self.givers[giver].asked += 1;
            self.chunks[index].asked += 1;
            let wanted = self.wanted;
            let question = async move {
                let mut answer = async move { wanted.chunk(node, index).await }.boxed();
                match tokio::time::timeout(CHUNK_HASTE, &mut answer).await {
                    Ok(answer) => Turn::Over(node, index, answer),
                    Err(_) => Turn::Late(node, index, answer),
                }
            };
            self.prompt.push(question.boxed());
        }
    }

    /// The giver and the chunk of the next question: of those that were never late, the one that has the least to do; if there is none, of
    /// those that were.
    fn next(&mut self) -> Option<(usize, usize)> {
        let least = |is_late: bool| {
            let givers = self.givers.iter().enumerate().filter(|(_, giver)| giver.is_late == is_late);
            givers.min_by_key(|(_, giver)| giver.asked).map(|(at, _)| at)
        };
        let is_hasty = self.late.len() < LATE_MAX;
        if let Some(giver) = least(false).filter(|_| is_hasty) {
            if self.prompt.len() >= CHUNKS_AT_ONCE {
                return None;
            }
            while let Some(index) = self.overdue.pop_front() {
                if !self.chunks[index].is_here {
                    return Some((giver, index));
                }
            }
            return Some((giver, self.missing.pop_front()?));
        }
        if self.prompt.len() + self.late.len() >= CHUNKS_AT_ONCE {
            return None;
        }
        Some((least(true)?, self.missing.pop_front()?))
    }

    fn take(&mut self, turn: Turn<'a>, finds: &mut Finds) {
        let (node, index, answer) = match turn {
            Turn::Over(node, index, answer) => (node, index, answer),
            Turn::Late(node, index, answer) => {
                self.givers.iter_mut().filter(|giver| giver.node == node).for_each(|giver| giver.is_late = true);
                self.overdue.push_back(index);
                self.late.push(async move { Turn::Over(node, index, answer.await) }.boxed());
                return;
            }
        };
        self.chunks[index].asked -= 1;
        self.givers.iter_mut().filter(|giver| giver.node == node).for_each(|giver| giver.asked -= 1);
        match self.wanted.check(self.outline, node, index, answer) {
            Ok(chunk) if !self.chunks[index].is_here => {
                self.chunks[index].is_here = true;
                let start = index * CHUNK_BYTES;
                self.whole[start..start + chunk.len()].copy_from_slice(&chunk);
                self.length += chunk.len();
            }
            Ok(_) => {}
            Err((why, is_lie)) => {
                let is_known = self.givers.iter().any(|giver| giver.node == node);
                // Once, however many of its chunks were under way.
                if is_lie && is_known {
                    self.wanted.blame(node, &why);
                }
                self.givers.retain(|giver| giver.node != node);
                let Chunk { is_here, asked } = self.chunks[index];
                if !is_here && asked == 0 {
                    self.overdue.retain(|overdue| *overdue != index);
                    self.missing.push_back(index);
                }
                finds.last = Some(why).or(finds.last.take());
            }
        }
    }
}
