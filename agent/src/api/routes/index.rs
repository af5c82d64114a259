//! What routes there are: `/openapi.json` describes them for programs, `/v1` lists them for people.
//!
//! Owns the description, which is the one place where routes are told of; the list is made from it. The invariant, which tests hold:
//! what the router takes is described, and nothing else is.

use std::sync::LazyLock;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An OpenAPI 3.1 document. Whoever adds a route adds it here, with all that it may answer.
const DESCRIPTION: &str = include_str!("../openapi.json");

/// The methods that an OpenAPI document may describe and that routes of ours take, in the order in which they are told.
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// What `/v1` answers: each path with its methods, and a line about what they do.
static LIST: LazyLock<Value> = LazyLock::new(|| {
    let description: Value = serde_json::from_str(DESCRIPTION).expect("the description is JSON");
    let paths = description["paths"].as_object().expect("a description has paths");
    let routes = paths.iter().map(|(path, item)| {
        let described = METHODS.iter().filter_map(|method| Some((method.to_uppercase(), item.get(*method)?)));
        let (methods, lines): (Vec<String>, Vec<&str>) =
            described.map(|(method, operation)| (method, operation["summary"].as_str().unwrap_or_default())).unzip();
        json!({"methods": methods, "path": path, "what": lines.join("; ")})
    });
    json!({"routes": routes.collect::<Vec<_>>()})
});

pub(in crate::api) async fn list() -> Json<&'static Value> {
    Json(&LIST)
}

pub(in crate::api) async fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use selvedge_sync::key::Kind;

    use super::*;

    /// Paths with their methods, as the router's own text has them. The one path of all keys stands for one of each type.
    fn routed() -> BTreeMap<String, BTreeSet<String>> {
        let source = include_str!("../routes.rs");
        let routes = source.split("fn router").nth(1).expect("there is a router");
        let routes = routes.split(".fallback(").next().expect("it has a fallback");
        let mut routed = BTreeMap::new();
        for text in routes.split(".route(").skip(1).map(|text| text.replace('\n', " ")) {
            let path = text.split('"').nth(1).expect("a path");
            let takes = |method: &&&str| text.contains(&format!(" {method}(")) || text.contains(&format!(".{method}("));
            let methods: BTreeSet<String> = METHODS.iter().filter(takes).map(|method| method.to_uppercase()).collect();
            match path.strip_suffix("{*key}") {
                None => drop(routed.insert(path.to_owned(), methods)),
                Some(state) => {
                    routed.extend(Kind::ALL.map(|kind| (format!("{state}{kind}/{{name}}"), methods.clone())));
                }
            }
        }
        routed
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let listed = LIST["routes"].as_array().expect("a list");
        let listed = listed.iter().map(|route| {
            assert!(route["what"].as_str().is_some_and(|what| !what.is_empty()), "{route}");
            let methods = route["methods"].as_array().expect("methods").iter().filter_map(Value::as_str);
            (route["path"].as_str().expect("a path").to_owned(), methods.map(str::to_owned).collect())
        });
        assert_eq!(listed.collect::<BTreeMap<_, BTreeSet<_>>>(), routed());
    }

    #[test]
    fn what_stands_before_every_route_is_described_at_every_route() {
        let description: Value = serde_json::from_str(DESCRIPTION).expect("JSON");
        for (path, item) in description["paths"].as_object().expect("paths") {
            for (method, operation) in METHODS.iter().filter_map(|method| Some((method, item.get(*method)?))) {
                let answers = |status: &str| operation["responses"].get(status).is_some();
                assert!(["403", "429", "500"].into_iter().all(answers), "{method} {path}");
                // A WebSocket opens what can change something.
                let wants_token = *method != "get" || path == "/v1/stream";
                assert_eq!(operation.get("security").is_some(), wants_token, "{method} {path}");
                assert_eq!(answers("401"), wants_token, "{method} {path}");
            }
        }
    }
}
