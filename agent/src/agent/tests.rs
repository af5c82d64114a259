//! A whole agent in this process, whose driver hangs or which is drained: whoever looks is answered, and told so.

mod releases;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{AgentError, Inside, run_with};
use crate::config::{Config, Overrides};
use crate::runtime_info::RuntimeInfo;
use crate::view::StateView;

/// Far beyond what any step takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A pass that does not end until it is told to.
struct Hang {
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Hang {
    fn begin(view: &StateView) -> Self {
        let (end, ended) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let view = view.clone();
        let thread = std::thread::spawn(move || {
            let _replica = view.hold();
            begun.send(()).expect("the test waits for it");
            // A test that failed has dropped its end.
            assert!(ended.recv().is_err(), "nothing is ever sent");
        });
        has_begun.recv_timeout(DEADLINE).expect("the state is free now and then");
        Self { end, thread }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().expect("no panic");
    }
}

fn alone(folder: &Path) -> Config {
    let file = folder.join("selvedge.toml");
    std::fs::write(&file, "[net]\nlisten = [\"127.0.0.1:0\"]\n[api]\nlisten = [\"127.0.0.1:0\"]\n").expect("written");
    let data_dir = Some(folder.join("data"));
    Config::load(Some(&file), Overrides { data_dir, ..Overrides::default() }).expect("a configuration")
}

/// Status and body of an answer.
async fn look(address: &str, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path}"), "").await
}

/// The same of a request with these header lines.
async fn ask(address: &str, path: &str, lines: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("{path} waits for the driver"))
}

/// Looks until the status is this one, and gives the body.
async fn look_until(address: &str, path: &str, status: u16) -> String {
    let begun = Instant::now();
    loop {
        let (now, body) = look(address, path).await;
        if now == status {
            return body;
        }
        assert!(begun.elapsed() < DEADLINE, "{path} stays at {now}: {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An agent that runs.
struct Running {
    inside: Inside,
    address: String,
    info: RuntimeInfo,
    data_dir: PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), AgentError>>,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = alone(folder.path());
        let data_dir = config.node.data_dir.clone();
        let (stop, (tell, inside)) = (CancellationToken::new(), oneshot::channel());
        let task = tokio::spawn(run_with(config, stop.clone(), |inside| drop(tell.send(inside))));
        let inside = tokio::time::timeout(DEADLINE, inside).await.expect("in time").expect("it runs");
        let info = RuntimeInfo::read(&data_dir).expect("read").expect("it says where it is");
        let address = info.api.iter().find_map(|api| api.strip_prefix("http://")).expect("an address").to_owned();
        Self { inside, address, info, data_dir, stop, task, _folder: folder }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("it ends in good order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_drained_is_well_and_sends_traffic_elsewhere() {
    let agent = Running::begin().await;
    look_until(&agent.address, "/readyz", 200).await;
    let token = std::fs::read_to_string(agent.data_dir.join("api-token")).expect("there is a token");
    let lines = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", token.trim());
    let (status, body) = ask(&agent.address, "POST /v1/drain", &lines).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = look(&agent.address, "/readyz").await;
    assert!(status == 503 && body.contains("this agent is being drained"), "{status} {body}");
    assert_eq!(look(&agent.address, "/healthz").await.0, 200, "nothing is wrong with it");
    let lines = lines.replace("Content-Length: 0", "Content-Type: application/json\r\nContent-Length: 12")
        + "\r\n{\"off\":true}";
    let (status, body) = ask(&agent.address, "POST /v1/drain", &lines).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(look(&agent.address, "/readyz").await.0, 200);
    agent.end().await;
}

/// As few threads as an agent has on the smallest host: whoever blocks one is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_is_answered_while_the_driver_hangs_and_told_so() {
    let agent = Running::begin().await;
    let (address, info) = (agent.address.as_str(), &agent.info);
    assert_eq!(look(address, "/healthz").await.0, 200);

    let hang = Hang::begin(&agent.inside.view);
    let body = look_until(address, "/healthz", 503).await;
    assert!(body.contains("the driver has made no pass for"), "{body}");
    for (path, expect) in [("/v1/status", 200), ("/readyz", 503), ("/", 200)] {
        let (status, body) = look(address, path).await;
        assert!(status == expect && body.contains("the driver has made no pass for"), "{path}: {status} {body}");
    }
    assert!(look(address, "/v1/status").await.1.contains(&info.node));
    let (status, body) = look(address, "/metrics").await;
    assert!(status == 200 && body.contains("\nselvedge_healthy 0\n"), "{body}");

    hang.end();
    look_until(address, "/healthz", 200).await;
    agent.end().await;
}
