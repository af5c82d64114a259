use serde_json::json;

use super::*;
use crate::cli::fake::{Say, ok, serve};
use crate::demo::cluster::Agent;

/// An agent that holds commits of `r.1` up to `seq`, and `kills` in its counter.
async fn agent(name: &str, seq: u64, kills: i64) -> Agent {
    let (api, _) = serve(move |seen| match seen.line.trim_start_matches("GET ").rsplit_once('/') {
        Some(("/v1/commits/r.1", asked)) if asked.parse::<u64>().unwrap() <= seq => ok(&json!({"durable": true})),
        Some(("/v1/state/gcounter", "kills")) => ok(&json!({"key": "gcounter/kills", "value": kills})),
        _ => Say::Answer(404, "", json!({"error": {"message": "none"}}).to_string()),
    })
    .await;
    Agent { name: name.to_owned(), api, token: String::new() }
}

fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.count("gcounter/kills".into(), 7);
    tally.count("pncounter/untouched".into(), 0);
    for seq in (1..=100).filter(|seq| seq % 3 != 0) {
        tally.acknowledge(&format!("r.1/{seq}")).unwrap();
    }
    tally.settle();
    tally
}

#[tokio::test]
async fn agents_that_keep_their_word_are_found_to() {
    let mut mesh = Mesh::new(&[agent("a", 100, 7).await, agent("b", 250, 7).await]);
    assert_eq!(verify(&mut mesh, &tally()).await, Findings { counters: 2, ..Findings::default() });
}

#[tokio::test]
async fn what_one_agent_lacks_is_lost() {
    for (seq, lost) in [(99, 1), (97, 2), (50, 33), (1, 66), (0, 67)] {
        let mut mesh = Mesh::new(&[agent("a", 100, 7).await, agent("b", seq, 7).await]);
        assert_eq!(verify(&mut mesh, &tally()).await.lost, lost, "up to {seq}");
    }
}

#[tokio::test]
async fn a_counter_that_is_off_is_named_with_its_agent() {
    let mut mesh = Mesh::new(&[agent("a", 100, 7).await, agent("b", 100, 6).await]);
    let findings = verify(&mut mesh, &tally()).await;
    assert_eq!((findings.mismatched, findings.mismatches), (1, vec!["b: gcounter/kills reads 6, not 7".to_owned()]));
}

#[tokio::test]
async fn an_agent_that_is_gone_does_not_agree() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let api = crate::cli::ApiAddr::Tcp { host: "127.0.0.1".to_owned(), port };
    let gone = Agent { name: "b".to_owned(), api, token: String::new() };
    let mut mesh = Mesh::new(&[agent("a", 100, 7).await, gone]);
    let findings = verify(&mut mesh, &tally()).await;
    assert_eq!((findings.lost, findings.mismatched, findings.errors.len()), (67, 2, 3));
}
