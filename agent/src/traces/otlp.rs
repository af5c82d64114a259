//! Spans as a document: OTLP's JSON form of a request to export traces.
//!
//! Owns field names and attributes: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, and for attributes the semantic
//! conventions for remote procedure calls.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::span::Recorded;
use super::{Context, Step};

/// What all spans of this agent say of it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The node's id.
    pub node: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// Where it is.
    pub region: &'a str,
    /// The agent's version.
    pub version: &'a str,
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Forward => "forward",
            Self::Serve => "serve",
            Self::Run => "run",
        }
    }

    /// OTLP's number for who asks and who answers.
    const fn kind(self) -> u8 {
        match self {
            Self::Run => 1,
            Self::Call | Self::Serve => 2,
            Self::Forward => 3,
        }
    }
}

/// What stands above the spans of every batch.
pub(super) fn resource(about: &About<'_>) -> Value {
    let attributes = [
        text("service.name", "selvedge"),
        text("service.version", about.version),
        text("service.instance.id", about.node),
        text("host.name", about.name),
        text("selvedge.region", about.region),
    ];
    json!({ "attributes": attributes })
}

/// A batch.
pub(super) fn document(resource: &Value, spans: &[Recorded]) -> Value {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "selvedge"}, "spans": spans}]}]})
}

fn span(span: &Recorded) -> Value {
    let mut attributes =
        vec![text("rpc.system", "selvedge"), text("rpc.service", &span.workload), text("rpc.method", &span.function)];
    attributes.extend(span.peer.map(|peer| text("selvedge.peer", &peer.to_string())));
    attributes.extend(span.error.as_deref().map(|error| text("error.type", error)));
    json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span_id(),
        "parentSpanId": span.parent.map(Context::span_id).unwrap_or_default(),
        "name": format!("{} {}/{}", span.step.verb(), span.workload, span.function),
        "kind": span.step.kind(),
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.begun + span.took),
        "attributes": attributes,
        "status": if span.error.is_some() { json!({"code": 2}) } else { json!({}) },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Nanoseconds since 1970; numbers of 64 bits are text in this form.
fn nanos(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
