//! Sizes and times for people, in one style everywhere.
//!
//! Owns the texts. The invariant: no more digits than anybody reads, and a unit with every figure.

use std::time::Duration;

/// A size: `512 B`, `2.0 KiB`, `1.5 GiB`.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x400 => return format!("{bytes} B"),
        0x400..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// A short time in microseconds: `834 us`, `3.0 ms`, `1.25 s`.
#[must_use]
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

/// The same of milliseconds with a fraction. What is no such time is not known.
#[must_use]
pub(crate) fn millis(ms: f64) -> String {
    let time = Duration::try_from_secs_f64(ms / 1e3).ok();
    time.map_or_else(|| "-".to_owned(), |time| micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
}

/// A long time, its two greatest units: `1m 5s`, `2days 3h`; from a month on in days.
#[must_use]
pub(crate) fn span(time: Duration) -> String {
    /// Fewer days than any month has.
    const DAYS_MIN: u64 = 28;
    let days = time.as_secs() / 86_400;
    if days >= DAYS_MIN {
        return format!("{days} days");
    }
    let text = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_unit() {
        let sizes = [0, 1_023, 2_048, 3 << 20, 1_610_612_736].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "2.0 KiB", "3.0 MiB", "1.5 GiB"]);
        assert_eq!([999, 1_000, 12_345, 1_250_000].map(micros), ["999 us", "1.0 ms", "12.3 ms", "1.25 s"]);
        assert_eq!([0.42, 1.2345, f64::NAN, -1.0].map(millis), ["420 us", "1.2 ms", "-", "-"]);
        let spans = [65, 3_600 * 51 + 125, 0].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["1m 5s", "2days 3h", "0s"]);
        assert_eq!(span(Duration::from_secs(89 * 86_400 + 5)), "89 days");
    }
}
