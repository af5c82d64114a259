use super::*;

/// Seconds for which too many may serve: that in which somebody is back, and that in which the surplus sees it.
const SURPLUS_S_MAX: u64 = 2;

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

#[test]
fn loads_that_go_up_and_down_move_nothing() {
    for hosts in [2, 5, 16] {
        let noisy = Life { oscillation: 0.05, ..Life::calm(hosts) };
        let lived = live(&noisy);
        assert_eq!((lived.moves, lived.wrong_at_end), (0, if hosts == 2 { 1 } else { 0 }), "{hosts} hosts: {lived:?}");
        let hasty = live(&Life { threshold: 0.0, dwell_ms: 0, ..noisy });
        assert!(hasty.moves > 100, "without hysteresis it moves: {hasty:?}");
    }
}

#[test]
fn what_is_lost_is_started_elsewhere_and_what_comes_back_leaves_no_surplus() {
    let lived = live(&Life { churn_s: Some(45), oscillation: 0.05, seconds: 1_800, ..Life::calm(16) });
    // Noticed, started, and two ticks of the model for the word to get around.
    assert!(lived.longest_gap_s <= 8 && lived.wrong_at_end == 0, "{lived:?}");
    assert!(lived.longest_surplus_s <= SURPLUS_S_MAX, "{lived:?}");
}

#[test]
fn both_sides_of_a_cut_go_on_and_agree_again_after_it() {
    let lived = live(&Life { partition: true, seconds: 600, ..Life::calm(16) });
    assert!(lived.longest_gap_s == 0 && lived.wrong_at_end == 0, "{lived:?}");
    assert!(lived.longest_surplus_s <= SURPLUS_S_MAX, "{lived:?}");
}
