//! `GET /v1`: which routes there are, with a line each.

use axum::Json;
use serde_json::{Value, json};

/// Every route: its methods, its path, and what it is for.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/", "the status page for a browser"),
    ("GET", "/healthz", "200 or 503, with what is wrong"),
    ("GET", "/readyz", "200 or 503, with what is not ready yet"),
    ("GET", "/metrics", "all figures in the OpenMetrics text format"),
    ("GET", "/v1", "this list"),
    ("GET", "/v1/status", "this host, its cluster, state, peers, workloads and health"),
    ("GET", "/v1/nodes", "every member"),
    ("GET", "/v1/nodes/{id}", "one member, with the round trips that it measured"),
    ("GET", "/v1/cluster", "the cluster, its authorities and this host's certificate"),
    ("POST", "/v1/cluster/authority", "puts a new authority in the place of the present one"),
    ("GET, POST", "/v1/cluster/invitations", "the open invitations; or makes one: name, region, ttl_s, may_deploy"),
    ("DELETE", "/v1/cluster/invitations/{id}", "takes an invitation back that nobody has used"),
    ("POST", "/v1/cluster/revocations", "puts a member out for ever: node (id, part of it, or name)"),
    (
        "GET, POST",
        "/v1/drain",
        "whether this agent is being emptied, and what is left; has it take nothing new and hand over; or, off, take part again",
    ),
    ("POST", "/v1/leave", "hands over, tells everybody that this agent leaves, and stops it"),
    ("GET", "/v1/convergence", "whether all members hold the same state; ?wait=10s waits for it"),
    ("GET", "/v1/state", "keys in order, a page at a time: ?prefix=&after=&limit="),
    ("GET, POST", "/v1/state/{*key}", "one object, as type/name; or changes it"),
    ("POST", "/v1/commits", "several changes in one commit: ops"),
    ("GET", "/v1/commits/{replica}/{seq}", "how far a commit has got"),
    ("GET", "/v1/events", "what happens, as server-sent events: ?kinds=; ?prefix= for changes of state only"),
    ("GET", "/v1/events/recent", "what happened lately, commits left aside, the latest first"),
    ("GET", "/v1/history", "calls, errors, commits and state over the last ten minutes"),
    ("GET", "/v1/stream", "the call stream, a WebSocket: calls as CBOR frames {id, workload, function, args}"),
    ("PUT", "/v1/artifacts", "stores a component, the .wasm as the body"),
    (
        "GET, PUT",
        "/v1/assets",
        "assets on this host's disk, a page at a time: ?after=&limit=; or keeps the body as one",
    ),
    ("GET, DELETE", "/v1/assets/{digest}", "an asset, from here or another member; or removes it from this host"),
    ("GET", "/v1/workloads", "all workloads"),
    ("GET, PUT, DELETE", "/v1/workloads/{name}", "one workload and its spec; or deploys or removes it"),
    (
        "POST",
        "/v1/workloads/{name}/call/{function}",
        "calls a function: the arguments as an array or an object, in JSON or CBOR; ?record=true",
    ),
    ("GET", "/v1/workloads/{name}/placement", "the score of every node, term by term"),
];

pub(in crate::api) async fn list() -> Json<Value> {
    let route = |(methods, path, what): &(&str, &str, &str)| {
        let methods: Vec<&str> = methods.split(", ").collect();
        json!({"methods": methods, "path": path, "what": what})
    };
    Json(json!({"routes": ROUTES.iter().map(route).collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Paths with their methods, as the router's own text has them.
    fn routed() -> BTreeSet<(String, String)> {
        let source = include_str!("../routes.rs");
        let routes = source.split("fn router").nth(1).expect("there is a router");
        let routes = routes.split(".fallback(").next().expect("it has a fallback");
        let route = |text: &str| {
            let path = text.split('"').nth(1).expect("a path").to_owned();
            let methods = ["get", "post", "put", "delete"].into_iter();
            let methods =
                methods.filter(|method| text.contains(&format!(" {method}(")) || text.contains(&format!(".{method}(")));
            (path, methods.map(str::to_uppercase).collect::<Vec<_>>().join(", "))
        };
        let flat: Vec<String> = routes.split(".route(").skip(1).map(|text| text.replace('\n', " ")).collect();
        flat.iter().map(|text| route(text)).collect()
    }

    #[test]
    fn every_route_is_listed_and_nothing_else() {
        let listed = ROUTES.iter().map(|(methods, path, _)| ((*path).to_owned(), (*methods).to_owned()));
        assert_eq!(listed.collect::<BTreeSet<_>>(), routed());
        assert!(ROUTES.iter().all(|(_, _, what)| !what.is_empty()));
    }
}
