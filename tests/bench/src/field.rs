//! What the benchmarks of the network run: our agents and their peers, all in this process and on loopback.
//!
//! Everybody gets a runtime of its own with as many threads, so that nobody is spared a thread switch that another has to make.
//! One clock times both ends of a way.

pub(crate) mod agents;
pub(crate) mod board;
pub(crate) mod chit;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(crate) mod swarm;
pub(crate) mod swim;

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};

/// Threads of each runtime: the cores of the machine that the goals were set on.
const THREADS: usize = 2;

/// A runtime as every node gets one.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?)
}

/// Which transport connections are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// QUIC.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
}

impl Wire {
    /// Its word in a multiaddr, and in what is reported.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

/// Bytes of what is sent: the number of the sample, and noise.
pub(crate) const PAYLOAD_BYTES: usize = 64;

/// A payload of 64 bytes that bears a number.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let mut bytes = blake3::hash(&number.to_be_bytes()).as_bytes().repeat(PAYLOAD_BYTES / 32);
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number that a payload bears.
pub(crate) fn number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(payload.get(..8)?.try_into().ok()?))
}
