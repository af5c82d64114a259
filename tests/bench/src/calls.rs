//! Calls over the local API: a whole agent in this process, a web server that echoes, and clients of both.
//!
//! Everybody has a runtime of its own. A client keeps its bytes ready and reads answers without decoding them, so that what is
//! measured is the agent and what lies between, not how fast somebody writes JSON. A guest that the machine has left alone for its
//! whole deadline is one that took so long; a run with more than a few of those is none.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use selvedge::runtime_info::{FILE_NAME, RuntimeInfo};
use selvedge::shipped::shipped;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::field::agents::Agents;
use crate::field::{Wire, runtime};

/// How long a workload may take until it can be called.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(60);

/// Ids of frames begin here, so that each has the same length.
const FIRST_ID: u64 = 1 << 40;

/// Where the eight bytes of an id stand in a frame and in its answer: behind `{id:` and the head of the number.
const ID_AT: std::ops::Range<usize> = 5..13;

/// What follows the id in an answer that is no error.
const RESULT: &[u8] = b"\x66result";

/// What an error says of a call whose time was over.
const DEADLINE: &[u8] = b"deadline_exceeded";

/// Of so many calls, one may run into its deadline: the machine is shared.
const LATE_SHARE: usize = 500;

/// An agent with the shipped workloads.
pub(crate) struct Ours {
    api: SocketAddr,
    token: String,
    _agents: Agents,
}

/// A server on the same web framework that answers what it was sent.
pub(crate) struct Echo {
    address: SocketAddr,
    _runtime: Runtime,
}

/// A call in both its forms.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) json: Bytes,
    frame: Vec<u8>,
}

/// What some calls took.
pub(crate) struct Load {
    /// Calls per second.
    pub(crate) rate: f64,
    /// Each one, in microseconds.
    pub(crate) took: Vec<f64>,
}

/// A keep-alive connection.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: String,
}

impl Call {
    /// A prediction for one player: it writes nothing.
    pub(crate) fn prediction() -> Self {
        let sample = |t: u32| json!({"t_ms": t, "x": f64::from(t) / 100.0, "y": 2.0, "z": 0.0});
        let samples: Vec<Value> = (0..4).map(|at| sample(at * 50)).collect();
        Self::new("prediction", "predict", &json!([[{"player": 7, "samples": samples, "horizon_ms": 100}]]))
    }

    /// A duel: it reads and writes the shared state, in one commit.
    pub(crate) fn duel() -> Self {
        let fighter = |id: u64, tactic: &str| json!({"id": id, "focus": 9, "perception": 8, "reason": 7, "belief": 6, "vitality": 5, "tactic": tactic, "health": 100});
        let duel = json!({"zone": 3, "seed": 11, "a": fighter(1, "power"), "b": fighter(2, "grab")});
        Self::new("combat", "resolve", &json!([[duel]]))
    }

    fn new(workload: &str, function: &str, args: &Value) -> Self {
        #[derive(serde::Serialize)]
        struct Frame<'a> {
            id: u64,
            workload: &'a str,
            function: &'a str,
            args: &'a Value,
        }
        let mut frame = Vec::new();
        ciborium::into_writer(&Frame { id: FIRST_ID, workload, function, args }, &mut frame).expect("memory takes it");
        let path = format!("/v1/workloads/{workload}/call/{function}");
        Self { path, json: args.to_string().into(), frame }
    }

    fn frame(&self, number: u64) -> Message {
        let mut frame = self.frame.clone();
        frame[ID_AT].copy_from_slice(&(FIRST_ID + number).to_be_bytes());
        Message::Binary(frame.into())
    }
}

impl Ours {
    /// Starts an agent with its data below `dir` and waits until its workloads can be called.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let agents = Agents::start(dir, 1, Wire::Quic)?;
        let data_dir = agents.data_dir(0);
        let (api, token) = door(&data_dir)?;
        let ours = Self { api, token, _agents: agents };
        client()?.block_on(ours.deploy())?;
        Ok(ours)
    }

    async fn deploy(&self) -> Result<()> {
        let mut http = self.http().await?;
        for (name, wasm) in shipped() {
            let stored = http.ask(Method::PUT, "/v1/artifacts", wasm.into()).await?;
            let digest = serde_json::from_slice::<Value>(&stored)?["digest"].clone();
            let spec = json!({"artifact": digest, "replicas": 1}).to_string();
            http.ask(Method::PUT, &format!("/v1/workloads/{name}"), spec.into()).await?;
        }
        let deadline = Instant::now() + DEPLOY_PATIENCE;
        for call in [Call::prediction(), Call::duel()] {
            while http.post(&call).await.is_err() {
                ensure!(Instant::now() < deadline, "{} cannot be called", call.path);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Where its API listens.
    pub(crate) const fn api(&self) -> SocketAddr {
        self.api
    }

    /// What its API wants to be shown for a change.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn http(&self) -> Result<Http> {
        Http::open(self.api, &self.token).await
    }

    pub(crate) async fn stream(&self) -> Result<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{}/v1/stream", self.api).into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse()?);
        let stream = TcpStream::connect(self.api).await?;
        stream.set_nodelay(true)?;
        Ok(client_async(request, stream).await?.0)
    }
}

impl Echo {
    pub(crate) fn start() -> Result<Self> {
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let echo = async |body: Bytes| ([("content-type", "application/json")], body);
        let router = Router::new().route("/{*path}", post(echo));
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            stream.set_nodelay(true).expect("an open socket takes the option");
        });
        drop(runtime.spawn(async move { axum::serve(listener, router).await }));
        Ok(Self { address, _runtime: runtime })
    }

    pub(crate) async fn http(&self) -> Result<Http> {
        Http::open(self.address, "").await
    }
}

impl Http {
    pub(crate) async fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        drop(tokio::spawn(connection));
        Ok(Self { sender, host: address.to_string(), token: format!("Bearer {token}") })
    }

    /// Makes a call and reads its answer. Tells whether it was in time.
    pub(crate) async fn post(&mut self, call: &Call) -> Result<bool> {
        let (status, body) = self.exchange(Method::POST, &call.path, call.json.clone()).await?;
        ensure!(status.is_success() || is_late(&body), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(status.is_success())
    }

    /// Asks for something that must be given.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, body) = self.exchange(method, path, body).await?;
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    pub(crate) async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        let request = request.header("authorization", &self.token).header("content-type", "application/json");
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Deploys a workload at the agent whose data lies there, with what else its spec says, and returns the deployment's name.
pub(crate) fn deploy(data_dir: &Path, name: &str, wasm: &[u8], mut spec: Value) -> Result<String> {
    let (api, token) = door(data_dir)?;
    client()?.block_on(async {
        let mut http = Http::open(api, &token).await?;
        let stored = http.ask(Method::PUT, "/v1/artifacts", wasm.to_vec().into()).await?;
        spec["artifact"] = serde_json::from_slice::<Value>(&stored)?["digest"].clone();
        let set = http.ask(Method::PUT, &format!("/v1/workloads/{name}"), spec.to_string().into()).await?;
        let set = serde_json::from_slice::<Value>(&set)?;
        Ok(set["deployment"].as_str().context("no deployment's name")?.to_owned())
    })
}

/// Where an agent's API listens and the token for it, as its data directory says.
pub(crate) fn door(data_dir: &Path) -> Result<(SocketAddr, String)> {
    let info: RuntimeInfo = serde_json::from_slice(&std::fs::read(data_dir.join(FILE_NAME))?)?;
    let api = info.api.iter().find_map(|api| api.strip_prefix("http://")).context("an API over TCP")?.parse()?;
    Ok((api, std::fs::read_to_string(data_dir.join("api-token"))?.trim().to_owned()))
}

/// A runtime for clients: one thread, as a game server would spare it.
pub(crate) fn client() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Makes `calls` calls over each of the connections at once, one after another on each.
pub(crate) async fn over_http(connections: &mut [Http], call: &Call, calls: usize) -> Result<Load> {
    let begun = Instant::now();
    let each = connections.iter_mut().map(async |http| {
        let (mut took, mut late) = (Vec::with_capacity(calls), 0);
        for _ in 0..calls {
            let begun = Instant::now();
            late += usize::from(!http.post(call).await?);
            took.push(micros(begun));
        }
        anyhow::Ok((took, late))
    });
    let (took, late): (Vec<_>, Vec<_>) = futures::future::try_join_all(each).await?.into_iter().unzip();
    Load::of(took.concat(), late.into_iter().sum(), begun)
}

/// Makes `calls` calls over one stream, `depth` of them under way at any time.
pub(crate) async fn over_stream(
    stream: &mut WebSocketStream<TcpStream>,
    call: &Call,
    calls: usize,
    depth: usize,
) -> Result<Load> {
    let begun = Instant::now();
    let mut sent: Vec<Instant> = Vec::with_capacity(calls);
    let (mut took, mut late) = (Vec::with_capacity(calls), 0);
    while took.len() < calls {
        while sent.len() < calls && sent.len() - took.len() < depth {
            stream.feed(call.frame(sent.len() as u64)).await?;
            sent.push(Instant::now());
        }
        stream.flush().await?;
        let mut next = stream.next().await;
        // Whatever else has come already is read before more is sent.
        while let Some(answer) = next {
            let (number, in_time) = read(&answer?)?;
            late += usize::from(!in_time);
            took.push(micros(sent[number]));
            next = stream.next().now_or_never().flatten();
        }
    }
    Load::of(took, late, begun)
}

impl Load {
    fn of(took: Vec<f64>, late: usize, begun: Instant) -> Result<Self> {
        ensure!(late <= took.len() / LATE_SHARE, "{late} of {} calls ran into their deadline", took.len());
        Ok(Self { rate: took.len() as f64 / begun.elapsed().as_secs_f64(), took })
    }
}

/// Which frame a message answers, and whether in time.
fn read(answer: &Message) -> Result<(usize, bool)> {
    let Message::Binary(bytes) = answer else { bail!("no answer: {answer:?}") };
    let in_time = bytes.get(ID_AT.end..).is_some_and(|rest| rest.starts_with(RESULT));
    ensure!(in_time || is_late(bytes), "an error: {bytes:?}");
    let id = u64::from_be_bytes(bytes[ID_AT].try_into()?);
    Ok((usize::try_from(id - FIRST_ID)?, in_time))
}

fn is_late(answer: &[u8]) -> bool {
    answer.windows(DEADLINE.len()).any(|part| part == DEADLINE)
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
