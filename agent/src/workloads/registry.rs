//! Specs in the shared state: one field of an LWW-map for each workload.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use selvedge_sync::change::Change;
use selvedge_sync::crdt::{ContentHash, Value};
use selvedge_sync::draft::ReadState;
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::Committed;
use selvedge_sync::scalar::Scalar;

use super::Workloads;
use super::notary::{NotPermitted, Notary, Verdict};
use crate::driver::DriverError;
use crate::spec::{Spec, WorkloadName};

/// The name of the map that holds the specs. Reserved: only the agent writes it.
pub const SPECS: &str = "selvedge:workloads";

/// Workloads that one mesh may have. Each costs every member a placement twice a second.
pub(super) const WORKLOADS_MAX: usize = 1_024;

/// Stored specs whose signatures are verified in vain in one look, at a tenth of a millisecond each: any member can store more,
/// and the next look goes on with the rest.
const REFUSALS_MAX: usize = 256;

/// Why a spec was not written. Nothing was changed, unless the driver's error says otherwise.
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
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] DriverError),
}

/// What is to be carried out.
pub type Specs = Arc<BTreeMap<WorkloadName, Spec>>;

/// What is stored under which name and not carried out, and why.
pub type Refusals = Arc<BTreeMap<String, String>>;

/// What was stored, and what was made of it.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// What it was read from; `None` when something is left to read.
    of: Option<(Option<ContentHash>, u64)>,
    read: BTreeMap<String, Read>,
    /// The last name that was judged in a look that left some; the next look goes on after it.
    reached: String,
    specs: Specs,
    refused: Refusals,
}

#[derive(Debug)]
struct Read {
    stored: Scalar,
    edition: u64,
    /// What is carried out.
    spec: Option<(WorkloadName, Spec)>,
    /// Why what is stored is not.
    refused: Option<String>,
}

impl Read {
    fn is_of(&self, stored: &Scalar, edition: u64) -> bool {
        self.edition == edition && self.stored == *stored
    }
}

impl Registry {
    /// Reads what is stored, as far as it is news. What was carried out is judged first, and goes on until its successor, or its end,
    /// has been judged: nobody stops a workload by storing many others.
    fn update(&mut self, stored: BTreeMap<String, Scalar>, of: (Option<ContentHash>, u64), notary: &dyn Notary) {
        let (_, edition) = of;
        self.read.retain(|name, _| stored.contains_key(name));
        let is_news =
            |(name, stored): &(&String, &Scalar)| self.read.get(*name).is_none_or(|read| !read.is_of(stored, edition));
        let runs = |name: &String| self.read.get(name).is_some_and(|read| read.spec.is_some());
        let (first, rest): (Vec<_>, Vec<_>) = stored.iter().filter(is_news).partition(|(name, _)| runs(name));
        // From where the last look ended, once around.
        let (before, after): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(name, _)| **name <= self.reached);
        let (mut in_vain, mut is_whole, mut refusals) = (0, true, Vec::new());
        let first_count = first.len();
        for (place, (name, stored)) in first.into_iter().chain(after).chain(before).enumerate() {
            if place >= first_count {
                if in_vain == REFUSALS_MAX {
                    is_whole = false;
                    break;
                }
                self.reached.clone_from(name);
            }
            let (read, took_work) = read(name, stored, edition, self.read.remove(name), notary);
            in_vain += usize::from(took_work && read.refused.is_some());
            refusals.extend(read.refused.as_ref().map(|why| (name.clone(), why.clone())));
            self.read.insert(name.clone(), read);
        }
        // One line for all: whoever stores many is not to fill the log.
        if let Some((workload, why)) = refusals.first() {
            tracing::warn!(workload, why, more = refusals.len() - 1, "a deployment is not carried out");
        }
        let refused = self.read.iter().filter_map(|(name, read)| Some((name.clone(), read.refused.clone()?)));
        self.refused = Arc::new(refused.collect());
        self.specs = Arc::new(self.read.values().filter_map(|read| read.spec.clone()).collect());
        self.of = is_whole.then_some(of);
    }
}

impl Workloads {
    /// Every spec that is to be carried out.
    #[must_use]
    pub fn specs(&self) -> Specs {
        self.look().0
    }

    /// What is stored and not carried out, and why: nobody signed it who may, or a newer release wrote what this one cannot read.
    #[must_use]
    pub fn refused(&self) -> Refusals {
        self.look().1
    }

    fn look(&self) -> (Specs, Refusals) {
        let mut registry = self.parts.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (self.specs_hash(), self.parts.notary.edition());
        if registry.of != Some(of) {
            let stored = self.parts.view.read(|replica| match replica.readable().value(&specs_key()) {
                Some(Value::Map(fields)) => fields,
                Some(Value::Counter(_) | Value::Set(_)) | None => BTreeMap::new(),
            });
            registry.update(stored, of, self.parts.notary.as_ref());
        }
        (Arc::clone(&registry.specs), Arc::clone(&registry.refused))
    }

    /// Changes whenever a spec does; costs next to nothing.
    pub(super) fn specs_hash(&self) -> Option<ContentHash> {
        self.parts.view.read(|replica| replica.readable().object(&specs_key()).map(|object| object.content().hash()))
    }

    /// One workload's spec.
    #[must_use]
    pub fn spec(&self, workload: &WorkloadName) -> Option<Spec> {
        self.specs().get(workload).cloned()
    }

    /// Signs and writes a spec, and answers when it is durable here.
    ///
    /// # Errors
    /// There are too many, this agent may not, or the commit failed.
    pub async fn deploy(&self, workload: &WorkloadName, spec: &Spec) -> Result<Committed, RegistryError> {
        let specs = self.specs();
        if !specs.contains_key(workload) && specs.len() >= WORKLOADS_MAX {
            return Err(RegistryError::Full);
        }
        let text = serde_json::to_string(spec).expect("a spec serialises");
        let stored = self.parts.notary.sign(workload.as_str(), &text)?;
        // What others would refuse is not written over what they carry out.
        if let Verdict::NotYet { why } | Verdict::Refused { why, .. } =
            self.parts.notary.judge(workload.as_str(), &stored)
        {
            return Err(NotPermitted(format!("others would not carry out what this agent signs: {why}")).into());
        }
        let put = Change::Put(vec![(workload.to_string(), stored)]);
        Ok(self.parts.driver.commit(vec![(specs_key(), put)], None, true).await?)
    }

    /// Removes a spec, and answers when that is durable here. One that is refused can be removed too, whatever it is called.
    ///
    /// # Errors
    /// There is none of this name, this agent may not, or the commit failed.
    pub async fn undeploy(&self, workload: &str) -> Result<Committed, RegistryError> {
        if self.parts.view.field(&specs_key(), workload).is_none() {
            return Err(RegistryError::Unknown(workload.to_owned()));
        }
        self.parts.notary.may_deploy()?;
        let remove = Change::RemoveFields(vec![workload.to_owned()]);
        Ok(self.parts.driver.commit(vec![(specs_key(), remove)], None, true).await?)
    }
}

fn specs_key() -> Key {
    Key::new(Kind::LwwMap, SPECS).expect("the name is a constant within the bounds")
}

/// What is made of a field, and whether a signature was verified for it.
fn read(name: &str, stored: &Scalar, edition: u64, before: Option<Read>, notary: &dyn Notary) -> (Read, bool) {
    let judged = |spec, refused| Read { stored: stored.clone(), edition, spec, refused };
    match notary.judge(name, stored) {
        Verdict::Sound(text) => {
            let workload = name.parse().map_err(|_| "its name is none that this release knows".to_owned());
            let spec = serde_json::from_str(&text).map_err(|error| format!("this release cannot read it: {error}"));
            match workload.and_then(|workload| Ok((workload, spec?))) {
                Ok(spec) => (judged(Some(spec), None), true),
                Err(why) => (judged(None, Some(why)), true),
            }
        }
        Verdict::NotYet { why } => (judged(before.and_then(|read| read.spec), Some(why)), true),
        Verdict::Refused { why, took_work } => (judged(None, Some(why)), took_work),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Believes texts, and counts what it is asked.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Notary for Counting {
        fn sign(&self, _: &str, spec: &str) -> Result<Scalar, NotPermitted> {
            Ok(Scalar::from(spec))
        }

        fn may_deploy(&self) -> Result<(), NotPermitted> {
            Ok(())
        }

        fn judge(&self, _: &str, stored: &Scalar) -> Verdict {
            self.0.fetch_add(1, Ordering::Relaxed);
            match stored {
                Scalar::Text(text) => Verdict::Sound(text.clone()),
                Scalar::Bool(_) => Verdict::NotYet { why: "it is early".to_owned() },
                _ => Verdict::Refused { why: "it is forged".to_owned(), took_work: true },
            }
        }

        fn edition(&self) -> u64 {
            0
        }
    }

    fn stored(count: usize, value: &Scalar) -> BTreeMap<String, Scalar> {
        (0..count).map(|number| (format!("w{number:04}"), value.clone())).collect()
    }

    fn sound() -> Scalar {
        Scalar::Text(format!(r#"{{"artifact":"{}"}}"#, crate::spec::Digest([7; 32])))
    }

    #[test]
    fn what_was_judged_is_not_judged_again_and_forgeries_hide_nothing_for_long() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        let asked = || notary.0.swap(0, Ordering::Relaxed);
        let mut all = stored(REFUSALS_MAX + 10, &Scalar::Null);
        all.insert("z".to_owned(), sound());
        registry.update(all.clone(), (None, 0), &notary);
        assert_eq!((asked(), registry.specs.len(), registry.of), (REFUSALS_MAX, 0, None), "the rest comes next");
        registry.update(all.clone(), (None, 0), &notary);
        assert_eq!((asked(), registry.specs.len()), (11, 1));
        assert_eq!((registry.refused.len(), registry.of), (REFUSALS_MAX + 10, Some((None, 0))));
        registry.update(all.clone(), (None, 1), &notary);
        assert_eq!((asked(), registry.specs.len()), (REFUSALS_MAX + 1, 1), "what runs is judged first, and goes on");
        all.insert("z".to_owned(), Scalar::from("no spec"));
        registry.update(all, (None, 1), &notary);
        assert_eq!(registry.specs.len(), 0);
        assert!(registry.refused["z"].contains("cannot read it"), "{}", registry.refused["z"]);
    }

    #[test]
    fn who_stores_forgeries_again_and_again_keeps_nobody_waiting() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        for round in 0..2_i64 {
            // All of them are new each time.
            let mut all = stored(REFUSALS_MAX, &Scalar::Int(round));
            all.insert("z".to_owned(), sound());
            registry.update(all, (None, 0), &notary);
        }
        assert_eq!(registry.specs.len(), 1);
    }

    #[test]
    fn a_successor_whose_authority_is_not_known_yet_stops_nothing() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        let field = |value| BTreeMap::from([("z".to_owned(), value)]);
        registry.update(field(sound()), (None, 0), &notary);
        registry.update(field(Scalar::Bool(true)), (None, 1), &notary);
        assert_eq!((registry.specs.len(), registry.refused["z"].as_str()), (1, "it is early"));
        registry.update(field(Scalar::Null), (None, 2), &notary);
        assert_eq!((registry.specs.len(), registry.refused["z"].as_str()), (0, "it is forged"));
    }
}
