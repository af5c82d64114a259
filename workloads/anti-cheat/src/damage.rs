//! Who hurts more than any action can.
//!
//! Owns the evidence from one action's damage. The invariant: up to the limit there is none, above it there is enough.
//!
//! There is no noise in a number that the server computed; what may be wrong is the limit. Damage a little above it is
//! therefore less sure than damage far above.

use crate::speed::NATS_MAX;

/// The evidence of one point too many, in nats: with the usual prior just enough to name the rule.
const NATS_MIN: f64 = 10.0;

/// The evidence that `damage` is impossible where `max` is allowed; `None` if it is possible.
#[must_use]
pub fn nats(damage: u32, max: u32) -> Option<f64> {
    let times = f64::from(damage) / f64::from(max.max(1));
    (damage > max).then(|| (NATS_MIN * times).min(NATS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_surer() {
        assert_eq!(nats(200, 200), None);
        assert!(nats(201, 200).is_some_and(|nats| nats >= NATS_MIN));
        assert!(nats(900, 200) > nats(300, 200));
        assert_eq!(nats(u32::MAX, 0), Some(NATS_MAX));
    }
}
