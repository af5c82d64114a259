//! What is called, of whom, and with what.
//!
//! Owns the choice where the command line leaves it open. The invariant: one call has succeeded at each agent before any stage is
//! driven, so that what cannot work is told at once and as one error.

use serde_json::Value;

use crate::cli::{ApiAddr, Ask, BenchArgs, CliError, Client, argument, call_path, client_for, default_api};
use crate::demo::sample_calls;

/// Calls with different arguments, which are made in turn: enough that a cache of answers would be of little use.
const SAMPLES: usize = 256;

/// The workloads that ship, in the order in which they are taken where none is named: those that write nothing first.
const SHIPPED: [&str; 5] = ["prediction", "asset-preload", "chat-moderation", "anti-cheat", "combat"];

/// A function, the arguments of calls of it, and the agents that are asked.
pub(super) struct Target {
    pub(super) workload: String,
    pub(super) function: String,
    /// Whether the arguments are made up here.
    pub(super) generated: bool,
    /// Each an array; at least one.
    pub(super) samples: Vec<Value>,
    pub(super) agents: Vec<Agent>,
}

/// An agent, and the token that it wants with a call.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) addr: ApiAddr,
    pub(super) token: Option<String>,
}

impl Target {
    /// Finds out what to call, asks each agent for a token where it wants one, and makes one call at each.
    ///
    /// # Errors
    /// An agent is away, has no workload that we know how to call, or refuses the call.
    pub(super) async fn find(args: &BenchArgs) -> Result<Self, CliError> {
        let addresses = if args.api.is_empty() { vec![default_api()] } else { args.api.clone() };
        let mut first = client_for(addresses[0].clone(), args.timeout);
        let name = match &args.name {
            Some(name) => name.clone(),
            None => deployed(&mut first).await?,
        };
        let (function, samples) = match calls(args, &name) {
            Ok(found) => found,
            Err(unclear) => {
                // Where there is no such workload, its function is not the question.
                first.json(Ask::get(format!("/v1/workloads/{}", crate::cli::segment(&name)))).await?;
                return Err(unclear);
            }
        };
        let mut agents = Vec::new();
        for addr in addresses {
            let mut client = client_for(addr.clone(), args.timeout);
            let token = client.token_for_changes().await?;
            client.json(Ask::post(call_path(&name, &function), &samples[0])).await?;
            agents.push(Agent { addr, token });
        }
        Ok(Self {
            workload: name,
            function,
            generated: args.arguments.is_empty() && samples.len() > 1,
            samples,
            agents,
        })
    }
}

/// The function to call, and the arguments: those that were given, or made up for a workload that ships.
fn calls(args: &BenchArgs, name: &str) -> Result<(String, Vec<Value>), CliError> {
    let shipped = sample_calls(name, SAMPLES);
    match (&args.function, shipped) {
        (None, Some((function, samples))) => Ok((function.to_owned(), samples)),
        (Some(wanted), Some((function, samples))) if wanted == function && args.arguments.is_empty() => {
            Ok((function.to_owned(), samples))
        }
        (None, None) => Err(CliError::Usage(format!(
            "which function of {name} is to be called?\n  hint: selvedge bench {name} FUNCTION [JSON…]; arguments are made up only for \
             workloads that ship"
        ))),
        (Some(function), _) => {
            let arguments = args.arguments.iter().enumerate().map(|(index, word)| argument(index, word));
            Ok((function.clone(), vec![Value::Array(arguments.collect::<Result<_, _>>()?)]))
        }
    }
}

/// The workload that ships and is deployed.
async fn deployed(client: &mut Client) -> Result<String, CliError> {
    let status = client.json(Ask::get("/v1/status")).await?;
    let workloads = status["workloads"].as_array().map_or(&[][..], Vec::as_slice);
    let is_there = |name: &&&str| workloads.iter().any(|workload| workload["name"] == ***name);
    SHIPPED.iter().find(is_there).map(ToString::to_string).ok_or_else(|| {
        CliError::Usage(
            "none of the workloads that ship is deployed\n  hint: name one that is: selvedge bench NAME FUNCTION [JSON…]".to_owned(),
        )
    })
}
