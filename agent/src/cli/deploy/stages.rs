//! How a deployment goes on, for whoever waits at a terminal.

use std::io::{self, IsTerminal as _};

use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::connection::Ask;
use crate::cli::output::printable;
use crate::cli::progress::Progress;
use crate::cli::tables::rollouts::stage;

/// The line that says where a deployment is, if somebody looks.
pub(super) struct Stages {
    name: String,
    line: Option<Progress>,
    /// Names of members by id, once they are needed.
    names: Option<Vec<(String, String)>>,
}

impl Stages {
    /// Says on this line where the deployment of a workload is.
    pub(super) fn on(line: Progress, name: &str) -> Self {
        let line = io::stderr().is_terminal().then_some(line);
        Self { name: name.to_owned(), line, names: None }
    }

    /// Says nothing.
    pub(super) const fn silent() -> Self {
        Self { name: String::new(), line: None, names: None }
    }

    /// Says where a workload is by its document; where there is no rollout, what `waiting` says.
    pub(super) async fn show(&mut self, client: &mut Client, workload: &Value, waiting: &str) {
        if self.line.is_none() {
            return;
        }
        let rollout = &workload["status"]["rollout"];
        if !rollout["canary"].is_null() || !rollout["behind"].is_null() {
            self.learn_names(client).await;
        }
        let text = stage(rollout, |node| self.name_of(node)).unwrap_or_else(|| waiting.to_owned());
        if let Some(line) = &self.line {
            line.say(format!("{}: {}", self.name, printable(&text)));
        }
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        self.line = None;
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
