//! The description of the API is true: schemathesis makes requests from it, sound ones and others, and looks at what comes back; and
//! what an agent answers holds no field that is not described.

use std::path::Path;
use std::process::Command;

use selvedge_tests::{Agent, Launch, guest, http};
use serde_json::Value;

/// Requests of each kind for each operation. All of them together take some ten seconds on a quiet machine.
const EXAMPLES: &str = "10";

/// Seconds after which no new requests are made.
const SECONDS_MAX: &str = "40";

/// Operations that are tested at least: most of those that there are.
const OPERATIONS_MIN: usize = 35;

/// An agent that has something of everything: members' papers, keys, a workload, an asset.
fn agent(folder: &Path) -> Agent {
    let agent = Launch::new(folder, "one").founding("described").joining(&[]).start();
    let wasm = folder.join("combat.wasm");
    let (_, component) =
        selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").expect("it ships");
    std::fs::write(&wasm, component).expect("written");
    let done = agent.cli(&["deploy", &wasm.to_string_lossy(), "--name", "combat", "--timeout", "120s"]);
    assert_eq!(done.code, 0, "{}{}\n{}", done.stdout, done.stderr, agent.log());
    agent
}

fn ask(agent: &Agent, method: &str, path: &str, body: &str) -> Value {
    let answer = http::ask(agent, method, path, body.as_bytes());
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{method} {path}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"))
}

#[test]
fn schemathesis_finds_no_answer_that_is_not_described() {
    if !guest::is_there("schemathesis") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let agent = agent(folder.path());
    let token = std::fs::read_to_string(agent.data_dir().join("api-token")).expect("a token");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.toml");
    let mut run = Command::new("schemathesis");
    run.current_dir(folder.path()).arg("--config-file").arg(settings);
    run.args(["run", &format!("{}/openapi.json", agent.api())])
        .args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    run.args(["--max-examples", EXAMPLES, "--max-time", SECONDS_MAX, "--generation-deterministic", "--no-color"]);
    // These do not end, begin another protocol, or end the agent.
    for path in ["/v1/events", "/v1/stream", "/v1/leave"] {
        run.args(["--exclude-path", path]);
    }
    let told = guest::run(&mut run);
    let summary = told.lines().skip_while(|line| !line.contains("SUMMARY")).collect::<Vec<_>>().join("\n");
    println!("{summary}");
    let tested = summary.lines().find_map(|line| line.trim().strip_prefix("Tested: ")?.parse::<usize>().ok());
    assert!(tested.is_some_and(|tested| tested >= OPERATIONS_MIN), "{told}");
    assert_eq!(http::ask(&agent, "GET", "/healthz", b"").status, 200, "{}", agent.log());
}

#[test]
fn answers_hold_no_field_that_is_not_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = agent(folder.path());
    let description = ask(&agent, "GET", "/openapi.json", "");
    let written = ask(&agent, "POST", "/v1/state/gcounter/kills?durable=true", r#"{"increment": 5}"#);
    let asset = ask(&agent, "PUT", "/v1/assets", "a texture");
    let commit = format!("/{}/{}", written["commit"]["replica"].as_str().expect("a writer"), written["commit"]["seq"]);
    let node = agent.node();
    let invited = ask(&agent, "POST", "/v1/cluster/invitations", "{}");
    let mut faults = Vec::new();
    let mut check = |method: &str, path: &str, answer: &Value| {
        let schema = &description["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {path} is not described");
        undescribed(&description, schema, answer, &format!("{method} {path}: "), &mut faults);
    };
    check("post", "/v1/state/gcounter/{name}", &written);
    check("put", "/v1/assets", &asset);
    check("post", "/v1/cluster/invitations", &invited);
    for (path, name) in [
        ("/healthz", ""),
        ("/readyz", ""),
        ("/v1", ""),
        ("/v1/status", ""),
        ("/v1/nodes", ""),
        ("/v1/nodes/{id}", &node),
        ("/v1/history", ""),
        ("/v1/events/recent", ""),
        ("/v1/cluster", ""),
        ("/v1/cluster/invitations", ""),
        ("/v1/drain", ""),
        ("/v1/convergence", ""),
        ("/v1/state", ""),
        ("/v1/state/gcounter/{name}", "kills"),
        ("/v1/commits/{replica}/{seq}", &commit[1..]),
        ("/v1/assets", ""),
        ("/v1/workloads", ""),
        ("/v1/workloads/{name}", "combat"),
    ] {
        let named = path.split('{').next().unwrap_or(path).to_owned() + name;
        check("get", path, &ask(&agent, "GET", &named, ""));
    }
    assert!(faults.is_empty(), "agent/src/api/openapi.json does not describe\n{}", faults.join("\n"));
}

/// Notes fields of a document that no schema of it names.
fn undescribed(description: &Value, schema: &Value, document: &Value, at: &str, faults: &mut Vec<String>) {
    let schemas = alternatives(description, schema);
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                let known = schemas
                    .iter()
                    .find_map(|schema| schema["properties"].get(name).or_else(|| schema.get("additionalProperties")));
                match known {
                    Some(schema) => undescribed(description, schema, value, &at, faults),
                    // An object without a word about its fields may hold any.
                    None if schemas.iter().all(|schema| schema.get("properties").is_none()) => {}
                    None => faults.push(at),
                }
            }
        }
        Value::Array(items) => {
            for schema in schemas.iter().filter_map(|schema| schema.get("items")) {
                items.iter().for_each(|item| undescribed(description, schema, item, &format!("{at}[]"), faults));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schemas that a schema is made of, or stands for.
fn alternatives<'a>(description: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = match schema["$ref"].as_str() {
        Some(path) => description.pointer(path.trim_start_matches('#')).expect("it refers to something"),
        None => schema,
    };
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|kind| schema[kind].as_array()).flatten();
    let parts: Vec<&Value> = parts.flat_map(|part| alternatives(description, part)).collect();
    [vec![schema], parts].concat()
}
