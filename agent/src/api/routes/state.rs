//! Routes to the shared state: keys in pages, one key, a change to one key.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use selvedge_sync::crdt::Value;
use selvedge_sync::key::{Key, KeyError, Kind};
use serde::Serialize;

use super::commits::{commit_options, path_error};
use super::{Answer, App};
use crate::api::body;
use crate::api::change::Changes;
use crate::api::limits::{PAGE_KEYS_DEFAULT, PAGE_KEYS_MAX};
use crate::api::problem::{Problem, bad_key};
use crate::api::query::{self, Pairs};
use crate::service::{Committed, Fault, KeyPage, Service, ServiceError, StateEntry, json, shorten};

/// What a change answers: its commit, and the value that a reader sees now.
#[derive(Serialize)]
pub(in crate::api) struct Written {
    commit: Committed,
    #[serde(serialize_with = "value")]
    value: Value,
}

pub(in crate::api) async fn list<S: Service>(State(app): State<Arc<App<S>>>, pairs: Pairs) -> Answer<Json<KeyPage>> {
    let [prefix, after, limit] = query::take(pairs, ["prefix", "after", "limit"])?;
    let prefix = prefix.unwrap_or_default();
    check_prefix(&prefix)?;
    let after = after.map(|after| after.parse::<Key>().map_err(|error| bad_key(&error, "after"))).transpose()?;
    let limit = query::number("limit", limit.as_deref(), 1, PAGE_KEYS_MAX)?.unwrap_or(PAGE_KEYS_DEFAULT);
    let page = app.service().keys(&prefix, after.as_ref(), limit).await?;
    Ok(Json(page))
}

/// What no key can begin with is a slip of the hand, and an empty list would hide it.
fn check_prefix(prefix: &str) -> Result<(), ServiceError> {
    let kind = prefix.split('/').next().unwrap_or_default();
    let is_whole = prefix.contains('/');
    let fits = |known: &Kind| {
        let name = known.to_string();
        if is_whole { name == kind } else { name.starts_with(kind) }
    };
    if Kind::ALL.iter().any(fits) {
        return Ok(());
    }
    let names: Vec<String> = Kind::ALL.iter().map(ToString::to_string).collect();
    let message = format!("no key begins with `{}`: there is no such type", shorten(prefix));
    Err(ServiceError::new(Fault::Caller, "unknown_key_type", message)
        .at("prefix")
        .hint(format!("a key is type/name; types are {}", names.join(", "))))
}

pub(in crate::api) async fn read<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<Json<StateEntry>> {
    let key = key_of(path)?;
    match app.service().read(&key).await? {
        Some(entry) => Ok(Json(entry)),
        None => Err(ServiceError::not_found("unknown_key", "key", &key.to_string()).at("key").into()),
    }
}

pub(in crate::api) async fn write<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
    pairs: Pairs,
    body: Body,
) -> Answer<Json<Written>> {
    let key = key_of(path)?;
    let document = body::json(&headers, body).await?;
    let options = commit_options((&method, &key.to_string()), &headers, &document, pairs)?;
    let Changes { changes, fields } = Changes::of_key(&key, &document)?;
    let commit = app.service().commit(changes, options).await.map_err(|error| fields.refused(&error))?;
    let read = app.service().read(&key).await.map_err(|error| error.changed("the commit was applied"))?;
    let value = read.map_or_else(|| json::empty(key.kind()), |entry| entry.value);
    Ok(Json(Written { commit, value }))
}

/// The key in a path. The router has decoded it; what follows the type may hold `/` and `:`.
fn key_of(path: Result<Path<String>, PathRejection>) -> Result<Key, Problem> {
    let Path(text) = path.map_err(|rejection| path_error(&rejection))?;
    text.parse().map_err(|error: KeyError| {
        let field = match &error {
            KeyError::UnknownKind(_) | KeyError::NoSlash => "type",
            KeyError::EmptyName | KeyError::LongName(_) | KeyError::ControlCharacter => "name",
        };
        bad_key(&error, field).into()
    })
}

fn value<S: serde::Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    json::JsonValue(value).serialize(serializer)
}
