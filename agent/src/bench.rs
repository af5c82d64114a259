//! `selvedge bench`: calls at rising rates to a cluster that runs, and the rate at which it breaks.
//!
//! Owns the order of the stages and when to stop: what is called is in `target`, a stage in `stage`, a connection in `line`, the
//! verdicts in `verdict` and `scaling`, what is shown in `report`, `chart` and `drawing`. The schedule is open-loop: a late answer
//! delays no other call, and latency counts from when a call was *due* (no coordinated omission). The invariants: every call of a
//! stage ends in exactly one count; nothing but the agents named is asked; the end is bounded by stages and time.

mod chart;
mod drawing;
mod line;
mod meter;
mod report;
mod scaling;
mod stage;
mod target;
mod verdict;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::line::Lines;
use self::report::{Report, Row};
use self::stage::Stage;
use self::target::Target;
use self::verdict::Bounds;
use crate::cli::{BenchArgs, CliError, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, pretty, print};

/// Stages past the breaking point, or the connections' limit, that are still driven: one may be bad luck, two are an answer.
const BROKEN_STAGES_MAX: usize = 2;

/// Drives the stages, prints what they gave, and returns the exit code.
///
/// # Errors
/// No agent answers, there is nothing to call, or not even one call could be made; nothing was driven then.
pub(crate) async fn bench(args: &BenchArgs) -> Result<u8, CliError> {
    if args.from > args.to {
        return Err(CliError::Usage(format!("--from {} is above --to {}", args.from, args.to)));
    }
    let target = Target::find(args).await?;
    let lines = Lines::open(&target, args.over, args.connections(), args.timeout, args.max_p99);
    let mut report = Report::new(args, &target);
    let bounds = Bounds { p99: args.max_p99, errors: args.max_errors / 100.0 };
    tokio::select! {
        () = drive(args, &lines, &bounds, &mut report) => {}
        // What was measured until then is shown.
        _ = tokio::signal::ctrl_c() => report.interrupt(),
    }
    report.conclude();
    if let Some(file) = &args.svg {
        let written = std::fs::write(file, drawing::svg(&report));
        written.map_err(|error| CliError::Failed(format!("{} cannot be written: {error}", file.display())))?;
    }
    if args.json {
        print(&pretty(&serde_json::to_value(&report).expect("a report can be written as JSON")))?;
    } else {
        print(&report.text())?;
    }
    Ok(match (report.is_interrupted(), report.answered()) {
        (true, _) => EXIT_INTERRUPTED,
        (false, 0) => EXIT_FAILED,
        (false, _) => EXIT_DONE,
    })
}

async fn drive(args: &BenchArgs, lines: &Lines, bounds: &Bounds, report: &mut Report) {
    let rates = rates(args.from, args.to, args.stages);
    let bar = progress(rates.len());
    let mut broken = 0;
    for (number, rate) in rates.into_iter().enumerate() {
        bar.set_message(format!("stage {}: {rate} calls/s for {}", number + 1, humantime::format_duration(args.stage)));
        let measured = Stage { rate, length: args.stage, patience: args.timeout }.run(lines).await;
        let row = Row::new(measured, bounds);
        broken = if row.breaks.is_some() || row.limited_by_connections { broken + 1 } else { 0 };
        report.push(row);
        bar.inc(1);
        if broken == BROKEN_STAGES_MAX {
            break;
        }
    }
    bar.finish_and_clear();
}

/// `count` rates from `from` to `to`, each the same factor above the one before.
fn rates(from: u32, to: u32, count: u32) -> Vec<u32> {
    let (first, last) = (f64::from(from), f64::from(to));
    let steps = f64::from(count.saturating_sub(1).max(1));
    let rate = |number: u32| (first * (last / first).powf(f64::from(number) / steps)).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two rates that fit")]
    let mut rates: Vec<u32> = (0..count).map(|number| rate(number) as u32).collect();
    rates.dedup();
    rates
}

/// A bar on a terminal's stderr, and nothing elsewhere.
fn progress(stages: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").expect("the template is sound");
    let bar = ProgressBar::with_draw_target(Some(stages as u64), ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests;
