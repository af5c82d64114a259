//! A smaller scenario that fails as well: what can be switched off without losing the failure is switched off.

use super::{Failure, Scenario, run};

/// Simplifies `scenario` for as long as `seed` fails with it, and returns the simplest with its failure; `None` when it does
/// not fail at all.
#[must_use]
pub fn minimise(seed: u64, scenario: &Scenario) -> Option<(Scenario, Box<Failure>)> {
    const STEPS: [fn(&mut Scenario); 16] = [
        |scenario| scenario.fault_ms = 0,
        |scenario| scenario.nodes = (scenario.nodes - 1).max(2),
        |scenario| scenario.nodes = (scenario.nodes - 1).max(2),
        |scenario| scenario.joiners = 0,
        |scenario| scenario.loss_permille = 0,
        |scenario| scenario.duplicate_permille = 0,
        |scenario| scenario.delay_ms = 5,
        |scenario| scenario.disk_ms = scenario.disk_ms.min(10),
        |scenario| scenario.skew_ms = 0,
        |scenario| scenario.far_clocks = false,
        |scenario| scenario.copies = false,
        |scenario| scenario.stages_forks = false,
        |scenario| scenario.forks = false,
        |scenario| scenario.config.retire_after_ms = crate::limits::RETIRE_AFTER_MS,
        |scenario| scenario.slow_permille = 0,
        |scenario| scenario.storm_ms /= 2,
    ];
    let mut failure = run(seed, scenario).err()?;
    let mut least = scenario.clone();
    for step in STEPS {
        let mut simpler = least.clone();
        step(&mut simpler);
        simpler.joiners = simpler.joiners.min(simpler.nodes - 2);
        if let Err(failed) = run(seed, &simpler) {
            (least, failure) = (simpler, failed);
        }
    }
    Some((least, failure))
}
