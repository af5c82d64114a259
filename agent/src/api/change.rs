//! Changes as JSON: `{"increment":5}`, `{"add":["x"]}`, `{"ops":[{"key":…, "put":{"k":1}},…]}`.
//!
//! Owns the reading and its errors, which name the field by its path (`ops[3].add[0]`). Knows no service. The invariant: what
//! was read fits the type of its key; only the state itself can still refuse it.

use selvedge_sync::change::{Change, ChangeError};
use selvedge_sync::key::{Key, KeyError, Kind};
use selvedge_sync::scalar::Scalar;
use serde_json::{Map, Value as Json};

use super::body::Document;
use super::limits::OPS_MAX;
use super::problem::bad_key;
use crate::encoding::whole;
use crate::service::json::{self, ScalarError};
use crate::service::{CommitError, Fault, ServiceError};

/// The changes of one request, and where each of them stood in it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What to commit.
    pub(super) changes: Vec<(Key, Change)>,
    /// Where each stood.
    pub(super) fields: Fields,
}

/// Where the changes of one request stood in it, as paths.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<String>);

impl Changes {
    /// Reads what to do to one key.
    pub(super) fn of_key(key: &Key, document: &Document) -> Result<Self, ServiceError> {
        check_writable(key, "name")?;
        let mut changes = Self::default();
        changes.read(key, object(&document.value, "body")?, "", document.rounded)?;
        Ok(changes)
    }

    /// Reads what to do to several keys.
    pub(super) fn of_many(document: &Document) -> Result<Self, ServiceError> {
        let body = object(&document.value, "body")?;
        if let Some(unknown) = body.keys().find(|name| *name != "ops") {
            return Err(unknown_field(unknown, "", "the body has one field, ops"));
        }
        let ops = body
            .get("ops")
            .ok_or_else(|| missing("ops", r#"send {"ops":[{"key":"gcounter/kills","increment":1}]}"#))?;
        let ops = array(ops, "ops")?;
        if ops.is_empty() {
            return Err(missing("ops", "name at least one operation"));
        }
        if ops.len() > OPS_MAX {
            let message = format!("{} operations at once; at most {OPS_MAX} are allowed", ops.len());
            return Err(ServiceError::new(Fault::TooLarge, "too_many_operations", message).at("ops"));
        }
        let mut changes = Self::default();
        for (index, op) in ops.iter().enumerate() {
            let at = format!("ops[{index}]");
            let op = object(op, &at)?;
            let key = read_key(op, &at)?;
            changes.read(&key, op, &format!("{at}."), document.rounded)?;
        }
        Ok(changes)
    }

    /// Reads the operations on one key. Removals come first, so that one request can replace a member.
    fn read(
        &mut self,
        key: &Key,
        operations: &Map<String, Json>,
        prefix: &str,
        rounded: bool,
    ) -> Result<(), ServiceError> {
        let first = self.changes.len();
        for (name, operand) in operations.iter().filter(|(name, _)| prefix.is_empty() || *name != "key") {
            let change = read_change(key.kind(), name, operand, prefix, rounded)?;
            change.validate(key).map_err(|error| {
                let (fault, code) = class_of(&error);
                ServiceError::new(fault, code, error.to_string()).at(format!("{prefix}{name}"))
            })?;
            let at = match change {
                Change::Remove(_) | Change::RemoveFields(_) => first,
                Change::Increment(_) | Change::Decrement(_) | Change::Add(_) | Change::Put(_) => self.changes.len(),
            };
            self.changes.insert(at, (key.clone(), change));
            self.fields.0.insert(at, format!("{prefix}{name}"));
        }
        if self.changes.len() == first {
            let field = prefix.strip_suffix('.').unwrap_or("body");
            return Err(missing(field, &format!("a {} takes {}", key.kind(), usage(key.kind()))));
        }
        Ok(())
    }
}

impl Fields {
    /// The error of a commit that was refused, with the field that it was about.
    pub(super) fn refused(&self, error: &CommitError) -> ServiceError {
        let message = error.to_string();
        match error {
            CommitError::Change { index, error } => {
                let (fault, code) = class_of(error);
                let field = self.0.get(*index).cloned().unwrap_or_else(|| "body".to_owned());
                ServiceError::new(fault, code, error.to_string()).at(field)
            }
            CommitError::TooLarge(_) => {
                ServiceError::new(Fault::TooLarge, "commit_too_large", message).hint("split it into several commits")
            }
            CommitError::ReadOnly(_) => ServiceError::new(Fault::Unavailable, "read_only", message)
                .hint("reads still work; `selvedge status` tells what has to be mended"),
            CommitError::Busy => super::guard::busy(&message),
            CommitError::NotDurableInTime(commit) => ServiceError::new(Fault::TimedOut, "not_durable_in_time", message)
                .changed(format!("the commit {}/{} was applied", commit.replica, commit.seq))
                .hint("ask /v1/commits/{replica}/{seq} whether it is durable by now"),
            CommitError::NoAnswer => ServiceError::new(Fault::TimedOut, "no_answer", message)
                .changed("unknown: the commit may have been applied")
                .hint("retry with the same Idempotency-Key"),
        }
    }
}

/// Refuses keys that belong to the agent itself.
pub(super) fn check_writable(key: &Key, field: &str) -> Result<(), ServiceError> {
    if !key.is_reserved() {
        return Ok(());
    }
    let message = format!("keys whose names begin with `{}` belong to the agent", selvedge_sync::key::RESERVED_PREFIX);
    Err(ServiceError::new(Fault::Forbidden, "reserved_key", message).at(field).hint("choose another name"))
}

fn read_key(op: &Map<String, Json>, at: &str) -> Result<Key, ServiceError> {
    let field = format!("{at}.key");
    let key = op.get("key").ok_or_else(|| missing(&field, "every operation names its key, as in gcounter/kills"))?;
    let key = text(key, &field)?.parse::<Key>().map_err(|error: KeyError| bad_key(&error, &field))?;
    check_writable(&key, &field)?;
    Ok(key)
}

fn read_change(kind: Kind, name: &str, operand: &Json, prefix: &str, rounded: bool) -> Result<Change, ServiceError> {
    let field = format!("{prefix}{name}");
    match (kind, name) {
        (Kind::GCounter | Kind::PnCounter, "increment") => amount(operand, &field).map(Change::Increment),
        (Kind::PnCounter, "decrement") => amount(operand, &field).map(Change::Decrement),
        (Kind::GSet | Kind::OrSet, "add") => members(operand, &field, rounded).map(Change::Add),
        (Kind::OrSet, "remove") => members(operand, &field, rounded).map(Change::Remove),
        (Kind::LwwMap, "put") => {
            let put = object(operand, &field)?;
            let put = put.iter().map(|(k, value)| Ok((k.clone(), scalar(value, || format!("{field}.{k}"), rounded)?)));
            put.collect::<Result<_, ServiceError>>().map(Change::Put)
        }
        (Kind::LwwMap, "remove") => {
            let names = array(operand, &field)?.iter().enumerate();
            let names = names.map(|(index, name)| text(name, &format!("{field}[{index}]")).map(str::to_owned));
            names.collect::<Result<_, ServiceError>>().map(Change::RemoveFields)
        }
        (Kind::GCounter | Kind::PnCounter | Kind::GSet | Kind::OrSet | Kind::LwwMap, _) => {
            Err(unknown_field(name, prefix, &format!("a {kind} takes {}", usage(kind))))
        }
    }
}

fn amount(json: &Json, field: &str) -> Result<u64, ServiceError> {
    whole(json).ok_or_else(|| wrong_value(field, "must be a whole number, not negative", json))
}

fn members(json: &Json, field: &str, rounded: bool) -> Result<Vec<Scalar>, ServiceError> {
    let members = array(json, field)?.iter().enumerate();
    members.map(|(index, member)| scalar(member, || format!("{field}[{index}]"), rounded)).collect()
}

fn scalar(json: &Json, field: impl Fn() -> String, rounded: bool) -> Result<Scalar, ServiceError> {
    let scalar = json::scalar(json).map_err(|error| wrong_value(&field(), &error.to_string(), json))?;
    match scalar {
        // What the parser rounded: only such a document can hold one.
        Scalar::Float(float) if rounded && float.0.fract() == 0.0 && float.0.abs() >= i64::MAX as f64 => {
            Err(wrong_value(&field(), &ScalarError::Range.to_string(), json))
        }
        scalar => Ok(scalar),
    }
}

fn object<'a>(json: &'a Json, field: &str) -> Result<&'a Map<String, Json>, ServiceError> {
    json.as_object().ok_or_else(|| wrong_value(field, "must be an object", json))
}

fn array<'a>(json: &'a Json, field: &str) -> Result<&'a Vec<Json>, ServiceError> {
    json.as_array().ok_or_else(|| wrong_value(field, "must be an array", json))
}

fn text<'a>(json: &'a Json, field: &str) -> Result<&'a str, ServiceError> {
    json.as_str().ok_or_else(|| wrong_value(field, "must be text", json))
}

fn wrong_value(field: &str, rule: &str, found: &Json) -> ServiceError {
    let found = match found {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number with a fraction or beyond 64 bits",
        Json::Number(number) if number.as_i64().is_some_and(i64::is_negative) => "below zero",
        Json::Number(_) => "a whole number",
        Json::String(_) => "text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    ServiceError::new(Fault::WrongValue, "wrong_type", format!("`{field}` {rule}; it is {found}")).at(field)
}

fn unknown_field(name: &str, prefix: &str, hint: &str) -> ServiceError {
    let field = format!("{prefix}{name}");
    ServiceError::new(Fault::Caller, "unknown_field", format!("unknown field `{field}`")).at(field).hint(hint)
}

fn missing(field: &str, hint: &str) -> ServiceError {
    ServiceError::new(Fault::Caller, "missing_field", format!("`{field}` says nothing to do")).at(field).hint(hint)
}

fn class_of(error: &ChangeError) -> (Fault, &'static str) {
    match error {
        ChangeError::WrongKind { .. } => (Fault::Caller, "unknown_field"),
        ChangeError::LargeValue { .. } => (Fault::TooLarge, "value_too_large"),
        ChangeError::TooMany { .. } => (Fault::TooLarge, "too_many_members"),
        ChangeError::FieldName { .. } => (Fault::WrongValue, "bad_field_name"),
        ChangeError::ObjectFull => (Fault::Conflict, "object_full"),
        ChangeError::Overflow => (Fault::Conflict, "overflow"),
    }
}

const fn usage(kind: Kind) -> &'static str {
    match kind {
        Kind::GCounter => r#"{"increment":5}"#,
        Kind::PnCounter => r#"{"increment":5} or {"decrement":2}"#,
        Kind::GSet => r#"{"add":["x"]}"#,
        Kind::OrSet => r#"{"add":["x"]} and {"remove":["y"]}"#,
        Kind::LwwMap => r#"{"put":{"k":1}} and {"remove":["k"]}"#,
    }
}
