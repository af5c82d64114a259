//! A command's conversation with one agent: asks, finds the token by itself, and turns failures into exit codes.
//!
//! Owns deadlines, the one retry with a token, and the one retry of a read on a fresh connection; knows no routes. The
//! invariant: a request that changes something is never sent twice unless the agent said that it did nothing (401).

use std::path::Path;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::address::ApiAddr;
use super::connection::{Answer, Ask, Connection, ConnectionError};
use super::error::{CliError, Problem};
use super::near;
use super::output::printable;
use super::token::read_token;

/// The environment variable that holds the token.
pub(crate) const TOKEN_ENV: &str = "SELVEDGE_TOKEN";
/// Time for one answer when `--timeout` is not given.
pub(crate) const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);

const UNAUTHORIZED: u16 = 401;
/// The agent's word for a workload that is not there.
pub(crate) const UNKNOWN_WORKLOAD: &str = "unknown_workload";
/// How long an error waits for the names of the workloads that are there.
const NAMES_PATIENCE: Duration = Duration::from_secs(1);
/// Bodies above this may not fit into a socket's buffers, so that a refusal can overtake them.
const PROBE_ABOVE_BYTES: usize = 16 * 1024;

/// A client of one agent's API.
pub(crate) struct Client {
    addr: ApiAddr,
    patience: Duration,
    token: Option<String>,
    open: Option<Connection>,
}

impl Client {
    /// A client of the agent at `addr` that waits at most `patience` for each answer. Connects with the first request.
    #[must_use]
    pub(crate) fn new(addr: ApiAddr, patience: Duration, token: Option<String>) -> Self {
        Self { addr, patience, token, open: None }
    }

    /// Another one of the same agent, over a connection of its own.
    #[must_use]
    pub(crate) fn another(&self) -> Self {
        Self::new(self.addr.clone(), self.patience, self.token.clone())
    }

    /// Time for one answer.
    #[must_use]
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks, and returns the body of a success as JSON.
    ///
    /// # Errors
    /// The agent is away, too slow, refused, or said something that is no JSON.
    pub(crate) async fn json(&mut self, ask: Ask) -> Result<Value, CliError> {
        let answer = self.ask(&ask, self.patience).await?;
        self.decode(&ask, &answer)
    }

    /// The body of `answer` to `ask` as JSON.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn decode(&self, ask: &Ask, answer: &Answer) -> Result<Value, CliError> {
        answer.json().map_err(|error| self.bad_answer(ask, error.to_string()))
    }

    /// An answer that makes no sense.
    #[must_use]
    pub(crate) fn bad_answer(&self, ask: &Ask, reason: String) -> CliError {
        in_doubt(ask, CliError::BadAnswer { what: what(ask), reason, api: self.addr.to_string() })
    }

    /// Asks, and returns a success.
    ///
    /// # Errors
    /// The agent is away, too slow, or refused.
    pub(crate) async fn ask(&mut self, ask: &Ask, patience: Duration) -> Result<Answer, CliError> {
        let answer = self.answer(ask, patience).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(CliError::Refused(Box::new(self.problem(ask, &answer).await)))
    }

    /// What a refusal says; where there is no such workload, with those that there are.
    pub(crate) async fn problem(&mut self, ask: &Ask, answer: &Answer) -> Problem {
        let problem = Problem::from_answer(answer.status, &answer.body);
        let Some(wanted) = near::workload_of(&ask.path).filter(|_| problem.code == UNKNOWN_WORKLOAD) else {
            return problem;
        };
        let all = tokio::time::timeout(NAMES_PATIENCE, self.once(&Ask::get("/v1/workloads"))).await;
        let Ok(Ok(all)) = all else { return problem };
        let Some(all) = all.json().ok().filter(|_| all.is_success()) else { return problem };
        let there: Vec<String> =
            all.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).map(printable).collect();
        Problem { hint: Some(near::advice(wanted, &there)), ..problem }
    }

    /// Asks, and returns whatever the agent answers within `patience`, a refusal too.
    ///
    /// # Errors
    /// The agent is away or too slow, or the token that it points to cannot be used.
    pub(crate) async fn answer(&mut self, ask: &Ask, patience: Duration) -> Result<Answer, CliError> {
        let answering = async {
            if self.token.is_none() && ask.body.as_ref().is_some_and(|body| body.len() > PROBE_ABOVE_BYTES) {
                self.probe().await?;
            }
            let answer = self.once(ask).await?;
            if answer.status == UNAUTHORIZED && self.token.is_some() {
                let problem = Problem::from_answer(answer.status, &answer.body);
                let hint = format!(
                    "{TOKEN_ENV} holds another agent's token, or a mistyped one; without it the agent's own is found on its host"
                );
                return Err(CliError::Refused(Box::new(Problem { hint: Some(hint), ..problem })));
            }
            if answer.status != UNAUTHORIZED {
                return Ok(answer);
            }
            if !self.find_token(&answer)? {
                return Ok(answer);
            }
            self.once(ask).await
        };
        let answered = tokio::time::timeout(patience, answering).await;
        answered.unwrap_or_else(|_| {
            self.open = None;
            Err(in_doubt(ask, CliError::TimedOut { what: what(ask), after: patience }))
        })
    }

    /// The token that this agent wants with what may change something, found as for any request; none where it wants none.
    ///
    /// # Errors
    /// The agent is away or too slow, or the token that it points to cannot be used.
    pub(crate) async fn token_for_changes(&mut self) -> Result<Option<String>, CliError> {
        if self.token.is_none() {
            let asked = tokio::time::timeout(self.patience, self.probe()).await;
            let what = || "whether a token is needed".to_owned();
            asked.map_err(|_| CliError::TimedOut { what: what(), after: self.patience })??;
        }
        Ok(self.token.clone())
    }

    /// Finds out whether a token is needed before a large body is sent, which would have to be sent again: an agent that refuses
    /// reads it only to drop it. A commit without a body changes nothing anywhere.
    async fn probe(&mut self) -> Result<(), CliError> {
        let nothing = Ask {
            method: Method::POST,
            path: "/v1/commits".to_owned(),
            body: None,
            idempotency_key: None,
            headers: Vec::new(),
        };
        let answer = self.once(&nothing).await?;
        if answer.status == UNAUTHORIZED {
            self.find_token(&answer)?;
        }
        Ok(())
    }

    /// Takes the token from the file that a refusal points to. False when it points to none that we would read.
    fn find_token(&mut self, answer: &Answer) -> Result<bool, CliError> {
        let problem = Problem::from_answer(answer.status, &answer.body);
        // Whoever listens on another host must not learn what lies in files here.
        let Some(path) = problem.token_file.as_deref().filter(|_| self.addr.is_local()) else {
            return Ok(false);
        };
        let token = read_token(Path::new(path)).map_err(|error| {
            let hint = format!("run this as the agent's user, or put the token into {TOKEN_ENV}");
            let message = format!("{}; its token {path:?} was not used: {error}", problem.message);
            CliError::Refused(Box::new(Problem { message, hint: Some(hint), ..problem.clone() }))
        })?;
        if let Some(open) = &mut self.open {
            open.set_token(token.clone());
        }
        self.token = Some(token);
        Ok(true)
    }

    async fn once(&mut self, ask: &Ask) -> Result<Answer, CliError> {
        let reused = self.open.is_some();
        match self.try_once(ask).await {
            // The agent closed a connection that we had kept: a read can simply be asked again.
            Err(ConnectionError::Broken(_)) if reused && ask.method == Method::GET => {
                self.try_once(ask).await.map_err(|error| self.explain(ask, error))
            }
            other => other.map_err(|error| self.explain(ask, error)),
        }
    }

    async fn try_once(&mut self, ask: &Ask) -> Result<Answer, ConnectionError> {
        let mut connection = match self.open.take().filter(|open| !open.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(&self.addr, self.token.clone()).await?,
        };
        let answer = connection.send(ask).await?;
        self.open = Some(connection);
        Ok(answer)
    }

    fn explain(&self, ask: &Ask, error: ConnectionError) -> CliError {
        explain(&self.addr, ask, error)
    }
}

/// Why there is no answer, in the words of the CLI.
pub(crate) fn explain(addr: &ApiAddr, ask: &Ask, error: ConnectionError) -> CliError {
    let api = addr.to_string();
    match error {
        ConnectionError::Connect(refused) if refused.kind() == std::io::ErrorKind::PermissionDenied => {
            CliError::Forbidden { api, reason: refused.to_string() }
        }
        ConnectionError::Connect(_) | ConnectionError::ConnectTimeout => {
            CliError::Unreachable { api, reason: error.to_string() }
        }
        ConnectionError::Request(_) => CliError::Usage(error.to_string()),
        ConnectionError::Body(reason) => in_doubt(ask, CliError::BadAnswer { what: what(ask), reason, api }),
        ConnectionError::Broken(reason) if ask.method == Method::GET => CliError::Unreachable { api, reason },
        ConnectionError::Broken(reason) => {
            let what = what(ask);
            in_doubt(ask, CliError::Failed(format!("the connection to {api} broke during {what}: {reason}")))
        }
    }
}

/// What is said when a request was sent and its fate is not known.
fn in_doubt(ask: &Ask, error: CliError) -> CliError {
    if ask.method == Method::GET { error } else { error.after("unknown: look before you repeat it") }
}

fn what(ask: &Ask) -> String {
    format!("{} {}", ask.method, ask.path)
}

#[cfg(test)]
mod tests;
