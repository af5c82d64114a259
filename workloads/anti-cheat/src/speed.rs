//! Who moves faster than the game allows, from the last two seconds of places.
//!
//! Owns the window of places and the evidence for sustained speed; `teleport.rs` judges single steps. The invariant: only
//! a distance that was covered too soon is evidence, never a short time between two updates.
//!
//! Places are exact and their times are not: an update is stamped when it arrives, and delay varies. So the times are what
//! is averaged. Updates are gathered in buckets of [`BUCKET_MS`], and means over up to three buckets are compared with means
//! over as many older ones. If the player covers `D` metres between two such means, an honest one takes at least `D / max`
//! seconds, and a cheat at [`RATIO`] times the limit at most `D / (RATIO·max)`. The time that was measured is normal around
//! the true one (and a little late after a silence, see `lag.rs`), so the evidence is the logarithm of the likelihood ratio of the two (Wald, "Sequential analysis", 1947), the
//! greatest over all pairs of means (the generalised likelihood ratio test of Lorden, 1971).

use crate::lag::Line;
use crate::limits::Limits;
use crate::observation::Place;

/// Length of a bucket, in milliseconds: four updates at 20 a second.
pub const BUCKET_MS: u64 = 200;
/// Buckets that are kept: 2.4 s, so that a cheat is seen within two.
pub const BUCKETS_MAX: u64 = 12;
/// The speed that a cheat is thought to have at least, over the limit.
pub const RATIO: f64 = 1.2;
/// Most updates of one bucket that count: their sum then fits with room to spare, and more would tell nothing new.
pub(crate) const COUNT_MAX: u32 = 10_000;
/// The most buckets in one mean.
const GROUP_MAX: usize = 3;
/// Means that are closer in time than this are not compared, in seconds: what is exact about places is not worth much then.
const SPAN_MIN_S: f64 = 0.3;
/// How much the delay of all updates drifts within the window, over how much that of one varies.
const DRIFT: f64 = 0.6;
/// Lateness up to this many standard deviations of the usual delay is what [`Line`] always finds, and allowed for already.
const LATE_USUAL: f64 = 2.0;
/// Updates that a bucket needs to be a part of the way: the mean of fewer is off by a stride, and two strides to and fro are no
/// way.
const WAY_MIN: f64 = 3.0;
/// What the variance of a single update's delay counts for: three times.
const TAIL: f64 = 3.0;
/// No evidence is stronger than this, in nats: 1 to 10¹⁷.
pub const NATS_MAX: f64 = 40.0;

/// The updates of one stretch of time, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its time in units of [`BUCKET_MS`].
    pub index: u64,
    /// Updates.
    pub count: u32,
    /// Sum of their times after the beginning of the bucket, in milliseconds.
    pub ms: u64,
    /// Sum of how late they may be, in milliseconds.
    pub late_ms: u64,
    /// Sum of their places.
    pub at: Place,
}

/// The last two seconds of a player's places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// How updates arrive.
    pub line: Line,
    /// With an update at least, in order, all within [`BUCKETS_MAX`] of the last.
    pub buckets: Vec<Bucket>,
}

/// A distance that was covered too soon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// Logarithm of how much likelier a cheat is to show this than an honest player.
    pub nats: f64,
    /// Metres per second.
    pub speed: f64,
    /// For so many seconds.
    pub span_s: f64,
}

/// The mean over some buckets.
#[derive(Clone, Copy)]
struct Mean {
    seconds: f64,
    /// Centimetres from the newest place.
    at: [f64; 3],
    count: f64,
    /// How late the updates may be, in seconds.
    late_s: f64,
}

impl Window {
    /// Takes in a place. One that is older than the window is not taken.
    pub fn take(&mut self, t_ms: u64, place: Place) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
        let late_ms = self.line.take(t_ms) as u64;
        let index = t_ms / BUCKET_MS;
        let last = self.buckets.last().map_or(index, |bucket| bucket.index);
        if index + BUCKETS_MAX <= last {
            return;
        }
        let at = match self.buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(at) => at,
            Err(at) => {
                self.buckets.insert(at, Bucket { index, ..Bucket::default() });
                at
            }
        };
        let bucket = &mut self.buckets[at];
        if bucket.count < COUNT_MAX {
            bucket.count += 1;
            bucket.ms += t_ms % BUCKET_MS;
            bucket.late_ms += late_ms;
            bucket.at.iter_mut().zip(place).for_each(|(sum, place)| *sum += place);
        }
        let newest = last.max(index);
        self.buckets.retain(|bucket| bucket.index + BUCKETS_MAX > newest);
    }

    /// The strongest evidence of too much speed that the window holds up to its newest bucket, if it holds any.
    #[must_use]
    pub fn excess(&self, limits: &Limits) -> Option<Excess> {
        let (first, last) = (self.buckets.first()?, self.buckets.last()?);
        let origin = last.at.map(|sum| sum / i64::from(last.count.max(1)));
        let stations: Vec<Mean> = self.buckets.iter().map(|one| mean(&[*one], first.index, &origin)).collect();
        // Whoever covers no part of the way too soon does not cover the whole too soon, nor any mean of it. That is nearly everybody.
        let hurries = |pair: &[Mean]| {
            way_m(&pair[0], [].iter(), &pair[1], limits) > limits.speed * (pair[1].seconds - pair[0].seconds)
        };
        if !stations.windows(2).any(hurries) {
            return None;
        }
        let updates: f64 = stations.iter().map(|station| station.count).sum();
        let usual = updates / small(stations.len() as u64);
        let mut best: Option<Excess> = None;
        for group in 1..=GROUP_MAX.min(stations.len() / 2) {
            let newest = stations.len() - group;
            let now = mean(&self.buckets[newest..], first.index, &origin);
            for (at, older) in self.buckets[..newest].windows(group).enumerate() {
                let then = mean(older, first.index, &origin);
                let between =
                    stations[at + group..newest].iter().filter(|station| station.count >= WAY_MIN.max(usual / 2.0));
                let found = compared(&then, &now, way_m(&then, between, &now, limits), limits);
                if found.is_some_and(|found| best.is_none_or(|best| found.nats > best.nats)) {
                    best = found;
                }
            }
        }
        best
    }
}

/// Metres that a player moved, as a distance that the limit for speed applies to: up counts like sideways, down counts by how
/// much faster a player may fall than run.
#[must_use]
pub fn run_m(centimetres: [f64; 3], limits: &Limits) -> f64 {
    let [x, y, up] = centimetres.map(|axis| axis / 100.0);
    let fallen = -up * limits.speed / limits.fall_speed;
    (x * x + y * y + up.max(0.0).powi(2)).sqrt().max(fallen)
}

/// The part of a lateness, in seconds, that the usual variation does not cover.
#[must_use]
pub fn unusual_s(late_s: f64, limits: &Limits) -> f64 {
    (late_s * late_s - (LATE_USUAL * limits.jitter_s).powi(2)).max(0.0).sqrt()
}

fn mean(buckets: &[Bucket], first: u64, origin: &Place) -> Mean {
    let (mut count, mut ms, mut late_ms, mut at) = (0.0, 0.0, 0.0, [0.0; 3]);
    for bucket in buckets {
        let updates = f64::from(bucket.count);
        count += updates;
        ms += updates * small((bucket.index - first) * BUCKET_MS) + small(bucket.ms);
        late_ms += small(bucket.late_ms);
        for axis in 0..3 {
            at[axis] += centimetres(bucket.at[axis] - i64::from(bucket.count) * origin[axis]);
        }
    }
    let seconds = |sum: f64| sum / count / 1_000.0;
    Mean { seconds: seconds(ms), late_s: seconds(late_ms), at: at.map(|sum| sum / count), count }
}

/// The length of the way from one mean to another, past those between them.
fn way_m<'a>(then: &Mean, between: impl Iterator<Item = &'a Mean>, now: &'a Mean, limits: &Limits) -> f64 {
    let (mut from, mut length) = (then.at, 0.0);
    for to in between.chain([now]) {
        length += run_m([0, 1, 2].map(|axis| to.at[axis] - from[axis]), limits);
        from = to.at;
    }
    length
}

fn compared(then: &Mean, now: &Mean, way: f64, limits: &Limits) -> Option<Excess> {
    let late_s = unusual_s(then.late_s, limits);
    let span_s = now.seconds - then.seconds + late_s;
    let honest_s = way / limits.speed;
    if span_s < SPAN_MIN_S || honest_s <= span_s {
        return None;
    }
    let variance = limits.jitter_s.powi(2) * (averaged(then.count) + averaged(now.count) + DRIFT.powi(2));
    // A cheat may be faster still: then its time is just the one that was measured.
    let cheat_s = (honest_s / RATIO).min(span_s);
    let nats = ((honest_s - span_s).powi(2) - (span_s - cheat_s).powi(2)) / (2.0 * variance);
    (nats > 0.0).then(|| Excess { nats: nats.min(NATS_MAX), speed: way / span_s, span_s })
}

/// The variance of a mean of `count` times, over that of one. Delays have longer tails than the normal distribution, and those of
/// few updates do not cancel out.
fn averaged(count: f64) -> f64 {
    (1.0 + (TAIL - 1.0) / count) / count
}

/// Exact: a number of milliseconds or buckets within the window.
fn small(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a sum of checked places is below 2^53")]
fn centimetres(sum: i64) -> f64 {
    sum as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of updates at 20 a second, of somebody who runs at `speed` metres per second along x.
    fn run(speed: f64, updates: u64) -> Window {
        let mut window = Window::default();
        for at in 0..updates {
            #[expect(clippy::cast_possible_truncation, reason = "a few hundred metres")]
            let x = (f64::from(u32::try_from(at).expect("small")) * 5.0 * speed).round() as i64;
            window.take(7_000_000 + at * 50, [x, 0, 0]);
        }
        window
    }

    fn nats(speed: f64) -> f64 {
        run(speed, 40).excess(&Limits::default()).map_or(0.0, |excess| excess.nats)
    }

    #[test]
    fn evidence_begins_above_the_limit_and_grows() {
        let max = Limits::default().speed;
        assert!(nats(max).abs() < f64::EPSILON);
        assert!(nats(1.05 * max).abs() < f64::EPSILON);
        assert!(nats(1.2 * max) > 10.0, "{}", nats(1.2 * max));
        assert!(nats(1.5 * max) > nats(1.2 * max));
        let excess = run(1.2 * max, 40).excess(&Limits::default()).expect("too fast");
        assert!((excess.speed - 1.2 * max).abs() < 0.1 && excess.span_s > 1.0, "{excess:?}");
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_within_the_window() {
        let updates: Vec<(u64, Place)> =
            (0..40_u64).map(|at| (7_000_000 + at * 50, [at.cast_signed() * 60, 5, 0])).collect();
        let mut turned = updates.clone();
        turned.chunks_mut(3).for_each(<[_]>::reverse);
        let window = |updates: &[(u64, Place)]| {
            let mut window = Window::default();
            updates.iter().for_each(|(t_ms, at)| window.take(*t_ms, *at));
            window.buckets.iter().map(|bucket| (bucket.index, bucket.count, bucket.ms, bucket.at)).collect::<Vec<_>>()
        };
        assert_eq!(window(&updates), window(&turned));
    }

    #[test]
    fn the_window_is_bounded_and_takes_nothing_from_before_it() {
        let mut window = run(5.0, 500);
        assert_eq!(window.buckets.len() as u64, BUCKETS_MAX);
        let before = window.buckets.clone();
        window.take(7_000_000, [0; 3]);
        assert_eq!(window.buckets, before);
    }

    #[test]
    fn falling_has_a_limit_of_its_own() {
        let limits = Limits::default();
        assert!((run_m([300.0, 400.0, 0.0], &limits) - 5.0).abs() < 1e-12);
        assert!((run_m([0.0, 0.0, 500.0], &limits) - 5.0).abs() < 1e-12);
        assert!((run_m([0.0, 0.0, -6_000.0], &limits) - limits.speed).abs() < 1e-12);
    }
}
