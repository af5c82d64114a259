//! The reference pages say what the binary does: each command, each key of the configuration, each error and each reason of health
//! is there, and nothing else; links lead somewhere.
//!
//! Two pages are written from their sources: `UPDATE_DOCS=1 cargo test --release -p selvedge-tests --test reference` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use selvedge::spec::Spec;
use selvedge_tests::agent::binary;
use selvedge_tests::guest::root;
use selvedge_tests::guide::pages;
use serde_json::{Value, json};

const TROUBLESHOOTING: &str = "docs/guide/troubleshoot.md";

const DESCRIPTION: &str = "agent/src/api/openapi.json";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Holds a page that is made from something else to what it would be now; writes it, where that was asked for.
fn hold(path: &str, made: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), made).expect("the page can be written");
    }
    let there = fs::read_to_string(root().join(path)).unwrap_or_default();
    let first = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    assert!(there == made, "{path} is not what it would be now, first at {first:?}; UPDATE_DOCS=1 writes it anew");
}

/// What a command prints that asks for help.
fn help(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).arg("--help").env_clear().output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}

fn commands() -> Vec<(String, String)> {
    let overview = help(&[]);
    let listed =
        overview.split_once("Commands:\n").expect("commands are listed").1.split_once("\n\n").expect("an end").0;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.map(|name| (name.to_owned(), help(&[name]))).collect()
}

#[test]
fn the_page_about_the_command_line_is_what_help_says() {
    let mut page = "# The command line\n\nWhat `--help` says of each command; a test writes this page and holds it to the binary. \
                    What exit codes and errors mean is in [troubleshooting](troubleshoot.md)."
        .to_owned();
    for (name, help) in [("selvedge".to_owned(), help(&[]))].into_iter().chain(commands()) {
        let title = if name == "selvedge" { name } else { format!("selvedge {name}") };
        let trimmed: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(page, "\n\n## {title}\n\n```text\n{}\n```", trimmed.join("\n").trim_end()).expect("a string takes all");
    }
    page.push('\n');
    hold("docs/guide/cli.md", &page);
}

#[test]
fn pages_name_commands_and_flags_that_there_are() {
    let known: BTreeMap<String, String> = commands().into_iter().collect();
    let mut faults = Vec::new();
    for path in pages() {
        for code in read(&path).split('`').skip(1).step_by(2) {
            let Some(typed) = code.strip_prefix("selvedge ").filter(|typed| !typed.contains('\n')) else { continue };
            let mut words = typed.split_whitespace();
            let Some(name) =
                words.next().filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
            else {
                continue;
            };
            match known.get(name) {
                None if name == "compile-component" || name.starts_with('-') => {}
                None => faults.push(format!("{path}: there is no `selvedge {name}`")),
                Some(help) => {
                    let flags = words.filter(|word| word.starts_with("--")).filter_map(|word| word.split('=').next());
                    let unknown = flags.filter(|flag| !help.contains(*flag));
                    faults.extend(unknown.map(|flag| format!("{path}: `selvedge {name}` has no {flag}")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A key of the example configuration.
struct Key {
    name: String,
    /// What stands there; what the host decides is commented out.
    value: Result<String, String>,
    what: String,
}

/// The sections of the example configuration with their keys.
fn sections() -> Vec<(String, Vec<Key>)> {
    let mut sections: Vec<(String, Vec<Key>)> = Vec::new();
    let mut remark: Vec<String> = Vec::new();
    for line in read("deploy/selvedge.toml").lines() {
        let key = |line: &str| {
            let (name, value) = line.split_once(" = ")?;
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                .then(|| (name.to_owned(), value.to_owned()))
        };
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((section.to_owned(), Vec::new()));
        } else if let Some((name, value)) = key(line) {
            let (_, keys) = sections.last_mut().expect("a section comes first");
            keys.push(Key { name, value: Ok(value), what: std::mem::take(&mut remark).join(" ") });
        } else if let Some((name, value)) = line.strip_prefix("# ").and_then(key) {
            let (_, keys) = sections.last_mut().expect("a section comes first");
            keys.push(Key { name, value: Err(value), what: std::mem::take(&mut remark).join(" ") });
        } else if let Some(text) = line.strip_prefix("# ") {
            remark.push(text.to_owned());
        } else {
            remark.clear();
        }
    }
    sections
}

#[test]
fn the_page_about_the_configuration_is_what_the_example_says() {
    let mut page = "# Configuration\n\nAll keys of the file, from `deploy/selvedge.toml`; a test writes this page and holds it to the binary. Every key has a default, \
                    and an empty file runs. Flags win over the environment, which wins over the file: `selvedge run --help` names both ([command line](cli.md#selvedge-run)). \
                    `selvedge check-config FILE` checks a file, and `systemctl reload selvedge` has `log.level` changed at once and tells which other changes count from the next start on. \
                    Durations are texts such as `\"500ms\"`, `\"30s\"`, `\"24h\"`; sizes are texts such as `\"64MiB\"`, or numbers of bytes."
        .to_owned();
    for (section, keys) in sections() {
        write!(page, "\n\n## `[{section}]`\n\n| key | default | what |\n| --- | --- | --- |")
            .expect("a string takes all");
        for Key { name, value, what } in keys {
            let value =
                value.map_or_else(|example| format!("unset, written as `{example}`"), |value| format!("`{value}`"));
            let what = what.replace('|', "\\|");
            write!(page, "\n| `{name}` | {value} | {what} |").expect("a string takes all");
        }
    }
    page.push('\n');
    hold("docs/guide/configuration.md", &page);
}

#[test]
fn the_example_has_every_section_and_key_and_the_bounds_that_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("selvedge.toml");
    let check = |text: &str| {
        fs::write(&file, text).expect("written");
        let output = Command::new(binary()).arg("check-config").arg(&file).env_clear().output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // What is wrong is told with all that would have been right.
    let expected = |text: &str| -> BTreeSet<String> {
        let (_, said) = check(text);
        let (_, names) = said.split_once("unknown field").unwrap_or_else(|| panic!("{said}"));
        names.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    };
    let sections = sections();
    let names: BTreeSet<String> = sections.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, expected("[none]\n"));
    for (section, keys) in &sections {
        let there: BTreeSet<String> = keys.iter().map(|key| key.name.clone()).collect();
        assert_eq!(there, expected(&format!("[{section}]\nnone = 1\n")), "[{section}]");
        for Key { name, what, .. } in keys {
            let is_of_values = !what.contains("degrees") && !what.contains("bytes without");
            let Some((before, after)) = what.split_once(" to ").filter(|_| is_of_values) else { continue };
            let least = before.rsplit(' ').next().unwrap_or(before);
            let most = after.split([':', '.', ',', ' ']).next().unwrap_or(after);
            if !least.ends_with(|last: char| last.is_ascii_alphanumeric())
                || !least.starts_with(|first: char| first.is_ascii_digit())
            {
                continue;
            }
            for (bound, grown) in [(least, false), (most, true)] {
                let (number, unit) =
                    bound.split_at(bound.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(bound.len()));
                let quote =
                    |number: u64| if unit.is_empty() { number.to_string() } else { format!("\"{number}{unit}\"") };
                let number: u64 = number.parse().unwrap_or_else(|error| panic!("{section}.{name}: {bound}: {error}"));
                let beyond = if grown { number + 1 } else { number - 1 };
                let line = |number| format!("[{section}]\n{name} = {}\n", quote(number));
                let (is_taken, said) = check(&line(number));
                assert!(is_taken, "{section}.{name}: {bound} is refused: {said}");
                assert!(!check(&line(beyond)).0, "{section}.{name}: {} is taken, beyond {bound}", quote(beyond));
            }
        }
    }
}

/// The agent's own sources, without their tests.
fn agent_sources() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join("agent/src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours can be listed") {
            let path = entry.expect("an entry").path();
            let is_test = |path: &Path| path.file_stem().is_some_and(|stem| stem == "tests" || stem == "fake");
            if is_test(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
                found.push((path, product));
            }
        }
    }
    found
}

/// The text in quotation marks with which `source` goes on, at most `within` bytes further.
fn next_literal(source: &str, within: usize) -> Option<&str> {
    let begin = source.find('"').filter(|begin| *begin < within)? + 1;
    source[begin..].split('"').next()
}

/// What error codes the agent has: a word beside a class of fault.
fn codes() -> BTreeSet<String> {
    const SINGLE: [&str; 8] =
        ["busy", "internal", "leaving", "overflow", "starting", "stopped", "trap", "unauthorized"];
    let is_code = |word: &&str| {
        let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_word && (word.contains('_') || SINGLE.contains(word))
    };
    let mut found = BTreeSet::new();
    for (_, source) in agent_sources() {
        for mark in ["Fault::", "ServiceError::not_found(", "refuse(", "KeyError::"] {
            // A class that is only compared or matched has no word beside it before the statement ends.
            let after = source.split(mark).skip(1).map(|rest| rest.split([';', '!']).next().unwrap_or(rest));
            found.extend(after.filter_map(|rest| next_literal(rest, 90)).filter(is_code).map(str::to_owned));
        }
        for (at, _) in source.match_indices("refused(\"") {
            found.extend(next_literal(&source[at..], 90).filter(is_code).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_error_code_is_explained() {
    let page = read(TROUBLESHOOTING);
    let codes = codes();
    assert!(codes.len() > 80, "the search finds {codes:?} only");
    let missing: Vec<&String> = codes.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "{TROUBLESHOOTING} lacks the error codes {missing:?}");
    let code = &description()["components"]["schemas"]["Problem"]["properties"]["error"]["properties"]["code"];
    let listed = code["anyOf"][0]["enum"].as_array().expect("a list of codes");
    let listed: BTreeSet<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let missing: Vec<&String> = codes.difference(&listed).collect();
    assert!(missing.is_empty(), "{DESCRIPTION} lacks the error codes {missing:?}");
    let gone: Vec<&String> = listed.iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(gone.is_empty(), "{DESCRIPTION} lists the error codes {gone:?}, of which {TROUBLESHOOTING} says nothing");
}

fn description() -> Value {
    serde_json::from_str(&read(DESCRIPTION)).expect("JSON")
}

#[test]
fn defaults_and_examples_of_a_spec_are_what_they_are_said_to_be() {
    let description = description();
    let schema = &description["components"]["schemas"]["Spec"];
    let artifact = format!("blake3:{}", "0".repeat(64));
    let least = Spec::from_json(&json!({"artifact": artifact})).expect("a spec");
    let (mut defaults, mut examples) = (0, 0);
    let mut check = |fields: &Value, wrap: &dyn Fn(&str, &Value) -> Value| {
        for (name, field) in fields["properties"].as_object().into_iter().flatten() {
            let spec = |value: &Value| {
                let mut document = wrap(name, value);
                document["artifact"] = artifact.clone().into();
                Spec::from_json(&document).unwrap_or_else(|error| panic!("{name} {value}: {error}"))
            };
            if let Some(value) = field.get("default") {
                assert_eq!(spec(value), least, "{value} is not what leaving out {name} comes to");
                defaults += 1;
            }
            for example in field["examples"].as_array().into_iter().flatten() {
                assert_ne!(spec(example), least, "{example} changes nothing of {name}");
                examples += 1;
            }
        }
    };
    check(schema, &|name, value| json!({ name: value }));
    for part in ["limits", "latency", "rollout"] {
        check(&schema["properties"][part], &|name, value| json!({ part: { name: value } }));
    }
    assert!(defaults > 15 && examples > 5, "{defaults} defaults and {examples} examples are described");
    for whole in schema["examples"].as_array().expect("whole specs") {
        let spec = Spec::from_json(whole).unwrap_or_else(|error| panic!("{whole}: {error}"));
        assert_ne!(spec, least);
    }
}

#[test]
fn every_reason_of_health_is_explained() {
    let page = read(TROUBLESHOOTING);
    let mut sentences = 0;
    for file in ["agent/src/agent/health.rs", "agent/src/agent/standing.rs"] {
        let source = read(file);
        let product = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: Vec<&str> = product.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = if file.ends_with("standing.rs") {
            code.into_iter().filter(|line| line.contains("this agent was revoked")).collect::<String>()
        } else {
            code.join("\n")
        };
        for literal in code.split('"').skip(1).step_by(2).filter(|literal| literal.contains(' ')) {
            // What does not change, the longest of it; what is in code marks is written otherwise on a page.
            let pieces = literal.split(['{', '}', '`']).step_by(1).filter(|piece| piece.contains(' '));
            let fixed = pieces.max_by_key(|piece| piece.len()).unwrap_or(literal).trim_matches([' ', ';', ',']);
            assert!(page.contains(fixed), "{TROUBLESHOOTING} says nothing of: {fixed}");
            sentences += 1;
        }
    }
    assert!(sentences > 12, "the search finds {sentences} sentences only");
}

/// The words in quotes that follow `begin` in a source, wherever it stands, up to `end`.
fn quoted(source: &str, begin: &str, end: &str) -> Vec<String> {
    let pieces = source.split(begin).skip(1).filter_map(|rest| rest.split(end).next());
    pieces.flat_map(|piece| piece.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn every_reason_of_a_drop_is_explained() {
    let page = read("docs/metrics.md");
    let figures = read("agent/src/agent/figures.rs");
    let net = read("agent/src/net/counters.rs");
    let mut reasons = quoted(&figures, "dropped(", ",");
    reasons.extend(quoted(&figures, "for (reason, total) in [", "] {"));
    reasons.extend(quoted(&read("agent/src/metrics.rs"), "ReasonLabel { reason: ", "}"));
    // These two count what went well.
    let networks = quoted(&net, " = ", ",").into_iter();
    reasons.extend(networks.filter(|word| word != "dial_ok" && word != "joined"));
    let listed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let missing: Vec<&String> = reasons.iter().filter(|reason| !listed.contains(&reason.as_str())).collect();
    assert!(reasons.len() > 60, "the search finds {} reasons only", reasons.len());
    assert!(missing.is_empty(), "docs/metrics.md lacks the reasons {missing:?}");
}

/// How a heading is called in a link, as GitHub does it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.collect::<String>().trim().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for path in pages().into_iter().chain(["ARCHITECTURE.md".to_owned(), "CHANGELOG.md".to_owned()]) {
        let here = root().join(&path);
        for rest in read(&path).split("](").skip(1) {
            let link = rest.split([')', ' ']).next().unwrap_or(rest);
            if link.contains("://") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { here.clone() } else { here.parent().expect("a folder").join(file) };
            if !target.exists() {
                faults.push(format!("{path}: there is no {file}"));
            } else if !place.is_empty() {
                let text = fs::read_to_string(&target).unwrap_or_default();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                if !headings.into_iter().any(|line| anchor(line.trim_start_matches('#')) == place) {
                    faults.push(format!("{path}: {file} has no heading {place}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
