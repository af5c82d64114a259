//! Tells those who listen to events what happens to links.
//!
//! Translates and passes on; decides nothing. The network waits for nobody: whoever falls behind misses changes, and they are counted.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::members::gossip::SharedMembers;
use crate::metrics::Metrics;
use crate::net::{LinkChange, LinkEvent};
use crate::service::{Event, LinkEvent as Told};
use crate::view::{StateView, millis};

/// The loop and what it needs.
pub(super) struct Lookout {
    pub(super) changes: broadcast::Receiver<LinkChange>,
    pub(super) members: SharedMembers,
    pub(super) view: StateView,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

impl Lookout {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = stop.cancelled() => return,
            };
            match change {
                Ok(change) => {
                    self.metrics.link_changed(change.event.name());
                    let name = self.name(&change);
                    self.events.record([Event::Link(told(change, name))]);
                }
                Err(RecvError::Lagged(missed)) => self.metrics.link_changes_missed(missed),
                // The network has ended; so will the agent.
                Err(RecvError::Closed) => stop.cancelled().await,
            }
        }
    }

    fn name(&self, change: &LinkChange) -> String {
        let now = self.view.now();
        let record = self.members.with(|members| members.get(&change.node, now)).and_then(|member| member.record);
        record.map_or_else(String::new, |record| record.name)
    }
}

fn told(LinkChange { node, event }: LinkChange, name: String) -> Told {
    let change = event.name();
    let (reason, lasting_ms) = match event {
        LinkEvent::Up { transport, remote } => (Some(format!("{transport}, {remote}")), None),
        LinkEvent::Down { cause } => (Some(cause), None),
        LinkEvent::Slowed { offence } => (Some(offence.name().to_owned()), None),
        LinkEvent::Refused { offence, lasting } => (Some(offence.name().to_owned()), Some(millis(lasting))),
        LinkEvent::TwoHolders => (Some("another process shows the same key".to_owned()), None),
    };
    Told { node, name, change, reason, lasting_ms }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_sync::id::NodeId;
    use serde_json::json;

    use super::*;
    use crate::net::Offence;

    #[test]
    fn changes_of_links_are_told_with_their_cause() {
        let node = NodeId([1; 32]);
        let check = |event: LinkEvent, change: &str, rest: serde_json::Value| {
            let mut expect = json!({"node": node, "name": "kiosk", "change": change});
            expect.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
            let event = Event::Link(told(LinkChange { node, event }, "kiosk".to_owned()));
            assert_eq!((event.name(), serde_json::to_value(&event).expect("JSON")), ("link", expect));
        };
        let up = LinkEvent::Up { transport: "quic", remote: "/ip4/10.0.0.1".to_owned() };
        check(up, "up", json!({"reason": "quic, /ip4/10.0.0.1"}));
        check(LinkEvent::Down { cause: "timed out".to_owned() }, "down", json!({"reason": "timed out"}));
        check(LinkEvent::Slowed { offence: Offence::Flood }, "slowed", json!({"reason": "flood"}));
        let refused = LinkEvent::Refused { offence: Offence::Forged, lasting: Duration::from_secs(60) };
        check(refused, "refused", json!({"reason": "forged", "lasting_ms": 60_000}));
    }
}
