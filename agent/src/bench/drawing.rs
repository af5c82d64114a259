//! The stages as a picture: throughput and latency over what was offered, in SVG.
//!
//! Owns the drawing. The invariant: text from elsewhere is escaped.

use std::fmt::Write as _;

use super::report::{Report, Row};
use crate::cli::units::micros as time;

const WIDTH: f64 = 720.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const GAP: f64 = 64.0;
const HEIGHT: f64 = TOP + 2.0 * PANEL + GAP + 56.0;

/// A scale from values to pixels; logarithmic where values span orders of magnitude.
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, 1.0_f64), |(low, high), value| (value.max(1.0).min(low), value.max(high)));
        let low = if low.is_finite() { low } else { 1.0 };
        Self { from: low.ln(), to: high.ln().max(low.ln() + 0.1), start, end }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(1.0).ln() - self.from) / (self.to - self.from);
        self.start + (self.end - self.start) * share
    }
}

/// The picture of a report.
pub(super) fn svg(report: &Report) -> String {
    let rows = report.rows();
    let across = Scale::of(rows.iter().map(|row| f64::from(row.offered)), LEFT, WIDTH - RIGHT);
    let both = rows.iter().flat_map(|row| [row.throughput, f64::from(row.offered)]);
    let up = Scale::of(both, TOP + PANEL, TOP);
    let latencies = rows.iter().flat_map(|row| [row.latency_us.p50, row.latency_us.p99]).map(float);
    let late = Scale::of(latencies, TOP + 2.0 * PANEL + GAP, TOP + PANEL + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{}</text>\n",
        escaped(&report.title())
    );
    let point = |row: &Row, scale: &Scale, value: f64| {
        format!("{:.1},{:.1}", across.at(f64::from(row.offered)), scale.at(value))
    };
    let mut line = |colour: &str, dashes: &str, scale: &Scale, value: &dyn Fn(&Row) -> f64| {
        let points: Vec<String> = rows.iter().map(|row| point(row, scale, value(row))).collect();
        writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes} points=\"{}\"/>",
            points.join(" ")
        )
        .expect("writing to a string cannot fail");
    };
    line("#9aa0a6", " stroke-dasharray=\"4 4\"", &up, &|row| f64::from(row.offered));
    line("#1a73e8", "", &up, &|row| row.throughput);
    line("#188038", "", &late, &|row| float(row.latency_us.p50));
    line("#d93025", "", &late, &|row| float(row.latency_us.p99));
    out + &axes(&up, &late) + &labels(rows, &across, &up, &late) + "</svg>\n"
}

/// The frame of each half: its axes, the ends of its scale with their unit, and what lies along the bottom.
fn axes(up: &Scale, late: &Scale) -> String {
    let mut out = String::new();
    let right = WIDTH - RIGHT;
    let each = |value: f64| format!("{value:.0}/s");
    let micros = |value: f64| time(format!("{value:.0}").parse().unwrap_or(u64::MAX));
    let halves: [(&Scale, &dyn Fn(f64) -> String); 2] = [(up, &each), (late, &micros)];
    for (scale, worded) in halves {
        let (bottom, top) = (scale.start, scale.end);
        write!(
            out,
            "<path fill=\"none\" stroke=\"#9aa0a6\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>\n\
             <text x=\"{x}\" y=\"{bottom}\" fill=\"#3c4043\" text-anchor=\"end\">{low}</text>\n\
             <text x=\"{x}\" y=\"{top}\" fill=\"#3c4043\" text-anchor=\"end\">{high}</text>\n",
            x = LEFT - 6.0,
            low = worded(scale.from.exp()),
            high = worded(scale.to.exp()),
        )
        .expect("writing to a string cannot fail");
    }
    out
}

/// What each stage is called along the bottom, its figures at its points, and what the lines mean.
fn labels(rows: &[Row], across: &Scale, up: &Scale, late: &Scale) -> String {
    let mut out = String::new();
    let mut text = |x: f64, y: f64, colour: &str, anchor: &str, words: &str| {
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" text-anchor=\"{anchor}\">{words}</text>")
            .expect("writing to a string cannot fail");
    };
    for row in rows {
        let x = across.at(f64::from(row.offered));
        text(x, HEIGHT - 32.0, "#3c4043", "middle", &format!("{}/s", row.offered));
        text(x, up.at(row.throughput) - 8.0, "#1a73e8", "middle", &format!("{:.0}", row.throughput));
        text(x, late.at(float(row.latency_us.p99)) - 8.0, "#d93025", "middle", &time(row.latency_us.p99));
        if row.breaks.is_some() {
            text(x, HEIGHT - 16.0, "#d93025", "middle", "breaks");
        }
    }
    text(LEFT, TOP - 4.0, "#1a73e8", "start", "answered a second (dashed: offered); all scales are logarithmic");
    text(LEFT + 6.0, HEIGHT - 4.0, "#3c4043", "start", "calls offered a second, by stage");
    text(LEFT, TOP + PANEL + GAP - 20.0, "#d93025", "start", "p99, and below it p50 in green");
    out
}

fn float(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX))
}

fn escaped(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).fold(String::new(), |mut out, letter| {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            other => out.push(other),
        }
        out
    })
}
