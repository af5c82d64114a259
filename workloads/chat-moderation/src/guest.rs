//! The component: WIT types in, rules, WIT types out, and one counter for each offender.
//!
//! Owns the translation and the names of the keys; judges nothing itself. The invariant: a call writes once per player
//! who offended, and nothing for the others.

use selvedge_sdk::state::Pncounter;
use selvedge_sdk::{Fault, config, must};

use crate::policy::{self, Policy};
use crate::rules::{self, Action, Class, Judge};
use crate::tally::{Tally, check_batch};

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
        let raise = |fault: Fault| -> ! { fault.raise() };
        check_batch(messages.len()).unwrap_or_else(|fault| raise(fault));
        let policy = Policy::configured(config::get).unwrap_or_else(|fault| raise(fault));
        let (mut tally, mut verdicts) = (Tally::default(), Vec::with_capacity(messages.len()));
        let texts = messages.iter().map(|message| message.text.as_str());
        let told = Judge::default().judge(texts, &policy, |index, verdict| {
            tally.add(messages[index].player, &verdict);
            verdicts.push(verdict_out(verdict));
        });
        told.unwrap_or_else(|fault| raise(fault));
        for (player, offences) in tally.offences() {
            must(must(Pncounter::new(&format!("chat:offences:{player}"))).increment(offences));
        }
        verdicts
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
        spans: verdict.spans.iter().map(|span| wit::Span { start: byte(span.start), end: byte(span.end) }).collect(),
    }
}
