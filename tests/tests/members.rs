//! Who belongs to a cluster: founded, joined by a token, renewed in time, put out for ever.

use std::time::{Duration, Instant};

use selvedge_tests::{Agent, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Within how long whoever is connected puts somebody out: it takes about a second, and this is ten times as long. It is what people are
/// promised ("within seconds"), and so no mere end of a wait.
const SECONDS: Duration = Duration::from_secs(10);

fn cluster(agent: &Agent, field: &str) -> Value {
    agent.json(&["status"])["cluster"][field].clone()
}

fn connected(agent: &Agent, to: &Agent) -> bool {
    let peers = agent.json(&["peers"]);
    let is_it = |peer: &&Value| peer["node"] == json!(to.node()) && !peer["rtt_ms"].is_null();
    peers.as_array().is_some_and(|peers| peers.iter().any(|peer| is_it(&peer)))
}

#[test]
fn a_token_makes_one_member_and_strangers_stay_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    assert_eq!(cluster(&first, "name"), json!("games"));

    let invited = first.json(&["invite", "--name", "kiosk", "--region", "eu"]);
    let token = invited["token"].as_str().expect("a token");
    assert!(invited["warning"].as_str().is_some_and(|warning| warning.contains("loopback")), "{invited}");
    let other_name = at("late").prepare(&["join", token]);
    assert!(other_name.code == 2 && other_name.stderr.contains("the token is for \"kiosk\""), "{other_name:?}");
    let second = at("kiosk");
    assert_eq!(second.prepare(&["join", token]).code, 0);
    // Another machine with the same token is too late; its own directory stays nobody's.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let late = Launch::new(elsewhere.path(), "kiosk").prepare(&["join", token]);
    assert!(late.code == 1 && late.stderr.contains("used by another node"), "{late:?}");
    assert_eq!(second.prepare(&["init"]).code, 1, "a member's directory is not founded over");
    // What another mesh has left in a directory is not brought along unasked.
    let used = at("used").start();
    used.write_names("brought", 1);
    let (used, _) = used.stop();
    let state = used.prepare(&["init"]);
    assert!(state.code == 1 && state.stderr.contains("--keep-state"), "{state:?}");
    let mistyped = at("typo").prepare(&["join", &token[..token.len() - 1]]);
    assert!(mistyped.code == 2 && mistyped.stderr.contains("mistyped"), "{mistyped:?}");

    // Without a word about where the others are: the token said it.
    let second = second.start();
    let running = at("kiosk").prepare(&["join", token]);
    assert!(running.code == 1 && running.stderr.contains("an agent runs in"), "{running:?}");
    for agent in [&first, &second] {
        eventually("both are there", PATIENCE, || (agent.alive() == 2).then_some(()));
    }
    let nodes = first.json(&["nodes"]);
    let kiosk =
        nodes.as_array().expect("a list").iter().find(|node| node["name"] == json!("kiosk")).expect("is listed");
    assert_eq!(kiosk["region"], json!("eu"));
    assert_eq!(second.cli(&["put", "gcounter/kills", "increment", "3"]).code, 0);
    eventually("the write arrives", PATIENCE, || (first.value("gcounter/kills") == Some(json!(3))).then_some(()));
    let refused = second.cli(&["invite"]);
    assert!(refused.code == 1 && refused.stderr.contains("no authority's key"), "{refused:?}");

    let stranger = at("stranger").joining(&[&first]).start();
    let other = at("other").founding("games").joining(&[&first]).start();
    for outsider in [&stranger, &other] {
        eventually("it is refused", PATIENCE, || outsider.log().contains("not reached").then_some(()));
        assert_eq!(outsider.alive(), 1);
    }
    assert_eq!(first.alive(), 2);
}

#[test]
fn who_is_revoked_is_out_everywhere_and_stays_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let [second, absent, thief] = ["second", "absent", "thief"].map(|name| at(name).invited_by(&first).start());
    for agent in [&first, &second, &absent, &thief] {
        eventually("all are there", PATIENCE, || (agent.alive() == 4).then_some(()));
    }
    let (absent, _) = absent.stop();
    let revoked = first.json(&["revoke", "thief"]);
    assert_eq!(revoked["node"], json!(thief.node()));
    let ordered = Instant::now();
    for agent in [&first, &second] {
        let left = || SECONDS.saturating_sub(ordered.elapsed());
        eventually("it is cut off within seconds", left(), || (!connected(agent, &thief)).then_some(()));
        eventually("everybody knows within seconds", left(), || (cluster(agent, "revoked") == json!(1)).then_some(()));
        let nodes = agent.json(&["nodes"]);
        assert!(nodes.as_array().is_some_and(|nodes| nodes.iter().all(|node| node["id"] != json!(thief.node()))));
    }
    eventually("it is told why", PATIENCE, || thief.log().contains("it was revoked").then_some(()));

    // It knows, and acknowledges nothing that nobody would take; who was away hears of it before it can do harm for long.
    let reasons = || thief.json(&["status"])["health"]["reasons"].to_string();
    eventually("it says so itself", PATIENCE, || reasons().contains("this agent was revoked on 20").then_some(()));
    let steals = |thief: &Agent| thief.cli(&["put", "gcounter/stolen", "increment", "1"]);
    let refused = steals(&thief);
    assert!(refused.code == 1 && refused.stderr.contains("revoked on"), "{refused:?}");
    let absent = absent.start();
    eventually("who was away knows", PATIENCE, || (cluster(&absent, "revoked") == json!(1)).then_some(()));
    eventually("and does not talk to it", PATIENCE, || (!connected(&absent, &thief)).then_some(()));
    let (launch, _) = thief.stop();
    let thief = launch.start();
    eventually("it has not forgotten", PATIENCE, || steals(&thief).stderr.contains("revoked on").then_some(()));
    eventually("a restart does not help it", PATIENCE, || thief.log().contains("it was revoked").then_some(()));
    assert!(!connected(&first, &thief));
    let again = first.cli(&["revoke", &thief.node()]);
    assert!(again.code == 1 && again.stderr.contains("already"), "{again:?}");
    let own = first.cli(&["revoke", "first"]);
    assert!(own.code == 1 && own.stderr.contains("does not revoke itself"), "{own:?}");
    let nobody = first.cli(&["revoke", "nobody"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("no member"), "{nobody:?}");
}

#[test]
fn invitations_are_listed_and_taken_back_and_a_name_has_one_bearer() {
    let (folder, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let text = |json: &Value, field: &str| json[field].as_str().expect("a text").to_owned();
    let invite = || {
        let invited = first.json(&["invite"]);
        (text(&invited, "id"), text(&invited, "token"))
    };
    let listed = || first.json(&["invitations"]).as_array().expect("a list").clone();

    let (id, token) = invite();
    assert!(listed().len() == 1 && listed()[0]["id"] == json!(id) && listed()[0]["used_by"].is_null());
    assert_eq!(first.cli(&["invite", "--cancel", &id]).code, 0);
    assert_eq!(listed(), Vec::<Value>::new());
    assert_eq!(at("late").prepare(&["join", &token]).code, 1, "it is taken back");
    let nothing = first.cli(&["invite", "--cancel", &id]);
    assert!(nothing.code == 1 && nothing.stderr.contains("nothing was changed"), "{nothing:?}");

    let (id, token) = invite();
    let taken = Launch::new(elsewhere.path(), "first").prepare(&["join", &token]);
    assert!(taken.code == 1 && taken.stderr.contains("`first` is taken"), "{taken:?}");
    let second = at("second");
    assert_eq!(second.prepare(&["join", &token]).code, 0, "the token was not used up");
    let used = first.cli(&["invite", "--cancel", &id]);
    assert!(used.code == 1 && used.stderr.contains("was used by"), "{used:?}");

    // It joined and never ran. The authority knows it all the same, by name and by the end of its id.
    let node = text(&listed()[0], "used_by");
    assert_eq!(listed()[0]["used_by_name"], json!("second"));
    let named = first.cli(&["invite", "--name", "second"]);
    assert!(named.code == 1 && named.stderr.contains("is taken"), "{named:?}");
    let revoked = first.json(&["revoke", &node[node.len() - 8..]]);
    assert_eq!((&revoked["node"], &revoked["name"]), (&json!(node), &json!("second")));
    assert_eq!(first.cli(&["invite", "--name", "second"]).code, 0, "the name is free again");
    // Nobody has told it yet but whoever refuses it, with an authority's signature.
    let second = second.start();
    let reasons = || second.json(&["status"])["health"]["reasons"].to_string();
    eventually("it learns that it is out", PATIENCE, || reasons().contains("this agent was revoked on").then_some(()));
}

#[test]
fn a_certificate_is_renewed_before_it_expires() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("selvedge.toml");
    std::fs::write(&config, "[cluster]\ncertificate_lifetime = '12s'\n").expect("is written");
    let at = |name: &str| {
        let config = config.to_string_lossy();
        Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0", "--config", &config])
    };
    let first = at("first").founding("games").start();
    let second = at("second").invited_by(&first).start();
    eventually("both are there", PATIENCE, || (first.alive() == 2).then_some(()));
    let left = || cluster(&second, "certificate_seconds_left").as_u64().expect("a member has a certificate");
    eventually("it comes near its end", PATIENCE, || (left() <= 5).then_some(()));
    eventually("it is renewed", PATIENCE, || (left() >= 8).then_some(()));
    assert_eq!(first.alive(), 2);
}

#[test]
fn authorities_follow_each_other_and_nobody_has_to_be_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let absent = at("absent").invited_by(&first).start();
    eventually("both are there", PATIENCE, || (absent.alive() == 2).then_some(()));
    let (absent, _) = absent.stop();
    let before = cluster(&first, "id");
    let next = first.json(&["rotate-authority"])["authority"].clone();
    assert_ne!(next, before);
    assert_eq!(cluster(&first, "id"), before, "the cluster keeps its name");
    let (first, _) = first.stop();
    let address = |agent: &Agent| agent.listen()[0].clone();
    let first = first.start();
    let third = at("third").invited_by(&first).start();
    // Who was away knows nothing of the new authority, and believes whoever shows by what it is known.
    let absent = absent.with(&["--bootstrap", &address(&third)]).start();
    for agent in [&first, &third, &absent] {
        eventually("all are there", PATIENCE, || (agent.alive() == 3).then_some(()));
    }
}

#[test]
fn what_a_new_authority_signs_counts_everywhere_and_after_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| Launch::new(folder.path(), name).with(&["--listen", "127.0.0.1:0"]);
    let first = at("first").founding("games").start();
    let second = at("second").invited_by(&first).start();
    let third = at("third").invited_by(&first).start();
    for agent in [&first, &second, &third] {
        eventually("all are there", PATIENCE, || (agent.alive() == 3).then_some(()));
    }
    let next = first.json(&["rotate-authority"])["authority"].clone();
    assert_ne!(next, cluster(&first, "id"));
    assert_eq!(first.json(&["revoke", "third"])["node"], json!(third.node()));
    let is_out = |agent: &Agent| {
        eventually("the third is out", PATIENCE, || {
            (cluster(agent, "revoked") == json!(1) && agent.alive() == 2).then_some(())
        });
    };
    is_out(&second);
    // The next start judges by what lies on its own disk, before it meets anybody.
    drop(first);
    let (second, _) = second.stop();
    let second = second.start();
    eventually("it knows who is out", PATIENCE, || (cluster(&second, "revoked") == json!(1)).then_some(()));
    drop(third);
}
