//! What a game server asks of its agent, and what it learns from the answers.
//!
//! Owns the mixture and what all answers have in common; each kind of request is in a file of its own. Sends nothing. The
//! invariant: the same seed and the same answers make the same requests, and every acknowledged effect is in the tally.

mod chat;
mod combat;
mod dice;
mod inspection;
mod movement;
mod travel;
mod write;

use serde_json::Value;

use self::combat::Fights;
use self::dice::Dice;
use self::inspection::Patrol;
use self::travel::Travellers;
use crate::cli::{Answer, Ask, AskBody, call_path};
use crate::demo::tally::Tally;

/// Players in the whole game. Few, so that all agents write to the same counters.
const PLAYERS: u64 = 64;
/// Zones in the game.
const ZONES: u64 = 16;

/// What kind of request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::demo) enum Kind {
    /// A zone's duels.
    Combat,
    /// Movement of some players, to be predicted.
    Prediction,
    /// What some players have said.
    Chat,
    /// What a server has seen some players do.
    Inspection,
    /// Players who have changed zones.
    Moves,
    /// Players whose next assets are asked for.
    Plan,
    /// A write to the shared state.
    Write,
}

/// A request, and what is needed to understand its answer.
pub(in crate::demo) struct Turn {
    pub(in crate::demo) ask: Ask,
    meaning: Meaning,
}

enum Meaning {
    /// The two fighters of each duel.
    Combat(Vec<(u64, u64)>),
    /// How many tracks.
    Prediction(u64),
    /// Who said each message.
    Chat(Vec<u64>),
    /// How many observations.
    Inspection(u64),
    /// From which zone to which.
    Moves(Vec<(String, String)>),
    /// How many players.
    Plan(u64),
    /// The counter that a success changes, and by how much; none for sets and maps.
    Write(Option<(String, i128)>),
}

impl Turn {
    /// A call of a workload's function with one argument.
    fn call(workload: &str, function: &str, argument: &Value, meaning: Meaning) -> Self {
        let ask = Ask::post(call_path(workload, function), &Value::Array(vec![argument.clone()]));
        Self { ask, meaning }
    }

    pub(in crate::demo) fn kind(&self) -> Kind {
        match self.meaning {
            Meaning::Combat(_) => Kind::Combat,
            Meaning::Prediction(_) => Kind::Prediction,
            Meaning::Chat(_) => Kind::Chat,
            Meaning::Inspection(_) => Kind::Inspection,
            Meaning::Moves(_) => Kind::Moves,
            Meaning::Plan(_) => Kind::Plan,
            Meaning::Write(_) => Kind::Write,
        }
    }
}

/// One game server.
pub(in crate::demo) struct Player {
    dice: Dice,
    fights: Fights,
    patrol: Patrol,
    travellers: Travellers,
    tally: Tally,
}

impl Player {
    /// The game server of this number.
    pub(in crate::demo) fn new(number: u64) -> Self {
        Self {
            dice: Dice::new(number),
            fights: Fights::default(),
            patrol: Patrol::new(number),
            travellers: Travellers::new(number),
            tally: Tally::default(),
        }
    }

    /// What it was promised so far.
    pub(in crate::demo) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Its next request. Of twenty, seven are combat, four prediction, two each chat and inspections, one each moves and plans,
    /// and three writes.
    pub(in crate::demo) fn next_turn(&mut self) -> Turn {
        match self.dice.below(20) {
            0..7 => self.fights.turn(&mut self.dice),
            7..11 => movement::turn(&mut self.dice),
            11..13 => chat::turn(&mut self.dice),
            13..15 => self.patrol.turn(&mut self.dice),
            15 => self.travellers.moves(&mut self.dice),
            16 => self.travellers.plan(&mut self.dice),
            _ => write::turn(&mut self.dice),
        }
    }

    /// Takes in the successful answer to `turn`. The error says what is wrong with it.
    pub(in crate::demo) fn learn(&mut self, turn: &Turn, answer: &Answer) -> Result<(), String> {
        let body = answer.json().map_err(|error| format!("the answer is no JSON: {error}"))?;
        let commit = match turn.meaning {
            Meaning::Write(_) => write::commit(&body),
            _ => answer.commit.clone(),
        };
        if let Some(commit) = &commit {
            self.tally.acknowledge(commit).map_err(|error| error.to_string())?;
        }
        let wrote = self.hold(&turn.meaning, &body)?;
        if wrote && commit.is_none() {
            return Err("the answer names no commit for what it wrote".to_owned());
        }
        Ok(())
    }

    /// Holds an answer to what was asked, and counts what it promises. Returns whether it must have written something.
    fn hold(&mut self, meaning: &Meaning, body: &Value) -> Result<bool, String> {
        match meaning {
            Meaning::Combat(pairs) => self.fights.learn(pairs, body, &mut self.tally).map(|()| true),
            Meaning::Prediction(tracks) => movement::check(*tracks, body).map(|()| true),
            Meaning::Chat(speakers) => chat::learn(speakers, body, &mut self.tally),
            Meaning::Inspection(seen) => inspection::learn(*seen, body, &mut self.tally).map(|()| true),
            Meaning::Moves(moves) => {
                travel::learn(moves, &mut self.tally);
                Ok(true)
            }
            Meaning::Plan(players) => travel::check(*players, body).map(|()| false),
            Meaning::Write(counted) => {
                if let Some((key, by)) = counted {
                    self.tally.count(key.clone(), *by);
                }
                Ok(true)
            }
        }
    }
}

/// The function of a shipped workload that game servers call most, and the arguments of `count` calls of it, each a JSON array;
/// `None` for any other workload.
pub(crate) fn sample_calls(workload: &str, count: usize) -> Option<(&'static str, Vec<Value>)> {
    let (mut dice, mut fights, mut patrol) = (Dice::new(0), Fights::default(), Patrol::new(0));
    let mut travellers = Travellers::new(0);
    let (function, mut turn): (_, Box<dyn FnMut() -> Turn>) = match workload {
        "prediction" => ("predict", Box::new(|| movement::turn(&mut dice))),
        "asset-preload" => ("plan", Box::new(|| travellers.plan(&mut dice))),
        "chat-moderation" => ("moderate", Box::new(|| chat::turn(&mut dice))),
        "anti-cheat" => ("inspect", Box::new(|| patrol.turn(&mut dice))),
        "combat" => ("resolve", Box::new(|| fights.turn(&mut dice))),
        _ => return None,
    };
    let arguments = |turn: Turn| match turn.ask.body {
        Some(AskBody::Json(json)) => serde_json::from_slice(&json).expect("what was written as JSON is JSON"),
        Some(AskBody::Wasm(_)) | None => unreachable!("a call has arguments"),
    };
    Some((function, (0..count).map(|_| arguments(turn())).collect()))
}

/// The items of an answer to `wanted` questions, each of which must be `sound`.
fn items<'a>(
    what: &str,
    wanted: u64,
    body: &'a Value,
    sound: impl Fn(&Value) -> bool,
) -> Result<&'a Vec<Value>, String> {
    let list = body.as_array().filter(|list| list.len() as u64 == wanted && list.iter().all(sound));
    list.ok_or_else(|| {
        // Enough of an unexpected answer to recognise it.
        let got: String = body.to_string().chars().take(160).collect();
        format!("{wanted} {what} were asked for, got {got}")
    })
}

#[cfg(test)]
mod tests;
