//! Orders: deploying, undeploying, going back, and recording what became of a rollout.
//!
//! Owns what is written to the maps of specs, of what ran before, and of verdicts; `registry` reads them. The invariants: what belongs
//! together is one commit; the version before is one that was good; an agent that may not deploy changes nothing of what runs.

use std::collections::BTreeMap;

use selvedge_sync::change::Change;
use selvedge_sync::crdt::Value;
use selvedge_sync::draft::ReadState;
use selvedge_sync::key::Key;
use selvedge_sync::replica::Committed;
use selvedge_sync::scalar::Scalar;

use super::Workloads;
use super::attempts::Attempt;
use super::deployed::{self, Course, Deployed, Previous, Recorded, VERDICTS};
use super::notary::{NotPermitted, Verdict};
use super::registry::keys;
use super::rolling;
use super::schemas;
use crate::driver::DriverError;
use crate::rollout::{self, FenceError};
use crate::spec::{DeploymentId, Digest, Origin, Revision, Spec, WorkloadName};

/// Workloads that one mesh may have. Each costs every member a placement twice a second.
pub(super) const WORKLOADS_MAX: usize = 1_024;

/// Fields that one order takes out of one map, of 256 bytes each with what names them: a commit of half a mebibyte has room for two maps'
/// and two signed specs. Any member can store more, and whoever did would otherwise keep everybody from ordering. What counts goes
/// first; the rest goes with later orders.
pub(super) const CLEARED_MAX: usize = 256;

/// Why an order was not carried out. Nothing was changed, unless the driver's error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There are as many workloads already as there may be.
    #[error("there are {WORKLOADS_MAX} workloads already; undeploy one first")]
    Full,
    /// There is no workload of this name.
    #[error("there is no workload `{0}`")]
    Unknown(String),
    /// This agent may not deploy.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The version would get state that a newer schema has written.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// There is no version to go back to.
    #[error("there is no version of `{0}` to go back to")]
    NothingBefore(WorkloadName),
    /// The present one was taken back already.
    #[error("nothing to roll back: deployment {taken_back} was taken back already, and revision {runs} runs")]
    TakenBack {
        /// The deployment that was taken back.
        taken_back: DeploymentId,
        /// What runs in its place.
        runs: Revision,
    },
    /// What is stored of the version before cannot be read.
    #[error("the version of `{0}` before this one cannot be read: {1}")]
    Unreadable(WorkloadName, String),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] DriverError),
}

/// What a spec would be deployed as.
pub(super) struct Next {
    pub(super) origin: Origin,
    /// The version that runs until it has shown that it is no worse.
    pub(super) before: Option<Previous>,
    /// That version as it is stored.
    pub(super) stored: Option<Scalar>,
}

/// A deployment that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The commit.
    pub commit: Committed,
    /// The deployment's name.
    pub id: DeploymentId,
    /// What instances are made from now.
    pub revision: Revision,
}

impl Workloads {
    /// Signs and writes a spec, and answers when it is durable here.
    ///
    /// # Errors
    /// There are too many, this agent may not, its schema is older than the state's and that is not `forced`, or the commit failed.
    pub async fn deploy(&self, workload: &WorkloadName, spec: &Spec, forced: bool) -> Result<Ordered, RegistryError> {
        let all = self.deployed();
        let Next { origin, stored, .. } = self.next(workload, &all, (spec, forced))?;
        self.order(workload, spec, origin.text(spec), stored).await
    }

    /// What a spec would be deployed as.
    ///
    /// # Errors
    /// There are too many workloads, or its schema is older than the state's and that is not `forced`.
    pub(super) fn next(
        &self,
        workload: &WorkloadName,
        all: &BTreeMap<WorkloadName, Deployed>,
        (spec, forced): (&Spec, bool),
    ) -> Result<Next, RegistryError> {
        if !forced {
            rollout::fence(self.schema(workload, all.get(workload)), spec.state_schema)?;
        }
        let Some(now) = all.get(workload) else {
            let has_room = all.len() < WORKLOADS_MAX;
            let first = || Next { origin: Origin { forced, ..self.origin() }, before: None, stored: None };
            return has_room.then(first).ok_or(RegistryError::Full);
        };
        let (before, stored) = self.before(workload, now, spec).unzip();
        let follows = before.as_ref().map(|before| before.id);
        let at_once = runs_already(now, self.course(workload, now), spec);
        let origin = Origin { follows, at_once, forced, ..self.origin() };
        Ok(Next { origin, before, stored })
    }

    /// The component of the version that a spec would come in the place of, if that is another one.
    #[must_use]
    pub fn replaced(&self, workload: &WorkloadName, spec: &Spec) -> Option<Digest> {
        let all = self.deployed();
        let now = all.get(workload)?;
        let before = self.before(workload, now, spec).map(|(before, _)| before.spec.artifact);
        Some(before.unwrap_or(now.planned().artifact)).filter(|before| *before != spec.artifact)
    }

    /// The schema of a workload's state, whether it is deployed at present or not; `None` when none is known.
    fn schema(&self, workload: &WorkloadName, now: Option<&Deployed>) -> Option<u32> {
        now.map(Deployed::schema).max(self.floors().get(workload.as_str()).copied())
    }

    /// Puts the version before in the place of the present one, at once on all hosts, and answers when that is durable here. Over a
    /// schema of the state only if `forced`: what the newer one has written stays, and the older one may misread it.
    ///
    /// # Errors
    /// There is none of this name or none to go back to, the present one was taken back already, this agent may not, the schema is
    /// another, or the commit failed.
    pub async fn roll_back(&self, workload: &str, forced: bool) -> Result<Ordered, RegistryError> {
        let unknown = || RegistryError::Unknown(workload.to_owned());
        let workload: WorkloadName = workload.parse().map_err(|_| unknown())?;
        let all = self.deployed();
        let now = all.get(&workload).ok_or_else(unknown)?;
        self.parts.notary.may_deploy()?;
        if let Course::Back(runs) = now.course() {
            return Err(RegistryError::TakenBack { taken_back: now.id, runs: runs.spec.revision() });
        }
        let is_other = |previous: &&Previous| previous.spec.revision() != now.spec.revision();
        let previous = now.previous.as_deref().filter(|_| now.origin.reverts.is_none()).filter(is_other);
        let previous = previous.ok_or_else(|| RegistryError::NothingBefore(workload.clone()))?;
        let is_other_schema = previous.spec.state_schema != now.planned().state_schema;
        if !forced {
            rollout::fence(Some(now.schema()), previous.spec.state_schema)?;
        }
        let [specs, previously, ..] = keys();
        let stored =
            self.field(&previously, &workload).ok_or_else(|| RegistryError::NothingBefore(workload.clone()))?;
        let unreadable = |why: String| RegistryError::Unreadable(workload.clone(), why);
        let text = match self.parts.notary.judge(workload.as_str(), &stored) {
            Verdict::Sound(text) => text,
            Verdict::NotYet { why } | Verdict::Refused { why, .. } => return Err(unreadable(why)),
        };
        // Two schemas are not to serve at once even now, so the one that is left is named for as long as it takes.
        let left = is_other_schema.then(|| self.field(&specs, &workload)).flatten();
        let follows = left.as_ref().map(|_| now.id);
        let origin = Origin { at_once: true, reverts: Some(now.id), follows, ..self.origin() };
        let text = origin.renew(&text).map_err(|error| unreadable(error.to_string()))?;
        self.order(&workload, &previous.spec, text, left).await
    }

    /// Removes a spec, and answers when that is durable here. One that is refused can be removed too, whatever it is called.
    ///
    /// # Errors
    /// There is none of this name, this agent may not, or the commit failed.
    pub async fn undeploy(&self, workload: &str) -> Result<Committed, RegistryError> {
        let [specs, previous, verdicts, schemas] = keys();
        if self.parts.view.field(&specs, workload).is_none() {
            return Err(RegistryError::Unknown(workload.to_owned()));
        }
        self.parts.notary.may_deploy()?;
        let mut changes = vec![(specs, Change::RemoveFields(vec![workload.to_owned()]))];
        changes.extend(self.removal(previous, vec![workload.to_owned()]));
        let noted = self.noted(&verdicts, workload);
        changes.extend(self.removal(verdicts, noted));
        // An older release has deployed it, and noted nothing. Nothing is noted twice: whoever forces it elsewhere meanwhile is not undone.
        let parsed = workload.parse().ok();
        let now = parsed.as_ref().and_then(|workload| self.deployed().get(workload).cloned());
        if let (Some(workload), Some(now)) = (&parsed, &now)
            && now.schema() > now.floor
        {
            changes.extend(
                self.schema_changes(workload, now.schema()).into_iter().map(|change| (schemas.clone(), change)),
            );
        }
        let committed = self.parts.driver.commit(changes, None, true).await?;
        if let (Some(workload), Some(now)) = (&parsed, &now) {
            self.parts.events.record([rolling::undeployed(workload, now, self.parts.me)]);
        }
        Ok(committed)
    }

    /// Records what became of a rollout.
    ///
    /// # Errors
    /// The commit failed.
    pub(super) async fn record(
        &self,
        workload: &WorkloadName,
        of: DeploymentId,
        verdict: rollout::Verdict,
    ) -> Result<Committed, DriverError> {
        let [_, _, verdicts, _] = keys();
        // No earlier than what is known here was written: a host whose clock is behind is not to make what follows look late.
        let known_ms = self.parts.view.read(|replica| replica.clock().last().millis());
        let recorded = Recorded { verdict, by: self.parts.me, at_ms: self.parts.view.now().wall_ms.max(known_ms) };
        let (field, text) = recorded.field(workload.as_str(), of);
        self.parts.driver.commit(vec![(verdicts, Change::Put(vec![(field, Scalar::Text(text))]))], None, false).await
    }

    /// Signs a text and writes it, with what ran before, in place of all that was recorded of the workload.
    async fn order(
        &self,
        workload: &WorkloadName,
        spec: &Spec,
        text: String,
        before: Option<Scalar>,
    ) -> Result<Ordered, RegistryError> {
        let stored = self.parts.notary.sign(workload.as_str(), &text)?;
        // What others would refuse is not written over what they carry out.
        if let Verdict::NotYet { why } | Verdict::Refused { why, .. } =
            self.parts.notary.judge(workload.as_str(), &stored)
        {
            return Err(NotPermitted(format!("others would not carry out what this agent signs: {why}")).into());
        }
        let [specs, previous, verdicts, schemas] = keys();
        let name = workload.to_string();
        let mut changes = vec![(specs, Change::Put(vec![(name.clone(), stored)]))];
        match before {
            Some(before) => changes.push((previous, Change::Put(vec![(name, before)]))),
            None => changes.extend(self.removal(previous, vec![name])),
        }
        let noted = self.noted(&verdicts, workload.as_str());
        changes.extend(self.removal(verdicts, noted));
        changes.extend(
            self.schema_changes(workload, spec.state_schema).into_iter().map(|change| (schemas.clone(), change)),
        );
        let commit = self.parts.driver.commit(changes, None, true).await?;
        Ok(Ordered { commit, id: DeploymentId::of(&text), revision: spec.revision() })
    }

    /// The last version before `spec` that was good: the present one, or the one before if that has yet to show that it is no worse,
    /// or is the same version placed otherwise.
    fn before(&self, workload: &WorkloadName, now: &Deployed, spec: &Spec) -> Option<(Previous, Scalar)> {
        let [specs, previous, ..] = keys();
        let older = now.previous.as_deref().filter(|before| before.spec.state_schema == spec.state_schema);
        let course = self.course(workload, now);
        match (course, older) {
            (Course::Settled, Some(before)) if runs_already(now, course, spec) => {
                Some((before.clone(), self.field(&previous, workload)?))
            }
            // What is fenced runs nowhere; whatever does is of another schema, and stops first.
            (Course::Settled | Course::Unseen | Course::Fenced, _) => {
                Some((Previous { id: now.id, spec: now.spec.clone() }, self.field(&specs, workload)?))
            }
            // Across schemas there is no way back, and where the new one serves and nothing older does, it is what the next is held against.
            (Course::Rolling(before), _) if now.switches(before) && self.has_switched(workload, now) => {
                Some((Previous { id: now.id, spec: now.spec.clone() }, self.field(&specs, workload)?))
            }
            (Course::Rolling(before) | Course::Back(before), _) => {
                Some((before.clone(), self.field(&previous, workload)?))
            }
            // Nothing is known that it could be held against: deploying again is the way on, and goes at once.
            (Course::Held, _) => None,
        }
    }

    fn origin(&self) -> Origin {
        Origin { by: Some(self.parts.me), at_ms: self.parts.view.now().wall_ms, ..Origin::default() }
    }

    fn field(&self, key: &Key, workload: &WorkloadName) -> Option<Scalar> {
        self.parts.view.field(key, workload.as_str())
    }

    /// The fields that say what became of a workload's rollouts, of those that an order takes away.
    fn noted(&self, verdicts: &Key, workload: &str) -> Vec<String> {
        let all = self.parts.view.read(|replica| replica.readable().value(verdicts));
        let Some(Value::Map(fields)) = all else { return Vec::new() };
        cleared(workload, fields.into_keys())
    }

    /// What notes that a workload's state is of this schema.
    fn schema_changes(&self, workload: &WorkloadName, schema: u32) -> Vec<Change> {
        let [.., schemas] = keys();
        let deployed = self.deployed();
        let is_deployed = |name: &str| deployed.keys().any(|workload| workload.as_str() == name);
        let now_ms = self.parts.view.now().wall_ms;
        schemas::set(&self.parts.view.fields(&schemas).unwrap_or_default(), (workload, schema), now_ms, is_deployed)
    }

    /// The change that removes fields, of those that are there.
    fn removal(&self, key: Key, mut fields: Vec<String>) -> Option<(Key, Change)> {
        fields.retain(|field| self.parts.view.field(&key, field).is_some());
        (!fields.is_empty()).then_some((key, Change::RemoveFields(fields)))
    }
}

/// Which of the fields of the map of verdicts go with an order: of a workload's, the verdicts, then attempts, then what is neither.
fn cleared(workload: &str, fields: impl Iterator<Item = String>) -> Vec<String> {
    let prefix = deployed::field(workload, "");
    let mut own: Vec<String> = fields.filter(|field| field.starts_with(&prefix)).collect();
    own.sort_by_cached_key(|field| {
        let is_verdict = VERDICTS.iter().any(|verdict| field[prefix.len()..] == **verdict);
        (!is_verdict, !Attempt::is_field(workload, field))
    });
    own.truncate(CLEARED_MAX);
    own
}

/// Whether `spec` only places anew what runs everywhere already.
fn runs_already(now: &Deployed, course: Course<'_>, spec: &Spec) -> bool {
    course == Course::Settled && now.spec.revision() == spec.revision()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_stores_beside_what_counts_keeps_nobody_from_ordering() {
        let attempt = format!("combat/tried/{}", selvedge_sync::id::NodeId([7; 32]));
        let counts = ["combat/completed", "combat/promoted", "combat/rolled-back", &attempt].map(str::to_owned);
        let junk = (0..5_000).flat_map(|number| [format!("combat/a{number}"), format!("combat/tried/{number}")]);
        let others = ["combat-2/promoted", "chat/promoted"].map(str::to_owned);
        let gone = cleared("combat", junk.chain(counts.clone()).chain(others));
        assert_eq!((&gone[..4], gone.len()), (&counts[..], CLEARED_MAX));
        assert!(gone.iter().all(|field| field.starts_with("combat/")), "{gone:?}");
    }
}
