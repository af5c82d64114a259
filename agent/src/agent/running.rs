//! A running agent: its loops, and the order in which they end.
//!
//! On the way down others are told that what runs here stops, while it still answers. Then the API stops taking requests, then the loops
//! around the driver end, then the driver, which waits until
//! what was acknowledged is durable; the network and the store close last. The invariant: no part ends unnoticed.

use std::time::Duration;

use futures::future::select_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::AgentError;
use super::build::{Inlets, Parts};
use super::departure::Departure;
use crate::calls::Calls;
use crate::net::Net;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::view::StateView;
use crate::workloads::Workloads;

/// How long an agent may take from being told to stop until what it acknowledged is durable. Whatever the parts around the driver
/// leave of it is the driver's.
const STOP_PATIENCE: Duration = Duration::from_secs(75);

/// How long each part around the driver may take to end, and all of them together: the most of the time is the disk's.
const PART_PATIENCE: Duration = Duration::from_secs(10);
const PARTS_PATIENCE: Duration = Duration::from_secs(30);

/// How long the network and the store may take to close after that. With [`STOP_PATIENCE`] it stays below the 90 seconds of the unit
/// (`TimeoutStopSec=`).
const CLOSE_PATIENCE: Duration = Duration::from_secs(8);

/// How long others have to hear that what runs here stops, before it does: a hint is there within milliseconds.
const PARTING: Duration = Duration::from_millis(300);

/// How long the word of it takes to be on its way: one turn of the gossip.
const WORD: Duration = Duration::from_millis(50);

/// For how long no member may have forwarded a call, so that all have heard it.
const PARTING_QUIET: Duration = Duration::from_millis(100);

/// How long members may go on to forward calls, who may have nobody else to send them to.
const PARTING_MAX: Duration = Duration::from_secs(2);

/// The part that all others end before.
const DRIVER: &str = "the driver";

/// The loops of an agent, in the order in which they are to end.
pub(super) struct Running {
    parts: Vec<Part>,
    departure: Departure,
    calls: Calls,
    workloads: Workloads,
    view: StateView,
    net: Net,
    store: Store,
}

struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Part {
    fn spawn<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }
}

/// Starts every loop.
pub(super) fn spawn(parts: Parts, inlets: Inlets) -> Running {
    let Parts {
        api,
        service,
        driver,
        gossip,
        beacon,
        draining,
        workloads,
        timing,
        switchboard,
        lookout,
        warning,
        vetting,
        preloader,
        exporter,
        history,
        net,
        store,
    } = parts;
    let emptied = workloads.clone();
    let (view, calls) = (service.view.clone(), service.calls.clone());
    let acknowledged = view.clone();
    let (ours, forwarded, departure) = (workloads.clone(), service.calls.clone(), service.departure.clone());
    let mut running = vec![
        Part::spawn("the API", |stop| async move { api.serve(service, stop.cancelled_owned()).await }),
        Part::spawn("the reconciler", |stop| workloads.run(timing, stop)),
        Part::spawn("the draining", |stop| draining.follow(emptied, stop)),
        Part::spawn("the gossip", |stop| gossip.run(inlets.heard, move || beacon.record(), stop)),
    ];
    if let Some(vetting) = vetting {
        running.push(Part::spawn("the vetting", |stop| vetting.run(stop)));
    }
    running.extend([
        Part::spawn("the history", |stop| history.run(view, calls, stop)),
        Part::spawn("the preloader", |stop| preloader.run(stop)),
        Part::spawn("the lookout", |stop| lookout.run(stop)),
        Part::spawn("the warning", |stop| warning.run(stop)),
        Part::spawn("the switchboard", |stop| switchboard.run(inlets.net, stop)),
        Part::spawn(DRIVER, |stop| driver.run(stop)),
    ]);
    if let Some(exporter) = exporter {
        running.push(Part::spawn("the exporter", |stop| exporter.run(stop)));
    }
    Running { parts: running, departure, calls: forwarded, workloads: ours, view: acknowledged, net, store }
}

impl Running {
    /// Runs until `stop`, or until a part ends on its own; then ends the parts one by one.
    pub(super) async fn until(mut self, stop: CancellationToken, supervisor: &Supervisor) -> Result<(), AgentError> {
        let first = select_all(self.parts.iter_mut().map(|part| &mut part.task));
        let ended = tokio::select! {
            (_, place, _) = first => Some(place),
            () = stop.cancelled() => None,
        };
        let begun = Instant::now();
        let result = match ended {
            Some(place) => Err(AgentError::Ended(self.parts.remove(place).name)),
            None => Ok(()),
        };
        tracing::info!("stopping");
        supervisor.stopping();
        if result.is_ok() {
            self.part().await;
        }
        end(self.parts, begun).await;
        let is_left = self.view.read(|replica| replica.durable() != replica.seen());
        let closed = tokio::time::timeout(CLOSE_PATIENCE, close(self.net, self.store)).await;
        result?;
        if is_left {
            return Err(AgentError::Undrained(begun.elapsed()));
        }
        closed.unwrap_or(Err(AgentError::Unclosed(CLOSE_PATIENCE)))
    }

    /// Lets the others know, while everything still answers. Where nothing runs that they call, the word only has to be on its way; where there
    /// is nobody, nobody waits.
    async fn part(&self) {
        if self.net.peers().is_empty() {
            return;
        }
        self.departure.part();
        if self.workloads.advertised().is_empty() {
            tokio::time::sleep(WORD).await;
        } else {
            let (deadline, mut before) = (Instant::now() + PARTING_MAX, self.calls.forwarded());
            tokio::time::sleep(PARTING).await;
            while Instant::now() < deadline {
                let (under_way, all) = self.calls.forwarded();
                if under_way == 0 && all == before.1 {
                    break;
                }
                before = (under_way, all);
                tokio::time::sleep(PARTING_QUIET).await;
            }
        }
    }
}

/// Ends the parts one by one: those around the driver first, which then has all the time that is left since `begun`.
async fn end(parts: Vec<Part>, begun: Instant) {
    for part in parts {
        part.stop.cancel();
        let patience = patience(part.name == DRIVER, begun.elapsed());
        if tokio::time::timeout(patience, part.task).await.is_err() {
            tracing::warn!(part = part.name, "did not end in time");
        }
    }
}

/// How long a part may take to end, `after` the stop began.
fn patience(is_driver: bool, after: Duration) -> Duration {
    if is_driver {
        STOP_PATIENCE.saturating_sub(after)
    } else {
        PARTS_PATIENCE.saturating_sub(after).min(PART_PATIENCE)
    }
}

/// Closes what the parts have worked on.
async fn close(net: Net, store: Store) -> Result<(), AgentError> {
    net.shutdown().await;
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    Ok(closed.map_err(|_| AgentError::Ended("the store"))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_has_the_time_that_the_others_leave() {
        // Each of ten parts takes as long as it is given, or ends at once.
        let check = |parts: [bool; 10], left_s: u64| {
            let mut after = Duration::ZERO;
            parts.into_iter().filter(|hangs| *hangs).for_each(|_| after += patience(false, after));
            assert_eq!(patience(true, after).as_secs(), left_s, "{parts:?}");
        };
        let mut parts = [false; 10];
        check(parts, 75);
        parts[3] = true;
        check(parts, 65);
        check([true; 10], 45);
    }

    #[test]
    fn all_of_it_stays_below_what_the_unit_allows() {
        let unit = include_str!("../../../deploy/selvedge.service");
        let allowed = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("the unit says");
        let allowed = Duration::from_secs(allowed.parse().expect("a number"));
        assert!(STOP_PATIENCE + CLOSE_PATIENCE + crate::cli::STRAGGLERS_PATIENCE < allowed);
    }
}
