//! Specs in the shared state: one field of an LWW-map for each workload.

use std::collections::BTreeMap;

use selvedge_sync::change::Change;
use selvedge_sync::crdt::{ContentHash, Value};
use selvedge_sync::draft::ReadState;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::Committed;
use selvedge_sync::scalar::Scalar;

use super::Workloads;
use crate::driver::DriverError;
use crate::spec::{Spec, WorkloadName};

/// The name of the map that holds the specs. Reserved: only the agent writes it.
pub const SPECS: &str = "selvedge:workloads";

/// Workloads that one mesh may have. Each costs every member a placement twice a second.
pub(super) const WORKLOADS_MAX: usize = 1_024;

/// Why a spec was not written. Nothing was changed, unless the driver's error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There are as many workloads already as there may be.
    #[error("there are {WORKLOADS_MAX} workloads already; undeploy one first")]
    Full,
    /// There is no workload of this name.
    #[error("there is no workload `{0}`")]
    Unknown(WorkloadName),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] DriverError),
}

impl Workloads {
    /// Every spec that can be read. One that cannot, as a newer release may have written it, is left out and logged.
    #[must_use]
    pub fn specs(&self) -> BTreeMap<WorkloadName, Spec> {
        let stored = self.parts.view.read(|replica| match replica.readable().value(&specs_key()) {
            Some(Value::Map(fields)) => fields,
            Some(Value::Counter(_) | Value::Set(_)) | None => BTreeMap::new(),
        });
        stored.into_iter().filter_map(|(name, spec)| read(&name, &spec)).collect()
    }

    /// Changes whenever a spec does; costs next to nothing.
    pub(super) fn specs_hash(&self) -> Option<ContentHash> {
        self.parts.view.read(|replica| replica.readable().object(&specs_key()).map(|object| object.content().hash()))
    }

    /// One workload's spec.
    #[must_use]
    pub fn spec(&self, workload: &WorkloadName) -> Option<Spec> {
        let stored = self.parts.view.field(&specs_key(), workload.as_str())?;
        read(workload.as_str(), &stored).map(|(_, spec)| spec)
    }

    /// Writes a spec, and answers when it is durable here.
    ///
    /// # Errors
    /// There are too many, or the commit failed.
    pub async fn deploy(&self, workload: &WorkloadName, spec: &Spec) -> Result<Committed, RegistryError> {
        let specs = self.specs();
        if !specs.contains_key(workload) && specs.len() >= WORKLOADS_MAX {
            return Err(RegistryError::Full);
        }
        let text = serde_json::to_string(spec).expect("a spec serialises");
        let put = Change::Put(vec![(workload.to_string(), Scalar::Text(text))]);
        Ok(self.parts.driver.commit(vec![(specs_key(), put)], None, true).await?)
    }

    /// Removes a spec, and answers when that is durable here.
    ///
    /// # Errors
    /// There is none of this name, or the commit failed.
    pub async fn undeploy(&self, workload: &WorkloadName) -> Result<Committed, RegistryError> {
        if self.parts.view.field(&specs_key(), workload.as_str()).is_none() {
            return Err(RegistryError::Unknown(workload.clone()));
        }
        let remove = Change::RemoveFields(vec![workload.to_string()]);
        Ok(self.parts.driver.commit(vec![(specs_key(), remove)], None, true).await?)
    }
}

fn specs_key() -> Key {
    Key::new(Kind::LwwMap, SPECS).expect("the name is a constant within the bounds")
}

fn read(name: &str, spec: &Scalar) -> Option<(WorkloadName, Spec)> {
    let Scalar::Text(text) = spec else { return None };
    match (name.parse(), serde_json::from_str(text)) {
        (Ok(name), Ok(spec)) => Some((name, spec)),
        (Err(_), _) | (_, Err(_)) => {
            tracing::warn!(name, "a stored spec cannot be read, and is not placed");
            None
        }
    }
}
