//! Templates, escaping, and rows of tables. Knows nothing of what they show.

use std::fmt::Write as _;

/// The colour of a cell: what it says is said in its text too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Warn,
    /// On its way, or meant to be so.
    Busy,
    Good,
    Plain,
}

/// A cell of a table.
#[derive(Debug)]
pub(super) struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self { html: escape(text.as_ref()), class: "" }
    }

    /// A cell whose column is aligned to the right.
    pub(super) fn number(text: impl AsRef<str>) -> Self {
        Self::text(text).right()
    }

    /// A text with a coloured dot before it.
    pub(super) fn marked(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { html: mark(tone, text.as_ref()), class: "" }
    }

    /// A wide cell of markup, whose texts are escaped.
    pub(super) const fn wrapped(html: String) -> Self {
        Self { html, class: "wrap" }
    }

    pub(super) fn right(self) -> Self {
        Self { class: "n", ..self }
    }
}

/// A text with a coloured dot before it.
pub(super) fn mark(tone: Tone, text: &str) -> String {
    format!("<span class=\"mark\"{}>{}</span>", tone.attribute(), escape(text))
}

impl Tone {
    /// The attribute that carries it.
    pub(super) const fn attribute(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => " data-state=\"good\"",
            Self::Warn => " data-state=\"warn\"",
            Self::Busy => " data-state=\"busy\"",
            Self::Bad => " data-state=\"bad\"",
        }
    }
}

/// Puts values into the places `{{name}}` of a template, in one pass: a value that looks like a place stays as it is.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("every place of the template is closed");
        page.push_str(before);
        page.push_str(&value(name));
        rest = after;
    }
    page + rest
}

/// Text that is safe between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A row whose first cell names it.
pub(super) fn row(cells: &[Cell]) -> String {
    let mut row = String::from("<tr>");
    for (index, cell) in cells.iter().enumerate() {
        let (tag, scope) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
        let class = if cell.class.is_empty() { String::new() } else { format!(" class=\"{}\"", cell.class) };
        write!(row, "<{tag}{scope}{class}>{}</{tag}>", cell.html).expect("writing to a string cannot fail");
    }
    row + "</tr>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_stays_text() {
        assert_eq!(escape(r#"<a href="x" b='&'>"#), "&lt;a href=&quot;x&quot; b=&#39;&amp;&#39;&gt;");
        assert_eq!(fill("{{a}}-{{b}}", |name| format!("{{{{{name}}}}}")), "{{a}}-{{b}}", "values are not filled again");
    }
}
