//! The head: who this is, whether all is well and if not why, what it holds, who is in step with it.

use std::time::{Duration, Instant};

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::{members, style};
use crate::cli::terminal::Tone;
use crate::cli::units::{micros, size, span};
use crate::cli::{cell, printable, resync, rollout_stage, short};
use crate::top::model::{Model, called, list};

/// Characters of a root: enough to compare by eye.
const ROOT_CHARS: usize = 16;

/// Who this is.
pub(super) fn title(model: &Model, is_paused: bool) -> Line<'static> {
    let status = &model.seen.status;
    let at = |pointer: &str| cell(status, pointer);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = if model.seen_at.is_none() {
        vec![Span::styled(format!("selvedge top  {}", printable(&model.api)), bold)]
    } else {
        let uptime = status.pointer("/node/uptime_s").and_then(Value::as_u64).unwrap_or(0);
        let up = span(Duration::from_secs(uptime));
        let who = format!("{} in {}", at("/node/name"), at("/node/region"));
        let what = format!("  {} {}  up {up}", at("/cluster/name"), at("/node/version"));
        vec![Span::styled(who, bold), Span::raw(what)]
    };
    if is_paused {
        spans.push(Span::raw("  "));
        spans.push(Span::styled("standing still", Style::new().add_modifier(Modifier::REVERSED)));
    }
    Line::from(spans)
}

/// Whether all is well, and what is to be known besides; the worst first.
pub(super) fn health(model: &Model, now: Instant) -> Vec<Line<'static>> {
    let status = &model.seen.status;
    let mut lines = Vec::new();
    match (&model.problem, model.seen_at) {
        (Some(why), None) => return vec![Line::styled(why.clone(), style(Tone::Bad))],
        (None, None) => return vec![Line::raw("looking…")],
        (Some(why), Some(seen_at)) => {
            let ago = span(now.saturating_duration_since(seen_at));
            let text = format!("the agent is away, what is shown is {ago} old: {why}");
            lines.push(Line::styled(text, style(Tone::Bad)));
        }
        (None, Some(_)) => {}
    }
    let sentences = |name: &str| list(&status["health"][name]).iter().filter_map(Value::as_str).map(printable);
    let is_well = status.pointer("/health/ok").and_then(Value::as_bool);
    let reasons: Vec<String> = sentences("reasons").collect();
    if is_well == Some(true) && model.problem.is_none() {
        lines.push(Line::from(vec![Span::raw("health  "), Span::styled("ok", style(Tone::Good))]));
    } else if is_well != Some(true) && reasons.is_empty() {
        lines.push(Line::styled("not well, and it does not say why", style(Tone::Bad)));
    }
    lines.extend(reasons.into_iter().map(|reason| Line::styled(format!("not well: {reason}"), style(Tone::Bad))));
    let rollout = |workload: &Value| {
        let stage = rollout_stage(&workload["rollout"], |id| model.name_of(id))?;
        Some(format!("{}: {}", called(workload, "name"), printable(&stage)))
    };
    let rollouts = model.workloads().iter().filter_map(rollout);
    let resync = resync(status).map(|resync| format!("resync: {resync}"));
    let notes = sentences("notes").chain(rollouts).chain(resync);
    lines.extend(notes.map(|note| Line::styled(note, style(Tone::Warn))));
    lines
}

/// What it holds and who is in step with it; in a small terminal what matters most of everything else.
pub(super) fn facts(model: &Model, is_small: bool) -> Vec<Line<'static>> {
    if model.seen_at.is_none() {
        return Vec::new();
    }
    if is_small {
        return vec![synced(model), sums(model)];
    }
    let status = &model.seen.status;
    let at = |pointer: &str| cell(status, pointer);
    let commits = model.commits_per_s.map_or_else(String::new, |rate| format!(" ({rate:.0}/s)"));
    let bytes = status.pointer("/state/bytes").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), size);
    let state = format!(
        "state   {} keys  {} commits{commits}  {bytes}  {} to forget  root {}",
        at("/state/keys"),
        at("/state/commits"),
        at("/state/garbage"),
        short(&at("/state/root"), ROOT_CHARS)
    );
    vec![Line::raw(state), synced(model)]
}

/// Calls a second of all workloads together; `None` before there are rates.
pub(super) fn calls_per_s(model: &Model) -> Option<f64> {
    (!model.calls_per_s.is_empty()).then(|| model.calls_per_s.values().sum())
}

fn sums(model: &Model) -> Line<'static> {
    let status = &model.seen.status;
    let calls = calls_per_s(model).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    let p99 = model.latencies.p99_us().next().flatten().map_or_else(|| "-".to_owned(), micros);
    let (alive, members) = (cell(status, "/cluster/alive"), cell(status, "/cluster/members"));
    Line::raw(format!("{alive} of {members} alive  {calls} calls/s  p99 {p99}"))
}

/// Who holds the same state, and who lags most.
fn synced(model: &Model) -> Line<'static> {
    let json = &model.seen.convergence;
    let awaited: Vec<&Value> = list(&json["peers"]).iter().filter(|peer| peer["awaited"] != false).collect();
    // A member that was equal a moment ago is only busy.
    let in_step = awaited.iter().filter(|peer| {
        let id = peer["node"].as_str().unwrap_or_default();
        peer["root_equal"] == true || members::root(members::peer(model, id)).1 == Tone::Good
    });
    let (all, in_step) = (awaited.len(), in_step.count());
    let lag = awaited.iter().filter_map(|peer| Some((peer["lag_commits"].as_u64()?, peer))).max_by_key(|(lag, _)| *lag);
    let lag = lag.filter(|(lag, _)| *lag > 0);
    let lag = lag.map_or_else(String::new, |(lag, peer)| format!("; {} lags by {lag} commits", called(peer, "node")));
    let (words, tone) = match json["converged"].as_bool() {
        Some(true) if all == 0 => ("there is no other member".to_owned(), Tone::Good),
        Some(true) => (format!("converged with {}", others(all)), Tone::Good),
        Some(false) if in_step == all => (format!("in step with {}{lag}", others(all)), Tone::Good),
        Some(false) => (format!("{in_step} of {all} are in step{lag}"), Tone::Warn),
        None => ("not known".to_owned(), Tone::Plain),
    };
    Line::from(vec![Span::raw("synced  "), Span::styled(words, style(tone))])
}

fn others(count: usize) -> String {
    if count == 1 { "1 other".to_owned() } else { format!("{count} others") }
}
