//! That something is under way, for whoever waits at a terminal.
//!
//! Owns a line on stderr; where that is no terminal, nothing is drawn. The invariant: the line is gone before anything else is said.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Pause between two pictures.
const EVERY: Duration = Duration::from_millis(120);

/// A line that says what is waited for and for how long. Gone when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Begins to say `what` is under way.
    #[must_use]
    pub(crate) fn of(what: impl Into<String>) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("the template is sound");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        bar.set_message(what.into());
        bar.enable_steady_tick(EVERY);
        Self(bar)
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
