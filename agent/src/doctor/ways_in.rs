//! Whether other hosts reach this one, which nobody on it can see: its agent asks members to knock.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::{Finding, Outcome};

/// What members have said of one address.
#[derive(Debug, Default)]
struct Said<'a> {
    reached_by: Vec<&'a str>,
    /// Who did not, and why.
    closed_to: Vec<(&'a str, &'a str)>,
}

/// What the agent was told: `None` from one of an earlier release.
pub(super) fn found(reach: Option<&Value>) -> Outcome {
    let elsewhere =
        "`selvedge peers` on another member tells whether it reaches this one, by which transport, and why not";
    let readings = reach.and_then(Value::as_array);
    let Some(readings) = readings else {
        return Err(format!("the agent is of a release that has nobody look from outside; {elsewhere}"));
    };
    let text = |reading: &'_ Value, field: &str| reading[field].as_str().unwrap_or_default().to_owned();
    let mut said: BTreeMap<&str, Said<'_>> = BTreeMap::new();
    for reading in readings {
        let field = |name: &str| reading[name].as_str().unwrap_or_default();
        let name = if field("name").is_empty() { field("node") } else { field("name") };
        let of = said.entry(field("address"));
        match reading["reached"].as_bool() {
            Some(true) => of.or_default().reached_by.push(name),
            Some(false) => of.or_default().closed_to.push((name, field("why"))),
            None => {}
        }
    }
    if said.is_empty() {
        let why = readings.first().map_or_else(
            || "no member is connected".to_owned(),
            |first| format!("{} could not be asked: {}", text(first, "name"), text(first, "why")),
        );
        return Err(format!("nobody has looked from outside ({why}); {elsewhere}"));
    }
    Ok(said.iter().filter_map(|(address, said)| judge(address, said)).collect())
}

fn judge(address: &str, said: &Said<'_>) -> Option<Finding> {
    let (who, why) = said.closed_to.first()?;
    let port = address.split('/').nth(4).unwrap_or_default();
    let (transport, short) = if address.contains("/udp/") { ("UDP", "udp") } else { ("TCP", "tcp") };
    let mend = format!(
        "open {transport} port {port} to members in the firewalls of this host and before it (nft list ruleset; ss -l{} 'sport = :{port}'); or net.advertise, if members are told a wrong address",
        if short == "udp" { "un" } else { "tn" }
    );
    let others = match said.closed_to.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(if said.reached_by.is_empty() {
        Finding::error(
            format!("{who}{others} cannot reach this host at {address}, which members are told: {why}"),
            mend,
        )
    } else {
        let what =
            format!("{who}{others} cannot reach this host at {address}, and {} can: {why}", said.reached_by.join(", "));
        Finding::warning(what, mend)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity;
    use super::*;

    fn reading(name: &str, address: &str, reached: Option<bool>) -> Value {
        let why = reached.is_none_or(|reached| !reached).then_some("it says so");
        json!({"node": "n", "name": name, "address": address, "reached": reached, "why": why})
    }

    #[test]
    fn a_port_that_is_closed_from_outside_is_found() {
        let (udp, tcp) = ("/ip4/192.0.2.7/udp/7412/quic-v1", "/ip4/192.0.2.7/tcp/7412");
        let all = json!([
            reading("b", udp, Some(false)),
            reading("b", tcp, Some(true)),
            reading("c", udp, Some(false)),
            reading("c", tcp, Some(true))
        ]);
        let closed = found(Some(&all)).expect("looked at");
        assert_eq!(closed.len(), 1, "{closed:?}");
        let Finding { severity, what, mend } = &closed[0];
        assert!(
            *severity == Severity::Error
                && what.starts_with("b and 1 more cannot reach this host at /ip4/192.0.2.7/udp"),
            "{what}"
        );
        assert!(mend.contains("open UDP port 7412") && mend.contains("ss -lun"), "{mend}");
        let some =
            found(Some(&json!([reading("b", tcp, Some(false)), reading("c", tcp, Some(true))]))).expect("looked at");
        assert!(some[0].severity == Severity::Warning && some[0].what.contains("and c can"), "{some:?}");
    }

    #[test]
    fn whoever_could_not_ask_says_so() {
        let check = |reach: Option<Value>, expect: &str| {
            let why = found(reach.as_ref()).expect_err("nobody has looked");
            assert!(why.contains(expect) && why.contains("selvedge peers"), "{why}");
        };
        check(None, "of a release");
        check(Some(json!([])), "no member is connected");
        check(Some(json!([reading("b", "/ip4/192.0.2.7/tcp/1", None)])), "b could not be asked: it says so");
    }
}
