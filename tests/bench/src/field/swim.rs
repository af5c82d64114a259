//! Members by the foca crate over UDP on loopback, each on a runtime of its own, as the crate's example runs one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use foca::{AccumulatingRuntime, Config, Foca, Identity, NoCustomBroadcast, OwnedNotification, PostcardCodec, Timer};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

use super::runtime;

/// How long everybody may take to know everybody.
const MEET_PATIENCE: Duration = Duration::from_secs(60);

/// How often a member that stalls looks whether it still does.
const STALL_LOOK: Duration = Duration::from_millis(20);

/// Who a member is: its address, and how often it had to call itself anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    address: SocketAddr,
    bump: u32,
}

impl Identity for Id {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> SocketAddr {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.bump > adversary.bump
    }
}

/// What a member has called others: who was called down, and when.
type Fallen = Arc<Mutex<Vec<(SocketAddr, Instant)>>>;

/// One member.
pub(crate) struct Member {
    pub(crate) address: SocketAddr,
    fallen: Fallen,
    known: Arc<Mutex<usize>>,
    stalls: Arc<AtomicBool>,
    // Its end is the member's.
    _runtime: Runtime,
}

/// Starts `count` members and waits until all know each other.
pub(crate) fn start(count: usize, config: &Config) -> Result<Vec<Member>> {
    let mut members: Vec<Member> = Vec::new();
    for place in 0..count {
        let first = members.first().map(|first| first.address);
        members.push(Member::start(place, first, config.clone())?);
    }
    let deadline = Instant::now() + MEET_PATIENCE;
    for member in &members {
        while *member.known.lock().unwrap_or_else(PoisonError::into_inner) < count - 1 {
            ensure!(Instant::now() < deadline, "members do not find each other");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(members)
}

impl Member {
    fn start(place: usize, first: Option<SocketAddr>, config: Config) -> Result<Self> {
        let runtime = runtime()?;
        let socket = runtime.block_on(UdpSocket::bind("127.0.0.1:0"))?;
        let address = socket.local_addr()?;
        let (fallen, known, stalls) = (Fallen::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let life = Life {
            fallen: Arc::clone(&fallen),
            known: Arc::clone(&known),
            stalls: Arc::clone(&stalls),
            socket,
            timers: BinaryHeap::new(),
        };
        let seed = StdRng::seed_from_u64(place as u64);
        let foca = Foca::new(Id { address, bump: 0 }, config, seed, PostcardCodec);
        let _task = runtime.spawn(async move {
            if let Err(error) = life.run(foca, first).await {
                eprintln!("a member of foca's has ended: {error}");
            }
        });
        Ok(Self { address, fallen, known, stalls, _runtime: runtime })
    }

    /// When it has called `other` down for the first time.
    pub(crate) fn called_down(&self, other: SocketAddr) -> Option<Instant> {
        let fallen = self.fallen.lock().unwrap_or_else(PoisonError::into_inner);
        fallen.iter().find(|(address, _)| *address == other).map(|(_, when)| *when)
    }

    /// Whom it has called down so far.
    pub(crate) fn fallen(&self) -> Vec<SocketAddr> {
        self.fallen.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(address, _)| *address).collect()
    }

    /// Stops it like a SIGSTOP, or lets it go on.
    pub(crate) fn stall(&self, does: bool) {
        self.stalls.store(does, Ordering::Relaxed);
    }
}

/// What a member runs on.
struct Life {
    fallen: Fallen,
    known: Arc<Mutex<usize>>,
    stalls: Arc<AtomicBool>,
    socket: UdpSocket,
    timers: BinaryHeap<Reverse<(Instant, Timer<Id>)>>,
}

type Machine = Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>;

impl Life {
    async fn run(mut self, mut foca: Machine, first: Option<SocketAddr>) -> Result<()> {
        let mut outputs = AccumulatingRuntime::new();
        let mut bytes = vec![0; 1_500];
        if let Some(address) = first {
            foca.announce(Id { address, bump: 0 }, &mut outputs).map_err(|error| anyhow!("{error}"))?;
        }
        loop {
            self.carry_out(&foca, &mut outputs).await?;
            while self.stalls.load(Ordering::Relaxed) {
                tokio::time::sleep(STALL_LOOK).await;
            }
            let due = self.timers.peek().map(|Reverse((when, _))| *when);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            // Datagrams first: after a stall, what came meanwhile is heard before anybody is accused.
            tokio::select! {
                biased;
                read = self.socket.recv_from(&mut bytes) => {
                    let (length, _) = read?;
                    // What is late or strange is refused, which is no failure.
                    foca.handle_data(&bytes[..length], &mut outputs).unwrap_or_default();
                }
                () = wait => {
                    if let Some(Reverse((_, timer))) = self.timers.pop() {
                        foca.handle_timer(timer, &mut outputs).unwrap_or_default();
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, foca: &Machine, outputs: &mut AccumulatingRuntime<Id>) -> Result<()> {
        while let Some((to, bytes)) = outputs.to_send() {
            // A datagram to who is gone may be refused by the system.
            self.socket.send_to(&bytes, to.address).await.unwrap_or_default();
        }
        let now = Instant::now();
        while let Some((after, timer)) = outputs.to_schedule() {
            self.timers.push(Reverse((now + after, timer)));
        }
        while let Some(told) = outputs.to_notify() {
            if let OwnedNotification::MemberDown(id) = told {
                self.fallen.lock().unwrap_or_else(PoisonError::into_inner).push((id.address, now));
            }
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = foca.num_members();
        Ok(())
    }
}
