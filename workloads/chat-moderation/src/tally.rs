//! Who offended how often in one call.
//!
//! Owns the sums, one for each offender, and the bound of a batch. The invariant: a call writes once per offender,
//! however many messages they sent.

use std::collections::BTreeMap;

use selvedge_sdk::Fault;

use crate::rules::{Action, Verdict};

/// Messages in one call: each may be another offender's, and a call may write little more than this.
pub const MESSAGES_MAX: usize = 4_000;

/// Offences by player.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<u64, u64>);

impl Tally {
    /// Counts `verdict` if it is an offence: anything that is flagged or blocked.
    pub fn add(&mut self, player: u64, verdict: &Verdict) {
        if verdict.action != Action::Allow {
            *self.0.entry(player).or_default() += 1;
        }
    }

    /// Each offender with their number of offences, in order of players.
    pub fn offences(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(player, offences)| (*player, *offences))
    }
}

/// Refuses a batch that could not be written.
///
/// # Errors
/// There are more than [`MESSAGES_MAX`] messages.
pub fn check_batch(messages: usize) -> Result<(), Fault> {
    if messages <= MESSAGES_MAX {
        return Ok(());
    }
    Err(Fault::new("messages", format!("are {messages}; at most {MESSAGES_MAX} are allowed in one call")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::rules::judge;

    #[test]
    fn every_offence_counts_once_for_whoever_sent_it() {
        let mut tally = Tally::default();
        for (player, text) in [(7, "fuck you idiot"), (9, "gg wp"), (7, "stupid noob"), (8, "you retard")] {
            tally.add(player, &judge(text, &Policy::default()).expect("short"));
        }
        assert_eq!(tally.offences().collect::<Vec<_>>(), [(7, 2), (8, 1)]);
    }

    #[test]
    fn a_batch_that_could_not_be_written_is_refused() {
        assert_eq!(check_batch(MESSAGES_MAX), Ok(()));
        assert_eq!(check_batch(MESSAGES_MAX + 1).expect_err("too many").field, "messages");
    }
}
