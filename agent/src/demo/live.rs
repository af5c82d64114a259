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
                    self.rows.iter().zip(all).for_each(|(row, (name, status))| row.set_message(line(&name, &status)));
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

/// One agent in a line: its root, how many commits it has, and how far it is from its peers.
fn line(name: &str, status: &Value) -> String {
    let root: String =
        status.pointer("/state/root").and_then(Value::as_str).unwrap_or("-").chars().take(ROOT_CHARS).collect();
    let commits = status.pointer("/state/commits").and_then(Value::as_u64).unwrap_or(0);
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    let equal = peers.iter().filter(|peer| peer["root_equal"] == true).count();
    let lag = peers.iter().filter_map(|peer| peer["lag_commits"].as_u64()).max().unwrap_or(0);
    format!("{name:<9} root {root}  {commits} commits  equal to {equal} of {} peers, {lag} commits apart", peers.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_how_far_apart_an_agent_is() {
        let status = json!({
            "state": {"root": "0123456789abcdef", "commits": 42},
            "peers": [{"root_equal": true, "lag_commits": 0}, {"root_equal": false, "lag_commits": 3}, {"lag_commits": null}],
        });
        let expect = "agent-1   root 0123456789ab  42 commits  equal to 1 of 3 peers, 3 commits apart";
        assert_eq!(line("agent-1", &status), expect);
        assert!(line("agent-2", &json!(null)).contains("equal to 0 of 0 peers"));
    }
}
