//! Whether this agent is well, and what is wrong if not.

use crate::driver::DriverHandle;
use crate::net::Net;
use crate::service;
use crate::view::{StateView, millis};
use crate::wasm::WasmHost;

/// Age of the driver's last pass above which it counts as stuck, in milliseconds. It passes every 50.
const DRIVER_STUCK_MS: u64 = 2_000;

/// Age of the guests' deadline ticker above which deadlines are not kept, in milliseconds. It ticks every millisecond, and a
/// crowded host may hold it up for a while.
const TICKER_STUCK_MS: u64 = 1_000;

/// Looks at the parts that can be unwell. Cheap to clone.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) view: StateView,
    pub(super) driver: DriverHandle,
    pub(super) net: Net,
    pub(super) wasm: WasmHost,
}

impl Health {
    /// Everything that is wrong, in sentences.
    pub(super) fn report(&self) -> service::Health {
        let mut reasons = self.ailments();
        for address in self.net.unreached_bootstrap() {
            reasons.push(format!("the bootstrap address {address} has not been reached; still trying"));
        }
        service::Health { ok: reasons.is_empty(), reasons }
    }

    /// Whether new work may be placed here. An unreachable neighbour is no reason against it.
    pub(super) fn can_host(&self) -> bool {
        self.ailments().is_empty()
    }

    fn ailments(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let stats = self.driver.stats();
        if let Some(reason) = stats.store_failure {
            reasons.push(format!("read-only: the store cannot write ({reason})"));
        }
        let silent_ms = self.view.now().mono_ms.saturating_sub(stats.passed_ms);
        if silent_ms > DRIVER_STUCK_MS {
            reasons.push(format!("the driver has made no pass for {silent_ms} ms"));
        }
        let ticker_ms = millis(self.wasm.ticker_age());
        if ticker_ms > TICKER_STUCK_MS {
            reasons.push(format!("the ticker of guest deadlines has stood still for {ticker_ms} ms"));
        }
        let diverged = self.view.read(|replica| replica.counters().diverged);
        if diverged > 0 {
            reasons.push(format!("{diverged} times a member with the same commits had another root: a bug or damage"));
        }
        reasons
    }
}
