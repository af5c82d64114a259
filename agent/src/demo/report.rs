//! The demo's verdict, for people and as JSON.
//!
//! Owns the report's form and the rule for `ok`; measures nothing. The invariant: `ok` is true only when every agent
//! converged, nothing acknowledged is lost, every counter is exact and no error is left unexplained.

use serde::Serialize;

use super::mesh::Convergence;
use super::traffic::{Kind, LatencyUs, Reading};
use super::verify::Findings;

/// What the demo found. Fields may be added, never renamed: scripts read them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    /// How many agents ran.
    agents: usize,
    /// How long traffic was driven, as asked for.
    seconds: u32,
    /// Calls answered with success.
    calls: u64,
    /// Of them per second, until the last answer.
    calls_per_second: f64,
    /// From when each call was due to its answer, in microseconds.
    latency_us: LatencyUs,
    /// Commits that were acknowledged to the callers.
    commits: u64,
    /// Whether all roots became equal and every agent says so.
    converged: bool,
    /// From the end of the traffic until then, in milliseconds; `null` if it did not happen.
    converge_ms: Option<u64>,
    /// Each agent's root.
    roots: Vec<String>,
    /// Acknowledged commits that some agent does not hold.
    lost: u64,
    /// Whether every counter reads on every agent what the callers were told.
    counters_ok: bool,
    /// Whether all is well.
    ok: bool,

    /// From the end of the traffic until the roots were equal, whether or not the agents knew.
    roots_equal_ms: Option<u64>,
    /// From when each call was sent to its answer, in microseconds.
    service_us: LatencyUs,
    /// Calls per second that were asked for.
    rate: u32,
    /// Calls to `combat.resolve`, among the answered.
    combat_calls: u64,
    /// Calls to `prediction.predict`, among the answered.
    prediction_calls: u64,
    /// Calls to `chat-moderation.moderate`, among the answered.
    chat_calls: u64,
    /// Calls to `anti-cheat.inspect`, among the answered.
    inspection_calls: u64,
    /// Calls to `asset-preload.observe`, among the answered.
    move_calls: u64,
    /// Calls to `asset-preload.plan`, among the answered.
    plan_calls: u64,
    /// Direct writes to the state, among the answered.
    write_calls: u64,
    /// Calls that an agent refused because it had too much to do. They changed nothing.
    busy: u64,
    /// Calls that were never sent because their connection lagged too far behind.
    unsent: u64,
    /// Calls that failed.
    errors: u64,
    /// What went wrong, in sentences; at most a few of each kind.
    problems: Vec<String>,
    /// Counters compared on each agent.
    counters_checked: u64,
    /// Each agent's status page.
    status_pages: Vec<String>,
}

/// Everything that the report is made of.
pub(super) struct Evidence {
    pub(super) seconds: u32,
    pub(super) rate: u32,
    /// How long it took until the last answer, in seconds.
    pub(super) took_s: f64,
    pub(super) reading: Reading,
    pub(super) commits: u64,
    /// Acknowledgements that named a commit which another one had named already.
    pub(super) commits_twice: u64,
    pub(super) convergence: Convergence,
    pub(super) findings: Findings,
    /// Agents that did not end in good order.
    pub(super) complaints: Vec<String>,
    pub(super) status_pages: Vec<String>,
}

impl Report {
    pub(super) fn new(evidence: Evidence) -> Self {
        let Evidence { reading, convergence, findings, .. } = evidence;
        let mut problems = reading.first_errors.clone();
        problems.extend(findings.mismatches);
        problems.extend(findings.errors);
        problems.extend(evidence.complaints);
        if evidence.commits_twice > 0 {
            problems
                .push(format!("{} calls were acknowledged with the commit of another call", evidence.commits_twice));
        }
        if reading.unsent > 0 {
            problems.push(format!(
                "{} calls were never sent: this machine is too slow for --rate {}",
                reading.unsent, evidence.rate
            ));
        }
        if reading.calls == 0 {
            problems.push("no call succeeded".to_owned());
        }
        let counters_ok = findings.mismatched == 0;
        let ok =
            convergence.converged && findings.lost == 0 && counters_ok && problems.is_empty() && reading.failed == 0;
        Self {
            agents: convergence.roots.len(),
            seconds: evidence.seconds,
            calls: reading.calls,
            calls_per_second: per_second(reading.calls, evidence.took_s),
            latency_us: reading.latency,
            commits: evidence.commits,
            converged: convergence.converged,
            converge_ms: convergence.converge_ms,
            roots: convergence.roots,
            lost: findings.lost,
            counters_ok,
            ok,
            roots_equal_ms: convergence.roots_equal_ms,
            service_us: reading.service,
            rate: evidence.rate,
            combat_calls: reading.of(Kind::Combat),
            prediction_calls: reading.of(Kind::Prediction),
            chat_calls: reading.of(Kind::Chat),
            inspection_calls: reading.of(Kind::Inspection),
            move_calls: reading.of(Kind::Moves),
            plan_calls: reading.of(Kind::Plan),
            write_calls: reading.of(Kind::Write),
            busy: reading.busy,
            unsent: reading.unsent,
            errors: reading.failed,
            problems,
            counters_checked: findings.counters,
            status_pages: evidence.status_pages,
        }
    }

    /// Whether all is well.
    pub(super) const fn ok(&self) -> bool {
        self.ok
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let yes = |yes: bool| if yes { "yes" } else { "NO" };
        let millis = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms"));
        let roots = match self.roots.split_first() {
            Some((first, rest)) if rest.iter().all(|root| root == first) => format!("all equal: {first}"),
            _ => self.roots.join("\n             "),
        };
        let mut text = format!(
            "agents       {} on this machine, {} s of traffic\n\
             calls        {} ({:.1} per second); {} busy, {} errors\n\
             \x20            {} combat, {} prediction, {} chat, {} inspections, {} moves, {} plans, {} writes\n\
             latency      {}\n\
             \x20            from due to answered; from sent: {}\n\
             commits      {} acknowledged, {} lost\n\
             converged    {}, {} after the last answer (roots equal after {})\n\
             roots        {roots}\n\
             counters     {} checked on every agent, exact: {}\n",
            self.agents,
            self.seconds,
            self.calls,
            self.calls_per_second,
            self.busy,
            self.errors,
            self.combat_calls,
            self.prediction_calls,
            self.chat_calls,
            self.inspection_calls,
            self.move_calls,
            self.plan_calls,
            self.write_calls,
            latency(&self.latency_us),
            latency(&self.service_us),
            self.commits,
            self.lost,
            yes(self.converged),
            millis(self.converge_ms),
            millis(self.roots_equal_ms),
            self.counters_checked,
            yes(self.counters_ok),
        );
        for problem in &self.problems {
            text += &format!("problem      {}\n", problem.replace('\n', "\n             "));
        }
        text += if self.ok { "ok: every agent holds the same state, and nothing is lost" } else { "NOT OK" };
        text
    }
}

fn latency(us: &LatencyUs) -> String {
    format!("p50 {}, p99 {}, p99.9 {}, max {}", short(us.p50), short(us.p99), short(us.p999), short(us.max))
}

/// Microseconds, as milliseconds where that is easier to read.
pub(super) fn short(us: u64) -> String {
    if us < 1_000 { format!("{us} us") } else { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) }
}

/// Rounded to a tenth, so that nobody reads more into it.
pub(super) fn per_second(calls: u64, seconds: f64) -> f64 {
    let calls = f64::from(u32::try_from(calls).unwrap_or(u32::MAX));
    if seconds > 0.0 { (calls / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
