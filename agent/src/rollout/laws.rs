//! Many hosts that see each other late, or not at all for a while: whatever they see when, and whoever is lost, restarts, hangs or says
//! nothing, they end with one verdict and one version.

use std::mem::Discriminant;
use std::ops::Range;

use proptest::prelude::*;

use super::tests::{id, new, old, rollout};
use super::*;

/// Rounds until all is over: a canary with few calls waits longest, and ten hosts take five more steps.
const ROUNDS: usize = 120;
/// The same with trouble: a host that hangs has a minute, two of them in a row have two.
const ROUNDS_OF_TROUBLE: usize = 600;
/// Milliseconds in a round.
const ROUND_MS: u64 = 500;
/// By how many rounds news may be late.
const LATE_MAX: usize = 4;

/// What goes wrong. Hosts go by their place.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// Who is not there in which rounds; when it comes back, it has forgotten all but what is recorded.
    lost: Vec<(usize, Range<usize>)>,
    /// So many of the first hosts are cut off from the others.
    cut: (usize, Range<usize>),
    /// Who never gets the new version ready.
    hangs: Option<usize>,
    /// Who says nothing of what it tries.
    silent: Option<usize>,
}

/// One host: what it runs, and what it has seen.
#[derive(Clone, Debug)]
struct Host {
    runs: Revision,
    since: usize,
    tried: Option<Figures>,
    asked_since: BTreeMap<NodeId, usize>,
    due_since: Option<(Discriminant<Verdict>, usize)>,
    /// Whether its attempt is one of this life.
    attempts: bool,
}

/// Hosts, and all that they said and recorded, round by round.
struct World {
    hosts: Vec<Host>,
    said: Vec<Vec<Report>>,
    /// By whom, and what.
    recorded: Vec<Vec<(usize, Verdict)>>,
    /// Whether each host has an attempt that goes on, and how many before were ended by its loss.
    attempts: Vec<(bool, u32)>,
    trouble: Trouble,
    /// Calls that the new version answers in a round, and how many of them fail.
    calls: (u64, u64),
}

fn node(place: usize) -> NodeId {
    id(u8::try_from(place + 1).expect("few hosts"))
}

impl Trouble {
    fn is_lost(&self, place: usize, round: usize) -> bool {
        self.lost.iter().any(|(lost, rounds)| *lost == place && rounds.contains(&round))
    }

    fn sees(&self, place: usize, other: usize, round: usize) -> bool {
        let (first, rounds) = &self.cut;
        let is_cut = rounds.contains(&round) && (place < *first) != (other < *first);
        !is_cut && !self.is_lost(other, round)
    }

    fn is_over(&self, round: usize) -> bool {
        self.lost.iter().map(|(_, rounds)| rounds).chain([&self.cut.1]).all(|rounds| rounds.end + LATE_MAX < round)
    }
}

impl Host {
    fn new(since: usize) -> Self {
        let (tried, asked_since, due_since, attempts) = Default::default();
        Self { runs: old(), since, tried, asked_since, due_since, attempts }
    }

    /// Takes note of a step, as an agent does; returns for how long its verdict has been due.
    fn note(&mut self, step: &Step, reports: &[Report], round: usize) -> u64 {
        let served = |report: &Report| serves(&rollout(), report).is_some_and(|for_ms| for_ms >= SOAK_MS);
        let asked = reports.iter().filter(|report| step.run[&report.node] == Some(new()) && !served(report));
        let since = |node: &NodeId| self.asked_since.get(node).copied().unwrap_or(round);
        self.asked_since = asked.map(|report| (report.node, since(&report.node))).collect();
        let due = step.record.as_ref().map(|(_, verdict)| std::mem::discriminant(verdict));
        let since = |kind| self.due_since.filter(|(before, _)| *before == kind).map_or(round, |(_, since)| since);
        self.due_since = due.map(|kind| (kind, since(kind)));
        self.due_since.map_or(0, |(_, since)| (round - since) as u64 * ROUND_MS)
    }
}

impl World {
    fn new(hosts: usize, calls: (u64, u64), trouble: Trouble) -> Self {
        let attempts = vec![(false, 0); hosts];
        let hosts = vec![Host::new(0); hosts];
        Self { hosts, said: Vec::new(), recorded: Vec::new(), attempts, trouble, calls }
    }

    fn report(&self, place: usize, round: usize) -> Report {
        let Host { runs, since, tried, .. } = &self.hosts[place];
        let for_ms = (round - since) as u64 * ROUND_MS;
        let (for_ms, tried) = if self.trouble.silent == Some(place) { (0, None) } else { (for_ms, *tried) };
        let mut versions = BTreeMap::from([(*runs, (Runs::Ready { for_ms }, tried.unwrap_or_default()))]);
        if let (Some(figures), true) = (tried, *runs == old()) {
            let had = Figures { calls: 1_000, traps: 0, p50_ms: 0.5, p99_ms: 1.0 };
            versions.insert(old(), (Runs::Ready { for_ms }, had));
            versions.insert(new(), (Runs::Gone, figures));
        }
        Report { chosen: true, tells: true, versions, ..Report::of_absent(node(place)) }
    }

    /// What counts for a host of all that was recorded until a round.
    fn verdict(&self, place: usize, round: usize) -> Option<&Verdict> {
        let reaches = |(at, (by, _)): &(usize, &(usize, Verdict))| {
            // What was recorded across a cut comes when that heals.
            *by == place || (*at..=round).any(|at| self.trouble.sees(place, *by, at))
        };
        let until = self.recorded.iter().take(round + 1).enumerate();
        let all = until.flat_map(|(at, all)| all.iter().map(move |one| (at, one)));
        all.filter(reaches).map(|(_, (_, verdict))| verdict).max()
    }

    /// What a host sees, news of the others `late(other)` rounds old.
    fn seen(&self, place: usize, round: usize, late: impl Fn(usize) -> usize) -> Vec<Report> {
        let seen = |other: usize| {
            let (is_open, lost) = self.attempts[other];
            // Whoever is cut off counts as lost for as long.
            let ended =
                if other == place { !self.hosts[place].attempts } else { !self.trouble.sees(place, other, round) };
            let lost = lost + u32::from(is_open && ended);
            let absent = Report { lost, ..Report::of_absent(node(other)) };
            if !self.trouble.sees(place, other, round) {
                return absent;
            }
            let at = if other == place { round } else { round.saturating_sub(late(other)) };
            let since = self.hosts[place].asked_since.get(&node(other)).copied().unwrap_or(round);
            Report { lost, asked_ms: (round - since) as u64 * ROUND_MS, ..self.said[at][other].clone() }
        };
        (0..self.hosts.len()).map(seen).collect()
    }

    /// Takes note of calls, and of who has been lost or is back.
    fn pass(&mut self, round: usize) {
        for (place, host) in self.hosts.iter_mut().enumerate() {
            if self.trouble.is_lost(place, round) {
                *host = Host::new(round);
            } else if self.attempts[place].0 && !host.attempts {
                self.attempts[place] = (false, self.attempts[place].1 + 1);
            }
            if host.runs == new() {
                let tried = host.tried.get_or_insert_with(Figures::default);
                (tried.calls, tried.traps) = (tried.calls + self.calls.0, tried.traps + self.calls.1);
            }
        }
        self.said.push((0..self.hosts.len()).map(|place| self.report(place, round)).collect());
    }

    /// A round in which host `place` sees what others said `late(place, other)` rounds ago.
    fn turn(&mut self, round: usize, late: impl Fn(usize, usize) -> usize) {
        self.pass(round);
        let mut recorded = Vec::new();
        for place in 0..self.hosts.len() {
            if self.trouble.is_lost(place, round) {
                continue;
            }
            let reports = self.seen(place, round, |other| late(place, other));
            let verdict = self.verdict(place, round.saturating_sub(late(place, place))).cloned();
            let step = step(&rollout(), &reports, verdict.as_ref(), |node| ((), node.0[0]));
            let due_ms = self.hosts[place].note(&step, &reports, round);
            let sees_most = reports.iter().filter(|report| report.chosen).count() * 2 > self.hosts.len();
            let falls_here = step.falls_to(&node(place), due_ms).filter(|_| sees_most);
            recorded.extend(falls_here.map(|verdict| (place, verdict.clone())));
            self.act(place, round, &step);
        }
        self.recorded.push(recorded);
    }

    fn act(&mut self, place: usize, round: usize, step: &Step) {
        let host = &mut self.hosts[place];
        let next = step.run[&node(place)].expect("one schema");
        if next == new() && matches!(step.stage, Stage::Canary { .. }) && !self.attempts[place].0 {
            (self.attempts[place].0, host.attempts) = (true, true);
        } else if host.runs != next && !(next == new() && self.trouble.hangs == Some(place)) {
            (host.runs, host.since) = (next, round);
        }
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
        let mut world = World::new(hosts, (calls, if is_bad { calls } else { 0 }), Trouble::default());
        for round in 0..ROUNDS {
            world.turn(round, |place, other| lateness[(round * 31 + place * 7 + other) % lateness.len()]);
        }
        let expect = if is_bad { old() } else { new() };
        prop_assert!(world.hosts.iter().all(|host| host.runs == expect), "{:?}", world.hosts);
        match world.verdict(0, ROUNDS) {
            Some(Verdict::RolledBack { .. }) => prop_assert!(is_bad),
            Some(Verdict::Completed) => prop_assert!(!is_bad),
            other => prop_assert!(false, "{other:?}"),
        }
        // Who rolled back at once with another reason is outvoted, and the one that counts is the same for all.
        let tried = world.hosts.iter().filter(|host| host.tried.is_some()).count();
        prop_assert!(!is_bad || tried <= 1 + LATE_MAX, "{tried} of {hosts} tried a version that traps each call");
    }
}

fn any_rounds() -> impl Strategy<Value = Range<usize>> {
    (0..80_usize, 1..60_usize).prop_map(|(from, len)| from..from + len)
}

/// Trouble for so many hosts, of which one at the most hangs and one is silent.
fn any_trouble(hosts: usize) -> impl Strategy<Value = Trouble> {
    let place = move || 0..hosts;
    let lost = proptest::collection::vec((place(), any_rounds()), 0..3);
    let cut = proptest::option::of((1..hosts, any_rounds()));
    (lost, cut, proptest::option::of(place()), proptest::option::of(place()))
        .prop_map(|(lost, cut, hangs, silent)| Trouble { lost, cut: cut.unwrap_or_default(), hangs, silent })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whoever_is_lost_restarts_hangs_or_is_silent_the_others_end_with_one_verdict(
        (hosts, trouble) in (4..8_usize).prop_flat_map(|hosts| (Just(hosts), any_trouble(hosts))),
        lateness in proptest::collection::vec(0..=LATE_MAX, 128),
        is_bad in any::<bool>(),
        calls in 1..20_u64,
    ) {
        let mut world = World::new(hosts, (calls, if is_bad { calls } else { 0 }), trouble.clone());
        let is_over = |world: &World, round| {
            let verdict = world.verdict(0, round);
            trouble.is_over(round) && !matches!(verdict, None | Some(Verdict::Promoted))
        };
        let mut rounds = 0..ROUNDS_OF_TROUBLE;
        // And some more until all have heard.
        let mut left = 2 * LATE_MAX;
        while let Some(round) = rounds.next().filter(|_| left > 0) {
            world.turn(round, |place, other| lateness[(round * 31 + place * 7 + other) % lateness.len()]);
            left -= usize::from(is_over(&world, round));
        }
        prop_assert!(left == 0, "it never ends: {:?}\n{:?}\n{:?}", world.recorded.iter().flatten().collect::<Vec<_>>(), world.attempts, world.hosts);
        let verdict = world.verdict(0, ROUNDS_OF_TROUBLE).cloned();
        let expect = if verdict == Some(Verdict::Completed) { new() } else { old() };
        for (place, host) in world.hosts.iter().enumerate() {
            prop_assert!(host.runs == expect || trouble.hangs == Some(place), "{verdict:?} {place}: {:?}", world.hosts);
        }
        // Nothing but what the version does, or two lost canaries, takes it back.
        let lost = world.attempts.iter().map(|(is_open, lost)| lost + u32::from(*is_open)).sum::<u32>();
        let is_taken_back = expect == old();
        prop_assert!(is_taken_back == is_bad || (is_taken_back && lost >= LOST_MIN), "{verdict:?}, lost {lost}");
    }
}
