//! What a bench found, for people and for scripts.
//!
//! Owns the document. The invariant: whatever was measured before an interruption is in it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::chart;
use super::meter::LatencyUs;
use super::scaling::{Usl, fit};
use super::stage::Measured;
use super::target::Target;
use super::verdict::{Bounds, Breach, Figure, held_up, in_flight, throughput};
use crate::cli::units::micros as time;
use crate::cli::{BenchArgs, Over, table};

/// Lateness of the sender itself, in microseconds, above which a stage says as much of it as of the cluster.
const LATE_US_MAX: u64 = 10_000;

/// The document.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workload: String,
    function: String,
    generated_arguments: bool,
    over: Over,
    agents: Vec<String>,
    connections_per_agent: u16,
    stages: Vec<Row>,
    /// Whether the user ended it.
    interrupted: bool,
    /// The first stage that broke.
    breaking: Option<Breaking>,
    /// The highest rate at which every stage up to it held, in calls a second.
    holds: Option<u32>,
    /// How much of the load that was added was answered: throughput of the last stage over that of the first, over the same of
    /// what was offered. 1 is linear.
    scalability_index: Option<f64>,
    /// The Universal Scalability Law, where enough stages had more than one call in flight.
    usl: Option<Usl>,
}

/// A stage.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) offered: u32,
    pub(super) seconds: f64,
    pub(super) calls: u64,
    pub(super) answered: u64,
    pub(super) throughput: f64,
    /// Calls on the wire on average.
    pub(super) in_flight: f64,
    pub(super) latency_us: LatencyUs,
    /// How long calls waited in the sender until they were written.
    pub(super) waited_us: LatencyUs,
    /// How long they took from then on.
    pub(super) wire_us: LatencyUs,
    /// Share of the calls that were due while others waited for room on the connections, 0 to 1.
    pub(super) connections_busy: f64,
    /// Whether that was the limit, and the stage says nothing of the cluster.
    pub(super) limited_by_connections: bool,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) sender_late_us_p99: u64,
    pub(super) breaks: Option<Breach>,
    /// The same for programs.
    breach: Option<Figure>,
}

/// Where it breaks.
#[derive(Clone, Debug, Serialize)]
struct Breaking {
    stage: usize,
    offered: u32,
    because: Breach,
    breach: Figure,
}

impl Row {
    pub(super) fn new(stage: Measured, bounds: &Bounds) -> Self {
        let breach = bounds.breach(&stage);
        let limited_by_connections = breach.is_some() && bounds.is_limited(&stage);
        let breaks = breach.filter(|_| !limited_by_connections);
        Self {
            offered: stage.offered,
            seconds: stage.took.as_secs_f64(),
            calls: stage.counts.due,
            answered: stage.counts.answered,
            throughput: throughput(&stage),
            in_flight: in_flight(&stage),
            latency_us: stage.counts.latency,
            waited_us: stage.counts.waited,
            wire_us: stage.counts.wire,
            connections_busy: held_up(&stage),
            limited_by_connections,
            sender_late_us_p99: stage.counts.late_us_p99,
            breaks,
            breach: breaks.map(Breach::figure),
            errors: stage.counts.errors,
        }
    }

    fn cells(&self) -> [String; 9] {
        let errors = self.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>();
        [
            self.offered.to_string(),
            format!("{:.0}", self.throughput),
            time(self.latency_us.p50),
            time(self.latency_us.p99),
            time(self.latency_us.p999),
            time(self.latency_us.max),
            time(self.waited_us.p99),
            format!("{:.1}", self.in_flight),
            if errors.is_empty() { "-".to_owned() } else { errors.join(", ") },
        ]
    }
}

impl Report {
    pub(super) fn new(args: &BenchArgs, target: &Target) -> Self {
        Self {
            workload: target.workload.clone(),
            function: target.function.clone(),
            generated_arguments: target.generated,
            over: args.over,
            agents: target.agents.iter().map(|agent| agent.addr.to_string()).collect(),
            connections_per_agent: args.connections(),
            stages: Vec::new(),
            interrupted: false,
            breaking: None,
            holds: None,
            scalability_index: None,
            usl: None,
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.stages.push(row);
    }

    /// The user ended it; a stage that was not over counts for nothing.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// Draws the conclusions when all stages are in.
    pub(super) fn conclude(&mut self) {
        let broken = self.stages.iter().enumerate().find_map(|(index, row)| Some((index, row.offered, row.breaks?)));
        self.breaking = broken.map(|(index, offered, because)| {
            let breach = because.figure();
            Breaking { stage: index + 1, offered, because, breach }
        });
        let telling = |rows: &[Row]| rows.iter().filter(|row| !row.limited_by_connections).cloned().collect::<Vec<_>>();
        let held = telling(&self.stages[..broken.map_or(self.stages.len(), |(index, ..)| index)]);
        self.holds = held.last().map(|row| row.offered);
        let telling = telling(&self.stages);
        self.scalability_index = match telling.as_slice() {
            [first, .., last] if first.throughput > 0.0 => {
                Some(last.throughput / first.throughput / (f64::from(last.offered) / f64::from(first.offered)))
            }
            _ => None,
        };
        self.usl = fit(&telling.iter().map(|row| (row.in_flight, row.throughput)).collect::<Vec<_>>());
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Calls that succeeded, over all stages.
    pub(super) fn answered(&self) -> u64 {
        self.stages.iter().map(|row| row.answered).sum()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.stages
    }

    /// What was called, and how, in a line.
    pub(super) fn title(&self) -> String {
        let (over, count) = (self.over.words(), self.agents.len());
        let agents = if count == 1 { "one agent".to_owned() } else { format!("{count} agents") };
        format!(
            "{}.{} {over}, {agents}, {} connections to each",
            self.workload, self.function, self.connections_per_agent
        )
    }

    /// The whole report for people.
    pub(super) fn text(&self) -> String {
        let mut rows = table(&[
            ">offered/s",
            ">answered/s",
            ">p50",
            ">p99",
            "?>p99.9",
            "?>max",
            ">waited",
            "?>on wire",
            "~errors",
        ]);
        self.stages.iter().for_each(|row| {
            rows.add_row(row.cells());
        });
        let mut text = format!("{}\n\n{rows}\n\n{}\n\n", self.title(), chart(&self.stages));
        if self.interrupted {
            text += "interrupted: the stages above are all that was measured\n";
        }
        text += &self.verdict();
        for row in self.stages.iter().filter(|row| row.limited_by_connections) {
            let were = match usize::from(self.connections_per_agent) * self.agents.len() {
                1 => "the one connection was".to_owned(),
                all => format!("all {all} connections were"),
            };
            text += &format!(
                "\nat {}/s {were} busy: raise --connections; of the cluster that stage says nothing",
                row.offered
            );
        }
        for row in self.stages.iter().filter(|row| row.sender_late_us_p99 > LATE_US_MAX) {
            text += &format!(
                "\nat {}/s the sender itself was up to {} late: that stage is about this machine, too",
                row.offered,
                time(row.sender_late_us_p99)
            );
        }
        text
    }

    fn verdict(&self) -> String {
        let mut lines = Vec::new();
        match (&self.breaking, self.holds) {
            (Some(Breaking { offered, because, .. }), Some(holds)) => {
                lines.push(format!("breaks at {offered}/s: {because}; holds at {holds}/s"));
            }
            (Some(Breaking { offered, because, .. }), None) => {
                lines.push(format!("breaks at {offered}/s, the first stage: {because}; try a lower --from"));
            }
            (None, Some(holds)) if self.stages.last().is_some_and(|row| row.limited_by_connections) => {
                lines.push(format!("holds at {holds}/s; beyond that the connections of this bench were the limit"));
            }
            (None, Some(holds)) => lines.push(format!("does not break up to {holds}/s; raise --to to find where")),
            (None, None) if !self.stages.is_empty() => {
                lines.push("the connections of this bench were the limit from the first stage on".to_owned());
            }
            (None, None) => lines.push("nothing was measured".to_owned()),
        }
        if let Some(index) = self.scalability_index {
            lines.push(format!(
                "scalability index {index:.2}: throughput gained over load added, first to last stage; 1 is linear, whatever becomes of latency"
            ));
        }
        if let Some(Usl { lambda, sigma, kappa, ceiling }) = self.usl {
            let end =
                ceiling.map_or_else(|| "sees no ceiling".to_owned(), |most| format!("sees a ceiling of {most:.0}/s"));
            lines.push(format!(
                "Universal Scalability Law (Gunther 2007): {lambda:.0}/s one at a time, contention {sigma:.4}, coherency {kappa:.6}; {end}"
            ));
        }
        lines.join("\n")
    }
}
