//! A call over the local API against the same web framework that echoes the same bytes, over connections that are kept.
//!
//! Samples of both are taken in turn. What is called is a prediction, whose answer is about as long as its arguments; a duel, which
//! reads and writes the shared state besides, is told.

use std::path::Path;

use anyhow::Result;

use crate::calls::{Call, Echo, Http, Ours, client, over_http};
use crate::hop::MEMORY;
use crate::report::{Goal, Row};
use crate::sample::{Pair, percentile};

const NAME: &str = "api";

/// Rounds that count; one before them warms up.
const ROUNDS: usize = 8;

/// Calls one at a time in a round.
const ALONE: usize = 2_000;

/// Connections that call at once, and calls on each in a round.
const TOGETHER: (usize, usize) = (16, 500);

pub(crate) fn run(_: &Path) -> Result<Vec<Row>> {
    let (ours, echo) = (Ours::start(Path::new(MEMORY))?, Echo::start()?);
    let client = client()?;
    let mut rows = Vec::new();
    for (call, what, judged) in [(Call::prediction(), "a prediction", true), (Call::duel(), "a duel", false)] {
        let (alone, together) = client.block_on(measure(&ours, &echo, &call))?;
        let goal = |goal| if judged { goal } else { Goal::Told };
        let against = "axum that echoes";
        rows.push(
            Row::ratio(NAME, format!("{what} over HTTP, one at a time, p50"), &alone, against, "µs")
                .goal(goal(Goal::AtMost(1.3))),
        );
        rows.push(
            Row::ratio(NAME, format!("{what} over HTTP, {} connections, rate", TOGETHER.0), &together, against, "/s")
                .goal(goal(Goal::AtLeast(1.0 / 1.3))),
        );
    }
    Ok(rows)
}

async fn measure(ours: &Ours, echo: &Echo, call: &Call) -> Result<(Pair, Pair)> {
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TOGETHER.0 {
        own.push(ours.http().await?);
        theirs.push(echo.http().await?);
    }
    let p50 = async |connections: &mut [Http]| {
        over_http(&mut connections[..1], call, ALONE).await.map(|load| percentile(&load.took, 0.5))
    };
    let rate = async |connections: &mut [Http]| over_http(connections, call, TOGETHER.1).await.map(|load| load.rate);
    let (mut alone, mut together) = (Pair::default(), Pair::default());
    for round in 0..=ROUNDS {
        alone.note(round, p50(&mut own).await?, p50(&mut theirs).await?);
        together.note(round, rate(&mut own).await?, rate(&mut theirs).await?);
    }
    Ok((alone, together))
}
