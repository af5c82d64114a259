//! Listens to what an agent tells of the others, from beginning to end.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{PATIENCE, is_lost};
use crate::door::Door;
use crate::wait::eventually;

/// What one agent has said of members, in order.
#[derive(Clone, Debug)]
pub struct Witness(Arc<Mutex<Vec<(String, String)>>>);

impl Witness {
    /// Begins to listen. Ends with the agent.
    ///
    /// # Panics
    /// The agent does not tell.
    #[must_use]
    pub fn start(door: &Door) -> Self {
        let heard = Self(Arc::default());
        let (listener, door) = (heard.clone(), door.clone());
        let mut events = door.events().expect("an agent tells what happens");
        std::thread::spawn(move || {
            loop {
                listener.listen(events);
                // Who was stalled has more to tell than fits, and says so: what it says from now on is still worth hearing.
                let Ok(again) = door.events() else { return };
                events = again;
            }
        });
        heard
    }

    fn listen(&self, events: impl BufRead) {
        let mut is_member = false;
        for line in events.lines().map_while(Result::ok) {
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("event", name)) => is_member = name == "member",
                Some(("data", data)) if is_member => {
                    let data: Value = serde_json::from_str(data).unwrap_or_default();
                    let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).push((text("name"), text("status")));
                }
                _ => {}
            }
        }
    }

    /// Everything that was told, as name and status.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who was called lost at some time.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        let lost = self.all().into_iter().filter(|(_, status)| is_lost(status)).map(|(name, _)| name);
        lost.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Waits until the last word on somebody, if there was any, is that it is there.
    pub fn await_return(&self, name: &str) {
        eventually(&format!("it is told that {name} is back"), PATIENCE, || {
            let last = self.all().into_iter().rev().find(|(of, _)| of == name);
            last.is_none_or(|(_, last)| last != "suspect" && !is_lost(&last)).then_some(())
        });
    }
}
