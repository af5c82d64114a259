//! What a deployment would come to: where it would run, and what would start and stop for it.
//!
//! Owns the comparison of two plans; changes nothing. The invariant: what is foreseen is what the agents would decide from the same
//! facts, for it is decided by the same functions.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_sync::id::NodeId;
use serde::Serialize;

use super::deployed::Course;
use super::orders::{Next, RegistryError};
use super::rolling::canary_order;
use super::{Deployed, Workloads};
use crate::placement::{Explanation, Mesh, NodeFacts, Phase, Plan, Rejected};
use crate::spec::{self, DeploymentId, Difference, Revision, Spec, WorkloadName};

/// Hosts whose reasons are told one by one where nobody else may run a workload.
const REASONS_TOLD_MAX: usize = 3;

/// What would happen on one host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// To which workload.
    pub workload: WorkloadName,
    /// On which host.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// What.
    pub change: Kind,
}

/// What would happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One would start.
    Start,
    /// One of this version would start beside the one that runs, and take its place.
    Replace,
    /// It would stop, once enough others are ready.
    Stop,
}

/// How a version would come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Nothing of this name is deployed.
    First,
    /// Its instances run already; only their number or places change.
    Placement,
    /// One host tries it first.
    Canary,
    /// All hosts change at once.
    AtOnce,
    /// Its state has another schema: the old version stops everywhere first.
    Switch,
}

/// What a deployment would come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foresight {
    /// What instances would be made from.
    #[serde(serialize_with = "as_text")]
    pub revision: Revision,
    /// How it would come.
    pub way: Way,
    /// Of a canary the hosts of which one would try it first, by name: those that are called as rarely as any that is called. Which of
    /// them, the deployment's name decides, and that comes with it.
    pub tries_first: Vec<String>,
    /// What of its spec would be another than now.
    pub spec_changes: Vec<Difference>,
    /// What would happen to this workload and to others.
    pub changes: Vec<Change>,
    /// Hosts on which the workload is ready now, by name, where no host would be left that may run it: it would end.
    pub ends_on: Vec<String>,
    /// Where it would run, and why there.
    pub plan: Explanation,
}

impl Workloads {
    /// What deploying a spec would come to.
    ///
    /// # Errors
    /// Those that deploying it would end with before anything was changed.
    pub fn foresee(&self, workload: &WorkloadName, spec: &Spec, forced: bool) -> Result<Foresight, RegistryError> {
        self.parts.notary.may_deploy()?;
        let deployed = self.deployed();
        let now = deployed.get(workload);
        let Next { origin, before, .. } = self.next(workload, &deployed, (spec, forced))?;
        let previous = before.map(Box::new);
        let id = DeploymentId::of("");
        let next =
            Deployed { id, spec: spec.clone(), origin, previous, recorded: None, attempts: Vec::new(), floor: 0 };
        let mesh = self.mesh();
        let mut specs = (*self.specs()).clone();
        let before = crate::placement::plan(&specs, &mesh, &self.parts.policy);
        specs.insert(workload.clone(), spec.clone());
        let mut after = crate::placement::plan(&specs, &mesh, &self.parts.policy);
        let changes = changes(&before, &after, &mesh, (workload, spec));
        let plan = after.remove(workload).expect("what is to be placed is in the plan");
        let ends_on = ends_on((before.get(workload), &plan), &mesh, workload);
        let spec_changes = now.map(|now| spec::differences(now.planned(), spec)).unwrap_or_default();
        let way = way(now, &next);
        let tries_first = if way == Way::Canary { tries_first(&plan, &mesh, workload) } else { Vec::new() };
        Ok(Foresight { revision: spec.revision(), way, tries_first, spec_changes, changes, ends_on, plan })
    }
}

impl Workloads {
    /// What runs here and would run nowhere if this host took no part any more, each with why others may not.
    #[must_use]
    pub fn only_here(&self) -> Vec<(WorkloadName, String)> {
        let here = self.here();
        let running = here.iter().filter(|(_, instance)| instance.runs()).map(|(workload, _)| workload);
        let plan = crate::placement::plan(&self.specs(), &without(&self.mesh(), &self.parts.me), &self.parts.policy);
        running.filter_map(|workload| Some((workload.clone(), ends_by(plan.get(workload)?)?))).collect()
    }
}

/// The mesh as it is without one of its hosts.
fn without(mesh: &Mesh, node: &NodeId) -> Mesh {
    mesh.nodes().filter(|facts| facts.node != *node).cloned().collect()
}

/// Why nobody is to run it by this plan; `None` where somebody is.
fn ends_by(plan: &Explanation) -> Option<String> {
    if plan.holders().next().is_some() {
        return None;
    }
    let why = |rejected: &Rejected| format!("{} {}", rejected.name, rejected.reason);
    let whys: Vec<String> = plan.rejected.iter().take(REASONS_TOLD_MAX).map(why).collect();
    let more = plan.rejected.len() - whys.len();
    Some(match (whys.is_empty(), more) {
        (true, _) => "there is no other host".to_owned(),
        (false, 0) => whys.join(", "),
        (false, more) => format!("{}, and {more} more", whys.join(", ")),
    })
}

/// Which hosts of a plan could be the first to try a version, by name: what alone orders hosts before anybody has begun are the calls there.
fn tries_first(plan: &Explanation, mesh: &Mesh, workload: &WorkloadName) -> Vec<String> {
    let order = |node: &NodeFacts| canary_order(node.calls_per_s.get(workload).copied().unwrap_or(0.0));
    let hosts: Vec<&NodeFacts> = plan.holders().filter_map(|node| mesh.node(&node)).collect();
    let least = hosts.iter().map(|host| order(host)).min();
    let mut first: Vec<String> =
        hosts.into_iter().filter(|host| Some(order(host)) == least).map(|host| host.name.clone()).collect();
    first.sort();
    first
}

/// On which hosts a workload would end that is ready there, by name: those of a plan that names hosts, where the next one names none.
fn ends_on((was, will): (Option<&Explanation>, &Explanation), mesh: &Mesh, workload: &WorkloadName) -> Vec<String> {
    let has_host = |plan: &Explanation| plan.holders().next().is_some();
    if has_host(will) || !was.is_some_and(has_host) {
        return Vec::new();
    }
    let is_ready = |facts: &&NodeFacts| facts.instances.get(workload).is_some_and(|it| it.phase == Phase::Ready);
    mesh.nodes().filter(is_ready).map(|facts| facts.name.clone()).collect()
}

fn way(now: Option<&Deployed>, next: &Deployed) -> Way {
    match (now, next.course()) {
        (None, _) => Way::First,
        (Some(now), Course::Settled) if now.planned().revision() == next.spec.revision() => Way::Placement,
        (Some(_), Course::Settled) => Way::AtOnce,
        (Some(now), _) if now.planned().state_schema != next.spec.state_schema => Way::Switch,
        (Some(_), _) => Way::Canary,
    }
}

/// What differs between two plans, in order. Of the workload that is deployed, what runs counts; of the others, only what they gain
/// or lose by it: what they are about to do anyway is not its doing.
fn changes(before: &Plan, after: &Plan, mesh: &Mesh, (workload, spec): (&WorkloadName, &Spec)) -> Vec<Change> {
    let instances = |of: &WorkloadName| -> BTreeMap<NodeId, bool> {
        let instance = |facts: &NodeFacts| {
            let instance = facts.instances.get(of).filter(|instance| instance.runs())?;
            Some((facts.node, instance.is_of(spec)))
        };
        mesh.nodes().filter_map(instance).collect()
    };
    let mut all = Vec::new();
    for (of, planned) in after {
        let running = instances(of);
        let holders = |plan: Option<&Explanation>| -> BTreeSet<NodeId> {
            plan.map(|plan| plan.holders().collect()).unwrap_or_default()
        };
        let (was, will) = (holders(before.get(of)), holders(Some(planned)));
        let mut add = |node: &NodeId, change| {
            let name = mesh.node(node).map_or_else(|| node.to_string(), |facts| facts.name.clone());
            all.push(Change { workload: of.clone(), node: *node, name, change });
        };
        for node in &will {
            match running.get(node) {
                None if of == workload || !was.contains(node) => add(node, Kind::Start),
                Some(false) if of == workload => add(node, Kind::Replace),
                Some(_) | None => {}
            }
        }
        for node in running.keys().filter(|node| !will.contains(node)) {
            if of == workload || was.contains(node) {
                add(node, Kind::Stop);
            }
        }
    }
    all
}

fn as_text<S: serde::Serializer>(revision: &Revision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(revision)
}

#[cfg(test)]
mod tests {
    use super::super::deployed::tests::deployed;
    use super::*;
    use crate::placement::{Instance, Policy, Resources, plan};
    use crate::spec::{Digest, Spread};

    fn host(number: u8, memory_free: u64, runs: &[(&str, &Spec)]) -> NodeFacts {
        let resources =
            Resources { cpu_total: 4.0, cpu_used_share: 0.1, memory_total: 1 << 30, memory_free, disk_free: None };
        let instances =
            runs.iter().map(|(name, spec)| (name.parse().expect("a name"), Instance::made_from(spec, Phase::Ready)));
        NodeFacts {
            instances: instances.collect(),
            ..NodeFacts::new(NodeId([number; 32]), format!("host-{number}"), resources)
        }
    }

    fn spec(artifact: &[u8], replicas: u16) -> Spec {
        Spec { spread: Spread::Replicas(replicas), ..Spec::new(Digest::of(artifact)) }
    }

    /// What `next` would change for `a` where these are deployed.
    fn foreseen(mesh: Vec<NodeFacts>, deployed: &[(&str, &Spec)], next: &Spec) -> Vec<String> {
        let mesh: Mesh = mesh.into_iter().collect();
        let name = |name: &str| name.parse::<WorkloadName>().expect("a name");
        let mut specs: BTreeMap<_, _> = deployed.iter().map(|(of, spec)| (name(of), (*spec).clone())).collect();
        let before = plan(&specs, &mesh, &Policy::default());
        specs.insert(name("a"), next.clone());
        let after = plan(&specs, &mesh, &Policy::default());
        let changes = changes(&before, &after, &mesh, (&name("a"), next));
        changes.iter().map(|change| format!("{:?} {} on {}", change.change, change.workload, change.name)).collect()
    }

    #[test]
    fn what_would_start_stop_and_be_replaced() {
        let (old, new, free) = (spec(b"old", 2), spec(b"new", 3), 900 << 20);
        let both = [("a", &old)];
        let mesh = || vec![host(1, free, &both), host(2, free, &both), host(3, free, &[])];
        assert_eq!(foreseen(mesh(), &both, &old), [""; 0]);
        assert_eq!(foreseen(mesh(), &both, &new), ["Replace a on host-1", "Replace a on host-2", "Start a on host-3"]);
        let fewer = spec(b"old", 1);
        assert_eq!(foreseen(mesh(), &both, &fewer).len(), 1);
        assert!(foreseen(mesh(), &both, &fewer)[0].starts_with("Stop a"));
    }

    #[test]
    fn what_runs_nowhere_else_is_told_with_the_reasons() {
        let (spread, workload) = (spec(b"a", 2), "a".parse::<WorkloadName>().expect("a name"));
        let mut bound = spec(b"a", 1);
        bound.must = vec!["node=host-1".parse().expect("a rule")];
        let ends = |spec: &Spec, hosts: u8| {
            let mesh: Mesh = (1..=hosts).map(|number| host(number, 900 << 20, &[("a", spec)])).collect();
            let specs = BTreeMap::from([(workload.clone(), spec.clone())]);
            ends_by(&plan(&specs, &without(&mesh, &NodeId([1; 32])), &Policy::default())[&workload])
        };
        assert_eq!(ends(&spread, 2), None, "there are fewer, and not none");
        assert_eq!(ends(&spread, 1).as_deref(), Some("there is no other host"));
        assert_eq!(ends(&bound, 2).as_deref(), Some("host-2 breaks the rule node=host-1"));
        assert!(ends(&bound, 9).is_some_and(|why| why.ends_with("host-4 breaks the rule node=host-1, and 5 more")));
    }

    #[test]
    fn a_quiet_host_that_is_called_tries_first() {
        let (old, workload) = (spec(b"old", 3), "a".parse::<WorkloadName>().expect("a name"));
        let called = |number: u8, calls_per_s: f64| NodeFacts {
            calls_per_s: [(workload.clone(), calls_per_s)].into(),
            ..host(number, 900 << 20, &[("a", &old)])
        };
        let first = |rates: [f64; 3]| {
            let mesh: Mesh = (1..).zip(rates).map(|(number, rate)| called(number, rate)).collect();
            let specs = BTreeMap::from([(workload.clone(), spec(b"new", 3))]);
            tries_first(&plan(&specs, &mesh, &Policy::default())[&workload], &mesh, &workload)
        };
        assert_eq!(first([100.0, 4.0, 0.0]), ["host-2"]);
        assert_eq!(first([4.1, 100.0, 5.9]), ["host-1", "host-3"], "as far as powers of two tell them apart");
        assert_eq!(first([0.0; 3]).len(), 3);
    }

    #[test]
    fn a_workload_ends_where_no_host_is_left_that_was_there() {
        let (old, free, workload) = (spec(b"old", 1), 900 << 20, "a".parse::<WorkloadName>().expect("a name"));
        let mut elsewhere = spec(b"new", 1);
        elsewhere.region = Some("mars".to_owned());
        let ends = |runs: &[(&str, &Spec)], now: &Spec, next: &Spec| {
            let mesh: Mesh = [host(1, free, runs), host(2, free, &[])].into_iter().collect();
            let planned = |spec: &Spec| {
                plan(&BTreeMap::from([(workload.clone(), spec.clone())]), &mesh, &Policy::default()).remove(&workload)
            };
            ends_on((planned(now).as_ref(), &planned(next).expect("it is planned")), &mesh, &workload)
        };
        assert_eq!(ends(&[("a", &old)], &old, &elsewhere), ["host-1"]);
        assert_eq!(ends(&[("a", &old)], &old, &spec(b"new", 1)), [""; 0], "it goes on");
        assert_eq!(ends(&[], &old, &elsewhere), [""; 0], "nothing is ready that could end");
        assert_eq!(ends(&[("a", &old)], &elsewhere, &elsewhere), [""; 0], "it is to end already");
    }

    #[test]
    fn what_others_are_about_to_do_anyway_is_not_told() {
        // There is room for one of the two, and `a` is placed first.
        let (b, next) = (spec(b"b", 1), spec(b"a", 1));
        let room = next.limits.memory + next.limits.memory / 2;
        assert_eq!(foreseen(vec![host(1, room, &[])], &[("b", &b)], &next), ["Start a on host-1"]);
        let mut apart = b.clone();
        apart.must = vec!["!workload=a".parse().expect("a rule")];
        let runs = [("b", &apart)];
        let mesh = vec![host(1, 900 << 20, &runs), host(2, 0, &[])];
        assert_eq!(foreseen(mesh, &runs, &next), ["Start a on host-1"], "what nobody else can run goes on beside it");
    }

    #[test]
    fn a_version_comes_by_a_canary_at_once_or_by_a_switch() {
        let now = deployed(|now| now.previous = None);
        let next = |change: fn(&mut Deployed)| {
            let mut next = deployed(|next| {
                next.spec = Spec::new(Digest::of(b"newer"));
                next.previous = Some(Box::new(super::super::Previous { id: now.id, spec: now.spec.clone() }));
            });
            change(&mut next);
            next
        };
        let way = |change| way(Some(&now), &next(change));
        assert_eq!(way(|_| {}), Way::Canary);
        assert_eq!(way(|next| next.spec.gates.canary_ms = 0), Way::AtOnce);
        assert_eq!(way(|next| next.spec.state_schema = 1), Way::Switch);
        assert_eq!(way(|next| next.spec.artifact = Digest::of(b"new")), Way::Placement);
        assert_eq!(super::way(None, &next(|_| {})), Way::First);
    }
}
