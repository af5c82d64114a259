//! The component: WIT types in, rules, WIT types out, and three counters into the shared state.
//!
//! Owns the translation and the names of the keys. The invariant: a call writes at most three small counters, whatever
//! the number of tracks; predictions themselves are stale before they could replicate, so they are not written.

use selvedge_sdk::state::Gcounter;
use selvedge_sdk::{Entries, must};

use crate::rules;
use crate::track::Sample;

#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
mod bindings {
    selvedge_sdk::exports!("prediction-workload");
}

use bindings::exports::selvedge::workload::prediction as wit;

struct Prediction;
bindings::export!(Prediction with_types_in bindings);
selvedge_sdk::configuration!(Prediction, |names| Entries::default().unknown(names));

impl wit::Guest for Prediction {
    fn predict(tracks: Vec<wit::Track>) -> Vec<wit::Predicted> {
        let (mut teleports, mut guesses) = (0, 0);
        let predictions: Vec<_> = tracks
            .iter()
            .enumerate()
            .map(|(index, track)| {
                let samples: Vec<_> = track
                    .samples
                    .iter()
                    .map(|sample| Sample { t_ms: sample.t_ms, at: [sample.x, sample.y, sample.z] })
                    .collect();
                let outcome = rules::predict(index, &samples, track.horizon_ms).unwrap_or_else(|fault| fault.raise());
                teleports += u64::from(outcome.teleported);
                guesses += u64::from(outcome.confidence < rules::GUESS_CONFIDENCE);
                predicted_out(track.player, &outcome)
            })
            .collect();
        count("prediction:tracks", tracks.len() as u64);
        count("prediction:teleports", teleports);
        count("prediction:guesses", guesses);
        predictions
    }
}

/// Mesh-wide totals, for operators: how much is predicted, how often the input jumps, how often the answer is a guess.
fn count(name: &str, by: u64) {
    if by > 0 {
        must(must(Gcounter::new(name)).increment(by));
    }
}

fn predicted_out(player: u64, outcome: &rules::Predicted) -> wit::Predicted {
    let ([x, y, z], [vx, vy, vz]) = (outcome.at, outcome.velocity);
    wit::Predicted { player, t_ms: outcome.t_ms, x, y, z, vx, vy, vz, confidence: outcome.confidence }
}
