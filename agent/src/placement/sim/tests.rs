use super::*;

const HERD: Herd =
    Herd { hosts: 16, per_round: 25, rounds: 4, first: First::Ordinary, uneven: 0.0, chooser: Chooser::Plan, seed: 1 };

#[test]
fn agents_that_place_at_once_by_old_figures_do_not_herd() {
    for seed in 1..=2 {
        for (rounds, uneven) in [(1, 0.0), (4, 0.0), (4, 0.4)] {
            let ours = herd(&Herd { seed, rounds, uneven, ..HERD });
            assert!(ours.max_to_mean <= 1.25, "{rounds} rounds, uneven {uneven}, seed {seed}: {ours:?}");
        }
        let greedy = herd(&Herd { seed, chooser: Chooser::Best, ..HERD });
        assert!(greedy.max_to_mean >= 3.0, "the others herd: {greedy:?}");
    }
}

#[test]
fn who_claims_infinite_headroom_gets_no_more_than_the_best_of_the_honest() {
    for seed in 1..=2 {
        for hosts in [6, 16] {
            let with = |first| herd(&Herd { seed, hosts, first, rounds: 8, per_round: 12, ..HERD });
            let (liar, best) = (with(First::Liar), with(First::Best));
            assert!(liar.first <= best.first, "{hosts} hosts, seed {seed}: {liar:?}, {best:?}");
            assert!(liar.first * 20 <= liar.most_of_others * 21, "{hosts} hosts, seed {seed}: {liar:?}");
        }
    }
}

/// What a life that holds everything that must hold has come to.
fn sound(life: &Life) -> Lived {
    let lived = live(life);
    if let Some(fault) = lived.fault {
        panic!("{fault}; of {life:?}");
    }
    assert_eq!(lived.wrong_at_end, 0, "{life:?}: {lived:?}");
    lived
}

/// Some minutes of a small mesh; `cargo run --release --manifest-path tests/bench/Cargo.toml -- life` lives longer in larger ones.
fn calm(hosts: usize, seed: u64) -> Life {
    Life { oscillation: 0.05, workloads: 7, seconds: 450, seed, ..Life::calm(hosts) }
}

#[test]
fn loads_that_go_up_and_down_move_nothing() {
    for hosts in [2, 5, 16] {
        let noisy = calm(hosts, 1);
        assert_eq!(sound(&noisy).moves, 0, "{hosts} hosts");
        let hasty = live(&Life { threshold: 0.0, dwell_ms: 0, ..noisy });
        assert!(hasty.moves > 10, "without hysteresis it moves: {hasty:?}");
    }
}

#[test]
fn figures_of_different_age_and_liars_move_nothing_either() {
    for seed in 1..=2 {
        assert_eq!(sound(&Life { views: 4, stale_s: 20, liars: 1, ..calm(16, seed) }).moves, 0);
    }
}

#[test]
fn what_is_lost_is_started_elsewhere_and_what_comes_back_leaves_no_surplus() {
    sound(&Life { churn_s: Some(30), ..calm(16, 1) });
    sound(&Life { churn_s: Some(45), liars: 1, ..calm(16, 2) });
}

#[test]
fn each_side_of_a_cut_keeps_to_its_policy_and_they_agree_again_after_it() {
    sound(&Life { partition: true, ..calm(16, 1) });
    sound(&Life { partition: true, liars: 1, ..calm(16, 2) });
}
