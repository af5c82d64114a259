use serde_json::json;

use super::*;

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn artifact() -> String {
    format!("blake3:{HEX}")
}

#[test]
fn everything_but_the_artifact_has_a_default() {
    let spec = Spec::from_json(&json!({ "artifact": artifact() })).unwrap();
    assert_eq!(spec, Spec::new(artifact().parse().unwrap()));
}

#[test]
fn a_full_spec_survives_its_own_json() {
    let json = json!({
        "artifact": artifact(), "replicas": 3, "spread": "regions", "region": "eu", "require": ["avx2", "gpu"],
        "must": ["!workload=chat", "!node=fra-2"], "affinity": ["node=fra-1", "!region=us", "label tier=edge", "capability=gpu"],
        "limits": {"memory": "128MiB", "deadline_ms": "5ms", "output_bytes": 4096, "host_calls": 10, "log_lines": 0,
                   "concurrency": 2, "table_elements": 100},
        "latency": {"max_ms": 20}, "routing": "session", "partition": "stop-after 30s", "config": {"speed-max": "7.5", "zones": "a\nb", "off": ""},
        "rollout": {"canary_ms": "10s", "calls": 7, "traps_permille": 0, "slowdown_percent": 200}, "state_schema": 3,
    });
    let spec = Spec::from_json(&json).unwrap();
    assert_eq!((spec.limits.memory, spec.limits.deadline_ms, spec.latency_max_ms), (128 << 20, 5, Some(20)));
    assert_eq!(spec.affinity[2].to_string(), "label:tier=edge");
    assert_eq!(spec.config["zones"], "a\nb");
    let stored = serde_json::to_value(&spec).unwrap();
    assert_eq!(Spec::from_json(&stored).unwrap(), spec);

    let counts = Spread::PerRegion([("eu".to_owned(), 2), ("us".to_owned(), 1)].into());
    for spread in [Spread::Everywhere, counts] {
        let spec = Spec { spread, ..spec.clone() };
        let mut cbor = Vec::new();
        ciborium::into_writer(&spec, &mut cbor).unwrap();
        assert_eq!(ciborium::from_reader::<Spec, _>(cbor.as_slice()).unwrap(), spec);
    }
}

#[test]
fn gates_have_bounds_and_those_of_a_newer_release_are_passed_over() {
    let of = |field: &str, value: Value| json!({ "artifact": artifact(), "rollout": { field: value } });
    for (field, value) in [
        ("canary_ms", json!("2h")),
        ("calls", json!(-1)),
        ("traps_permille", json!(1_001)),
        ("slowdown_percent", json!(99)),
        ("calm", json!(1)),
    ] {
        let json = of(field, value);
        assert_eq!(Spec::from_json(&json).unwrap_err().field(), format!("rollout.{field}"));
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap().gates, Gates::default());
    }
    assert_eq!(Spec::from_json(&of("canary_ms", json!("0s"))).unwrap().gates.canary_ms, 0);
    let schema = Spec::from_json(&json!({ "artifact": artifact(), "state_schema": "2" })).unwrap_err();
    assert_eq!(schema.field(), "state_schema");
}

#[test]
fn default_answers_survive_and_error_means_none() {
    let spec = |on_overrun: Value| {
        let json = json!({ "artifact": artifact(), "on_overrun": on_overrun });
        let spec = Spec::from_json(&json).unwrap();
        assert_eq!(Spec::from_json(&serde_json::to_value(&spec).unwrap()).unwrap(), spec);
        spec.on_overrun
    };
    assert!(spec(json!("error")).is_empty());
    assert_eq!(spec(json!({"predict": [], "count": 0})).len(), 2);
}

#[test]
fn a_newer_members_field_is_passed_over_but_a_users_is_refused() {
    let json = json!({ "artifact": artifact(), "colour": "red", "limits": {"sparkle": 1} });
    assert!(serde_json::from_value::<Spec>(json.clone()).is_ok());
    assert_eq!(Spec::from_json(&json).unwrap_err().field(), "colour");
    assert!(serde_json::from_value::<Spec>(json!({ "artifact": artifact(), "replicas": 0 })).is_err());
}

#[test]
fn a_newer_members_preference_is_passed_over_and_its_demand_is_not() {
    let stored = |field: &str| json!({ "artifact": artifact(), field: ["planet=mars", "node=a"] });
    let spec: Spec = serde_json::from_value(stored("affinity")).unwrap();
    assert_eq!(spec.affinity, ["node=a".parse().unwrap()]);
    assert!(serde_json::from_value::<Spec>(stored("must")).is_err(), "what must hold cannot be known here");
}

#[test]
fn a_refusal_names_the_field() {
    let check = |patch: Value, field: &str, message: &str| {
        let mut json = json!({ "artifact": artifact() });
        json.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let error = Spec::from_json(&json).unwrap_err();
        assert_eq!((error.field(), error.to_string().contains(message)), (field, true), "{patch}: {error}");
    };
    check(json!({"artifact": null}), "artifact", "missing");
    check(json!({"artifact": HEX}), "artifact", "64 hexadecimal");
    check(json!({"artifact": 7}), "artifact", "expected text, got a whole number");
    check(json!({"on_overrun": "shrug"}), "on_overrun", "\"error\" or an object");
    check(json!({"on_overrun": {"predict": "x".repeat(9_000)}}), "on_overrun", "at most 8192 bytes");
    check(json!({"replicas": 0}), "replicas", "1 to 1000");
    check(json!({"replicas": 100_000}), "replicas", "1 to 1000");
    check(json!({"replicas": 1.5}), "replicas", "fractional");
    check(json!({"replicas": 2, "everywhere": true}), "replicas", "together");
    check(json!({"everywhere": "yes"}), "everywhere", "true or false");
    check(json!({"spread": "hosts"}), "spread", "`any` or `regions`");
    check(json!({"spread": "regions", "everywhere": true}), "spread", "together");
    check(json!({"per_region": {"eu": 1}, "everywhere": true}), "per_region", "together");
    check(json!({"per_region": {"eu": 1}, "replicas": 2}), "replicas", "not the sum");
    check(json!({"per_region": {"eu": 0}}), "per_region.eu", "1 to 1000");
    check(json!({"per_region": {"eu": "two"}}), "per_region.eu", "expected a whole number");
    check(json!({"per_region": {"e u": 1}}), "per_region", "blanks");
    check(json!({"per_region": {"eu": 900, "us": 101}}), "per_region", "1001 instances");
    check(json!({"per_region": {}}), "per_region", "1 to 16 regions");
    check(json!({"must": ["planet=mars"]}), "must[0]", "a rule is");
    check(json!({"must": vec!["node=a"; 20], "affinity": vec!["node=a"; 20]}), "must", "together with `affinity`");
    check(json!({"region": ""}), "region", "1 to 64");
    check(json!({"region": "a b"}), "region", "blanks");
    check(json!({"require": "gpu"}), "require", "list");
    check(json!({"require": ["gpu", 1]}), "require[1]", "expected text");
    check(json!({"require": vec!["x"; RULES_MAX + 1]}), "require", "at most 32");
    check(json!({"affinity": ["planet=mars"]}), "affinity[0]", "a rule is");
    for wrong in ["", "stop-after", "stop-after 30", "stop-after 25h", "home-only", "home-only e u", "keep-one"] {
        check(json!({ "partition": wrong }), "partition", "`keep-both`, `stop-after 30s`");
    }
    check(json!({"routing": "random"}), "routing", "one of local-first, round-robin");
    check(json!({"limits": []}), "limits", "expected an object, got a list");
    check(json!({"limits": {"memroy": 1}}), "limits.memroy", "known here: memory");
    check(json!({"limits": {"memory": "64 bananas"}}), "limits.memory", "a size is");
    check(json!({"limits": {"memory": 1}}), "limits.memory", "1048576 to 4294967296");
    check(json!({"limits": {"memory": true}}), "limits.memory", "64MiB");
    check(json!({"limits": {"deadline_ms": 0}}), "limits.deadline_ms", "1 to 10000");
    check(json!({"limits": {"deadline_ms": "500us"}}), "limits.deadline_ms", "whole number");
    check(json!({"latency": {"max_ms": -1}}), "latency.max_ms", "milliseconds");
    check(json!({"limits": {"host_calls": u64::MAX}}), "limits.host_calls", "0 to 1000000");
    check(json!({"config": ["speed-max"]}), "config", "expected an object of texts, got a list");
    check(json!({"config": {"speed-max": 7.5}}), "config.speed-max", "expected text");
    check(json!({"config": {"": "x"}}), "config.", "1 to 256 bytes");
    check(json!({"config": {"a=b": "x"}}), "config.a=b", "without `=`");
    check(json!({"config": {"a\nb": "x"}}), r"config.a\nb", "control characters");
    check(json!({"config": {"x".repeat(CONFIG_NAME_BYTES_MAX + 1): ""}}), &format!("config.{}", "x".repeat(64)), "256");
    check(json!({"config": {"words": "x".repeat(CONFIG_BYTES_MAX)}}), "config", "49152 bytes as JSON");
    check(json!({"config": {"words": "\u{1}".repeat(CONFIG_BYTES_MAX / 5)}}), "config", "49152 bytes as JSON");
    let many: serde_json::Map<_, _> = (0..=CONFIG_ENTRIES_MAX).map(|i| (i.to_string(), json!(""))).collect();
    check(json!({ "config": many }), "config", "at most 256 entries");
}

#[test]
fn a_spec_that_is_no_object_is_refused() {
    for json in [json!(null), json!([]), json!("x"), json!(1)] {
        assert!(Spec::from_json(&json).unwrap_err().to_string().contains("expected an object"), "{json}");
    }
}

#[test]
fn names_are_plain_dns_labels() {
    for good in ["a", "combat", "chat-moderation", "2048", "a--b", &"x".repeat(63)] {
        assert_eq!(good.parse::<WorkloadName>().unwrap().as_str(), good);
    }
    for bad in ["", "-", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", "a b", &"x".repeat(64)] {
        assert!(bad.parse::<WorkloadName>().is_err(), "{bad}");
        assert!(serde_json::from_value::<WorkloadName>(json!(bad)).is_err(), "{bad}");
    }
}

#[test]
fn sizes_and_durations_are_read_and_never_rounded() {
    let sizes = [("0", 0), ("65536", 65536), ("64KiB", 65536), ("64 mib", 64 << 20), ("1GB", 1_000_000_000), ("7b", 7)];
    for (text, bytes) in sizes {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
    for text in ["", "MiB", "1.5GiB", "-1", "1TiB", "99999999999GiB", "1 2"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
    for (text, ms) in [("5ms", 5), ("2s", 2_000), ("1m 30s", 90_000)] {
        assert_eq!(parse_millis(text), Ok(ms), "{text}");
    }
    for text in ["", "5", "1us", "1500us", "x"] {
        assert!(parse_millis(text).is_err(), "{text}");
    }
}

#[test]
fn rules_survive_their_own_text() {
    for text in
        ["node=fra-1", "!node=fra-1", "region=eu", "capability=gpu", "!workload=chat", "label:a=b", "!label:a=b=c"]
    {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    for text in ["", "!", "node", "node=", "!!node=a", "label=a", "label:=b", "label:a", "node=a b", "workload=A"] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
}

#[test]
fn a_digest_names_its_bytes_and_survives_its_own_text() {
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!(format!("blake3:{}", digest.hex()), digest.to_string());
    for bad in [HEX, "blake3:", "sha256:00", "blake3:zz"] {
        assert_eq!(bad.parse::<Digest>(), Err(ParseDigestError), "{bad}");
    }
}

#[test]
fn the_largest_spec_fits_into_a_scalar_of_the_state() {
    let mut spec = Spec::new(Digest([7; 32]));
    let token = |i: usize| format!("{i:x>width$}", width = TOKEN_BYTES_MAX);
    spec.region = Some(token(0));
    spec.require = (0..RULES_MAX).map(token).collect();
    spec.affinity = (0..RULES_MAX).map(|i| format!("!label:{0}={0}", token(i)).parse().unwrap()).collect();
    spec.latency_max_ms = Some(LATENCY_MS_MAX);
    spec.config = Config::from([("words".to_owned(), "x".repeat(CONFIG_BYTES_MAX - r#"{"words":""}"#.len()))]);
    let json = serde_json::to_value(&spec).unwrap();
    assert_eq!(Spec::from_json(&json).unwrap(), spec);
    assert!(json.to_string().len() <= selvedge_sync::limits::SCALAR_BYTES_MAX);
}
