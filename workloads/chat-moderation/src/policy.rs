//! What a verdict leads to.
//!
//! Owns the thresholds, their defaults and their configuration. The invariant: talk about the game (`action`) and `other`
//! are never acted upon.

use selvedge_sdk::{Entries, Fault};

use crate::rules::{Action, Class};

/// A score above the highest: the action is never taken.
const NEVER: u16 = 1_001;

/// What of the configuration is read.
const ENTRIES: Entries =
    Entries { known: &["explicit-flag", "explicit-block", "implicit-flag", "implicit-block"], renamed: &[] };

/// What is wrong with the configuration whose entries have these names.
pub fn check(names: &[String], setting: impl Fn(&str) -> Option<String>) -> Vec<Fault> {
    ENTRIES.unknown(names).into_iter().chain(Policy::configured(setting).err()).collect()
}

/// Scores, in thousandths, from which a message is flagged or blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of the class `explicit`.
    pub explicit: Thresholds,
    /// Of the class `implicit`.
    pub implicit: Thresholds,
}

/// The thresholds of one class, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Flagged from here on.
    pub flag: u16,
    /// Blocked from here on.
    pub block: u16,
}

impl Default for Policy {
    /// Insults of which there is little doubt are blocked, others and taunts are flagged. A taunt is for people to judge.
    fn default() -> Self {
        Self { explicit: Thresholds { flag: 500, block: 850 }, implicit: Thresholds { flag: 500, block: NEVER } }
    }
}

impl Policy {
    /// The defaults with what the operator set: `explicit-flag`, `explicit-block`, `implicit-flag`, `implicit-block`, each a
    /// number from 0 to 1 or `never`.
    ///
    /// # Errors
    /// Names the setting (`config.explicit-flag`) that is neither.
    pub fn configured(setting: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let mut policy = Self::default();
        for (name, threshold) in [
            ("explicit-flag", &mut policy.explicit.flag),
            ("explicit-block", &mut policy.explicit.block),
            ("implicit-flag", &mut policy.implicit.flag),
            ("implicit-block", &mut policy.implicit.block),
        ] {
            if let Some(text) = setting(name) {
                *threshold = thousandths(&text).ok_or_else(|| {
                    let message = format!("is `{text}` on this workload; a number from 0 to 1 or `never` is right");
                    Fault::new(format!("config.{name}"), message)
                })?;
            }
        }
        Ok(policy)
    }

    /// What to do with a message of `class` with `score` thousandths.
    #[must_use]
    pub fn action(&self, class: Class, score: u16) -> Action {
        let thresholds = match class {
            Class::Other | Class::Action => return Action::Allow,
            Class::Implicit => self.implicit,
            Class::Explicit => self.explicit,
        };
        if score >= thresholds.block {
            Action::Block
        } else if score >= thresholds.flag {
            Action::Flag
        } else {
            Action::Allow
        }
    }
}

fn thousandths(text: &str) -> Option<u16> {
    let text = text.trim();
    if text == "never" {
        return Some(NEVER);
    }
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 1,000")]
    (0.0..=1.0).contains(&number).then(|| (number * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_the_defaults_and_wrong_ones_are_named() {
        let set = |name: &'static str, value: &'static str| {
            Policy::configured(move |asked| (asked == name).then(|| value.to_owned()))
        };
        let policy = set("implicit-block", " 0.95 ").expect("valid");
        assert_eq!(policy.action(Class::Implicit, 950), Action::Block);
        assert_eq!(policy.action(Class::Implicit, 949), Action::Flag);
        assert_eq!(policy.explicit, Policy::default().explicit);
        let policy = set("explicit-flag", "never").expect("valid");
        assert_eq!(policy.action(Class::Explicit, 849), Action::Allow);
        for wrong in ["often", "-0.1", "1.5", "NaN", ""] {
            assert_eq!(set("explicit-block", wrong).expect_err("wrong").field, "config.explicit-block");
        }
    }

    #[test]
    fn the_whole_configuration_can_be_checked_before_anybody_says_anything() {
        let wrong = |name: &str, value: &str| -> Vec<String> {
            let get = |asked: &str| (asked == name).then(|| value.to_owned());
            check(&[name.to_owned()], get).into_iter().map(|fault| fault.field).collect()
        };
        assert_eq!(wrong("explicit-flag", "0.4"), [""; 0]);
        assert_eq!(wrong("explicit-flag", "4"), ["config.explicit-flag"]);
        assert_eq!(wrong("explicit_flag", "0.4"), ["explicit_flag"]);
    }

    #[test]
    fn what_is_not_toxic_is_allowed_whatever_its_score() {
        assert_eq!(Policy::default().action(Class::Action, 1000), Action::Allow);
        assert_eq!(Policy::default().action(Class::Other, 1000), Action::Allow);
    }
}
