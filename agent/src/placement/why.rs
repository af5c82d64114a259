//! Why a workload runs where it runs, in one sentence: what an operator reads before the scores.
//!
//! Decides nothing: it reads what was decided. Names of hosts are as their operators gave them; whoever shows the sentence makes
//! them safe.

use super::{Candidate, Explanation, Rejected, THRESHOLD_DEFAULT, Terms};

/// Hosts that a sentence names.
const NAMED_MAX: usize = 3;

/// Scores whose difference is below this read the same.
const SAME: f64 = 0.005;

impl Explanation {
    /// The sentence, without its subject and its full stop: `edge-1 scores 0.91; the next is edge-3 with 0.74, farther from its
    /// callers`.
    #[must_use]
    pub fn why(&self) -> String {
        let (chosen, others): (Vec<_>, Vec<_>) = self.candidates.iter().partition(|candidate| candidate.chosen);
        let mut parts = vec![match (chosen.as_slice(), others.first()) {
            ([], _) => "no host may run it".to_owned(),
            ([_], None) => "on the one host that may run it".to_owned(),
            (all, None) => format!("on each of the {} hosts that may run it", all.len()),
            ([.., last], Some(next)) => format!("{}; {}", scores(&chosen), self.compare(last, next)),
        }];
        if self.missing() > 0 && !self.everywhere && !chosen.is_empty() {
            parts.push(format!("{} are wanted", self.wanted));
        }
        if others.is_empty() {
            parts.extend(refusal(&self.rejected));
        }
        let kept = self.rejected.iter().filter(|rejected| rejected.keeps).map(|rejected| rejected.name.as_str());
        let kept: Vec<&str> = kept.take(NAMED_MAX).collect();
        if !kept.is_empty() {
            parts.push(format!("until another can take it over it stays on {}", kept.join(", ")));
        }
        parts.join("; ")
    }

    /// The best that was not chosen, beside the least that was.
    fn compare(&self, last: &Candidate, next: &Candidate) -> String {
        let (name, score) = (&next.name, next.score);
        match last.score - score {
            gap if gap.abs() < SAME => format!("{name} would do as well"),
            gap if gap > 0.0 => format!("the next is {name} with {score:.2}, {}", self.shortfall(last, next)),
            // Of hosts that score about the same the hash of workload and host decides, so that not all take the one that is best by a hair.
            gap if -gap < THRESHOLD_DEFAULT && !last.runs() => format!("{name} with {score:.2} would do as well"),
            _ if last.runs() => format!("{name} would score {score:.2}, which is not worth a move"),
            _ => format!("{name} scores {score:.2} and is left out by what the spec asks of regions"),
        }
    }

    /// What keeps `next` behind `last` most, in words.
    fn shortfall(&self, last: &Candidate, next: &Candidate) -> &'static str {
        let weights = self.weights.terms();
        let short = |of: fn(&Terms) -> f64| of(weights) * (of(&last.terms) - of(&next.terms));
        let shortfalls = [
            (short(|terms| terms.latency), "farther from its callers"),
            (short(|terms| terms.resource), "with less room"),
            (short(|terms| terms.load), "under more load"),
            (short(|terms| terms.affinity), "where fewer of its rules hold"),
        ];
        shortfalls.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |(_, words)| words)
    }
}

fn scores(chosen: &[&Candidate]) -> String {
    match chosen {
        [first, .., last] if chosen.len() > NAMED_MAX => {
            format!("the {} chosen score {:.2} to {:.2}", chosen.len(), first.score, last.score)
        }
        [first, rest @ ..] => {
            let rest: String = rest.iter().map(|one| format!(", {} {:.2}", one.name, one.score)).collect();
            format!("{} scores {:.2}{rest}", first.name, first.score)
        }
        [] => String::new(),
    }
}

/// Who may not run it: one with its reason, of several the first.
fn refusal(rejected: &[Rejected]) -> Option<String> {
    let (first, rest) = rejected.split_first()?;
    let Rejected { name, reason, .. } = first;
    Some(match rest.len() {
        0 => format!("{name} may not: it {reason}"),
        rest => format!("{} may not, {name} among them: it {reason}", rest + 1),
    })
}
