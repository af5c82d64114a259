//! One call of a workload: what it has written so far, and what is left of its limits.
//!
//! Owns the checks, in the order in which an agent makes them. The invariant: reads see the call's own writes; a refused
//! operation changes nothing; nothing leaves the call before [`Call::end`].

use std::collections::{BTreeMap, BTreeSet};

use super::limits::{
    COUNTER_TOTAL_MAX, DIGEST_DIGITS, DIGEST_PREFIX, Limits, MEMBERS_PER_OP_MAX, NAME_BYTES_MAX, OBJECT_BYTES_MAX,
    PRELOADS_MAX, RESERVED_PREFIX, SCALAR_BYTES_MAX,
};
use super::object::{Kind, Member, Object, weight};
use super::{CallError, Objects};
use crate::fault::Fault;
use crate::log::Level;
use crate::state::{Error, Scalar};

/// What a number or any other small value counts for among written bytes.
const PLAIN_BYTES: usize = 8;

/// What an import gives: an error ends the call.
type Ended<T> = Result<T, CallError>;
/// The same where the operation alone may be refused.
type Refusable = Ended<Result<(), Error>>;

/// What a call finds.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) objects: Objects,
    pub(super) config: BTreeMap<String, String>,
    /// Sizes of assets, by digest.
    pub(super) assets: BTreeMap<String, u64>,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) now_ms: u64,
}

/// What a call leaves.
#[derive(Debug)]
pub(super) struct Left {
    /// What the state holds if the call succeeds, or why it does not.
    pub(super) objects: Ended<Objects>,
    pub(super) log: Vec<(Level, String)>,
    /// Assets that it asked for.
    pub(super) preloads: Vec<String>,
}

/// A call in progress.
#[derive(Debug)]
pub(crate) struct Call {
    objects: Objects,
    /// What was written, and whether that added to a set or a map that was full.
    written: BTreeSet<(Kind, String)>,
    full: Option<String>,
    /// Sizes of the objects as the call found them.
    found_bytes: BTreeMap<(Kind, String), usize>,
    config: BTreeMap<String, String>,
    assets: BTreeMap<String, u64>,
    preloads: Vec<String>,
    limits: Limits,
    seed: u64,
    now_ms: u64,
    drawn: u64,
    host_calls: u64,
    handles: usize,
    write_bytes: usize,
    log: Vec<(Level, String)>,
}

impl Call {
    pub(super) fn new(found: Found) -> Self {
        let Found { objects, config, assets, limits, seed, now_ms } = found;
        Self {
            objects,
            written: BTreeSet::new(),
            full: None,
            found_bytes: BTreeMap::new(),
            config,
            assets,
            preloads: Vec::new(),
            limits,
            seed,
            now_ms,
            drawn: 0,
            host_calls: 0,
            handles: 0,
            write_bytes: 0,
            log: Vec::new(),
        }
    }

    pub(super) fn end(self) -> Left {
        let limit = self.limits.writes;
        let objects = if self.written.len() > limit {
            Err(CallError::Writes { what: "objects", limit })
        } else {
            self.full.map_or(Ok(self.objects), |key| Err(CallError::ObjectFull(key)))
        };
        Left { objects, log: self.log, preloads: self.preloads }
    }

    fn count(&mut self) -> Ended<()> {
        self.count_list(1)
    }

    /// Counts a call with a list: each entry costs what a call of its own would.
    pub(crate) fn count_list(&mut self, entries: usize) -> Ended<()> {
        self.host_calls += (entries as u64).max(1);
        let limit = self.limits.host_calls;
        if self.host_calls > limit { Err(CallError::HostCalls { limit }) } else { Ok(()) }
    }

    pub(crate) fn log(&mut self, level: Level, message: &str) -> Ended<()> {
        self.count()?;
        if self.log.len() < self.limits.log_lines {
            let end = message.floor_char_boundary(self.limits.log_line_bytes);
            self.log.push((level, message[..end].to_owned()));
        }
        Ok(())
    }

    pub(crate) fn now_ms(&mut self) -> Ended<u64> {
        self.count()?;
        Ok(self.now_ms)
    }

    pub(crate) fn seed(&mut self) -> Ended<u64> {
        self.count()?;
        Ok(self.seed)
    }

    /// `SplitMix64` (Steele, Lea and Flood, 2014) over the call's seed, as on every host.
    pub(crate) fn next_random(&mut self) -> Ended<u64> {
        self.count()?;
        self.drawn = self.drawn.wrapping_add(1);
        let mut z = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ (z >> 31))
    }

    pub(crate) fn config(&mut self, name: &str) -> Ended<Option<String>> {
        self.count()?;
        Ok(self.config.get(name).cloned())
    }

    pub(crate) fn asset(&mut self, digest: &str) -> Ended<Option<u64>> {
        self.count()?;
        Ok(self.assets.get(&digest.to_ascii_lowercase()).copied())
    }

    pub(crate) fn preload(&mut self, digest: &str) -> Ended<bool> {
        self.count()?;
        let digits = digest.strip_prefix(DIGEST_PREFIX).unwrap_or_default();
        if digits.len() != DIGEST_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(false);
        }
        let digest = digest.to_ascii_lowercase();
        if self.preloads.contains(&digest) {
            return Ok(true);
        }
        let has_room = self.preloads.len() < PRELOADS_MAX;
        if has_room {
            self.preloads.push(digest);
        }
        Ok(has_room)
    }

    pub(super) fn fault(&self, fault: &Fault) -> Ended<()> {
        Err(CallError::Fault(fault.clone()))
    }

    pub(crate) fn open(&mut self, name: &str) -> Refusable {
        self.count()?;
        if let Err(error) = check_key(name) {
            return Ok(Err(error));
        }
        if self.handles >= self.limits.handles {
            return Ok(Err(Error::Limit("too many open handles".to_owned())));
        }
        self.handles += 1;
        Ok(Ok(()))
    }

    pub(super) fn close(&mut self) {
        self.handles = self.handles.saturating_sub(1);
    }

    pub(crate) fn read<R>(&mut self, kind: Kind, name: &str, read: impl FnOnce(Option<&Object>) -> R) -> Ended<R> {
        self.count()?;
        Ok(read(self.objects.get(&(kind, name.to_owned()))))
    }

    /// The value of a counter in a list that was counted.
    pub(crate) fn read_listed<T>(&self, kind: Kind, name: &str, value: fn(&Object) -> T) -> Result<Option<T>, Error> {
        check_key(name).map(|()| self.objects.get(&(kind, name.to_owned())).map(value))
    }

    /// Starts and moves a counter in a list that was counted.
    pub(crate) fn raise_listed(&mut self, kind: Kind, name: &str, (initial, up, down): (u64, u64, u64)) -> Refusable {
        if let Err(error) = check_key(name) {
            return Ok(Err(error));
        }
        self.count_written(name, PLAIN_BYTES)?;
        let exists = self.objects.contains_key(&(kind, name.to_owned()));
        match up.checked_add(if exists { 0 } else { initial }) {
            Some(0) if exists && down == 0 => Ok(Ok(())),
            Some(up) => Ok(self.raised(kind, name, up, down)),
            None => Ok(Err(Error::Overflow)),
        }
    }

    pub(crate) fn raise(&mut self, kind: Kind, name: &str, up: u64, down: u64) -> Refusable {
        self.count_write(name, PLAIN_BYTES)?;
        Ok(self.raised(kind, name, up, down))
    }

    fn raised(&mut self, kind: Kind, name: &str, up: u64, down: u64) -> Result<(), Error> {
        let total = match self.objects.get(&(kind, name.to_owned())) {
            Some(Object::Counter { up: before_up, down: before_down }) => (*before_up, *before_down),
            Some(Object::Set(_) | Object::Map(_)) | None => (0, 0),
        };
        let raised = |before: u64, by: u64| before.checked_add(by).filter(|sum| *sum <= COUNTER_TOTAL_MAX);
        let (Some(up), Some(down)) = (raised(total.0, up), raised(total.1, down)) else {
            return Err(Error::Overflow);
        };
        *self.touch(kind, name) = Object::Counter { up, down };
        Ok(())
    }

    pub(crate) fn assign(&mut self, kind: Kind, name: &str, members: &[Scalar], add: bool) -> Refusable {
        if !members.iter().all(is_finite) {
            return Ok(Err(not_finite()));
        }
        self.count_write(name, members.iter().map(|member| PLAIN_BYTES + weight(member)).sum())?;
        if let Err(error) = check_count(members.len()).and_then(|()| members.iter().try_for_each(check_scalar)) {
            return Ok(Err(error));
        }
        self.note_full(kind, name, add);
        if let Object::Set(set) = self.touch(kind, name) {
            for member in members {
                let member = Member(member.clone());
                if add {
                    set.insert(member);
                } else {
                    set.remove(&member);
                }
            }
        }
        Ok(Ok(()))
    }

    pub(crate) fn put(&mut self, name: &str, entries: &[(String, Scalar)]) -> Refusable {
        if !entries.iter().all(|(_, value)| is_finite(value)) {
            return Ok(Err(not_finite()));
        }
        self.count_write(name, entries.iter().map(|(field, value)| field.len() + PLAIN_BYTES + weight(value)).sum())?;
        let check = |(field, value): &(String, Scalar)| check_field(field).and_then(|()| check_scalar(value));
        if let Err(error) = check_count(entries.len()).and_then(|()| entries.iter().try_for_each(check)) {
            return Ok(Err(error));
        }
        self.note_full(Kind::Lwwmap, name, true);
        if let Object::Map(map) = self.touch(Kind::Lwwmap, name) {
            map.extend(entries.iter().cloned());
        }
        Ok(Ok(()))
    }

    pub(crate) fn remove_fields(&mut self, name: &str, fields: &[String]) -> Refusable {
        self.count_write(name, fields.iter().map(String::len).sum())?;
        let checked = check_count(fields.len()).and_then(|()| fields.iter().try_for_each(|field| check_field(field)));
        if let Err(error) = checked {
            return Ok(Err(error));
        }
        if let Object::Map(map) = self.touch(Kind::Lwwmap, name) {
            fields.iter().for_each(|field| drop(map.remove(field)));
        }
        Ok(Ok(()))
    }

    fn count_write(&mut self, name: &str, bytes: usize) -> Ended<()> {
        self.count()?;
        self.count_written(name, bytes)
    }

    fn count_written(&mut self, name: &str, bytes: usize) -> Ended<()> {
        self.write_bytes += name.len() + bytes;
        let limit = self.limits.write_bytes;
        if self.write_bytes > limit {
            return Err(CallError::Writes { what: "bytes", limit });
        }
        let limit = self.limits.writes;
        if self.written.len() > limit { Err(CallError::Writes { what: "objects", limit }) } else { Ok(()) }
    }

    /// An object as the call found it decides whether the call may add to it; that shows when the call is over.
    fn note_full(&mut self, kind: Kind, name: &str, adds: bool) {
        let key = (kind, name.to_owned());
        let objects = &self.objects;
        let found = *self.found_bytes.entry(key).or_insert_with_key(|key| objects.get(key).map_or(0, Object::bytes));
        if adds && found > OBJECT_BYTES_MAX {
            self.full.get_or_insert_with(|| format!("{}/{name}", kind.name()));
        }
    }

    fn touch(&mut self, kind: Kind, name: &str) -> &mut Object {
        let key = (kind, name.to_owned());
        self.written.insert(key.clone());
        self.objects.entry(key).or_insert_with(|| Object::empty(kind))
    }
}

fn is_finite(scalar: &Scalar) -> bool {
    !matches!(scalar, Scalar::Number(number) if !number.is_finite())
}

fn not_finite() -> Error {
    Error::InvalidValue("a number in the state must be finite".to_owned())
}

fn check_key(name: &str) -> Result<(), Error> {
    let wrong = match name {
        "" => "the name of a key must not be empty".to_owned(),
        long if long.len() > NAME_BYTES_MAX => {
            let bytes = long.len();
            format!("the name of a key has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed")
        }
        odd if odd.chars().any(char::is_control) => "the name of a key must not hold control characters".to_owned(),
        ours if ours.starts_with(RESERVED_PREFIX) => "names of this prefix belong to the agent".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::InvalidName(wrong))
}

fn check_count(count: usize) -> Result<(), Error> {
    if count <= MEMBERS_PER_OP_MAX {
        return Ok(());
    }
    Err(Error::TooLarge(format!("{count} members at once; at most {MEMBERS_PER_OP_MAX} are allowed")))
}

fn check_scalar(value: &Scalar) -> Result<(), Error> {
    let bytes = weight(value);
    if bytes <= SCALAR_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge(format!("a value has {bytes} bytes; at most {SCALAR_BYTES_MAX} are allowed")))
}

fn check_field(field: &str) -> Result<(), Error> {
    match field.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => {
            Err(Error::InvalidName(format!("a field's name has {bytes} bytes; 1 to {NAME_BYTES_MAX} are allowed")))
        }
    }
}
