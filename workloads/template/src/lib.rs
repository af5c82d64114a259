//! my-workload: keeps the score of each player, on all hosts together.

use selvedge_sdk::state::Gcounter;
use selvedge_sdk::{Fault, must};

selvedge_sdk::workload!(Workload in "local:workload/workload");

/// Nobody earns more at once.
const POINTS_MAX: u32 = 1_000;

impl Guest for Workload {
    fn score(player: u64, points: u32) -> u64 {
        if points > POINTS_MAX {
            Fault::new("points", format!("must be at most {POINTS_MAX}")).raise();
        }
        let score = must(Gcounter::new(&format!("score:{player}")));
        must(score.increment(u64::from(points)));
        score.value()
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sdk::{CallError, TestHost};

    use super::*;

    #[test]
    fn points_add_up() {
        let mut host = TestHost::new();
        assert_eq!(host.call(|| Workload::score(7, 10)), Ok(10));
        assert_eq!(host.call(|| Workload::score(7, 5)), Ok(15));
        assert_eq!(host.gcounter("score:7"), Some(15));
    }

    #[test]
    fn too_many_points_change_nothing() {
        let mut host = TestHost::new();
        let refused = host.call(|| Workload::score(7, 1_001));
        assert!(matches!(refused, Err(CallError::Fault(fault)) if fault.field == "points"));
        assert_eq!(host.gcounter("score:7"), None);
    }
}
