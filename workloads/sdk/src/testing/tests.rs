use super::*;
use crate::state::{Error, Gcounter, Gset, Lwwmap, Orset, Pncounter};
use crate::{assets, clock, config, log, must, random};

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

#[test]
fn a_call_reads_its_own_writes_and_they_stay_when_it_succeeds() {
    let mut host = TestHost::new();
    let seen = host.call(|| {
        let (hp, seen) = (must(Pncounter::new("hp")), must(Orset::new("seen")));
        let fresh = !hp.exists();
        must(hp.increment(10));
        must(hp.decrement(25));
        must(seen.add(&[text("b"), text("a"), Scalar::Integer(7)]));
        must(seen.remove(&[text("b")]));
        let player = must(Lwwmap::new("player"));
        must(player.put(&[("x".to_owned(), Scalar::Number(1.5)), ("y".to_owned(), Scalar::Null)]));
        must(player.remove(&["y".to_owned()]));
        (fresh, hp.value(), seen.members(), seen.contains(&text("b")), player.get("x"), player.entries().len())
    });
    let members = vec![Scalar::Integer(7), text("a")];
    assert_eq!(seen, Ok((true, -15, members.clone(), false, Some(Scalar::Number(1.5)), 1)));
    assert_eq!((host.pncounter("hp"), host.orset("seen")), (Some(-15), members));
    assert_eq!(host.keys(), ["pncounter/hp", "orset/seen", "lwwmap/player"]);
    assert_eq!(host.call(|| must(Pncounter::new("hp")).exists()), Ok(true));
}

#[test]
fn a_call_that_fails_leaves_nothing() {
    let mut host = TestHost::new();
    let write = || must(must(Gcounter::new("kills")).increment(1));
    let fault = Fault::new("players[0]", "is nobody");
    let done: Result<(), _> = host.call(|| {
        write();
        fault.raise();
    });
    assert_eq!(done, Err(CallError::Fault(fault.clone())));
    let done: Result<(), _> = host.call(|| {
        write();
        resume_unwind(Box::new("a bug"));
    });
    assert_eq!(done, Err(CallError::Trap("a bug".to_owned())));
    assert!(host.keys().is_empty());
    assert_eq!(host.call(write), Ok(()));
    assert_eq!(host.gcounter("kills"), Some(1));
}

#[test]
fn what_an_agent_refuses_is_refused() {
    let mut host = TestHost::new();
    let open = |name: &'static str| move || Gcounter::new(name).map(drop);
    for name in ["", "a\nb", "selvedge:members"] {
        assert!(matches!(host.call(open(name)), Ok(Err(Error::InvalidName(_)))), "{name:?}");
    }
    let refused = host.call(|| {
        let counter = must(Gcounter::new("c"));
        must(counter.increment(u64::MAX / 2));
        (counter.increment(1), counter.value())
    });
    assert_eq!(refused, Ok((Err(Error::Overflow), u64::MAX / 2)));
    let refused = host.call(|| {
        let map = must(Lwwmap::new("m"));
        let put = |field: &str, value| map.put(&[(field.to_owned(), value)]);
        let large = Scalar::Bytes(vec![0; 65_537]);
        (put("a", Scalar::Number(f64::NAN)), put("", Scalar::Null), put("b", large), map.entries())
    });
    assert!(
        matches!(
            &refused,
            Ok((Err(Error::InvalidValue(_)), Err(Error::InvalidName(_)), Err(Error::TooLarge(_)), kept)) if kept.is_empty()
        ),
        "{refused:?}"
    );
}

#[test]
fn limits_end_the_call() {
    let limits = Limits { host_calls: 5, writes: 1, log_lines: 1, log_line_bytes: 4, ..Limits::default() };
    let mut host = TestHost::new().with_limits(limits);
    assert_eq!(host.call(|| (0..5).map(|_| random::next()).collect::<Vec<_>>().len()), Ok(5));
    assert_eq!(
        host.call(|| (0..6).map(|_| random::next()).collect::<Vec<_>>()),
        Err(CallError::HostCalls { limit: 5 })
    );
    let done = host.call(|| ["a", "b"].map(|name| must(must(Gcounter::new(name)).increment(1))));
    assert_eq!(done, Err(CallError::Writes { what: "objects", limit: 1 }));
    assert_eq!(host.call(|| ["grüße", "more"].map(|line| log::write(Level::Info, line))), Ok([(), ()]));
    assert_eq!(host.log(), [(Level::Info, "grü".to_owned())]);
    let limits = Limits { handles: 2, ..Limits::default() };
    let open = || ["a", "b", "c"].map(Gset::new).map(|handle| handle.is_ok());
    assert_eq!(TestHost::new().with_limits(limits).call(open), Ok([true, true, false]));
}

#[test]
fn a_call_has_a_time_a_seed_and_a_configuration() {
    let mut host = TestHost::new().with_config("mode", "hard");
    host.set_seed(7);
    host.set_time_ms(123);
    let draw = || (clock::now().millis, random::seed(), random::next(), random::next());
    let first = host.call(draw).expect("it succeeds");
    assert_eq!((first.0, first.1), (123, 7));
    assert_ne!(first.2, first.3);
    assert_eq!(host.call(draw), Ok(first));
    assert_eq!(host.call(|| (config::get("mode"), config::get("none"))), Ok((Some("hard".to_owned()), None)));
}

#[test]
fn assets_are_asked_for_when_the_call_succeeds() {
    let (here, wanted) = (format!("blake3:{}", "0".repeat(64)), format!("blake3:{}", "a".repeat(64)));
    let mut host = TestHost::new().with_asset(&here, 5);
    let seen =
        host.call(|| (assets::size(&here), assets::is_cached(&wanted), assets::preload(&wanted), assets::preload("x")));
    assert_eq!(seen, Ok((Some(5), false, true, false)));
    assert_eq!(host.preloads(), [wanted.as_str()]);
    let many = || (0..70).filter(|number| assets::preload(&format!("blake3:{number:064x}"))).count();
    assert_eq!(host.call(many), Ok(64));
    let failed: Result<(), _> = host.call(|| {
        assets::preload(&wanted);
        Fault::new("a", "b").raise();
    });
    assert!(failed.is_err() && host.preloads().is_empty());
}
