//! The manual pages: one for the command, one for each of its commands, and one for the configuration file.
//!
//! Owns how the example configuration becomes a page. The invariant: every key of the example is on the page, with what the
//! example says of it and in its order.

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use roff::{Inline, Roff, bold, italic, roman};

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
        let (mut page, synopsis) = (Vec::new(), synopsis(&command));
        let man = Man::new(command).source(source()).manual(MANUAL);
        man.render(&mut page).expect("memory takes it");
        let page = with_synopsis(&String::from_utf8(page).expect("a page is text"), &synopsis);
        let is_whole = name == "selvedge";
        let page = page.replace(".SH EXTRA\n", if is_whole { ".SH \"EXIT STATUS\"\n" } else { ".SH NOTES\n" });
        pages.push((name, '1', if is_whole { page + &around() } else { page }));
    }
    pages
}

/// How a command is typed, with the values of its options, which clap's own synopsis leaves out, and without those that every command has.
fn synopsis(command: &Command) -> String {
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_of_every_command(arg));
    let options = shown().filter(|arg| !arg.is_positional());
    let mut line = vec![bold(command.get_bin_name().unwrap_or_else(|| command.get_name()))];
    for arg in options.chain(shown().filter(|arg| arg.is_positional())) {
        line.push(roman(" "));
        line.extend(typed(arg));
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    }
    let mut page = Roff::new();
    page.text(line);
    page.to_roff()
}

fn is_of_every_command(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

/// An option with its value, or an argument: in brackets where it can be left out, with dots where it can be repeated.
fn typed(arg: &Arg) -> Vec<Inline> {
    let bracketed = |is_optional: bool| if is_optional { ("[", "]") } else { ("", "") };
    let count = arg.get_num_args();
    let (open, close) = bracketed(!arg.is_required_set());
    let mut typed = vec![roman(open)];
    typed.extend(arg.get_long().map(|long| bold(format!("--{long}"))));
    if arg.is_positional() || arg.get_action().takes_values() {
        let (open, close) = bracketed(count.is_some_and(|count| count.min_values() == 0));
        typed.push(roman(if arg.is_positional() { "" } else { " " }));
        typed.push(roman(open));
        typed.extend(arg.get_value_names().unwrap_or_default().iter().map(|name| italic(name.to_string())));
        typed.push(roman(close));
    }
    let is_many = matches!(arg.get_action(), ArgAction::Append) || count.is_some_and(|count| count.max_values() > 1);
    typed.push(roman(if is_many { format!("{close}...") } else { close.to_owned() }));
    typed
}

/// `page` with this synopsis in the place of its own.
fn with_synopsis(page: &str, synopsis: &str) -> String {
    let (before, rest) = page.split_once(SYNOPSIS).expect("a page has a synopsis");
    let after = rest.find("\n.SH").map_or("", |at| &rest[at + 1..]);
    format!("{before}{SYNOPSIS}{synopsis}{after}")
}

/// The title of that section.
const SYNOPSIS: &str = ".SH SYNOPSIS\n";

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
        let (_, _, deploy) = pages.iter().find(|(name, ..)| name == "selvedge-deploy").expect("is there");
        let (_, synopsis) = deploy.split_once(SYNOPSIS).expect("has one");
        let synopsis = synopsis.lines().next().unwrap_or_default();
        for part in [
            r"\fBselvedge deploy\fR",
            r"\fB\-\-name\fR \fINAME\fR [",
            r"[\fB\-\-require\fR \fICAP\fR]... ",
            r"[\fB\-\-everywhere\fR]",
            r" \fIFILE.wasm\fR",
        ] {
            assert!(synopsis.contains(part), "{part} is not in {synopsis}");
        }
        for (name, section, _) in &pages {
            let name = name.replace('-', "\\-");
            assert!(*section == '5' || whole.contains(&name), "{name} is not in {whole}");
        }
    }
}
