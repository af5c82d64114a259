//! A campaign of simulated clusters: many seeds on all cores, or one seed to look at.
//!
//! `campaign [--seeds N] [--first N] [--minutes M] [--seed N [--narrate]] [--forks] [--equivocation] [--idle]`. Owns the command line and the progress bar; what is
//! simulated and checked is `selvedge_sync::sim`'s. Ends with failure when a seed failed, with the command that replays it.
#![expect(clippy::disallowed_types, reason = "a campaign counts real time; each run within it is pure")]
#![expect(clippy::disallowed_methods, reason = "the same")]
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use selvedge_sync::sim::{self, Coverage, Failure, Scenario};

const USAGE: &str =
    "campaign [--seeds N] [--first N] [--minutes M] [--seed N [--narrate]] [--forks] [--equivocation] [--idle]";
/// Failing seeds that are told in full; of the others only the number.
const FAILURES_TOLD: usize = 8;

#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    first: u64,
    minutes: Option<u64>,
    seed: Option<u64>,
    narrate: bool,
    idle: bool,
    forks: bool,
    equivocation: bool,
}

#[derive(Default)]
struct Outcome {
    coverage: Coverage,
    passed: u64,
    virtual_ms: u64,
    events: u64,
    slowest_ms: u64,
    failures: Vec<Failure>,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            println!("{what}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match options.seed {
        _ if options.idle => run_idle(),
        Some(seed) => run_one(seed, options.scenario(seed), options.narrate),
        None => run_many(&options),
    }
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
                text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"))
            };
            match word.as_str() {
                "--seeds" => options.seeds = Some(number()?),
                "--first" => options.first = number()?,
                "--minutes" => options.minutes = Some(number()?),
                "--seed" => options.seed = Some(number()?),
                "--narrate" => options.narrate = true,
                "--forks" => options.forks = true,
                "--equivocation" => options.equivocation = true,
                "--idle" => options.idle = true,
                unknown => return Err(format!("unknown option {unknown}")),
            }
        }
        Ok(options)
    }

    /// What a seed stands for.
    fn scenario(&self, seed: u64) -> Scenario {
        match (self.equivocation, self.forks) {
            (true, _) => Scenario::with_equivocation_from(seed),
            (false, true) => Scenario::with_forks_from(seed),
            (false, false) => Scenario::drawn_from(seed),
        }
    }
}

/// What an idle member costs, among 100 and among 1,000.
fn run_idle() -> ExitCode {
    for nodes in [100, 1_000] {
        let begun = Instant::now();
        match sim::idle_cost(nodes, 3) {
            Ok(cost) => println!(
                "{nodes} members: {:.1} bytes, {:.2} messages, {:.2} inputs per member and second ({:.1} s to simulate)",
                cost.bytes,
                cost.messages,
                cost.inputs,
                begun.elapsed().as_secs_f64()
            ),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn run_one(seed: u64, scenario: Scenario, narrate: bool) -> ExitCode {
    let scenario = Scenario { narrate, ..scenario };
    println!("{scenario:#?}");
    match sim::run(seed, &scenario) {
        Ok(report) => {
            println!(
                "seed {seed} passes: {} inputs, {} virtual ms, converged {} ms after the storm, trace {}\n{}",
                report.events, report.virtual_ms, report.converged_ms, report.trace, report.coverage
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_many(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let until = options.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let seeds = options.seeds.unwrap_or(if until.is_some() { u64::MAX / 2 } else { 10_000 });
    let bar = progress_bar(options, seeds);
    let next = AtomicU64::new(options.first);
    let end = AtomicBool::new(false);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        while !end.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= options.first.saturating_add(seeds) || until.is_some_and(|until| Instant::now() >= until) {
                end.store(true, Ordering::Relaxed);
                return;
            }
            let result = sim::run(seed, &options.scenario(seed));
            let mut outcome = outcome.lock().expect("no thread panicked");
            outcome.take(result);
            tell(&bar, &outcome, until.map(|_| begun));
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    bar.finish_and_clear();
    let outcome = outcome.into_inner().expect("no thread panicked");
    summarise(options, &outcome, begun.elapsed())
}

fn progress_bar(options: &Options, seeds: u64) -> ProgressBar {
    let length = options.minutes.map_or(seeds, |minutes| minutes * 60);
    let what = if options.minutes.is_some() { "seconds" } else { "seeds" };
    let style = ProgressStyle::with_template(&format!(
        "{{elapsed_precise}} [{{wide_bar}}] {{pos}}/{{len}} {what}, {{eta}} left, {{msg}}"
    ));
    let bar = ProgressBar::new(length);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn tell(bar: &ProgressBar, outcome: &Outcome, begun: Option<Instant>) {
    let done = outcome.passed + outcome.failures.len() as u64;
    bar.set_position(begun.map_or(done, |begun| begun.elapsed().as_secs()));
    let rate = done as f64 / bar.elapsed().as_secs_f64().max(0.001);
    bar.set_message(format!("{done} seeds, {rate:.0}/s, {} failed", outcome.failures.len()));
}

impl Outcome {
    fn take(&mut self, result: Result<sim::Report, Box<Failure>>) {
        match result {
            Ok(report) => {
                self.passed += 1;
                self.virtual_ms += report.virtual_ms;
                self.events += report.events;
                self.slowest_ms = self.slowest_ms.max(report.converged_ms);
                self.coverage = std::mem::take(&mut self.coverage).plus(&report.coverage);
            }
            Err(failure) => self.failures.push(*failure),
        }
    }
}

fn summarise(options: &Options, outcome: &Outcome, took: Duration) -> ExitCode {
    let seeds = outcome.passed + outcome.failures.len() as u64;
    let seconds = took.as_secs_f64().max(0.001);
    let virtual_seconds = outcome.virtual_ms as f64 / 1_000.0;
    println!(
        "{seeds} seeds in {seconds:.1} s ({:.0}/s), {} inputs, {virtual_seconds:.0} virtual seconds ({:.0} times real time), \
         slowest convergence {} ms",
        seeds as f64 / seconds,
        outcome.events,
        virtual_seconds / seconds,
        outcome.slowest_ms
    );
    println!("{}", outcome.coverage);
    let missing = outcome.coverage.missing();
    if !missing.is_empty() {
        println!("never happened: {}", missing.join(", "));
    }
    for failure in outcome.failures.iter().take(FAILURES_TOLD) {
        let option = match (options.equivocation, options.forks) {
            (true, _) => " --equivocation",
            (false, true) => " --forks",
            (false, false) => "",
        };
        println!("\n{failure}{option}");
        if let Some((scenario, failed)) = sim::minimise(failure.seed, &options.scenario(failure.seed)) {
            println!("the simplest scenario that fails with this seed: {scenario:?}\n  with: {}", failed.what);
        }
    }
    if outcome.failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{} of {seeds} seeds failed", outcome.failures.len());
    ExitCode::FAILURE
}
