//! The component: WIT types in, rules, WIT types out, and one counter for each offender.
//!
//! Owns the translation and the names of the keys; judges nothing itself. The invariant: a call writes once per player
//! who offended, and nothing for the others.

use selvedge_sdk::state::Pncounter;
use selvedge_sdk::{config, must};

use crate::call;
use crate::policy::{self, Policy};
use crate::rules::{self, Action, Class, Judge};
use crate::tally::Tally;

#[allow(missing_docs, unreachable_pub, unsafe_code, reason = "generated from the documented WIT")]
mod bindings {
    selvedge_sdk::exports!("chat-moderation-workload");
}

use bindings::exports::selvedge::workload::chat_moderation as wit;

struct ChatModeration;
bindings::export!(ChatModeration with_types_in bindings);
selvedge_sdk::configuration!(ChatModeration, |names| policy::check(names, config::get));

impl wit::Guest for ChatModeration {
    fn moderate(messages: Vec<wit::Message>) -> Vec<wit::Verdict> {
        call::check(messages.iter().map(|message| message.text.as_str())).unwrap_or_else(|fault| fault.raise());
        let (policy, mut judge, mut tally) = (policy(), Judge::default(), Tally::default());
        let verdicts = messages.iter().map(|message| {
            let verdict = judge.judge(&message.text, &policy);
            tally.add(message.player, &verdict);
            verdict_out(verdict)
        });
        let verdicts = verdicts.collect();
        write(&tally);
        verdicts
    }

    fn screen(text: String, lines: Vec<wit::Line>) -> Vec<wit::Finding> {
        let texts = call::cut(&text, lines.iter().map(|line| line.end)).unwrap_or_else(|fault| fault.raise());
        let (policy, mut judge, mut tally) = (policy(), Judge::default(), Tally::default());
        let findings = (0..).zip(&lines).zip(texts).filter_map(|((index, line), text)| {
            let verdict = judge.screen(text, &policy)?;
            tally.add(line.player, &verdict);
            Some(wit::Finding { index, verdict: verdict_out(verdict) })
        });
        let findings = findings.collect();
        write(&tally);
        findings
    }
}

fn policy() -> Policy {
    Policy::configured(config::get).unwrap_or_else(|fault| fault.raise())
}

fn write(tally: &Tally) {
    for (player, offences) in tally.offences() {
        must(must(Pncounter::new(&format!("chat:offences:{player}"))).increment(offences));
    }
}

fn verdict_out(verdict: rules::Verdict) -> wit::Verdict {
    let byte = |at: usize| u32::try_from(at).expect("a text is bounded");
    wit::Verdict {
        action: match verdict.action {
            Action::Allow => wit::Action::Allow,
            Action::Flag => wit::Action::Flag,
            Action::Block => wit::Action::Block,
        },
        class: match verdict.class {
            Class::Other => wit::Class::Other,
            Class::Action => wit::Class::Action,
            Class::Implicit => wit::Class::Implicit,
            Class::Explicit => wit::Class::Explicit,
        },
        score: f32::from(verdict.score) / 1000.0,
        spans: verdict
            .spans
            .into_iter()
            .map(|span| wit::Span { start: byte(span.start), end: byte(span.end) })
            .collect(),
    }
}
