//! The call stream against the HTTP route on connections that are kept: the same calls of the same agent.
//!
//! As many calls are under way on one stream as there are connections, one call on each. Samples are taken in turn.

use std::path::Path;

use anyhow::Result;

use crate::calls::{Call, Ours, client, over_http, over_stream};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "stream";

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 8;

/// Calls of each in a round.
const CALLS: usize = 8_000;

/// Calls that are under way at once.
const DEPTHS: [usize; 3] = [64, 16, 1];

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let ours = Ours::start(Path::new(MEMORY))?;
    let client = client()?;
    let mut rows = Vec::new();
    for (call, what, judged) in [(Call::prediction(), "a prediction", true), (Call::duel(), "a duel", false)] {
        for depth in DEPTHS {
            let (rate, p50) = client.block_on(measure(&ours, &call, depth))?;
            let goal = |goal| if judged && depth > 1 { goal } else { Goal::Told };
            let row = |figure: &str, pair: &Pair, unit| {
                Row::ratio(NAME, format!("{what} over the stream, {depth} at once, {figure}"), pair, "HTTP", unit)
            };
            rows.push(row("rate", &rate, "/s").goal(goal(Goal::AtLeast(3.0))));
            rows.push(row("p50", &p50, "µs").goal(goal(Goal::AtMost(0.7))));
        }
    }
    Ok(rows)
}

async fn measure(ours: &Ours, call: &Call, depth: usize) -> Result<(Pair, Pair)> {
    let mut connections = Vec::new();
    for _ in 0..depth {
        connections.push(ours.http().await?);
    }
    let mut stream = ours.stream().await?;
    let (mut rate, mut p50) = (Pair::default(), Pair::default());
    let calls = if depth > 1 { CALLS } else { CALLS / 4 };
    for round in 0..=ROUNDS {
        let own = over_stream(&mut stream, call, calls, depth).await?;
        let theirs = over_http(&mut connections, call, calls / depth).await?;
        rate.note(round, own.rate, theirs.rate);
        p50.note(round, percentile(&own.took, 0.5), percentile(&theirs.took, 0.5));
    }
    Ok((rate, p50))
}
