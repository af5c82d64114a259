//! Who does not belong any more: revoked while nobody could tell it, and a process that comes with a certificate that has expired.

use std::time::{Duration, Instant};

use selvedge_tests::field::{PATIENCE, Traffic, name};
use selvedge_tests::netns::Wires;
use selvedge_tests::{Field, Launch, eventually};
use serde_json::{Value, json};

/// Who is revoked while it is cut off, with another that is not.
const REVOKED: usize = 3;

/// Who shows a certificate that has expired.
const EXPIRED: usize = 5;

/// How long a certificate holds that the hasty authority signs, and a second, for it is told in whole ones.
const LIFETIME: Duration = Duration::from_secs(13);

fn refused(field: &Field, host: usize) -> u64 {
    field.figure(host, "selvedge_drops_total{reason=\"admission_refused_incoming\"}")
}

fn lists(field: &Field, host: usize, other: usize) -> bool {
    !field.belief(host, other).is_empty()
}

#[test]
fn the_revoked_and_the_expired_are_refused_everywhere() {
    let Some(mut field) = Field::try_new(6) else { return };
    // An authority with certificates that end soon, for one member that does not even start before its own has ended.
    let config = field.folder().join("hasty.toml");
    std::fs::write(&config, "[cluster]\ncertificate_lifetime = '12s'\n").expect("is written");
    let founder = field.launch(0).founding("games");
    field.run(0, founder.with(&["--config", &config.to_string_lossy()]));
    let late = field.launch(EXPIRED).invited_by(field.agent(0));
    let ended = Instant::now() + LIFETIME;
    field.stop(0);
    field.run(0, field.launch(0));
    for host in [1, 2, REVOKED, 4] {
        let launch = field.launch(host).invited_by(field.agent(0));
        field.run(host, launch);
    }
    let members = [0, 1, 2, 4];
    field.await_alive(&[0, 1, 2, REVOKED, 4], 5);
    field.note("five are members");

    field.hosts.wire(&Wires::groups(&[&[0, 1, 2, EXPIRED], &[REVOKED, 4]]));
    field.await_lost(&[0, 1, 2], &[REVOKED, 4]);
    let traffic = Traffic::start("members", &field.doors(&members));
    let revoked = field.agent(0).cli(&["revoke", &name(REVOKED)]);
    assert_eq!(revoked.code, 0, "{}{}", revoked.stdout, revoked.stderr);
    // Who is cut off with it has not heard, and believes it still. After that it must not get in with what it writes.
    field.put(REVOKED, "gset/stolen", &json!({"add": ["before anybody knew"]}));
    eventually("it is believed where nobody knows", PATIENCE, || {
        (field.value(4, "gset/stolen") != Value::Null).then_some(())
    });
    assert_eq!(field.value(0, "gset/stolen"), Value::Null);
    field.note("revoked");

    field.hosts.wire(&Wires::default());
    for host in members {
        eventually(&format!("{} knows that it is revoked", name(host)), PATIENCE, || {
            let knows = field.status(host)["cluster"]["revoked"] == json!(1);
            (knows && !lists(&field, host, REVOKED) && !field.linked(host, REVOKED)).then_some(())
        });
    }
    field.note("all know");
    field.put(4, "gset/honest", &json!({"add": ["after"]}));
    // What it writes now goes nowhere; whether it still takes writes is its own affair.
    drop(field.door(REVOKED).ask("POST", "/v1/state/gset/stolen", &json!({"add": ["after"]}).to_string()));
    for host in members {
        eventually("what members write arrives", PATIENCE, || {
            (field.value(host, "gset/honest") != Value::Null).then_some(())
        });
    }
    let _: Launch = field.stop(REVOKED);

    let late = members
        .iter()
        .fold(late, |launch, host| launch.with(&["--bootstrap", &format!("{}:7412", field.hosts.address(*host))]));
    // Before its end it would be let in, and renewed.
    eventually("its time is over", PATIENCE, || (Instant::now() > ended).then_some(()));
    field.run(EXPIRED, late);
    eventually("its certificate has expired", PATIENCE, || {
        field.status(EXPIRED)["health"]["reasons"].to_string().contains("expired").then_some(())
    });
    let before = members.map(|host| refused(&field, host));
    for (host, before) in members.iter().zip(before) {
        eventually(&format!("{} refuses it", name(*host)), PATIENCE, || {
            (refused(&field, *host) > before).then_some(())
        });
        assert!(!lists(&field, *host, EXPIRED), "{} lists it", name(*host));
    }
    assert_eq!(field.alive(EXPIRED), 1);
    assert_eq!(field.value(EXPIRED, "gset/honest"), Value::Null, "it was told something");
    field.note("the expired is refused");

    // A new certificate is the way back in, with the data that it has.
    let launch = field.stop(EXPIRED);
    field.run(EXPIRED, launch.invited_by(field.agent(0)));
    field.await_alive(&field.running(), 5);
    field.settle(traffic);
    for host in field.running() {
        assert_eq!(field.value(host, "gset/stolen"), json!(["before anybody knew"]), "{}", name(host));
    }
    field.note("done");
}
