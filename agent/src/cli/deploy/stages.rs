//! How a deployment goes on, for whoever waits: a line that changes on a terminal, a line for each change elsewhere.

use std::io::{self, IsTerminal as _};

use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::connection::Ask;
use crate::cli::output::{note, printable};
use crate::cli::progress::Progress;
use crate::cli::tables::rollouts::stage;

/// Says where a deployment is.
pub(super) struct Stages {
    name: String,
    line: Line,
    /// What was said last, without what only counts.
    said: String,
    /// Names of members by id, once they are needed.
    names: Option<Vec<(String, String)>>,
}

enum Line {
    /// On a terminal, in its place.
    Drawn(Progress),
    /// In a log, one below the other.
    Printed,
    Silent,
}

impl Stages {
    /// Says on this line where the deployment of a workload is.
    pub(super) fn on(line: Progress, name: &str) -> Self {
        let line = if io::stderr().is_terminal() { Line::Drawn(line) } else { Line::Printed };
        Self { name: name.to_owned(), line, said: String::new(), names: None }
    }

    /// Says nothing.
    pub(super) const fn silent() -> Self {
        Self { name: String::new(), line: Line::Silent, said: String::new(), names: None }
    }

    /// Says where a workload is by its document; where there is no rollout, what `waiting` says.
    pub(super) async fn show(&mut self, client: &mut Client, workload: &Value, waiting: &str) {
        if matches!(self.line, Line::Silent) {
            return;
        }
        let rollout = &workload["status"]["rollout"];
        if ["canary", "behind", "old_on"].iter().any(|field| !rollout[*field].is_null()) {
            self.learn_names(client).await;
        }
        let text = stage(rollout, |node| self.name_of(node)).unwrap_or_else(|| waiting.to_owned());
        let told = format!("{}: {}", self.name, printable(&text));
        match &self.line {
            Line::Drawn(line) => line.say(told),
            Line::Printed => {
                if let Some(steps) = changed(&mut self.said, rollout, &text) {
                    note(&format!("{}: {}", self.name, printable(&steps)));
                }
            }
            Line::Silent => {}
        }
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        self.line = Line::Silent;
    }

    /// A member's name, or its id where nobody tells the name.
    pub(super) async fn called(&mut self, client: &mut Client, node: &str) -> String {
        self.learn_names(client).await;
        printable(&self.name_of(node))
    }

    async fn learn_names(&mut self, client: &mut Client) {
        if self.names.is_none() {
            let nodes = client.json(Ask::get("/v1/nodes")).await.unwrap_or_default();
            let name = |node: &Value| Some((node["id"].as_str()?.to_owned(), node["name"].as_str()?.to_owned()));
            self.names = Some(nodes.as_array().into_iter().flatten().filter_map(name).collect());
        }
    }

    fn name_of(&self, node: &str) -> String {
        let known = self.names.iter().flatten().find(|(id, _)| id == node);
        known.map_or_else(|| node.to_owned(), |(_, name)| name.clone())
    }
}

/// The line to print, if this is another stage than was said last. Calls and seconds of a canary change all the time and are no stage.
fn changed(said: &mut String, rollout: &Value, text: &str) -> Option<String> {
    let text = match (rollout["stage"].as_str(), text.split_once(": ")) {
        (Some("canary"), Some((what, _))) => what,
        _ => text,
    };
    (text != said).then(|| {
        text.clone_into(said);
        text.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_log_has_a_line_for_each_stage_and_none_for_each_second() {
        let mut said = String::new();
        let mut seen = Vec::new();
        for (at, text) in [
            ("done", "0 of 2 instances ready; fra is starting (is compiling)"),
            ("done", "0 of 2 instances ready; fra is starting (is compiling)"),
            ("canary", "fra tries the new version: 3 calls, 4 s to go"),
            ("canary", "fra tries the new version: 9 calls, 3 s to go"),
            ("following", "the others follow: 1 of 3 serve the new version"),
            ("following", "the others follow: 2 of 3 serve the new version"),
        ] {
            seen.extend(changed(&mut said, &json!({"stage": at}), text));
        }
        assert_eq!(
            seen,
            [
                "0 of 2 instances ready; fra is starting (is compiling)",
                "fra tries the new version",
                "the others follow: 1 of 3 serve the new version",
                "the others follow: 2 of 3 serve the new version",
            ]
        );
    }
}
