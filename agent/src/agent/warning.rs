//! Tells others at once when a workload here is overloaded, or no longer is.
//!
//! Decides nothing: the guest host knows, and the record says so. The invariant: however often it changes, others are told a few times a
//! second at the most.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::members::gossip::SharedMembers;
use crate::wasm::WasmHost;

/// Least time between two words. Overload lasts for an interval of its own at least, so little is lost, and a record costs its host a
/// look at all of itself.
const REST: Duration = Duration::from_millis(200);

/// The loop and what it needs.
pub(super) struct Warning {
    pub(super) wasm: WasmHost,
    pub(super) members: SharedMembers,
}

impl Warning {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.wasm.overload_changed() => self.members.announce(),
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
