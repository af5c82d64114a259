//! Where players go, in games that are made up and in one that was recorded.
//!
//! *Roads*: a map of 8 by 8 zones with up to eight ways out of each, of which a quarter is missing, six hubs, 25 quests (shortest paths from a hub to
//! anywhere). A player walks to a quest nearby and along it, straying at one step in ten; or, three times in ten, patrols: there
//! and back, one to three times. *Errands*: 60 zones on a ring with random shortcuts, five ways out of each; a player draws a
//! place (Zipf's law) and walks there by any shortest path, at nine steps in ten. *Wandering*: the same town, each step at random.
//! *Pitch*: the recorded players, whose zone is the square of the pitch that they are in.

use std::collections::{BTreeMap, BTreeSet};

/// The zones that one player was in, one after the other.
pub(crate) type Path = Vec<String>;

/// Zones of one path.
const STEPS: usize = 40;

/// `SplitMix64`: the same game for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn of_ten(&mut self, times: u64) -> bool {
        self.next() % 10 < times
    }

    fn any<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Which zones each zone leads to.
struct Map(Vec<Vec<usize>>);

impl Map {
    fn new(zones: usize, passages: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut ways = vec![BTreeSet::new(); zones];
        for (a, b) in passages {
            ways[a].insert(b);
            ways[b].insert(a);
        }
        Self(ways.into_iter().map(|ways| ways.into_iter().collect()).collect())
    }

    /// Steps from each zone to one; `None` where no way leads there.
    fn distances(&self, to: usize) -> Vec<Option<usize>> {
        let mut distances = vec![None; self.0.len()];
        let (mut wave, mut steps) = (vec![to], 0);
        while !wave.is_empty() {
            wave.retain(|zone| distances[*zone].is_none());
            wave.iter().for_each(|zone| distances[*zone] = Some(steps));
            wave = wave.iter().flat_map(|zone| self.0[*zone].clone()).collect();
            steps += 1;
        }
        distances
    }

    /// A shortest path, always the same between two zones; empty where there is none.
    fn path(&self, from: usize, to: usize) -> Vec<usize> {
        let distances = self.distances(to);
        if distances[from].is_none() {
            return Vec::new();
        }
        let (mut path, mut zone) = (vec![from], from);
        while zone != to {
            let nearer = |next: &&usize| distances[**next] < distances[zone] && distances[**next].is_some();
            zone = *self.0[zone].iter().find(nearer).expect("a way leads there");
            path.push(zone);
        }
        path
    }
}

pub(crate) fn roads(seed: u64) -> Vec<Path> {
    walk_roads(seed, 200)
}

/// 20 players, of whom 16 are learned from.
pub(crate) fn few(seed: u64) -> Vec<Path> {
    walk_roads(seed, 20)
}

fn walk_roads(seed: u64, players: usize) -> Vec<Path> {
    const SIDE: usize = 8;
    let mut dice = Dice(seed);
    let mut passages = Vec::new();
    for zone in 0..SIDE * SIDE {
        let (column, row) = (zone % SIDE, zone / SIDE);
        for (right, down) in [(1, 0), (0, 1), (1, 1), (SIDE - 1, 1)] {
            let (column, row) = ((column + right) % SIDE, row + down);
            let is_near = column.abs_diff(zone % SIDE) <= 1 && row < SIDE;
            if is_near && dice.below(4) > 0 {
                passages.push((zone, row * SIDE + column));
            }
        }
    }
    let map = Map::new(SIDE * SIDE, passages);
    let hubs: Vec<usize> = (0..6).map(|_| dice.below(SIDE * SIDE)).filter(|hub| !map.0[*hub].is_empty()).collect();
    let mut quests = Vec::new();
    while quests.len() < 25 {
        let quest = map.path(dice.any(&hubs), dice.below(SIDE * SIDE));
        if quest.len() > 3 {
            quests.push(quest);
        }
    }
    (0..players).map(|_| named(walk_road(&map, &hubs, &quests, &mut dice))).collect()
}

fn walk_road(map: &Map, hubs: &[usize], quests: &[Vec<usize>], dice: &mut Dice) -> Vec<usize> {
    let mut path = vec![dice.any(hubs)];
    while path.len() < STEPS {
        let here = path[path.len() - 1];
        if dice.of_ten(3) {
            let mut out = vec![here];
            for _ in 0..2 + dice.below(3) {
                let end = out[out.len() - 1];
                out.push(dice.any(&map.0[end]));
            }
            let lap: Vec<usize> = out[1..].iter().chain(out[..out.len() - 1].iter().rev()).copied().collect();
            (0..=dice.below(3)).for_each(|_| path.extend(&lap));
            continue;
        }
        let away = map.distances(here);
        let mut effort = |quest: &&Vec<usize>| away[quest[0]].map_or(usize::MAX, |steps| steps + dice.below(6));
        let quest = quests.iter().min_by_key(&mut effort).expect("there are quests");
        let mut goals = map.path(here, quest[0]);
        goals.extend(&quest[1..]);
        for goal in goals {
            let here = path[path.len() - 1];
            let step = if dice.of_ten(1) { dice.any(&map.0[here]) } else { goal };
            // Whoever has strayed finds the way back.
            path.extend(map.path(here, step).into_iter().skip(1));
        }
    }
    path
}

pub(crate) fn errands(seed: u64) -> Vec<Path> {
    in_town(seed, 9)
}

pub(crate) fn wandering(seed: u64) -> Vec<Path> {
    in_town(seed, 0)
}

/// At `purpose` steps in ten a player goes nearer to the place that it has drawn, at the others anywhere.
fn in_town(seed: u64, purpose: u64) -> Vec<Path> {
    const ZONES: usize = 60;
    const WAYS: usize = 5;
    let mut dice = Dice(seed);
    let mut passages: BTreeSet<(usize, usize)> = (0..ZONES).map(|zone| (zone, (zone + 1) % ZONES)).collect();
    while passages.len() * 2 < ZONES * WAYS {
        let (a, b) = (dice.below(ZONES), dice.below(ZONES));
        if a != b {
            passages.insert((a.min(b), a.max(b)));
        }
    }
    let map = Map::new(ZONES, passages);
    let distances: Vec<_> = (0..ZONES).map(|zone| map.distances(zone)).collect();
    // Zipf's law: the n-th place is drawn with a weight of 1/n.
    let places: Vec<usize> = (0..ZONES).flat_map(|rank| vec![rank * 7 % ZONES; ZONES / (rank + 1)]).collect();
    let walk = |_| {
        let (mut path, mut place) = (vec![dice.below(ZONES)], dice.any(&places));
        while path.len() < STEPS {
            let here = path[path.len() - 1];
            while place == here {
                place = dice.any(&places);
            }
            let nearer = |next: &usize| distances[place][*next] < distances[place][here];
            let ways: Vec<usize> = match dice.of_ten(purpose) {
                true => map.0[here].iter().copied().filter(nearer).collect(),
                false => map.0[here].clone(),
            };
            path.push(dice.any(&ways));
        }
        named(path)
    };
    (0..200).map(walk).collect()
}

/// Names for zones; staying is no move.
fn named(mut path: Vec<usize>) -> Path {
    path.truncate(STEPS);
    path.dedup();
    path.into_iter().map(|zone| format!("zone {zone}")).collect()
}

/// The recorded players on squares of so many metres; `None` where the recording is not there.
pub(crate) fn pitch(side: f64) -> Option<Vec<Path>> {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/movement/football_20hz_a.csv");
    /// The pitch in metres; the recording has it as 100 by 100.
    const PITCH: (f64, f64) = (105.0, 68.0);
    let text = std::fs::read_to_string(FILE).ok()?;
    let mut paths: BTreeMap<&str, Vec<(u32, String)>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (player, frame) = (fields.next()?, fields.next()?.parse().ok()?);
        let mut square = |length: f64| Some((fields.next()?.parse::<f64>().ok()? / 100.0 * length / side).floor());
        let zone = format!("square {} {}", square(PITCH.0)?, square(PITCH.1)?);
        paths.entry(player).or_default().push((frame, zone));
    }
    let path = |mut frames: Vec<(u32, String)>| {
        frames.sort_by_key(|(frame, _)| *frame);
        let mut zones: Path = frames.into_iter().map(|(_, zone)| zone).collect();
        zones.dedup();
        zones
    };
    Some(paths.into_values().map(path).collect())
}
