//! A workload's word on its configuration: which names it knows, and the export through which it says so.
//!
//! Owns the search for names that nobody reads; what values mean is the workload's own affair. The invariant: an entry that a
//! workload would pass over in silence is told, and one that was renamed is told with its new name.

use crate::Fault;

/// The names of the entries that a workload reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entries {
    /// Those that it knows. One that ends in `.` stands for every name that begins so.
    pub known: &'static [&'static str],
    /// What entries were called before, and what they are called now. In those that end in `.` only that beginning has changed.
    pub renamed: &'static [(&'static str, &'static str)],
}

impl Entries {
    /// What is wrong with those of `names` that nobody reads: a [`Fault`] whose field is the name.
    #[must_use]
    pub fn unknown(&self, names: &[String]) -> Vec<Fault> {
        names.iter().filter(|name| !self.has(name)).map(|name| Fault::new(name.as_str(), self.hint(name))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.known.iter().any(|known| matches(known, name))
    }

    fn hint(&self, name: &str) -> String {
        if let Some((old, new)) = self.renamed.iter().find(|(old, _)| matches(old, name)) {
            return format!("is called `{new}{}` now", &name[old.len()..]);
        }
        if self.known.is_empty() {
            return "is nothing that this workload reads; it reads no configuration".to_owned();
        }
        let shown = |known: &&str| if known.ends_with('.') { format!("{known}…") } else { (*known).to_owned() };
        let known: Vec<_> = self.known.iter().map(shown).collect();
        format!("is nothing that this workload reads; it reads {}", known.join(", "))
    }
}

fn matches(known: &str, name: &str) -> bool {
    if known.ends_with('.') { name.len() > known.len() && name.starts_with(known) } else { name == known }
}

/// Exports the check of a workload's configuration. The world has to say
/// `export selvedge:workload/configuration@0.1.0;`, and `$check` is a function from the names of all entries to what is wrong with
/// them: `fn(&[String]) -> Vec<Fault>`, where the field of each [`Fault`] is an entry's name, with or without `config.` before it.
#[macro_export]
macro_rules! configuration {
    ($name:ident, $check:expr) => {
        impl bindings::exports::selvedge::workload::configuration::Guest for $name {
            fn check(names: Vec<String>) -> Vec<bindings::exports::selvedge::workload::configuration::Problem> {
                let problem = |fault: $crate::Fault| bindings::exports::selvedge::workload::configuration::Problem {
                    name: fault.field.trim_start_matches("config.").to_owned(),
                    message: fault.message,
                };
                let check: fn(&[String]) -> Vec<$crate::Fault> = $check;
                check(&names).into_iter().map(problem).collect()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: Entries = Entries {
        known: &["speed-max", "damage-max", "damage-max."],
        renamed: &[("max_speed", "speed-max"), ("max_damage.", "damage-max.")],
    };

    fn check(name: &str, expect: Option<&str>) {
        let told = ENTRIES.unknown(&[name.to_owned()]);
        assert_eq!(told.len(), usize::from(expect.is_some()), "{name}: {told:?}");
        if let (Some(fault), Some(expect)) = (told.first(), expect) {
            assert!(fault.field == name && fault.message.contains(expect), "{fault:?}");
        }
    }

    #[test]
    fn what_nobody_reads_is_named_and_what_was_renamed_is_told_its_new_name() {
        check("speed-max", None);
        check("damage-max.headshot", None);
        check("damage-max.", Some("it reads speed-max, damage-max"));
        check("speed", Some("it reads speed-max"));
        check("max_speed", Some("is called `speed-max` now"));
        check("max_damage.headshot", Some("is called `damage-max.headshot` now"));
        assert!(Entries::default().unknown(&["a".to_owned()])[0].message.contains("no configuration"));
    }
}
