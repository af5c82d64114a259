//! Fuzzing of everything that decodes bytes from outside: what the targets in `fuzz_targets/` have in common.
//!
//! `decoders` is what each target does with its bytes and `samples` are real encodings to begin from. Both are used by
//! `sync/tests/robustness.rs` too, which mutates from a seed where no fuzzer runs.

pub mod decoders;
pub mod samples;
