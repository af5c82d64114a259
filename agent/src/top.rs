//! `selvedge top`: an agent and its cluster at one look, again and again.
//!
//! Owns the loop; `looks` asks the agent, what is known is in `model`, what is looked at in `ui`, what it looks like in `view`, and `ansi`
//! is the terminal that `ratatui` draws on. The invariants: the terminal is given back however it ends; an agent that is away is said and
//! waited for; looking costs the agent a few reads a second.

mod ansi;
mod happened;
mod keys;
mod looks;
mod model;
mod ui;
mod view;

use std::io::{self, Stdout};
use std::time::Instant;

use ratatui::Terminal;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::ansi::Ansi;
use self::looks::{EVERY, Subject};
use self::model::Model;
use self::ui::{Then, Ui};
use crate::cli::terminal::{self, Raw};
use crate::cli::{CliError, Client, pretty, print};

/// Shows the agent until the user has seen enough; with `as_json`, prints what it would show, once.
///
/// # Errors
/// This is no terminal; or, with `as_json`, the agent is away.
pub(crate) async fn top(api: String, mut client: Client, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let seen = looks::look(&mut client, Subject::Nothing).await?;
        let document = json!({"status": seen.status, "nodes": seen.nodes, "convergence": seen.convergence});
        return print(&pretty(&document));
    }
    let no_terminal = |error: io::Error| {
        CliError::Usage(format!("top needs a terminal: {error}\n  hint: selvedge status --watch writes anywhere"))
    };
    let mut raw = Raw::enter().map_err(no_terminal)?;
    let ended = run(&mut raw, Model::new(api), client).await;
    ended.map_err(|error| CliError::Failed(format!("the terminal failed: {error}")))
}

async fn run(raw: &mut Raw, mut model: Model, client: Client) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    let (wanted, subjects) = watch::channel(Subject::Nothing);
    let (mut keys, mut looks) = (keys::read(), looks::looks(client, subjects));
    let mut ui = Ui::default();
    let backend = Ansi::new(io::stdout(), terminal::takes_colours(), terminal::takes_unicode());
    let mut screen = Terminal::new(backend)?;
    let mut redraw = tokio::time::interval(EVERY);
    loop {
        screen.draw(|frame| view::draw(frame, &model, &mut ui, Instant::now()))?;
        tokio::select! {
            Some(look) = looks.recv() => {
                if ui.is_paused { model.take_closely(look) } else { model.take(look, Instant::now()) }
            }
            key = keys.recv() => match key.map(|key| ui.press(key, view::COLUMNS)) {
                Some(Then::GoOn) => { wanted.send_if_modified(|subject| renew(subject, ui.wanted())); }
                // Whoever typed is gone, and the terminal with them.
                None | Some(Then::Quit) => return Ok(()),
            },
            told = signals.next() => match told {
                Told::Resized => screen.clear()?,
                Told::End => return Ok(()),
                Told::Suspend => suspend(raw, &mut screen)?,
            },
            // What is shown grows older by itself.
            _ = redraw.tick() => {}
        }
    }
}

/// Gives the terminal to whoever started this until they want it back.
fn suspend(raw: &mut Raw, screen: &mut Terminal<Ansi<Stdout>>) -> io::Result<()> {
    raw.suspend()?;
    screen.clear()
}

/// Whether `subject` was another before.
fn renew(subject: &mut Subject, wanted: Subject) -> bool {
    let is_another = *subject != wanted;
    *subject = wanted;
    is_another
}

/// What a signal means here.
enum Told {
    Resized,
    Suspend,
    End,
}

/// The signals that a terminal or its user sends.
struct Signals {
    resized: Signal,
    suspended: Signal,
    ends: [Signal; 4],
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let end = |kind: fn() -> SignalKind| signal(kind());
        let ends = [SignalKind::interrupt, SignalKind::terminate, SignalKind::hangup, SignalKind::quit].map(end);
        let [interrupt, terminate, hangup, quit] = ends;
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            suspended: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            ends: [interrupt?, terminate?, hangup?, quit?],
        })
    }

    /// The next one. Nothing is lost when this is dropped.
    async fn next(&mut self) -> Told {
        let [interrupt, terminate, hangup, quit] = &mut self.ends;
        tokio::select! {
            _ = self.resized.recv() => Told::Resized,
            _ = self.suspended.recv() => Told::Suspend,
            _ = interrupt.recv() => Told::End,
            _ = terminate.recv() => Told::End,
            _ = hangup.recv() => Told::End,
            _ = quit.recv() => Told::End,
        }
    }
}

#[cfg(test)]
mod tests;
