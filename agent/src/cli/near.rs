//! What somebody may have meant who named a workload that is not there.
//!
//! Pure: the client asks for the names. The invariant: the advice is short, whatever is deployed.

/// Names that are listed where none is like the one that was given.
const LISTED_MAX: usize = 8;
/// Names that are offered as the one that was meant.
const OFFERED_MAX: usize = 3;
/// How alike a name has to be (Jaro and Winkler's similarity, from 0 to 1): what a slip of the finger leaves.
const ALIKE_MIN: f64 = 0.8;

/// The workload that a request is about.
#[must_use]
pub(super) fn workload_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/v1/workloads/")?.split(['/', '?']).next()?;
    (!name.is_empty()).then_some(name)
}

/// Advice for whoever named `wanted`, of the workloads that there are.
#[must_use]
pub(super) fn advice(wanted: &str, there: &[String]) -> String {
    let mut alike: Vec<(f64, &String)> = there
        .iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(how, _)| *how >= ALIKE_MIN)
        .collect();
    alike.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
    let offered: Vec<&str> = alike.iter().take(OFFERED_MAX).map(|(_, name)| name.as_str()).collect();
    if !offered.is_empty() {
        return format!("did you mean {}? `selvedge workloads` lists all", offered.join(" or "));
    }
    if there.is_empty() {
        return "nothing is deployed; `selvedge deploy FILE.wasm --name NAME` does that".to_owned();
    }
    let listed: Vec<&str> = there.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = there.len() - listed.len();
    let more = if more > 0 { format!(" and {more} more, which `selvedge workloads` lists") } else { String::new() };
    format!("there are {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_about_the_workload_in_its_path() {
        let check = |path: &str, expect: Option<&str>| assert_eq!(workload_of(path), expect, "{path}");
        check("/v1/workloads/combat/call/resolve?record=true", Some("combat"));
        check("/v1/workloads/combat?wait=1s", Some("combat"));
        check("/v1/workloads", None);
        check("/v1/state/gcounter/x", None);
    }

    #[test]
    fn a_slip_of_the_finger_is_understood_and_else_there_is_a_list() {
        let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let shipped = there(&["anti-cheat", "chat-moderation", "combat", "prediction"]);
        let check = |wanted: &str, expect: &str| assert_eq!(advice(wanted, &shipped), expect, "{wanted}");
        check("combta", "did you mean combat? `selvedge workloads` lists all");
        check("anticheat", "did you mean anti-cheat? `selvedge workloads` lists all");
        check("x", "there are anti-cheat, chat-moderation, combat, prediction");
        assert!(advice("x", &[]).starts_with("nothing is deployed"));
        let many: Vec<String> = (0..20).map(|n| format!("w{n:02}")).collect();
        assert!(advice("loot", &many).ends_with("w07 and 12 more, which `selvedge workloads` lists"));
    }
}
