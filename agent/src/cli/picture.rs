//! `status`, `nodes`, `peers`, `workloads` and `invitations`: a document of the agent once, or again and again.
//!
//! Owns what is asked for each, and the loop of `--watch`. The invariants: without `--watch` an agent that is away is an error, with
//! it that is said and the loop goes on; what `--watch` writes elsewhere than to a terminal are pictures only, with `--json` one document a
//! line, and what it has to say otherwise goes to stderr.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::args::WatchArgs;
use super::client::Client;
use super::connection::Ask;
use super::error::CliError;
use super::output::{Screen, note, pretty, print, print_table, printable};
use super::{address, connect, membership, report, tables, terminal};

/// Pause between two pictures of `--watch`.
const EVERY: Duration = Duration::from_secs(1);

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// This agent, its peers and its workloads.
    Status,
    /// The members.
    Nodes,
    /// The links.
    Peers,
    /// The workloads.
    Workloads,
    /// The open invitations.
    Invitations,
}

/// Shows it once, or until interrupted.
///
/// # Errors
/// The agent is away or refuses, unless it is watched; standard output is closed.
pub(super) async fn show(picture: Picture, args: &WatchArgs) -> Result<(), CliError> {
    let mut client = connect(&args.client);
    if !args.watch {
        let seen = picture.look(&mut client, args.client.json).await?;
        return if args.client.json {
            print(&pretty(&picture.document(&seen)))
        } else {
            print_table(&picture.text(&seen))
        };
    }
    tokio::select! {
        ended = watch(picture, &mut client, args) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| CliError::Failed(format!("the operating system delivers no signals: {error}")))
        }
    }
}

async fn watch(picture: Picture, client: &mut Client, args: &WatchArgs) -> Result<(), CliError> {
    let (as_json, api) = (args.client.json, address(&args.client).to_string());
    let (mut screen, mut last, mut said) = (Screen::default(), None, None);
    let title = || format!("{} at {api}, every {} s", picture.name(), EVERY.as_secs());
    loop {
        match picture.look(client, as_json).await {
            Ok(seen) => {
                said = None;
                if as_json {
                    print(&picture.document(&seen).to_string())?;
                } else {
                    let text = picture.text(&seen);
                    screen.draw(&title(), SystemTime::now(), &text)?;
                    last = Some((text, Instant::now()));
                }
            }
            // An agent that restarts is part of what one watches for.
            Err(error) if terminal::is_one() && !as_json => {
                screen.draw(&title(), SystemTime::now(), &gone(&error, last.as_ref()))?;
            }
            Err(error) => {
                let why =
                    if as_json { report::document(&error, picture.name()).to_string() } else { gone(&error, None) };
                // Once, and not every second: whoever reads a log wants to know when it went away.
                if said.as_ref() != Some(&why) {
                    note(&why);
                    said = Some(why);
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is shown in place of what cannot be seen: why, and what was seen `last`, if that is to be shown.
fn gone(error: &CliError, last: Option<&(String, Instant)>) -> String {
    // Its lines are ours; what stands in them others may have written.
    let error = error.to_string().split('\n').map(printable).collect::<Vec<_>>().join("\n");
    let why = format!("error: {error}\nlooking again every {} s", EVERY.as_secs());
    match last {
        Some((text, seen)) => {
            format!("{why}; below is what it was {} ago\n\n{text}", super::units::span(seen.elapsed()))
        }
        None => why,
    }
}

impl Picture {
    /// The command that shows it.
    const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Nodes => "nodes",
            Self::Peers => "peers",
            Self::Workloads => "workloads",
            Self::Invitations => "invitations",
        }
    }

    async fn look(self, client: &mut Client, as_json: bool) -> Result<Value, CliError> {
        let path = match self {
            Self::Status | Self::Peers | Self::Workloads => "/v1/status",
            Self::Nodes => "/v1/nodes",
            Self::Invitations => "/v1/cluster/invitations",
        };
        let seen = client.json(Ask::get(path)).await?;
        if self != Self::Nodes || as_json {
            return Ok(seen);
        }
        // Who was put out is no member any more, and people look for it here. An agent without a cluster has none.
        let cluster = client.json(Ask::get("/v1/cluster")).await.unwrap_or(Value::Null);
        Ok(json!({"nodes": seen, "revoked": cluster["revoked_nodes"]}))
    }

    /// The part that is for scripts.
    fn document(self, seen: &Value) -> Value {
        match self {
            Self::Peers => seen["peers"].clone(),
            Self::Workloads => seen["workloads"].clone(),
            Self::Status | Self::Nodes | Self::Invitations => seen.clone(),
        }
    }

    fn text(self, seen: &Value) -> String {
        match self {
            Self::Status => tables::status(seen),
            Self::Nodes => tables::nodes(seen),
            Self::Peers => tables::peers(seen),
            Self::Workloads => tables::workloads(seen),
            Self::Invitations => membership::invitations(seen),
        }
    }
}
