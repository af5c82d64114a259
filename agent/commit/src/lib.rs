//! Which commit of the source this is.
//!
//! A package of one constant, so that a commit makes cargo look here, and not build the guests again. Its build script asks git.

/// The first twelve digits of the commit, with `+dirty` behind them where what the binary is made of was changed since; `None` of a
/// build outside of the repository. The same commit gives the same text everywhere, so builds stay reproducible.
pub const COMMIT: Option<&str> = option_env!("SELVEDGE_BUILT_FROM");
