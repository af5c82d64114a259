//! Sockets: taking addresses, giving them back, and ending in good order.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{get, send};
use super::{credentials, serve};
use crate::api::{Api, BindError, Endpoint};

#[tokio::test]
async fn an_address_in_use_is_named() {
    let api = serve().await;
    for taken in [&api.tcp, &api.unix] {
        let error = Api::bind(std::slice::from_ref(taken), credentials()).await.expect_err("taken");
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        assert_eq!(send(taken, get("/healthz")).await.status, 200, "whoever was first still answers");
    }
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for foreign in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Api::bind(&[foreign.parse().expect("an address")], credentials()).await.expect_err("foreign");
        assert!(matches!(error, BindError::NotLoopback(_)), "{error}");
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_other_files_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let endpoint = [Endpoint::Unix(path.clone())];
    drop(UnixListener::bind(&path).expect("bound"));
    let api = Api::bind(&endpoint, credentials()).await.expect("the stale file is replaced");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(api);
    assert!(!path.exists(), "the socket goes with its listener");
    std::fs::write(&path, "precious").expect("written");
    let error = Api::bind(&endpoint, credentials()).await.expect_err("no socket");
    assert!(matches!(error, BindError::NoSocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
}

#[tokio::test]
async fn the_end_frees_all_addresses_and_open_connections() {
    let mut api = serve().await;
    let Endpoint::Tcp(address) = api.tcp else { panic!("tcp") };
    let mut idle = tokio::net::TcpStream::connect(address).await.expect("connected");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200");
    api.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed in good order");
    Api::bind(&[api.tcp.clone(), api.unix.clone()], credentials()).await.expect("both addresses are free again");
}
