//! What a component says of itself: its imports, the functions that can be called, and what another in its place would break.

use std::fmt;

/// What a component offers and wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The functions that can be called.
    pub exports: Vec<FunctionInfo>,
    /// The interfaces that it imports, with their versions.
    pub imports: Vec<String>,
}

/// A function of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// The interface, such as `selvedge:workload/combat@0.1.0`; empty for a function that the component exports directly.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// Name (as in JSON) and type of each parameter.
    pub params: Vec<(String, String)>,
    /// The type of the result, if there is one.
    pub result: Option<String>,
}

/// What callers of one component could not do any more with another in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// There is no such function.
    #[error("`{function}` is gone")]
    Gone {
        /// As callers name it: `combat.resolve`.
        function: String,
    },
    /// It takes or gives something else.
    #[error("`{function}` was `{before}` and is `{now}`")]
    Changed {
        /// As callers name it.
        function: String,
        /// The part that differs, as it was.
        before: String,
        /// And as it is.
        now: String,
    },
    /// It cannot be called by its bare name any more, for several interfaces have one of that name.
    #[error("`{function}` alone could mean several functions")]
    Ambiguous {
        /// The bare name.
        function: String,
    },
}

/// Most bytes of a type in an error: it may be spelt out over pages.
const SHOWN_BYTES_MAX: usize = 160;

impl ComponentInfo {
    /// What `next` would break for callers of this component. The versions of interfaces do not count: callers leave them out.
    #[must_use]
    pub fn broken_by(&self, next: &Self) -> Vec<Broken> {
        let broken = |before: &FunctionInfo| {
            let function = before.path();
            match next.exports.iter().find(|now| now.path() == function) {
                None => Some(Broken::Gone { function }),
                Some(now) => before.differs_from(now).map(|(before, now)| Broken::Changed { function, before, now }),
            }
        };
        let is_only = |info: &Self, name: &str| info.exports.iter().filter(|one| one.name == name).count() == 1;
        let kept = |before: &&FunctionInfo| next.exports.iter().any(|now| now.name == before.name);
        let ambiguous = self.exports.iter().filter(kept);
        let ambiguous = ambiguous.filter(|one| is_only(self, &one.name) && !is_only(next, &one.name));
        let ambiguous = ambiguous.map(|one| Broken::Ambiguous { function: one.name.clone() });
        self.exports.iter().filter_map(broken).chain(ambiguous).collect()
    }
}

impl FunctionInfo {
    /// As callers name it: `combat.resolve`, or `resolve` where the component exports it directly.
    fn path(&self) -> String {
        let interface = self.interface.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or_default();
        if interface.is_empty() { self.name.clone() } else { format!("{interface}.{}", self.name) }
    }

    /// The first part that is another in `now`, in both.
    fn differs_from(&self, now: &Self) -> Option<(String, String)> {
        let shown = |text: String| match text.len() {
            0..=SHOWN_BYTES_MAX => text,
            _ => format!("{}…", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]),
        };
        if self.params.len() != now.params.len() {
            let names = |info: &Self| info.params.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Some((shown(format!("({})", names(self))), shown(format!("({})", names(now)))));
        }
        let param = |(name, kind): &(String, String)| shown(format!("{name}: {kind}"));
        let params = self.params.iter().zip(&now.params).find(|(before, now)| before != now);
        let result = |info: &Self| shown(format!("-> {}", info.result.as_deref().unwrap_or("nothing")));
        params
            .map(|(before, now)| (param(before), param(now)))
            .or_else(|| (self.result != now.result).then(|| (result(self), result(now))))
    }
}

impl fmt::Display for FunctionInfo {
    /// `interface.name(parameter: type, …) -> type`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.interface.is_empty() {
            write!(f, "{}.", self.interface)?;
        }
        let params: Vec<_> = self.params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
        write!(f, "{}({})", self.name, params.join(", "))?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function as (interface, name, parameters, result).
    type Written<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

    fn info(functions: &[Written<'_>]) -> ComponentInfo {
        let function = |(interface, name, params, result): &Written<'_>| FunctionInfo {
            interface: (*interface).to_owned(),
            name: (*name).to_owned(),
            params: params.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
            result: result.map(str::to_owned),
        };
        ComponentInfo { exports: functions.iter().map(function).collect(), imports: Vec::new() }
    }

    #[test]
    fn what_callers_lose_is_named_and_what_they_gain_is_not() {
        let combat = "selvedge:workload/combat@0.1.0";
        let before = info(&[(combat, "resolve", &[("duels", "u32")], Some("u8")), ("", "status", &[], None)]);
        let check = |next: &[Written<'_>], expect: &[&str]| {
            let broken: Vec<String> = before.broken_by(&info(next)).iter().map(ToString::to_string).collect();
            assert_eq!(broken, expect);
        };
        let (newer, status) = ("selvedge:workload/combat@0.2.0", ("", "status", &[][..], None));
        let same = (newer, "resolve", &[("duels", "u32")][..], Some("u8"));
        check(&[same, status], &[]);
        check(&[same, status, ("", "more", &[], None)], &[]);
        check(&[same], &["`status` is gone"]);
        check(
            &[(newer, "resolve", &[("duels", "u64")], Some("u8")), status],
            &["`combat.resolve` was `duels: u32` and is `duels: u64`"],
        );
        check(
            &[(newer, "resolve", &[("fights", "u32")], Some("u8")), status],
            &["`combat.resolve` was `duels: u32` and is `fights: u32`"],
        );
        check(&[(newer, "resolve", &[], Some("u8")), status], &["`combat.resolve` was `(duels)` and is `()`"]);
        check(
            &[(newer, "resolve", &[("duels", "u32")], None), status],
            &["`combat.resolve` was `-> u8` and is `-> nothing`"],
        );
        check(&[same, status, ("a:b/c", "status", &[], None)], &["`status` alone could mean several functions"]);
        check(&[("a:b/fight", "resolve", &[("duels", "u32")], Some("u8")), status], &["`combat.resolve` is gone"]);
    }
}
