//! The replica's only writer, and what follows from what it was given until somebody carries that out.
//!
//! Owns the short step of a pass. Carries nothing out. The invariants: what follows is kept in order, whoever gave the input; nothing
//! of a caller is taken while what was taken before has no room, in the store or here.

use selvedge_sync::change::Change;
use selvedge_sync::commit::RequestId;
use selvedge_sync::key::Key;
use selvedge_sync::replica::{Input, Message, Output};

use super::handle::Answer;
use super::waiting::NOBODY;
use crate::view::{StateOwner, StateView};

/// Outputs that may wait to be carried out before a caller's commit has to go by the queue: what is owed stays a pass or two.
const OUTPUTS_MAX: usize = 1_024;

/// The replica, and what follows.
#[derive(Debug)]
pub(super) struct Core {
    owner: StateOwner,
    view: StateView,
    upshot: Upshot,
    /// Whether callers' commits may be taken.
    pub(super) has_room: bool,
}

/// What follows from inputs.
#[derive(Debug, Default)]
pub(super) struct Upshot {
    pub(super) outputs: Vec<Output>,
    /// Whether the state's root is another.
    pub(super) has_changed: bool,
    /// Whether there was more than digests and ticks.
    pub(super) is_eventful: bool,
}

impl Core {
    pub(super) fn new(owner: StateOwner, view: StateView) -> Self {
        Self { owner, view, upshot: Upshot::default(), has_room: true }
    }

    /// Gives the replica what there is, under one lock of the state.
    pub(super) fn give(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let (now, upshot) = (self.view.now(), &mut self.upshot);
        self.owner.write(|replica| {
            let before = replica.root();
            for input in inputs {
                upshot.is_eventful |= is_eventful(&input);
                upshot.outputs.extend(replica.handle(input, now));
            }
            upshot.has_changed |= before != replica.root();
        });
    }

    /// Makes a commit, if there is room for one: applied when this returns, and neither stored nor sent. Nobody waits for more.
    ///
    /// # Errors
    /// Gives the changes back: there is no room.
    pub(super) fn commit(
        &mut self,
        changes: Vec<(Key, Change)>,
        request: Option<RequestId>,
    ) -> Result<Answer, Vec<(Key, Change)>> {
        if !self.has_room || self.upshot.outputs.len() >= OUTPUTS_MAX {
            return Err(changes);
        }
        self.give([Input::Commit { ticket: NOBODY, changes, request }]);
        let is_answer = |output: &Output| matches!(output, Output::Committed { ticket: NOBODY, .. });
        let at = self.upshot.outputs.iter().rposition(is_answer).expect("a commit has an answer");
        match self.upshot.outputs.remove(at) {
            Output::Committed { result, .. } => Ok(result),
            other => unreachable!("{other:?} is no answer"),
        }
    }

    /// Takes what has to be carried out.
    pub(super) fn take(&mut self) -> Upshot {
        std::mem::take(&mut self.upshot)
    }
}

/// Whether something may follow from an input that only the next ticks bring about.
const fn is_eventful(input: &Input) -> bool {
    !matches!(input, Input::Tick | Input::Members(_) | Input::Receive { message: Message::Digest { .. }, .. })
}
