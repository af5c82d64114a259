use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::cli::fake::{Say, ok, serve, serve_unix};

const SHORT: Duration = Duration::from_millis(100);

fn client(addr: ApiAddr) -> Client {
    Client::new(addr, PATIENCE_DEFAULT, None)
}

#[tokio::test]
async fn several_requests_share_one_connection() {
    let (addr, log) = serve(|seen| ok(&json!({ "asked": seen.line }))).await;
    let mut client = client(addr);
    assert_eq!(client.json(Ask::get("/v1/status")).await.unwrap(), json!({"asked": "GET /v1/status"}));
    let posted = client.json(Ask::post("/v1/state/gcounter/kills", &json!({"increment": 5}))).await.unwrap();
    assert_eq!(posted, json!({"asked": "POST /v1/state/gcounter/kills"}));
    assert_eq!(log.lock().unwrap()[1].body, r#"{"increment":5}"#);
}

#[tokio::test]
async fn a_unix_socket_works_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let log = serve_unix(&path, |_| ok(&json!(1))).await;
    assert_eq!(client(ApiAddr::Unix(path)).json(Ask::get("/healthz")).await.unwrap(), json!(1));
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_token_is_found_and_sent_once_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api-token");
    let token = "5a".repeat(32);
    std::fs::write(&path, &token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (wanted, file) = (token.clone(), path.display().to_string());
    let (addr, log) = serve(move |seen| match &seen.token {
        Some(token) if *token == wanted => ok(&json!("done")),
        Some(_) => Say::Answer(401, "", "{}".to_owned()),
        None => Say::Answer(401, "", json!({"error": {"message": "no token", "token_file": file}}).to_string()),
    })
    .await;
    let mut client = client(addr);
    assert_eq!(client.json(Ask::delete("/v1/workloads/a")).await.unwrap(), json!("done"));
    assert_eq!(client.json(Ask::delete("/v1/workloads/b")).await.unwrap(), json!("done"));
    let tokens: Vec<_> = log.lock().unwrap().iter().map(|seen| seen.token.is_some()).collect();
    assert_eq!(tokens, [false, true, true], "retried once, and kept for what follows");
}

#[tokio::test]
async fn a_wrong_token_is_not_retried() {
    let (addr, log) =
        serve(|_| Say::Answer(401, "", json!({"error": {"message": "no", "token_file": "/x/api-token"}}).to_string()))
            .await;
    let mut client = Client::new(addr, PATIENCE_DEFAULT, Some("wrong".to_owned()));
    let error = client.json(Ask::delete("/v1/workloads/a")).await.unwrap_err();
    assert_eq!((error.exit_code(), log.lock().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_file_that_is_no_token_stays_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id_ed25519");
    std::fs::write(&path, "ab".repeat(32)).unwrap();
    let file = path.display().to_string();
    let (addr, log) =
        serve(move |_| Say::Answer(401, "", json!({"error": {"message": "no", "token_file": file}}).to_string())).await;
    let error = client(addr).json(Ask::delete("/v1/workloads/a")).await.unwrap_err();
    assert!(error.to_string().contains("not named api-token"), "{error}");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = client(ApiAddr::Tcp { host: "127.0.0.1".to_owned(), port }).json(Ask::get("/")).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    let error = client(ApiAddr::Unix("/nowhere/api.sock".into())).json(Ask::get("/")).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

#[tokio::test]
async fn silence_times_out() {
    let (addr, _) = serve(|_| Say::Silence).await;
    let error = Client::new(addr, SHORT, None).json(Ask::get("/v1/status")).await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(error.to_string().contains("GET /v1/status"), "{error}");
}

#[tokio::test]
async fn a_refusal_carries_its_field_and_hint() {
    let body =
        json!({"error": {"code": "wrong_type", "message": "not a number", "field": "increment", "hint": "send 5"}});
    let (addr, _) = serve(move |_| Say::Answer(422, "", body.to_string())).await;
    let error = client(addr).json(Ask::post("/v1/state/gcounter/a", &json!({}))).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.to_string(), "not a number (wrong_type)\n  field: increment\n  hint: send 5");
}

#[tokio::test]
async fn a_broken_connection_is_reported_and_a_change_is_not_repeated() {
    let (addr, log) = serve(|_| Say::Hangup).await;
    let mut client = client(addr);
    let error = client.json(Ask::post("/v1/state/gcounter/a", &json!({"increment": 1}))).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("unknown"), "{error}");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn another_program_is_told_apart() {
    let (addr, _) = serve(|_| Say::Answer(200, "", "<html>".to_owned())).await;
    let error = client(addr).json(Ask::get("/v1/status")).await.unwrap_err();
    assert!(error.to_string().contains("is not what an agent says"), "{error}");
}

#[tokio::test]
async fn headers_of_a_call_are_kept() {
    let (addr, _) =
        serve(|_| Say::Answer(200, "selvedge-node: n1\r\nselvedge-commit: r.1/7\r\n", "[]".to_owned())).await;
    let answer = client(addr).ask(&Ask::post("/v1/workloads/a/call/f", &json!([])), PATIENCE_DEFAULT).await.unwrap();
    assert_eq!(answer.commit.as_deref(), Some("r.1/7"));
}

#[tokio::test]
async fn who_names_a_workload_that_is_not_there_hears_which_are() {
    let (addr, _) = serve(|seen| match seen.line.as_str() {
        "GET /v1/workloads" => ok(&json!([{"name": "combat"}, {"name": "prediction"}])),
        _ => Say::Answer(
            404,
            "",
            json!({"error": {"code": UNKNOWN_WORKLOAD, "message": "there is no workload `x`"}}).to_string(),
        ),
    })
    .await;
    let mut client = client(addr);
    for (ask, hint) in [
        (Ask::get("/v1/workloads/combta/placement"), "did you mean combat?"),
        (Ask::post("/v1/workloads/x/call/f", &json!([])), "there are combat, prediction"),
    ] {
        let error = client.json(ask).await.unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(&format!("hint: {hint}")), "{error}");
    }
}
