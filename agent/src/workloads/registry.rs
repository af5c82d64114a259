//! Specs in the shared state: one field of an LWW-map for each workload; beside it, in maps of their own, the version before and
//! what was recorded of the rollout.
//!
//! Owns reading and judging them; `orders` writes them. The invariant: what is carried out was signed by who may deploy.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use selvedge_sync::crdt::{ContentHash, Value};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::replica::Replica;
use selvedge_sync::scalar::Scalar;

use super::Workloads;
use super::attempts::Attempt;
use super::deployed::{Deployed, Previous, Recorded};
use super::notary::{Notary, Verdict};
use super::schemas::{self, SCHEMAS};
use crate::spec::{DeploymentId, Origin, Spec, WorkloadName};
use crate::text;

/// The name of the map that holds the specs. Reserved: only the agent writes it.
pub const SPECS: &str = "selvedge:workloads";
/// The name of the map that holds, for each workload, the deployment before the present one that was good, as it was signed.
pub const PREVIOUS: &str = "selvedge:previous";
/// The name of the map that holds what was recorded of rollouts, one field for each workload and verdict.
pub const VERDICTS: &str = "selvedge:verdicts";

/// Stored specs whose signatures are verified in vain in one look, at a tenth of a millisecond each: any member can store more,
/// and the next look goes on with the rest.
const REFUSALS_MAX: usize = 256;

/// Longest reason why a stored spec is not carried out, in bytes: whoever stores it has a hand in its words.
const WHY_BYTES_MAX: usize = 512;

/// What is to be carried out.
pub type Specs = Arc<BTreeMap<WorkloadName, Spec>>;

/// What is stored under which name and not carried out, and why.
pub type Refusals = Arc<BTreeMap<String, String>>;

/// Every deployment that is to be carried out.
pub type Deployments = Arc<BTreeMap<WorkloadName, Deployed>>;

/// What was stored, and what was made of it.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// What it was read from; `None` when something is left to read.
    of: Option<Edition>,
    read: BTreeMap<String, Read>,
    /// The last name that was judged in a look that left some; the next look goes on after it.
    reached: String,
    /// The highest schema of each workload's state, of those that nobody has deployed at present too.
    floors: Arc<BTreeMap<String, u32>>,
    known: Known,
}

/// What was made of it, as others are told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Every deployment that is to be carried out.
    pub deployed: Deployments,
    /// Every spec that is: of a deployment that was taken back, the one before.
    pub specs: Specs,
    /// What is stored and not carried out, and why.
    pub refused: Refusals,
}

/// Which state of the stored maps, and of what is known of signers.
type Edition = ([Option<ContentHash>; MAPS], u64);

/// How many maps there are.
pub(super) const MAPS: usize = 4;

/// The fields of the maps of specs, of what ran before, of verdicts and of schemas.
#[derive(Debug, Default)]
struct Stored {
    specs: BTreeMap<String, Scalar>,
    previous: BTreeMap<String, Scalar>,
    verdicts: BTreeMap<String, Scalar>,
    schemas: BTreeMap<String, Scalar>,
}

#[derive(Debug)]
struct Read {
    stored: Scalar,
    previous: Option<Scalar>,
    edition: u64,
    /// What is carried out.
    deployed: Option<(WorkloadName, Deployed)>,
    /// Why what is stored is not.
    refused: Option<String>,
}

impl Read {
    fn is_of(&self, stored: &Scalar, previous: Option<&Scalar>, edition: u64) -> bool {
        self.edition == edition && self.stored == *stored && self.previous.as_ref() == previous
    }
}

impl Registry {
    /// What is stored, if that is not what was read last.
    fn news(&self, replica: &Replica, edition: u64) -> Option<(Stored, Edition)> {
        let of = (specs_hash(replica), edition);
        let fields = |key: &Key| match replica.readable().value(key) {
            Some(Value::Map(fields)) => fields,
            Some(Value::Counter(_) | Value::Set(_)) | None => BTreeMap::new(),
        };
        (self.of != Some(of)).then(|| {
            let [specs, previous, verdicts, schemas] = keys().map(|key| fields(&key));
            (Stored { specs, previous, verdicts, schemas }, of)
        })
    }

    /// Reads what is stored, as far as it is news. What was carried out is judged first, and goes on until its successor, or its end,
    /// has been judged: nobody stops a workload by storing many others.
    fn update(&mut self, stored: &Stored, of: Edition, notary: &dyn Notary) {
        let (_, edition) = of;
        self.read.retain(|name, _| stored.specs.contains_key(name));
        let is_news = |(name, spec): &(&String, &Scalar)| {
            let is_known = |read: &Read| read.is_of(spec, stored.previous.get(*name), edition);
            !self.read.get(*name).is_some_and(is_known)
        };
        let runs = |name: &String| self.read.get(name).is_some_and(|read| read.deployed.is_some());
        let (first, rest): (Vec<_>, Vec<_>) = stored.specs.iter().filter(is_news).partition(|(name, _)| runs(name));
        // From where the last look ended, once around.
        let (before, after): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(name, _)| **name <= self.reached);
        let (mut in_vain, mut is_whole, mut refusals) = (0, true, Vec::new());
        let first_count = first.len();
        for (place, (name, spec)) in first.into_iter().chain(after).chain(before).enumerate() {
            if place >= first_count {
                if in_vain == REFUSALS_MAX {
                    is_whole = false;
                    break;
                }
                self.reached.clone_from(name);
            }
            let entry = (spec, stored.previous.get(name));
            let (read, took_work) = read(name, entry, edition, self.read.remove(name), notary);
            in_vain += usize::from(took_work && read.refused.is_some());
            refusals.extend(read.refused.as_ref().map(|why| (name.clone(), why.clone())));
            self.read.insert(name.clone(), read);
        }
        // One line for all: whoever stores many is not to fill the log.
        if let Some((workload, why)) = refusals.first() {
            tracing::warn!(workload, why, more = refusals.len() - 1, "a deployment is not carried out");
        }
        self.floors = Arc::new(schemas::floors(&stored.schemas));
        self.take_verdicts(&stored.verdicts, notary);
        let refused = self.read.iter().filter_map(|(name, read)| Some((name.clone(), read.refused.clone()?)));
        let fenced = self
            .known
            .deployed
            .iter()
            .filter_map(|(name, deployed)| Some((name.to_string(), deployed.fence().err()?.to_string())));
        self.known.refused = Arc::new(fenced.chain(refused).collect());
        self.of = is_whole.then_some(of);
    }

    /// What is carried out, with what was recorded of it.
    fn take_verdicts(&mut self, verdicts: &BTreeMap<String, Scalar>, notary: &dyn Notary) {
        let stored = |field: &str| match verdicts.get(field) {
            Some(Scalar::Text(text)) => Some(text.clone()),
            Some(_) | None => None,
        };
        let deployed = |(name, deployed): &(WorkloadName, Deployed)| {
            let is_switch = deployed.previous.as_deref().is_some_and(|previous| deployed.switches(previous));
            let recorded =
                Recorded::read(name.as_str(), (deployed.id, is_switch), stored, |node| notary.revoked_ms(node));
            let attempts = Attempt::read(name.as_str(), deployed.id, verdicts);
            let floor = self.floors.get(name.as_str()).copied().unwrap_or(0);
            (name.clone(), Deployed { recorded, attempts, floor, ..deployed.clone() })
        };
        let deployed = self.read.values().filter_map(|read| read.deployed.as_ref()).map(deployed);
        self.known.deployed = Arc::new(deployed.collect());
        let planned = |(name, deployed): (&WorkloadName, &Deployed)| (name.clone(), deployed.planned().clone());
        self.known.specs = Arc::new(self.known.deployed.iter().map(planned).collect());
    }
}

impl Workloads {
    /// Every spec that is to be carried out: of a deployment that was taken back, the one before.
    #[must_use]
    pub fn specs(&self) -> Specs {
        Arc::clone(&self.look().known.specs)
    }

    /// Every deployment that is to be carried out.
    #[must_use]
    pub fn deployed(&self) -> Deployments {
        Arc::clone(&self.look().known.deployed)
    }

    /// What is stored and not carried out, and why: nobody signed it who may, or a newer release wrote what this one cannot read.
    #[must_use]
    pub fn refused(&self) -> Refusals {
        Arc::clone(&self.look().known.refused)
    }

    /// The highest schema that the state of each workload has been written by, also of those that are not deployed any more.
    pub(super) fn floors(&self) -> Arc<BTreeMap<String, u32>> {
        Arc::clone(&self.look().floors)
    }

    fn look(&self) -> MutexGuard<'_, Registry> {
        let mut registry = self.parts.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let edition = self.parts.notary.edition();
        let news = self.parts.view.read_aside(|replica| registry.news(replica, edition));
        self.take(&mut registry, news);
        registry
    }

    /// What a look finds, or what the last one has found where one would have to wait: for the driver, or for somebody who looks. For whoever
    /// tells how things are.
    #[must_use]
    pub fn known(&self) -> Known {
        if let Ok(mut registry) = self.parts.registry.try_lock() {
            let edition = self.parts.notary.edition();
            let news = self.parts.view.try_read(|replica| registry.news(replica, edition)).flatten();
            self.take(&mut registry, news);
        }
        self.parts.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, registry: &mut Registry, news: Option<(Stored, Edition)>) {
        let Some((stored, of)) = news else { return };
        registry.update(&stored, of, self.parts.notary.as_ref());
        *self.parts.known.lock().unwrap_or_else(PoisonError::into_inner) = registry.known.clone();
    }

    /// Changes whenever a spec does, or what is recorded of one; costs next to nothing.
    pub(super) fn specs_hash(&self) -> [Option<ContentHash>; MAPS] {
        self.parts.view.read_aside(specs_hash)
    }

    /// One workload's spec.
    #[must_use]
    pub fn spec(&self, workload: &WorkloadName) -> Option<Spec> {
        self.specs().get(workload).cloned()
    }
}

fn specs_hash(replica: &Replica) -> [Option<ContentHash>; MAPS] {
    keys().map(|key| replica.readable().object(&key).map(|object| object.content().hash()))
}

/// The maps of specs, of what ran before, of verdicts and of schemas.
pub(super) fn keys() -> [Key; MAPS] {
    [SPECS, PREVIOUS, VERDICTS, SCHEMAS]
        .map(|name| Key::new(Kind::LwwMap, name).expect("the names are constants within the bounds"))
}

/// What is made of a field, and whether a signature was verified for it.
fn read(
    name: &str,
    (stored, previous): (&Scalar, Option<&Scalar>),
    edition: u64,
    before: Option<Read>,
    notary: &dyn Notary,
) -> (Read, bool) {
    let judged = |deployed, refused: Option<String>| {
        let refused = refused.map(|why| text::line(&why, WHY_BYTES_MAX));
        Read { stored: stored.clone(), previous: previous.cloned(), edition, deployed, refused }
    };
    match notary.judge(name, stored) {
        Verdict::Sound(text) => {
            let workload = name.parse().map_err(|_| "its name is none that this release knows".to_owned());
            let spec = serde_json::from_str(&text).map_err(|error| format!("this release cannot read it: {error}"));
            match workload.and_then(|workload: WorkloadName| Ok((workload, spec?))) {
                Ok((workload, spec)) => {
                    let origin = Origin::read(&text);
                    let previous = origin.follows.and_then(|id| read_previous(name, id, previous, notary));
                    let id = DeploymentId::of(&text);
                    let previous = previous.map(Box::new);
                    let deployed =
                        Deployed { id, spec, origin, previous, recorded: None, attempts: Vec::new(), floor: 0 };
                    (judged(Some((workload, deployed)), None), true)
                }
                Err(why) => (judged(None, Some(why)), true),
            }
        }
        Verdict::NotYet { why } => (judged(before.and_then(|read| read.deployed), Some(why)), true),
        Verdict::Refused { why, took_work } => (judged(None, Some(why)), took_work),
    }
}

/// The version before a deployment: what it names, if that is at hand and signed like any other. Without it a rollout is held.
fn read_previous(name: &str, id: DeploymentId, stored: Option<&Scalar>, notary: &dyn Notary) -> Option<Previous> {
    let why = match stored.map(|stored| notary.judge(name, stored)) {
        Some(Verdict::Sound(text)) if DeploymentId::of(&text) == id => match serde_json::from_str(&text) {
            Ok(spec) => return Some(Previous { id, spec }),
            Err(error) => error.to_string(),
        },
        Some(Verdict::Sound(_)) => "it is another one than the deployment names".to_owned(),
        Some(Verdict::NotYet { why } | Verdict::Refused { why, .. }) => why,
        None => "it is not stored".to_owned(),
    };
    tracing::warn!(workload = name, why, "the version before is not to be had, so the new one does not start");
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use selvedge_sync::id::NodeId;

    use super::super::notary::NotPermitted;
    use super::*;
    use crate::rollout;

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

        fn revoked_ms(&self, _: &NodeId) -> Option<u64> {
            None
        }

        fn edition(&self) -> u64 {
            0
        }
    }

    const NONE: [Option<ContentHash>; MAPS] = [None; MAPS];

    fn of(specs: &BTreeMap<String, Scalar>) -> Stored {
        Stored { specs: specs.clone(), ..Stored::default() }
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
        registry.update(&of(&all), (NONE, 0), &notary);
        assert_eq!((asked(), registry.known.specs.len(), registry.of), (REFUSALS_MAX, 0, None), "the rest comes next");
        registry.update(&of(&all), (NONE, 0), &notary);
        assert_eq!((asked(), registry.known.specs.len()), (11, 1));
        assert_eq!((registry.known.refused.len(), registry.of), (REFUSALS_MAX + 10, Some((NONE, 0))));
        registry.update(&of(&all), (NONE, 1), &notary);
        assert_eq!(
            (asked(), registry.known.specs.len()),
            (REFUSALS_MAX + 1, 1),
            "what runs is judged first, and goes on"
        );
        all.insert("z".to_owned(), Scalar::from("no spec"));
        registry.update(&of(&all), (NONE, 1), &notary);
        assert_eq!(registry.known.specs.len(), 0);
        assert!(registry.known.refused["z"].contains("cannot read it"), "{}", registry.known.refused["z"]);
    }

    #[test]
    fn who_stores_forgeries_again_and_again_keeps_nobody_waiting() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        for round in 0..2_i64 {
            // All of them are new each time.
            let mut all = stored(REFUSALS_MAX, &Scalar::Int(round));
            all.insert("z".to_owned(), sound());
            registry.update(&of(&all), (NONE, 0), &notary);
        }
        assert_eq!(registry.known.specs.len(), 1);
    }

    #[test]
    fn a_successor_whose_authority_is_not_known_yet_stops_nothing() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        let field = |value| BTreeMap::from([("z".to_owned(), value)]);
        registry.update(&of(&field(sound())), (NONE, 0), &notary);
        registry.update(&of(&field(Scalar::Bool(true))), (NONE, 1), &notary);
        assert_eq!((registry.known.specs.len(), registry.known.refused["z"].as_str()), (1, "it is early"));
        registry.update(&of(&field(Scalar::Null)), (NONE, 2), &notary);
        assert_eq!((registry.known.specs.len(), registry.known.refused["z"].as_str()), (0, "it is forged"));
    }

    #[test]
    fn why_a_spec_is_refused_is_one_short_line_whoever_made_up_its_names() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        let with = |config: serde_json::Value| {
            let spec = serde_json::json!({"artifact": crate::spec::Digest([7; 32]).to_string(), "config": config});
            Scalar::Text(spec.to_string())
        };
        let specs = BTreeMap::from([
            ("a".to_owned(), with(serde_json::json!({"\nWATCHDOG=trigger\n": "x"}))),
            ("b".to_owned(), with(serde_json::json!({"\u{1b}".repeat(200): "x"}))),
            ("c".to_owned(), Scalar::Text(format!(r#"{{"artifact":"{}"}}"#, "\\n".repeat(2_000)))),
        ]);
        registry.update(&of(&specs), (NONE, 0), &notary);
        let refused = &registry.known.refused;
        assert_eq!(refused.len(), 3);
        for why in refused.values() {
            assert!(why.len() <= WHY_BYTES_MAX && !why.contains(char::is_control), "{why:?}");
        }
        assert!(refused["a"].contains(r"config.\nWATCHDOG=trigger\n"), "{}", refused["a"]);
    }

    #[test]
    fn what_is_older_than_the_state_is_kept_and_told_of_and_not_carried_out() {
        let (notary, mut registry) = (Counting::default(), Registry::default());
        let specs = BTreeMap::from([("z".to_owned(), sound())]);
        let schemas = BTreeMap::from([("z/2".to_owned(), Scalar::Int(5)), ("gone/3".to_owned(), Scalar::Int(5))]);
        registry.update(&Stored { specs: specs.clone(), schemas, ..Stored::default() }, (NONE, 0), &notary);
        assert!(registry.known.refused["z"].contains("written by schema 2"), "{}", registry.known.refused["z"]);
        let course =
            |registry: &Registry| registry.known.deployed.values().next().map(|deployed| deployed.fence().is_ok());
        assert_eq!((course(&registry), registry.floors.get("gone")), (Some(false), Some(&3)));
        registry.update(&of(&specs), (NONE, 0), &notary);
        assert_eq!(
            (course(&registry), registry.known.refused.len()),
            (Some(true), 0),
            "who forces it takes the schema away"
        );
    }

    #[test]
    fn the_version_before_is_the_one_that_the_deployment_names_or_none() {
        let (notary, spec) = (Counting::default(), Spec::new(crate::spec::Digest([7; 32])));
        let before = Origin { at_ms: 1, ..Origin::default() }.text(&spec);
        let id = DeploymentId::of(&before);
        let text = Origin { at_ms: 2, follows: Some(id), ..Origin::default() }.text(&spec);
        let now = DeploymentId::of(&text);
        let specs = BTreeMap::from([("z".to_owned(), Scalar::Text(text))]);
        let mut registry = Registry::default();
        let mut previous = |stored: Option<Scalar>, verdicts: BTreeMap<String, Scalar>| {
            let previous = stored.map(|stored| ("z".to_owned(), stored)).into_iter().collect();
            registry.update(
                &Stored { specs: specs.clone(), previous, verdicts, ..Stored::default() },
                (NONE, 0),
                &notary,
            );
            let deployed = registry.known.deployed.values().next().expect("it is carried out").clone();
            (deployed.previous.map(|previous| previous.id), deployed.recorded.map(|recorded| recorded.verdict))
        };
        assert_eq!(previous(None, BTreeMap::new()), (None, None));
        assert_eq!(previous(Some(Scalar::Text(before.clone())), BTreeMap::new()), (Some(id), None));
        let another = Origin { at_ms: 3, ..Origin::default() }.text(&spec);
        for forged in [Scalar::Text(another), Scalar::Null, Scalar::Bool(true)] {
            assert_eq!(previous(Some(forged.clone()), BTreeMap::new()).0, None, "{forged:?}");
        }
        let verdict = rollout::Verdict::Promoted;
        let recorded = Recorded { verdict: verdict.clone(), by: NodeId([1; 32]), at_ms: 5 };
        let of = |id| {
            let (field, text) = recorded.field("z", id);
            BTreeMap::from([(field, Scalar::Text(text))])
        };
        assert_eq!(previous(Some(Scalar::Text(before.clone())), of(now)), (Some(id), Some(verdict)));
        assert_eq!(previous(Some(Scalar::Text(before)), of(id)), (Some(id), None));
    }
}
