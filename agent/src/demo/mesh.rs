//! The demo's view of its mesh through the API: are the agents one mesh, and do they hold the same state?
//!
//! Owns waiting on levels with deadlines; starts and changes nothing but the workloads that it is told to deploy. The
//! invariant: "converged" is said only when all agents' own roots are equal and each of them says so.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::Agent;
use crate::cli::{Ask, Awaited, CliError, Client, await_ready, set, store};

/// Time for the agents to find each other.
const MEET_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a workload to run on every agent.
const RUN_PATIENCE: Duration = Duration::from_mins(1);
/// Time for the agents to converge after the traffic.
const CONVERGE_PATIENCE: Duration = Duration::from_mins(1);
/// How long one question for convergence waits inside the agent.
const CONVERGE_WAIT: &str = "5s";
/// How often a level is looked at.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// Time for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// A client of each agent, in their order.
pub(super) struct Mesh {
    clients: Vec<(String, Client)>,
}

/// How convergence went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Convergence {
    /// Whether all roots are equal and every agent says so.
    pub(super) converged: bool,
    /// From the end of the traffic until then, in milliseconds.
    pub(super) converge_ms: Option<u64>,
    /// From the end of the traffic until the roots were equal, whether or not the agents knew, in milliseconds.
    pub(super) roots_equal_ms: Option<u64>,
    /// Each agent's root, in their order.
    pub(super) roots: Vec<String>,
}

impl Mesh {
    pub(super) fn new(agents: &[Agent]) -> Self {
        let client = |agent: &Agent| Client::new(agent.api.clone(), ANSWER_PATIENCE, Some(agent.token.clone()));
        Self { clients: agents.iter().map(|agent| (agent.name.clone(), client(agent))).collect() }
    }

    /// Each agent's name and client.
    pub(super) fn clients(&mut self) -> &mut [(String, Client)] {
        &mut self.clients
    }

    /// Waits until every agent sees every other.
    pub(super) async fn await_met(&mut self) -> Result<(), CliError> {
        let count = self.clients.len() as u64;
        let deadline = Instant::now() + MEET_PATIENCE;
        loop {
            let mut alone = None;
            for (name, status) in self.all("/v1/status").await? {
                let alive = status.pointer("/cluster/alive").and_then(Value::as_u64).unwrap_or(0);
                let peers = status["peers"].as_array().map_or(0, Vec::len) as u64;
                if alive < count || peers + 1 < count {
                    alone = Some(format!("{name} sees {alive} of {count} members"));
                }
            }
            let Some(alone) = alone else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(CliError::Failed(format!("the agents did not find each other: {alone}")));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Deploys a component everywhere through the first agent, and waits until every agent says that all of them run it.
    pub(super) async fn deploy(&mut self, name: &str, wasm: &'static [u8]) -> Result<(), CliError> {
        let count = self.clients.len();
        let first = &mut self.clients[0].1;
        let stored = store(first, wasm.into()).await?;
        // With the limits that a user gets who says nothing: what is shown is what they will see.
        let made = set(first, (name, false), &json!({"artifact": stored["digest"], "everywhere": true})).await?;
        let awaited = Awaited { name, committed: &made, instances_min: count };
        let deadline = Instant::now() + RUN_PATIENCE;
        try_join_all(self.clients.iter_mut().map(async |(_, client)| {
            await_known(client, name, deadline).await?;
            await_ready(client, awaited, deadline - Instant::now()).await
        }))
        .await
        .map(drop)
    }

    /// Waits until all agents hold the same state, counting from `since`.
    pub(super) async fn await_converged(&mut self, since: Instant) -> Result<Convergence, CliError> {
        let count = self.clients.len();
        let deadline = Instant::now() + CONVERGE_PATIENCE;
        let mut outcome = Convergence::default();
        let millis = || u64::try_from(since.elapsed().as_millis()).ok();
        loop {
            let path = match outcome.roots_equal_ms {
                None => "/v1/convergence".to_owned(),
                Some(_) => format!("/v1/convergence?wait={CONVERGE_WAIT}"),
            };
            let answers = self.convergences(&path).await?;
            outcome.roots = answers.iter().map(|json| json["root"].as_str().unwrap_or_default().to_owned()).collect();
            let equal = outcome.roots.windows(2).all(|pair| pair[0] == pair[1]);
            if equal && outcome.roots_equal_ms.is_none() {
                outcome.roots_equal_ms = millis();
            }
            let say_so = |json: &Value| {
                json["converged"] == true && json["peers"].as_array().is_some_and(|peers| peers.len() + 1 >= count)
            };
            if equal && answers.iter().all(say_so) {
                return Ok(Convergence { converged: true, converge_ms: millis(), ..outcome });
            }
            if Instant::now() >= deadline {
                return Ok(outcome);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// What every agent answers at `path`.
    pub(super) async fn all(&mut self, path: &str) -> Result<Vec<(String, Value)>, CliError> {
        try_join_all(
            self.clients.iter_mut().map(async |(name, client)| Ok((name.clone(), client.json(Ask::get(path)).await?))),
        )
        .await
    }

    /// Like [`Mesh::all`], but 504 is an answer too: not converged in time.
    async fn convergences(&mut self, path: &str) -> Result<Vec<Value>, CliError> {
        let ask = Ask::get(path);
        let answers = join_all(self.clients.iter_mut().map(async |(_, client)| {
            let answer = client.answer(&ask, ANSWER_PATIENCE).await?;
            client.decode(&ask, &answer)
        }))
        .await;
        answers.into_iter().collect()
    }
}

/// Waits until an agent has heard of the workload at all.
async fn await_known(client: &mut Client, name: &str, deadline: Instant) -> Result<(), CliError> {
    let ask = Ask::get(format!("/v1/workloads/{name}"));
    loop {
        match client.ask(&ask, ANSWER_PATIENCE).await {
            Ok(_) => return Ok(()),
            Err(CliError::Refused(problem)) if problem.status == 404 && Instant::now() < deadline => {
                tokio::time::sleep(POLL_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
}
