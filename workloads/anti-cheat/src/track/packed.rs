//! A track as bytes of the shared state.
//!
//! Owns the format: a version, then variable-length integers (LEB128, signed ones in zigzag), times relative to the newest
//! and places relative to the last. The invariants: packing a track and reading it back gives the track, but for fractions
//! of a thousandth of a nat; and no bytes whatever make it panic or give numbers beyond their bounds.

use super::{Before, PLACE_MAX, Track};
use crate::account::{Account, SPENT_MAX};
use crate::lag::{INTERVAL_MS_MAX, LATE_MS_MAX, Line, SEEN_MAX};
use crate::observation::Place;
use crate::rate::Rate;
use crate::speed::{BUCKET_MS, BUCKETS_MAX, Bucket, COUNT_MAX, NATS_MAX, Window};

/// The first byte; another one is another format.
const VERSION: u8 = 1;

impl Track {
    /// The track in some 150 bytes.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(192));
        out.0.push(VERSION);
        out.unsigned(self.newest_ms);
        let base = self.here.map_or([0; 3], |(_, at)| at);
        out.unsigned(u64::from(self.here.is_some()) | u64::from(self.before.is_some()) << 1);
        if let Some((t_ms, at)) = self.here {
            out.time(t_ms, self.newest_ms);
            out.place(at, [0; 3]);
        }
        if let Some(before) = self.before {
            out.place(before.at, base);
            out.time(before.until_ms, self.newest_ms);
            out.unsigned(before.returns.into());
        }
        out.time(self.window.line.newest_ms, self.newest_ms);
        out.unsigned(self.window.line.seen.into());
        out.thousandths(self.window.line.interval_ms);
        out.thousandths(self.window.line.late_ms);
        out.unsigned(self.window.buckets.len() as u64);
        for bucket in &self.window.buckets {
            out.time(bucket.index, self.newest_ms / BUCKET_MS);
            out.unsigned(bucket.count.into());
            out.unsigned(bucket.ms);
            out.unsigned(bucket.late_ms);
            out.place(bucket.at, base.map(|axis| axis * i64::from(bucket.count)));
        }
        out.thousandths(self.rate.nats);
        out.time(self.rate.last_ms, self.newest_ms);
        out.time(self.rate.since_ms, self.rate.last_ms);
        out.unsigned(self.rate.count.into());
        out.thousandths(self.account.spent);
        out.thousandths(self.account.peak);
        out.time(self.account.peak_ms, self.newest_ms);
        out.time(self.charged_ms, self.newest_ms);
        out.time(self.forgiven_ms, self.newest_ms);
        out.0
    }

    /// Reads a track; `None` if these bytes are none.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut input = Reader(rest);
        let newest_ms = input.unsigned()?;
        let parts = input.unsigned()?;
        let here = if parts & 1 == 0 { None } else { Some((input.time(newest_ms)?, input.place([0; 3], 1)?)) };
        let base = here.map_or([0; 3], |(_, at)| at);
        let before = if parts & 2 == 0 {
            None
        } else {
            Some(Before {
                at: input.place(base, 1)?,
                until_ms: input.time(newest_ms)?,
                returns: input.count(u32::MAX)?,
            })
        };
        let window = input.window(newest_ms, base)?;
        let nats = input.thousandths(NATS_MAX)?;
        let last_ms = input.time(newest_ms)?;
        let rate = Rate { nats, last_ms, since_ms: input.time(last_ms)?, count: input.count(u32::MAX)? };
        let (spent, peak) = (input.thousandths(SPENT_MAX)?, input.thousandths(NATS_MAX)?);
        let account = Account { spent, peak, peak_ms: input.time(newest_ms)? };
        let (charged_ms, forgiven_ms) = (input.time(newest_ms)?, input.time(newest_ms)?);
        let whole = Self { newest_ms, here, before, window, rate, account, charged_ms, forgiven_ms };
        input.0.is_empty().then_some(whole)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(low_bits(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_bits(number));
    }

    fn signed(&mut self, number: i64) {
        self.unsigned((number << 1 ^ number >> 63).cast_unsigned());
    }

    /// A time before or after another.
    fn time(&mut self, time: u64, base: u64) {
        self.signed(time.wrapping_sub(base).cast_signed());
    }

    fn place(&mut self, place: Place, base: Place) {
        (0..3).for_each(|axis| self.signed(place[axis] - base[axis]));
    }

    fn thousandths(&mut self, number: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most some thousands, at least 0"
        )]
        self.unsigned((number * 1_000.0).round() as u64);
    }
}

fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7F
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let word = self.unsigned()?;
        Some((word >> 1).cast_signed() ^ -(word & 1).cast_signed())
    }

    fn time(&mut self, base: u64) -> Option<u64> {
        Some(base.wrapping_add(self.signed()?.cast_unsigned()))
    }

    fn count(&mut self, max: u32) -> Option<u32> {
        u32::try_from(self.unsigned()?).ok().filter(|count| *count <= max)
    }

    /// The sum of `count` places.
    fn place(&mut self, base: Place, count: i64) -> Option<Place> {
        let mut place = [0; 3];
        for axis in 0..3 {
            let sum = base[axis].checked_add(self.signed()?)?;
            if sum.checked_abs()? > PLACE_MAX * count {
                return None;
            }
            place[axis] = sum;
        }
        Some(place)
    }

    fn thousandths(&mut self, max: f64) -> Option<f64> {
        let thousandths = u32::try_from(self.unsigned()?).ok()?;
        Some((f64::from(thousandths) / 1_000.0).min(max))
    }

    fn window(&mut self, newest_ms: u64, base: Place) -> Option<Window> {
        let newest_seen_ms = self.time(newest_ms)?;
        let seen = self.count(SEEN_MAX)?;
        let (interval_ms, late_ms) = (self.thousandths(INTERVAL_MS_MAX)?, self.thousandths(LATE_MS_MAX)?);
        let line = Line { newest_ms: newest_seen_ms, seen, interval_ms, late_ms };
        let buckets = self.unsigned().filter(|buckets| *buckets <= BUCKETS_MAX)?;
        let mut window = Window { line, ..Window::default() };
        for _ in 0..buckets {
            let index = self.time(newest_ms / BUCKET_MS)?;
            let count = self.count(COUNT_MAX).filter(|count| *count > 0)?;
            let ms = self.unsigned().filter(|ms| *ms < BUCKET_MS * u64::from(count))?;
            let late_ms = self.unsigned().filter(|ms| *ms <= 1_000 * u64::from(count))?;
            let at = self.place(base.map(|axis| axis * i64::from(count)), count.into())?;
            let first = window.buckets.first().map_or(index, |bucket: &Bucket| bucket.index);
            let rises = window.buckets.last().is_none_or(|bucket| bucket.index < index);
            if !rises || index > u64::MAX / BUCKET_MS || index >= first + BUCKETS_MAX {
                return None;
            }
            window.buckets.push(Bucket { index, count, ms, late_ms, at });
        }
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track() -> Track {
        let mut window = Window::default();
        for at in 0..48 {
            window.take(1_700_000_000_000 + at * 50, [100 + 45 * at.cast_signed(), -70_000, 3]);
        }
        Track {
            newest_ms: 1_700_000_002_350,
            here: Some((1_700_000_002_350, [2_215, -70_000, 3])),
            before: Some(Before { at: [90_000, 4, -5], until_ms: 1_700_000_002_400, returns: 2 }),
            window,
            rate: Rate { nats: 2.5, last_ms: 1_700_000_002_300, since_ms: 1_700_000_001_000, count: 7 },
            account: Account { spent: 1.25, peak: 0.5, peak_ms: 1_700_000_002_000 },
            charged_ms: 0,
            forgiven_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_track_comes_back_and_is_small() {
        for track in [track(), Track::default(), Track { before: None, ..track() }, Track { here: None, ..track() }] {
            assert_eq!(Track::unpack(&track.pack()), Some(track));
        }
        assert!(track().pack().len() < 200, "{}", track().pack().len());
    }

    #[test]
    fn whatever_the_bytes_a_track_is_within_its_bounds_or_none() {
        let packed = track().pack();
        for cut in 0..packed.len() {
            assert_eq!(Track::unpack(&packed[..cut]), None);
        }
        for place in 0..packed.len() {
            for value in 0..=u8::MAX {
                let mut bytes = packed.clone();
                bytes[place] = value;
                if let Some(mut track) = Track::unpack(&bytes) {
                    track.window.take(track.newest_ms, [0; 3]);
                    assert!(track.window.excess(&crate::limits::Limits::default()).is_none_or(|e| e.nats.is_finite()));
                    assert!(Track::unpack(&track.pack()).is_some());
                }
            }
        }
    }
}
