//! What goes first where a link carries less than there is to say: membership before news, news before what heals.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Bytes that the thin link passes on at once, and the pause after that: four mebibytes a second.
const PIECE_BYTES: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(4);

/// Body of a hint that fills queues, in bytes.
const BODY_BYTES: usize = 16 * 1024;

/// A way to `target` that carries one connection, nothing of which reaches `target` while it is stopped, and little at a time from its
/// first stop on.
struct ThinLink {
    address: String,
    is_stopped: Arc<AtomicBool>,
}

impl ThinLink {
    async fn to(target: &Net) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: Multiaddr = target.listen_addresses().remove(0).parse().unwrap();
        let behind = target.iter().find_map(|part| match part {
            libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let (is_stopped, is_thin) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let stopped = Arc::clone(&is_stopped);
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(("127.0.0.1", behind.unwrap())).await.unwrap();
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(from_far, to_near, Arc::default(), Arc::default()));
            carry(from_near, to_far, stopped, is_thin).await;
        });
        Self { address: format!("/ip4/127.0.0.1/tcp/{port}"), is_stopped }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_stopped: Arc<AtomicBool>,
    is_thin: Arc<AtomicBool>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        while is_stopped.load(Ordering::Acquire) {
            is_thin.store(true, Ordering::Release);
            tokio::time::sleep(PAUSE).await;
        }
        let Ok(bytes) = from.read(&mut piece).await else { return };
        if bytes == 0 || to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
        if is_thin.load(Ordering::Acquire) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test]
async fn the_more_urgent_overtakes_what_waits_for_a_thin_link() {
    let (a, mut heard) = start(config(1, &[TCP], vec![])).await;
    let link = ThinLink::to(&a).await;
    let (b, mut b_events) = start(config(2, &[], vec![link.address.clone()])).await;
    assert!(matches!(next(&mut heard).await, NetEvent::Up { .. }));
    assert!(matches!(next(&mut b_events).await, NetEvent::Up { .. }));
    link.is_stopped.store(true, Ordering::Release);
    // The least urgent first, each until its queue is full.
    let fill =
        |send: &dyn Fn() -> Result<(), SendError>| std::iter::repeat_with(send).take_while(Result::is_ok).count();
    let healing = fill(&|| b.send_bulk(a.node(), Lane::Sync, vec![b'h'; BODY_BYTES]));
    let news = fill(&|| b.send(a.node(), Lane::Sync, vec![b'n'; BODY_BYTES]));
    b.send(a.node(), Lane::Members, b"m".to_vec()).unwrap();
    link.is_stopped.store(false, Ordering::Release);

    let (mut healed, mut told, mut before_members) = (0, 0, None);
    while told < news || before_members.is_none() {
        let NetEvent::Message { lane, bytes, .. } = next(&mut heard).await else { continue };
        match (lane, bytes.first()) {
            (Lane::Members, _) => before_members = Some(healed + told),
            (_, Some(b'n')) => told += 1,
            (_, _) => healed += 1,
        }
    }
    // What was on its way when the others came cannot be called back: a window of each stream.
    let before_members = before_members.unwrap();
    assert!(before_members < (healing + news) / 4, "membership came after {before_members} others");
    assert!(healed < healing / 2, "the last news came after {healed} of {healing} that heal");
}
