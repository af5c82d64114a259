//! What is secret stands in no log, however much is logged.

use std::path::Path;
use std::time::Duration;

use selvedge::cluster::Token;
use selvedge_tests::{Agent, Launch, eventually};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// A secret, and what it is for people.
struct Secret {
    name: String,
    bytes: Vec<u8>,
}

/// The number that the bytes are, in the alphabet of keys and tokens.
fn base58(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            (*digit, carry) = (carry % 58, carry / 58);
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    digits.iter().rev().map(|digit| char::from(DIGITS[usize::try_from(*digit).expect("small")])).collect()
}

/// The whole digits of base64, which do not depend on what follows.
fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
    let digits: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
    let threes = bytes.as_chunks::<3>().0;
    let number = |three: &[u8; 3]| three.iter().fold(0_usize, |number, byte| (number << 8) | usize::from(*byte));
    threes
        .iter()
        .flat_map(|three| [18, 12, 6, 0].map(|shift| char::from(digits[(number(three) >> shift) & 63])))
        .collect()
}

impl Secret {
    /// Every way in which it may have been written.
    fn forms(&self) -> Vec<Vec<u8>> {
        let bytes = &self.bytes;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let listed = format!("{bytes:?}");
        let texts = [
            hex.to_uppercase(),
            hex,
            base58(bytes),
            base64(bytes, b"+/"),
            base64(bytes, b"-_"),
            listed.trim_matches(['[', ']']).to_owned(),
            bytes.escape_ascii().to_string(),
        ];
        texts.into_iter().map(String::into_bytes).chain([bytes.clone()]).collect()
    }

    fn is_in(&self, log: &[u8]) -> bool {
        self.forms().iter().any(|form| log.windows(form.len()).any(|window| window == form))
    }
}

fn bytes_of_hex(file: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(file).expect("a file with a secret");
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(&String::from_utf8_lossy(two), 16).expect("hexadecimal digits")).collect()
}

/// What lies in a data directory and is nobody else's business.
fn kept(agent: &Agent) -> Vec<Secret> {
    let dir = agent.data_dir();
    let named = |name: &str, bytes| Secret { name: format!("{name} of {}", dir.display()), bytes };
    let mut kept = vec![
        named("the node's key", bytes_of_hex(&dir.join("node.key"))),
        named("the API's token", bytes_of_hex(&dir.join("api-token"))),
    ];
    // In an envelope, at its end.
    if let Ok(bytes) = std::fs::read(dir.join("cluster/authority.key")) {
        kept.push(named("the authority's key", bytes[bytes.len() - 32..].to_vec()));
    }
    kept
}

#[test]
fn nothing_secret_stands_in_any_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("selvedge.toml");
    std::fs::write(&config, "[cluster]\ncertificate_lifetime = '12s'\n").expect("is written");
    let at = |name: &str| {
        let config = config.to_string_lossy();
        Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0", "--config", &config, "--log-level", "trace"])
    };
    let first = at("first").founding("games").start();
    let mut secrets = kept(&first);
    let mut logs = Vec::new();
    let mut invite = || {
        let token = first.json(&["invite"])["token"].as_str().expect("a token").to_owned();
        let read: Token = token.parse().expect("a token");
        secrets.push(Secret { name: "a token".to_owned(), bytes: token.clone().into_bytes() });
        secrets.push(Secret { name: "a token's secret".to_owned(), bytes: read.secret.to_vec() });
        token
    };
    let (token, unused) = (invite(), invite());
    let second = at("second");
    let joined = second.prepare(&["join", &token]);
    assert_eq!(joined.code, 0, "{}{}", joined.stdout, joined.stderr);
    let refused = at("late").prepare(&["join", &token]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let mistyped = at("late").prepare(&["join", &unused[..unused.len() - 1]]);
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    for said in [joined, refused, mistyped] {
        logs.push(("what `join` said".to_owned(), [said.stdout, said.stderr].concat().into_bytes()));
    }
    let second = second.start();
    secrets.extend(kept(&second));
    eventually("both are there", PATIENCE, || (first.alive() == 2).then_some(()));
    // A write over TCP, with the API's token.
    assert_eq!(second.cli(&["put", "gcounter/kills", "increment", "1"]).code, 0);
    let left = || second.json(&["status"])["cluster"]["certificate_seconds_left"].as_u64().expect("has a certificate");
    eventually("it comes near its end", PATIENCE, || (left() <= 5).then_some(()));
    eventually("it is renewed", PATIENCE, || (left() >= 8).then_some(()));
    let next = first.json(&["rotate-authority"])["authority"].clone();
    assert_ne!(next, json!(null));
    secrets.extend(kept(&first));
    for agent in [first, second] {
        let file = agent.data_dir().with_extension("log");
        let (_, _) = agent.stop();
        let log = std::fs::read(&file).expect("a log");
        assert!(log.windows(5).any(|window| window == b"TRACE"), "everything is logged");
        logs.push((file.display().to_string(), log));
    }
    for (file, log) in &logs {
        for secret in &secrets {
            assert!(!secret.is_in(log), "{} stands in {file}", secret.name);
        }
    }
}

#[test]
fn the_search_finds_a_secret_however_it_is_written() {
    let secret = Secret { name: "a secret".to_owned(), bytes: vec![1, 2, 250, 4, 5, 6] };
    for text in [
        "key=0102fa040506",
        "key=0102FA040506",
        "key=[1, 2, 250, 4, 5, 6]",
        "key=AQL6BAUG",
        r"\x01\x02\xfa\x04\x05\x06",
    ] {
        assert!(secret.is_in(text.as_bytes()), "{text}");
    }
    let digits = base58(&secret.bytes);
    assert!(secret.is_in(format!("key={digits}").as_bytes()) && !secret.is_in(b"key=0102fa0405"));
    assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
}
