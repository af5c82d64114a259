//! What a person at a terminal sees while the traffic runs.
//!
//! Owns the picture on stderr; where stderr is no terminal, nothing is drawn. The invariant: looking disturbs little: one
//! question to each agent per picture, on connections of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::cluster::Agent;
use super::mesh::Mesh;
use super::report::{per_second, short};
use super::traffic::Meter;

/// Pause between two pictures.
const REDRAW_EVERY: Duration = Duration::from_millis(500);
/// Steps of the progress bar for one second.
const STEPS_PER_SECOND: u64 = 10;
/// Characters of a root in the picture: enough to see it change and become equal.
const ROOT_CHARS: usize = 12;

/// The picture.
pub(super) struct Live {
    mesh: Mesh,
    meter: Arc<Meter>,
    length: Duration,
    total: ProgressBar,
    rows: Vec<ProgressBar>,
}

impl Live {
    pub(super) fn new(agents: &[Agent], meter: Arc<Meter>, length: Duration) -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = |template| ProgressStyle::with_template(template).expect("the template is sound");
        let bar = ProgressBar::new(length.as_secs() * STEPS_PER_SECOND).with_style(style("{bar:30} {msg}"));
        let total = screen.add(bar);
        let row = |_| screen.add(ProgressBar::no_length().with_style(style("  {msg}")));
        Self { mesh: Mesh::new(agents), meter, length, total, rows: agents.iter().map(row).collect() }
    }

    /// Draws until it is dropped.
    pub(super) async fn draw(&mut self) {
        let start = Instant::now();
        if self.total.is_hidden() {
            std::future::pending::<()>().await;
        }
        loop {
            let elapsed = start.elapsed();
            let steps = elapsed.as_millis() * u128::from(STEPS_PER_SECOND) / 1_000;
            self.total.set_position(u64::try_from(steps).unwrap_or(u64::MAX));
            let reading = self.meter.read();
            self.total.set_message(format!(
                "{} of {} s  {:.0} calls/s  p50 {}  p99 {}  {} busy  {} errors",
                elapsed.as_secs().min(self.length.as_secs()),
                self.length.as_secs(),
                per_second(reading.calls, elapsed.as_secs_f64()),
                short(reading.latency.p50),
                short(reading.latency.p99),
                reading.busy,
                reading.failed
            ));
            match self.mesh.all("/v1/status").await {
                Ok(all) => {
                    for (row, (name, status)) in self.rows.iter().zip(&all) {
                        row.set_message(line(name, status, &all));
                    }
                }
                Err(error) => self.rows.iter().take(1).for_each(|row| row.set_message(error.to_string())),
            }
            tokio::time::sleep(REDRAW_EVERY).await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.rows.iter().for_each(ProgressBar::finish_and_clear);
        self.total.finish_and_clear();
    }
}

/// One agent in a line: its root, how many commits it has, and how it stands to all that were asked at the same moment.
fn line(name: &str, status: &Value, all: &[(String, Value)]) -> String {
    let root = |status: &Value| status.pointer("/state/root").and_then(Value::as_str).unwrap_or("-").to_owned();
    let commits = |status: &Value| status.pointer("/state/commits").and_then(Value::as_u64).unwrap_or(0);
    let own = root(status);
    let equal = all.iter().filter(|(_, other)| root(other) == own).count();
    let behind = all.iter().map(|(_, other)| commits(other)).max().unwrap_or(0).saturating_sub(commits(status));
    let short: String = own.chars().take(ROOT_CHARS).collect();
    let count = commits(status);
    format!("{name:<9} root {short}  {count} commits, {behind} behind the first  same root on {equal} of {}", all.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_how_an_agent_stands_to_the_others() {
        let status = |root: &str, commits: u64| json!({"state": {"root": root, "commits": commits}});
        let all = [
            ("one", status("0123456789abcdef", 42)),
            ("two", status("0123456789abcdef", 42)),
            ("three", status("f", 45)),
        ]
        .map(|(name, status)| (name.to_owned(), status));
        let expect = "one       root 0123456789ab  42 commits, 3 behind the first  same root on 2 of 3";
        assert_eq!(line("one", &all[0].1, &all), expect);
        assert!(line("none", &json!(null), &all).contains("same root on 0 of 3"));
    }
}
