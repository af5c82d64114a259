//! One player's updates in one call: what the rules find, made into verdicts.
//!
//! Owns how evidence becomes certainty, and what suspicion grows and shrinks by. The invariants: a verdict names a rule only
//! for what its own observation shows, and suspicion grows by at most [`POINTS`] a second, however many updates a second
//! brings.
//!
//! Certainty is the probability that a rule is broken by Bayes' theorem in its logarithmic form: the odds before anything is
//! known (`prior`), what the player's suspicion adds to them, what is on its account, and the evidence of this observation.

use std::fmt;

use crate::damage;
use crate::limits::Limits;
use crate::observation::{Action, Observation, Place};
use crate::speed::Excess;
use crate::teleport::{JUMP_NATS, Step, step};
use crate::track::{Before, Track};

/// What a verdict that names a rule adds to the suspicion, at most once a second.
pub const POINTS: u64 = 10;
/// The least time between two additions, in milliseconds.
const CHARGE_MS: u64 = 1_000;
/// The most that suspicion adds to the prior odds, in nats: twentyfold.
const SUSPICION_NATS_MAX: f64 = 3.0;
/// How long updates from the place before a jump may still arrive, in milliseconds.
const LATE_MS: u64 = 500;
/// So many late updates in a row are not late: the player is back, and the jump was one wrong update.
const RETURNS: u32 = 3;
/// Evidence of a rate below this is not spoken of, in nats: four actions that came together.
const RATE_NATS_MIN: f64 = 3.0;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing that is sure enough.
    None,
    /// The player moves too fast.
    Speed,
    /// The player was suddenly elsewhere.
    Teleport,
    /// The player acts too often.
    Rate,
    /// An action did more than one can.
    Damage,
}

/// What is found about one observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is broken.
    pub rule: Rule,
    /// How likely it is that something is, 0 to 1.
    pub certainty: f32,
    /// One sentence with numbers.
    pub evidence: String,
    /// The shared suspicion, what this call has added and taken included.
    pub suspicion: i64,
    /// Whether this verdict added to it.
    pub charged: bool,
}

/// The strongest evidence in one observation, with what it is made of.
#[derive(Clone, Copy, Debug)]
enum Finding<'a> {
    Speed(Excess, f64),
    Jump(Step),
    Rate { nats: f64, count: u32, span_s: f64, max: f64 },
    Damage { nats: f64, action: Action<'a>, max: u32 },
}

/// One player during one call.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What is known, to be written back.
    pub track: Track,
    /// The shared suspicion when the call began.
    shared: i64,
    /// What the call adds.
    pub added: u64,
    /// What the call takes away.
    pub forgiven: u64,
}

impl Inspection {
    /// A player with what the state holds of it.
    #[must_use]
    pub const fn new(track: Track, suspicion: i64) -> Self {
        Self { track, shared: suspicion, added: 0, forgiven: 0 }
    }

    /// Judges an observation that was checked; `max_damage` is the limit for its kind of action.
    pub fn see(&mut self, seen: &Observation, limits: &Limits, max_damage: u32, may_jump: bool) -> Verdict {
        let passed = self.track.advance(seen.t_ms);
        self.track
            .account
            .forgive(f64::from(u32::try_from(passed).unwrap_or(u32::MAX)) / 1_000.0, limits.budget_half_life_s);
        self.forgive(limits);
        let odds_before = (limits.prior / (1.0 - limits.prior)).ln() + self.suspicion_nats() + self.track.account.spent;

        let moved = self.moved(seen.t_ms, seen.place(limits.up), limits, may_jump);
        let did = seen.action.and_then(|action| self.did(seen.t_ms, action, limits, max_damage));
        let finding = [moved, did].into_iter().flatten().max_by(|a, b| a.nats().total_cmp(&b.nats()));
        let nats = finding.map_or(0.0, |finding| finding.nats());
        let certainty = 1.0 / (1.0 + (-odds_before - nats).exp());
        let rule = match finding {
            Some(finding) if nats > 0.0 && certainty >= limits.certain_at => finding.rule(),
            _ => Rule::None,
        };
        let charged = rule != Rule::None && seen.t_ms >= self.track.charged_ms.saturating_add(CHARGE_MS);
        if charged {
            self.track.charged_ms = seen.t_ms;
            self.added += POINTS;
        }
        let evidence = finding.map_or_else(|| "within the limits".to_owned(), |finding| finding.to_string());
        #[expect(clippy::cast_possible_truncation, reason = "0 to 1, and f32 is what the interface has")]
        let certainty = certainty as f32;
        Verdict { rule, certainty, evidence, suspicion: self.suspicion(), charged }
    }

    /// The shared suspicion, with what this call changes.
    #[must_use]
    pub fn suspicion(&self) -> i64 {
        self.shared.saturating_add_unsigned(self.added).saturating_sub_unsigned(self.forgiven)
    }

    /// Takes away what time has forgiven. Whole points only; the rest waits, so that frequent calls forgive as much as rare ones.
    fn forgive(&mut self, limits: &Limits) {
        let suspicion = f64::from(i32::try_from(self.suspicion()).unwrap_or(i32::MAX));
        let now = self.track.newest_ms;
        if suspicion <= 0.0 {
            // Two hosts that forgave the same points at the same time took too many: they come back.
            self.added += self.suspicion().min(0).unsigned_abs();
            self.track.forgiven_ms = now;
            return;
        }
        let passed = u32::try_from(now.saturating_sub(self.track.forgiven_ms)).unwrap_or(u32::MAX);
        let half_lives = f64::from(passed) / 1_000.0 / limits.suspicion_half_life_s;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to the suspicion, which is an i32"
        )]
        let due = (suspicion * (1.0 - (-half_lives).exp2())) as u64;
        if due > 0 {
            self.forgiven += due;
            self.track.forgiven_ms = now;
        }
    }

    fn suspicion_nats(&self) -> f64 {
        let points = f64::from(i32::try_from(self.suspicion().max(0)).unwrap_or(i32::MAX));
        (points / 10.0).ln_1p().min(SUSPICION_NATS_MAX)
    }

    fn moved<'a>(&mut self, t_ms: u64, place: Place, limits: &Limits, may_jump: bool) -> Option<Finding<'a>> {
        let track = &mut self.track;
        let Some((last_ms, last)) = track.here.filter(|_| !may_jump) else {
            track.forget_movement();
            self.arrive(t_ms, place);
            return None;
        };
        let jump = step(&last, &place, t_ms.abs_diff(last_ms), track.window.line.late_ms / 1_000.0, limits);
        if jump.nats >= JUMP_NATS {
            if let Some(before) = track.before.filter(|before| t_ms <= before.until_ms)
                && step(&before.at, &place, LATE_MS, 0.0, limits).nats < JUMP_NATS
            {
                track.before = Some(Before { returns: before.returns + 1, ..before });
                if before.returns + 1 < RETURNS {
                    return None;
                }
                track.forget_movement();
                self.arrive(t_ms, place);
                return None;
            }
            track.forget_movement();
            track.before = Some(Before { at: last, until_ms: t_ms.saturating_add(LATE_MS), returns: 0 });
            track.account.strike(jump.nats);
            self.arrive(t_ms, place);
            return Some(Finding::Jump(jump));
        }
        self.arrive(t_ms, place);
        let excess = self.track.window.excess(limits);
        self.track.account.follow(excess.map_or(0.0, |excess| excess.nats), t_ms);
        excess.map(|excess| Finding::Speed(excess, limits.speed))
    }

    fn arrive(&mut self, t_ms: u64, place: Place) {
        self.track.window.take(t_ms, place);
        if self.track.here.is_none_or(|(last_ms, _)| t_ms >= last_ms) {
            self.track.here = Some((t_ms, place));
        }
    }

    fn did<'a>(&mut self, t_ms: u64, action: Action<'a>, limits: &Limits, max: u32) -> Option<Finding<'a>> {
        self.track.rate.take(t_ms, limits);
        let rate = self.track.rate;
        if let Some(nats) = damage::nats(action.damage, max) {
            self.track.account.strike(nats);
            return Some(Finding::Damage { nats, action, max });
        }
        (rate.nats >= RATE_NATS_MIN).then(|| Finding::Rate {
            nats: rate.nats,
            count: rate.count,
            span_s: rate.span_s(),
            max: limits.rate,
        })
    }
}

impl Finding<'_> {
    const fn nats(&self) -> f64 {
        match self {
            Self::Speed(excess, _) => excess.nats,
            Self::Jump(step) => step.nats,
            Self::Rate { nats, .. } | Self::Damage { nats, .. } => *nats,
        }
    }

    const fn rule(&self) -> Rule {
        match self {
            Self::Speed(..) => Rule::Speed,
            Self::Jump(_) => Rule::Teleport,
            Self::Rate { .. } => Rule::Rate,
            Self::Damage { .. } => Rule::Damage,
        }
    }
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speed(Excess { speed, span_s, .. }, max) => {
                write!(f, "{speed:.1} m/s over {span_s:.1} s; {max:.1} m/s are allowed")
            }
            Self::Jump(Step { metres, seconds, .. }) => write!(f, "{metres:.1} m in {seconds:.2} s"),
            Self::Rate { count, span_s, max, .. } => {
                write!(f, "{count} actions in {span_s:.1} s; {max:.1} a second are allowed")
            }
            Self::Damage { action, max, .. } => {
                write!(f, "damage {} by {}; {max} are allowed", action.damage, action.kind)
            }
        }
    }
}

#[cfg(test)]
mod tests;
