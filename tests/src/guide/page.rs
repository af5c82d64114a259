//! A page: its blocks for a shell, and the commands in them.
//!
//! Owns the notation of the parent module; runs nothing but `bash -n`, which knows where a command ends. The invariant: a line of
//! such a block is a command, output of the command above it, or an error that names the line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::guest::root;

/// Languages of blocks that readers type into a shell.
const SHELLS: [&str; 4] = ["console", "sh", "bash", "shell"];

/// What a comment begins with that is for us.
const COMMENT: &str = "<!-- test: ";

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the root of the repository.
    pub path: String,
    /// What there is to type, in order.
    pub blocks: Vec<Block>,
}

/// A block for a shell, or a command that readers do not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Why it is not run.
    pub left_out: Option<String>,
    /// Whether its commands are to fail.
    pub fails: bool,
    /// Its commands.
    pub steps: Vec<Step>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// On which host; `None` where the page speaks of one only.
    pub host: Option<String>,
    /// The command, one line or several.
    pub command: String,
    /// What it prints, if the page shows that.
    pub shown: Vec<String>,
}

/// Every page of documentation: the README and all below `docs/`.
#[must_use]
pub fn pages() -> Vec<String> {
    let mut found = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).expect("a folder of ours can be listed");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let below = |path: PathBuf| path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    let mut pages: Vec<String> = found.into_iter().map(below).collect();
    pages.sort();
    pages
}

impl Page {
    /// Reads a page, by its path from the root of the repository.
    ///
    /// # Panics
    /// There is none, or it is not written as the parent module says.
    #[must_use]
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(&root()).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let blocks = blocks(&text).unwrap_or_else(|error| panic!("{path}:{error}"));
        Self { path: path.to_owned(), blocks }
    }

    /// The hosts that it speaks of, in the order of their first command.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        for host in self.blocks.iter().flat_map(|block| &block.steps).filter_map(|step| step.host.clone()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }
}

/// What a comment says of the block that follows.
#[derive(Default)]
struct Said {
    left_out: Option<String>,
    fails: bool,
}

fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let (mut found, mut said) = (Vec::new(), Said::default());
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.trim_start().strip_prefix(COMMENT) {
            let comment = comment.strip_suffix(" -->").ok_or(format!("{number}: the comment ends elsewhere"))?;
            if let Some(reason) = comment.strip_prefix("not run: ") {
                said.left_out = Some(reason.to_owned());
            } else if comment == "fails" {
                said.fails = true;
            } else if let Some(command) = comment.strip_prefix("run ") {
                let (host, command) = prompted(command).unwrap_or((None, command));
                let step = Step { line: number, host, command: command.to_owned(), shown: Vec::new() };
                found.push(Block { line: number, left_out: None, fails: false, steps: vec![step] });
            } else {
                return Err(format!("{number}: a comment says neither `not run: `, `fails` nor `run `"));
            }
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let indent = line.len() - line.trim_start().len();
            let within = lines.by_ref().take_while(|(_, line)| line.trim() != "```");
            let within: Vec<_> =
                within.map(|(number, line)| (number, line.get(indent..).unwrap_or_default())).collect();
            if SHELLS.contains(&language.trim()) {
                let Said { left_out, fails } = std::mem::take(&mut said);
                found.push(Block { line: number, left_out, fails, steps: steps(&within)? });
            }
        }
    }
    Ok(found)
}

/// A line without its prompt, if it has one, and the host in that.
fn prompted(line: &str) -> Option<(Option<String>, &str)> {
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let end = line.find(['$', '#'])?;
    let (name, rest) = line.split_at(end);
    let command = rest[1..].strip_prefix(' ')?;
    // `# ` alone begins a remark.
    let is_prompt = is_name(name) && (rest.starts_with('$') || !name.is_empty());
    is_prompt.then(|| (Some(name).filter(|name| !name.is_empty()).map(str::to_owned), command))
}

fn steps(lines: &[(usize, &str)]) -> Result<Vec<Step>, String> {
    let has_prompts = lines.first().is_some_and(|(_, line)| prompted(line).is_some());
    let mut steps: Vec<Step> = Vec::new();
    let mut open: Option<Step> = None;
    for (number, line) in lines {
        let begun = if has_prompts { prompted(line) } else { Some((None, *line)) };
        match (open.take(), begun) {
            (Some(mut step), _) => {
                step.command.push('\n');
                step.command.push_str(line);
                open = Some(step);
            }
            (None, Some((_, remark))) if remark.trim().is_empty() || remark.starts_with('#') => {}
            (None, Some((host, command))) => {
                open = Some(Step { line: *number, host, command: command.to_owned(), shown: Vec::new() });
            }
            (None, None) => steps.last_mut().expect("the first line has a prompt").shown.push((*line).to_owned()),
        }
        if open.as_ref().is_some_and(|step| is_whole(&step.command)) {
            steps.extend(open.take());
        }
    }
    match open {
        Some(step) => Err(format!("{}: a command without an end: {}", step.line, step.command)),
        None => Ok(steps),
    }
}

/// Whether a shell would begin with this, or ask for another line.
fn is_whole(command: &str) -> bool {
    if command.ends_with('\\') {
        return false;
    }
    let mut bash = Command::new("bash");
    bash.args(["-n", "-c", command]).stdin(Stdio::null());
    // What is unfinished in a here-document is a warning only.
    let output = bash.output().expect("there is a bash");
    output.status.success() && output.stderr.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(Option<&str>, &str, &[&str])]) {
        let found = blocks(text).expect("a page");
        let steps = found.iter().flat_map(|block| &block.steps);
        let told: Vec<(Option<&str>, &str, Vec<&str>)> = steps
            .map(|step| (step.host.as_deref(), &*step.command, step.shown.iter().map(String::as_str).collect()))
            .collect();
        let expect: Vec<_> = expect.iter().map(|(host, command, shown)| (*host, *command, shown.to_vec())).collect();
        assert_eq!(told, expect, "{text}");
    }

    #[test]
    fn a_block_without_prompts_is_commands_alone() {
        check(
            "```console\ncd a\n# a remark\n\nls -l   # and another\n```\n",
            &[(None, "cd a", &[]), (None, "ls -l   # and another", &[])],
        );
        check("```sh\nput '{\n  \"a\": 1\n}'\nls\n```", &[(None, "put '{\n  \"a\": 1\n}'", &[]), (None, "ls", &[])]);
        check("```sh\ncat <<E\n1\nE\na \\\n  b\n```", &[(None, "cat <<E\n1\nE", &[]), (None, "a \\\n  b", &[])]);
        check("```text\n$ nothing\n```", &[]);
    }

    #[test]
    fn a_prompt_names_the_host_and_what_is_below_is_output() {
        check(
            "```console\n$ a\n1\n\n2\nedge-1# b\nedge-2$ c '\nd'\n3\n```",
            &[(None, "a", &["1", "", "2"]), (Some("edge-1"), "b", &[]), (Some("edge-2"), "c '\nd'", &["3"])],
        );
    }

    #[test]
    fn comments_are_about_the_next_block_or_are_commands() {
        let page = "<!-- test: run edge-1# a -->\n<!-- test: not run: it is dear -->\n```console\nb\n```\n<!-- test: fails -->\n```sh\nc\n```\n```sh\nd\n```";
        let told: Vec<_> = blocks(page)
            .expect("a page")
            .into_iter()
            .map(|block| (block.left_out, block.fails, block.steps.len()))
            .collect();
        let reason = Some("it is dear".to_owned());
        assert_eq!(told, [(None, false, 1), (reason, false, 1), (None, true, 1), (None, false, 1)]);
        assert!(blocks("<!-- test: perhaps -->").is_err_and(|error| error.starts_with('1')));
        assert!(blocks("```sh\necho 'a\n```\n").is_err_and(|error| error.contains("without an end")));
    }
}
