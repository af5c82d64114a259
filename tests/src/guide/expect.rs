//! What a page shows, against what there is.

use serde_json::Value;

/// What stands for anything.
const ANYTHING: &str = "…";

/// The first difference between what a page shows and what was printed, in words; `None` when the page is right.
#[must_use]
pub fn difference(shown: &[String], printed: &str) -> Option<String> {
    let documents = (serde_json::from_str::<Value>(&shown.join("\n")), serde_json::from_str::<Value>(printed));
    if let (Ok(shown), Ok(printed)) = documents {
        return (!matches_value(&shown, &printed)).then(|| format!("{shown} is shown; printed was {printed}"));
    }
    let printed: Vec<String> = printed.lines().map(plain).collect();
    let shown: Vec<String> = shown.iter().map(|line| plain(line)).collect();
    let (shown, printed) = (trimmed(&shown), trimmed(&printed));
    if matches_lines(shown, printed) {
        return None;
    }
    let right = (0..=shown.len()).rev().find(|end| {
        let beginning = [&shown[..*end], &[ANYTHING.to_owned()]].concat();
        matches_lines(&beginning, printed)
    });
    let wrong = shown.get(right.unwrap_or_default());
    Some(wrong.map_or_else(
        || format!("more was printed than is shown:\n{}", printed.join("\n")),
        |line| format!("`{line}` is shown; printed was:\n{}", printed.join("\n")),
    ))
}

/// A line with its blanks as one, and none at its ends.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without empty lines at its ends.
fn trimmed(lines: &[String]) -> &[String] {
    let is_said = |line: &String| !line.is_empty();
    let first = lines.iter().position(is_said).unwrap_or(lines.len());
    let end = lines.iter().rposition(is_said).map_or(first, |last| last + 1);
    &lines[first..end]
}

fn matches_lines(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == ANYTHING => {
            (0..=printed.len()).any(|skipped| matches_lines(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| matches_line(line, first) && matches_lines(rest, others)),
    }
}

fn matches_line(shown: &str, printed: &str) -> bool {
    match shown.split_once(ANYTHING) {
        None => shown == printed,
        Some((before, after)) => printed.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches_line(after, &rest[at..]))
        }),
    }
}

/// Whether two documents are the same, but for what stands for anything.
fn matches_value(shown: &Value, printed: &Value) -> bool {
    match (shown, printed) {
        (Value::String(shown), Value::String(printed)) => matches_line(shown, printed),
        (Value::String(shown), _) => shown == ANYTHING,
        (Value::Array(shown), Value::Array(printed)) => {
            shown.len() == printed.len() && shown.iter().zip(printed).all(|(one, other)| matches_value(one, other))
        }
        (Value::Object(shown), Value::Object(printed)) => {
            let is_there = |(name, value)| printed.get::<String>(name).is_some_and(|other| matches_value(value, other));
            shown.len() == printed.len() && shown.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, printed: &str, is_right: bool) {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        assert_eq!(difference(&shown, printed).is_none(), is_right, "{shown:?} of {printed:?}");
    }

    #[test]
    fn an_ellipsis_is_anything_and_nothing_else_is() {
        check("a  b\n", "  a b  \n\n", true);
        check("a b", "a b\nc", false);
        check("a", "b", false);
        check("up …, 3 keys", "up 1h 2m, 3 keys", true);
        check("up …, 3 keys", "up 1h 2m, 4 keys", false);
        check("a … c", "a b c d", false);
        check("a … c …", "a b c d c e", true);
        check("a\n…\nd", "a\nb\nc\nd", true);
        check("a\n…\nd", "a\nd", true);
        check("a\n…\nd", "a\nb\nc", false);
        check("…", "", true);
    }

    #[test]
    fn documents_are_compared_as_documents() {
        check("[{\"a\": 1, \"b\": [true]},\n 2]", "[{\"b\":[true],\n\"a\":1},2]", true);
        check("{\"a\": 1}", "{\"a\": 1, \"b\": 2}", false);
        check("{\"a\": 1, \"b\": \"…\"}", "{\"a\": 1, \"b\": [2]}", true);
        check("{\"a\": \"x-…\"}", "{\"a\": \"x-1\"}", true);
        check("{\"a\": \"x-…\"}", "{\"a\": \"y-1\"}", false);
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        let shown = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert!(difference(&shown, "a\nx\nc").is_some_and(|told| told.starts_with("`b` is shown")));
        assert!(difference(&shown[..1], "a\nx").is_some_and(|told| told.starts_with("more was printed")));
    }
}
