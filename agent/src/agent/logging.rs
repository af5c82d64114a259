//! Where the agent's log goes: one subscriber, to stderr or to the journal, in the configured form.

mod journal;

use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use self::journal::Journal;
use crate::config::{LogConfig, LogFormat, LogLevel};

/// How the level is changed while the agent runs.
static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Installs the subscriber. A second agent in one process, as in tests, keeps the first one's.
pub(super) fn init(config: &LogConfig) {
    let (level, handle) = reload::Layer::new(filter(config.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(level);
    let journal = (config.format == LogFormat::Journald).then(Journal::connect).transpose();
    let is_missing = journal.is_err();
    let installed = match (config.format, journal) {
        (_, Ok(Some(journal))) => registry.with(journal).try_init(),
        (LogFormat::Json, _) => registry.with(lines.json()).try_init(),
        (LogFormat::Text | LogFormat::Journald, _) => {
            registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
    };
    if is_missing {
        tracing::warn!("there is no journal here to log to; the log goes to stderr");
    }
    if installed.is_ok() {
        // There is one subscriber in a process's life.
        drop(LEVEL.set(handle));
    }
}

/// Writes what is at least as important as `level` from now on.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only where the subscriber is gone, and with it whoever would read of it.
        drop(handle.reload(filter(level)));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    LevelFilter::from_level(super::settings::level(level))
}
