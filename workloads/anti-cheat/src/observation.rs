//! What a caller tells, checked.
//!
//! Owns the check of the arguments and the unit in which places are kept. The invariant: after the check no number can
//! overflow or be none, whatever the rules do with it.

use selvedge_sdk::Fault;

use crate::limits::Up;

/// The most observations of one call: what fits into the host's default limit for a result, with room to spare.
pub const OBSERVATIONS_MAX: usize = 4_096;
/// The most players of one call: with their tracks they fit into what one commit may hold.
pub const PLAYERS_MAX: usize = 512;
/// The longest kind of an action, in bytes.
pub const KIND_BYTES_MAX: usize = 64;
/// The farthest from the origin, in metres: a quarter of the way around the Earth.
pub const COORDINATE_MAX: f64 = 10_000_000.0;

/// A place in centimetres; the third number is height.
pub type Place = [i64; 3];

/// One sight of a player.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    /// Whom.
    pub player: u64,
    /// The server's clock, in milliseconds of any epoch.
    pub t_ms: u64,
    /// Metres.
    pub at: [f64; 3],
    /// What the player did.
    pub action: Option<Action<'a>>,
}

/// What a player did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// Its name.
    pub kind: &'a str,
    /// What it did to others.
    pub damage: u32,
}

impl Observation<'_> {
    /// Checks what stands at `observations[index]`.
    ///
    /// # Errors
    /// Names the coordinate or the kind that is wrong.
    pub fn check(&self, index: usize) -> Result<(), Fault> {
        for (axis, coordinate) in ["x", "y", "z"].into_iter().zip(self.at) {
            // Not a number is within no range.
            if !(-COORDINATE_MAX..=COORDINATE_MAX).contains(&coordinate) {
                let message = format!("must be a number of metres, at most {COORDINATE_MAX} from the origin");
                return Err(Fault::new(format!("observations[{index}].{axis}"), message));
            }
        }
        if self.action.is_some_and(|action| action.kind.is_empty() || action.kind.len() > KIND_BYTES_MAX) {
            let message = format!("must be 1 to {KIND_BYTES_MAX} bytes");
            return Err(Fault::new(format!("observations[{index}].action.kind"), message));
        }
        Ok(())
    }

    /// Where the player was seen.
    #[must_use]
    pub fn place(&self, up: Up) -> Place {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far within the range")]
        let [x, y, z] = self.at.map(|metres| (metres * 100.0).round() as i64);
        match up {
            Up::Y => [x, z, y],
            Up::Z => [x, y, z],
        }
    }
}

/// The places of the observations of a call, player by player and in order of time: what one player did may come in any
/// order.
///
/// # Errors
/// Names `observations` when there are too many, or of too many players.
pub fn by_player(observations: &[Observation]) -> Result<Vec<Vec<usize>>, Fault> {
    if observations.len() > OBSERVATIONS_MAX {
        let message = format!("are {}; a call takes {OBSERVATIONS_MAX}", observations.len());
        return Err(Fault::new("observations", message));
    }
    let mut order: Vec<usize> = (0..observations.len()).collect();
    order.sort_by_key(|at| (observations[*at].player, observations[*at].t_ms));
    let same = |a: &usize, b: &usize| observations[*a].player == observations[*b].player;
    let players: Vec<Vec<usize>> = order.chunk_by(same).map(<[usize]>::to_vec).collect();
    if players.len() > PLAYERS_MAX {
        let message = format!("are of {} players; a call takes those of {PLAYERS_MAX}", players.len());
        return Err(Fault::new("observations", message));
    }
    Ok(players)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_named() {
        let fine = Observation { player: 1, t_ms: 5, at: [1.0; 3], action: Some(Action { kind: "shoot", damage: 3 }) };
        assert_eq!(fine.check(0), Ok(()));
        let field = |observation: Observation| observation.check(2).expect_err("wrong").field;
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e8] {
            assert_eq!(field(Observation { at: [wrong, 0.0, 0.0], ..fine }), "observations[2].x");
            assert_eq!(field(Observation { at: [0.0, 0.0, wrong], ..fine }), "observations[2].z");
        }
        for kind in ["", &"k".repeat(65)] {
            let action = Some(Action { kind, damage: 0 });
            assert_eq!(field(Observation { action, ..fine }), "observations[2].action.kind");
        }
    }

    #[test]
    fn height_is_where_the_game_has_it() {
        let seen = Observation { player: 1, t_ms: 5, at: [1.0, 2.0, -3.004], action: None };
        assert_eq!(seen.place(Up::Z), [100, 200, -300]);
        assert_eq!(seen.place(Up::Y), [100, -300, 200]);
    }

    #[test]
    fn a_call_is_taken_player_by_player_in_order_of_time() {
        let seen = |player, t_ms| Observation { player, t_ms, at: [0.0; 3], action: None };
        let call = [seen(9, 20), seen(1, 50), seen(9, 10), seen(1, 50), seen(9, 15)];
        assert_eq!(by_player(&call), Ok(vec![vec![1, 3], vec![2, 4, 0]]));
        let crowd: Vec<_> = (0..=PLAYERS_MAX as u64).map(|player| seen(player, 0)).collect();
        assert_eq!(by_player(&crowd).expect_err("too many players").field, "observations");
        assert_eq!(by_player(&vec![seen(1, 0); OBSERVATIONS_MAX + 1]).expect_err("too many").field, "observations");
    }
}
