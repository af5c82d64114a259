//! Documents that the fake tells, the same each time.

use std::collections::BTreeMap;

use selvedge_sync::id::NodeId;
use serde_json::Value as Json;

use super::{HOSTILE, NODE, OTHER, REVISION};
use crate::service::{
    Convergence, ConvergencePeer, History, Instance, InvitationEntry, LatencyBucket, LatencyUs, Node, NodeDetail,
    Phase, Recent, Resync, UnseenKeys, Workload, WorkloadStatus,
};

pub(super) fn detail(node: Node) -> NodeDetail {
    let round_trips_ms = BTreeMap::from([(NODE, 0.42)]);
    let unseen = Some(UnseenKeys { keys: vec!["gcounter/kills".into()], more: true });
    NodeDetail { node, release: "0.1.0".into(), addresses: Vec::new(), age_ms: Some(900), round_trips_ms, unseen }
}

pub(super) fn convergence() -> Convergence {
    let peer = ConvergencePeer {
        node: OTHER,
        name: HOSTILE.into(),
        status: "lost".into(),
        awaited: true,
        reason: Some("silent".into()),
        root: None,
        root_equal: false,
        lag_commits: None,
    };
    Convergence { converged: false, root: "ab".repeat(32), peers: vec![peer] }
}

pub(super) fn resync() -> Resync {
    Resync { from: OTHER, name: HOSTILE.into(), done_permille: 425, objects: 1_200 }
}

pub(super) fn history() -> History {
    let steps = || vec![1, 2, 3];
    let (calls, errors, commits, bytes, garbage) = (steps(), steps(), steps(), steps(), steps());
    History { step_s: 5, calls, errors, commits, bytes, garbage }
}

pub(super) fn workload_status(name: &str) -> WorkloadStatus {
    let instance = |node, phase, reason: Option<&str>| {
        let serves_previous = phase == Phase::Starting;
        Instance { node, phase, reason: reason.map(str::to_owned), serves_previous }
    };
    WorkloadStatus {
        name: name.into(),
        digest: "5f3c9e".repeat(8),
        revision: REVISION.to_owned(),
        replicas: 3,
        instances: vec![
            instance(NODE, Phase::Ready, None),
            instance(OTHER, Phase::Starting, None),
            instance(NodeId([9; 32]), Phase::Failed, Some("not enough memory")),
        ],
        last_start: None,
        calls: 120_345,
        errors: 3,
        refused: 2,
        latency_us: LatencyUs { p50: 38, p99: 140, p999: 912, max: 4_100 },
        latency_buckets: vec![LatencyBucket { le_us: 50, calls: 120_000 }, LatencyBucket { le_us: 5_000, calls: 345 }],
        rollout: None,
        rejected: None,
        recent: Recent {
            window_s: 300,
            calls: 120_345,
            errors: 3,
            latency_us: LatencyUs { p50: 38, p99: 140, p999: 912, max: 4_100 },
        },
    }
}

pub(super) fn invitation(id: &str, used_by: Option<NodeId>) -> InvitationEntry {
    let (name, expires) = (Some("kiosk".to_owned()), "2026-11-21T05:00:00Z".to_owned());
    InvitationEntry { id: id.into(), name, region: None, may_deploy: true, expires, used_by, used_by_name: None }
}

pub(super) fn workload(name: &str, spec: &Json) -> Workload {
    Workload { name: name.into(), status: workload_status(name), spec: spec.as_object().expect("an object").clone() }
}
