//! Holds the agents to their word: is every acknowledged commit everywhere, and does every counter read what it must?
//!
//! Owns the comparison of the callers' tally with every agent's own answers; changes nothing. The invariant: an agent that
//! cannot be asked counts as one that lacks everything, never as one that agrees.

use futures::future::join_all;
use serde_json::Value;

use super::mesh::Mesh;
use super::tally::Tally;
use crate::cli::{Ask, CliError, Client, segment};

/// Wrong counters that are told one by one.
const MISMATCHES_TOLD: usize = 10;

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Acknowledged commits that some agent does not hold.
    pub(super) lost: u64,
    /// Counters compared, on each agent.
    pub(super) counters: u64,
    /// Readings that are off, over all agents.
    pub(super) mismatched: u64,
    /// The first of them, in sentences.
    pub(super) mismatches: Vec<String>,
    /// Questions that failed.
    pub(super) errors: Vec<String>,
}

/// What one agent was found to hold.
#[derive(Default)]
struct OneAgent {
    /// By replica, in the tally's order: how many of its acknowledged commits this agent holds.
    held: Vec<usize>,
    mismatched: u64,
    mismatches: Vec<String>,
    errors: Vec<String>,
}

/// Compares `tally`, which is settled, with what every agent says.
pub(super) async fn verify(mesh: &mut Mesh, tally: &Tally) -> Findings {
    let agents =
        join_all(mesh.clients().iter_mut().map(async |(name, client)| ask_one(name, client, tally).await)).await;
    let mut findings = Findings { counters: tally.counters().len() as u64, ..Findings::default() };
    for (index, seqs) in tally.acknowledged().values().enumerate() {
        let held_by_all = agents.iter().map(|agent| agent.held[index]).min().unwrap_or(0);
        findings.lost += (seqs.len() - held_by_all) as u64;
    }
    for agent in agents {
        findings.mismatched += agent.mismatched;
        findings.mismatches.extend(agent.mismatches);
        findings.errors.extend(agent.errors);
    }
    findings.mismatches.truncate(MISMATCHES_TOLD);
    findings
}

async fn ask_one(name: &str, client: &mut Client, tally: &Tally) -> OneAgent {
    let mut found = OneAgent::default();
    for (replica, seqs) in tally.acknowledged() {
        let held = held(client, replica, seqs).await.unwrap_or_else(|error| {
            found.errors.push(format!("{name}: {error}"));
            0
        });
        found.held.push(held);
    }
    for (key, &expect) in tally.counters() {
        match read(client, key).await {
            Ok(value) if value == expect => {}
            Ok(value) => {
                found.mismatched += 1;
                found.mismatches.push(format!("{name}: {key} reads {value}, not {expect}"));
            }
            Err(error) => {
                found.mismatched += 1;
                found.errors.push(format!("{name}: {error}"));
            }
        }
    }
    found
}

/// How many of `seqs`, ascending, the agent holds. Commits of a replica apply in their order, so whoever holds one holds all
/// before it: one question when nothing is missing, a binary search otherwise.
async fn held(client: &mut Client, replica: &str, seqs: &[u64]) -> Result<usize, CliError> {
    let (mut low, mut high) = (0, seqs.len());
    let mut probe = high.saturating_sub(1);
    while low < high {
        if holds(client, replica, seqs[probe]).await? {
            low = probe + 1;
        } else {
            high = probe;
        }
        probe = low + (high - low) / 2;
    }
    Ok(low)
}

async fn holds(client: &mut Client, replica: &str, seq: u64) -> Result<bool, CliError> {
    found(client, format!("/v1/commits/{replica}/{seq}")).await.map(|json| json.is_some())
}

/// The value of a counter; 0 for one that nobody wrote.
async fn read(client: &mut Client, key: &str) -> Result<i128, CliError> {
    let (kind, name) = key.split_once('/').unwrap_or((key, ""));
    let path = format!("/v1/state/{kind}/{}", segment(name));
    match found(client, path.clone()).await? {
        None => Ok(0),
        Some(json) => {
            let value = json["value"].as_i64().map(i128::from).or_else(|| json["value"].as_u64().map(i128::from));
            value.ok_or_else(|| CliError::Failed(format!("{path} is no counter: {}", json["value"])))
        }
    }
}

/// What is at `path`; `None` for 404.
async fn found(client: &mut Client, path: String) -> Result<Option<Value>, CliError> {
    match client.json(Ask::get(path)).await {
        Ok(json) => Ok(Some(json)),
        Err(CliError::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
