//! The members of the cluster that the fake service belongs to.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;

use super::{HOSTILE, NODE, OTHER};
use crate::service::{Location, Node, NodeState, Resources};

pub(super) fn nodes() -> Vec<Node> {
    let node = |id, name: &str, status, load| Node {
        id,
        name: name.into(),
        region: "eu".into(),
        location: Some(Location { lat: 52.5, lon: 13.4 }),
        capabilities: vec!["ssd".into()],
        labels: BTreeMap::from([("tier".to_owned(), "edge".to_owned())]),
        resources: Some(Resources {
            cpus: 2.0,
            memory_bytes: 4 << 30,
            memory_free_bytes: 3 << 30,
            disk_free_bytes: 90 << 30,
        }),
        load,
        status,
        healthy: Some(status != NodeState::Lost),
        ailment: None,
        draining_since: None,
        version: "0.1.0".into(),
        roles: vec!["member".into()],
    };
    vec![
        node(NODE, "alpha", NodeState::Alive, Some(0.25)),
        node(OTHER, HOSTILE, NodeState::Suspect, Some(0.9)),
        node(NodeId([9; 32]), "gamma", NodeState::Lost, None),
    ]
}
