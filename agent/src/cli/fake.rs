//! A fake agent for tests: a socket that answers each request from a function.
//!
//! Owns just enough HTTP/1.1 to read what our own client sends; serves no product code.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

use super::address::ApiAddr;

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// What the fake says.
pub(crate) enum Say {
    /// Status, extra header lines, body.
    Answer(u16, &'static str, String),
    /// The same, this much later.
    Late(Duration, Box<Self>),
    /// Nothing, for ever.
    Silence,
    /// Closes the connection.
    Hangup,
}

pub(crate) fn ok(json: &serde_json::Value) -> Say {
    Say::Answer(200, "", json.to_string())
}

/// Requests seen so far, in order.
pub(crate) type Log = Arc<Mutex<Vec<Seen>>>;

/// Serves `reply` on loopback until the test's runtime ends.
pub(crate) async fn serve(reply: impl Fn(&Seen) -> Say + Send + Sync + 'static) -> (ApiAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (log, reply) = (Log::default(), Arc::new(reply));
    let seen = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&reply), Arc::clone(&seen)));
        }
    });
    (ApiAddr::Tcp { host: "127.0.0.1".to_owned(), port }, log)
}

/// The same on a unix socket.
pub(crate) async fn serve_unix(path: &std::path::Path, reply: impl Fn(&Seen) -> Say + Send + Sync + 'static) -> Log {
    let listener = UnixListener::bind(path).unwrap();
    let (log, reply) = (Log::default(), Arc::new(reply));
    let seen = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&reply), Arc::clone(&seen)));
        }
    });
    log
}

async fn converse<S>(stream: S, reply: Arc<impl Fn(&Seen) -> Say>, log: Log)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read_request(&mut stream).await {
        log.lock().unwrap().push(seen.clone());
        let mut say = reply(&seen);
        if let Say::Late(by, then) = say {
            tokio::time::sleep(by).await;
            say = *then;
        }
        match say {
            Say::Answer(status, headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
                if stream.get_mut().write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Say::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
            Say::Hangup | Say::Late(..) => return,
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<Seen> {
    let (mut line, mut headers) = (String::new(), Vec::new());
    stream.read_line(&mut line).await.ok().filter(|&count| count > 0)?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok().filter(|&count| count > 0)?;
        match header.trim_end() {
            "" => break,
            header => headers.push(header.to_owned()),
        }
    }
    let find = |name: &str| headers.iter().find_map(|header| header.strip_prefix(name)).map(str::to_owned);
    let mut body = vec![0; find("content-length: ").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        token: find("authorization: Bearer "),
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
