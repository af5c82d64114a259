//! Frames of the call stream: `{id, workload, function, args}` → `{id, result}` or `{id, error}`, in CBOR.
//!
//! Owns their fields and bounds. The invariant: whatever is wrong with a frame, its answer bears the frame's id if that could
//! be read, and null if not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::api::body::{check_arguments, no_arguments};
use crate::api::limits::{CALL_DEADLINE_MS_MAX, FRAME_BYTES_MAX, FRAME_ID_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX};
use crate::api::names::Names;
use crate::api::origin::Origin;
use crate::api::problem::Told;
use crate::api::routes::{call_id, session_of};
use crate::encoding::cbor::{Entries, Malformed, Reader, encode};
use crate::service::{CallAnswer, CallOptions, Fault, ServiceError, shorten};
use crate::traces::Context;

/// What a frame is called by its sender: a whole number or a short text. Null where it could not be read.
pub(super) type Id = Value;

/// The fields of a frame, for errors.
const FIELDS: &str =
    "id, workload, function, args, idempotency_key, deadline_ms, session, region, rtt_ms and traceparent";

/// A frame that asks for a call.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) id: Id,
    pub(super) workload: String,
    pub(super) function: String,
    pub(super) arguments: Value,
    pub(super) options: CallOptions,
    pub(super) origin: Origin,
}

/// A frame that asks for a call as most do: what it has is there once and of the right type, and its arguments are left as they
/// are.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) id: Id,
    pub(super) workload: String,
    pub(super) function: String,
    /// A part of the frame.
    pub(super) arguments: Bytes,
    pub(super) options: CallOptions,
    pub(super) origin: Origin,
    /// All of it, for whoever has to read it again.
    pub(super) frame: Bytes,
    /// When it was read.
    pub(super) asked: Instant,
}

/// A frame that asks for nothing that can be done.
#[derive(Debug)]
pub(super) struct Refused {
    id: Id,
    error: Box<ServiceError>,
}

/// What was read of a frame so far.
#[derive(Default)]
struct Fields {
    id: Id,
    workload: Option<Value>,
    function: Option<Value>,
    arguments: Option<Value>,
    idempotency_key: Option<Value>,
    deadline_ms: Option<Value>,
    session: Option<Value>,
    traceparent: Option<Value>,
    origin: Origin,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overrun: Option<&'a str>,
}

/// Writes answers.
#[derive(Default)]
pub(super) struct Writer {
    names: Names,
}

impl Plain {
    /// Reads a frame; `None` where [`Call::read`] has to.
    pub(super) fn read(frame: &Bytes) -> Option<Self> {
        if frame.len() > FRAME_BYTES_MAX {
            return None;
        }
        let (asked, mut reader) = (Instant::now(), Reader::new(frame));
        let (mut name, mut workload, mut function, mut arguments) = (None, None, None, None);
        let (mut options, mut origin) = (CallOptions::default(), Origin::default());
        reader.entries(|reader, field| {
            let is_first = match field {
                "id" => name.replace(id(reader.value().ok()?).ok().filter(|id| !id.is_null())?).is_none(),
                "workload" => workload.replace(<&str>::deserialize(reader).ok()?).is_none(),
                "function" => function.replace(<&str>::deserialize(reader).ok()?).is_none(),
                "args" => arguments.replace(reader.skip().ok()?).is_none(),
                "deadline_ms" => options.deadline.replace(deadline(reader.value().ok()?).ok()?).is_none(),
                "session" => options.session.replace(session(&reader.value().ok()?).ok()?).is_none(),
                "traceparent" => std::mem::replace(&mut options.trace, trace(&reader.value().ok()?).ok()?).is_none(),
                "region" => origin.region.is_none() && origin.set_region(&reader.value().ok()?).is_ok(),
                "rtt_ms" => origin.rtt_ms.is_none() && origin.set_rtt_ms(&reader.value().ok()?).is_ok(),
                _ => false,
            };
            is_first.then_some(())
        })?;
        reader.end().ok()?;
        let (workload, function) = (workload?.to_owned(), function?.to_owned());
        let arguments = frame.slice_ref(arguments?);
        Some(Self { id: name?, workload, function, arguments, options, origin, frame: frame.clone(), asked })
    }
}

impl Call {
    /// Reads a frame.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let mut fields = Fields::default();
        let read = fields.read(bytes);
        let id = fields.id.clone();
        read.and_then(|()| fields.call()).map_err(|error| Refused { id, error: Box::new(error) })
    }
}

impl Fields {
    fn read(&mut self, bytes: &[u8]) -> Result<(), ServiceError> {
        if bytes.len() > FRAME_BYTES_MAX {
            let message = format!("the frame is too large; at most {FRAME_BYTES_MAX} bytes are allowed");
            return Err(ServiceError::new(Fault::TooLarge, "frame_too_large", message));
        }
        let mut reader = Reader::new(bytes);
        reader.fields(|reader, name| self.field(reader, name))?;
        Ok(reader.end()?)
    }

    fn field(&mut self, reader: &mut Reader<'_>, name: &str) -> Result<(), ServiceError> {
        if name == "id" {
            self.id = id(reader.value()?)?;
            return Ok(());
        }
        let field = match name {
            "workload" => &mut self.workload,
            "function" => &mut self.function,
            "args" => &mut self.arguments,
            "idempotency_key" => &mut self.idempotency_key,
            "deadline_ms" => &mut self.deadline_ms,
            "session" => &mut self.session,
            "traceparent" => &mut self.traceparent,
            "region" => return self.origin.set_region(&reader.value()?),
            "rtt_ms" => return self.origin.set_rtt_ms(&reader.value()?),
            other => {
                let message = format!("a frame has no field `{}`", shorten(other));
                let error = ServiceError::new(Fault::Caller, "unknown_field", message).at(shorten(other));
                return Err(error.hint(format!("it has {FIELDS}")));
            }
        };
        *field = Some(reader.value()?);
        Ok(())
    }

    fn call(self) -> Result<Call, ServiceError> {
        if self.id.is_null() {
            return Err(missing("id").hint("a whole number or a short text, by which you know the answer"));
        }
        let (workload, function) = (text(self.workload, "workload")?, text(self.function, "function")?);
        let arguments = check_arguments(self.arguments.unwrap_or_else(no_arguments), "args")?;
        let deadline = self.deadline_ms.map(deadline).transpose()?;
        let key = |key| idempotency_key(&key).map(|key| call_id(&workload, &function, key.as_bytes(), &arguments));
        let request = self.idempotency_key.map(key).transpose()?;
        let session = self.session.map(|text| session(&text)).transpose()?;
        let trace = self.traceparent.map(|text| trace(&text)).transpose()?.flatten();
        let options = CallOptions { deadline, request, session, record: false, trace };
        Ok(Call { id: self.id, workload, function, arguments, options, origin: self.origin })
    }
}

impl Writer {
    /// The answer to the frame `id`, whose result is encoded.
    pub(super) fn encoded(&mut self, id: &Id, answer: &Result<CallAnswer<Vec<u8>>, ServiceError>) -> Vec<u8> {
        match answer {
            Ok(CallAnswer { result, node, commit, overrun, recording: _ }) => {
                let mut entries = Entries::new().with("id", id).with_encoded("result", result);
                entries = entries.with("node", self.names.node(*node));
                if let Some(commit) = commit {
                    entries = entries.with("commit", &self.names.commit(commit));
                }
                if let Some(overrun) = overrun {
                    entries = entries.with("overrun", overrun);
                }
                entries.end()
            }
            Err(error) => failed(id, error),
        }
    }

    /// The answer to the frame `id`.
    pub(super) fn answer(&mut self, id: &Id, answer: &Result<CallAnswer, ServiceError>) -> Vec<u8> {
        match answer {
            Ok(CallAnswer { result, node, commit, overrun, recording: _ }) => {
                let commit = commit.as_ref().map(|commit| self.names.commit(commit));
                let node = Some(self.names.node(*node));
                let (commit, overrun) = (commit.as_deref(), overrun.as_deref());
                encode(&Answer { id, result: Some(result), error: None, node, commit, overrun })
            }
            Err(error) => failed(id, error),
        }
    }
}

/// The answer to a frame that asks for nothing that can be done.
pub(super) fn refusal(refused: &Refused) -> Vec<u8> {
    failed(&refused.id, &refused.error)
}

impl From<Malformed> for ServiceError {
    fn from(error: Malformed) -> Self {
        let message = format!("the frame is no CBOR that can be taken: {error}");
        Self::new(Fault::Caller, "malformed_cbor", message).hint(format!("a frame is a map of {FIELDS}"))
    }
}

fn failed(id: &Id, error: &ServiceError) -> Vec<u8> {
    encode(&Answer { id, result: None, error: Some(Told::from(error)), node: None, commit: None, overrun: None })
}

fn id(id: Value) -> Result<Id, ServiceError> {
    let fits = match &id {
        Value::Number(number) => !number.is_f64(),
        Value::String(text) => text.len() <= FRAME_ID_BYTES_MAX,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    };
    let message = format!("`id` must be a whole number, or text of at most {FRAME_ID_BYTES_MAX} bytes");
    if fits { Ok(id) } else { Err(ServiceError::new(Fault::WrongValue, "wrong_type", message).at("id")) }
}

fn text(value: Option<Value>, field: &'static str) -> Result<String, ServiceError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ServiceError::new(Fault::WrongValue, "wrong_type", format!("`{field}` must be text")).at(field)),
        None => Err(missing(field)),
    }
}

fn missing(field: &'static str) -> ServiceError {
    ServiceError::new(Fault::Caller, "missing_field", format!("the frame has no `{field}`")).at(field)
}

fn deadline(value: Value) -> Result<Duration, ServiceError> {
    match value.as_u64() {
        Some(ms @ 1..=CALL_DEADLINE_MS_MAX) => Ok(Duration::from_millis(ms)),
        Some(_) | None => {
            let message = format!("`deadline_ms` must be a whole number from 1 to {CALL_DEADLINE_MS_MAX}");
            Err(ServiceError::new(Fault::Caller, "bad_parameter", message).at("deadline_ms"))
        }
    }
}

fn session(value: &Value) -> Result<u64, ServiceError> {
    match value.as_str() {
        Some(text) => Ok(session_of(text.as_bytes())),
        None => Err(ServiceError::new(Fault::WrongValue, "wrong_type", "`session` must be text").at("session")),
    }
}

/// The place in a trace; one that cannot be read is none, as its standard has it.
fn trace(value: &Value) -> Result<Option<Context>, ServiceError> {
    match value.as_str() {
        Some(text) => Ok(text.parse().ok()),
        None => Err(ServiceError::new(Fault::WrongValue, "wrong_type", "`traceparent` must be text").at("traceparent")),
    }
}

fn idempotency_key(value: &Value) -> Result<&str, ServiceError> {
    match value.as_str() {
        Some(key) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => Ok(key),
        Some(_) | None => {
            let message = format!("`idempotency_key` must be text of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            Err(ServiceError::new(Fault::Caller, "bad_parameter", message).at("idempotency_key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::hlc::Hlc;
    use selvedge_sync::id::{Incarnation, NodeId, ReplicaId};
    use serde_json::json;

    use super::*;
    use crate::encoding::cbor::decode;
    use crate::service::Committed;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_frame_says_what_to_call() {
        let frame = json!({"id": 7, "workload": "combat", "function": "resolve", "args": [[]], "deadline_ms": 20});
        let call = Call::read(&encode(&frame)).expect("a sound frame");
        assert_eq!((call.id, call.workload.as_str(), call.function.as_str()), (json!(7), "combat", "resolve"));
        assert_eq!((call.arguments, call.options.deadline), (json!([[]]), Some(Duration::from_millis(20))));
        let frame = json!({"id": 8, "workload": "combat", "function": "resolve", "args": [], "session": "anna", "region": "eu", "rtt_ms": 12, "traceparent": TRACE});
        let (call, plain) = (Call::read(&encode(&frame)).expect("sound"), Plain::read(&encode(&frame).into()));
        let plain = plain.expect("it is plain");
        assert_eq!(call.options.session, Some(session_of(b"anna")));
        assert_eq!(call.options.trace, TRACE.parse().ok());
        assert_eq!(call.origin, Origin { region: Some("eu".to_owned()), rtt_ms: Some(12.0) });
        assert_eq!((plain.options, plain.origin), (call.options, call.origin));
        let bare = json!({"id": "a", "workload": "w", "function": "f"});
        assert_eq!(Call::read(&encode(&bare)).expect("a sound frame").arguments, json!([]));
    }

    #[test]
    fn a_plain_frame_says_the_same() {
        let plain = |frame: Value| Plain::read(&encode(&frame).into());
        let frame = json!({"id": 7, "workload": "combat", "function": "resolve", "args": [[5]], "deadline_ms": 20});
        let (short, long) = (plain(frame.clone()).expect("it is plain"), Call::read(&encode(&frame)).expect("sound"));
        assert_eq!((short.id, short.workload, short.function), (long.id, long.workload, long.function));
        assert_eq!((decode(&short.arguments), short.options), (Ok(long.arguments), long.options));
        for (field, value) in
            [("id", json!(null)), ("idempotency_key", json!("k")), ("deadline_ms", json!(0)), ("x", json!(1))]
        {
            let mut odd = frame.clone();
            odd[field] = value;
            assert!(plain(odd).is_none(), "{field}");
        }
        assert!(plain(json!({"id": 7, "workload": "w", "function": "f"})).is_none());
        assert!(Plain::read(&Bytes::from_static(b"\xa2\x62id\x01\x62id\x02")).is_none());
    }

    #[test]
    fn an_answer_is_the_same_with_its_result_encoded() {
        let node = NodeId([7; 32]);
        let replica = ReplicaId { node, incarnation: Incarnation(2) };
        let commit = Some(Committed { replica, seq: 9, hlc: Hlc::default() });
        let tree = CallAnswer { result: json!([1, {"a": "b"}]), node, commit, overrun: None, recording: None };
        let CallAnswer { result, node, commit, overrun, recording } = tree.clone();
        let encoded = CallAnswer { result: encode(&result), node, commit, overrun, recording };
        let mut writer = Writer::default();
        assert_eq!(writer.encoded(&json!(5), &Ok(encoded.clone())), writer.answer(&json!(5), &Ok(tree.clone())));
        let (tree, encoded) = (
            CallAnswer { commit: None, overrun: Some("busy".to_owned()), ..tree },
            CallAnswer { commit: None, overrun: Some("busy".to_owned()), ..encoded },
        );
        assert_eq!(writer.encoded(&json!("x"), &Ok(encoded)), writer.answer(&json!("x"), &Ok(tree)));
    }

    #[test]
    fn a_key_makes_the_same_request_as_over_http() {
        let frame = json!({"id": 1, "workload": "combat", "function": "resolve", "args": [1], "idempotency_key": "k"});
        let call = Call::read(&encode(&frame)).expect("a sound frame");
        assert_eq!(call.options.request, Some(call_id("combat", "resolve", b"k", &json!([1]))));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_id_comes_back() {
        let check = |frame: Value, id: Value, code: &str, field: Option<&str>| {
            let refused = Call::read(&encode(&frame)).expect_err("refused");
            let answer = decode(&refusal(&refused)).expect("CBOR");
            let error = &answer["error"];
            assert_eq!(
                (&answer["id"], &error["code"], error["field"].as_str()),
                (&id, &json!(code), field),
                "{answer}"
            );
        };
        let sound = || json!({"id": 3, "workload": "w", "function": "f", "args": []});
        let with = |field: &str, value: Value| {
            let mut frame = sound();
            frame[field] = value;
            frame
        };
        check(json!([1]), Value::Null, "malformed_cbor", None);
        check(with("id", json!(null)), Value::Null, "wrong_type", Some("id"));
        check(with("id", json!("x".repeat(65))), Value::Null, "wrong_type", Some("id"));
        check(with("workload", json!(5)), json!(3), "wrong_type", Some("workload"));
        check(with("args", json!("x")), json!(3), "wrong_type", Some("args"));
        check(with("deadline_ms", json!(0)), json!(3), "bad_parameter", Some("deadline_ms"));
        check(with("idempotency_key", json!("")), json!(3), "bad_parameter", Some("idempotency_key"));
        check(json!({"id": 3, "function": "f"}), json!(3), "missing_field", Some("workload"));
        check(json!({"function": "f", "workload": "w"}), Value::Null, "missing_field", Some("id"));
        check(json!({"id": 3, "more": 1}), json!(3), "unknown_field", Some("more"));
        let twice = Call::read(b"\xa2\x62id\x01\x62id\x02").expect_err("refused");
        assert_eq!((twice.id, twice.error.code()), (json!(1), "malformed_cbor"));
        let cut = encode(&sound());
        let refused = Call::read(&cut[..cut.len() - 1]).expect_err("refused");
        assert_eq!(refused.error.code(), "malformed_cbor");
        let large = Call::read(&vec![0; FRAME_BYTES_MAX + 1]).expect_err("refused");
        assert_eq!(large.error.code(), "frame_too_large");
    }

    #[test]
    fn no_bytes_break_it() {
        let args = json!([[{"zone": u64::MAX, "x": 0.5, "name": "caf\u{e9}", "none": null}], {"a": [true, -1]}]);
        let sound = encode(&json!({"id": "x", "workload": "w", "function": "f", "args": args, "deadline_ms": 20}));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("it is below a usize")
        };
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..50_000 {
            let mut bytes = sound.clone();
            for _ in 0..=draw(3) {
                let at = draw(bytes.len());
                match draw(4) {
                    0 => bytes[at] = u8::try_from(draw(256)).expect("a byte"),
                    1 => bytes.insert(at, u8::try_from(draw(256)).expect("a byte")),
                    2 => bytes.truncate(at + 1),
                    _ => bytes[at] ^= 1 << draw(8),
                }
            }
            match Call::read(&bytes) {
                Ok(_) => taken += 1,
                Err(wrong) => {
                    refused += 1;
                    decode(&refusal(&wrong)).expect("the answer is sound");
                }
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }
}
