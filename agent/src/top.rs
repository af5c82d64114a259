//! `selvedge top`: an agent and its cluster at one look, again and again.
//!
//! Owns the loop and the keys; what is known is in `model`, what it looks like in `view`, the terminal in `screen`. The invariants: the
//! terminal is given back however it ends; an agent that is away is said and waited for; looking costs the agent three reads a second.

mod changes;
mod keys;
mod model;
mod screen;
mod view;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::keys::Key;
use self::model::{Model, Seen};
use self::screen::Screen;
use crate::cli::terminal::{self, Raw};
use crate::cli::{Ask, CliError, Client, pretty, print};

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the agent until the user has seen enough; with `as_json`, prints what it would show, once.
///
/// # Errors
/// This is no terminal; or, with `as_json`, the agent is away.
pub(crate) async fn top(api: String, mut client: Client, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let seen = look(&mut client).await?;
        let document = json!({"status": seen.status, "nodes": seen.nodes, "convergence": seen.convergence});
        return print(&pretty(&document));
    }
    let no_terminal = |error: std::io::Error| {
        CliError::Usage(format!("top needs a terminal: {error}\n  hint: selvedge status --watch writes anywhere"))
    };
    let _raw = Raw::enter().map_err(no_terminal)?;
    let model = Model::new(api);
    let ended = run(model, client).await;
    ended.map_err(|error| CliError::Failed(format!("the terminal failed: {error}")))
}

async fn run(mut model: Model, client: Client) -> std::io::Result<()> {
    let (mut resized, mut terminated) = (signal(SignalKind::window_change())?, signal(SignalKind::terminate())?);
    let mut interrupted = signal(SignalKind::interrupt())?;
    let (mut keys, mut looks) = (keys::read(), looks(client));
    let mut screen = Screen::new(terminal::takes_colours());
    let mut redraw = tokio::time::interval(EVERY);
    loop {
        let size = terminal::size();
        screen.draw(&view::picture(&model, size, Instant::now()), size)?;
        tokio::select! {
            Some(look) = looks.recv() => model.take(look, Instant::now()),
            key = keys.recv() => match key {
                // Whoever typed is gone, and the terminal with them.
                None | Some(Key::Quit) => return Ok(()),
                Some(key) => model.press(key),
            },
            _ = resized.recv() => screen.forget(),
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
            // What is shown grows older by itself.
            _ = redraw.tick() => {}
        }
    }
}

/// Looks again and again, in a task of its own: an agent that is slow must not make the keys slow.
fn looks(mut client: Client) -> mpsc::Receiver<Result<Seen, String>> {
    let (told, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let look = look(&mut client).await;
            // The hint is for a command that has ended.
            let look = look.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned());
            if told.send(look).await.is_err() {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    });
    looks
}

async fn look(client: &mut Client) -> Result<Seen, CliError> {
    let mut ask = async |path: &str| client.json(Ask::get(path)).await;
    let (status, nodes) = (ask("/v1/status").await?, ask("/v1/nodes").await?);
    let convergence = ask("/v1/convergence").await.unwrap_or(Value::Null);
    Ok(Seen { status, nodes, convergence })
}

#[cfg(test)]
mod tests;
