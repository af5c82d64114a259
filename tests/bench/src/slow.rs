//! A call while a thousand clients are slow, against the same call without them, in turn.
//!
//! A quarter of them never ends the head of a request, a quarter sends a body a byte a second, a quarter reads nothing of its answer, and a
//! quarter says nothing after its first request. Whoever is let go of comes again at once, so that there are always a thousand. They have a
//! runtime and a thread of their own, and share the machine with the agent.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::calls::{Call, Ours, client, over_http};
use crate::field::runtime;
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "slow";

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 8;

/// Calls in a block, one at a time.
const CALLS: usize = 1_500;

/// Slow clients.
const CROWD: u64 = 1_000;

/// How long the crowd may take to come, or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Until it has made itself felt.
const SETTLE: Duration = Duration::from_millis(300);

/// How often a slow client sends a byte.
const DRIP: Duration = Duration::from_secs(1);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let ours = Ours::start(Path::new(MEMORY))?;
    let crowd = Crowd::new(ours.api(), ours.token())?;
    let client = client()?;
    let call = Call::prediction();
    let mut http = [client.block_on(ours.http())?];
    let (mut median, mut tail) = (Pair::default(), Pair::default());
    for round in 0..=ROUNDS {
        crowd.gather(true)?;
        let with = client.block_on(over_http(&mut http, &call, CALLS))?.took;
        crowd.gather(false)?;
        let without = client.block_on(over_http(&mut http, &call, CALLS))?.took;
        median.note(round, percentile(&with, 0.5), percentile(&without, 0.5));
        tail.note(round, percentile(&with, 0.99), percentile(&without, 0.99));
    }
    let came = crowd.came.load(Ordering::Relaxed);
    Ok(vec![
        Row::ratio(NAME, format!("p99 of a call, {CROWD} slow clients"), &tail, "none", "µs")
            .goal(Goal::AtMost(1.2))
            .note(format!("{came} connections of slow clients in all")),
        Row::ratio(NAME, "the same, p50", &median, "none", "µs"),
    ])
}

/// Slow clients, when there are to be any.
struct Crowd {
    on: Arc<AtomicBool>,
    there: Arc<AtomicU64>,
    came: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Crowd {
    fn new(api: SocketAddr, token: &str) -> Result<Self> {
        let (on, runtime) = (Arc::new(AtomicBool::new(false)), runtime()?);
        let (there, came) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for number in 0..CROWD {
            let (on, there, came) = (Arc::clone(&on), Arc::clone(&there), Arc::clone(&came));
            let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n");
            let (begin, drips) = match number % 4 {
                0 => (head("GET /v1/status") + "X: ", true),
                1 => (head("POST /v1/commits") + "Content-Length: 60000\r\n\r\n[", true),
                2 => (head("GET /metrics") + "\r\n", false),
                _ => (head("GET /healthz") + "\r\n", false),
            };
            let reads = number % 4 != 2;
            drop(runtime.spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if !on.load(Ordering::Relaxed) {
                        continue;
                    }
                    there.fetch_add(1, Ordering::Relaxed);
                    came.fetch_add(1, Ordering::Relaxed);
                    // Whoever is let go of comes again.
                    drop(be_slow(api, &begin, (drips, reads), &on).await);
                    there.fetch_sub(1, Ordering::Relaxed);
                }
            }));
        }
        Ok(Self { on, there, came, _runtime: runtime })
    }

    /// Has them come, or go, and waits until they have.
    fn gather(&self, come: bool) -> Result<()> {
        self.on.store(come, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Some are always on their way back.
            let there = self.there.load(Ordering::Relaxed);
            if if come { there > CROWD * 8 / 10 } else { there == 0 } {
                break;
            }
            ensure!(Instant::now() < deadline, "{there} slow clients are there");
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }
}

/// Is slow until it is let go of or is to go.
async fn be_slow(api: SocketAddr, begin: &str, (drips, reads): (bool, bool), on: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(api).await?;
    stream.write_all(begin.as_bytes()).await?;
    let mut heard = [0; 4_096];
    let mut next = tokio::time::Instant::now() + DRIP;
    while on.load(Ordering::Relaxed) {
        let look = tokio::time::sleep(DRIP / 4);
        tokio::select! {
            read = stream.read(&mut heard), if reads => if read? == 0 { break },
            () = look => {}
        }
        if drips && next <= tokio::time::Instant::now() {
            next += DRIP;
            stream.write_all(b"1").await?;
        }
    }
    Ok(())
}
