//! An agent in a test's memory: what a workload reads and writes, without WebAssembly.
//!
//! Owns the [`TestHost`]: the state between calls and what a test sets and looks at. One call is in `call`, values are in
//! `object`. Keeps no time of its own and stops nobody: deadlines, memory and stack are the agent's business. The
//! invariant: all writes of a call are there when it has succeeded, and none when it has not.

mod call;
mod limits;
mod object;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::fault::Fault;
use crate::log::Level;
use crate::state::Scalar;
pub(crate) use call::Call;
use call::Found;
pub use limits::Limits;
pub(crate) use object::{Kind, Object};

/// The time of calls until a test says otherwise: in November 2023.
const TIME_MS_DEFAULT: u64 = 1_700_000_000_000;

/// Objects by type and name.
type Objects = BTreeMap<(Kind, String), Object>;

/// Why a call gave no result. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The workload found fault with an argument.
    Fault(Fault),
    /// The workload panicked; an agent reports a trap and throws the instance away.
    Trap(String),
    /// The workload called its imports more often than it may.
    HostCalls {
        /// How often it may.
        limit: u64,
    },
    /// The workload wrote more than it may in one call.
    Writes {
        /// Objects or bytes.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// The object holds as much as one may, and the call would have added to it. Says which.
    ObjectFull(String),
}

/// An agent in memory, with the limits of a workload that was deployed without any of its own.
///
/// ```
/// use selvedge_sdk::{TestHost, state::Gcounter};
///
/// let mut host = TestHost::new();
/// let value = host.call(|| {
///     let kills = Gcounter::new("kills").expect("a name");
///     kills.increment(2).expect("room");
///     kills.value()
/// });
/// assert_eq!(value, Ok(2));
/// assert_eq!(host.gcounter("kills"), Some(2));
/// ```
#[derive(Clone, Debug)]
pub struct TestHost {
    /// What the next call finds.
    found: Found,
    log: Vec<(Level, String)>,
    preloads: Vec<String>,
}

thread_local! {
    /// The call that this thread is in.
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        let found = Found {
            objects: Objects::new(),
            config: BTreeMap::new(),
            assets: BTreeMap::new(),
            limits: Limits::default(),
            seed: 0,
            now_ms: TIME_MS_DEFAULT,
        };
        Self { found, log: Vec::new(), preloads: Vec::new() }
    }

    /// The same with a value in the workload's configuration.
    #[must_use]
    pub fn with_config(mut self, name: &str, value: &str) -> Self {
        self.found.config.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with an asset of this digest and so many bytes.
    #[must_use]
    pub fn with_asset(mut self, digest: &str, bytes: u64) -> Self {
        self.found.assets.insert(digest.to_owned(), bytes);
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.found.limits = limits;
        self
    }

    /// Decides what `random` gives in further calls.
    pub fn set_seed(&mut self, seed: u64) {
        self.found.seed = seed;
    }

    /// The time of further calls, in milliseconds since the Unix epoch.
    pub fn set_time_ms(&mut self, now_ms: u64) {
        self.found.now_ms = now_ms;
    }

    /// Makes a call: runs `workload` with this host behind its imports.
    ///
    /// # Errors
    /// The workload reported a fault, panicked or broke a limit. Nothing of the call remains but its log.
    ///
    /// # Panics
    /// This thread is in a call already.
    pub fn call<R>(&mut self, workload: impl FnOnce() -> R) -> Result<R, CallError> {
        let call = Call::new(self.found.clone());
        let before = CALL.with(|current| current.borrow_mut().replace(call));
        assert!(before.is_none(), "a workload cannot be called while it is in a call");
        let done = catch_unwind(AssertUnwindSafe(workload));
        let call = CALL.with(|current| current.borrow_mut().take()).expect("the call that was begun");
        let left = call.end();
        (self.log, self.preloads) = (left.log, Vec::new());
        let (result, objects) = (done.map_err(why)?, left.objects?);
        (self.found.objects, self.preloads) = (objects, left.preloads);
        Ok(result)
    }

    /// The lines that the last call logged.
    #[must_use]
    pub fn log(&self) -> &[(Level, String)] {
        &self.log
    }

    /// The assets that the last call asked its host to fetch: none, if it did not succeed.
    #[must_use]
    pub fn preloads(&self) -> &[String] {
        &self.preloads
    }

    /// The keys that exist, as `gcounter/kills`.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.found.objects.keys().map(|(kind, name)| format!("{}/{name}", kind.name())).collect()
    }

    /// The value of a G-counter; `None` when nobody has written it.
    #[must_use]
    pub fn gcounter(&self, name: &str) -> Option<u64> {
        self.object(Kind::Gcounter, name).map(Object::grown)
    }

    /// The value of a PN-counter; `None` when nobody has written it.
    #[must_use]
    pub fn pncounter(&self, name: &str) -> Option<i64> {
        self.object(Kind::Pncounter, name).map(Object::saturated)
    }

    /// The members of a G-set, in order.
    #[must_use]
    pub fn gset(&self, name: &str) -> Vec<Scalar> {
        self.object(Kind::Gset, name).map(Object::members).unwrap_or_default()
    }

    /// The members of an OR-set, in order.
    #[must_use]
    pub fn orset(&self, name: &str) -> Vec<Scalar> {
        self.object(Kind::Orset, name).map(Object::members).unwrap_or_default()
    }

    /// The fields of an LWW-map.
    #[must_use]
    pub fn lwwmap(&self, name: &str) -> BTreeMap<String, Scalar> {
        self.object(Kind::Lwwmap, name).map(Object::entries).unwrap_or_default().into_iter().collect()
    }

    fn object(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.found.objects.get(&(kind, name.to_owned()))
    }
}

/// What the host does during a call. An error of it ends the call at once, as the import of an agent would.
///
/// # Panics
/// There is no call.
pub(crate) fn during<R>(act: impl FnOnce(&mut Call) -> Result<R, CallError>) -> R {
    let done = CALL.with(|current| {
        let mut current = current.borrow_mut();
        act(current.as_mut().expect("a workload's imports work inside of `TestHost::call` only"))
    });
    done.unwrap_or_else(|error| stop(error))
}

/// A handle was dropped, perhaps after its call or while one ends.
pub(crate) fn closed() {
    CALL.with(|current| {
        if let Ok(mut current) = current.try_borrow_mut()
            && let Some(call) = current.as_mut()
        {
            call.close();
        }
    });
}

/// Ends the call with the workload's own word on an argument.
pub(crate) fn raise(fault: &Fault) -> ! {
    during(|call| call.fault(fault));
    unreachable!("a fault ends the call");
}

/// Unwinds to [`TestHost::call`] without a word on stderr: nothing has gone wrong.
fn stop(error: CallError) -> ! {
    resume_unwind(Box::new(error))
}

/// What the payload of a panic says.
fn why(payload: Box<dyn Any + Send>) -> CallError {
    match payload.downcast::<CallError>() {
        Ok(error) => *error,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            CallError::Trap(text.unwrap_or_else(|| "a panic without words".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
