//! Pictures: calls and latencies over time, how full this host is, latencies of a workload.

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, LineGauge, Paragraph, RenderDirection, Sparkline, SparklineBar};
use serde_json::Value;

use super::head::calls_per_s;
use super::members::bytes;
use super::{style, titled};
use crate::cli::terminal::Tone;
use crate::cli::units::micros;
use crate::top::model::{Model, list, quantile_us};

/// Columns of a bar of the histogram, and between two.
const BAR: (u16, u16) = (6, 1);
/// From this share on a host is called busy.
const BUSY: f64 = 0.9;

/// Calls a second and how long they took, over the last minutes, and how full this host is.
pub(super) fn overview(frame: &mut Frame, area: Rect, model: &Model) {
    let thirds = Layout::horizontal([Constraint::Fill(1); 3]).spacing(2);
    let [calls_at, latencies_at, host] = thirds.areas(area);
    calls(frame, calls_at, &model.seen.history, model);
    latencies(frame, latencies_at, model);
    let node = model.nodes().iter().find(|node| node["id"] == model.own_id()).unwrap_or(&Value::Null);
    fullness(frame, host, "this host", node);
}

fn calls(frame: &mut Frame, area: Rect, history: &Value, model: &Model) {
    let (calls, errors) = (list(&history["calls"]), list(&history["errors"]));
    let steps = || calls.iter().enumerate().rev().take(usize::from(area.width));
    let bars = steps().map(|(at, calls)| {
        let failed = errors.get(at).and_then(Value::as_u64).is_some_and(|errors| errors > 0);
        SparklineBar::from(calls.as_u64()).style(failed.then(|| style(Tone::Bad)))
    });
    let now = calls_per_s(model).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    let step_s = history["step_s"].as_u64().unwrap_or(1).max(1);
    let most = steps().filter_map(|(_, calls)| calls.as_u64()).max();
    let most = most.map_or_else(String::new, |most| format!(", most {}", most / step_s));
    let failed: f64 = model.errors_per_s.values().sum();
    let failed = if failed > 0.0 { format!(", {failed:.1} failed") } else { String::new() };
    spark(frame, area, format!("calls/s {now}{failed}{most}"), bars.collect());
}

fn latencies(frame: &mut Frame, area: Rect, model: &Model) {
    let steps = || model.latencies.p99_us().take(usize::from(area.width));
    let now = steps().next().flatten().map_or_else(|| "-".to_owned(), micros);
    let most = steps().flatten().max().map_or_else(String::new, |most| format!(", most {}", micros(most)));
    spark(frame, area, format!("p99 {now}{most}"), steps().map(SparklineBar::from).collect());
}

/// Bars, the latest first, which stands at the right; what is not known is left free.
fn spark(frame: &mut Frame, area: Rect, title: String, bars: Vec<SparklineBar>) {
    let sparkline = Sparkline::default()
        .data(bars)
        .direction(RenderDirection::RightToLeft)
        .style(style(Tone::Good))
        .block(titled(title));
    frame.render_widget(sparkline, area);
}

/// Load and memory of a member.
pub(super) fn fullness(frame: &mut Frame, area: Rect, title: &str, node: &Value) {
    let number = |pointer: &str| node.pointer(pointer).and_then(Value::as_f64);
    let cores = number("/resources/cpus").map_or_else(String::new, |cores| format!(", {cores} cores"));
    let [one, rest] = [Constraint::Length(1), Constraint::Fill(1)];
    let [heading, load, memory, disk] = Layout::vertical([one, one, one, rest]).areas(area);
    frame.render_widget(titled(format!("{title}{cores}")), heading);
    gauge(frame, load, "load  ", number("/load"));
    let used = number("/resources/memory_bytes").zip(number("/resources/memory_free_bytes"));
    gauge(frame, memory, "memory", used.filter(|(all, _)| *all > 0.0).map(|(all, free)| 1.0 - free / all));
    let free = |pointer: &str| bytes(node, pointer);
    let text = format!(
        "free: {} of memory, {} of disk",
        free("/resources/memory_free_bytes"),
        free("/resources/disk_free_bytes")
    );
    frame.render_widget(Paragraph::new(text), disk);
}

fn gauge(frame: &mut Frame, area: Rect, what: &str, share: Option<f64>) {
    let Some(share) = share.filter(|share| share.is_finite()) else {
        frame.render_widget(Line::raw(format!("{what}    -")), area);
        return;
    };
    let tone = if share >= BUSY { Tone::Warn } else { Tone::Good };
    let gauge = LineGauge::default()
        .ratio(share.clamp(0.0, 1.0))
        .label(format!("{what} {:>3.0} %", share * 100.0))
        .filled_symbol("━")
        .unfilled_symbol("─")
        .filled_style(style(tone))
        .unfilled_style(Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(gauge, area);
}

/// How long the calls of a workload took, by share.
pub(super) fn histogram(frame: &mut Frame, area: Rect, workload: &Value) {
    let bucket = |bucket: &Value| Some((bucket["le_us"].as_u64()?, bucket["calls"].as_u64()?));
    let mut buckets: BTreeMap<u64, u64> = list(&workload["latency_buckets"]).iter().filter_map(bucket).collect();
    let all: u64 = buckets.values().fold(0, |sum, calls| sum.saturating_add(*calls));
    let quantiles = [0.5, 0.99].map(|q| quantile_us(&buckets, q).map_or_else(|| "-".to_owned(), micros));
    let title = format!("how long {all} calls took here: p50 {}, p99 {}", quantiles[0], quantiles[1]);
    let room = usize::from((area.width + BAR.1) / (BAR.0 + BAR.1)).max(1);
    // Where there is no room for all, the quickest become one.
    while buckets.len() > room {
        let Some((_, calls)) = buckets.pop_first() else { break };
        if let Some(mut next) = buckets.first_entry() {
            *next.get_mut() = next.get().saturating_add(calls);
        }
    }
    let bars: Vec<Bar> = buckets.iter().map(|(le_us, calls)| bar(*le_us, *calls, all)).collect();
    let chart = BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(BAR.0)
        .bar_gap(BAR.1)
        .bar_style(style(Tone::Good))
        .value_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(titled(title));
    frame.render_widget(chart, area);
}

#[expect(clippy::cast_precision_loss, reason = "a share is shown with two digits")]
fn bar(le_us: u64, calls: u64, all: u64) -> Bar<'static> {
    let share = calls as f64 / all.max(1) as f64 * 100.0;
    let share = match calls {
        0 => String::new(),
        _ if share < 0.1 => "<0.1 %".to_owned(),
        _ if share < 10.0 => format!("{share:.1} %"),
        _ => format!("{share:.0} %"),
    };
    let label = match le_us {
        0..1_000 => format!("≤{le_us}us"),
        1_000..1_000_000 => format!("≤{}ms", le_us / 1_000),
        _ => format!("≤{}s", le_us / 1_000_000),
    };
    Bar::default().value(calls).text_value(share).label(Line::raw(label))
}
