//! The configuration: precedence, defaults, refusals, and the example that ships with the agent.

use super::*;
use crate::agent::{FoundingError, Member, found};

const EXAMPLE: &str = include_str!("../../../deploy/selvedge.toml");

fn host() -> Host {
    Host {
        name: "edge-1".to_owned(),
        data_dir: PathBuf::from("/nowhere/selvedge"),
        socket: None,
        cores: 4,
        api_token: None,
        log_format: LogFormat::Text,
    }
}

fn load_with(text: &str, overrides: Overrides) -> Result<Config, ConfigError> {
    let file = parse(Path::new("selvedge.toml"), text)?;
    Resolver { overrides, host: host() }.resolve(file)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, Overrides::default())
}

/// The text is refused, and the message holds all of these.
fn refused(text: &str, expect: &[&str]) {
    let error = load(text).expect_err(text).to_string();
    for part in expect {
        assert!(error.contains(part), "`{part}` is not in: {error}\nof {text}");
    }
}

/// A data directory of a member, and a configuration that names it.
fn of_member() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let named = ("edge-7".to_owned(), "eu".to_owned());
    let founded: Result<Member, FoundingError> = found(dir.path(), "games", named, 60, false);
    founded.expect("is founded");
    let text = format!("[node]\ndata_dir = '{}'\n", dir.path().display());
    (dir, text)
}

#[test]
fn an_empty_file_runs() {
    let config = load("").expect("loads");
    assert_eq!(config.node.name, "edge-1");
    assert_eq!(config.node.data_dir, Path::new("/nowhere/selvedge"));
    assert_eq!((config.cluster.papers, config.cluster.name.as_str()), (None, "development"));
    let config = load("").expect("loads");
    assert_eq!(config.net.listen, ["127.0.0.1:7412".parse().expect("an address")]);
    assert_eq!(config.api.listen, ["127.0.0.1:7411".parse().expect("an address")]);
    assert_eq!(config.api.token_file, Path::new("/nowhere/selvedge/api-token"));
    assert_eq!(config.state.max_drift, Duration::from_millis(500));
    assert_eq!(config.state.retire_after, Duration::from_hours(24));
    assert_eq!(
        config.wasm,
        WasmConfig { workers: 4, memory: 64 << 20, deadline: Duration::from_millis(50), compiler: None }
    );
    assert_eq!(config.log, LogConfig { format: LogFormat::Text, level: LogLevel::Info, otlp: None });
    assert_eq!(config, load_with("[node]\n[net]\n[log]", Overrides::default()).expect("loads"));
}

#[test]
fn the_example_says_the_defaults() {
    assert_eq!(load(EXAMPLE).expect("the example loads"), load("").expect("loads"));
}

/// The example with those keys, too, that are commented out because their default depends on the host.
fn whole_example() -> String {
    let key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()))
    };
    let line = |line: &str| line.strip_prefix("# ").filter(|rest| key(rest)).unwrap_or(line).to_owned();
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_of_the_example_is_accepted() {
    let config = load(&whole_example()).expect("loads");
    assert_eq!(config.node.name, "edge-fra-1");
    assert_eq!(config.node.location, Some(Location { lat: 50.11, lon: 8.68 }));
    assert_eq!(config.cluster.certificate_lifetime, Duration::from_millis(LIFETIME_MS_DEFAULT));
    assert!(config.api.listen.contains(&ApiListen::Unix("/run/selvedge/api.sock".into())));
}

#[test]
fn every_key_is_in_the_example() {
    let example: toml::Table = whole_example().parse().expect("is TOML");
    // What the reader would accept in place of a key that there is not.
    let known = |text: &str| -> Vec<String> {
        let error = load(text).expect_err("refused").to_string();
        let (_, expected) = error.split_once("expected ").expect("tells what is expected");
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let sections = known("nonsense = 1");
    assert_eq!(sections.len(), 9, "{sections:?}");
    for section in sections {
        for key in known(&format!("[{section}]\nnonsense = 1")) {
            assert!(example[&section].get(&key).is_some(), "{section}.{key} is not in the example");
        }
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let text = "[node]\nname = 'file'\nregion = 'eu'\n[net]\nlisten = '127.0.0.1:1'\n[log]\nlevel = 'warn'\n[api]\nsocket = '/x'";
    let flags = Overrides {
        name: Some("flag".to_owned()),
        data_dir: Some("/flag".into()),
        listen: Some(vec!["[::1]:2".to_owned(), "127.0.0.1:3".to_owned()]),
        bootstrap: Some(vec!["edge-2.example.org:7412".to_owned()]),
        api: Some(vec!["unix:/run/a.sock".to_owned(), "http://127.0.0.1:0/".to_owned()]),
        log_format: Some("json".to_owned()),
        ..Overrides::default()
    };
    let config = load_with(text, flags).expect("loads");
    assert_eq!((config.node.name.as_str(), config.node.region.as_str()), ("flag", "eu"));
    assert_eq!(config.net.listen.len(), 2);
    assert_eq!(config.net.bootstrap, ["edge-2.example.org:7412"]);
    let tcp = ApiListen::Tcp("127.0.0.1:0".parse().expect("an address"));
    assert_eq!(config.api.listen, [ApiListen::Unix("/run/a.sock".into()), tcp], "and not the file's socket");
    assert_eq!(config.api.token_file, Path::new("/flag/api-token"));
    assert_eq!(config.log, LogConfig { format: LogFormat::Json, level: LogLevel::Warn, otlp: None });
}

#[test]
fn wrong_files_are_refused_with_key_and_line() {
    refused("[node]\nnmae = 'x'", &["selvedge.toml", "line 2", "unknown field `nmae`", "`name`"]);
    refused("[nett]\n", &["unknown field `nett`", "`net`"]);
    refused("[node]\n\nname = 7", &["line 3", "expected a string"]);
    refused("[node]\nname = ''", &["line 2", "1 to 64 bytes"]);
    refused("[node]\nname = 'two words'", &["line 2", "without blanks"]);
    refused("[node]\nlocation = { lat = 91.0, lon = 0.0 }", &["line 2", "-90 to 90"]);
    refused("[node]\nlocation = { lat = 1.0 }", &["line 2", "missing field `lon`"]);
    refused("[node]\nlabels = { tier = \"a b\" }", &["line 2", "without blanks"]);
    refused("[node]\nlabels = { \"a=b\" = \"c\" }", &["node.labels", "`a=b`"]);
    refused("[net]\nlisten = 'localhost:1'", &["line 2", "IP:PORT"]);
    refused("[net]\nbootstrap = ['nowhere']", &["line 2", "HOST:PORT"]);
    refused("[state]\nmax_drift = '2h'", &["line 2", "10ms to 1m"]);
    refused("[state]\nretire_after = 24", &["line 2", "expected a string"]);
    refused("[state]\nretire_after = 'soon'", &["line 2", "as in `5ms`"]);
    refused("[wasm]\nmemory = '1KiB'", &["line 2", "1048576 to"]);
    refused("[wasm]\nmemory = -1", &["line 2", "negative"]);
    refused("[wasm]\nmemory = true", &["line 2", "a size such as"]);
    refused("[wasm]\nworkers = 0", &["line 2", "1 to 256"]);
    refused("[placement]\nweights = { resource = 1 }", &["line 2", "missing field `latency`"]);
    refused("node = 3", &["line 1", "expected a table"]);
    refused("[api]\ncall_rate = { per_s = 0 }", &["line 2", "expected a whole number, at least 1"]);
    refused("[state]\nretire_after = '91d'", &["line 2", "91 days", "to 90 days are allowed"]);
    refused("[placement]\nweights = { resource = 0, latency = 0, load = 0, affinity = 0 }", &["above 0"]);
    refused("[placement]\nthreshold = nan", &["line 2", "0 to 1"]);
    refused("[log]\nlevel = 'loud'", &["line 2", "unknown variant `loud`", "`debug`"]);
    refused("[log", &["line 1"]);
    refused("[log]\notlp = 'https://collector'", &["line 2", "http://"]);
    refused("[log]\notlp = 'collector:4318'", &["line 2", "`collector:4318`", "http://HOST:4318"]);
}

#[test]
fn wrong_flags_are_refused_with_their_key() {
    let check = |overrides: Overrides, expect: &[&str]| {
        let error = load_with("", overrides).expect_err("refused").to_string();
        assert!(expect.iter().all(|part| error.contains(part)), "{error}");
    };
    let some = |text: &str| Some(text.to_owned());
    check(
        Overrides { name: some(""), ..Overrides::default() },
        &["`node.name`", "flag or in the environment", "1 to 64"],
    );
    check(Overrides { log_level: some("loud"), ..Overrides::default() }, &["`log.level`", "`debug`"]);
    check(
        Overrides { api: Some(vec!["0.0.0.0:1".to_owned()]), ..Overrides::default() },
        &["`api.listen`", "loopback only"],
    );
    check(Overrides { data_dir: Some(PathBuf::new()), ..Overrides::default() }, &["`node.data_dir`"]);
    let many = vec!["127.0.0.1:1".to_owned(); ENTRIES_MAX + 1];
    check(Overrides { bootstrap: Some(many), ..Overrides::default() }, &["`net.bootstrap`", "at most 64"]);
}

#[test]
fn without_a_cluster_only_this_host_is_reached() {
    refused("[net]\nlisten = '0.0.0.0:7412'", &["`net.listen`", "0.0.0.0:7412", "no cluster", "selvedge join"]);
    refused("[net]\nlisten = ['127.0.0.1:1', '[::]:2']", &["[::]:2"]);
    refused("[net]\nlisten = []", &["at least one"]);
    assert!(load("[net]\nlisten = ['127.0.0.2:1', '[::1]:0']").is_ok());
}

#[test]
fn a_member_is_reached_from_other_hosts_under_its_certified_name() {
    let (_dir, text) = of_member();
    let config = load(&text).expect("loads");
    assert!(config.cluster.papers.is_some());
    assert_eq!(
        (config.cluster.name.as_str(), config.node.name.as_str(), config.node.region.as_str()),
        ("games", "edge-7", "eu")
    );
    assert_eq!(config.net.listen, ["0.0.0.0:7412".parse().expect("an address")]);
    assert!(load(&format!("{text}[net]\nlisten = '192.0.2.1:7412'")).is_ok());
    assert!(load(&format!("{text}name = 'edge-7'")).is_ok());
    refused(&format!("{text}name = 'edge-8'"), &["`node.name`", "edge-8", "certificate says \"edge-7\""]);
    refused(&format!("{text}region = 'us'"), &["`node.region`", "certificate says \"eu\""]);
}

#[test]
fn whoever_joined_starts_with_the_members_of_its_token() {
    let (dir, text) = of_member();
    let contacts = ["192.0.2.7:7412".to_owned()];
    crate::cluster::Folder::in_data_dir(dir.path()).keep_contacts(&contacts).expect("is kept");
    assert_eq!(load(&text).expect("loads").net.bootstrap, contacts);
    let own = load(&format!("{text}[net]\nbootstrap = 'a.example:1'")).expect("loads");
    assert_eq!(own.net.bootstrap, ["a.example:1"]);
}

#[test]
fn papers_that_cannot_be_read_are_an_error_and_not_ignored() {
    let (dir, text) = of_member();
    std::fs::write(dir.path().join("cluster/certificate"), "nonsense").expect("is written");
    refused(&text, &["`node.data_dir`", "damaged", "join again"]);
}

#[test]
fn the_api_listens_on_this_host_only() {
    let unix = ApiListen::Unix("/run/s".into());
    let tcp = |text: &str| ApiListen::Tcp(text.parse().expect("an address"));
    let check = |text: &str, expect: &[ApiListen]| assert_eq!(load(text).expect(text).api.listen, expect, "{text}");
    check("[api]\nlisten = 'http://127.0.0.1:7411'", &[tcp("127.0.0.1:7411")]);
    check("[api]\nlisten = ['unix:/run/s', '[::1]:1']", &[unix.clone(), tcp("[::1]:1")]);
    check("[api]\nlisten = 'unix:/run/s'\nsocket = '/run/s'", std::slice::from_ref(&unix));
    check("[api]\nlisten = []\nsocket = '/run/s'", &[unix]);
    refused("[api]\nlisten = '192.0.2.1:7411'", &["line 2", "loopback only", "unix:PATH"]);
    refused("[api]\nlisten = 'localhost'", &["line 2", "127.0.0.1:7411"]);
    refused("[api]\nlisten = 'unix:'", &["line 2", "1 to 107 bytes"]);
    refused("[api]\nlisten = []\nsocket = ''", &["`api.listen`", "nobody could talk"]);
    refused(&format!("[api]\nsocket = '/{}'", "x".repeat(200)), &["`api.socket`", "1 to 107 bytes"]);

    let served = Host { socket: Some("/run/selvedge/api.sock".into()), ..host() };
    let resolve = |text: &str| {
        let file = parse(Path::new("x"), text).expect("parses");
        Resolver { overrides: Overrides::default(), host: served.clone() }.resolve(file).expect("resolves").api.listen
    };
    assert_eq!(resolve(""), [tcp("127.0.0.1:7411"), ApiListen::Unix("/run/selvedge/api.sock".into())]);
    assert_eq!(resolve("[api]\nsocket = ''"), [tcp("127.0.0.1:7411")]);
}

#[test]
fn where_the_api_listens_survives_its_own_text() {
    for text in ["http://127.0.0.1:7411", "unix:/run/selvedge/api.sock"] {
        assert_eq!(text.parse::<ApiListen>().expect("parses").to_string(), text);
    }
}

#[test]
fn state_belongs_where_the_account_keeps_it() {
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(host::data_dir(None, true, path("/x"), path("/root")), Path::new("/var/lib/selvedge"));
    assert_eq!(host::data_dir(None, false, path("/x"), path("/home/a")), Path::new("/x/selvedge"));
    assert_eq!(host::data_dir(None, false, None, path("/home/a")), Path::new("/home/a/.local/share/selvedge"));
    assert_eq!(host::data_dir(path("/s"), true, path("/x"), path("/home/a")), Path::new("/s"));
}

#[test]
fn what_the_service_manager_gives_stands_in_place_of_defaults() {
    let host =
        Host { api_token: Some("/run/credentials/s/api-token".into()), log_format: LogFormat::Journald, ..host() };
    let with = |text: &str| {
        let file = parse(Path::new("selvedge.toml"), text).expect("is TOML");
        let config = Resolver { overrides: Overrides::default(), host: host.clone() }.resolve(file).expect("loads");
        (config.api.token_file, config.log.format)
    };
    assert_eq!(with(""), ("/run/credentials/s/api-token".into(), LogFormat::Journald));
    let said = with("[api]\ntoken_file = '/t'\n[log]\nformat = 'text'");
    assert_eq!(said, ("/t".into(), LogFormat::Text), "and what the file says wins");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/nowhere/selvedge.toml")), Overrides::default()).expect_err("refused");
    assert!(error.to_string().contains("/nowhere/selvedge.toml"), "{error}");
    assert!(!Host::this().name.is_empty());
}
