//! A whole agent in this process, whose driver hangs: whoever looks is answered, and told so.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Inside, run_with};
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
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| panic!("{path} waits for the driver"))
}

/// As few threads as an agent has on the smallest host: whoever blocks one is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_is_answered_while_the_driver_hangs_and_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = alone(folder.path());
    let data_dir = config.node.data_dir.clone();
    let (stop, (tell, inside)) = (CancellationToken::new(), oneshot::channel());
    let agent = tokio::spawn(run_with(config, stop.clone(), |inside| drop(tell.send(inside))));
    let Inside { view, .. } = tokio::time::timeout(DEADLINE, inside).await.expect("in time").expect("it runs");
    let info = RuntimeInfo::read(&data_dir).expect("read").expect("it says where it is");
    let address = info.api.iter().find_map(|api| api.strip_prefix("http://")).expect("an address").to_owned();
    assert_eq!(look(&address, "/healthz").await.0, 200);

    let hang = Hang::begin(&view);
    let begun = Instant::now();
    let (status, body) = loop {
        let answer = look(&address, "/healthz").await;
        if answer.0 != 200 || begun.elapsed() > DEADLINE {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status == 503 && body.contains("the driver has made no pass for"), "{status} {body}");
    let (status, body) = look(&address, "/v1/status").await;
    assert!(status == 200 && body.contains("the driver has made no pass for") && body.contains(&info.node), "{body}");
    let (status, body) = look(&address, "/metrics").await;
    assert!(status == 200 && body.contains("\nselvedge_healthy 0\n"), "{body}");
    let (status, body) = look(&address, "/").await;
    assert!(status == 200 && body.contains("the driver has made no pass for"), "{body}");

    hang.end();
    let begun = Instant::now();
    while look(&address, "/healthz").await.0 != 200 {
        assert!(begun.elapsed() < DEADLINE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    agent.await.expect("no panic").expect("it ends in good order");
}
