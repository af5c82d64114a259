//! CBOR on the call route, and recordings.

use serde_json::{Value, json};

use super::client::{Answer, Ask, post};
use super::fake::RECORDING;
use super::serve;
use crate::encoding::cbor::{decode, encode};

const CALL: &str = "/v1/workloads/combat/call/resolve";
const CBOR: &str = "application/cbor";

fn sent(path: &str, body: &Value) -> Ask {
    post(path, encode(body)).header("content-type", CBOR)
}

fn is_cbor(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some(CBOR), "{answer:?}");
    decode(&answer.bytes).expect("CBOR")
}

#[tokio::test]
async fn a_call_takes_and_gives_cbor() {
    let api = serve().await;
    let arguments = json!([[{"zone": 9_007_199_254_740_993_u64, "seed": u64::MAX, "x": 0.1, "name": "caf\u{e9}"}]]);
    let answer = api.ask(sent(CALL, &arguments)).await;
    assert_eq!((answer.status, is_cbor(&answer)), (200, arguments.clone()));
    assert!(answer.header("selvedge-node").is_some() && answer.header("selvedge-commit").is_some());
    // Bytes stand for the list of their numbers.
    let bytes = b"\x81\x43\x01\x02\xff".to_vec();
    let answer = api.ask(post(CALL, bytes).header("content-type", CBOR)).await;
    assert_eq!(is_cbor(&answer), json!([[1, 2, 255]]));
    let nothing = api.ask(post(CALL, "").header("content-type", CBOR)).await;
    assert_eq!((nothing.status, is_cbor(&nothing)), (200, json!([])));
}

#[tokio::test]
async fn the_answer_has_the_form_that_is_asked_for() {
    let api = serve().await;
    let arguments = json!([1]);
    let from_json = || post(CALL, "[1]");
    let json = api.ask(sent(CALL, &arguments).header("accept", "application/json")).await;
    assert_eq!((json.header("content-type"), json.json()), (Some("application/json"), arguments.clone()));
    let cbor = api.ask(from_json().header("accept", "text/plain, application/cbor;q=0.9")).await;
    assert_eq!(is_cbor(&cbor), arguments);
    assert_eq!(api.ask(sent(CALL, &arguments).header("accept", "*/*")).await.status, 200);
    assert_eq!(api.ask(from_json().header("accept", "*/*")).await.json(), arguments);
}

#[tokio::test]
async fn errors_have_the_same_names_in_cbor() {
    let api = serve().await;
    let check = async |ask: Ask, status: u16, code: &str, field: Option<&str>| {
        let answer = api.ask(ask).await;
        let error = &is_cbor(&answer)["error"];
        assert_eq!((answer.status, error["code"].as_str(), error["field"].as_str()), (status, Some(code), field));
        error["message"].as_str().expect("a message").to_owned()
    };
    check(sent("/v1/workloads/combat/call/nope", &json!([])), 404, "unknown_function", Some("function")).await;
    check(sent(CALL, &json!(5)), 422, "wrong_type", Some("body")).await;
    let cut = post(CALL, b"\x82\x01".to_vec()).header("content-type", CBOR);
    let message = check(cut, 400, "malformed_cbor", Some("body")).await;
    assert!(message.contains("at byte 2: the document ends too early"), "{message}");
    check(sent(CALL, &json!([])).header("host", "evil.example"), 403, "foreign_host", Some("host")).await;
    check(sent(CALL, &json!([])).header("authorization", "Bearer no"), 401, "unauthorized", Some("authorization"))
        .await;
}

#[tokio::test]
async fn a_recorded_call_answers_its_recording() {
    let api = serve().await;
    let answer = api.ask(post(&format!("{CALL}?record=true"), "[]")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, RECORDING));
    assert!(answer.header("selvedge-commit").is_some());
    assert_eq!(api.ask(post(&format!("{CALL}?record=maybe"), "[]")).await.status, 400);
    assert_eq!(api.ask(post(&format!("{CALL}?recrod"), "[]")).await.status, 400);
}

#[tokio::test]
async fn a_call_that_nobody_recorded_says_so_and_what_it_wrote() {
    let api = serve().await;
    let answer = api.ask(post("/v1/workloads/combat/call/read-only?record=true", "[]")).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("not_recorded")));
}
