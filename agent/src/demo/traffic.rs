//! Traffic at a constant rate through every agent, and how long its answers took.
//!
//! Owns the schedule, the connections and the measurement; what is asked is in [`player`]. The schedule is open-loop: a slow
//! answer delays no other connection's calls, and latency counts from when a call was *due*, not from when its connection
//! got round to it. Otherwise an agent that stalls would be measured by the few calls that it let through (coordinated
//! omission). The invariant: every call of the schedule ends in exactly one of the meter's counts.

mod meter;
mod player;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(super) use self::meter::{LatencyUs, Meter, Reading};
pub(super) use self::player::Kind;
use self::player::Player;
pub(crate) use self::player::sample_calls;
use super::tally::Tally;
use crate::cli::{Answer, ApiAddr, Connection, Problem};

/// Keep-alive connections to each agent, as from a few game servers on its host.
pub(super) const CONNECTIONS_PER_AGENT: usize = 4;
/// Time for one answer. A call that takes this long is an error.
const CALL_PATIENCE: Duration = Duration::from_secs(10);
/// Time after the last due call for connections that lag behind to catch up.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(15);
/// HTTP status of an agent that has too much to do; nothing changed.
const TOO_MANY_REQUESTS: u16 = 429;

/// Where to send, and how much.
pub(super) struct Plan {
    /// Each agent's API and its token.
    pub(super) agents: Vec<(ApiAddr, Option<String>)>,
    /// For how long.
    pub(super) length: Duration,
    /// Calls per second over all agents.
    pub(super) rate: u32,
}

/// When which call is due: call `index` of all goes to connection `index % connections`.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: Instant,
    /// Calls over all connections.
    calls: u64,
    connections: u64,
    rate: u32,
}

impl Schedule {
    fn due(&self, index: u64) -> Instant {
        // In nanoseconds and 128 bits, so that an hour at the highest rate neither drifts nor overflows.
        let nanos = u128::from(index) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn end(&self) -> Instant {
        self.due(self.calls)
    }
}

/// Drives the traffic to its end and returns what the callers were promised.
///
/// # Errors
/// No thread for the clock could be started.
pub(super) async fn drive(plan: &Plan, meter: &Arc<Meter>) -> std::io::Result<Tally> {
    let connections = plan.agents.len() * CONNECTIONS_PER_AGENT;
    let schedule = Schedule {
        start: Instant::now(),
        calls: u64::from(plan.rate) * plan.length.as_secs(),
        connections: connections as u64,
        rate: plan.rate,
    };
    let gates: Vec<_> = (0..connections).map(|_| Arc::new(Semaphore::new(0))).collect();
    let mut callers = JoinSet::new();
    for (number, gate) in gates.iter().enumerate() {
        let (addr, token) = plan.agents[number % plan.agents.len()].clone();
        let caller = Caller { addr, token, open: None, meter: Arc::clone(meter), player: Player::new(number as u64) };
        callers.spawn(caller.work(number as u64, schedule, Arc::clone(gate)));
    }
    start_clock(schedule, gates)?;
    let mut tally = Tally::default();
    while let Some(done) = callers.join_next().await {
        tally.merge(done.expect("a caller neither panics nor is cancelled"));
    }
    Ok(tally)
}

/// Opens a connection's gate whenever a call is due. A thread of its own: the runtime's timers have a grain of a
/// millisecond, which would be most of what there is to measure.
fn start_clock(schedule: Schedule, gates: Vec<Arc<Semaphore>>) -> std::io::Result<()> {
    let tick = move || {
        for (index, gate) in (0..schedule.calls).zip(gates.iter().cycle()) {
            std::thread::sleep(schedule.due(index).saturating_duration_since(Instant::now()));
            // The callers are gone: the demo was interrupted.
            if Arc::strong_count(gate) == 1 {
                return;
            }
            gate.add_permits(1);
        }
    };
    std::thread::Builder::new().name("traffic-clock".to_owned()).spawn(tick).map(drop)
}

/// One connection and who uses it.
struct Caller {
    addr: ApiAddr,
    token: Option<String>,
    open: Option<Connection>,
    meter: Arc<Meter>,
    player: Player,
}

impl Caller {
    async fn work(mut self, number: u64, schedule: Schedule, gate: Arc<Semaphore>) -> Tally {
        let mut mine = (number..schedule.calls).step_by(usize::try_from(schedule.connections).unwrap_or(usize::MAX));
        while let Some(index) = mine.next() {
            gate.acquire().await.expect("the gate is never closed").forget();
            if Instant::now() > schedule.end() + CATCH_UP_PATIENCE {
                self.meter.unsent(1 + mine.count() as u64);
                break;
            }
            self.turn(schedule.due(index)).await;
        }
        self.player.into_tally()
    }

    async fn turn(&mut self, due: Instant) {
        let turn = self.player.next_turn();
        let sent = Instant::now();
        let answer = tokio::time::timeout(CALL_PATIENCE, self.send(&turn.ask)).await;
        let error = match answer {
            Ok(Ok(answer)) if answer.is_success() => match self.player.learn(&turn, &answer) {
                Ok(()) => return self.meter.answered(turn.kind(), due, sent),
                Err(error) => error,
            },
            Ok(Ok(answer)) if answer.status == TOO_MANY_REQUESTS => return self.meter.busy(),
            Ok(Ok(answer)) => Problem::from_answer(answer.status, &answer.body).to_string().replace('\n', ";"),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {} s", CALL_PATIENCE.as_secs()),
        };
        self.meter.failed(format!("{} {} at {}: {error}", turn.ask.method, turn.ask.path, self.addr));
    }

    /// Sends on the open connection or a new one. After a failure, or when dropped half-way, the connection is not kept.
    async fn send(&mut self, ask: &crate::cli::Ask) -> Result<Answer, String> {
        let mut connection = match self.open.take().filter(|open| !open.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(&self.addr, self.token.clone()).await.map_err(|error| error.to_string())?,
        };
        let answer = connection.send(ask).await.map_err(|error| error.to_string())?;
        self.open = Some(connection);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
