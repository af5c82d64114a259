//! Keeps the runtime listening while the driver hangs.
//!
//! The workers of a runtime take turns at waiting for sockets and timers. Whoever has had its turn goes on with what it heard of, and
//! the next that is idle takes over. If what it goes on with is a pass that does not end, and the others were idle already, nobody takes over:
//! they sleep, and the agent is deaf, to a health check too. So a thread outside of the runtime looks at the driver, and when that is silent,
//! wakes a worker. Says and decides nothing; `agent/health` says what is wrong. The invariant: while the driver turns, nobody is woken.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use super::AgentError;
use crate::driver::DriverHandle;
use crate::view::StateView;

/// How often the driver is looked at. It passes every 500 milliseconds at the least.
const LOOK: Duration = Duration::from_secs(1);

/// Age of its last pass above which a worker is woken, in milliseconds. Less than that above which health complains.
const SILENT_MS: u64 = 1_000;

/// Ends the thread when it is dropped.
#[derive(Debug)]
pub(super) struct Pulse {
    _end: mpsc::Sender<()>,
}

/// Begins. To be called in the runtime.
///
/// # Errors
/// The operating system grants no thread.
pub(super) fn begin(view: StateView, driver: DriverHandle) -> Result<Pulse, AgentError> {
    let (end, ended) = mpsc::channel();
    let runtime = Handle::current();
    let look = move || {
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if view.now().mono_ms.saturating_sub(driver.stats().passed_ms) > SILENT_MS {
                // Whoever has done it has nothing else to do, and waits for sockets.
                drop(runtime.spawn(async {}));
            }
        }
    };
    thread::Builder::new().name("selvedge-pulse".to_owned()).spawn(look).map_err(AgentError::Thread)?;
    Ok(Pulse { _end: end })
}
