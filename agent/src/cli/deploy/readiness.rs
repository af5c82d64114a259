//! Whether what was deployed runs, by what the agent's documents say.
//!
//! Pure. Owns what counts as ready: an instance of what was deployed on a host that is to run it. What still answers elsewhere, since it
//! has yet to stop or for want of another place, does not count.

use std::collections::BTreeMap;

use serde_json::Value;

/// Reasons for which a node does not qualify that are worth a wait: it may just have started.
const PASSING: [&str; 4] = ["unhealthy", "lost", "stale", "absent"];

/// How many instances there are, and what holds up the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) ready: usize,
    pub(super) wanted: usize,
    /// Why instances failed.
    pub(super) failed: Vec<String>,
    /// What the others are doing.
    pub(super) pending: Vec<String>,
    /// Hosts that are not to run it and have not stopped yet.
    pub(super) leaving: Vec<String>,
    /// Hosts that too few are there for.
    pub(super) missing: usize,
}

impl Readiness {
    pub(super) fn is_ready(&self, instances_min: usize) -> bool {
        self.ready >= self.wanted.max(instances_min) && self.ready > 0
    }

    /// Whether fewer run than are wanted and none is about to.
    pub(super) fn is_idle(&self) -> bool {
        self.ready < self.wanted.max(1) && self.failed.is_empty() && self.pending.is_empty()
    }

    /// What runs, once it does.
    pub(super) fn told(&self) -> String {
        let mut text = format!("{} of {} instances ready", self.ready, self.wanted);
        if !self.leaving.is_empty() {
            text += &format!("; still to stop: {}", self.leaving.join(", "));
        }
        text
    }

    /// How things stand while it is waited for.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{} of {} instances ready", self.ready, self.wanted);
        for line in &self.pending {
            text += "; ";
            text += line;
        }
        if self.wanted == 0 || self.missing > 0 || self.pending.is_empty() && self.ready < self.wanted {
            text += "; no node qualifies for more, see `selvedge explain`";
        }
        text
    }
}

/// By a workload's document and, where the agent has told it, by the plan: without one every instance counts.
pub(super) fn readiness(workload: &Value, plan: Option<&Value>) -> Readiness {
    let status = workload.get("status").unwrap_or(workload);
    let count = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
    let wanted = plan.and_then(|plan| count(&plan["wanted"])).or_else(|| count(&status["replicas"])).unwrap_or(1);
    let (failed, pending, leaving) = Default::default();
    let mut readiness = Readiness { ready: 0, wanted, failed, pending, leaving, missing: 0 };
    let instances = status["instances"].as_array().into_iter().flatten();
    let instances = instances.map(|instance| (instance["node"].as_str().unwrap_or("a node"), instance));
    let Some(plan) = plan else {
        instances.for_each(|(node, instance)| readiness.count(node, instance));
        return readiness;
    };
    let mut instances: BTreeMap<&str, &Value> = instances.collect();
    let chosen = || list(plan, "candidates").iter().filter(|candidate| candidate["chosen"] == true);
    readiness.missing = wanted.saturating_sub(chosen().count());
    for candidate in chosen() {
        let (node, name) = (candidate["node"].as_str().unwrap_or("a node"), called(candidate));
        match instances.remove(node) {
            Some(instance) => readiness.count(&name, instance),
            // A better host that has yet to prove itself is waited for by the agents, and need not be here.
            None => match stand_in(plan, node).and_then(|from| instances.remove(from)) {
                Some(instance) => readiness.count(&name, instance),
                None => readiness.pending.push(format!("{name} is to run it and has not begun")),
            },
        }
    }
    let hosts = list(plan, "candidates").iter().chain(list(plan, "rejected"));
    let names: BTreeMap<&str, String> = hosts.filter_map(|host| Some((host["node"].as_str()?, called(host)))).collect();
    let still = instances.iter().filter(|(_, instance)| instance["phase"] != "failed");
    readiness.leaving =
        still.map(|(node, _)| names.get(node).map_or_else(|| (*node).to_owned(), Clone::clone)).collect();
    readiness
}

impl Readiness {
    fn count(&mut self, host: &str, instance: &Value) {
        let why = instance["reason"].as_str();
        match instance["phase"].as_str() {
            Some("ready") => self.ready += 1,
            Some("failed") => self.failed.push(format!("{host}: {}", why.unwrap_or("failed"))),
            phase => {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                self.pending.push(format!("{host} is {}{why}", phase.unwrap_or("unknown")));
            }
        }
    }
}

/// The host that runs it until `node` has been better for long enough.
fn stand_in<'a>(plan: &'a Value, node: &str) -> Option<&'a str> {
    let dwells = |step: &&Value| step["to"] == node && step["gain"].as_f64().is_some_and(|gain| gain > 0.0);
    list(plan, "moves").iter().find(dwells)?["from"].as_str()
}

fn called(host: &Value) -> String {
    host["name"].as_str().or_else(|| host["node"].as_str()).unwrap_or("a node").to_owned()
}

fn list<'a>(plan: &'a Value, field: &str) -> &'a [Value] {
    plan[field].as_array().map_or(&[], Vec::as_slice)
}

/// What is to be said of a plan in which no node qualifies, or fewer than are wanted; `None` where enough do.
pub(super) fn shortage(plan: &Value) -> Option<String> {
    let chosen = list(plan, "candidates").iter().filter(|candidate| candidate["chosen"] == true).count();
    let wanted = plan["wanted"].as_u64().and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(1).max(1);
    let text = match chosen {
        _ if chosen >= wanted => return None,
        0 => "no node qualifies".to_owned(),
        _ => format!("only {chosen} of {wanted} instances have a node that qualifies"),
    };
    Some(text)
}

/// Whether no node qualifies, for reasons that do not pass by themselves.
pub(super) fn nobody_ever(plan: &Value) -> bool {
    let rejected = list(plan, "rejected");
    let passes =
        |node: &Value| node.pointer("/reason/code").is_some_and(|code| PASSING.iter().any(|word| code == word));
    let nobody = plan["candidates"].as_array().is_some_and(Vec::is_empty);
    nobody && !rejected.is_empty() && !rejected.iter().any(passes)
}

/// Each rejected node with its reason, a line for each.
pub(super) fn reasons(plan: &Value) -> String {
    let line = |rejected: &Value| {
        let text = |at: &str| rejected.pointer(at).and_then(Value::as_str).unwrap_or("?");
        let kept = if rejected["keeps"] == true { "; what runs there stays for want of another place" } else { "" };
        format!("\n  {}: {}{kept}", text("/name"), text("/message"))
    };
    list(plan, "rejected").iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(instances: &[(&str, &str)]) -> Value {
        let instances: Vec<_> = instances.iter().map(|(node, phase)| json!({"node": node, "phase": phase})).collect();
        json!({"status": {"replicas": 1, "instances": instances}})
    }

    fn plan(wanted: u32, chosen: &[&str]) -> Value {
        let candidates: Vec<_> =
            chosen.iter().map(|node| json!({"node": node, "name": format!("host-{node}"), "chosen": true})).collect();
        json!({"wanted": wanted, "candidates": candidates})
    }

    #[test]
    fn what_answers_where_it_is_not_to_run_does_not_count() {
        let old = workload(&[("a", "ready")]);
        let moved = readiness(&old, Some(&plan(1, &["b"])));
        assert!(!moved.is_ready(1) && !moved.is_idle(), "{moved:?}");
        assert_eq!(moved.pending, ["host-b is to run it and has not begun"]);
        let both = readiness(&workload(&[("a", "stopping"), ("b", "ready")]), Some(&plan(1, &["b"])));
        assert!(both.is_ready(1), "{both:?}");
        assert_eq!(both.told(), "1 of 1 instances ready; still to stop: a");
        let nowhere = readiness(&old, Some(&plan(1, &[])));
        assert!(!nowhere.is_ready(1) && nowhere.is_idle() && nowhere.missing == 1, "{nowhere:?}");
        let everywhere = readiness(&old, Some(&plan(0, &[])));
        assert!(!everywhere.is_ready(0), "nowhere is not everywhere");
        assert!(readiness(&old, None).is_ready(1), "an agent that tells no plan is believed");
    }

    #[test]
    fn a_better_host_that_has_yet_to_prove_itself_is_not_waited_for() {
        let mut better = plan(1, &["b"]);
        better["moves"] = json!([{"from": "a", "to": "b", "gain": 0.2}]);
        assert!(readiness(&workload(&[("a", "ready")]), Some(&better)).is_ready(1));
        better["moves"] = json!([{"from": "a", "to": "b", "gain": -0.1}]);
        assert!(!readiness(&workload(&[("a", "ready")]), Some(&better)).is_ready(1), "it is to go to another region");
    }

    #[test]
    fn a_shortage_is_told_with_each_reason() {
        assert_eq!(shortage(&plan(1, &["a"])), None);
        assert_eq!(shortage(&plan(0, &[])).as_deref(), Some("no node qualifies"));
        let few = shortage(&plan(3, &["a", "b"]));
        assert_eq!(few.as_deref(), Some("only 2 of 3 instances have a node that qualifies"));
        let mut none = plan(1, &[]);
        none["rejected"] = json!([{"name": "fra", "message": "lacks gpu", "keeps": true}]);
        assert!(nobody_ever(&none));
        assert_eq!(reasons(&none), "\n  fra: lacks gpu; what runs there stays for want of another place");
        none["rejected"][0]["reason"] = json!({"code": "stale"});
        assert!(!nobody_ever(&none), "it may just have started");
    }
}
