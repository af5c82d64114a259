//! How the page writes figures. `script/text.js` writes the same once a second; who changes one changes the other.

/// What stands where there is nothing to say.
pub(super) const NONE: &str = "–";

/// Units of time that people count in, with their seconds.
const SPANS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// Digits in groups of three.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let unit = UNITS.iter().enumerate().take_while(|(index, _)| number >> (10 * (index + 1)) > 0).last();
    let (index, unit) = unit.unwrap_or((0, &UNITS[0]));
    let scale = 1_u64 << (10 * (index + 1));
    format!("{:.1} {unit}", number as f64 / scale as f64)
}

pub(super) fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

pub(super) fn millis(ms: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time that has passed, in whole seconds"
    )]
    let seconds = (ms / 1e3) as u64;
    if ms < 60_000.0 { micros(ms * 1e3) } else { span(seconds) }
}

pub(super) fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", whole(number), if number == 1 { "" } else { "s" })
}

/// How long ago something was, from milliseconds.
pub(super) fn ago(ms: Option<u64>) -> String {
    match ms {
        None => NONE.to_owned(),
        Some(0..1_000) => "now".to_owned(),
        Some(ms) => format!("{} ago", about(ms / 1_000)),
    }
}

/// A time in its two greatest units.
pub(super) fn span(seconds: u64) -> String {
    let (at, name, unit) = greatest(seconds);
    let next = SPANS.get(at + 1).map(|(name, next)| format!(" {} {name}", seconds % unit / next));
    format!("{} {name}{}", seconds / unit, next.unwrap_or_default())
}

/// A time in its greatest unit.
pub(super) fn about(seconds: u64) -> String {
    let (_, name, unit) = greatest(seconds);
    format!("{} {name}", seconds / unit)
}

/// The greatest unit that fits: its place, its name and its seconds.
fn greatest(seconds: u64) -> (usize, &'static str, u64) {
    let at = SPANS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(SPANS.len() - 1);
    let (name, unit) = SPANS[at];
    (at, name, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_with_units() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(whole), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!(
            [0, 1023, 1024, 1 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16777216.0 TiB"]
        );
        assert_eq!([0.0, 999.0, 1_500.0, 2e6].map(micros), ["0 µs", "999 µs", "1.5 ms", "2.00 s"]);
        assert_eq!([0, 59, 60, 3_725, 90_061].map(span), ["0 s", "59 s", "1 min 0 s", "1 h 2 min", "1 d 1 h"]);
        assert_eq!([Some(999), Some(59_999), Some(7_200_000), None].map(ago), ["now", "59 s ago", "2 h ago", NONE]);
    }
}
