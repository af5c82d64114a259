//! The arguments of `bench`.
//!
//! Owns their grammar and help texts, and does nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::address::ApiAddr;

/// Connections to each agent over the call stream: each carries many calls at a time, and two fill one workload's queue.
const CONNECTIONS_STREAM: u16 = 2;
/// Connections to each agent over HTTP: each carries one call at a time.
const CONNECTIONS_HTTP: u16 = 32;
/// Longest stage.
const STAGE_MAX: Duration = Duration::from_mins(1);
/// Shortest stage: a shorter one has too few calls for a percentile.
const STAGE_MIN: Duration = Duration::from_millis(100);

/// Which calls, and how many.
#[derive(Debug, Args)]
#[command(after_help = "\
Calls are sent when they are due, whatever became of those before them, and latency counts from then. Ends by itself after two
stages in a row that were broken, or limited by its own connections; Ctrl-C ends it with what is known. Only the agents that are
named are asked.

A stage breaks when more calls fail than --max-errors allows, when p99 is above --max-p99, or when less than 95 % of what was
offered is answered in its time. Workloads that ship are called with made-up arguments; combat, anti-cheat and chat-moderation
write what they write in a game.

Examples:
  selvedge bench
  selvedge bench combat --to 4000 --stages 5 --svg combat.svg
  selvedge bench loot drop '{\"zone\":3}' --api http://127.0.0.1:7411 --api http://127.0.0.1:7421 --json
                     (the second through ssh -N -L 7421:127.0.0.1:7411 edge-2: the API listens on loopback only)")]
pub(crate) struct BenchArgs {
    /// The workload [default: one of those that ship and are deployed, prediction before others]
    pub(crate) name: Option<String>,
    /// The function; needed for workloads that do not ship
    pub(crate) function: Option<String>,
    /// The arguments of every call, each one parameter as JSON
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
    /// An agent to drive: http://HOST:PORT or unix:PATH; may be repeated, and calls take turns [default: as for other commands]
    #[arg(long, value_name = "ADDR", env = "SELVEDGE_API", hide_env_values = true)]
    pub(crate) api: Vec<ApiAddr>,
    /// How calls are made
    #[arg(long, value_enum, default_value_t = Over::Stream)]
    pub(crate) over: Over,
    /// Calls a second in the first stage, over all agents
    #[arg(long, value_name = "CALLS_PER_SECOND", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) from: u32,
    /// Calls a second in the last stage
    #[arg(long, value_name = "CALLS_PER_SECOND", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) to: u32,
    /// How many stages there are at most
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) stages: u32,
    /// How long each takes, up to a minute
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = stage)]
    pub(crate) stage: Duration,
    /// Connections to each agent [default: 2 over the call stream, 32 over HTTP]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: Option<u16>,
    /// The p99 above which a stage breaks
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub(crate) max_p99: Duration,
    /// The share of calls that may fail before a stage breaks, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub(crate) max_errors: f64,
    /// How long after it was due a call without an answer is given up
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// Draw throughput and latency into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Print exactly one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Over {
    /// The call stream: many calls at a time on one connection
    Stream,
    /// HTTP: one call at a time on one connection
    Http,
}

impl Over {
    /// For a sentence.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Stream => "over the call stream",
            Self::Http => "over HTTP",
        }
    }
}

impl BenchArgs {
    /// Connections to each agent.
    pub(crate) fn connections(&self) -> u16 {
        let usual = match self.over {
            Over::Stream => CONNECTIONS_STREAM,
            Over::Http => CONNECTIONS_HTTP,
        };
        self.connections.unwrap_or(usual)
    }
}

fn stage(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (STAGE_MIN..=STAGE_MAX).contains(&length) {
        Ok(length)
    } else {
        Err("a stage takes from 100ms to 1m".to_owned())
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 =
        text.trim_end_matches('%').parse().map_err(|_| "a percentage is a number, as in 0.5".to_owned())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("a percentage is from 0 to 100".to_owned()) }
}
