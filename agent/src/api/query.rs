//! Parameters after the `?`, with errors that name the parameter.

use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use super::problem::Problem;
use crate::service::{Fault, ServiceError};

/// What axum made of the query: pairs, or why there are none.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The values of the parameters with these names. The last of one name wins.
///
/// # Errors
/// A parameter that the route does not know, or a query that cannot be decoded.
pub(super) fn take<const N: usize>(pairs: Pairs, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let Query(pairs) =
        pairs.map_err(|error| ServiceError::new(Fault::Caller, "bad_query", error.body_text()).at("query"))?;
    let mut values = [const { None }; N];
    for (name, value) in pairs {
        match names.iter().position(|known| *known == name) {
            Some(index) => values[index] = Some(value),
            None => {
                let message = format!("unknown parameter `{name}`");
                let hint = match N {
                    0 => "this route takes no parameters".to_owned(),
                    _ => format!("this route takes {}", names.join(", ")),
                };
                return Err(ServiceError::new(Fault::Caller, "unknown_parameter", message).at(name).hint(hint).into());
            }
        }
    }
    Ok(values)
}

/// Whether a flag is set; without a value it is.
pub(super) fn flag(name: &'static str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(wrong(name, "must be true or false")),
    }
}

/// A whole number within bounds, both inclusive.
pub(super) fn number(
    name: &'static str,
    value: Option<&str>,
    least: usize,
    most: usize,
) -> Result<Option<usize>, Problem> {
    let Some(text) = value else { return Ok(None) };
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(wrong(name, &format!("must be a whole number from {least} to {most}"))),
    }
}

/// A span of time with a unit: `500ms`, `10s`.
pub(super) fn duration(name: &'static str, value: Option<&str>, most: Duration) -> Result<Option<Duration>, Problem> {
    let Some(text) = value else { return Ok(None) };
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= most => Ok(Some(duration)),
        _ => Err(wrong(
            name,
            &format!("must be a time with a unit, as in 10s, up to {}", humantime::format_duration(most)),
        )),
    }
}

fn wrong(name: &'static str, rule: &str) -> Problem {
    ServiceError::new(Fault::Caller, "bad_parameter", format!("`{name}` {rule}")).at(name).into()
}
