//! Routes about membership.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::commits::path_error;
use super::{Answer, App};
use crate::api::body;
use crate::config::check_name;
use crate::encoding::whole;
use crate::service::{
    Cluster, Drained, Fault, InvitationEntry, InviteWanted, Invited, Leaving, Revoked, Rotated, Service, ServiceError,
};

/// The longest that a token may be usable, in seconds: a month, for hosts that are shipped by mail.
const TTL_MAX_S: u64 = 30 * 86_400;

/// How long a token is usable, in seconds, if nobody says.
const TTL_DEFAULT_S: u64 = 3_600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    name: Option<String>,
    region: Option<String>,
    #[serde(default, deserialize_with = "whole_number")]
    ttl_s: Option<u64>,
    may_deploy: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    #[serde(default)]
    off: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leave {
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    node: String,
}

pub(in crate::api) async fn show<S: Service>(State(app): State<Arc<App<S>>>) -> Answer<Json<Cluster>> {
    app.service().cluster().map(Json).ok_or_else(|| {
        ServiceError::new(Fault::NotFound, "no_cluster", "this agent belongs to no cluster")
            .hint("`selvedge init` founds one, `selvedge join` enters one; both while the agent is stopped")
            .into()
    })
}

pub(in crate::api) async fn invite<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Invited>> {
    let document = body::json_or_nothing(&headers, body).await?;
    let none = Invite { name: None, region: None, ttl_s: None, may_deploy: None };
    let Invite { name, region, ttl_s, may_deploy } = document.map_or(Ok(none), |document| shape(document.value))?;
    for (field, text) in [("name", &name), ("region", &region)] {
        if let Some(Err(problem)) = text.as_ref().map(|text| check_name(text)) {
            return Err(ServiceError::new(Fault::WrongValue, "bad_name", problem.to_string()).at(field).into());
        }
    }
    let ttl_s = ttl_s.unwrap_or(TTL_DEFAULT_S);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        let message = format!("1 to {TTL_MAX_S} seconds are allowed");
        return Err(ServiceError::new(Fault::WrongValue, "bad_ttl", message).at("ttl_s").into());
    }
    Ok(Json(app.service().invite(InviteWanted { name, region, ttl_s, may_deploy: may_deploy.unwrap_or(true) }).await?))
}

pub(in crate::api) async fn invitations<S: Service>(
    State(app): State<Arc<App<S>>>,
) -> Answer<Json<Vec<InvitationEntry>>> {
    Ok(Json(app.service().invitations().await?))
}

pub(in crate::api) async fn cancel<S: Service>(
    State(app): State<Arc<App<S>>>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<Json<InvitationEntry>> {
    let Path(id) = path.map_err(|rejection| path_error(&rejection))?;
    Ok(Json(app.service().cancel_invitation(&id).await?))
}

pub(in crate::api) async fn revoke<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Revoked>> {
    let Revoke { node } = shape(body::json(&headers, body).await?.value)?;
    Ok(Json(app.service().revoke(&node).await?))
}

pub(in crate::api) async fn drain<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Drained>> {
    let document = body::json_or_nothing(&headers, body).await?;
    let Drain { off } = document.map_or(Ok(Drain { off: false }), |document| shape(document.value))?;
    Ok(Json(app.service().drain(off).await?))
}

pub(in crate::api) async fn drained<S: Service>(State(app): State<Arc<App<S>>>) -> Json<Drained> {
    Json(app.service().drained())
}

pub(in crate::api) async fn leave<S: Service>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Json<Leaving>> {
    let document = body::json_or_nothing(&headers, body).await?;
    let Leave { force } = document.map_or(Ok(Leave::default()), |document| shape(document.value))?;
    Ok(Json(app.service().leave(force).await?))
}

pub(in crate::api) async fn rotate<S: Service>(State(app): State<Arc<App<S>>>) -> Answer<Json<Rotated>> {
    Ok(Json(app.service().rotate_authority().await?))
}

fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    value.map(|value| whole(&value).ok_or_else(|| D::Error::custom("ttl_s must be a whole number"))).transpose()
}

fn shape<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, ServiceError> {
    serde_json::from_value(value)
        .map_err(|error| ServiceError::new(Fault::Caller, "bad_shape", error.to_string()).at("body"))
}
