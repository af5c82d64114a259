//! What a run is made of: how many nodes, which limits, how bad the network, the disks and the clocks are.
//!
//! Owns knobs only. Limits are small, so that paging, forgetting and repair happen within seconds of virtual time.

use super::rng::Rng;
use super::workload::FEW;
use crate::limits::RETIRE_AFTER_MS;
use crate::replica::Config;

/// How long the storm is at least, where forks are staged, in milliseconds.
const STAGED_STORM_MS: u64 = 10_000;

/// The mean time between two faults there is at least this, in milliseconds.
const STAGED_FAULT_MS: u64 = 500;

/// Of a thousand drawn scenarios, in how many commits go by the broadcast tree.
const TREE_PERMILLE: u64 = 400;

/// The knobs of one run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them join late, with nothing on their disks.
    pub joiners: usize,
    /// How long clients write and faults happen, in milliseconds.
    pub storm_ms: u64,
    /// The limits of every replica.
    pub config: Config,
    /// Messages lost, of a thousand.
    pub loss_permille: u64,
    /// Messages delivered twice, of a thousand.
    pub duplicate_permille: u64,
    /// The longest ordinary delay of a message, in milliseconds.
    pub delay_ms: u64,
    /// Of a thousand directions between two nodes, how many are slow by seconds: what goes round is faster there.
    pub slow_permille: u64,
    /// The longest time that the disk takes for a group of writes, in milliseconds.
    pub disk_ms: u64,
    /// How far a clock may be off at the beginning, in milliseconds.
    pub skew_ms: u64,
    /// The mean time between two faults, in milliseconds; 0 for none.
    pub fault_ms: u64,
    /// The mean time between two requests of clients, in milliseconds.
    pub client_ms: u64,
    /// Names per type of key: few make hot keys.
    pub names: u64,
    /// From how many members those of sets are drawn: many make large sets.
    pub members: u64,
    /// Whether clocks jump by hours. What was stamped then is waited for at the end.
    pub far_clocks: bool,
    /// Whether data directories are copied and the copies started.
    pub copies: bool,
    /// Whether a restored snapshot of a whole machine takes writes before it meets a peer.
    pub forks: bool,
    /// Whether one is prepared again and again, so that it happens in most runs.
    pub stages_forks: bool,
    /// Whether a member gives one name to two commits.
    pub equivocates: bool,
    /// The longest that a member stays away after the others have dropped it, in milliseconds.
    pub away_ms: u64,
    /// Whether the last lines of the trace are kept as text for whoever reads a failure.
    pub narrate: bool,
}

impl Scenario {
    /// A scenario drawn from `seed`: mostly small and rough.
    #[must_use]
    pub fn drawn_from(seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(31));
        let nodes = 2 + rng.index(5);
        let large_sets = rng.chance(40);
        // Many keys, little log and slow directions: repairs of many pages, with removals that overtake their adds meanwhile.
        let wide = !large_sets && rng.chance(150);
        let small = wide || (!large_sets && rng.chance(700));
        let copies = rng.chance(200);
        // Two hosts that share a key would close each other's streams, one life after the other.
        // Nor are they retired where logs are short: whoever is repaired from a member that was away too long, before it hears of
        // that, shows commits beyond the end of a stream, which nobody will ever make whole.
        let retires = !copies && !small && rng.chance(700);
        let config = Config {
            page_bytes: if small { 200 + rng.index(2000) } else { 1 << 20 },
            log_bytes: if small { 1500 + rng.index(if wide { 2_000 } else { 20_000 }) } else { 1 << 20 },
            log_commits_kept: if small { rng.index(8) } else { 256 },
            checkpoint_bytes: if small { 500 + rng.between(0, 20_000) } else { 1 << 20 },
            checkpoint_ms: rng.between(300, 5_000),
            retire_after_ms: if retires { rng.between(500, 3_000) } else { RETIRE_AFTER_MS },
            ..Config::default()
        };
        let mut drawn = Self {
            nodes,
            joiners: if nodes > 2 { rng.index(2) } else { 0 },
            storm_ms: rng.between(4_000, 12_000),
            config,
            loss_permille: if rng.chance(300) { 0 } else { rng.between(0, 200) },
            duplicate_permille: rng.between(0, 100),
            delay_ms: rng.between(2, 150),
            slow_permille: if wide { 350 } else { 0 },
            // Now and then a disk so slow that whole repairs pass while it writes.
            disk_ms: if rng.chance(150) { 1_500 } else { rng.between(1, 120) },
            skew_ms: rng.between(0, 200),
            fault_ms: if rng.chance(100) { 0 } else { rng.between(150, 1_500) },
            client_ms: rng.between(10, 120),
            names: if wide { rng.between(30, 200) } else { rng.between(1, 6) },
            members: if large_sets { rng.between(500, 3_000) } else { FEW },
            far_clocks: rng.chance(250),
            copies,
            forks: rng.chance(500) && !copies,
            stages_forks: rng.chance(100) && !copies,
            equivocates: false,
            away_ms: 6_000,
            narrate: false,
        };
        if rng.chance(TREE_PERMILLE) {
            // So few are pushed to straight that commits go by the tree among a handful.
            drawn.config.straight_members_max = 1 + rng.index(3);
            drawn.config.broadcast_seed = rng.draw();
        }
        drawn
    }

    /// A scenario drawn from `seed` in which snapshots come back and are written to, in most runs more than once.
    #[must_use]
    pub fn with_forks_from(seed: u64) -> Self {
        let drawn = Self::drawn_from(seed);
        // Long enough for a copy, for what its original writes on, and for what becomes of both; and calm enough that everybody
        // comes to know that.
        let storm_ms = drawn.storm_ms.max(STAGED_STORM_MS);
        let fault_ms = if drawn.fault_ms == 0 { 0 } else { drawn.fault_ms.max(STAGED_FAULT_MS) };
        Self { joiners: 0, storm_ms, fault_ms, copies: false, forks: true, stages_forks: true, ..drawn }
    }

    /// A scenario drawn from `seed` in which a member tells its stream in two versions.
    #[must_use]
    pub fn with_equivocation_from(seed: u64) -> Self {
        let drawn = Self::drawn_from(seed);
        // Nobody closes the stream of a member that nobody counts as one.
        let config = Config { retire_after_ms: RETIRE_AFTER_MS, ..drawn.config };
        Self { config, copies: false, forks: false, stages_forks: false, equivocates: true, ..drawn }
    }

    /// Whether members that stay away are retired within the run.
    #[must_use]
    pub(super) const fn retires(&self) -> bool {
        self.config.retire_after_ms < RETIRE_AFTER_MS
    }

    /// `nodes` of them under mild conditions: for questions of scale.
    #[must_use]
    pub fn mild(nodes: usize) -> Self {
        Self {
            nodes,
            joiners: 0,
            storm_ms: 2_000,
            config: Config::default(),
            loss_permille: 5,
            duplicate_permille: 5,
            delay_ms: 40,
            slow_permille: 0,
            disk_ms: 10,
            skew_ms: 50,
            fault_ms: 0,
            client_ms: 20,
            names: 4,
            members: FEW,
            far_clocks: false,
            copies: false,
            forks: false,
            stages_forks: false,
            equivocates: false,
            away_ms: 6_000,
            narrate: false,
        }
    }
}
