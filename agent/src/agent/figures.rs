//! Documents and metrics about workloads, gathered from specs, records and calls.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_sync::id::NodeId;
use selvedge_sync::replica::Counters;

use crate::api::StreamFigures;
use crate::calls::Calls;
use crate::members::{Member, Status};
use crate::metrics::{Direction, Metrics};
use crate::net::{Lane, NetReason, Offence};
use crate::placement;
use crate::resources::Own;
use crate::rollout::Stage;
use crate::service::{Instance, LastStart, Phase, Rejected, Rollout, StageTime, Workload, WorkloadStatus};
use crate::spec::{Spec, WorkloadName};
use crate::view::Summary;
use crate::wasm::HostStats;
use crate::workloads::{self, Course, Deployed, Workloads};

use super::others;
use super::service::AgentService;
use super::vetting::renewal_due;

/// How every workload fares.
pub(super) fn statuses(workloads: &Workloads, calls: &Calls, members: &[Member]) -> Vec<WorkloadStatus> {
    workloads
        .known()
        .deployed
        .iter()
        .map(|(name, deployed)| status(name, deployed, workloads, calls, members))
        .collect()
}

/// Every workload with its spec.
pub(super) fn workloads(workloads: &Workloads, calls: &Calls, members: &[Member]) -> Vec<Workload> {
    let workload = |(name, deployed): (&WorkloadName, &Deployed)| {
        let status = status(name, deployed, workloads, calls, members);
        Workload { name: name.to_string(), status, spec: fields(deployed.planned()) }
    };
    workloads.deployed().iter().map(workload).collect()
}

/// What of this node's share is not running yet, in sentences.
pub(super) fn starting(workloads: &Workloads) -> Vec<String> {
    let starting = |(name, instance): (WorkloadName, placement::Instance)| {
        (instance.phase == placement::Phase::Starting).then(|| format!("`{name}` is starting"))
    };
    workloads.here().into_iter().filter_map(starting).collect()
}

/// How a workload fares: of a deployment that was taken back, the version that runs.
fn status(
    name: &WorkloadName,
    deployed: &Deployed,
    workloads: &Workloads,
    calls: &Calls,
    members: &[Member],
) -> WorkloadStatus {
    let (spec, figures) = (deployed.planned(), calls.traffic().figures(name));
    let (instances, present) = instances((name, spec), &workloads.kept(name), members);
    let replicas = spec.spread.replicas().unwrap_or_else(|| u32::try_from(present).unwrap_or(u32::MAX));
    WorkloadStatus {
        name: name.to_string(),
        digest: spec.artifact.to_string(),
        revision: spec.revision().to_string(),
        replicas,
        instances,
        last_start: workloads.last_start(name).map(last_start),
        calls: figures.calls,
        errors: figures.errors,
        refused: figures.refused,
        latency_us: figures.latency_us,
        latency_buckets: calls.traffic().latency_buckets(name),
        recent: figures.recent,
        rollout: Some(rollout(name, deployed, workloads)),
        rejected: rejected(deployed),
    }
}

/// The instances of a workload, as its status has them.
pub(super) fn of_workload(
    name: &WorkloadName,
    deployed: &Deployed,
    workloads: &Workloads,
    members: &[Member],
) -> Vec<Instance> {
    instances((name, deployed.planned()), &workloads.kept(name), members).0
}

/// What was deployed last, if another version runs in its place.
fn rejected(deployed: &Deployed) -> Option<Rejected> {
    let is_back = matches!(deployed.course(), Course::Back(_));
    is_back.then(|| Rejected {
        deployment: deployed.id.to_string(),
        revision: deployed.spec.revision().to_string(),
        spec: fields(&deployed.spec),
    })
}

/// A spec as its document.
fn fields(spec: &Spec) -> serde_json::Map<String, serde_json::Value> {
    let json = serde_json::to_value(spec).expect("a spec serialises");
    json.as_object().cloned().unwrap_or_default()
}

/// How a deployment goes on.
pub(super) fn rollout(name: &WorkloadName, deployed: &Deployed, workloads: &Workloads) -> Rollout {
    let Deployed { id, origin, previous, recorded, .. } = deployed;
    let common = Rollout {
        deployment: id.to_string(),
        deployed_by: origin.by,
        deployed_at_ms: origin.by.is_some().then_some(origin.at_ms),
        judged_by: recorded.as_ref().map(|recorded| recorded.by),
        previous: previous.as_ref().map(|previous| previous.spec.revision().to_string()),
        reverts: origin.reverts.map(|reverts| reverts.to_string()),
        ..Rollout::default()
    };
    let at = |stage: &str| Rollout { stage: stage.to_owned(), ..common.clone() };
    if let Err(fence) = deployed.fence() {
        return Rollout { reason: Some(fence.to_string()), ..at("fenced") };
    }
    match workloads.stage(name, deployed) {
        None => at("pending"),
        Some(Stage::Canary { node, calls, remaining_ms, latest_ms, p99_us }) => Rollout {
            canary: Some(node),
            calls: Some(calls),
            calls_wanted: Some(deployed.spec.gates.calls),
            remaining_ms: Some(remaining_ms),
            latest_ms: Some(latest_ms),
            canary_p99_us: p99_us.map(|(new, _)| new),
            old_p99_us: p99_us.map(|(_, old)| old),
            ..at("canary")
        },
        Some(Stage::Following { done, of, behind }) => {
            Rollout { done: Some(done), of: Some(of), behind, ..at("following") }
        }
        Some(Stage::Switching { old }) => Rollout { old: Some(old.len()), old_on: old, ..at("switching") },
        Some(Stage::Nowhere) => at("nowhere"),
        Some(Stage::Done) => at("done"),
        Some(Stage::RolledBack { reason }) => Rollout { reason: Some(reason), ..at("rolled_back") },
    }
}

/// How a start went, as documents tell it.
pub(super) fn last_start(start: workloads::LastStart) -> LastStart {
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let stage =
        |(stage, took): &(placement::Stage, Duration)| StageTime { stage: stage.as_str().to_owned(), ms: ms(*took) };
    LastStart {
        digest: start.digest.to_string(),
        ended: humantime::format_rfc3339_millis(start.ended).to_string(),
        total_ms: ms(start.total()),
        stages: start.stages.iter().map(stage).collect(),
        error: start.error,
    }
}

/// Workloads and their instances, here and in all.
fn placed(metrics: &Metrics, workloads: &Workloads, statuses: &[WorkloadStatus]) {
    let here = workloads.here();
    let phases = ["starting", "ready", "stopping", "failed"];
    let count = |phase: &str| here.values().filter(|instance| instance.phase.as_str() == phase).count() as u64;
    metrics.placement().instances(&phases.map(|phase| (phase, count(phase))));
    let ready = |status: &WorkloadStatus| {
        let answers = |it: &&Instance| it.serves_previous || matches!(it.phase, Phase::Ready | Phase::Suspect);
        status.instances.iter().filter(answers).count()
    };
    let workload = |status: &WorkloadStatus| (status.name.clone(), u64::from(status.replicas), ready(status) as u64);
    metrics.placement().workloads(&statuses.iter().map(workload).collect::<Vec<_>>());
}

/// The instances on members that are there, and how many members those are. What a lost one last said of itself is the past.
/// What is `kept` is there only for want of another place.
fn instances(
    (name, spec): (&WorkloadName, &Spec),
    kept: &BTreeMap<NodeId, placement::Reason>,
    members: &[Member],
) -> (Vec<Instance>, usize) {
    let present = members.iter().filter(|member| matches!(member.status, Status::Alive | Status::Suspect));
    let instance = |member: &Member| {
        let instance = member.record.as_ref()?.instances.get(name)?;
        let refused = instance.refused.as_ref().filter(|refused| refused.is_of(spec));
        let (phase, reason) = match refused {
            Some(refused) => (Phase::Failed, Some(format!("{}; what ran before still answers calls", refused.reason))),
            None if instance.is_of(spec) => {
                let is_parting = member.record.as_ref().is_some_and(|record| record.parting);
                let (phase, reason) = phase(instance, member.status, is_parting);
                let is_overloaded = member.record.as_ref().is_some_and(|record| record.overloaded.contains(name));
                let overloaded = || is_overloaded.then(|| "overloaded: calls go elsewhere where they can".to_owned());
                let kept =
                    || kept.get(&member.node).map(|why| format!("kept, though its host {why}: no other qualifies"));
                (phase, reason.or_else(kept).or_else(overloaded))
            }
            None => (Phase::Starting, Some("serves the previous version until the new one is ready".to_owned())),
        };
        let serves_previous = !instance.is_of(spec) && instance.phase == placement::Phase::Ready;
        Some(Instance { node: member.node, phase, reason, serves_previous })
    };
    (present.clone().filter_map(instance).collect(), present.count())
}

/// How far an instance has got. What a host said before it fell silent may not be so any more; one that said that it stops is silent for that.
fn phase(instance: &placement::Instance, host: Status, is_parting: bool) -> (Phase, Option<String>) {
    match &instance.phase {
        placement::Phase::Starting => (Phase::Starting, instance.stage.map(|stage| format!("is {}", stage.told()))),
        placement::Phase::Ready if host == Status::Suspect && is_parting => {
            (Phase::Stopping, Some("its host is stopping".to_owned()))
        }
        placement::Phase::Ready if host == Status::Suspect => {
            (Phase::Suspect, Some("its host does not answer at present".to_owned()))
        }
        placement::Phase::Ready => (Phase::Ready, None),
        placement::Phase::Stopping => (Phase::Stopping, None),
        placement::Phase::Failed { reason } => (Phase::Failed, Some(reason.clone())),
    }
}

/// What is told of the call stream.
fn streams(metrics: &Metrics, figures: &StreamFigures) {
    let StreamFigures { answered, failed, malformed, .. } = *figures;
    metrics.streams(figures.open, &[("ok", answered), ("failed", failed), ("malformed", malformed)]);
    metrics.dropped("stream_stuck", figures.stuck);
    metrics.dropped("stream_silent", figures.silent);
    metrics.dropped("stream_broken", figures.broken);
    metrics.dropped("stream_turned_away", figures.turned_away);
    metrics.dropped("reader_stalled", figures.unread);
    metrics.dropped("head_late", figures.late);
    metrics.dropped("connection_displaced", figures.displaced);
}

/// All metrics, brought up to date.
pub(super) fn render(service: &AgentService) -> String {
    let metrics = &service.metrics;
    let (state, now) = (service.view.summary(), service.view.now());
    metrics.state(state.keys, state.bytes, state.garbage);
    metrics.replica(&state.counters);
    not_taken(metrics, &state.counters);
    spread(metrics, &state);
    let driver = service.driver.stats();
    metrics.dropped("message_undecodable", driver.undecodable);
    let events = service.events.stats();
    metrics.watchers(events.listeners);
    metrics.events(events.recorded);
    metrics.dropped("event_listener_refused", events.refused);
    metrics.dropped("event_listener_lagged", events.lagged);
    metrics.dropped("event_listener_stalled", events.stalled);
    metrics.dropped("event_value_too_large", events.values_left_out);
    streams(metrics, &service.streams.figures());
    metrics.store(&service.store.stats());
    metrics.process(&Own::now());
    metrics.dropped("call_rate_limited", service.rates.limited());
    let lost = service.traces.lost();
    metrics.dropped("span_unqueued", lost.unqueued);
    metrics.dropped("span_unsent", lost.unsent);
    let net = service.net.counters();
    for lane in Lane::ALL {
        metrics.net_bytes(lane.name(), Direction::In, net.lane(lane).bytes_in);
        metrics.net_bytes(lane.name(), Direction::Out, net.lane(lane).bytes_out);
    }
    metrics.assets(&service.assets.stats());
    let served = service.served.stats();
    metrics.dropped("blob_delayed", served.delayed);
    metrics.dropped("blob_flood", served.dropped);
    metrics.dropped("blob_crowded", served.crowded);
    metrics.dropped("blob_damaged", served.damaged);
    for reason in NetReason::ALL.iter().filter(|reason| !matches!(reason, NetReason::DialOk | NetReason::Joined)) {
        metrics.dropped(reason.name(), net.of(*reason));
    }
    gossip(metrics, &service.members.counters());
    for offence in Offence::ALL {
        metrics.offended(offence.name(), net.offences(offence));
    }
    let known = state.peers(now);
    let (peers, states) = others::figures(&known, &service.net.links());
    metrics.peers(&peers);
    metrics.link_states(&states);
    let revoked = service.membership.as_ref().map_or(0, |membership| membership.standing.revoked().len());
    members(metrics, &service.all_members(), service.net.node(), revoked as u64);
    placed(metrics, &service.workloads, &statuses(&service.workloads, &service.calls, &service.all_members()));
    guests(metrics, &service.wasm.stats());
    if let Some(membership) = &service.membership {
        let own = membership.standing.own();
        metrics.certificate(renewal_due(&own), own.not_after);
    }
    metrics.converged(service.convergence_of(state.root, &known).converged);
    metrics.healthy(service.health.report(&state).ok);
    metrics.encode()
}

/// What of the talk about members was not taken.
fn gossip(metrics: &Metrics, members: &crate::members::gossip::Counters) {
    metrics.dropped("members_frame_unreadable", members.frames_unreadable + members.detector.unreadable);
    metrics.dropped("members_frame_unsent", members.frames_unsent);
    metrics.dropped("members_record_unsound", members.records_unsound);
    metrics.dropped("members_record_forged", members.records_forged);
    metrics.dropped("members_record_uncertified", members.records_uncertified);
    metrics.dropped("members_record_withheld", members.records_withheld);
    metrics.dropped("members_claim_refused", members.detector.claims_refused);
    metrics.dropped("members_claim_overflow", members.detector.claims_overflow);
    metrics.dropped("members_old_life", members.detector.old_lives);
    metrics.dropped("members_renewal_refused", members.detector.renewals_refused);
}

/// Who there is, and what this host last said of itself.
fn members(metrics: &Metrics, members: &[Member], me: NodeId, revoked: u64) {
    metrics.members(&others::statuses(members), revoked);
    let own = members.iter().find(|member| member.node == me).and_then(|member| member.record.as_ref());
    if let Some(record) = own {
        metrics.free(record.resources.memory_free, record.resources.disk_free.unwrap_or_default());
    }
}

/// What the guest host has counted.
fn guests(metrics: &Metrics, stats: &HostStats) {
    metrics.dropped("guest_log_line", stats.log_lines_dropped);
    metrics.dropped("guest_call_turned_away", stats.turned_away);
    metrics.dropped("call_late", stats.shed_late);
    metrics.dropped("call_overloaded", stats.shed_overloaded);
    metrics.dropped("guest_code_refused", stats.code.refused);
    metrics.dropped("guest_code_evicted", stats.code.evicted);
    metrics.dropped("guest_code_unwritten", stats.code.unwritten);
    for (what, total) in [
        ("cached", stats.code.cached),
        ("compiled", stats.code.compiled),
        ("failed", stats.code.failed),
        ("killed", stats.code.killed),
        ("outdated", stats.code.outdated),
    ] {
        metrics.guest_code(what, total);
    }
}

/// What replicas sent that was not taken, or not answered.
fn not_taken(metrics: &Metrics, counters: &Counters) {
    for (reason, total) in [
        ("commit_duplicate", counters.duplicates),
        ("commit_gap", counters.gaps),
        ("commit_rejected", counters.rejected),
        ("commit_later_release", counters.unread),
        ("commit_unsealed", counters.unsealed),
        ("commit_forged", counters.forged),
        ("commit_frozen", counters.frozen),
        ("commit_crowded", counters.crowded),
        ("commit_unverified", counters.unverified),
        ("commit_barred", counters.barred),
        ("repair_barred", counters.state_barred),
        ("commit_early", counters.early_dropped),
        ("proof_crowded", counters.proofs_crowded),
        ("digest_spared", counters.spared),
        ("ask_unanswered", counters.unanswered),
        ("message_throttled", counters.throttled),
        ("commit_held", counters.held),
        ("commit_deferred", counters.deferred),
        ("commit_closed", counters.closed),
        ("closing_denied", counters.closings_denied),
        ("repair_abandoned", counters.repairs_abandoned),
    ] {
        metrics.dropped(reason, total);
    }
}

/// How news travels: straight to everybody in a small mesh, along a tree in a large one.
fn spread(metrics: &Metrics, state: &Summary) {
    let counters = &state.spread;
    for (what, total) in [
        ("pushed", counters.pushed),
        ("announced", counters.announced),
        ("grafted", counters.grafted),
        ("pruned", counters.pruned),
        ("shortcuts", counters.shortcuts),
    ] {
        metrics.spread(what, total);
    }
    for (reason, total) in [
        ("spread_news", counters.news_dropped),
        ("spread_want", counters.wants_dropped),
        ("spread_far_behind", counters.far_behind),
        ("spread_given_up", counters.given_up),
        ("spread_graft_refused", counters.grafts_refused),
        ("spread_link_refused", counters.links_refused),
    ] {
        metrics.dropped(reason, total);
    }
    let (pushed, all) = state.neighbours;
    metrics.neighbours("pushed", pushed);
    metrics.neighbours("announced", all.saturating_sub(pushed));
}

#[cfg(test)]
mod tests {
    use selvedge_sync::id::NodeId;

    use super::*;
    use crate::members::tests::record;
    use crate::spec::Digest;

    #[test]
    fn instances_on_lost_members_are_not_counted() {
        let (name, artifact): (WorkloadName, _) = ("combat".parse().expect("a name"), Digest::of(b"combat"));
        let spec = Spec::new(artifact);
        let member = |number: u8, status: Status, digest: Digest| {
            let mut said = record(NodeId([number; 32]), 1, 1);
            said.instances.insert(name.clone(), placement::Instance::new(digest, placement::Phase::Ready));
            Member { node: said.node, record: Some(said), status, age_ms: 0, silent_ms: 0 }
        };
        let members = [
            member(1, Status::Alive, artifact),
            member(2, Status::Suspect, artifact),
            member(3, Status::Lost, artifact),
            member(4, Status::Alive, Digest::of(b"older")),
        ];
        let kept = BTreeMap::from([(NodeId([1; 32]), placement::Reason::Draining)]);
        let (instances, present) = instances((&name, &spec), &kept, &members);
        let why = instances[0].reason.as_deref();
        assert_eq!(why, Some("kept, though its host is draining: no other qualifies"));
        let told: Vec<(u8, Phase, bool)> =
            instances.iter().map(|instance| (instance.node.0[0], instance.phase, instance.reason.is_some())).collect();
        assert_eq!(told, [(1, Phase::Ready, true), (2, Phase::Suspect, true), (4, Phase::Starting, true)]);
        assert_eq!(present, 3);
    }

    #[test]
    fn an_instance_whose_host_fell_silent_because_it_stops_is_stopping() {
        let phase = |host: Status, is_parting: bool| {
            phase(&placement::Instance::new(Digest::of(b"combat"), placement::Phase::Ready), host, is_parting).0
        };
        assert_eq!(phase(Status::Suspect, true), Phase::Stopping);
        assert_eq!(phase(Status::Suspect, false), Phase::Suspect);
        assert_eq!(phase(Status::Alive, true), Phase::Ready, "it answers calls until it has stopped");
    }

    #[test]
    fn an_instance_of_another_configuration_is_not_ready() {
        let name: WorkloadName = "combat".parse().expect("a name");
        let old = Spec::new(Digest::of(b"combat"));
        let mut spec = old.clone();
        spec.config.insert("speed-max".to_owned(), "9".to_owned());
        let phase = |instance: placement::Instance| {
            let mut said = record(NodeId([1; 32]), 1, 1);
            said.instances.insert(name.clone(), instance);
            let member = Member { node: said.node, record: Some(said), status: Status::Alive, age_ms: 0, silent_ms: 0 };
            instances((&name, &spec), &BTreeMap::new(), &[member]).0[0].phase
        };
        let ready = placement::Phase::Ready;
        assert_eq!(phase(placement::Instance::made_from(&old, ready.clone())), Phase::Starting);
        assert_eq!(phase(placement::Instance::made_from(&spec, ready.clone())), Phase::Ready);
        assert_eq!(
            phase(placement::Instance::new(spec.artifact, ready)),
            Phase::Ready,
            "an older release says no more"
        );
    }

    #[test]
    fn a_version_that_could_not_be_started_says_why_although_the_one_before_runs() {
        let name: WorkloadName = "combat".parse().expect("a name");
        let spec = Spec::new(Digest::of(b"broken"));
        let mut said = record(NodeId([1; 32]), 1, 1);
        let mut instance = placement::Instance::new(Digest::of(b"sound"), placement::Phase::Ready);
        instance.refused = Some(placement::Refused {
            digest: spec.artifact,
            revision: Some(spec.revision()),
            reason: "it does not start".to_owned(),
        });
        said.instances.insert(name.clone(), instance);
        let member = Member { node: said.node, record: Some(said), status: Status::Alive, age_ms: 0, silent_ms: 0 };
        let (instances, _) = instances((&name, &spec), &BTreeMap::new(), &[member]);
        let reason = instances[0].reason.clone().unwrap_or_default();
        assert_eq!(instances[0].phase, Phase::Failed);
        assert!(reason.contains("it does not start") && reason.contains("still answers"), "{reason}");
    }
}
