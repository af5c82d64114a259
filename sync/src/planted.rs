//! Bugs that can be planted, so that the simulator is seen to find them.
//!
//! Without the feature `planted`, which only one test target asks for, every question here is answered "no" at compile time.
//! The invariant: a bug is planted on one thread, for the length of one closure.

macro_rules! bugs {
    ($($name:ident: $what:literal,)+) => {
        /// A bug, named for what it does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $what] $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What it does wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)+
                }
            }
        }
    };
}

bugs! {
    StampsFallBack: "a stamp is what the wall shows, whatever was seen before",
    StampsUnobserved: "stamps of others are not taken note of",
    LogSkipsCommit: "the log leaves out the second commit of what it serves",
    LogBridgesGap: "the log keeps what was before a gap, as if there were none",
    LogUnbounded: "the log is not bounded",
    LogDeniesForgetting: "what the log has forgotten is served as if it were nothing",
    DotReused: "a commit is named after the last durable one, not after the last",
    RecoveryForgetsTail: "a restart leaves out the log that goes beyond the checkpoint",
    StoredAtOnce: "what the store was given counts as durable",
    FailureCountsAsStored: "what a failing store was given counts as durable",
    OfferedTooEarly: "others are told of commits of ours that are not durable",
    PagesTooEarly: "pages of state do not wait until what they show of ours is durable",
    RemovalsDoNotWait: "a removal that overtakes its add is forgotten",
    SentBack: "a peer that says what it has is sent its own commits",
    PassedOn: "commits that were pushed to us are pushed to everybody",
    FutureAccepted: "a commit from too far ahead is applied",
    FutureInPages: "a page of state with stamps from too far ahead is taken",
    PageLosesObject: "the first object of a page of state is not merged",
    AbsenceIgnored: "what the giver of a repair does not hold any more stays",
    RemovalsUnmerged: "a merge keeps what the other side has seen removed",
    VectorTooEarly: "the first page of a repair advances the vector",
    EqualUnshown: "ranges that the giver found equal are not noted to show its vector",
    WaitingUnhashed: "removals that wait for their adds do not count when ranges are compared",
    GiverMayRegress: "a giver of a repair may forget what its first page showed",
    ShownTwice: "an object takes a commit again that a page of state has shown it",
    AheadUnstored: "a checkpoint does not say what objects show beyond its vector",
    RebirthKeepsName: "a new incarnation goes on writing under the old name",
    RequestsForgotten: "a restart forgets the requests that its checkpoint covers",
    RequestsOfOthers: "only requests that were made here are remembered",
    ContentNotTakenOut: "what is removed stays in the hash of its object",
    EndOfStreamIgnored: "a closed stream goes on",
    ReturnerGoesOn: "who comes back after its stream was closed does not begin anew",
    FoldedTooEarly: "shares of a closed writer are taken over before everybody knows",
    MadeAgainLater: "a commit that is made again gets a new stamp",
    MadeAgainTwice: "a commit is made again although it has been",
    NeverMadeAgain: "commits that nobody else has are not made again",
    ForkUnnoticed: "commits of ours that others know otherwise are taken for the same",
    CheckpointLosesObject: "a checkpoint leaves out the first of several objects",
    CheckpointAfterLog: "commits are stored before the checkpoint of the repair that they stand on",
    StepsNotTotals: "a counter's operation carries the step where the total should be",
    LastComerWins: "of concurrent puts the one of the greatest name wins, whatever its stamp",
    GapsApplied: "a commit is applied although its predecessors are missing",
    StableWithoutAll: "what is everywhere is found without asking the first member",
    OwnOlderStays: "a writer's own earlier put outlives its later one",
    HalfOfCommit: "of a commit of several operations the last is not applied",
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs `act` with a bug planted on this thread.
#[cfg(feature = "planted")]
pub fn with<R>(bug: Bug, act: impl FnOnce() -> R) -> R {
    PLANTED.set(Some(bug));
    let result = act();
    PLANTED.set(None);
    result
}

/// Whether this bug is planted here.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here: never.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
