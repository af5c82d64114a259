//! What a game allows, as its operator set it.
//!
//! Owns the names, defaults and ranges of the configuration; judges nobody. The invariant: every limit is a finite number
//! within its range, so no rule divides by zero.

use std::ops::RangeInclusive;

use selvedge_sdk::{Entries, Fault};

use crate::observation::Action;

/// What of the configuration is read.
const ENTRIES: Entries = Entries {
    known: &[
        "speed-max",
        "fall-speed-max",
        "up",
        "rate-max",
        "damage-max",
        "damage-max.",
        "jitter-ms",
        "prior",
        "certain-at",
        "budget-half-life-s",
        "suspicion-half-life-s",
        "jumps",
    ],
    renamed: &[
        ("max_speed", "speed-max"),
        ("max_fall_speed", "fall-speed-max"),
        ("max_rate", "rate-max"),
        ("max_damage", "damage-max"),
        ("max_damage.", "damage-max."),
        ("jitter_ms", "jitter-ms"),
        ("certain_at", "certain-at"),
        ("budget_half_life_s", "budget-half-life-s"),
        ("suspicion_half_life_s", "suspicion-half-life-s"),
    ],
};

/// Which axis of an observation points up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// The second.
    Y,
    /// The third.
    Z,
}

/// The limits of one game.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// `speed-max`: the fastest that a player may move, in metres per second.
    pub speed: f64,
    /// `fall-speed-max`: the fastest that a player may move downwards, in metres per second.
    pub fall_speed: f64,
    /// `up`: the axis of height.
    pub up: Up,
    /// `rate-max`: actions per second that a player may keep up.
    pub rate: f64,
    /// `damage-max`: the most that one action may do. `damage-max.KIND` is another value for one kind of action.
    pub damage: u32,
    /// `jitter-ms`: how much the delay of updates varies, as a standard deviation in seconds.
    pub jitter_s: f64,
    /// `prior`: the share of observations that are thought to be of a cheat, before anything is known.
    pub prior: f64,
    /// `certain-at`: the certainty from which on a verdict names a rule.
    pub certain_at: f64,
    /// `budget-half-life-s`: after so many seconds half of what a player did is forgiven.
    pub budget_half_life_s: f64,
    /// `suspicion-half-life-s`: after so many seconds half of the shared suspicion is gone.
    pub suspicion_half_life_s: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What people keep up for a second in a sprint. A game sets its own.
            speed: 8.5,
            // A falling body does not get faster in air.
            fall_speed: 60.0,
            up: Up::Z,
            rate: 10.0,
            // Twice the health of a fighter in the examples.
            damage: 200,
            // Of a delay that varies evenly by 100 ms to both sides.
            jitter_s: 0.06,
            prior: 0.001,
            certain_at: 0.95,
            budget_half_life_s: 10.0,
            suspicion_half_life_s: 60.0,
        }
    }
}

impl Limits {
    /// The defaults, and over them what `get` has.
    ///
    /// # Errors
    /// Names the entry of the configuration that is not a number within its range.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let or = Self::default();
        let number = |name: &str, default: f64, range: RangeInclusive<f64>| -> Result<f64, Fault> {
            get(name).map_or(Ok(default), |text| parsed(name, &text, &range))
        };
        Ok(Self {
            speed: number("speed-max", or.speed, 0.01..=10_000.0)?,
            fall_speed: number("fall-speed-max", or.fall_speed, 0.01..=10_000.0)?,
            up: get("up").map_or(Ok(or.up), |text| match text.as_str() {
                "y" => Ok(Up::Y),
                "z" => Ok(Up::Z),
                _ => Err(Fault::new("config.up", format!("is {text:?}; it is y or z"))),
            })?,
            rate: number("rate-max", or.rate, 0.001..=1_000_000.0)?,
            damage: max_damage(&get, None)?.unwrap_or(or.damage),
            jitter_s: number("jitter-ms", or.jitter_s * 1_000.0, 1.0..=10_000.0)? / 1_000.0,
            prior: number("prior", or.prior, 1e-9..=0.5)?,
            certain_at: number("certain-at", or.certain_at, 0.5..=0.999_999)?,
            budget_half_life_s: number("budget-half-life-s", or.budget_half_life_s, 0.1..=1_000_000.0)?,
            suspicion_half_life_s: number("suspicion-half-life-s", or.suspicion_half_life_s, 0.1..=1e9)?,
        })
    }
}

/// What is wrong with the configuration whose entries have these names.
pub fn check(names: &[String], get: impl Fn(&str) -> Option<String>) -> Vec<Fault> {
    let kinds = names.iter().filter_map(|name| name.strip_prefix("damage-max."));
    let wrong = kinds.filter_map(|kind| max_damage(&get, Some(kind)).err());
    ENTRIES.unknown(names).into_iter().chain(Limits::read(&get).err()).chain(wrong).collect()
}

/// The damage that the configuration allows for any action, or for those of one kind; `None` where it is silent.
///
/// # Errors
/// Names the entry that is not a whole number.
pub fn max_damage(get: impl Fn(&str) -> Option<String>, kind: Option<&str>) -> Result<Option<u32>, Fault> {
    let name = kind.map_or_else(|| "damage-max".to_owned(), |kind| format!("damage-max.{kind}"));
    let Some(text) = get(&name) else { return Ok(None) };
    let wrong =
        |_| Fault::new(format!("config.{name}"), format!("is {text:?}; it is a whole number up to {}", u32::MAX));
    text.trim().parse().map(Some).map_err(wrong)
}

fn parsed(name: &str, text: &str, range: &RangeInclusive<f64>) -> Result<f64, Fault> {
    match text.trim().parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => {
            let message = format!("is {text:?}; it is a number from {} to {}", range.start(), range.end());
            Err(Fault::new(format!("config.{name}"), message))
        }
    }
}

/// The kinds of action with which a player may be anywhere afterwards: `jumps`, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jumps(Vec<String>);

impl Jumps {
    /// What the configuration names, or else the usual ones.
    #[must_use]
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let text = get("jumps").unwrap_or_else(|| "spawn,respawn,teleport".to_owned());
        Self(text.split(',').map(|kind| kind.trim().to_owned()).filter(|kind| !kind.is_empty()).collect())
    }

    /// Whether this action is one of them.
    #[must_use]
    pub fn contain(&self, action: Option<Action>) -> bool {
        action.is_some_and(|action| self.0.iter().any(|kind| kind == action.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Result<Limits, Fault> {
        let get = |name: &str| entries.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Limits::read(get)
    }

    #[test]
    fn what_is_not_set_has_a_default() {
        assert_eq!(of(&[]), Ok(Limits::default()));
        let expect = Limits { speed: 7.5, jitter_s: 0.03, up: Up::Y, damage: 50, ..Limits::default() };
        assert_eq!(of(&[("speed-max", "7.5"), ("jitter-ms", " 30 "), ("up", "y"), ("damage-max", "50")]), Ok(expect));
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (name, value) in [
            ("speed-max", "fast"),
            ("speed-max", "0"),
            ("speed-max", "NaN"),
            ("rate-max", "inf"),
            ("prior", "0.9"),
            ("certain-at", "1"),
            ("damage-max", "-1"),
            ("up", "w"),
        ] {
            let fault = of(&[(name, value)]).expect_err("wrong");
            assert_eq!(fault.field, format!("config.{name}"));
            assert!(fault.message.contains(value), "{}", fault.message);
        }
    }

    #[test]
    fn the_whole_configuration_can_be_checked_before_anybody_is_judged() {
        let wrong = |entries: &[(&str, &str)]| -> Vec<String> {
            let names: Vec<_> = entries.iter().map(|(name, _)| (*name).to_owned()).collect();
            let get = |name: &str| entries.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            check(&names, get).into_iter().map(|fault| fault.field).collect()
        };
        assert_eq!(wrong(&[("speed-max", "7"), ("damage-max.punch", "9"), ("jumps", "lift")]), [""; 0]);
        assert_eq!(
            wrong(&[("max_speed", "7"), ("rate-max", "often"), ("damage-max.punch", "much")]),
            ["max_speed", "config.rate-max", "config.damage-max.punch"]
        );
    }

    #[test]
    fn a_kind_of_action_may_have_a_limit_of_its_own() {
        let get = |name: &str| (name == "damage-max.headshot").then(|| "900".to_owned());
        assert_eq!(max_damage(get, Some("headshot")), Ok(Some(900)));
        assert_eq!(max_damage(get, Some("punch")), Ok(None));
        let wrong = max_damage(|_| Some("many".to_owned()), Some("punch")).expect_err("wrong");
        assert_eq!(wrong.field, "config.damage-max.punch");
    }

    #[test]
    fn some_actions_take_a_player_elsewhere() {
        let action = |kind| Some(Action { kind, damage: 0 });
        let usual = Jumps::read(|_| None);
        assert!(usual.contain(action("respawn")) && !usual.contain(action("shoot")) && !usual.contain(None));
        let own = Jumps::read(|_| Some("portal, lift,".to_owned()));
        assert!(own.contain(action("lift")) && !own.contain(action("respawn")) && !own.contain(action("")));
    }
}
