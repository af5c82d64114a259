//! Game traffic during trouble: every agent is written to without pause, and every write has to be taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::door::Door;

/// The pause between two writes to one agent: 25 commits a second, so that sixteen agents leave two cores some air.
const PAUSE: Duration = Duration::from_millis(40);

/// Writers, one for each agent, until [`Traffic::stop`]. Each commit counts in `gcounter/NAME` and adds its own member to `orset/NAME`.
#[derive(Debug)]
pub struct Traffic {
    name: String,
    stopping: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Written>>,
}

/// What one writer has to tell.
#[derive(Debug, Default)]
struct Written {
    refused: Vec<String>,
    slowest: Duration,
}

impl Traffic {
    /// Writes to all of `doors`.
    #[must_use]
    pub fn start(name: &str, doors: &[Door]) -> Self {
        let (stopping, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers = doors.iter().enumerate().map(|(host, door)| {
            let (name, door) = (name.to_owned(), door.clone());
            let (stopping, taken) = (Arc::clone(&stopping), Arc::clone(&taken));
            std::thread::spawn(move || write(&name, host, &door, &stopping, &taken))
        });
        Self { name: name.to_owned(), writers: writers.collect(), stopping, taken }
    }

    /// How many writes have been taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// The name of what it writes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it and says how many writes were taken: all that were made.
    ///
    /// # Panics
    /// One was not.
    #[must_use]
    pub fn stop(mut self) -> u64 {
        self.stopping.store(true, Ordering::SeqCst);
        let mut slowest = Duration::ZERO;
        for writer in self.writers.drain(..) {
            let written = writer.join().expect("a writer does not panic");
            assert!(written.refused.is_empty(), "{}: not taken: {:?}", self.name, written.refused);
            slowest = slowest.max(written.slowest);
        }
        println!("{}: {} writes, all taken; the slowest took {slowest:?}", self.name, self.taken());
        self.taken()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

fn write(name: &str, host: usize, door: &Door, stopping: &AtomicBool, taken: &AtomicU64) -> Written {
    let mut written = Written::default();
    for number in 0_u64.. {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let member = format!("{host}-{number}");
        let ops = json!({"ops": [
            {"key": format!("gcounter/{name}"), "increment": 1},
            {"key": format!("orset/{name}"), "add": [member]},
        ]});
        let began = Instant::now();
        match door.ask("POST", "/v1/commits", &ops.to_string()) {
            Ok(answer) if answer.status == 200 => {
                taken.fetch_add(1, Ordering::SeqCst);
            }
            other => written.refused.push(format!("host {host}: {other:?}")),
        }
        written.slowest = written.slowest.max(began.elapsed());
        std::thread::park_timeout(PAUSE);
    }
    written
}
