//! When a queue is overload and when it is only a burst, with a line of callers before one that serves.

use std::collections::BTreeMap;

use super::super::shed::{Admission, INTERVAL_MS, Shedder, Why};

/// A queue of one worker that takes `turn_us` for each call.
struct Line {
    shedder: Shedder,
    turn_us: u64,
    now_us: u64,
    /// When each that waits came, and how many were before it.
    waiting: std::collections::VecDeque<(u64, usize)>,
}

impl Line {
    fn new(turn_ms: u64) -> Self {
        Self { shedder: Shedder::default(), turn_us: turn_ms * 1_000, now_us: 0, waiting: Default::default() }
    }

    /// A call comes; why it is turned away, if it is.
    fn call(&mut self, patience_ms: Option<f64>) -> Option<Why> {
        match self.shedder.admit(self.waiting.len(), patience_ms, self.now_us) {
            Admission::Admit => {
                self.waiting.push_back((self.now_us, self.waiting.len()));
                None
            }
            Admission::Shed { why, retry_after_ms, expected_ms } => {
                assert!(retry_after_ms >= INTERVAL_MS && expected_ms > 0.0);
                Some(why)
            }
        }
    }

    /// The next one has its turn; how many milliseconds it waited.
    fn serve(&mut self) -> Option<f64> {
        let (came_us, ahead) = self.waiting.pop_front()?;
        let waited_ms = (self.now_us - came_us) as f64 / 1e3;
        self.shedder.observe(waited_ms, ahead, self.now_us);
        self.now_us += self.turn_us;
        Some(waited_ms)
    }

    fn is_overloaded(&mut self) -> bool {
        self.shedder.is_overloaded(self.now_us)
    }
}

#[test]
fn a_burst_is_worked_off_and_a_standing_queue_sheds() {
    let mut line = Line::new(2);
    for _ in 0..5 {
        assert!((0..20).all(|_| line.call(Some(50.0)).is_none()), "40 ms of work, and 50 ms of patience");
        while line.serve().is_some() {}
        line.now_us += 60_000;
        assert!(!line.is_overloaded());
    }
    // Twice as much as can be done, for two seconds.
    let mut waited_ms: Vec<f64> = Vec::new();
    let mut shed = BTreeMap::<&str, u32>::new();
    for _ in 0..1_000 {
        for _ in 0..2 {
            match line.call(Some(50.0)) {
                Some(Why::Overloaded) => *shed.entry("overloaded").or_default() += 1,
                Some(Why::Late) => *shed.entry("late").or_default() += 1,
                None => {}
            }
        }
        waited_ms.extend(line.serve());
    }
    assert!(line.is_overloaded());
    // How long a turn takes is a guess from the last ones.
    assert!(waited_ms.iter().all(|waited_ms| *waited_ms < 55.0), "hardly anybody waited in vain");
    assert!(waited_ms[500..].iter().all(|waited_ms| *waited_ms < 30.0), "half of their patience is left to be served");
    assert!(shed["overloaded"] > 800, "{shed:?}");
    // Now it is over, but not before the queue has been short for an interval.
    while line.serve().is_some() {}
    assert!(line.is_overloaded());
    for _ in 0..200 {
        line.call(Some(50.0));
        line.serve();
    }
    assert!(!line.is_overloaded());
}

#[test]
fn whoever_would_be_late_is_turned_away_and_who_waits_for_nobody_is_not() {
    let mut line = Line::new(10);
    for _ in 0..40 {
        line.call(None);
        line.call(None);
        line.serve();
    }
    assert_eq!(line.call(Some(100.0)), Some(Why::Late), "40 wait");
    assert_eq!(line.call(None), None, "without a deadline there is a second");
    while line.serve().is_some() {}
    line.turn_us = 5_000_000;
    for _ in 0..20 {
        line.call(None);
        line.call(None);
        line.serve();
        line.serve();
    }
    assert_eq!(line.call(Some(1.0)), None, "whatever it was like before");
}

#[test]
fn slow_calls_and_many_at_a_time_are_no_overload_in_themselves() {
    // 64 callers, each of whom calls again once it has its answer, and none of whom is in a hurry.
    let mut line = Line::new(3);
    (0..64).for_each(|_| assert_eq!(line.call(None), None));
    for _ in 0..1_000 {
        line.serve();
        assert_eq!(line.call(None), None);
    }
    // A queue that is one call long is short, however long a call takes.
    let mut line = Line::new(40);
    for _ in 0..100 {
        line.call(None);
        line.serve();
        line.call(None);
        line.serve();
    }
    assert!(!line.is_overloaded());
}

#[test]
fn overload_ends_by_itself_when_nobody_calls_any_more() {
    let mut line = Line::new(2);
    for _ in 0..200 {
        line.call(Some(50.0));
        line.call(Some(50.0));
        line.serve();
    }
    assert!(line.is_overloaded());
    line.now_us += 1_000_000;
    line.is_overloaded();
    line.now_us += 1_000_000;
    assert!(!line.is_overloaded());
}
