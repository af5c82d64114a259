//! How throughput grows with load: the Universal Scalability Law, fitted to the stages.
//!
//! Owns the fit; pure. N. J. Gunther, "Guerrilla Capacity Planning" (2007), chapters 4 to 6: throughput at N calls in flight is
//! `X(N) = λN / (1 + σ(N−1) + κN(N−1))`, where λ is what one at a time gets done, σ the share that is done one after the other
//! (contention), and κ what calls cost each other (coherency). Divided, `N/X(N)` is linear in 1, N−1 and N(N−1), so least squares
//! have one answer; errors count relative to N/X, and no coefficient is negative. The invariant: a fit is finite, or there is none.

use serde::Serialize;

/// Fewest stages that a fit is made of: it has three unknowns.
const POINTS_MIN: usize = 3;
/// Below so many calls in flight calls hardly meet, and such stages say nothing of how they get on.
const IN_FLIGHT_MIN: f64 = 1.0;
/// A pivot this small against its column is no pivot: the stages are too alike to tell the unknowns apart.
const PIVOT_MIN: f64 = 1e-9;

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Usl {
    /// λ: calls a second that would be answered one at a time.
    pub(super) lambda: f64,
    /// σ: contention.
    pub(super) sigma: f64,
    /// κ: coherency.
    pub(super) kappa: f64,
    /// Most calls a second that the law sees: at its peak, or what it tends to; `None` where it sees no end.
    pub(super) ceiling: Option<f64>,
}

/// Fits the law to (calls in flight, calls answered a second); `None` when there are too few stages under load.
pub(super) fn fit(points: &[(f64, f64)]) -> Option<Usl> {
    let sound = |(n, x): &&(f64, f64)| *n >= IN_FLIGHT_MIN && n.is_finite() && *x > 0.0;
    let points: Vec<(f64, f64)> = points.iter().filter(sound).copied().collect();
    if points.len() < POINTS_MIN {
        return None;
    }
    // Where the best fit has a negative coefficient, the best without one lies on an edge: one or both of σ and κ are zero.
    let subsets: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[0]];
    let fits = subsets.iter().filter_map(|columns| least_squares(&points, columns));
    let best = fits.min_by(|(_, one), (_, other)| one.total_cmp(other))?.0;
    let [a, b, c] = best;
    let (lambda, sigma, kappa) = (1.0 / a, b / a, c / a);
    let ceiling = if kappa > 0.0 {
        let peak = ((1.0 - sigma).max(0.0) / kappa).sqrt().max(1.0);
        Some(lambda * peak / (1.0 + sigma * (peak - 1.0) + kappa * peak * (peak - 1.0)))
    } else {
        (sigma > 0.0).then(|| lambda / sigma)
    };
    let usl = Usl { lambda, sigma, kappa, ceiling };
    [lambda, sigma, kappa].iter().all(|value| value.is_finite()).then_some(usl)
}

/// The coefficients of `columns` that fit best, the others zero, and the sum of squared relative errors; `None` when one of them
/// would be negative or cannot be told.
fn least_squares(points: &[(f64, f64)], columns: &[usize]) -> Option<([f64; 3], f64)> {
    let row = |n: f64| [1.0, n - 1.0, n * (n - 1.0)];
    // The normal equations, each point weighed by 1/y²: its row and its right side divided by y = N/X.
    let mut system = vec![vec![0.0; columns.len() + 1]; columns.len()];
    for &(n, x) in points {
        let y = n / x;
        let scaled: Vec<f64> = columns.iter().map(|&column| row(n)[column] / y).collect();
        for (line, left) in system.iter_mut().zip(&scaled) {
            for (cell, right) in line.iter_mut().zip(scaled.iter().chain(&[1.0])) {
                *cell += left * right;
            }
        }
    }
    let solved = solve(system)?;
    let mut coefficients = [0.0; 3];
    columns.iter().zip(&solved).for_each(|(&column, value)| coefficients[column] = *value);
    if coefficients[0] <= 0.0 || coefficients.iter().any(|value| *value < 0.0) {
        return None;
    }
    let error = |&(n, x): &(f64, f64)| {
        let fitted: f64 = row(n).iter().zip(&coefficients).map(|(left, right)| left * right).sum();
        (fitted * x / n - 1.0).powi(2)
    };
    Some((coefficients, points.iter().map(error).sum()))
}

/// Solves a small system of linear equations, the right side in the last column, by elimination with pivots.
fn solve(mut system: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = system.len();
    for column in 0..size {
        let scale = system.iter().map(|line| line[column].abs()).fold(0.0, f64::max);
        let pivot =
            (column..size).max_by(|&one, &other| system[one][column].abs().total_cmp(&system[other][column].abs()))?;
        if system[pivot][column].abs() <= scale * PIVOT_MIN || scale == 0.0 {
            return None;
        }
        system.swap(column, pivot);
        let lead = system[column].clone();
        for (index, line) in system.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            debug_assert!(index < size);
            let factor = line[column] / lead[column];
            line.iter_mut().zip(&lead).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    Some(system.iter().enumerate().map(|(index, line)| line[size] / line[index]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(lambda: f64, sigma: f64, kappa: f64) -> impl Fn(f64) -> (f64, f64) {
        move |n| (n, lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)))
    }

    #[test]
    fn a_law_is_found_again_in_what_it_predicts() {
        for (lambda, sigma, kappa) in [(1_000.0, 0.05, 0.002), (995.0, 0.0, 0.0), (400.0, 0.3, 0.0), (50.0, 0.0, 0.01)]
        {
            let points: Vec<_> = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].into_iter().map(law(lambda, sigma, kappa)).collect();
            let found = fit(&points).expect("a fit");
            let near = |found: f64, wanted: f64| {
                assert!((found - wanted).abs() <= 1e-6 * lambda.max(1.0), "{found}, not {wanted}");
            };
            near(found.lambda, lambda);
            near(found.sigma, sigma);
            near(found.kappa, kappa);
        }
    }

    #[test]
    fn the_ceiling_is_the_peak_or_what_is_tended_to() {
        let ceiling = |points: Vec<(f64, f64)>| fit(&points).expect("a fit").ceiling;
        let points = |law: &dyn Fn(f64) -> (f64, f64)| [1.0, 3.0, 9.0, 27.0].into_iter().map(law).collect::<Vec<_>>();
        // The peak is at the square root of (1 − σ)/κ, here 7.
        let peak = ceiling(points(&law(100.0, 0.02, 0.02))).expect("a peak");
        assert!((peak - law(100.0, 0.02, 0.02)(7.0).1).abs() < 0.1, "{peak}");
        let tended = ceiling(points(&law(100.0, 0.5, 0.0))).expect("a limit");
        assert!((tended - 200.0).abs() < 0.1, "{tended}");
    }

    #[test]
    fn noise_makes_no_coefficient_negative_and_too_little_load_no_law() {
        // Better than linear, as when caches warm up.
        let fitted = fit(&[(1.0, 90.0), (2.0, 200.0), (4.0, 420.0), (8.0, 800.0)]).expect("a fit");
        assert!(fitted.sigma >= 0.0 && fitted.kappa >= 0.0, "{fitted:?}");
        assert_eq!(fit(&[(0.1, 90.0), (0.2, 180.0), (0.4, 360.0), (1.5, 1_000.0)]), None);
        assert_eq!(fit(&[(2.0, 10.0); 8]).map(|law| (law.sigma, law.kappa)), Some((0.0, 0.0)), "all alike");
        assert_eq!(fit(&[]), None);
    }
}
