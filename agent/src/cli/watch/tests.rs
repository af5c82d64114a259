use super::*;
use crate::cli::fake::{Say, serve};

fn event(id: Option<&str>, kind: &str, data: &str) -> Event {
    Event { id: id.map(str::to_owned), kind: kind.to_owned(), data: data.to_owned() }
}

#[test]
fn events_are_read_however_they_are_cut() {
    let text =
        ": hello\nid: 1-2\n\nid: 1-3\r\nevent: commit\r\ndata: {\"a\":\ndata: 1}\n\nretry: 5\ndata:x\n\nid: 1-9\n";
    let expect = [event(Some("1-2"), "", ""), event(Some("1-3"), "commit", "{\"a\":\n1}"), event(None, "", "x")];
    for size in [1, 2, 3, 7, text.len()] {
        let mut events = Events::default();
        let pieces = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        let read: Vec<_> = pieces.flat_map(|piece| events.take(&piece).expect("events")).collect();
        assert_eq!(read, expect, "in pieces of {size}; what is not complete does not count");
    }
    assert!(Events::default().take(&Bytes::from_static(b"\xff\n")).is_err());
    assert!(Events::default().take(&Bytes::from(vec![b'x'; EVENT_BYTES_MAX + 1])).is_err());
}

#[test]
fn each_key_is_a_line() {
    let data = json!({
        "keys": ["gcounter/kills", "gset/large", "orset/gone"],
        "values": {"gcounter/kills": 5, "orset/gone": null},
        "replica": "r.1", "seq": 9, "hlc": "1000.0",
    });
    let text = ["gcounter/kills 5", "gset/large (large; see `selvedge get gset/large`)", "orset/gone null"];
    assert_eq!(changes(&data, Some("1-3"), false), text);
    let lines = changes(&data, Some("1-3"), true);
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = json!({"event": "commit", "id": "1-3", "key": "gcounter/kills", "value": 5, "replica": "r.1", "seq": 9, "hlc": "1000.0"});
    assert_eq!(lines[0], first);
    assert_eq!((lines[1].get("value"), lines[2].get("value")), (None, Some(&Value::Null)));
}

fn watching(addr: ApiAddr) -> Watching {
    Watching { addr, ask: Ask::get("/v1/events?prefix="), patience: Duration::from_secs(10), json: false }
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let stream = "id: 1-7\n\nid: 1-8\nevent: commit\ndata: {\"keys\":[]}\n\nid: 1-9\nevent: commit";
    let (addr, log) = serve(move |seen| match seen.headers.iter().any(|header| header.starts_with("last-event-id")) {
        false => Say::Answer(200, "connection: close\r\n", stream.to_owned()),
        true => Say::Answer(410, "", json!({"error": {"message": "enough"}}).to_string()),
    })
    .await;
    let error = watching(addr).run().await.err().expect("the second answer is a refusal");
    assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "enough"));
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 2);
    assert!(log[1].headers.contains(&"last-event-id: 1-8".to_owned()), "{:?}", log[1].headers);
}

#[tokio::test]
async fn a_first_attempt_that_fails_is_the_last() {
    let refused = |status| move |_: &_| Say::Answer(status, "", json!({"error": {"message": "no"}}).to_string());
    for (status, code) in [(400, 1), (429, 1), (504, 4)] {
        let (addr, log) = serve(refused(status)).await;
        let error = watching(addr).run().await.err().expect("refused");
        assert_eq!((error.exit_code(), log.lock().unwrap().len()), (code, 1), "{status}");
    }
    let error = watching(ApiAddr::Unix("/nowhere/api.sock".into())).run().await.err().expect("nobody there");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn a_prefix_of_no_key_is_wrong_usage() {
    let client = crate::cli::args::ClientArgs { api: None, json: false, timeout: None };
    let args = WatchPrefixArgs { prefix: "counter/kills".to_owned(), client };
    let error = watch(&args, ApiAddr::Unix("/nowhere".into())).await.expect_err("no such type");
    assert_eq!(error.exit_code(), 2, "{error}");
}
