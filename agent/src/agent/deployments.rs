//! Artefacts and specs that come in through the API: checked, stored, committed.

use std::sync::Arc;

use bytes::Bytes;
use selvedge_sync::replica::Committed;
use serde_json::Value;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::driver::DriverError;
use crate::service::{ArtifactInfo, Fault, ServiceError};
use crate::spec::{Spec, WorkloadName};
use crate::wasm::WasmHost;
use crate::workloads::{RegistryError, Workloads};

/// Checks a component and stores it.
pub(super) async fn put_artifact(
    wasm: &WasmHost,
    artifacts: &Artifacts,
    bytes: &Bytes,
) -> Result<ArtifactInfo, ServiceError> {
    let (host, component) = (wasm.clone(), bytes.clone());
    let inspected = tokio::task::spawn_blocking(move || host.inspect(&component)).await;
    let info = inspected.map_err(|_| ServiceError::new(Fault::Internal, "inspection_failed", "the component could not be inspected"))?;
    let info = info.map_err(|error| ServiceError::new(Fault::Caller, "bad_component", error.to_string()).at("body"))?;
    let digest = artifacts.put(Arc::from(&bytes[..])).await.map_err(|error| disk(&error))?;
    Ok(ArtifactInfo {
        digest: digest.to_string(),
        size: bytes.len() as u64,
        exports: info.exports.iter().map(ToString::to_string).collect(),
        imports: info.imports,
    })
}

/// Checks a spec and commits it. Its artefact must be in reach, or nobody could ever start it.
pub(super) async fn deploy(workloads: &Workloads, name: &str, spec: &Value) -> Result<Committed, ServiceError> {
    let name: WorkloadName = name
        .parse()
        .map_err(|error: crate::spec::ParseNameError| ServiceError::new(Fault::Caller, "bad_name", error.to_string()).at("name"))?;
    let spec = Spec::from_json(spec).map_err(|error| {
        ServiceError::new(Fault::WrongValue, "bad_spec", error.to_string()).at(error.field().to_owned())
    })?;
    if let Err(error) = workloads.reach(spec.artifact).await {
        return Err(ServiceError::new(Fault::Conflict, "unknown_artifact", error.to_string())
            .at("artifact")
            .hint("send the component first: PUT /v1/artifacts"));
    }
    workloads.deploy(&name, &spec).await.map_err(refused)
}

/// Removes a spec.
pub(super) async fn undeploy(workloads: &Workloads, name: &str) -> Result<Committed, ServiceError> {
    let unknown = || ServiceError::not_found("unknown_workload", "workload", name);
    let name: WorkloadName = name.parse().map_err(|_| unknown())?;
    workloads.undeploy(&name).await.map_err(refused)
}

fn refused(error: RegistryError) -> ServiceError {
    match error {
        RegistryError::Full => ServiceError::new(Fault::Conflict, "too_many_workloads", error.to_string()),
        RegistryError::Unknown(name) => ServiceError::not_found("unknown_workload", "workload", name.as_str()),
        RegistryError::Commit(DriverError::Refused(error)) => {
            ServiceError::new(Fault::Unavailable, "read_only", error.to_string())
        }
        RegistryError::Commit(DriverError::Busy) => {
            ServiceError::new(Fault::Busy { retry_after_s: 1 }, "busy", "too many writes are waiting on this agent")
        }
        RegistryError::Commit(error @ (DriverError::NotDurableInTime(_) | DriverError::NoAnswer)) => {
            ServiceError::new(Fault::TimedOut, "no_answer", error.to_string()).changed("the spec may have been changed")
        }
    }
}

fn disk(error: &ArtifactError) -> ServiceError {
    ServiceError::new(Fault::Unavailable, "artifact_not_stored", error.to_string())
}
