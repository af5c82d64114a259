//! Calls: answered here when the workload runs here, else by a member that has it.
//!
//! Owns the route of a call and its figures; the guest host runs it and the driver commits what it wrote. The invariants: what
//! a call wrote is one commit, applied before the answer; a call is forwarded at most once, and tried again elsewhere only when
//! the first member is known to have done nothing.

mod answer;
mod asking;
mod encoded;
mod forward;
mod origins;
mod routes;
mod start;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::NodeId;
use selvedge_sync::replica;
use serde_json::Value;

pub use self::traffic::Traffic;
use crate::assets::Assets;
use crate::driver::DriverHandle;
use crate::members::gossip::SharedMembers;
use crate::metrics::{Metrics, Outcome};
use crate::net::Net;
use crate::placement::Origins;
use crate::rates::Rates;
use crate::service::{CallAnswer, CallOptions, Committed, Entry, Fault, ServiceError};
use crate::spec::{Spec, WorkloadName};
use crate::traces::{Step, Traces};
use crate::view::StateView;
use crate::wasm::{CallContext, CallOutcome, Recorded, Recording, WasmHost};

/// Routes calls. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    parts: Arc<Parts>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("traffic", &self.parts.traffic).finish_non_exhaustive()
    }
}

struct Parts {
    me: NodeId,
    /// The same in text, by which routers know this host as a caller.
    me_text: String,
    wasm: WasmHost,
    assets: Assets,
    driver: DriverHandle,
    view: StateView,
    members: SharedMembers,
    net: Net,
    traffic: Traffic,
    origins: origins::Said,
    rates: Arc<Rates>,
    traces: Traces,
    forwarded: forward::Forwarded,
    seeds: answer::Seeds,
    routes: routes::Routes,
    start: start::Start,
}

impl Calls {
    /// A router over these.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(
        wasm: WasmHost,
        assets: Assets,
        driver: DriverHandle,
        view: StateView,
        members: SharedMembers,
        net: Net,
        (metrics, rates, traces): (Arc<Metrics>, Arc<Rates>, Traces),
    ) -> Result<Self, getrandom::Error> {
        let (me, seeds) = (net.node(), answer::Seeds::new()?);
        let (traffic, routes) = (Traffic::new(metrics), routes::Routes::new(seeds.next()));
        let (origins, forwarded) = Default::default();
        let me_text = me.to_string();
        Ok(Self {
            parts: Arc::new(Parts {
                me,
                me_text,
                wasm,
                assets,
                driver,
                view,
                members,
                net,
                traffic,
                origins,
                rates,
                traces,
                forwarded,
                seeds,
                routes,
                start: start::Start::now(),
            }),
        })
    }

    /// Calls a function of a workload, here or where it runs. `spec_deadline` is asked for the deadline in the workload's spec only
    /// if it does not run here: a spec is read from the state, which takes longer than a small call.
    ///
    /// # Errors
    /// The caller's, the workload's or the mesh's, as the error says; or that of `spec_deadline`, and then nobody was asked.
    pub async fn call(
        &self,
        workload: &WorkloadName,
        function: &str,
        arguments: Value,
        options: CallOptions,
        spec_deadline: impl FnOnce() -> Result<Duration, ServiceError> + Send,
    ) -> Result<CallAnswer, ServiceError> {
        let began = Instant::now();
        let span = self.parts.traces.entry(options.trace, (workload.as_str(), function), began);
        let options = CallOptions { trace: span.context(), ..options };
        // One that has too much to do here is made elsewhere, if anybody has less.
        let has_room = self.parts.wasm.is_overloaded(workload.as_str()) == Some(false);
        let answer = if has_room && self.parts.routes.prefers_here(workload) {
            self.call_here(workload, function, arguments, options).await
        } else {
            let own_deadline = spec_deadline()?;
            self.forward(workload, function, &arguments, (options, own_deadline)).await
        };
        let outcome = answer.as_ref().map_or_else(answer::outcome, answer::success);
        self.parts.traffic.record(workload, began.elapsed(), outcome, span.recorded());
        span.end(answer.as_ref().err().map(ServiceError::code));
        answer
    }

    /// Runs the call on this host and commits what it wrote.
    async fn call_here(
        &self,
        workload: &WorkloadName,
        function: &str,
        arguments: Value,
        options: CallOptions,
    ) -> Result<CallAnswer, ServiceError> {
        let (parts, context) = (&self.parts, self.context(&options));
        let run = parts.traces.child(options.trace, Step::Run, (workload.as_str(), function), Instant::now());
        let Recorded { outcome, mut recording } = if options.record {
            parts.wasm.record(workload.as_str(), function, arguments, context).await
        } else {
            parts.wasm.call(workload.as_str(), function, arguments, context).await.into()
        };
        run.end(outcome.as_ref().err().map(answer::code));
        if let Some(recording) = &mut recording {
            recording.node = Some(parts.me.to_string());
        }
        let mut outcome = match (outcome, &recording) {
            (Ok(outcome), None) => outcome,
            (Ok(outcome), Some(recording)) => {
                // What cannot be handed over is not done either.
                recording.fits().map_err(|error| answer::not_recorded(&error))?;
                outcome
            }
            (Err(error), Some(recording)) if recording.fits().is_ok() => {
                return Err(answer::call_failed(error).recorded(recording.encode()));
            }
            (Err(error), _) => return Err(answer::call_failed(error)),
        };
        let changes = std::mem::take(&mut outcome.changes);
        let made = if changes.is_empty() {
            None
        } else {
            Some(parts.driver.commit(changes, options.request, false).await.map_err(answer::commit_failed)?)
        };
        Ok(self.answer_to(outcome, made, recording))
    }

    /// What a call is made with on this host.
    fn context(&self, options: &CallOptions) -> CallContext {
        let (view, now) = (&self.parts.view, self.parts.view.now());
        let stamp = view.read(|replica| replica.clock().last()).max(Hlc::from_millis(now.wall_ms));
        CallContext { seed: self.parts.seeds.next(), now: stamp, deadline: options.deadline }
    }

    /// The answer to a call that was made here and committed.
    fn answer_to<R>(
        &self,
        outcome: CallOutcome<R>,
        made: Option<replica::Committed>,
        recording: Option<Box<Recording>>,
    ) -> CallAnswer<R> {
        let parts = &self.parts;
        let commit = made.map(|made| Committed { replica: made.dot.replica, seq: made.dot.seq, hlc: made.hlc });
        parts.assets.preload(outcome.preloads);
        let overrun = outcome.overrun.map(|overrun| overrun.name().to_owned());
        let recording = recording.map(|mut recording| {
            recording.commit = commit.as_ref().map(Committed::name);
            recording.encode()
        });
        CallAnswer { result: outcome.result, node: parts.me, commit, overrun, recording }
    }

    /// Takes note of what is deployed: how it is routed, and whose figures can be forgotten.
    pub fn deployed(&self, specs: &BTreeMap<WorkloadName, Spec>) {
        self.parts.traffic.retain(|workload| specs.contains_key(workload));
        self.parts.origins.retain(|workload| specs.contains_key(workload));
        let members: BTreeSet<NodeId> =
            self.parts.members.with(|members| members.each().map(|(node, ..)| node).collect());
        self.parts.routes.deployed(specs, |node| members.contains(node));
    }

    /// Takes note of where the caller of a call says that it is; `region` is the one of this host.
    pub fn note_origin(&self, workload: &str, region: &str, entry: &Entry<'_>) {
        if let Ok(workload) = workload.parse() {
            self.parts.origins.note(&workload, region, entry.region, entry.rtt_ms);
        }
    }

    /// Counts a call that was refused before it was looked at, since its caller makes too many.
    pub fn came_too_soon(&self, workload: &str) {
        if let Ok(workload) = workload.parse() {
            self.parts.traffic.record(&workload, Duration::ZERO, Outcome::Refused, None);
        }
    }

    /// Where the callers of each workload say that they are. Meant to be asked about once a second.
    #[must_use]
    pub fn origins(&self) -> BTreeMap<WorkloadName, Origins> {
        self.parts.origins.origins()
    }

    /// Calls that members have forwarded here: how many are being answered, and how many there have been.
    #[must_use]
    pub fn forwarded(&self) -> (usize, u64) {
        self.parts.forwarded.counts()
    }

    /// The figures of calls that came in here.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.parts.traffic
    }
}

/// The code of an error that says that a workload does not run where it was asked for.
const NOT_RUNNING: &str = "not_running";

/// Nobody in sight runs it; `seen` of `members` are in sight, this host included.
fn not_running(workload: &WorkloadName, (seen, members): (usize, usize)) -> ServiceError {
    let explain = format!("`selvedge explain {workload}` says where it should run and why it does not");
    let (message, hint) = if seen * 2 < members {
        (
            format!(
                "this host is cut off ({seen} of {members} members in sight), and nobody in sight runs `{workload}`"
            ),
            format!("`selvedge peers` shows the links, and {explain}; a host that sees the others answers"),
        )
    } else {
        let sight = if seen < members { format!(" ({seen} of {members} members in sight)") } else { String::new() };
        (
            format!("no reachable member runs `{workload}` at present{sight}"),
            format!("if its host was just lost, it is placed elsewhere within some seconds: try again; {explain}"),
        )
    };
    ServiceError::new(Fault::Unavailable, NOT_RUNNING, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_cut_off_hears_how_many_are_in_sight() {
        let workload = "combat".parse().expect("a name");
        for (sight, expected) in [
            ((3, 3), "no reachable member runs `combat` at present"),
            ((1, 2), "no reachable member runs `combat` at present (1 of 2 members in sight)"),
            ((1, 3), "this host is cut off (1 of 3 members in sight), and nobody in sight runs `combat`"),
        ] {
            let error = not_running(&workload, sight);
            assert_eq!((error.code(), error.message()), (NOT_RUNNING, expected));
        }
    }
}
