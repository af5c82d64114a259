//! What players say to each other, and who offends.
//!
//! Owns the lines; whether one is an offence is the workload's verdict. The invariant: an offence is counted for whoever said
//! it, once.

use serde_json::{Value, json};

use super::dice::Dice;
use super::{Meaning, PLAYERS, Turn, items};
use crate::demo::tally::Tally;

/// Messages in one call: what a busy channel says in a tick.
const MESSAGES_PER_CALL: u64 = 4;
/// What is said. Some of it is not nice, and some of that is disguised.
const LINES: [&str; 12] = [
    "gg wp everyone",
    "need heal at mid",
    "who has the key?",
    "brb two minutes",
    "nice shot!",
    "report this player please",
    "you are trash, uninstall",
    "what an IDIOT",
    "1d10t",
    "s h u t  u p noob",
    "go left, then push",
    "lol that was close",
];

pub(super) fn turn(dice: &mut Dice) -> Turn {
    let speakers: Vec<_> = (0..MESSAGES_PER_CALL).map(|_| dice.below(PLAYERS)).collect();
    let messages: Vec<_> = speakers.iter().map(|player| json!({"player": player, "text": dice.one(&LINES)})).collect();
    Turn::call("chat-moderation", "moderate", &json!(messages), Meaning::Chat(speakers))
}

/// Returns whether somebody has offended: only then is something written.
pub(super) fn learn(speakers: &[u64], body: &Value, tally: &mut Tally) -> Result<bool, String> {
    let sound = |verdict: &Value| {
        let action = verdict["action"].as_str();
        action.is_some_and(|action| ["allow", "flag", "block"].contains(&action)) && verdict["score"].is_number()
    };
    let verdicts = items("verdicts", speakers.len() as u64, body, sound)?;
    let mut offended = false;
    for (speaker, _) in speakers.iter().zip(verdicts).filter(|(_, verdict)| verdict["action"] != "allow") {
        tally.count(format!("pncounter/chat:offences:{speaker}"), 1);
        offended = true;
    }
    Ok(offended)
}
