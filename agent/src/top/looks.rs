//! Looks at the agent, again and again.
//!
//! Owns what is asked and how often. The invariant: an agent that is slow makes neither the keys nor the picture slow, and is asked the
//! next time only when it has answered.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::cli::{Ask, CliError, Client, segment};

/// Pause between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// What is looked at more closely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Subject {
    #[default]
    Nothing,
    /// A member, by its id.
    Member(String),
    /// A workload, by its name.
    Workload(String),
}

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) status: Value,
    pub(super) nodes: Value,
    pub(super) convergence: Value,
    /// The last ten minutes; `null` from an agent that has no such document, as the next.
    pub(super) history: Value,
    /// What happened lately.
    pub(super) events: Value,
    pub(super) closely: Closely,
}

/// What a close look shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Closely {
    pub(super) subject: Subject,
    /// The document about it.
    pub(super) document: Value,
    /// Why it runs where it does, of a workload.
    pub(super) placement: Value,
    /// Why there is no document.
    pub(super) problem: Option<String>,
}

/// Looks every second, and at once when the subject is another.
pub(super) fn looks(
    mut client: Client,
    mut subjects: watch::Receiver<Subject>,
) -> mpsc::Receiver<Result<Seen, String>> {
    let (told, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let subject = subjects.borrow_and_update().clone();
            let look = look(&mut client, subject).await.map_err(|error| in_a_line(&error));
            if told.send(look).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = subjects.changed() => if changed.is_err() { return },
            }
        }
    });
    looks
}

/// Looks once.
///
/// # Errors
/// The agent is away, or refuses what every agent answers.
pub(super) async fn look(client: &mut Client, subject: Subject) -> Result<Seen, CliError> {
    let (status, nodes) = (ask(client, "/v1/status").await?, ask(client, "/v1/nodes").await?);
    // What an agent of another version does not have, is not shown.
    let mut or_nothing = async |path: &str| ask(client, path).await.unwrap_or(Value::Null);
    let convergence = or_nothing("/v1/convergence").await;
    let (history, events) = (or_nothing("/v1/history").await, or_nothing("/v1/events/recent").await);
    let closely = look_closely(client, subject).await;
    Ok(Seen { status, nodes, convergence, history, events, closely })
}

async fn look_closely(client: &mut Client, subject: Subject) -> Closely {
    let found = match &subject {
        Subject::Nothing => Ok((Value::Null, Value::Null)),
        Subject::Member(id) => {
            ask(client, &format!("/v1/nodes/{}", segment(id))).await.map(|document| (document, Value::Null))
        }
        Subject::Workload(name) => {
            let path = format!("/v1/workloads/{}", segment(name));
            match ask(client, &path).await {
                Ok(document) => ask(client, &format!("{path}/placement")).await.map(|placement| (document, placement)),
                Err(error) => Err(error),
            }
        }
    };
    match found {
        Ok((document, placement)) => Closely { subject, document, placement, problem: None },
        Err(error) => Closely { subject, problem: Some(in_a_line(&error)), ..Closely::default() },
    }
}

async fn ask(client: &mut Client, path: &str) -> Result<Value, CliError> {
    client.json(Ask::get(path)).await
}

/// An error without its hint, which is for a command that has ended.
fn in_a_line(error: &CliError) -> String {
    crate::cli::printable(error.to_string().lines().next().unwrap_or_default())
}
