//! The component: WIT types in, rules, WIT types out, and what is known of each player back into the shared state.
//!
//! Owns the translation and the names of the keys. The invariant: a call writes two objects for each player at most and two
//! counters, whatever the number of observations.

use std::collections::BTreeMap;

use selvedge_sdk::state::{Gcounter, Lwwmap, Pncounter, Scalar};
use selvedge_sdk::{Names, config, log, must};

use crate::inspection::{Inspection, Rule, Verdict};
use crate::limits::{self, Jumps, Limits, max_damage};
use crate::observation::{Action, Observation, by_player};
use crate::track::Track;

#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
mod bindings {
    selvedge_sdk::exports!("anti-cheat-workload");
}

use bindings::exports::selvedge::workload::anti_cheat as wit;

struct AntiCheat;
bindings::export!(AntiCheat with_types_in bindings);
selvedge_sdk::configuration!(AntiCheat, |names| limits::check(names, config::get));

/// The field of `cheat:track:ID` that holds the packed track.
const TRACK: &str = "track";

/// What the operator set, read once a call, and the names of the keys.
struct Settings {
    tracks: Names,
    suspicions: Names,
    limits: Limits,
    jumps: Jumps,
    /// By kind of action, as far as this call has met it.
    damage: BTreeMap<String, u32>,
}

impl wit::Guest for AntiCheat {
    fn inspect(observations: Vec<wit::Observation>) -> Vec<wit::Verdict> {
        let limits = Limits::read(config::get).unwrap_or_else(|fault| fault.raise());
        let mut settings = Settings {
            tracks: Names::new("cheat:track:"),
            suspicions: Names::new("cheat:suspicion:"),
            limits,
            jumps: Jumps::read(config::get),
            damage: BTreeMap::new(),
        };
        let seen: Vec<Observation> = observations.iter().map(observation_in).collect();
        for (index, observation) in seen.iter().enumerate() {
            observation.check(index).unwrap_or_else(|fault| fault.raise());
        }
        let players = by_player(&seen).unwrap_or_else(|fault| fault.raise());
        let mut verdicts: Vec<Option<wit::Verdict>> = Vec::new();
        verdicts.resize_with(seen.len(), || None);
        let mut named = 0;
        for places in players {
            let own: Vec<_> = places.iter().map(|place| seen[*place]).collect();
            for (place, verdict) in places.iter().zip(player(&own, &mut settings)) {
                named += u64::from(verdict.rule != Rule::None);
                verdicts[*place] = Some(verdict_out(seen[*place].player, verdict));
            }
        }
        count("cheat:inspected", seen.len() as u64);
        count("cheat:named", named);
        verdicts.into_iter().map(|verdict| verdict.expect("each observation belongs to one player")).collect()
    }
}

/// Judges the observations of one player, which are in order, and writes what is known afterwards.
fn player(observations: &[Observation], settings: &mut Settings) -> Vec<Verdict> {
    let id = observations[0].player;
    let tracks = must(Lwwmap::new(settings.tracks.of(id)));
    let suspicion = must(Pncounter::new(settings.suspicions.of(id)));
    // Bytes that are no track are of another version or somebody's mistake: the player begins anew.
    let track = match tracks.get(TRACK) {
        Some(Scalar::Bytes(bytes)) => Track::unpack(&bytes).unwrap_or_default(),
        _ => Track::default(),
    };
    let mut inspection = Inspection::new(track, suspicion.value());
    let verdicts = observations
        .iter()
        .map(|seen| {
            let max_damage = settings.damage(seen.action);
            let verdict = inspection.see(seen, &settings.limits, max_damage, settings.jumps.contain(seen.action));
            if verdict.charged {
                let line =
                    format!("player {id}: {:?}, {:.3} sure: {}", verdict.rule, verdict.certainty, verdict.evidence);
                log::write(log::Level::Warn, &line);
            }
            verdict
        })
        .collect();
    must(tracks.put(&[(TRACK.to_owned(), Scalar::Bytes(inspection.track.pack()))]));
    if inspection.added > inspection.forgiven {
        must(suspicion.increment(inspection.added - inspection.forgiven));
    } else if inspection.added < inspection.forgiven {
        must(suspicion.decrement(inspection.forgiven - inspection.added));
    }
    verdicts
}

impl Settings {
    /// The most that this action may do.
    fn damage(&mut self, action: Option<Action>) -> u32 {
        let Some(action) = action else { return self.limits.damage };
        if let Some(max) = self.damage.get(action.kind) {
            return *max;
        }
        let own = max_damage(config::get, Some(action.kind)).unwrap_or_else(|fault| fault.raise());
        let max = own.unwrap_or(self.limits.damage);
        self.damage.insert(action.kind.to_owned(), max);
        max
    }
}

/// Mesh-wide totals, for operators.
fn count(name: &str, by: u64) {
    if by > 0 {
        must(must(Gcounter::new(name)).increment(by));
    }
}

fn observation_in(observation: &wit::Observation) -> Observation<'_> {
    let wit::Observation { player, t_ms, x, y, z, action } = observation;
    let action = action.as_ref().map(|action| Action { kind: &action.kind, damage: action.damage });
    Observation { player: *player, t_ms: *t_ms, at: [*x, *y, *z], action }
}

fn verdict_out(player: u64, verdict: Verdict) -> wit::Verdict {
    let rule = match verdict.rule {
        Rule::None => wit::Rule::None,
        Rule::Speed => wit::Rule::Speed,
        Rule::Teleport => wit::Rule::Teleport,
        Rule::Rate => wit::Rule::Rate,
        Rule::Damage => wit::Rule::Damage,
    };
    wit::Verdict {
        player,
        rule,
        certainty: verdict.certainty,
        evidence: verdict.evidence,
        suspicion: verdict.suspicion,
    }
}
