//! What things are called: zones, and the keys of the shared state that are about them.
//!
//! The invariant: different zones never share a key, whatever is in their names. A key says how long each name but the last is,
//! so that no letter needs to be forbidden or escaped as a separator.

use selvedge_sdk::Fault;

/// Longest name of a zone, in bytes. Three of them and what stands around them fit into a key, which has at most 256.
pub const ZONE_BYTES_MAX: usize = 64;

/// Moves that are known.
pub const MOVES: &str = "preload:moves";
/// Moves that were not learned because there was no room.
pub const DROPPED: &str = "preload:dropped";
/// Zones that are known.
pub const ZONES: &str = "preload:zones";
/// Pairs of moves that are known.
pub const TURNS: &str = "preload:turns";

/// Maps that hold the last moves of players. Several, so that none grows large.
const LAST_MAPS: u64 = 16;
/// Places in each of them. Together: how many players can be followed at once. Two that fall on one place overwrite each
/// other, which costs some context and nothing else.
const LAST_PLACES: u64 = 1_024;

/// Checks a zone's name.
///
/// # Errors
/// It is empty, longer than [`ZONE_BYTES_MAX`], or holds a control character.
pub fn check_zone(zone: &str, field: impl FnOnce() -> String) -> Result<(), Fault> {
    if (1..=ZONE_BYTES_MAX).contains(&zone.len()) && !zone.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Fault::new(field(), format!("a zone has 1 to {ZONE_BYTES_MAX} bytes without control characters")))
}

/// The set of zones that are entered from here, or from which this one is entered.
#[must_use]
pub fn near(zone: &str) -> String {
    format!("preload:near:{zone}")
}

/// The counter of moves from one zone to another.
#[must_use]
pub fn moved(from: &str, to: &str) -> String {
    format!("preload:move:{}:{from}>{to}", from.len())
}

/// The counter of two moves in a row.
#[must_use]
pub fn turned(before: &str, from: &str, to: &str) -> String {
    format!("preload:turn:{},{}:{before}>{from}>{to}", before.len(), from.len())
}

/// The counter of what predictions with one of [`STRENGTHS`](crate::model::STRENGTHS) have cost.
#[must_use]
pub fn loss(strength: &str) -> String {
    format!("preload:loss:{strength}")
}

/// The map and the field in which a player's last move is kept.
#[must_use]
pub fn last(player: u64) -> (String, String) {
    // A multiplication by a large odd constant spreads ids that count up over the upper bits (Knuth, 6.4).
    let place = player.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (format!("preload:last:{}", place % LAST_MAPS), (place / LAST_MAPS % LAST_PLACES).to_string())
}

/// A player's last move as a text.
#[must_use]
pub fn last_text(player: u64, from: &str, to: &str) -> String {
    format!("{player}:{}:{from}>{to}", from.len())
}

/// Where a last move went from and to, if it is this player's.
#[must_use]
pub fn read_last(text: &str, player: u64) -> Option<(&str, &str)> {
    let (whose, rest) = text.split_once(':')?;
    let (length, zones) = rest.split_once(':')?;
    let (from, to) = zones.split_at_checked(length.parse().ok()?)?;
    Some((from, to.strip_prefix('>')?)).filter(|_| whose.parse() == Ok(player))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_share_no_key_and_every_key_fits() {
        let odd = ["a", "a>b", "b", "b>c", "c", ">", "1:a", "5:", "ä", "🦀", ","];
        let mut keys = std::collections::BTreeSet::new();
        for a in odd {
            for b in odd {
                assert!(keys.insert(moved(a, b)), "{a} {b}");
                for c in odd {
                    assert!(keys.insert(turned(a, b, c)), "{a} {b} {c}");
                }
            }
        }
        let longest = "x".repeat(ZONE_BYTES_MAX);
        assert!(turned(&longest, &longest, &longest).len() <= 256);
    }

    #[test]
    fn a_last_move_is_read_back_for_its_own_player_only() {
        for (from, to) in [("plaza", "harbour"), (">", ":"), ("1:2", "ä>ä"), ("🦀", "b")] {
            let text = last_text(7, from, to);
            assert_eq!(read_last(&text, 7), Some((from, to)));
            assert_eq!(read_last(&text, 8), None);
        }
        for text in ["", "7", "7:9:a>b", "7:1:ab", "7:-1:a>b", "x:1:a>b", "7:1:🦀>b"] {
            assert_eq!(read_last(text, 7), None, "{text}");
        }
    }

    #[test]
    fn players_spread_over_all_places() {
        let places: std::collections::BTreeSet<_> = (0..10_000).map(last).collect();
        assert!(places.len() > 7_000, "{}", places.len());
    }

    #[test]
    fn zones_without_a_name_and_with_control_characters_are_refused() {
        for zone in ["", "a\nb", "\u{0}", &"x".repeat(ZONE_BYTES_MAX + 1)] {
            assert_eq!(check_zone(zone, || "z".to_owned()).unwrap_err().field, "z");
        }
        check_zone("Old Town (north) > gate", || unreachable!()).unwrap();
    }
}
