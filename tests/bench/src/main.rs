//! What the engine costs, as ratios against named peers that are measured in turn with it in the same run.
//!
//! `selvedge-bench [NAME…] [--json]`; `--list` names the benchmarks. Each is a module; `sample` and `report` are shared.

mod agent;
mod api;
mod apply;
mod calls;
mod calm;
mod chat;
mod cheat;
mod child;
mod copies;
mod detect;
mod disk;
mod drain;
mod durable;
mod engines;
mod entropy;
mod failover;
mod fanout;
mod field;
mod fill;
mod forward;
mod group;
mod guest;
mod hop;
mod idle;
mod life;
mod loaded;
mod memory;
mod mesh;
mod movement;
mod observed;
mod place;
mod preload;
mod recorded;
mod repair;
mod report;
mod restart;
mod sample;
mod slow;
mod spam;
mod start;
mod stream;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Parser;
use serde::Serialize;

use crate::report::Row;

/// Benchmarks of the engine against its peers.
#[derive(Debug, Parser)]
struct Args {
    /// Which benchmarks to run; all when none is named.
    names: Vec<String>,
    /// Names the benchmarks and what they measure.
    #[arg(long)]
    list: bool,
    /// Prints one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Where files are written. It must be on the disk that is to be measured.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Does one measurement in this process; for the binary itself.
    #[arg(long, hide = true)]
    child: Option<String>,
}

type Run = fn(&Path) -> Result<Vec<Row>>;

const BENCHES: [(&str, &str, Run); 31] = [
    ("wire", "bytes on the wire per update of 64 bytes", |_| wire::run()),
    ("entropy", "anti-entropy between equal states, and with 1,000 commits missing", |_| entropy::run()),
    ("repair", "repair from state, against negentropy and riblt", |_| repair::run()),
    ("apply", "applying operations, against crdts::Orswot and a hash map", |_| apply::run()),
    ("durable", "durable commits, against fdatasync and SQLite", durable::run),
    ("disk", "bytes written at 20 commits a second, against redb, fjall and SQLite", disk::run),
    ("restart", "start with 100,000 keys, against reading and hashing the files", restart::run),
    ("memory", "resident memory per key", |_| memory::run()),
    ("idle", "idling among 1,000 members, against 100", |_| idle::run()),
    ("hop", "one hop, written here and readable there, against a raw libp2p stream and gossipsub", hop::run),
    ("fanout", "written here and readable on 15 others, against gossipsub and chitchat", fanout::run),
    ("copies", "copies of a payload received per member", copies::run),
    ("detect", "a failure noticed among 16, and no false alarm while two stall, against foca", detect::run),
    ("calm", "sixteen that have nothing to do, against chitchat and bare swarms", calm::run),
    ("life", "agents over time, 16 to 1,000 of them, in simulation", |_| life::run()),
    ("place", "a placement decision, agents that place at once, and strategies of routing", |_| place::run()),
    ("preload", "the next zone among three guesses, against the most frequent next zones", |_| preload::run()),
    ("guest", "a call of a guest, against wasmtime by itself and the same code natively", |_| guest::run()),
    ("loaded", "a call that writes while the agent syncs, against an agent that does not", |_| loaded::run()),
    ("movement", "predicted movement, against four simple predictors", |_| movement::run()),
    ("cheat", "how soon a speed cheat is seen and how often nobody is one, against plain thresholds", |_| cheat::run()),
    ("api", "a call over HTTP, against axum that echoes the same bytes", api::run),
    ("stream", "the call stream, against the HTTP route", stream::run),
    ("slow", "a call among a thousand slow clients, against none", slow::run),
    ("observed", "status and metrics under full load, against an idle agent", observed::run),
    ("start", "an installed agent: until it serves, and what it takes while idle", start::run),
    ("chat", "chat moderation in WebAssembly, against an aho-corasick DFA", |_| chat::run()),
    ("forward", "a forwarded call, against a bare request-response of libp2p", forward::run),
    ("failover", "a host killed, until its workload answers elsewhere, against when it is called lost", failover::run),
    ("drain", "calls lost while hosts are drained and versions change at steady load", drain::run),
    ("spam", "honest members' latency while one member spams", spam::run),
];

#[derive(Serialize)]
struct Document {
    machine: String,
    rows: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    #[serde(flatten)]
    row: Row,
    pass: Option<bool>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(request) = args.child {
        println!("{}", child::serve(&request)?);
        return Ok(());
    }
    if args.list {
        BENCHES.iter().for_each(|(name, what, _)| println!("{name:<8} {what}"));
        return Ok(());
    }
    if let Some(unknown) = args.names.iter().find(|name| !BENCHES.iter().any(|(known, ..)| known == name)) {
        bail!("no benchmark is called {unknown}; --list names them");
    }
    let mut rows = Vec::new();
    for (name, _, run) in BENCHES {
        if !args.names.is_empty() && !args.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("{name} …");
        let found = run(&args.dir)?;
        if !args.json {
            found.iter().for_each(|row| println!("{}", row.line()));
        }
        rows.extend(found);
    }
    if args.json {
        let rows = rows.into_iter().map(|row| Judged { pass: row.passes(), row }).collect();
        println!("{}", serde_json::to_string_pretty(&Document { machine: machine(), rows })?);
    } else {
        let count = |verdict| rows.iter().filter(|row| row.passes() == Some(verdict)).count();
        println!("{} goals met, {} missed; {}", count(true), count(false), machine());
    }
    Ok(())
}

/// What was measured on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
