//! The course of a start: which stages it has been through, and how long each took.

use std::time::{Duration, Instant, SystemTime};

use crate::placement::Stage;
use crate::spec::Digest;

/// A start that is under way.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    digest: Digest,
    /// When each stage began, in their order.
    stages: Vec<(Stage, Instant)>,
}

/// A start that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastStart {
    /// What was started.
    pub digest: Digest,
    /// When it ended.
    pub ended: SystemTime,
    /// The time that each stage took, in their order. A stage that was passed over is not there: code that is still in memory is not
    /// compiled.
    pub stages: Vec<(Stage, Duration)>,
    /// Why it failed, if it did; then the last stage is where.
    pub error: Option<String>,
}

impl Stages {
    /// A start that begins now.
    pub(super) fn begin(digest: Digest) -> Self {
        Self { digest, stages: vec![(Stage::Claimed, Instant::now())] }
    }

    /// The next stage begins.
    pub(super) fn reach(&mut self, stage: Stage) {
        self.stages.push((stage, Instant::now()));
    }

    /// It ends now.
    pub(super) fn end(self, error: Option<String>) -> LastStart {
        let (now, ended) = (Instant::now(), SystemTime::now());
        let ends = self.stages.iter().skip(1).map(|(_, began)| *began).chain([now]);
        let stages =
            self.stages.iter().zip(ends).map(|((stage, began), end)| (*stage, end.saturating_duration_since(*began)));
        LastStart { digest: self.digest, ended, stages: stages.collect(), error }
    }
}

impl LastStart {
    /// From the claim to the end.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, took)| *took).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_lasts_until_the_next_and_together_they_are_the_start() {
        let mut course = Stages::begin(Digest([1; 32]));
        let began = course.stages[0].1;
        course.reach(Stage::Fetching);
        course.reach(Stage::Compiling);
        let mut at = 0;
        course.stages.iter_mut().for_each(|(_, instant)| {
            *instant = began.checked_sub(Duration::from_secs(10 - at)).expect("the clock is older than that");
            at += 3;
        });
        let start = course.end(Some("it does not compile".to_owned()));
        let told: Vec<_> = start.stages.iter().map(|(stage, took)| (*stage, took.as_secs())).collect();
        assert_eq!(told, [(Stage::Claimed, 3), (Stage::Fetching, 3), (Stage::Compiling, 4)]);
        assert_eq!(start.total().as_secs(), 10);
    }
}
