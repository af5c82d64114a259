use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

const ASKED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNASKED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const WHAT: (&str, &str) = ("combat", "resolve");

fn context(text: &str) -> Option<Context> {
    text.parse().ok()
}

fn to(address: &str) -> (Traces, Exporter) {
    let about = About { node: "12D3", name: "kiosk", region: "eu", version: "0.1.0" };
    Traces::to(address.parse().expect("an address"), &about)
}

#[test]
fn a_context_reads_as_its_standard_says() {
    for sound in [ASKED, UNASKED] {
        assert_eq!(context(sound).expect("it is sound").to_string(), sound);
    }
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-comes-later";
    assert_eq!(context(later), context(ASKED), "a later version is read as far as this one goes");
    for wrong in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7--01",
        "0é-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(context(wrong), None, "{wrong}");
    }
}

#[test]
fn a_collector_has_an_address_and_may_have_a_path() {
    for (text, whole) in [
        ("http://collector", "http://collector:4318/v1/traces"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/v1/traces"),
        ("http://[::1]", "http://[::1]:4318/v1/traces"),
        ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp/v1/traces"),
    ] {
        assert_eq!(text.parse::<Collector>().expect(text).to_string(), whole);
    }
    for wrong in [
        "",
        "collector:4318",
        "https://collector",
        "http://",
        "http://:4318",
        "http://a:0",
        "http://a b",
        "http://u@a",
        "http://a:x",
    ] {
        assert!(wrong.parse::<Collector>().is_err(), "{wrong}");
    }
}

#[test]
fn without_a_collector_a_context_is_passed_on_as_it_came() {
    let traces = Traces::default();
    for asked in [None, context(ASKED), context(UNASKED)] {
        assert_eq!(traces.entry(asked, WHAT, Instant::now()).context(), asked);
        assert_eq!(traces.child(asked, Step::Run, WHAT, Instant::now()).context(), asked);
    }
    assert_eq!(traces.lost(), Lost::default());
}

#[test]
fn a_caller_decides_and_without_one_a_few_calls_in_a_second_are_traced() {
    let (traces, _exporter) = to("http://127.0.0.1:9");
    let within = traces.entry(context(ASKED), WHAT, Instant::now()).context().expect("it is traced");
    assert_eq!(within.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(within.span_id(), "00f067aa0ba902b7");
    assert_eq!(traces.entry(context(UNASKED), WHAT, Instant::now()).context(), context(UNASKED));
    let begun = (0..1_000).filter(|_| traces.entry(None, WHAT, Instant::now()).context().is_some()).count();
    // The second may have ended meanwhile.
    assert!((UNASKED_PER_SECOND_MAX as usize..100).contains(&begun), "{begun}");
}

#[test]
fn spans_that_find_no_room_are_counted_and_nobody_waits() {
    let (traces, _exporter) = to("http://127.0.0.1:9");
    for _ in 0..QUEUE_SPANS_MAX + 3 {
        traces.entry(context(ASKED), WHAT, Instant::now()).end(None);
    }
    assert_eq!(traces.lost(), Lost { unqueued: 3, unsent: 0 });
}

/// Answers one request with `status`, and returns it.
async fn collect(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut read = String::new();
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).await.expect("read");
        assert!(count > 0, "it ends early: {read}");
        read += std::str::from_utf8(&buffer[..count]).expect("text");
        let length = read.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if let (Some((_, body)), Some(length)) = (read.split_once("\r\n\r\n"), length)
            && body.len() >= length.parse().expect("a length")
        {
            break;
        }
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.expect("written");
    read
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_what_follows_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let (traces, exporter) = to(&format!("http://{}", listener.local_addr().expect("an address")));
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    let call = traces.entry(context(ASKED), WHAT, Instant::now());
    let run = traces.child(call.context(), Step::Run, WHAT, Instant::now());
    let (call_id, run_id) = [&call, &run].map(|span| span.context().expect("it is traced").span_id()).into();
    run.end(Some("trap"));
    drop(call);
    let refused = collect(&listener, "503 Busy").await;
    assert!(refused.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{refused}");
    traces.entry(context(ASKED), WHAT, Instant::now()).end(None);
    stop.cancel();
    let taken = collect(&listener, "200 OK").await;
    running.await.expect("it ends");
    assert_eq!(traces.lost(), Lost { unqueued: 0, unsent: 2 });
    let spans = |request: &str| -> Vec<serde_json::Value> {
        let body = request.split_once("\r\n\r\n").expect("a body").1;
        let document: serde_json::Value = serde_json::from_str(body).expect("JSON");
        document["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
    };
    let [run, call] = &spans(&refused)[..] else { panic!("{refused}") };
    assert_eq!((&run["spanId"], &run["parentSpanId"]), (&run_id.into(), &call_id.clone().into()));
    assert_eq!((&call["spanId"], &call["parentSpanId"]), (&call_id.into(), &"00f067aa0ba902b7".into()));
    assert_eq!((&run["name"], &run["status"]["code"]), (&"run combat/resolve".into(), &2.into()));
    assert!(call["attributes"].to_string().contains("cancelled"), "{call}");
    assert_eq!(spans(&taken)[0]["status"], serde_json::json!({}));
}
