//! How the clocks of members stand to ours, found as NTP does: ask, and take the answer for the middle of the round trip.
//!
//! Owns the question and its answer. For whoever looks for a wrong clock; nothing in the agent goes by it. The invariant: a reading
//! says how far off it may be, which is half of its round trip (RFC 5905, section 8).

use std::time::{Duration, Instant};

use futures::future::join_all;
use selvedge_sync::id::NodeId;

use crate::net::{Lane, Net};
use crate::service::ClockReading;
use crate::view::wall_ms;

/// What a member asks another on the members' lane. Earlier releases do not answer it.
const QUESTION: &[u8] = b"clock";
/// How long an answer may take: a later one would say little.
const PATIENCE: Duration = Duration::from_secs(2);
/// Members that are asked at most; one clock that is wrong shows against any of them.
const ASKED_MAX: usize = 64;

/// Whether somebody asks what our clock says.
pub(super) fn is_asked(question: &[u8]) -> bool {
    question == QUESTION
}

/// What our clock says: milliseconds since 1970, eight bytes, the greatest first.
pub(super) fn answer() -> Vec<u8> {
    wall_ms().to_be_bytes().to_vec()
}

/// Asks the connected members.
pub(super) async fn ask(net: &Net, name: impl Fn(NodeId) -> String) -> Vec<ClockReading> {
    let asked = net.peers().into_iter().take(ASKED_MAX).map(|peer| peer.node);
    join_all(asked.map(|node| read(net, node, name(node)))).await
}

async fn read(net: &Net, node: NodeId, name: String) -> ClockReading {
    let (before_ms, asked) = (wall_ms(), Instant::now());
    let answer = net.request(node, Lane::Members, QUESTION.to_vec(), PATIENCE).await;
    let half = asked.elapsed() / 2;
    let theirs = answer.ok().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let ahead_ms = theirs.map(|theirs| ahead(theirs, before_ms, half));
    ClockReading { node, name, ahead_ms, within_ms: theirs.map(|_| half.as_secs_f64() * 1e3) }
}

/// By how many milliseconds a clock that showed `theirs` is ahead of ours, which showed `before_ms` half a round trip earlier.
fn ahead(theirs: u64, before_ms: u64, half: Duration) -> f64 {
    // Members say what they like: the difference of any two numbers fits, and becomes a figure for people.
    let difference = i128::from(theirs) - i128::from(before_ms);
    let bounded = i32::try_from(difference).unwrap_or(if difference < 0 { i32::MIN } else { i32::MAX });
    f64::from(bounded) - half.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_the_middle_of_the_round_trip() {
        let check = |theirs, before, half_ms, expect: f64| {
            let told = ahead(theirs, before, Duration::from_millis(half_ms));
            assert!((told - expect).abs() < 1e-9, "{told}, and not {expect}");
        };
        check(10_005, 10_000, 5, 0.0);
        check(10_505, 10_000, 5, 500.0);
        check(9_005, 10_000, 5, -1_000.0);
        check(u64::MAX, 0, 0, f64::from(i32::MAX));
        check(0, u64::MAX, 0, f64::from(i32::MIN));
        assert!(is_asked(b"clock") && !is_asked(b"renew") && answer().len() == 8);
    }
}
