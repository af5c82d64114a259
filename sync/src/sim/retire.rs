//! Members that stay away for so long that their streams are closed, what becomes of them, and of what they wrote.

use std::collections::BTreeSet;

use super::{CONVERGE_MS, Next, Sim};
use crate::id::{ReplicaId, Stream};
use crate::replica::Replica;

impl Sim<'_> {
    /// Whether somebody stays away until its streams are closed: half of those who are away when everything else is mended.
    pub(super) fn stays_away(&mut self, index: usize) -> bool {
        self.scenario.retires() && self.nodes[index].away && self.rng.chance(500)
    }

    /// Lets those who stayed away come back, after the others had the time to close their streams.
    pub(super) fn await_absent(&mut self, absent: &[usize]) -> Result<(), String> {
        if absent.is_empty() {
            return Ok(());
        }
        self.scheduled.retain(|_, next| !matches!(next, Next::Start { node } if absent.contains(node)));
        for index in absent {
            self.drop_member(*index)?;
        }
        let in_ms = self.scenario.config.retire_after_ms + self.rng.between(2_000, 12_000);
        self.run_until(self.now_ms + in_ms)?;
        absent.iter().try_for_each(|index| self.start(*index))
    }

    /// Where members are retired: every stream that nobody writes any more is closed, and no counter holds a share of its writer.
    pub(super) fn await_retirement(&mut self) -> Result<(), String> {
        if !self.scenario.retires() {
            return Ok(());
        }
        let since_ms = self.now_ms;
        while let Some(what) = self.unretired() {
            if self.now_ms > since_ms + CONVERGE_MS + self.scenario.config.retire_after_ms {
                return Err(format!("retirement does not end: {what}"));
            }
            self.run_until(self.now_ms + 500)?;
        }
        for node in &self.nodes {
            let retired = node.replica.as_ref().map_or(0, |replica| replica.retired().count());
            self.coverage.add_to("streams closed", retired as u64);
        }
        self.await_convergence(self.now_ms).map(drop)
    }

    /// Whether some node was repaired from a member that was away for too long, before either knew that: what it shows beyond the
    /// end of the stream nobody will make whole, a known limit of the engine.
    pub(super) fn shows_beyond_ends(&self) -> bool {
        let replicas = || self.nodes.iter().filter_map(|node| node.replica.as_ref());
        !self.ends.is_empty()
            && replicas().any(|replica| self.ends.keys().any(|end| replica.shows_more_of(&Stream::global(*end))))
    }

    /// What is left to be closed or taken over somewhere.
    fn unretired(&self) -> Option<String> {
        if !self.is_converged() {
            return Some(self.differences());
        }
        self.nodes.iter().filter_map(|node| node.replica.as_ref()).find_map(left_open)
    }

    /// Whether a node has taken commits beyond the end of a stream, and does not know it yet: it was away for too long, and will
    /// begin anew. What others have taken over of its shares in counters is counted twice there until then.
    pub(super) fn is_outlived(&self, index: usize) -> bool {
        let beyond = |replica: &Replica| {
            self.ends.iter().any(|(writer, end)| replica.seen().seq(&Stream::global(*writer)) > *end)
        };
        self.nodes[index].replica.as_ref().is_some_and(beyond)
    }

    /// Nobody takes what lies beyond the end of a closed stream.
    pub(super) fn check_ends(&self, index: usize) -> Result<(), String> {
        let Some(replica) = self.nodes[index].replica.as_ref().filter(|_| self.scenario.retires()) else {
            return Ok(());
        };
        for (writer, end) in replica.retired() {
            let seen = replica.seen().seq(&Stream::global(writer));
            if seen > end && self.quiet {
                return Err(format!("has {seen} commits of {writer}, which are beyond the end at {end}"));
            }
        }
        Ok(())
    }
}

fn left_open(replica: &Replica) -> Option<String> {
    let retired: BTreeSet<ReplicaId> = replica.retired().map(|(writer, _)| writer).collect();
    // A life in which nothing was written is known to nobody: the last that is open counts as the present one.
    let open_of = |stream: &Stream| {
        let mut lives = replica.seen().of_node(stream.scope, stream.replica.node).map(|(stream, _)| stream);
        lives.rfind(|stream| !retired.contains(&stream.replica))
    };
    let open = |stream: &Stream| !retired.contains(&stream.replica) && open_of(stream) != Some(*stream);
    if let Some((stream, _)) = replica.seen().iter().find(|(stream, _)| open(stream)) {
        return Some(format!("{stream:?} is not closed at {:?}", replica.me()));
    }
    let held = replica.state().counters_holding(&retired).next()?;
    Some(format!("{held} holds a share of a closed writer at {:?}", replica.me()))
}
