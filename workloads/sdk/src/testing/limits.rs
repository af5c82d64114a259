//! What a workload may use in one call, and how large what it stores may be.
//!
//! Owns numbers only. The invariant: they are an agent's own; a test holds them to it.

/// What one call may use. The defaults are those of a workload that was deployed without limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of imported functions.
    pub host_calls: u64,
    /// Handles to the state that are open at one time.
    pub handles: usize,
    /// Objects of the state that are written.
    pub writes: usize,
    /// Texts and byte strings written to the state, in bytes, with the names of keys and fields.
    pub write_bytes: usize,
    /// Lines of log. Further ones are dropped.
    pub log_lines: usize,
    /// One line of log, in bytes. The rest of a longer one is cut off.
    pub log_line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            host_calls: 100_000,
            handles: 4_096,
            writes: 4_096,
            write_bytes: 256 * 1024,
            log_lines: 32,
            log_line_bytes: 1_024,
        }
    }
}

/// Longest name of a key or a field, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// Largest text or byte string, in bytes.
pub(super) const SCALAR_BYTES_MAX: usize = 64 * 1024;
/// Most members or fields in one operation.
pub(super) const MEMBERS_PER_OP_MAX: usize = 4_096;
/// Largest total that one host may bring into a counter, in each direction.
pub(super) const COUNTER_TOTAL_MAX: u64 = i64::MAX as u64;
/// Content of one object, in bytes, above which nothing more is added to it.
pub(super) const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What an item of an object weighs beside its own bytes.
pub(super) const ITEM_OVERHEAD_BYTES: usize = 64;
/// Assets that one call may ask its host to fetch.
pub(super) const PRELOADS_MAX: usize = 64;
/// How the digest of an asset begins, and how many hexadecimal digits follow.
pub(super) const DIGEST_PREFIX: &str = "blake3:";
pub(super) const DIGEST_DIGITS: usize = 64;
/// Names that begin so belong to the agent.
pub(super) const RESERVED_PREFIX: &str = "selvedge:";
