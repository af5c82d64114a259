//! The workloads that ship inside the binary.
//!
//! Owns their names and bytes; the build script makes the components from `workloads/`. Deploys nothing by itself. The
//! invariant: what is here is exactly what this source tree builds.

/// Name and component of each shipped workload, in the order in which the demo deploys them.
#[must_use]
pub const fn shipped() -> [(&'static str, &'static [u8]); 5] {
    [
        ("combat", include_bytes!(concat!(env!("OUT_DIR"), "/combat.wasm"))),
        ("prediction", include_bytes!(concat!(env!("OUT_DIR"), "/prediction.wasm"))),
        ("asset-preload", include_bytes!(concat!(env!("OUT_DIR"), "/asset-preload.wasm"))),
        ("anti-cheat", include_bytes!(concat!(env!("OUT_DIR"), "/anti-cheat.wasm"))),
        ("chat-moderation", include_bytes!(concat!(env!("OUT_DIR"), "/chat-moderation.wasm"))),
    ]
}
