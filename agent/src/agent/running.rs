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
use crate::workloads::Workloads;

/// How long one part may take to end. All together stay below systemd's 90 seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long others have to hear that what runs here stops, before it does: a hint is there within milliseconds.
const PARTING: Duration = Duration::from_millis(300);

/// How long the word of it takes to be on its way: one turn of the gossip.
const WORD: Duration = Duration::from_millis(50);

/// For how long no member may have forwarded a call, so that all have heard it.
const PARTING_QUIET: Duration = Duration::from_millis(100);

/// How long members may go on to forward calls, who may have nobody else to send them to.
const PARTING_MAX: Duration = Duration::from_secs(2);

/// The loops of an agent, in the order in which they are to end.
pub(super) struct Running {
    parts: Vec<Part>,
    departure: Departure,
    calls: Calls,
    workloads: Workloads,
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
        history,
        net,
        store,
    } = parts;
    let emptied = workloads.clone();
    let (view, calls) = (service.view.clone(), service.calls.clone());
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
        Part::spawn("the driver", |stop| driver.run(stop)),
    ]);
    Running { parts: running, departure, calls: forwarded, workloads: ours, net, store }
}

impl Running {
    /// Runs until `stop`, or until a part ends on its own; then ends the parts one by one.
    pub(super) async fn until(mut self, stop: CancellationToken, supervisor: &Supervisor) -> Result<(), AgentError> {
        let first = select_all(self.parts.iter_mut().map(|part| &mut part.task));
        let ended = tokio::select! {
            (_, place, _) = first => Some(place),
            () = stop.cancelled() => None,
        };
        let result = match ended {
            Some(place) => Err(AgentError::Ended(self.parts.remove(place).name)),
            None => Ok(()),
        };
        tracing::info!("stopping");
        supervisor.stopping();
        if result.is_ok() {
            self.part().await;
        }
        for part in self.parts {
            part.stop.cancel();
            if tokio::time::timeout(STOP_PATIENCE, part.task).await.is_err() {
                tracing::warn!(part = part.name, "did not end in time");
            }
        }
        self.net.shutdown().await;
        let store = self.store;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        closed.map_err(|_| AgentError::Ended("the store"))??;
        result
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
