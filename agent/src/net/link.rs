//! What can be seen of links from outside: those that are up, those that are being made, and those that are refused.
//!
//! Owns shapes only; the tables behind them belong to [`peers`](super::peers), [`dialer`](super::dialer) and
//! [`conduct`](super::conduct). The invariant: nothing in here is a type of libp2p's.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_sync::id::NodeId;

use super::conduct::Offence;
use super::counters::NetReason;
use super::dialer::Prospect;

/// A link to a connected member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// Who is at the other end.
    pub node: NodeId,
    /// Smoothed round-trip time (a new sample weighs one eighth, as in RFC 6298); `None` until the first ping is back.
    pub rtt: Option<Duration>,
    /// `"quic"` or `"tcp"`.
    pub transport: &'static str,
    /// The other end's address as a multiaddr.
    pub remote: String,
    /// How long the member has been connected without a break.
    pub connected_for: Duration,
    /// Its conduct, from 100 (nothing against it) to 0 (it is about to be disconnected).
    pub score: u8,
    /// Whether it is read from slowly, because of its conduct.
    pub is_slowed: bool,
    /// Bytes of bodies that came from it since it is connected: hints, questions and answers.
    pub bytes_in: u64,
    /// Bytes of bodies that were sent to it since it is connected.
    pub bytes_out: u64,
    /// Hints that wait to be sent to it.
    pub queued_frames: usize,
    /// Bytes that those hints take.
    pub queued_bytes: usize,
    /// What was dropped between it and us since it is connected, by reason; reasons that never occurred are left out.
    pub drops: Vec<(NetReason, u64)>,
}

/// How things stand between this agent and somebody whom it wants to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Connected.
    Connected,
    /// Connected, and read from slowly because of its conduct.
    Slowed,
    /// An address of it is being dialed, or is about to be.
    Dialing,
    /// No address of it answered; it is tried again after a pause.
    Resting {
        /// The rest of the pause.
        retry_in: Duration,
    },
    /// It broke the rules, and is neither dialed nor let in for a while.
    Refused {
        /// The rest of that while.
        retry_in: Duration,
    },
}

impl LinkState {
    /// The state's word, as it stands in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Slowed => "slowed",
            Self::Dialing => "dialing",
            Self::Resting { .. } => "resting",
            Self::Refused { .. } => "refused",
        }
    }
}

/// One whom this agent is connected to or wants to be: a member, or a bootstrap address behind which nobody was found yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Who, if that is known.
    pub node: Option<NodeId>,
    /// How things stand.
    pub state: LinkState,
    /// Where it was heard to be, as multiaddrs; all of them, also while one link is enough.
    pub addresses: Vec<String>,
    /// Why it was not reached the last time, or why it is refused.
    pub last_error: Option<String>,
    /// The link, while it is connected.
    pub link: Option<PeerLink>,
}

/// What happened to a link, and when it did so relative to others: in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// Whose link.
    pub node: NodeId,
    /// What happened.
    pub event: LinkEvent,
}

/// The kinds of [`LinkChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The first connection to it was made.
    Up {
        /// `"quic"` or `"tcp"`.
        transport: &'static str,
        /// The other end's address.
        remote: String,
    },
    /// The last connection to it is gone.
    Down {
        /// Why.
        cause: String,
    },
    /// It is read from slowly from now on.
    Slowed {
        /// The offence that made its score fall below the line.
        offence: Offence,
    },
    /// It was disconnected and is refused for a while.
    Refused {
        /// The last offence.
        offence: Offence,
        /// How long.
        lasting: Duration,
    },
    /// Another process shows the same key; the one that was connected first is kept.
    TwoHolders,
}

impl LinkEvent {
    /// The event's word, as it stands in answers and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Up { .. } => "up",
            Self::Down { .. } => "down",
            Self::Slowed { .. } => "slowed",
            Self::Refused { .. } => "refused",
            Self::TwoHolders => "two_holders",
        }
    }
}

/// One view of what the tables know: each node once, and each bootstrap address behind which nobody is known.
pub(super) fn views(
    links: Vec<PeerLink>,
    prospects: Vec<Prospect>,
    refused: &BTreeMap<NodeId, (Duration, Offence)>,
) -> Vec<LinkView> {
    let mut nobody = Vec::new();
    let mut nodes: BTreeMap<NodeId, LinkView> = BTreeMap::new();
    for link in links {
        let state = if link.is_slowed { LinkState::Slowed } else { LinkState::Connected };
        let addresses = vec![link.remote.clone()];
        nodes.insert(
            link.node,
            LinkView { node: Some(link.node), state, addresses, last_error: None, link: Some(link) },
        );
    }
    for (node, (retry_in, offence)) in refused {
        let (state, last_error) =
            (LinkState::Refused { retry_in: *retry_in }, Some(format!("for its conduct: {}", offence.name())));
        let new =
            LinkView { node: Some(*node), state, addresses: Vec::new(), last_error: last_error.clone(), link: None };
        let view = nodes.entry(*node).or_insert(new);
        (view.state, view.last_error) = (state, last_error);
    }
    for prospect in prospects {
        // Nobody rests before a first attempt: whoever was just heard of, or just lost, is dialed in a moment.
        let is_due = prospect.retry_in.is_zero() || prospect.last_error.is_none();
        let state = if prospect.is_dialing || is_due {
            LinkState::Dialing
        } else {
            LinkState::Resting { retry_in: prospect.retry_in }
        };
        let new = LinkView {
            node: prospect.node,
            state,
            addresses: Vec::new(),
            last_error: prospect.last_error.clone(),
            link: None,
        };
        let view = match prospect.node {
            Some(node) => nodes.entry(node).or_insert(new),
            None => {
                nobody.push(new);
                nobody.last_mut().expect("it was just pushed")
            }
        };
        for address in prospect.addresses {
            if !view.addresses.contains(&address) {
                view.addresses.push(address);
            }
        }
    }
    nodes.into_values().chain(nobody).collect()
}
