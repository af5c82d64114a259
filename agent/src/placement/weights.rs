//! The four terms of the score and what each counts for.

use serde::{Serialize, Serializer};

/// One figure per term of the score; as terms each is 0 (worst) to 1 (best).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// Headroom after placing.
    pub resource: f64,
    /// Nearness to the callers.
    pub latency: f64,
    /// Idleness.
    pub load: f64,
    /// Share of the affinity rules that hold.
    pub affinity: f64,
}

/// What each term counts for. Finite, not negative, and together 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights(Terms);

/// Figures that are no weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// The operator gave a weight that is negative, infinite or not a number.
    #[error("the weight `{term}` must be a finite number from 0, got {got}")]
    Term {
        /// Which one.
        term: &'static str,
        /// What was given.
        got: f64,
    },
    /// The operator gave only zeros, with which every host is as good as any other.
    #[error("at least one weight must be above 0")]
    AllZero,
}

impl Weights {
    /// Weights in these proportions; they need not sum to 1.
    ///
    /// # Errors
    /// The first weight that is negative or not finite, or that all are 0.
    pub fn new(proportions: Terms) -> Result<Self, WeightsError> {
        let Terms { resource, latency, load, affinity } = proportions;
        let named = [("resource", resource), ("latency", latency), ("load", load), ("affinity", affinity)];
        if let Some((term, got)) = named.into_iter().find(|(_, weight)| !weight.is_finite() || *weight < 0.0) {
            return Err(WeightsError::Term { term, got });
        }
        let greatest = named.into_iter().fold(0.0, |greatest, (_, weight)| f64::max(greatest, weight));
        if greatest <= 0.0 {
            return Err(WeightsError::AllZero);
        }
        // Scaled by the greatest first: the plain sum of two huge weights is infinite.
        let sum: f64 = named.into_iter().map(|(_, weight)| weight / greatest).sum();
        let share = |weight: f64| weight / greatest / sum;
        Ok(Self(Terms {
            resource: share(resource),
            latency: share(latency),
            load: share(load),
            affinity: share(affinity),
        }))
    }

    /// The weights, which sum to 1.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.0
    }

    /// The weighted sum of `terms`, 0 to 1.
    #[must_use]
    pub fn score(&self, terms: &Terms) -> f64 {
        let Self(weights) = self;
        let sum = weights.resource * terms.resource
            + weights.latency * terms.latency
            + weights.load * terms.load
            + weights.affinity * terms.affinity;
        sum.clamp(0.0, 1.0)
    }
}

impl Default for Weights {
    /// 0.3 resource, 0.4 latency, 0.2 load, 0.1 affinity: being near is what an edge host is for.
    fn default() -> Self {
        Self(Terms { resource: 0.3, latency: 0.4, load: 0.2, affinity: 0.1 })
    }
}

impl Serialize for Weights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
