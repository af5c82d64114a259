//! The stages as bars, for a terminal.

use super::report::Row;
use crate::cli::units::micros as time;

/// Cells of the longest bar, so that two of them and their labels fit into 80 columns.
const CELLS: u32 = 22;
/// Eighths of a cell, from one to seven.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Throughput on a linear scale, p99 on a logarithmic one; a line for each stage.
pub(super) fn chart(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.throughput).fold(0.0, f64::max);
    let logs = |row: &Row| f64::from(u32::try_from(row.latency_us.p99.max(1)).unwrap_or(u32::MAX)).ln();
    let (low, high) =
        rows.iter().map(logs).fold((f64::INFINITY, 0.0), |(low, high), log| (log.min(low), log.max(high)));
    let lines = rows.iter().map(|row| {
        let answered = bar(row.throughput / most.max(1.0));
        // The lowest keeps a tenth, so that it can be seen.
        let late = bar(0.1 + 0.9 * (logs(row) - low) / (high - low).max(f64::EPSILON));
        let width = CELLS as usize + 1;
        format!(
            "{:>8}  {answered:<width$} {:>8.0}  {late:<width$} {:>9}",
            row.offered,
            row.throughput,
            time(row.latency_us.p99)
        )
    });
    let title = format!("{:>8}  {:<32}  p99 (logarithmic)", "offered", "answered/s");
    std::iter::once(title).chain(lines).collect::<Vec<_>>().join("\n")
}

/// A bar that fills this share of its cells.
fn bar(share: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and eight times the cells")]
    let eighths = (share.clamp(0.0, 1.0) * f64::from(CELLS) * 8.0).round() as usize;
    let part = (eighths % 8).checked_sub(1).map(|part| PARTS[part]);
    std::iter::repeat_n('█', eighths / 8).chain(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_in_eighths_of_a_cell() {
        let check = |share: f64, expect: &str| assert_eq!(bar(share), expect, "{share}");
        check(0.0, "");
        check(1.0 / 176.0, "▏");
        check(9.0 / 176.0, "█▏");
        check(2.0, &"█".repeat(22));
    }
}
