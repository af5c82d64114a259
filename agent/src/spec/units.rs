//! Sizes and durations as people write them: `64MiB`, `5ms`.
//!
//! Owns reading only. The invariant: nothing is rounded; a value that is no whole number of its unit is refused.

/// Text that is no size or no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The caller's text is no size.
    #[error("a size is a whole number of B, KiB, MiB, GiB, kB, MB or GB, as in `64MiB`")]
    Bytes,
    /// The caller's text is no duration.
    #[error("a duration is a whole number of milliseconds or more, as in `5ms` or `2s`")]
    Millis,
}

/// Reads a size in bytes: `65536`, `64KiB`, `64 MiB`, `1GB`. Upper and lower case are the same.
///
/// # Errors
/// [`UnitError::Bytes`] when it is no whole number, its unit is unknown, or it exceeds 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| UnitError::Bytes)?;
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(UnitError::Bytes),
    };
    number.checked_mul(unit).ok_or(UnitError::Bytes)
}

/// Reads a duration in milliseconds: `5ms`, `2s`, `1m 30s`.
///
/// # Errors
/// [`UnitError::Millis`] when it is no duration or no whole number of milliseconds.
pub fn parse_millis(text: &str) -> Result<u64, UnitError> {
    let duration = humantime::parse_duration(text).map_err(|_| UnitError::Millis)?;
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(UnitError::Millis);
    }
    u64::try_from(duration.as_millis()).map_err(|_| UnitError::Millis)
}
