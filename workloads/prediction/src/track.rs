//! A track made clean: in order, one position per moment, without what came before a teleport or a long silence.
//!
//! Owns what counts as a duplicate, an outlier, a teleport and a gap; estimates nothing. The invariant: times rise
//! strictly, and the last moment of the input is the last moment of the result.

/// Samples before a silence of this length say nothing about the movement after it, in milliseconds.
const GAP_MS: u64 = 2_000;
/// No step below this speed is taken for a jump, in metres per second: faster than anyone runs.
const RUNNING_SPEED: f64 = 15.0;
/// A step is a jump above this multiple of the track's median speed, so that vehicles are not cut to pieces.
const JUMP_FACTOR: f64 = 5.0;
/// Room for the noise of a position, in metres: a step this short is never a jump, however soon it came.
const JITTER_M: f64 = 1.0;

/// A position at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds, of any epoch.
    pub t_ms: u64,
    /// Metres; finite.
    pub at: [f64; 3],
}

/// The part of a track that tells of the present movement.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// At least one, times rising strictly.
    pub samples: Vec<Sample>,
    /// Whether the player jumped: what came before is gone.
    pub teleported: bool,
}

impl Track {
    /// Cleans `samples`, which are not empty and finite.
    #[must_use]
    pub fn clean(samples: &[Sample]) -> Self {
        let mut samples = merged(samples);
        let limit = (JUMP_FACTOR * median_speed(&samples)).max(RUNNING_SPEED);
        let jump = |from: &Sample, to: &Sample| distance(from, to) > JITTER_M + limit * seconds(from, to);

        // Backwards from the present: an older sample is kept as long as the movement since is plausible.
        let mut kept = vec![samples.pop().expect("a track has a sample")];
        let mut teleported = false;
        while let Some(older) = samples.pop() {
            let newer = kept[kept.len() - 1];
            if newer.t_ms - older.t_ms > GAP_MS {
                break;
            }
            if jump(&older, &newer) {
                // One wild sample between two that agree is noise. Otherwise the player is elsewhere now.
                if samples.last().is_some_and(|before| newer.t_ms - before.t_ms <= GAP_MS && !jump(before, &newer)) {
                    continue;
                }
                teleported = true;
                break;
            }
            kept.push(older);
        }
        kept.reverse();
        Self { samples: kept, teleported }
    }
}

/// Seconds from one sample to a later one.
#[must_use]
pub fn seconds(from: &Sample, to: &Sample) -> f64 {
    millis_f64(to.t_ms.saturating_sub(from.t_ms)) / 1_000.0
}

/// Exact up to 49 days, and that is far above [`GAP_MS`].
fn millis_f64(millis: u64) -> f64 {
    f64::from(u32::try_from(millis).unwrap_or(u32::MAX))
}

/// In order of time; several positions at one moment become their mean, so the order of the input does not matter.
fn merged(samples: &[Sample]) -> Vec<Sample> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| {
        let by_place = a.at.iter().zip(&b.at).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        a.t_ms.cmp(&b.t_ms).then(by_place.unwrap_or(std::cmp::Ordering::Equal))
    });
    // A message that arrived twice is one observation, not two.
    sorted.dedup();
    sorted.chunk_by(|a, b| a.t_ms == b.t_ms).map(mean).collect()
}

fn mean(same_moment: &[Sample]) -> Sample {
    let share = 1.0 / f64::from(u32::try_from(same_moment.len()).unwrap_or(u32::MAX));
    let axis = |i: usize| same_moment.iter().map(|sample| sample.at[i] * share).sum();
    Sample { t_ms: same_moment[0].t_ms, at: [axis(0), axis(1), axis(2)] }
}

/// The lower median: of two wild steps among four, neither may set the measure.
fn median_speed(samples: &[Sample]) -> f64 {
    let mut speeds: Vec<f64> = samples.windows(2).map(|w| distance(&w[0], &w[1]) / seconds(&w[0], &w[1])).collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

fn distance(a: &Sample, b: &Sample) -> f64 {
    a.at.iter().zip(&b.at).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(points: &[(u64, f64)]) -> Vec<Sample> {
        points.iter().map(|(t_ms, x)| Sample { t_ms: *t_ms, at: [*x, 0.0, 0.0] }).collect()
    }

    fn times(track: &Track) -> Vec<u64> {
        track.samples.iter().map(|sample| sample.t_ms).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let tidy = run(&[(0, 0.0), (50, 0.2), (100, 0.4)]);
        let untidy = run(&[(100, 0.4), (0, 0.0), (50, 0.2), (0, 0.0), (100, 0.4)]);
        assert_eq!(Track::clean(&tidy), Track::clean(&untidy));
    }

    #[test]
    fn two_places_at_one_moment_become_their_mean() {
        let track = Track::clean(&run(&[(0, 0.0), (50, 0.4), (50, 0.2)]));
        assert_eq!(track.samples[1].t_ms, 50);
        assert!((track.samples[1].at[0] - 0.3).abs() < 1e-12);
    }

    #[test]
    fn a_wild_sample_is_dropped_and_a_teleport_cuts() {
        let wild = Track::clean(&run(&[(0, 0.0), (50, 0.2), (100, 90.0), (150, 0.6), (200, 0.8)]));
        assert_eq!((times(&wild), wild.teleported), (vec![0, 50, 150, 200], false));
        let moved = Track::clean(&run(&[(0, 0.0), (50, 0.2), (100, 0.4), (150, 90.6), (200, 90.8)]));
        assert_eq!((times(&moved), moved.teleported), (vec![150, 200], true));
    }

    #[test]
    fn a_long_silence_cuts_and_a_fast_vehicle_does_not() {
        let silent = Track::clean(&run(&[(0, 0.0), (50, 0.2), (3_000, 5.0), (3_050, 5.2)]));
        assert_eq!((times(&silent), silent.teleported), (vec![3_000, 3_050], false));
        let fast = Track::clean(&run(&[(0, 0.0), (50, 10.0), (100, 20.0), (150, 31.0)]));
        assert_eq!((times(&fast), fast.teleported), (vec![0, 50, 100, 150], false));
    }

    #[test]
    fn extreme_times_and_places_are_survived() {
        let track = Track::clean(&run(&[(0, f64::MAX), (u64::MAX, f64::MIN), (u64::MAX, f64::MAX)]));
        assert_eq!(times(&track), vec![u64::MAX]);
        assert!(track.samples[0].at[0].is_finite());
    }
}
