//! Artefacts and specs that come in through the API: checked, stored, committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use selvedge_sync::replica::Committed;
use serde_json::Value;
use tokio::time::Instant;

use super::service::{AgentService, committed};

use crate::artifacts::Artifacts;
use crate::blobs::BlobError;
use crate::config::WasmConfig;
use crate::driver::DriverError;
use crate::members::{Member, Status};
use crate::rollout::FenceError;
use crate::service::{ArtifactInfo, Deployed, Fault, ServiceError};
use crate::spec::{Digest, Spec, WorkloadName};
use crate::view::millis;
use crate::wasm::{Broken, FunctionInfo, LoadError, LoadOptions, WasmHost};
use crate::workloads::{Foresight, Ordered, ReachError, RegistryError, Workloads};

/// Functions that are named one by one where callers would lose many.
const BROKEN_TOLD_MAX: usize = 8;

/// Hosts and reasons that are named one by one where a workload would end.
const REASONS_TOLD_MAX: usize = 8;

/// How often it is looked whether a workload has stopped everywhere.
const STOPPED_LOOK: Duration = Duration::from_millis(20);

/// Checks a component and, if `kept`, stores it.
pub(super) async fn put_artifact(
    wasm: &WasmHost,
    artifacts: &Artifacts,
    bytes: &Bytes,
    kept: bool,
) -> Result<ArtifactInfo, ServiceError> {
    let (host, component) = (wasm.clone(), bytes.clone());
    let inspected = tokio::task::spawn_blocking(move || host.inspect(&component)).await;
    let info = inspected.map_err(|_| unable("the component could not be inspected"))?;
    let info = info.map_err(|error| match &error {
        LoadError::Host(_) => ServiceError::new(Fault::Unavailable, "host_unable", error.to_string()),
        LoadError::TooLarge { .. }
        | LoadError::NotComponent(_)
        | LoadError::CoreModule
        | LoadError::Import { .. }
        | LoadError::ImportType(_)
        | LoadError::NoFunction
        | LoadError::FunctionType { .. }
        | LoadError::CompileLimit { .. }
        | LoadError::CompilerCrash
        | LoadError::DefaultAnswer { .. }
        | LoadError::Configuration(_)
        | LoadError::Check(_)
        | LoadError::Start(_) => ServiceError::new(Fault::Caller, "bad_component", error.to_string()).at("body"),
    })?;
    let digest = if kept { store(artifacts, bytes).await? } else { Digest::of(bytes) };
    Ok(ArtifactInfo {
        digest: digest.to_string(),
        size: bytes.len() as u64,
        exports: info.exports.iter().map(signature).collect(),
        imports: info.imports,
    })
}

async fn store(artifacts: &Artifacts, bytes: &Bytes) -> Result<Digest, ServiceError> {
    let (artifacts, component) = (artifacts.clone(), bytes.clone());
    let stored = tokio::task::spawn_blocking(move || artifacts.put(&component)).await;
    stored
        .map_err(|_| unable("the component could not be stored").changed("it may be stored all the same"))?
        .map_err(|error| disk(&error))
}

fn unable(message: &str) -> ServiceError {
    ServiceError::new(Fault::Internal, "internal", message)
}

/// A function as it reads in WIT: `combat.resolve(duels: list<duel>) -> list<outcome>`.
fn signature(function: &FunctionInfo) -> String {
    let interface = function.interface.rsplit('/').next().and_then(|name| name.split('@').next()).unwrap_or_default();
    let dot = if interface.is_empty() { "" } else { "." };
    let params: Vec<String> = function.params.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
    let result = function.result.as_ref().map_or_else(String::new, |kind| format!(" -> {kind}"));
    format!("{interface}{dot}{}({}){result}", function.name, params.join(", "))
}

/// Checks a spec and commits it. Its artefact must be in reach, or nobody could ever start it; its default answers must be those
/// of the artefact's functions, and the workload must be content with its configuration.
pub(super) async fn deploy(
    wasm: &WasmHost,
    workloads: &Workloads,
    defaults: &WasmConfig,
    (name, spec, forced): (&str, Value, bool),
) -> Result<Deployed, ServiceError> {
    let (name, spec) = read_spec(defaults, name, spec)?;
    let component = workloads.reach(spec.artifact).await.map_err(|error| out_of_reach(&error))?;
    check(wasm, &name, &spec, Arc::clone(&component)).await?;
    match broken(wasm, workloads, (&name, &spec), component).await {
        Ok(broken) if broken.is_empty() => {}
        Ok(broken) if forced => tracing::warn!(%name, broken = listed(&broken), "deployed by force"),
        Ok(broken) => return Err(breaks(&broken)),
        Err(why) => tracing::warn!(%name, why, "it is not known whether callers lose functions"),
    }
    if !forced {
        ends_nowhere(&name, &workloads.foresee(&name, &spec, false).map_err(refused)?)?;
    }
    workloads.deploy(&name, &spec, forced).await.map(deployed).map_err(refused)
}

/// What deploying a spec would come to. Where its artefact is not in reach, all but that is looked at, and the answer says so.
pub(super) async fn foresee(
    wasm: &WasmHost,
    workloads: &Workloads,
    defaults: &WasmConfig,
    (name, spec, forced): (&str, Value, bool),
) -> Result<Value, ServiceError> {
    let (name, spec) = read_spec(defaults, name, spec)?;
    let (mut unchecked, mut breaks_all) = (None, Vec::new());
    match workloads.peek(spec.artifact).await {
        Ok(component) => {
            check(wasm, &name, &spec, Arc::clone(&component)).await?;
            match broken(wasm, workloads, (&name, &spec), component).await {
                Ok(broken) if forced || broken.is_empty() => breaks_all = broken,
                Ok(broken) => return Err(breaks(&broken)),
                Err(why) => unchecked = Some(why),
            }
        }
        Err(error) => {
            let why =
                "whether the component goes with its configuration and limits and has the functions of the one before";
            unchecked = Some(format!("{why}, for {error}"));
        }
    }
    let foreseen = workloads.foresee(&name, &spec, forced).map_err(refused)?;
    let mut shown = serde_json::to_value(foreseen).expect("a foresight serialises");
    shown["name"] = name.as_str().into();
    shown["dry_run"] = true.into();
    shown["plan"]["asks"] = asks(&spec);
    shown["unchecked"] = unchecked.into();
    shown["breaks"] = breaks_all.iter().map(Broken::to_string).collect::<Vec<_>>().into();
    Ok(shown)
}

/// Refuses what would end a workload that runs: one typo in a rule is not to stop it everywhere.
fn ends_nowhere(name: &WorkloadName, foreseen: &Foresight) -> Result<(), ServiceError> {
    let (hosts, rejected) = (&foreseen.ends_on, &foreseen.plan.rejected);
    if hosts.is_empty() {
        return Ok(());
    }
    let some = |all: &mut dyn Iterator<Item = String>, separator: &str| {
        all.take(REASONS_TOLD_MAX).collect::<Vec<_>>().join(separator)
    };
    let ready = some(&mut hosts.iter().cloned(), ", ");
    let reasons = some(&mut rejected.iter().map(|host| format!("{} {}", host.name, host.reason)), "; ");
    let rest = rejected.len().saturating_sub(REASONS_TOLD_MAX);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    let message =
        format!("no host would be left for `{name}`, which is ready on {ready} and would stop: {reasons}{more}");
    Err(ServiceError::new(Fault::Conflict, "no_host_left", message).hint(
        "mend what it asks of hosts; `--dry-run` shows the plan, and with `--force` it stops until a host qualifies",
    ))
}

/// What a spec asks of hosts, in its own fields.
pub(super) fn asks(spec: &Spec) -> Value {
    const FIELDS: [&str; 12] = [
        "replicas",
        "everywhere",
        "region",
        "require",
        "must",
        "affinity",
        "per_region",
        "spread",
        "latency",
        "partition",
        "routing",
        "limits",
    ];
    let mut asks = serde_json::to_value(spec).expect("a spec serialises");
    if let Some(fields) = asks.as_object_mut() {
        fields.retain(|name, value| FIELDS.contains(&name.as_str()) && !value.is_null());
    }
    asks
}

fn read_spec(defaults: &WasmConfig, name: &str, mut spec: Value) -> Result<(WorkloadName, Spec), ServiceError> {
    let name: WorkloadName = name.parse().map_err(|error: crate::spec::ParseNameError| {
        ServiceError::new(Fault::Caller, "bad_name", error.to_string()).at("name")
    })?;
    fill_in(&mut spec, defaults);
    let spec = Spec::from_json(&spec).map_err(|error| {
        ServiceError::new(Fault::WrongValue, "bad_spec", error.to_string()).at(error.field().to_owned())
    })?;
    Ok((name, spec))
}

fn out_of_reach(error: &ReachError) -> ServiceError {
    ServiceError::new(Fault::Conflict, "unknown_artifact", error.to_string())
        .at("artifact")
        .hint("send the component first: PUT /v1/artifacts")
}

/// Whether a spec and its artefact go together.
async fn check(wasm: &WasmHost, name: &WorkloadName, spec: &Spec, component: Arc<[u8]>) -> Result<(), ServiceError> {
    let (host, options) = (wasm.clone(), LoadOptions::of(spec));
    let checked = tokio::task::spawn_blocking(move || host.check(&component, options)).await;
    match checked.map_err(|_| unable("the spec could not be checked"))? {
        Ok(()) => {}
        // Whoever is to run it checks it again, and may have more room.
        Err(LoadError::Host(reason)) => tracing::warn!(%name, reason, "the configuration is not checked here"),
        Err(error) => return Err(unfit(&error)),
    }
    Ok(())
}

/// What callers of the version before could not do any more; or why that is not known.
async fn broken(
    wasm: &WasmHost,
    workloads: &Workloads,
    (name, spec): (&WorkloadName, &Spec),
    component: Arc<[u8]>,
) -> Result<Vec<Broken>, String> {
    let Some(before) = workloads.replaced(name, spec) else { return Ok(Vec::new()) };
    let unknown = |why: String| format!("whether it has the functions of the version before, {before}: {why}");
    let before = workloads.peek(before).await.map_err(|error| unknown(error.to_string()))?;
    let host = wasm.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let before = host.inspect(&before)?;
        Ok::<_, LoadError>(before.broken_by(&host.inspect(&component)?))
    });
    let compared = compared.await.map_err(|error| unknown(error.to_string()))?;
    compared.map_err(|error| unknown(error.to_string()))
}

fn breaks(broken: &[Broken]) -> ServiceError {
    let message = format!("callers of the version before would lose what they call: {}", listed(broken));
    ServiceError::new(Fault::Conflict, "breaks_callers", message).at("artifact").hint(
        "deploy it under a name of its own and have callers change over, or with `--force` if nobody calls these any more",
    )
}

/// What is broken, in one sentence.
fn listed(broken: &[Broken]) -> String {
    let shown: Vec<String> = broken.iter().take(BROKEN_TOLD_MAX).map(Broken::to_string).collect();
    let rest = broken.len() - shown.len();
    shown.join("; ") + &if rest > 0 { format!("; and {rest} more") } else { String::new() }
}

/// Puts the version before in the place of the present one.
pub(super) async fn roll_back(workloads: &Workloads, name: &str, forced: bool) -> Result<Deployed, ServiceError> {
    workloads.roll_back(name, forced).await.map(deployed).map_err(refused)
}

fn deployed(ordered: Ordered) -> Deployed {
    let Ordered { commit, id, revision } = ordered;
    Deployed { commit: committed(commit), revision: revision.to_string(), deployment: id.to_string() }
}

/// Why a spec and its artefact do not go together.
fn unfit(error: &LoadError) -> ServiceError {
    let refused = |code| ServiceError::new(Fault::WrongValue, code, error.to_string());
    match error {
        LoadError::Configuration(problems) => {
            let first = problems.first().map_or_else(String::new, |problem| format!(".{}", problem.name));
            refused("bad_config").at(format!("config{first}"))
        }
        LoadError::Check(_) => refused("bad_config").at("config"),
        LoadError::DefaultAnswer { .. } => refused("bad_spec").at("on_overrun"),
        LoadError::Start(_) => refused("bad_spec").at("limits"),
        LoadError::TooLarge { .. }
        | LoadError::NotComponent(_)
        | LoadError::CoreModule
        | LoadError::Import { .. }
        | LoadError::ImportType(_)
        | LoadError::NoFunction
        | LoadError::FunctionType { .. }
        | LoadError::CompileLimit { .. }
        | LoadError::CompilerCrash
        | LoadError::Host(_) => refused("bad_component").at("artifact"),
    }
}

/// Gives limits that the spec leaves out the values that this host is configured with.
fn fill_in(spec: &mut Value, defaults: &WasmConfig) {
    let Some(spec) = spec.as_object_mut() else { return };
    let limits = spec.entry("limits").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(limits) = limits.as_object_mut() {
        limits.entry("memory").or_insert_with(|| defaults.memory.into());
        limits.entry("deadline_ms").or_insert_with(|| millis(defaults.deadline).into());
    }
}

/// Removes a spec; with `wait`, answers when no member that is there says any more that it runs the workload.
pub(super) async fn undeploy(
    service: &AgentService,
    name: &str,
    wait: Option<Duration>,
) -> Result<Committed, ServiceError> {
    let made = service.workloads.undeploy(name).await.map_err(refused)?;
    // What has no name that this release knows runs nowhere.
    let (Some(wait), Ok(name)) = (wait, name.parse()) else { return Ok(made) };
    let deadline = Instant::now() + wait;
    let mut look = tokio::time::interval(STOPPED_LOOK);
    loop {
        look.tick().await;
        let running = running(service, &name);
        if running.is_empty() {
            return Ok(made);
        }
        if service.workloads.spec(&name).is_some() {
            let message = format!("`{name}` was deployed again while it was being stopped");
            let error = ServiceError::new(Fault::Conflict, "deployed_again", message);
            return Err(error.changed("the spec was removed, and somebody has set another"));
        }
        if Instant::now() >= deadline {
            let message =
                format!("within {wait:?} not everybody has stopped `{name}`; still there: {}", running.join(", "));
            return Err(ServiceError::new(Fault::TimedOut, "still_running", message)
                .changed("the spec is removed, and whoever hears of that stops it")
                .hint("a host that is cut off goes on until it hears of it, or counts as lost; `selvedge nodes` shows who answers"));
        }
    }
}

/// The names of the members that are there and say that they run a workload, or are about to or about to have stopped.
fn running(service: &AgentService, workload: &WorkloadName) -> Vec<String> {
    let me = service.net.node();
    let here = || service.wasm.is_loaded(workload.as_str()) || service.workloads.advertised().contains_key(workload);
    let runs = |member: &Member| match &member.record {
        _ if member.node == me => here(),
        Some(record) if matches!(member.status, Status::Alive | Status::Suspect) => {
            record.instances.contains_key(workload)
        }
        Some(_) | None => false,
    };
    let name = |member: Member| member.record.map_or_else(|| member.node.to_string(), |record| record.name);
    service.all_members().into_iter().filter(runs).map(name).collect()
}

/// Nobody deployed a workload of this name.
pub(super) fn unknown_workload(name: &str) -> ServiceError {
    ServiceError::not_found("unknown_workload", "workload", name).at("name").hint("`selvedge workloads` lists them")
}

fn refused(error: RegistryError) -> ServiceError {
    match error {
        RegistryError::Full => ServiceError::new(Fault::Conflict, "too_many_workloads", error.to_string()),
        RegistryError::NotPermitted(error) => ServiceError::new(Fault::Forbidden, "may_not_deploy", error.to_string())
            .hint("do so at another member; `selvedge invite` without --no-deploy admits hosts that may"),
        RegistryError::Unknown(name) => unknown_workload(&name),
        RegistryError::Fence(FenceError { stored, offered }) => {
            let message = format!("the state has been written by schema {stored}, and this version knows schema {offered}");
            ServiceError::new(Fault::Conflict, "older_schema", message).at("state_schema").hint(
                "it would misread what the newer one has written, and what it wrote would reach every host, also where the workload was \
                 undeployed since. Deploy one with this `state_schema` or a newer one; `--force` (with `deploy` or `rollback`) runs it all the same",
            )
        }
        RegistryError::NothingBefore(_) => ServiceError::new(Fault::Conflict, "nothing_before", error.to_string())
            .at("name")
            .hint(
                "what was deployed first, or was rolled back by hand, has no version before it, and another place or number is no new \
                 version: deploy what you want, with the placement that you want",
            ),
        RegistryError::TakenBack { .. } => ServiceError::new(Fault::Conflict, "nothing_before", error.to_string())
            .at("name")
            .hint("mend the version that was taken back, and deploy it again"),
        RegistryError::Unreadable(..) => ServiceError::new(Fault::Conflict, "nothing_before", error.to_string()).at("name"),
        RegistryError::Commit(DriverError::Refused(error)) => {
            ServiceError::new(Fault::Unavailable, "read_only", error.to_string())
        }
        RegistryError::Commit(DriverError::Barred(why)) => ServiceError::new(Fault::Unavailable, "read_only", why),
        RegistryError::Commit(DriverError::Busy) => {
            ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", "too many writes are waiting on this agent")
        }
        RegistryError::Commit(error @ (DriverError::NotDurableInTime(_) | DriverError::NoAnswer)) => {
            ServiceError::new(Fault::TimedOut, "no_answer", error.to_string()).changed("the spec may have been changed")
        }
    }
}

fn disk(error: &BlobError) -> ServiceError {
    ServiceError::new(Fault::Unavailable, "artifact_not_stored", error.to_string())
}
