//! Many hosts that see each other late: whatever they see when, they end with one verdict and one version.

use proptest::prelude::*;

use super::tests::{id, new, old, rollout};
use super::*;

/// Rounds until all is over: a canary with few calls waits longest, and ten hosts take five more steps.
const ROUNDS: usize = 120;
/// Milliseconds in a round.
const ROUND_MS: u64 = 500;
/// By how many rounds news may be late.
const LATE_MAX: usize = 4;

/// One host: what it runs, and what it has seen of that.
#[derive(Clone, Debug)]
struct Host {
    runs: Revision,
    since: usize,
    tried: Option<Figures>,
}

/// Hosts, and all that they said and recorded, round by round.
struct World {
    hosts: Vec<Host>,
    said: Vec<Vec<Report>>,
    recorded: Vec<Vec<Verdict>>,
    /// Calls that the new version answers in a round, and how many of them fail.
    calls: (u64, u64),
}

fn node(place: usize) -> NodeId {
    id(u8::try_from(place + 1).expect("few hosts"))
}

impl World {
    fn new(hosts: usize, calls: (u64, u64)) -> Self {
        let host = Host { runs: old(), since: 0, tried: None };
        Self { hosts: vec![host; hosts], said: Vec::new(), recorded: vec![Vec::new()], calls }
    }

    fn report(&self, place: usize, round: usize) -> Report {
        let Host { runs, since, tried } = &self.hosts[place];
        let for_ms = (round - since) as u64 * ROUND_MS;
        let mut versions = BTreeMap::from([(*runs, (Runs::Ready { for_ms }, tried.unwrap_or_default()))]);
        if let (Some(figures), true) = (tried, *runs == old()) {
            versions
                .insert(old(), (Runs::Ready { for_ms }, Figures { calls: 1_000, traps: 0, p50_ms: 0.5, p99_ms: 1.0 }));
            versions.insert(new(), (Runs::Gone, *figures));
        }
        Report { node: node(place), chosen: true, tells: true, asked_ms: 0, lately: Figures::default(), versions }
    }

    /// What counts of all that was recorded until a round.
    fn verdict(&self, round: usize) -> Option<&Verdict> {
        self.recorded.iter().take(round + 1).flatten().max()
    }

    /// A round in which host `place` sees what others said `late(place, other)` rounds ago.
    fn turn(&mut self, round: usize, late: impl Fn(usize, usize) -> usize) {
        for host in self.hosts.iter_mut().filter(|host| host.runs == new()) {
            let tried = host.tried.get_or_insert_with(Figures::default);
            (tried.calls, tried.traps) = (tried.calls + self.calls.0, tried.traps + self.calls.1);
        }
        self.said.push((0..self.hosts.len()).map(|place| self.report(place, round)).collect());
        let mut recorded = Vec::new();
        for place in 0..self.hosts.len() {
            let seen = |other: usize| {
                let at = if other == place { round } else { round.saturating_sub(late(place, other)) };
                self.said[at][other].clone()
            };
            let reports: Vec<Report> = (0..self.hosts.len()).map(seen).collect();
            let verdict = self.verdict(round.saturating_sub(late(place, place))).cloned();
            let step = step(&rollout(), &reports, verdict.as_ref(), |node| ((), node.0[0]));
            recorded.extend(step.record.filter(|(recorder, _)| *recorder == node(place)).map(|(_, verdict)| verdict));
            let next = step.run[&node(place)].expect("one schema");
            let host = &mut self.hosts[place];
            if host.runs != next {
                (host.runs, host.since) = (next, round);
            }
        }
        self.recorded.push(recorded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_late_news_is_all_end_with_one_verdict(
        hosts in 1..10_usize,
        lateness in proptest::collection::vec(0..=LATE_MAX, 128),
        is_bad in any::<bool>(),
        calls in 0..20_u64,
    ) {
        let calls = calls + u64::from(is_bad);
        let mut world = World::new(hosts, (calls, if is_bad { calls } else { 0 }));
        for round in 0..ROUNDS {
            world.turn(round, |place, other| lateness[(round * 31 + place * 7 + other) % lateness.len()]);
        }
        let expect = if is_bad { old() } else { new() };
        prop_assert!(world.hosts.iter().all(|host| host.runs == expect), "{:?}", world.hosts);
        match world.verdict(ROUNDS) {
            Some(Verdict::RolledBack { .. }) => prop_assert!(is_bad),
            Some(Verdict::Completed) => prop_assert!(!is_bad),
            other => prop_assert!(false, "{other:?}"),
        }
        // Who rolled back at once with another reason is outvoted, and the one that counts is the same for all.
        let tried = world.hosts.iter().filter(|host| host.tried.is_some()).count();
        prop_assert!(!is_bad || tried <= 1 + LATE_MAX, "{tried} of {hosts} tried a version that traps each call");
    }
}
