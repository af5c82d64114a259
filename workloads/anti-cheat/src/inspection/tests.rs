//! Players who are honest on bad lines, and players who are not.

use super::*;

const START_MS: u64 = 1_700_000_000_000;

/// Repeatable numbers, evenly from 0 to 1.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from(word >> 32).expect("32 bits")) / f64::from(u32::MAX)
    }
}

fn seen(ms: u64, x: f64) -> Observation<'static> {
    Observation { player: 7, t_ms: START_MS + ms, at: [x, 0.0, 0.0], action: None }
}

fn did(ms: u64, x: f64, kind: &'static str, damage: u32) -> Observation<'static> {
    Observation { action: Some(Action { kind, damage }), ..seen(ms, x) }
}

fn nobody() -> Inspection {
    Inspection::new(Track::default(), 0)
}

fn judge(player: &mut Inspection, seen: &Observation) -> Verdict {
    let may_jump = seen.action.is_some_and(|action| action.kind == "respawn");
    player.see(seen, &Limits::default(), 200, may_jump)
}

/// Updates at 20 a second for ten seconds of somebody whose speed depends on the time in seconds, delayed by up to
/// `jitter_ms`, one in fifty lost, in the order of arrival.
fn run(speed: impl Fn(f64) -> f64, jitter_ms: f64, chance: &mut Chance) -> Vec<Observation<'static>> {
    let (mut x, mut updates) = (0.0, Vec::new());
    for step in 0..200_u32 {
        let at_s = f64::from(step) * 0.05;
        x += 0.05 * speed(at_s);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a second")]
        let delay = (chance.next() * jitter_ms) as u64;
        if chance.next() >= 0.02 {
            updates.push(seen(u64::from(step) * 50 + delay, x));
        }
    }
    updates.sort_by_key(|seen| seen.t_ms);
    updates
}

#[test]
fn who_runs_at_the_limit_on_a_line_that_jitters_is_not_named() {
    let max = Limits::default().speed;
    for seed in 0..100 {
        let mut player = nobody();
        for seen in run(|_| max, 200.0, &mut Chance(seed)) {
            let verdict = judge(&mut player, &seen);
            assert_eq!(verdict.rule, Rule::None, "seed {seed}: {verdict:?}");
        }
    }
}

#[test]
fn a_fifth_more_than_the_limit_is_seen_within_two_seconds() {
    let max = Limits::default().speed;
    for jitter_ms in [0.0, 100.0, 200.0] {
        for seed in 0..100 {
            let mut player = nobody();
            let updates = run(|at_s| if at_s < 3.0 { 0.6 * max } else { 1.2 * max }, jitter_ms, &mut Chance(seed));
            let caught = updates.iter().find(|seen| judge(&mut player, seen).rule == Rule::Speed).expect("is caught");
            let after_ms = caught.t_ms.saturating_sub(START_MS + 3_000);
            assert!((500..=2_000).contains(&after_ms), "jitter {jitter_ms}, seed {seed}: after {after_ms} ms");
        }
    }
}

#[test]
fn a_line_that_stalls_and_catches_up_is_no_evidence() {
    let max = Limits::default().speed;
    for stall_ms in [200, 500, 800] {
        let mut player = nobody();
        for step in 0..200_u64 {
            let at_ms = if (100..100 + stall_ms / 50).contains(&step) { 5_000 + stall_ms } else { step * 50 };
            let x = 0.9 * max * f64::from(u32::try_from(step).expect("small")) * 0.05;
            let verdict = judge(&mut player, &seen(at_ms, x));
            assert_eq!(verdict.rule, Rule::None, "stall of {stall_ms} ms: {verdict:?}");
        }
    }
}

#[test]
fn a_jump_is_named_once_and_late_updates_are_none() {
    let mut player = nobody();
    for step in 0..20 {
        assert_eq!(judge(&mut player, &seen(step * 50, 0.2)).rule, Rule::None);
    }
    let verdict = judge(&mut player, &seen(1_000, 60.0));
    assert_eq!(verdict.rule, Rule::Teleport);
    assert!(verdict.certainty > 0.99 && verdict.evidence.starts_with("59.8 m in 0.05 s"), "{verdict:?}");
    assert_eq!(judge(&mut player, &seen(1_010, 0.2)).rule, Rule::None, "it was under way");
    for step in 1..100 {
        assert_eq!(judge(&mut player, &seen(1_000 + step * 50, 60.0)).rule, Rule::None);
    }
}

#[test]
fn one_wrong_update_is_not_two_jumps() {
    let mut player = nobody();
    let rules: Vec<_> = (0..40)
        .map(|step| judge(&mut player, &seen(step * 50, if step == 20 { 90.0 } else { 0.0 })).rule)
        .filter(|rule| *rule != Rule::None)
        .collect();
    assert_eq!(rules, [Rule::Teleport]);
}

#[test]
fn a_respawn_may_be_anywhere_and_lost_updates_leave_room() {
    let mut player = nobody();
    let x = Limits::default().speed;
    for update in
        [seen(0, 0.0), seen(50, 0.3), did(100, 500.0, "respawn", 0), seen(150, 500.3), seen(2_150, 500.3 + 2.0 * x)]
    {
        assert_eq!(judge(&mut player, &update).rule, Rule::None);
    }
}

#[test]
fn small_jumps_use_up_the_budget_and_time_restores_it() {
    let named = |pause_ms| {
        let mut player = nobody();
        let mut count = 0;
        for hop in 0..6_u32 {
            let (ms, x) = (u64::from(hop) * pause_ms, f64::from(hop) * 7.5);
            for update in [seen(ms, x), seen(ms + pause_ms - 50, x)] {
                count += u32::from(judge(&mut player, &update).rule == Rule::Teleport);
            }
        }
        count
    };
    assert!(named(2_000) >= 4, "{}", named(2_000));
    assert_eq!(named(25_000), 0);
}

#[test]
fn too_many_actions_and_too_much_damage_are_named() {
    let mut player = nobody();
    for step in 0..100 {
        assert_eq!(judge(&mut player, &did(step * 100, 0.0, "shoot", 25)).rule, Rule::None);
    }
    let named = (0..60)
        .map(|step| judge(&mut player, &did(10_000 + step * 20, 0.0, "shoot", 25)))
        .find(|v| v.rule == Rule::Rate);
    assert!(named.is_some_and(|verdict| verdict.evidence.contains("10.0 a second are allowed")));
    let verdict = judge(&mut nobody(), &did(0, 0.0, "shoot", 9_000));
    assert_eq!((verdict.rule, &*verdict.evidence), (Rule::Damage, "damage 9000 by shoot; 200 are allowed"));
    assert!(verdict.certainty > 0.99);
}

#[test]
fn any_host_goes_on_where_another_left_off() {
    let max = Limits::default().speed;
    let updates = run(|at_s| if at_s < 3.0 { max } else { 1.3 * max }, 100.0, &mut Chance(1));
    let (mut stays, mut moves) = (nobody(), nobody());
    for update in &updates {
        let (here, there) = (judge(&mut stays, update), judge(&mut moves, update));
        assert_eq!((here.rule, here.suspicion), (there.rule, there.suspicion));
        assert!((here.certainty - there.certainty).abs() < 0.01);
        let packed = moves.track.pack();
        moves = Inspection::new(Track::unpack(&packed).expect("its own bytes"), moves.suspicion());
    }
    assert!(stays.suspicion() >= 10);
}

#[test]
fn suspicion_grows_by_the_second_and_is_forgiven_with_time() {
    let mut player = nobody();
    for step in 0..100 {
        judge(&mut player, &did(step * 20, 0.0, "shoot", 9_000));
    }
    assert_eq!(player.suspicion(), 20, "two seconds of it");
    for second in 2..=62 {
        judge(&mut player, &seen(second * 1_000, 0.0));
    }
    assert!((9..=11).contains(&player.suspicion()), "{}", player.suspicion());
    assert_eq!(judge(&mut Inspection::new(Track::default(), -5), &seen(0, 0.0)).suspicion, 0);
}

#[test]
fn who_is_suspected_is_caught_sooner_and_nobody_for_that_alone() {
    let max = Limits::default().speed;
    let caught_at = |suspicion| {
        let mut player = Inspection::new(Track::default(), suspicion);
        run(|_| 1.25 * max, 0.0, &mut Chance(3)).iter().position(|seen| judge(&mut player, seen).rule == Rule::Speed)
    };
    assert!(caught_at(500).expect("caught") < caught_at(0).expect("caught"));
    let mut player = Inspection::new(Track::default(), i64::MAX);
    assert!(run(|_| 0.9 * max, 100.0, &mut Chance(4)).iter().all(|seen| judge(&mut player, seen).rule == Rule::None));
}

#[test]
fn a_clock_that_begins_anew_does_not_blind() {
    let mut player = nobody();
    judge(&mut player, &seen(0, 0.0));
    let anew = |ms, x| Observation { t_ms: ms, ..seen(0, x) };
    (0..20).for_each(|step| drop(judge(&mut player, &anew(step * 50, 0.0))));
    assert_eq!(judge(&mut player, &anew(1_000, 80.0)).rule, Rule::Teleport);
}

#[test]
fn times_and_places_at_the_end_of_their_range_are_survived() {
    let mut player = nobody();
    let far = crate::observation::COORDINATE_MAX;
    for (t_ms, at) in [(0, far), (u64::MAX, -far), (u64::MAX, far), (1, -far), (u64::MAX / 2, 0.0), (0, 0.0)] {
        let seen = Observation { player: 1, t_ms, at: [at; 3], action: Some(Action { kind: "x", damage: u32::MAX }) };
        let verdict = judge(&mut player, &seen);
        assert!((0.0..=1.0).contains(&verdict.certainty), "{verdict:?}");
        assert!(Track::unpack(&player.track.pack()).is_some());
    }
}
