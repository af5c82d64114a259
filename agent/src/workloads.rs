//! The workloads of the mesh, and this node's share in running them.
//!
//! Owns the loop that turns specs in the shared state into instances on this host: it looks, asks `placement` and `reconcile`
//! what to do, and does it. The invariants: it acts on this node alone; what it runs is what its record says it runs.

mod attempts;
mod chronicle;
mod course;
mod deployed;
mod fetch;
mod foresight;
mod holding;
mod notary;
mod orders;
mod registry;
mod reports;
mod rolling;
mod schemas;
mod shortfall;
mod slots;
mod starts;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use selvedge_sync::id::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use self::attempts::Attempt;
pub use self::chronicle::Chronicle;
use self::chronicle::Leaving;
pub use self::course::LastStart;
pub use self::deployed::{Course, Deployed, Previous, Recorded};
pub use self::fetch::ReachError;
pub use self::foresight::{Change, Foresight, Kind, Way};
use self::holding::Holding;
pub use self::notary::{NotPermitted, Notary, Verdict};
pub use self::orders::{Ordered, RegistryError};
use self::registry::Registry;
pub use self::registry::{Deployments, Known, PREVIOUS, Refusals, SPECS, Specs, VERDICTS};
use self::rolling::Reached;
pub use self::schemas::SCHEMAS;
pub use self::shortfall::Short;
use self::shortfall::Shortfalls;
use self::slots::Slots;
use self::starts::{Begun, STARTS_MAX, Turns};
use self::trials::Trials;
use crate::artifacts::Artifacts;
use crate::blobs::fetch::Fetcher;
use crate::driver::DriverHandle;
use crate::events::Events;
use crate::members::gossip::SharedMembers;
use crate::placement::{Explanation, Instance, Mesh, Policy, Reason};
use crate::reconcile::{InSight, Inputs, Reconciler, Step, Timing, Waiting};
use crate::spec::{DeploymentId, Digest, WorkloadName};
use crate::view::StateView;
use crate::wasm::WasmHost;

/// How often the plan is looked at although nothing is known to have changed: loads and members drift.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long commits are not looked at after one that was the game's: a game commits hundreds of times a second, and an operator
/// does not notice.
const QUIET: Duration = Duration::from_millis(50);

/// Least time between two looks at the plan because of what members do: when many come or go, or start something, one look is for
/// many of them.
const MOVED_REST: Duration = Duration::from_millis(20);

/// What this node runs, and the ways to look at it. Cheap to clone.
#[derive(Clone)]
pub struct Workloads {
    parts: Arc<Parts>,
}

struct Parts {
    me: NodeId,
    chronicle: Chronicle,
    view: StateView,
    driver: DriverHandle,
    members: SharedMembers,
    fetcher: Fetcher,
    wasm: WasmHost,
    artifacts: Artifacts,
    policy: Policy,
    notary: Arc<dyn Notary>,
    events: Events,
    registry: Mutex<Registry>,
    /// What the last look at the registry has found.
    known: Mutex<Known>,
    slots: Mutex<Slots>,
    /// Whether the plan has been looked at since the start.
    has_looked: AtomicBool,
    /// Hosts that were chosen for a workload and have not begun with it.
    passed_over: Mutex<BTreeSet<(WorkloadName, NodeId)>>,
    /// What the last look left undone here, and why.
    waiting: Mutex<BTreeMap<WorkloadName, Waiting>>,
    holding: Mutex<Holding>,
    /// What is seen here of versions that are being rolled out.
    trials: Mutex<Trials>,
    /// How far rollouts have got.
    reached: Mutex<BTreeMap<WorkloadName, Reached>>,
    /// Workloads of which a verdict or an attempt is being recorded.
    recording: Mutex<BTreeSet<WorkloadName>>,
    /// What falls short of the last plan.
    shortfalls: Mutex<Shortfalls>,
    /// Which deployment of each this agent has tried first since it started.
    attempted: Mutex<BTreeMap<WorkloadName, DeploymentId>>,
    /// How the last start of each workload here went.
    starts: Mutex<BTreeMap<WorkloadName, LastStart>>,
}

impl Workloads {
    /// The workloads as seen from this node.
    #[must_use]
    pub fn new(
        view: StateView,
        driver: DriverHandle,
        members: SharedMembers,
        (chronicle, fetcher): (Chronicle, Fetcher),
        wasm: WasmHost,
        artifacts: Artifacts,
        (policy, notary, events): (Policy, Arc<dyn Notary>, Events),
    ) -> Self {
        let (registry, slots, has_looked, passed_over, waiting, holding, starts) = Default::default();
        let (trials, reached, recording, shortfalls, attempted, known) = Default::default();
        Self {
            parts: Arc::new(Parts {
                me: chronicle.me,
                chronicle,
                view,
                driver,
                members,
                fetcher,
                wasm,
                artifacts,
                policy,
                notary,
                events,
                registry,
                known,
                slots,
                has_looked,
                passed_over,
                waiting,
                holding,
                trials,
                reached,
                recording,
                shortfalls,
                attempted,
                starts,
            }),
        }
    }

    /// What this node runs, as others are told.
    #[must_use]
    pub fn advertised(&self) -> BTreeMap<WorkloadName, Instance> {
        self.slots().advertised()
    }

    /// What this node runs or is about to, as its own reconciler sees it.
    #[must_use]
    pub fn here(&self) -> BTreeMap<WorkloadName, Instance> {
        self.slots().here()
    }

    /// Whether the plan has been looked at since the start: before that, nothing starts.
    #[must_use]
    pub fn have_looked(&self) -> bool {
        self.parts.has_looked.load(Ordering::Relaxed)
    }

    /// What this host has not done yet about its share, and why: as of the last look at the plan.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<WorkloadName, Waiting> {
        self.parts.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the last start of a workload on this host went.
    #[must_use]
    pub fn last_start(&self, workload: &WorkloadName) -> Option<LastStart> {
        self.starts().get(workload).cloned()
    }

    fn starts(&self) -> MutexGuard<'_, BTreeMap<WorkloadName, LastStart>> {
        self.parts.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has these come back where nobody else may run them: they ran here when this agent was stopped while it was being emptied.
    pub fn resume(&self, workloads: BTreeSet<WorkloadName>) {
        self.holding().resume(workloads);
    }

    /// Follows what is here, or is to come back.
    #[must_use]
    pub fn held(&self) -> watch::Receiver<BTreeSet<WorkloadName>> {
        self.holding().held()
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.parts.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.parts.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed_over(&self) -> MutexGuard<'_, BTreeSet<(WorkloadName, NodeId)>> {
        self.parts.passed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trials(&self) -> MutexGuard<'_, Trials> {
        self.parts.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> MutexGuard<'_, BTreeSet<WorkloadName>> {
        self.parts.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shortfalls(&self) -> MutexGuard<'_, Shortfalls> {
        self.parts.shortfalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Workloads of which too few instances have been ready for as long as this, as of the last look at the plan.
    #[must_use]
    pub fn short(&self, at_least: Duration) -> BTreeMap<WorkloadName, Short> {
        self.shortfalls().short(crate::view::millis(at_least), self.parts.view.now().mono_ms)
    }

    /// Hosts on which a workload stays only for want of another place, and why they should not run it, as of the last look at the plan.
    #[must_use]
    pub fn kept(&self, workload: &WorkloadName) -> BTreeMap<NodeId, Reason> {
        self.shortfalls().kept(workload)
    }

    /// Where a workload should run and why; `None` when nobody deployed it.
    #[must_use]
    pub fn explain(&self, workload: &WorkloadName) -> Option<Explanation> {
        self.plan().remove(workload)
    }

    /// The bytes of an artefact, which is on this host from now on if it was not before.
    ///
    /// # Errors
    /// Nobody in reach has it, or the disk fails.
    pub async fn reach(&self, digest: Digest) -> Result<Arc<[u8]>, ReachError> {
        fetch::reach(&self.parts.artifacts, &self.parts.fetcher, digest).await
    }

    /// The same, and nothing is kept.
    ///
    /// # Errors
    /// As those of [`Workloads::reach`].
    pub async fn peek(&self, digest: Digest) -> Result<Arc<[u8]>, ReachError> {
        fetch::peek(&self.parts.artifacts, &self.parts.fetcher, digest).await
    }

    fn plan(&self) -> crate::placement::Plan {
        crate::placement::plan(&self.specs(), &self.mesh(), &self.parts.policy)
    }

    /// How many members this agent sees.
    #[must_use]
    pub fn in_sight(&self) -> InSight {
        InSight::of(&self.mesh(), &self.parts.me)
    }

    /// The mesh as this agent sees it.
    fn mesh(&self) -> Mesh {
        let now = self.parts.view.now();
        let mut mesh = self.parts.members.with(|members| members.mesh(now));
        self.add_what_is_seen_here(&mut mesh);
        mesh
    }

    /// What this agent alone knows.
    fn add_what_is_seen_here(&self, mesh: &mut Mesh) {
        mesh.pass_over(&*self.passed_over());
        mesh.resume(&self.parts.me, self.holding().resumes());
    }

    /// Keeps this node's share running until `stop`.
    pub async fn run(self, timing: Timing, stop: CancellationToken) {
        let mut reconciler = Reconciler::new(timing);
        let (ended, mut starts) = mpsc::channel(STARTS_MAX);
        let turns = Turns::new(ended);
        let mut generation = self.parts.driver.generation();
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = self.specs_hash();
        let mut quiet_until = Instant::now();
        let mut rest_until = Instant::now();
        let mut is_idle = false;
        loop {
            tokio::select! {
                _ = look.tick() => {}
                Some(start) = starts.recv() => self.finish_start(start),
                changed = changed_after(&mut generation, quiet_until) => {
                    // Most commits are the game's; only those that touch specs are a reason to look.
                    if changed.is_err() { return }
                    quiet_until = Instant::now() + QUIET;
                    let specs = self.specs_hash();
                    if specs == known { continue }
                    known = specs;
                    // What goes by specs when this host looks at itself, as how calls are routed, is not to wait for its next look.
                    self.parts.members.announce();
                }
                // A host that was lost is replaced at once, and what drains for a newcomer drains as soon as that is ready.
                () = moved_after(&self.parts.members, rest_until) => rest_until = Instant::now() + MOVED_REST,
                () = stop.cancelled() => return,
            }
            // Where nothing is asked for and nothing runs, once is enough.
            let was_idle = std::mem::replace(&mut is_idle, self.specs().is_empty() && self.here().is_empty());
            if !(was_idle && is_idle) {
                self.reconcile(&mut reconciler, &turns);
            }
            self.parts.has_looked.store(true, Ordering::Relaxed);
        }
    }

    fn reconcile(&self, reconciler: &mut Reconciler, turns: &Turns) {
        let (began, now) = (std::time::Instant::now(), self.parts.view.now());
        let (mut mesh, unheard) = self.parts.members.with(|members| (members.mesh(now), members.unheard()));
        self.add_what_is_seen_here(&mut mesh);
        let (specs, deployed, refused) = (self.specs(), self.deployed(), self.refused());
        let mut plan = crate::placement::plan(&specs, &mesh, &self.parts.policy);
        let share = self.share(&specs, &deployed, (&mut plan, &mesh), now);
        self.shortfalls().look(&plan, &mesh, now.mono_ms);
        let here = self.here();
        let held = plan.keys().filter(|workload| !share.contains_key(*workload)).cloned().collect();
        let inputs = Inputs { me: self.parts.me, plan: &plan, here: &here, mesh: &mesh, unheard, held: &held };
        let steps = reconciler.decide(&inputs, now.mono_ms);
        *self.passed_over() = reconciler.passed_over();
        self.parts.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(reconciler.waiting());
        self.note_held(&deployed);
        let is_deployed =
            |workload: &WorkloadName| specs.contains_key(workload) || refused.contains_key(workload.as_str());
        self.holding().look((&self.parts.me, &here), (&plan, &mesh), is_deployed);
        self.starts().retain(|workload, _| specs.contains_key(workload));
        let chronicle = &self.parts.chronicle;
        chronicle.looked(began.elapsed(), &plan);
        let mut queued = self.slots().queued();
        for step in steps {
            match step {
                Step::Start { workload, .. } => {
                    if let Some(spec) = share.get(&workload) {
                        match self.begin_start(&workload, spec, plan.get(&workload), turns) {
                            Begun::Begins => reconciler.began(&workload),
                            Begun::Queued => {
                                queued.insert(workload);
                            }
                            Begun::GoesOn => {}
                        }
                    }
                }
                Step::Drain { workload } => {
                    tracing::info!(%workload, "draining");
                    self.slots().drain(&workload);
                    chronicle.drained(&workload, Leaving::of(plan.get(&workload), &self.parts.me));
                    self.parts.members.announce();
                }
                Step::Stop { workload } => {
                    tracing::info!(%workload, "stopping");
                    // It has gone before anybody hears that it has.
                    self.parts.wasm.unload(workload.as_str());
                    self.slots().stop(&workload);
                    chronicle.stopped(&workload, Leaving::of(plan.get(&workload), &self.parts.me));
                    self.parts.members.announce();
                }
            }
        }
        let outdated = self.slots().outdated(&share);
        for (workload, spec, runs) in outdated {
            // What failed and has been changed since need not wait for the back-off, if it is to run here at all.
            let is_wanted = runs || plan.get(workload).is_some_and(|explanation| explanation.chooses(&self.parts.me));
            if !is_wanted {
                continue;
            }
            match self.begin_start(workload, spec, None, turns) {
                Begun::Begins => reconciler.began(workload),
                Begun::Queued => {
                    queued.insert(workload.clone());
                }
                Begun::GoesOn => {}
            }
        }
        self.trials().queue(&queued);
    }
}

/// Waits until something has happened to members, and looks for nothing before `rest_until`.
async fn moved_after(members: &SharedMembers, rest_until: Instant) {
    tokio::time::sleep_until(rest_until).await;
    members.moved().await;
}

/// Waits for a change, and looks for none before `quiet_until`.
async fn changed_after(
    generation: &mut watch::Receiver<u64>,
    quiet_until: Instant,
) -> Result<(), watch::error::RecvError> {
    tokio::time::sleep_until(quiet_until).await;
    generation.changed().await
}
