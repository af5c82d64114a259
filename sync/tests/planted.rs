//! Every planted bug is found: by the seed that `docs/planted-bugs.md` names for it, or else by one that is not far.
//!
//! `cargo test --release -p selvedge-sync --features planted --test planted`. With `SELVEDGE_PLANTED_WRITE=1` the first seed that
//! finds each bug is looked for, and the table is written anew; `SELVEDGE_PLANTED_SEEDS` says among how many.
#![expect(
    clippy::disallowed_types,
    reason = "bugs are looked for on as many threads as there are cores; each run is pure"
)]
#![expect(clippy::print_stdout, reason = "whoever watches sees rows as they are found")]
#![expect(clippy::disallowed_methods, reason = "the environment may ask for the table to be written, which is a file")]

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use selvedge_sync::planted::{self, Bug};
use selvedge_sync::sim::{self, Scenario};

/// How many seeds of either suite a bug may hide from, when the one in the table does not find it any more.
const SEEDS: u64 = 250;
/// Where the table is.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/planted-bugs.md");
/// Bugs that the simulator has not found in as many seeds as were tried, and what is known of that.
const DIRECTLY: &[(Bug, &str)] = &[
    (Bug::EqualUnshown, "not found: takes a removal that overtakes its add between two pages of one repair"),
    (Bug::WaitingUnhashed, "not found: takes a removal that still waits on one side only, when its range is compared"),
    (
        Bug::GiverMayRegress,
        "not found: takes a giver that a crash between two pages has robbed of what the first showed",
    ),
    (Bug::FoldedTooEarly, "not found: takes two members that close a stream at the same time"),
];

/// The invariants, by words of what is said when they do not hold.
const INVARIANTS: &[(&str, &str)] = &[
    ("after it has seen", "a stamp is later than all that its writer had seen"),
    ("not the writer's", "what is sent is sealed by its writer"),
    ("has not sealed", "what is sent is sealed by its writer"),
    ("sent with another meaning", "what is sent is what was made under that name"),
    ("sent before it is durable", "nothing is sent that is not durable at its writer"),
    ("of its own;", "nothing is told of that is not durable at its writer"),
    ("shown before it is durable", "no page shows what is not durable at its writer"),
    ("means a second commit", "a name means one commit for ever"),
    ("lost or never made", "nothing is sent or shown that was never made"),
    ("bytes of log", "the log stays within its bytes"),
    ("commits that all have", "no log is kept beyond what is configured"),
    ("not converged", "all converge after the storm"),
    ("a restart knows", "a restart knows all that was reported durable"),
    ("continues at", "a restart finds a log without gaps"),
    ("has another root", "equal vectors have equal roots"),
    ("the root", "the root is the sum over the content"),
    ("whose every put was removed", "nothing that was removed returns"),
    ("the commits say", "readers see what the reference says"),
    ("which nobody made", "only what somebody made is applied"),
    ("which nobody wrote", "only what somebody wrote is read"),
    ("repeated request was counted twice", "a repeated request has one commit"),
    ("outside", "counters stay between what is definite and what may be"),
    ("it was", "what only grows never shrinks"),
    ("Diverged", "roots never differ at equal vectors"),
    ("Rejected", "nobody sends what has to be rejected"),
    ("Amnesia", "nobody finds that it forgot when it did not"),
    ("durable commits are lost", "nothing that was durable is lost"),
    ("more than a digest", "nothing but digests is said when all are equal"),
    ("all have forgotten", "nothing is kept that all have seen"),
    ("made again twice", "a commit is made again once"),
    ("never made again", "a commit that nobody else has is made again"),
    ("although others have it", "only what nobody else has is made again"),
    ("which no stamp holds up", "a stamp from too far ahead holds up its own stream alone"),
    ("drags its clock", "no clock is dragged further ahead than the drift"),
    ("what it wrote itself", "nobody is sent unasked what it wrote itself"),
    ("passes on", "what was pushed is not pushed on"),
    ("unseen commits", "a vector never goes back"),
    ("beyond the end", "a closed stream never grows"),
    ("its own state says", "an object is what its own state says"),
    ("for stable", "what is taken for stable is durable at every member"),
    ("retirement does not end", "streams that nobody writes are closed, and counters hold no shares of their writers"),
    ("panicked", "the engine does not panic"),
];

/// A run: what the suite draws from a seed, or what the suite in which snapshots write does.
#[derive(Clone, Copy)]
struct Run {
    forks: bool,
    seed: u64,
}

/// What stands before the seed of a run with staged forks.
const FORKS: &str = "forks ";

impl Run {
    fn scenario(self) -> Scenario {
        if self.forks { Scenario::with_forks_from(self.seed) } else { Scenario::drawn_from(self.seed) }
    }

    /// As the table names it.
    fn read(cell: &str) -> Option<Self> {
        let seed = cell.strip_prefix(FORKS);
        Some(Self { forks: seed.is_some(), seed: seed.unwrap_or(cell).parse().ok()? })
    }

    fn name(self) -> String {
        format!("{}{}", if self.forks { FORKS } else { "" }, self.seed)
    }

    /// Every run of so many seeds of either suite.
    fn of(seeds: u64) -> impl Iterator<Item = Self> {
        (0..seeds).flat_map(|seed| [false, true].map(|forks| Self { forks, seed }))
    }
}

/// What found a bug.
struct Found {
    run: Run,
    invariant: String,
}

/// Makes one run with a bug planted; the invariant that did not hold.
fn run(bug: Bug, run: Run) -> Option<Found> {
    let (seed, scenario) = (run.seed, run.scenario());
    let planted = || planted::with(bug, || sim::run(seed, &scenario));
    let what = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(planted)) {
        Ok(result) => result.err()?.what,
        Err(_) => "panicked".to_owned(),
    };
    // What fails without the bug says nothing about it.
    sim::run(seed, &scenario).ok()?;
    let line = what.lines().next().unwrap_or_default();
    let named = INVARIANTS.iter().find(|(words, _)| line.contains(words));
    Some(Found { run, invariant: named.map_or_else(|| format!("? {line}"), |(_, invariant)| (*invariant).to_owned()) })
}

/// The rows of the table: the name of a bug, what it does wrong, the seed and the invariant.
fn rows(table: &str) -> Vec<[String; 4]> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
        [(); 4].map(|()| cells.next().unwrap_or_default())
    };
    rows.map(cells).collect()
}

fn row(bug: Bug, found: Option<&Found>) -> String {
    let by = |(_, by): &(Bug, &str)| ("–".to_owned(), (*by).to_owned());
    let directly = DIRECTLY.iter().find(|(of, _)| *of == bug).map(by);
    let (seed, invariant) = match found {
        Some(found) => (found.run.name(), found.invariant.clone()),
        None => directly.unwrap_or(("?".to_owned(), "nothing".to_owned())),
    };
    format!("| `{bug:?}` | {} | {seed} | {invariant} |", bug.what())
}

/// Looks for every bug, on as many threads as there are cores: by the seed that the table names, if any, then by others.
fn look_for(bugs: &[Bug], named: &(dyn Fn(Bug) -> Option<Run> + Sync), seeds: u64) -> Vec<Option<Found>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(bugs.iter().map(|_| None).collect::<Vec<_>>());
    let work = || {
        while let Some((index, bug)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, *bugs.get(at)?)))
        {
            let result = named(bug).into_iter().chain(Run::of(seeds)).find_map(|of| run(bug, of));
            println!("{}", row(bug, result.as_ref()));
            found.lock().expect("no thread panicked")[index] = result;
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    found.into_inner().expect("no thread panicked")
}

#[test]
fn every_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| ()));
    let variable = |name: &str| std::env::var(name).ok();
    let seeds = variable("SELVEDGE_PLANTED_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    let only = variable("SELVEDGE_PLANTED_ONLY").unwrap_or_default();
    let bugs: Vec<Bug> = Bug::ALL.iter().copied().filter(|bug| format!("{bug:?}").contains(&only)).collect();
    let write = variable("SELVEDGE_PLANTED_WRITE").is_some();
    let table = std::fs::read_to_string(TABLE).expect("the table");
    let rows = rows(&table);
    let named = |bug: Bug| rows.iter().find(|row| row[0] == format!("{bug:?}")).and_then(|row| Run::read(&row[2]));
    let found = look_for(&bugs, &|bug| named(bug).filter(|_| !write), seeds);
    drop(std::panic::take_hook());
    let new: Vec<String> = bugs.iter().zip(&found).map(|(bug, found)| row(*bug, found.as_ref())).collect();
    if write && only.is_empty() {
        let first = table.find("| `").expect("a row");
        let rest = table[first..].find("\n\n").map_or("", |end| &table[first + end..]);
        std::fs::write(TABLE, format!("{}{}{rest}", &table[..first], new.join("\n"))).expect("the table is written");
    }
    let hidden: Vec<&String> = bugs
        .iter()
        .zip(&found)
        .zip(&new)
        .filter(|((bug, found), _)| {
            found
                .as_ref()
                .map_or_else(|| !DIRECTLY.iter().any(|(of, _)| of == *bug), |found| found.invariant.starts_with('?'))
        })
        .map(|(_, row)| row)
        .collect();
    assert!(hidden.is_empty(), "not found, or by what has no name:\n{hidden:#?}");
    let what: Vec<(String, &str)> = Bug::ALL.iter().map(|bug| (format!("{bug:?}"), bug.what())).collect();
    let said: Vec<(String, &str)> = rows.iter().map(|row| (row[0].clone(), row[1].as_str())).collect();
    assert!(write || what == said, "the table names other bugs: write it with SELVEDGE_PLANTED_WRITE=1");
}
