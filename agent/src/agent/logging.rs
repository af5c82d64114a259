//! Where the agent's log goes: one subscriber, to stderr, in the configured form.

use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber. A second agent in one process, as in tests, keeps the first one's.
pub(super) fn init(config: &LogConfig) {
    let builder = fmt().with_writer(std::io::stderr).with_max_level(config.level);
    let installed = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    drop(installed);
}
