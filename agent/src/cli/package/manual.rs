//! The manual pages: one for the command, one for each of its commands, and one for the configuration file.
//!
//! Owns how the example configuration becomes a page. The invariant: every key of the example is on the page, with what the
//! example says of it and in its order.

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, italic, roman};

/// The example, which explains every key.
const EXAMPLE: &str = include_str!("../../../../deploy/selvedge.toml");

/// The pages' footer and header.
const MANUAL: &str = "Selvedge";

/// Name, section and text of each page.
pub(super) fn pages(mut command: Command) -> Vec<(String, char, String)> {
    command.build();
    let mut pages = vec![("selvedge.toml".to_owned(), '5', configuration())];
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    for command in shown.chain([command.clone()]) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let mut page = Vec::new();
        let man = Man::new(command).source(source()).manual(MANUAL);
        man.render(&mut page).expect("memory takes it");
        let page = String::from_utf8(page).expect("a page is text");
        let is_whole = name == "selvedge";
        let page = page.replace(".SH EXTRA\n", if is_whole { ".SH \"EXIT STATUS\"\n" } else { ".SH NOTES\n" });
        pages.push((name, '1', if is_whole { page + &around() } else { page }));
    }
    pages
}

/// What the command finds around it, for its own page.
fn around() -> String {
    let mut page = Roff::new();
    let sections: [(&str, &[(&str, &str)]); 2] = [
        (
            "FILES",
            &[
                ("/etc/selvedge/selvedge.toml", "the configuration of the package's service"),
                ("/var/lib/selvedge", "its data directory: identity, state, components"),
                ("/run/selvedge/api.sock", "its API, for root and the group selvedge"),
            ],
        ),
        (
            "ENVIRONMENT",
            &[
                ("SELVEDGE_API", "whom commands ask, as with --api"),
                ("SELVEDGE_TOKEN", "the token that allows changes over TCP"),
                ("SELVEDGE_CONFIG", "the configuration file of selvedge run, as with --config"),
                ("SELVEDGE_DATA_DIR", "the data directory, as with --data-dir"),
            ],
        ),
    ];
    for (title, entries) in sections {
        page.control("SH", [title]);
        for (name, meaning) in entries {
            page.control("TP", []);
            page.text([bold(*name)]);
            page.text([roman(*meaning)]);
        }
    }
    page.to_roff()
}

fn source() -> String {
    format!("selvedge {}", env!("CARGO_PKG_VERSION"))
}

/// The page of the configuration file.
fn configuration() -> String {
    let mut page = Roff::new();
    page.control("TH", ["selvedge.toml", "5", "", &source(), MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman("selvedge.toml - configuration of the agent selvedge")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/selvedge/selvedge.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A file in TOML that selvedge run reads with --config. The package's service reads the one above.",
    )]);
    let mut said: Vec<&str> = Vec::new();
    // The first line is the example's title.
    for line in EXAMPLE.lines().skip(1) {
        match Line::of(line) {
            Line::Blank => {}
            Line::Comment(text) => said.push(text),
            Line::Section(name) => {
                page.text([roman(said.join(" "))]);
                said.clear();
                page.control("SH", [name]);
            }
            Line::Key(setting) => {
                page.control("TP", []);
                page.text([bold(setting)]);
                page.text([roman(said.join(" "))]);
                said.clear();
            }
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("selvedge"),
        roman("(1), "),
        bold("selvedge-check-config"),
        roman("(1), "),
        bold("selvedge-run"),
        roman("(1)"),
    ]);
    page.render()
}

/// A line of the example.
enum Line<'a> {
    Blank,
    Comment(&'a str),
    Section(&'a str),
    /// A key with its value; with `#` in front of it where the default depends on the host.
    Key(&'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let is_key = |text: &str| {
            let key = text.split_once(" = ").map(|(key, _)| key);
            key.is_some_and(|key| key.bytes().all(|letter| letter == b'_' || letter.is_ascii_lowercase()))
        };
        match line.strip_prefix("# ") {
            Some(commented) if is_key(commented) => Self::Key(line),
            Some(text) => Self::Comment(text),
            None if line.starts_with('[') => Self::Section(line),
            None if is_key(line) => Self::Key(line),
            None => Self::Blank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_example_is_on_its_page_with_what_is_said_of_it() {
        let page = configuration();
        let is_setting = |line: &&str| matches!(Line::of(line), Line::Key(_));
        let settings: Vec<_> = EXAMPLE.lines().filter(is_setting).collect();
        assert!(settings.len() > 20, "{settings:?}");
        for setting in settings {
            let mut shown = Roff::new();
            let line = shown.text([bold(setting)]).to_roff();
            let (_, after) = page.split_once(line.trim_end()).unwrap_or_else(|| panic!("{setting} is not in:\n{page}"));
            let said = after.trim_start().lines().next().unwrap_or_default();
            assert!(said.len() > 10 && !said.starts_with('.'), "nothing is said of {setting}: {said}");
        }
    }

    #[test]
    fn the_page_of_the_command_names_the_others() {
        let pages = pages(<crate::cli::args::Cli as clap::CommandFactory>::command());
        let (_, _, whole) = pages.iter().find(|(name, ..)| name == "selvedge").expect("is there");
        for section in [".SH \"EXIT STATUS\"", ".SH FILES", ".SH ENVIRONMENT"] {
            assert!(whole.contains(section), "{section} is not in {whole}");
        }
        for (name, section, _) in &pages {
            let name = name.replace('-', "\\-");
            assert!(*section == '5' || whole.contains(&name), "{name} is not in {whole}");
        }
    }
}
