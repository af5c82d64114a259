//! That something is under way, for whoever waits at a terminal.
//!
//! Owns a line on stderr; where that is no terminal, nothing is drawn. The invariant: the line is gone before anything else is said.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Pause between two pictures.
const EVERY: Duration = Duration::from_millis(120);

/// What is done is told in thousandths.
const WHOLE: u64 = 1_000;

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

    /// Whether anybody sees it.
    #[must_use]
    pub(crate) fn is_seen(&self) -> bool {
        !self.0.is_hidden()
    }

    /// Shows how much of it is done, of a thousand, and says what it is.
    pub(crate) fn done(&self, permille: u64, what: impl Into<String>) {
        if self.0.length() != Some(WHOLE) {
            let bar = "{spinner} {msg} [{bar:30}] {percent} % ({elapsed})";
            self.0.set_style(ProgressStyle::with_template(bar).expect("the template is sound").progress_chars("=> "));
            self.0.set_length(WHOLE);
        }
        self.0.set_position(permille.min(WHOLE));
        self.0.set_message(what.into());
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
