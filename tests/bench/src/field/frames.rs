//! Our network alone: two handles that send each other frames, without an agent around them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use selvedge::net::{Admission, Lane, Net, NetConfig, NetEvent, NetEvents, Refused};
use selvedge_sync::id::NodeId;
use tokio::runtime::Runtime;

use super::board::{Board, Clock};
use super::{Wire, number, payload, runtime};

/// How long the two may take to be connected.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// Lets everybody in: what is measured begins after that.
struct Open;

impl Admission for Open {
    fn credentials(&self) -> Vec<u8> {
        Vec::new()
    }

    fn judge(&self, _: NodeId, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
}

/// Two networks that are connected.
pub(crate) struct Frames {
    from: (Net, Runtime),
    to: (Net, Runtime),
    clock: Clock,
}

impl Frames {
    pub(crate) fn start(wire: Wire) -> Result<Self> {
        let clock = Clock::new();
        let to = start(1, Vec::new(), clock.board())?;
        let known = to.0.listen_addresses();
        let from =
            start(0, known.into_iter().filter(|address| address.contains(wire.word())).collect(), clock.board())?;
        let deadline = Instant::now() + CONNECT_PATIENCE;
        while from.0.peers().is_empty() || to.0.peers().is_empty() {
            ensure!(Instant::now() < deadline, "two networks do not find each other");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { from, to, clock })
    }

    /// Sends a frame and waits until it is there.
    pub(crate) fn once(&self, number: u64) -> Result<Duration> {
        let (net, to, board) = (self.from.0.clone(), self.to.0.node(), self.clock.board());
        self.clock.time(number, 0, 1, || {
            let _task = self.from.1.spawn(async move {
                board.begin();
                if let Err(error) = net.send(to, Lane::Sync, payload(number)) {
                    eprintln!("a frame was not sent: {error}");
                }
            });
        })
    }
}

fn start(place: usize, bootstrap: Vec<String>, board: Board) -> Result<(Net, Runtime)> {
    let runtime = runtime()?;
    let mut seed = [7; 32];
    seed[0] = u8::try_from(place).context("a place")?;
    let config = NetConfig {
        secret_key: seed,
        admission: Arc::new(Open),
        registrar: None,
        listen: vec!["127.0.0.1:0".parse()?],
        bootstrap,
        advertise: Vec::new(),
    };
    let (net, events) = runtime.block_on(Net::start(config))?;
    let _task = runtime.spawn(listen(events, place, board));
    Ok((net, runtime))
}

async fn listen(mut events: NetEvents, place: usize, board: Board) {
    while let Some(event) = events.recv().await {
        if let NetEvent::Message { bytes, .. } = event
            && let Some(number) = number(&bytes)
        {
            board.seen(place, number);
        }
    }
}
