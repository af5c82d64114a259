//! Who offended how often in one call.
//!
//! Owns the sums, one for each offender. The invariant: a call writes once per offender,
//! however many messages they sent.

use std::collections::BTreeMap;

use crate::rules::{Action, Verdict};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::rules::Judge;

    #[test]
    fn every_offence_counts_once_for_whoever_sent_it() {
        let mut tally = Tally::default();
        for (player, text) in [(7, "fuck you idiot"), (9, "gg wp"), (7, "stupid noob"), (8, "you retard")] {
            tally.add(player, &Judge::default().judge(text, &Policy::default()));
        }
        assert_eq!(tally.offences().collect::<Vec<_>>(), [(7, 2), (8, 1)]);
    }
}
