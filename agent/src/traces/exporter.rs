//! Brings spans to the collector, a batch at a time.
//!
//! What cannot be delivered is given up and counted: a trace is worth no memory, and no call waits for one. The log says once that the
//! collector does not take them, and once that it does again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::otlp::{self, About};
use super::span::Recorded;
use super::{Collector, Recorder};

/// Spans in one request: some 300 KB of JSON, far below what collectors take.
const BATCH_SPANS_MAX: usize = 512;

/// How long a span waits for others to travel with.
const LINGER: Duration = Duration::from_secs(1);

/// How long one delivery may take, the connection included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last deliveries of an agent that stops may take, together.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Why the collector has not taken a batch.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it cannot be asked: {0}")]
    Unaskable(#[from] hyper::http::Error),
    #[error("it answered with {0}")]
    Refused(StatusCode),
    #[error("it did not answer within {} seconds", PATIENCE.as_secs())]
    Late,
}

/// The loop that sends spans.
#[derive(Debug)]
pub struct Exporter {
    collector: Collector,
    resource: Value,
    spans: mpsc::Receiver<Recorded>,
    recorder: Arc<Recorder>,
    is_failing: bool,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        about: &About<'_>,
        spans: mpsc::Receiver<Recorded>,
        recorder: Arc<Recorder>,
    ) -> Self {
        Self { collector, resource: otlp::resource(about), spans, recorder, is_failing: false }
    }

    /// Sends what is recorded until `stop`, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = self.spans.recv_many(&mut batch, BATCH_SPANS_MAX) => {}
            }
            // Stopped meanwhile, it is delivered at once.
            drop(tokio::time::timeout(LINGER, stop.cancelled()).await);
            self.gather(&mut batch);
            self.deliver(&batch).await;
        }
        let last = async {
            loop {
                let mut batch = Vec::new();
                self.gather(&mut batch);
                if batch.is_empty() {
                    break;
                }
                self.deliver(&batch).await;
            }
        };
        drop(tokio::time::timeout(LAST_PATIENCE, last).await);
    }

    /// Adds what waits, as far as there is room.
    fn gather(&mut self, batch: &mut Vec<Recorded>) {
        while batch.len() < BATCH_SPANS_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
    }

    async fn deliver(&mut self, batch: &[Recorded]) {
        let document = otlp::document(&self.resource, batch).to_string();
        let delivered = tokio::time::timeout(PATIENCE, self.post(document.into())).await;
        match delivered.unwrap_or(Err(Undelivered::Late)) {
            Ok(()) if self.is_failing => {
                tracing::info!(collector = %self.collector, "the collector takes traces again");
            }
            Ok(()) => {}
            Err(error) => {
                self.recorder.unsent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if !self.is_failing {
                    tracing::warn!(collector = %self.collector, %error, "the collector does not take traces; they are given up until it does");
                }
                self.is_failing = true;
                return;
            }
        }
        self.is_failing = false;
    }

    /// A connection for each delivery: there is at most about one a second.
    async fn post(&self, document: Bytes) -> Result<(), Undelivered> {
        let stream = TcpStream::connect(self.collector.authority()).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let request = Request::post(self.collector.path())
            .header(HOST, self.collector.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(document))?;
        // What breaks the connection is told to who waits for the answer.
        let answered = async move { sender.send_request(request).await.map(|answer| answer.status()) };
        let (answered, _) = tokio::join!(answered, connection);
        match answered? {
            status if status.is_success() => Ok(()),
            status => Err(Undelivered::Refused(status)),
        }
    }
}
