//! How much one connection of the call stream may have under way, and for how long it may be silent.

use std::time::Instant;

use super::outbox::Outbox;
use crate::api::limits::{FRAMES_IN_FLIGHT_BYTES_MAX, FRAMES_IN_FLIGHT_MAX, PING_AFTER, SILENCE_MAX};

/// The books of one connection.
#[derive(Debug)]
pub(super) struct Flow {
    frames: usize,
    bytes: usize,
    heard: Instant,
    asked: bool,
}

/// What to make of how long nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing.
    None,
    /// The other side should be asked whether it is there.
    Ask,
    /// It is not.
    Gone,
}

impl Flow {
    pub(super) const fn new(now: Instant) -> Self {
        Self { frames: 0, bytes: 0, heard: now, asked: false }
    }

    /// Whether there is room for one more frame and its answer. While there is none, the other side finds its own socket full.
    pub(super) fn may_read(&self, outbox: &Outbox) -> bool {
        self.frames < FRAMES_IN_FLIGHT_MAX && self.bytes < FRAMES_IN_FLIGHT_BYTES_MAX && outbox.has_room()
    }

    /// A frame of this size is being answered.
    pub(super) const fn began(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes;
    }

    /// It was.
    pub(super) const fn done(&mut self, bytes: usize) {
        self.frames -= 1;
        self.bytes -= bytes;
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    /// What to make of the silence by now. A side that is not read from is not silent.
    pub(super) fn silence(&mut self, now: Instant) -> Silence {
        if self.frames > 0 {
            self.heard(now);
        }
        let silent = now.saturating_duration_since(self.heard);
        if silent >= SILENCE_MAX {
            return Silence::Gone;
        }
        let ask = silent >= PING_AFTER && !self.asked;
        self.asked |= ask;
        if ask { Silence::Ask } else { Silence::None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn silence_is_asked_about_once_and_then_ends_it() {
        let begun = Instant::now();
        let mut flow = Flow::new(begun);
        let mut check = |after: Duration, expect: Silence| assert_eq!(flow.silence(begun + after), expect, "{after:?}");
        check(Duration::ZERO, Silence::None);
        check(PING_AFTER, Silence::Ask);
        check(PING_AFTER * 2, Silence::None);
        check(SILENCE_MAX, Silence::Gone);
        flow.heard(begun + SILENCE_MAX);
        assert_eq!(flow.silence(begun + SILENCE_MAX + PING_AFTER), Silence::Ask);
    }

    #[test]
    fn whoever_waits_for_an_answer_is_not_silent() {
        let begun = Instant::now();
        let mut flow = Flow::new(begun);
        flow.began(10);
        assert_eq!(flow.silence(begun + SILENCE_MAX), Silence::None);
        flow.done(10);
        assert_eq!(flow.silence(begun + SILENCE_MAX * 2 - Duration::from_secs(1)), Silence::Ask);
        assert_eq!(flow.silence(begun + SILENCE_MAX * 2), Silence::Gone);
    }
}
