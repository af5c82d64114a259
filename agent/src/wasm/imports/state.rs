//! The interface `state`: five CRDTs through handles, over the call's draft.
//!
//! Owns the handles and the translation of values and errors. Applies nothing: writes gather in the draft and leave with
//! the call. The invariant: a guest can neither read nor write a key that belongs to the agent.

use selvedge_sync::change::{Change, ChangeError};
use selvedge_sync::key::{Key, Kind};
use selvedge_sync::scalar::{Float, Scalar};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::wit::state as wit;
use crate::wasm::instance::CallState;

/// A handle to a G-counter.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct GCounter(Key);
/// A handle to a PN-counter.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct PnCounter(Key);
/// A handle to a G-set.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct GSet(Key);
/// A handle to an OR-set.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct OrSet(Key);
/// A handle to an LWW-map.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct LwwMap(Key);

/// What a handle is to the functions below.
trait Handle: Send + 'static {
    const KIND: Kind;
    fn new(key: Key) -> Self;
    fn key(&self) -> &Key;
}

macro_rules! handle {
    ($($handle:ident => $kind:ident),*) => {$(
        impl Handle for $handle {
            const KIND: Kind = Kind::$kind;
            fn new(key: Key) -> Self {
                Self(key)
            }
            fn key(&self) -> &Key {
                &self.0
            }
        }
    )*};
}

handle!(GCounter => GCounter, PnCounter => PnCounter, GSet => GSet, OrSet => OrSet, LwwMap => LwwMap);

type Refusable<T> = Result<std::result::Result<T, wit::Error>>;

impl CallState {
    fn open<H: Handle>(&mut self, name: &str) -> Refusable<Resource<H>> {
        self.count_host_call()?;
        let key = match key(H::KIND, name) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        match self.open_handle(H::new(key)) {
            Ok(handle) => Ok(Ok(handle)),
            Err(_) => Ok(Err(wit::Error::Limit("too many open handles".to_owned()))),
        }
    }

    fn close<H: Handle>(&mut self, handle: Resource<H>) -> Result<()> {
        self.close_handle(handle)?;
        Ok(())
    }

    fn key_of<H: Handle>(&mut self, handle: &Resource<H>) -> Result<Key> {
        self.count_host_call()?;
        Ok(self.handles.get(handle)?.key().clone())
    }

    fn write<H: Handle>(&mut self, handle: &Resource<H>, change: Change) -> Refusable<()> {
        let key = self.key_of(handle)?;
        self.count_write(&key, &change)?;
        Ok(self.draft.change(&key, change).map_err(|error| refusal(&error)))
    }

    fn counter<H: Handle>(&mut self, handle: &Resource<H>) -> Result<Option<i128>> {
        let key = self.key_of(handle)?;
        Ok(self.draft.counter(&key))
    }

    fn contains<H: Handle>(&mut self, handle: &Resource<H>, member: wit::Scalar) -> Result<bool> {
        let key = self.key_of(handle)?;
        Ok(scalar_in(member).is_some_and(|member| self.draft.contains(&key, &member)))
    }

    fn members<H: Handle>(&mut self, handle: &Resource<H>) -> Result<Vec<wit::Scalar>> {
        let key = self.key_of(handle)?;
        Ok(self.draft.members(&key).unwrap_or_default().into_iter().map(scalar_out).collect())
    }

    fn write_members<H: Handle>(
        &mut self,
        handle: &Resource<H>,
        members: Vec<wit::Scalar>,
        change: fn(Vec<Scalar>) -> Change,
    ) -> Refusable<()> {
        match members.into_iter().map(scalar_in).collect::<Option<Vec<_>>>() {
            Some(members) => self.write(handle, change(members)),
            None => Ok(Err(not_finite())),
        }
    }
}

impl wit::HostGcounter for CallState {
    fn new(&mut self, name: String) -> Refusable<Resource<GCounter>> {
        self.open(&name)
    }

    fn exists(&mut self, handle: Resource<GCounter>) -> Result<bool> {
        Ok(self.counter(&handle)?.is_some())
    }

    fn increment(&mut self, handle: Resource<GCounter>, by: u64) -> Refusable<()> {
        self.write(&handle, Change::Increment(by))
    }

    fn value(&mut self, handle: Resource<GCounter>) -> Result<u64> {
        Ok(grown(self.counter(&handle)?.unwrap_or(0)))
    }

    fn drop(&mut self, handle: Resource<GCounter>) -> Result<()> {
        self.close(handle)
    }
}

impl wit::HostPncounter for CallState {
    fn new(&mut self, name: String) -> Refusable<Resource<PnCounter>> {
        self.open(&name)
    }

    fn exists(&mut self, handle: Resource<PnCounter>) -> Result<bool> {
        Ok(self.counter(&handle)?.is_some())
    }

    fn increment(&mut self, handle: Resource<PnCounter>, by: u64) -> Refusable<()> {
        self.write(&handle, Change::Increment(by))
    }

    fn decrement(&mut self, handle: Resource<PnCounter>, by: u64) -> Refusable<()> {
        self.write(&handle, Change::Decrement(by))
    }

    fn value(&mut self, handle: Resource<PnCounter>) -> Result<i64> {
        Ok(saturated(self.counter(&handle)?.unwrap_or(0)))
    }

    fn drop(&mut self, handle: Resource<PnCounter>) -> Result<()> {
        self.close(handle)
    }
}

impl wit::HostGset for CallState {
    fn new(&mut self, name: String) -> Refusable<Resource<GSet>> {
        self.open(&name)
    }

    fn add(&mut self, handle: Resource<GSet>, members: Vec<wit::Scalar>) -> Refusable<()> {
        self.write_members(&handle, members, Change::Add)
    }

    fn contains(&mut self, handle: Resource<GSet>, member: wit::Scalar) -> Result<bool> {
        Self::contains(self, &handle, member)
    }

    fn members(&mut self, handle: Resource<GSet>) -> Result<Vec<wit::Scalar>> {
        Self::members(self, &handle)
    }

    fn drop(&mut self, handle: Resource<GSet>) -> Result<()> {
        self.close(handle)
    }
}

impl wit::HostOrset for CallState {
    fn new(&mut self, name: String) -> Refusable<Resource<OrSet>> {
        self.open(&name)
    }

    fn add(&mut self, handle: Resource<OrSet>, members: Vec<wit::Scalar>) -> Refusable<()> {
        self.write_members(&handle, members, Change::Add)
    }

    fn remove(&mut self, handle: Resource<OrSet>, members: Vec<wit::Scalar>) -> Refusable<()> {
        self.write_members(&handle, members, Change::Remove)
    }

    fn contains(&mut self, handle: Resource<OrSet>, member: wit::Scalar) -> Result<bool> {
        Self::contains(self, &handle, member)
    }

    fn members(&mut self, handle: Resource<OrSet>) -> Result<Vec<wit::Scalar>> {
        Self::members(self, &handle)
    }

    fn drop(&mut self, handle: Resource<OrSet>) -> Result<()> {
        self.close(handle)
    }
}

impl wit::HostLwwmap for CallState {
    fn new(&mut self, name: String) -> Refusable<Resource<LwwMap>> {
        self.open(&name)
    }

    fn put(&mut self, handle: Resource<LwwMap>, entries: Vec<(String, wit::Scalar)>) -> Refusable<()> {
        let entries = entries.into_iter().map(|(field, value)| scalar_in(value).map(|value| (field, value)));
        match entries.collect::<Option<Vec<_>>>() {
            Some(entries) => self.write(&handle, Change::Put(entries)),
            None => Ok(Err(not_finite())),
        }
    }

    fn remove(&mut self, handle: Resource<LwwMap>, fields: Vec<String>) -> Refusable<()> {
        self.write(&handle, Change::RemoveFields(fields))
    }

    fn get(&mut self, handle: Resource<LwwMap>, field: String) -> Result<Option<wit::Scalar>> {
        let key = self.key_of(&handle)?;
        Ok(self.draft.field(&key, &field).map(scalar_out))
    }

    fn entries(&mut self, handle: Resource<LwwMap>) -> Result<Vec<(String, wit::Scalar)>> {
        let key = self.key_of(&handle)?;
        let fields = self.draft.fields(&key).unwrap_or_default();
        Ok(fields.into_iter().map(|(field, value)| (field, scalar_out(value))).collect())
    }

    fn drop(&mut self, handle: Resource<LwwMap>) -> Result<()> {
        self.close(handle)
    }
}

/// The key of this name, if a guest may have it.
pub(super) fn key(kind: Kind, name: &str) -> std::result::Result<Key, wit::Error> {
    match Key::new(kind, name) {
        Ok(key) if key.is_reserved() => {
            Err(wit::Error::InvalidName("names of this prefix belong to the agent".to_owned()))
        }
        Ok(key) => Ok(key),
        Err(error) => Err(wit::Error::InvalidName(error.to_string())),
    }
}

/// The value of a G-counter.
pub(super) fn grown(value: i128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The value of a PN-counter.
pub(super) fn saturated(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// `None` for a number that is not finite.
fn scalar_in(scalar: wit::Scalar) -> Option<Scalar> {
    Some(match scalar {
        wit::Scalar::Null => Scalar::Null,
        wit::Scalar::Boolean(value) => Scalar::Bool(value),
        wit::Scalar::Integer(value) => Scalar::Int(value),
        wit::Scalar::Number(value) => return value.is_finite().then_some(Scalar::Float(Float(value))),
        wit::Scalar::Text(text) => Scalar::Text(text),
        wit::Scalar::Bytes(bytes) => Scalar::Bytes(bytes),
    })
}

fn scalar_out(scalar: Scalar) -> wit::Scalar {
    match scalar {
        Scalar::Null => wit::Scalar::Null,
        Scalar::Bool(value) => wit::Scalar::Boolean(value),
        Scalar::Int(value) => wit::Scalar::Integer(value),
        Scalar::Float(Float(value)) => wit::Scalar::Number(value),
        Scalar::Text(text) => wit::Scalar::Text(text),
        Scalar::Bytes(bytes) => wit::Scalar::Bytes(bytes),
    }
}

fn not_finite() -> wit::Error {
    wit::Error::InvalidValue("a number in the state must be finite".to_owned())
}

pub(super) fn refusal(error: &ChangeError) -> wit::Error {
    let message = error.to_string();
    match error {
        ChangeError::Overflow => wit::Error::Overflow,
        ChangeError::LargeValue { .. } | ChangeError::TooMany { .. } | ChangeError::ObjectFull => {
            wit::Error::TooLarge(message)
        }
        ChangeError::FieldName { .. } => wit::Error::InvalidName(message),
        ChangeError::WrongKind { .. } => wit::Error::InvalidValue(message),
    }
}
