//! The configuration in the words of each part. Translates; decides nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;

use crate::api::Endpoint;
use crate::assets::AssetLimits;
use crate::config::{ApiListen, AssetsConfig, LogLevel, PlacementConfig, WasmConfig};
use crate::net::{AddressError, ListenAddr};
use crate::placement::{Policy, STALE_AFTER_MS_DEFAULT, Terms, Weights};
use crate::reconcile::Timing;
use crate::view::millis;
use crate::{spec, wasm};

/// The folder of compiled code in the data directory. It can be removed at any time: what is missing is compiled again.
const CODE_FOLDER: &str = "code";
/// Bytes of compiled code that are kept: some hundred guests in Rust, or a dozen that bring an interpreter.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// What the key of compiled code is derived for. Another text would be another key.
const CODE_KEY_CONTEXT: &str = "selvedge 2026-11 compiled code of components on this host";

/// Where compiled code lies in a data directory.
pub(crate) fn code_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(CODE_FOLDER)
}

pub(super) fn endpoints(listen: &[ApiListen]) -> Vec<Endpoint> {
    let endpoint = |listen: &ApiListen| match listen {
        ApiListen::Tcp(address) => Endpoint::Tcp(*address),
        ApiListen::Unix(path) => Endpoint::Unix(path.clone()),
    };
    listen.iter().map(endpoint).collect()
}

pub(super) fn listen(addresses: &[SocketAddr]) -> Result<Vec<ListenAddr>, AddressError> {
    addresses.iter().map(|address| address.to_string().parse()).collect()
}

/// `key` is the node's own, from which the key of its compiled code is derived.
pub(super) fn guest_host(config: &WasmConfig, data_dir: &Path, key: &SigningKey) -> wasm::WasmConfig {
    let memory_bytes = usize::try_from(spec::MEMORY_MAX).unwrap_or(usize::MAX);
    let cache = wasm::CacheConfig {
        folder: code_folder(data_dir),
        key: blake3::derive_key(CODE_KEY_CONTEXT, &key.to_bytes()),
        bytes_max: CODE_BYTES_MAX,
    };
    let compile =
        wasm::CompileConfig { helper: config.compiler.clone(), cache: Some(cache), ..wasm::CompileConfig::default() };
    wasm::WasmConfig { workers: config.workers, memory_bytes, compile, ..wasm::WasmConfig::default() }
}

pub(super) const fn asset_limits(config: AssetsConfig) -> AssetLimits {
    AssetLimits { memory_bytes: config.memory, disk_bytes: config.disk }
}

pub(super) fn policy(config: &PlacementConfig) -> Policy {
    let weights = config.weights;
    let terms =
        Terms { resource: weights.resource, latency: weights.latency, load: weights.load, affinity: weights.affinity };
    let weights = Weights::new(terms).expect("the configuration has checked its weights");
    Policy { weights, threshold: config.threshold, stale_after_ms: STALE_AFTER_MS_DEFAULT }
}

pub(super) fn timing(config: &PlacementConfig) -> Timing {
    Timing { dwell_ms: millis(config.dwell), ..Timing::default() }
}

pub(super) const fn level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}
