//! Whom an operator means: by a full id, by its beginning or end as tables show it, or by a name.
//!
//! Pure. The invariant: whoever is not named for certain is not named at all, and the error lists who could be meant.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use crate::service::{Fault, ServiceError};

/// Characters of an id that are enough to ask by; fewer are a slip of the hand.
const PART_CHARS_MIN: usize = 4;

/// Characters at the end of an id that tables show.
const TAIL_CHARS: usize = 8;

/// Candidates that an error lists; whoever has more of one name has to name them by id anyway.
const LISTED_MAX: usize = 8;

/// The node that `text` names among `known`, which gives names by id. A whole id names its node, known or not.
pub(super) fn find(known: &BTreeMap<NodeId, String>, text: &str) -> Result<NodeId, ServiceError> {
    if let Ok(node) = text.parse() {
        return Ok(node);
    }
    let is_part = |id: &str| text.chars().count() >= PART_CHARS_MIN && (id.starts_with(text) || id.ends_with(text));
    let meant: Vec<(&NodeId, &String)> =
        known.iter().filter(|(node, name)| *name == text || is_part(&node.to_string())).collect();
    match meant.as_slice() {
        [(node, _)] => Ok(**node),
        [] => {
            let message = format!("there is no member `{}`", crate::service::shorten(text));
            let hint = match known.len() {
                0 => "no member is known here".to_owned(),
                _ => format!("name one by its id, the beginning or end of that, or its name: {}", list(known.iter())),
            };
            Err(ServiceError::new(Fault::NotFound, "unknown_node", message).at("node").hint(hint))
        }
        several => {
            let message = format!("`{}` may mean {} members", crate::service::shorten(text), several.len());
            let hint = format!("name one by its id: {}", list(several.iter().copied()));
            Err(ServiceError::new(Fault::Conflict, "ambiguous_node", message).at("node").hint(hint))
        }
    }
}

/// Names with the ends of their ids.
fn list<'a>(members: impl ExactSizeIterator<Item = (&'a NodeId, &'a String)>) -> String {
    let more = members.len().saturating_sub(LISTED_MAX);
    let one =
        |(node, name): (&NodeId, &String)| format!("{} ({})", if name.is_empty() { "?" } else { name }, tail(*node));
    let listed: Vec<String> = members.take(LISTED_MAX).map(one).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    listed.join(", ") + &more
}

/// The end of an id, which tells it from others; all ids begin alike.
pub(super) fn tail(node: NodeId) -> String {
    let id = node.to_string();
    id[id.len().saturating_sub(TAIL_CHARS)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    fn known(names: &[&str]) -> BTreeMap<NodeId, String> {
        names.iter().zip(1..).map(|(name, number)| (node(number), (*name).to_owned())).collect()
    }

    #[test]
    fn members_are_found_by_id_by_part_and_by_name() {
        let known = known(&["kiosk", "gate", "gate"]);
        let id = node(1).to_string();
        for text in ["kiosk", &id, &id[id.len() - 8..], &id[id.len() - 4..]] {
            assert_eq!(find(&known, text), Ok(node(1)), "{text}");
        }
        assert_eq!(find(&known, &node(9).to_string()), Ok(node(9)), "a whole id needs no list");
        let differs = (8..id.len())
            .find(|end| known.keys().filter(|node| node.to_string().starts_with(&id[..*end])).count() == 1);
        assert_eq!(find(&known, &id[..differs.expect("ids differ")]), Ok(node(1)));
    }

    #[test]
    fn whoever_is_not_named_for_certain_is_listed() {
        let known = known(&["kiosk", "gate", "gate"]);
        let check = |text: &str, code: &str, hints: &[String]| {
            let error = find(&known, text).expect_err("is not certain");
            let hint = error.hint_text().expect("there is a hint");
            assert_eq!((error.code(), error.field()), (code, Some("node")), "{text}");
            assert!(error.changed_text().is_none(), "{error}");
            hints.iter().for_each(|wanted| assert!(hint.contains(wanted), "{text}: {hint}"));
        };
        let named = |number: u8, name: &str| format!("{name} ({})", tail(node(number)));
        check("gate", "ambiguous_node", &[named(2, "gate"), named(3, "gate")]);
        check(&node(1).to_string()[..4], "ambiguous_node", &[named(1, "kiosk"), named(2, "gate"), named(3, "gate")]);
        check("nobody", "unknown_node", &[named(1, "kiosk")]);
        let id = node(1).to_string();
        check(&id[id.len() - 3..], "unknown_node", &[]);
        check("", "unknown_node", &[]);
        let many: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
        let many = self::known(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            find(&many, "nobody").expect_err("is nobody").hint_text().is_some_and(|hint| hint.ends_with("and 12 more"))
        );
    }
}
