//! From a text to a verdict.
//!
//! Owns the decision: which class, how sure, which spans, what to do. The invariants: the same text under the same policy
//! gives the same verdict on every host; and a text that is not odd and not toxic costs one walk and no
//! memory.

use std::ops::Range;

use selvedge_sdk::Fault;

use crate::automaton::{CALIBRATION, Lists, Margins, State, has_grave, margins};
use crate::batch::{Batch, Glance};
use crate::fold;
use crate::normalise::normalise;
use crate::policy::Policy;
use crate::record::{Record, Replay};

/// The longest text, in bytes. Chats of games stop at a few hundred.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Spans of one verdict: enough to mask a message, bounded for a text of nothing but insults.
pub const SPANS_MAX: usize = 64;
/// A slur or a threat counts as at least this likely to be toxic, in thousandths, whatever stands around it.
const GRAVE_SCORE: u16 = 950;
/// The margin of toxicity at the ends of the calibration, in 64ths.
const MARGIN_MAX: i32 = 1_024;

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Allow,
    /// Show it, and show it to a moderator.
    Flag,
    /// Do not show it.
    Block,
}

/// What kind of message it is; the classes of the CONDA data set (Weld et al., 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing of the below.
    Other,
    /// Talk about the running of the game: reports, pauses.
    Action,
    /// Toxic in what it means: taunts, mockery.
    Implicit,
    /// Toxic in what it says: insults, slurs, profanity.
    Explicit,
}

/// A judged message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// By the policy.
    pub action: Action,
    /// The likeliest class.
    pub class: Class,
    /// The probability that the message is toxic, explicitly or implicitly, in thousandths.
    pub score: u16,
    /// The words that are toxic, in bytes of the text. Empty for `other` and `action`.
    pub spans: Vec<Range<usize>>,
}

/// Judges texts. Kept between texts for its memory.
#[derive(Default)]
pub struct Judge {
    batch: Batch,
    desk: Desk,
}

impl Judge {
    /// Judges `texts`, the `messages` of a call, and tells each verdict with its index, in order.
    ///
    /// # Errors
    /// A text is longer than [`TEXT_BYTES_MAX`]. Verdicts of texts before it may have been told.
    pub fn judge<'a>(
        &mut self,
        texts: impl ExactSizeIterator<Item = &'a str> + Clone,
        policy: &Policy,
        mut tell: impl FnMut(usize, Verdict),
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < texts.len() {
            let group = texts.clone().skip(done);
            self.batch.glance(group.clone());
            for (text, glance) in group.zip(self.batch.glances()) {
                if text.len() > TEXT_BYTES_MAX {
                    let message = format!("has {} bytes; at most {TEXT_BYTES_MAX} are allowed", text.len());
                    return Err(Fault::new(format!("messages[{done}].text"), message));
                }
                tell(done, self.desk.verdict(text, glance, self.batch.states(glance), policy));
                done += 1;
            }
        }
        Ok(())
    }
}

/// Where a text of interest is examined.
#[derive(Default)]
struct Desk {
    record: Record,
    /// Another reading of the same text.
    other: Record,
}

impl Desk {
    #[inline]
    fn verdict(&mut self, text: &str, glance: &Glance, states: &[State], policy: &Policy) -> Verdict {
        let margins = margins(glance.lanes);
        let class = class(margins);
        let toxic = matches!(class, Class::Explicit | Class::Implicit) || has_grave(glance.lanes);
        if !(glance.odd || glance.long || toxic) {
            return Verdict { action: Action::Allow, class, score: score(margins), spans: Vec::new() };
        }
        self.record.clear();
        let odd = if glance.long {
            normalise(text, &mut self.record)
        } else {
            normalise(text, &mut Replay { record: &mut self.record, states: states.iter() })
        };
        self.examine(text, odd, policy)
    }

    /// Judges at leisure: texts that look odd, that are long, or of which it must be said what is wrong with them.
    fn examine(&mut self, text: &str, odd: bool, policy: &Policy) -> Verdict {
        let mut margins = self.record.margins();
        if odd {
            margins = self.see_through(text, margins);
        }
        let grave = self.record.has_grave();
        let class = if grave { Class::Explicit } else { class(margins) };
        let score = score(margins).max(if grave { GRAVE_SCORE } else { 0 });
        Verdict { action: policy.action(class, score), class, score, spans: self.spans(class) }
    }

    /// Leaves the worst reading of a disguise in `record`, and returns the margins with it.
    ///
    /// Only a listed word makes a disguise: who reads digits as letters finds a meaning in any score.
    fn see_through(&mut self, text: &str, plain: Margins) -> Margins {
        let mut worst = plain;
        for key in fold::keys(text) {
            self.other.clear();
            fold::fold(text, key, &mut self.other);
            let margins = self.other.margins();
            if self.other.explicit() > self.record.explicit() {
                std::mem::swap(&mut self.record, &mut self.other);
                worst = std::array::from_fn(|lane| worst[lane].max(margins[lane]));
            }
        }
        worst
    }

    /// The words that make the class: those of its lists, or else those that weigh most.
    fn spans(&self, class: Class) -> Vec<Range<usize>> {
        let (lists, lane) = match class {
            Class::Other | Class::Action => return Vec::new(),
            Class::Explicit => (Lists::EXPLICIT, 0),
            Class::Implicit => (Lists::TAUNT, 1),
        };
        let listed: Vec<_> = self.record.listed(lists).take(SPANS_MAX).collect();
        if listed.is_empty() { self.record.heavy(lane).take(SPANS_MAX).collect() } else { listed }
    }
}

/// Judges one text.
///
/// # Errors
/// The text is longer than [`TEXT_BYTES_MAX`].
pub fn judge(text: &str, policy: &Policy) -> Result<Verdict, Fault> {
    let mut only = None;
    Judge::default().judge(std::iter::once(text), policy, |_, verdict| only = Some(verdict))?;
    Ok(only.expect("a text has a verdict"))
}

/// The class with the greatest margin over `other`, if any has one.
#[must_use]
pub fn class([explicit, implicit, action]: Margins) -> Class {
    if explicit.max(implicit).max(action) <= 0 {
        Class::Other
    } else if explicit >= implicit && explicit >= action {
        Class::Explicit
    } else if implicit >= action {
        Class::Implicit
    } else {
        Class::Action
    }
}

/// The margin of the toxic classes over the others.
#[must_use]
pub fn toxicity([explicit, implicit, action]: &Margins) -> i32 {
    explicit.max(implicit) - action.max(&0)
}

/// The probability of toxicity in thousandths, between two points of the calibration.
#[must_use]
pub fn score(margins: Margins) -> u16 {
    let steps = i32::try_from(CALIBRATION.len() - 1).expect("a short table");
    let step = 2 * MARGIN_MAX / steps;
    let along = (toxicity(&margins) + MARGIN_MAX).clamp(0, 2 * MARGIN_MAX - 1);
    let at = usize::try_from(along / step).expect("clamped").min(CALIBRATION.len() - 2);
    let (low, high) = (i32::from(CALIBRATION[at]), i32::from(CALIBRATION[at + 1]));
    u16::try_from(low + (high - low) * (along % step) / step).expect("between two thousandths")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::automaton::SUM_BYTES_MAX;

    fn verdict(text: &str) -> Verdict {
        judge(text, &Policy::default()).expect("short")
    }

    /// The class of `text`, and what its spans say.
    fn check(text: &str, expect: Class, spans: &[&str]) {
        let verdict = verdict(text);
        let found: Vec<&str> = verdict.spans.iter().map(|span| &text[span.clone()]).collect();
        assert_eq!((verdict.class, &found[..]), (expect, spans), "{text}: {verdict:?}");
    }

    #[test]
    fn what_is_said_openly_is_classed_and_shown() {
        check("you are an idiot", Class::Explicit, &["idiot"]);
        check("FUCK YOU motherfucker", Class::Explicit, &["FUCK", "motherfucker"]);
        check("ez mid", Class::Implicit, &["ez mid"]);
        check("report this guy pls", Class::Action, &[]);
        check("gg wp", Class::Other, &[]);
        check("nice game [SEPA] thanks all", Class::Other, &[]);
        check("well played [SEPA] fucking retard", Class::Explicit, &["fucking", "retard"]);
    }

    #[test]
    fn disguises_are_seen_through_and_their_bytes_are_shown() {
        for (text, hidden) in [
            ("you are an 1d10t", "1d10t"),
            ("you are an iddiiiiiot lol", "iddiiiiiot"),
            ("what a f u c k this is", "f u c k"),
            ("go f.u.c.k off", "f.u.c.k"),
            ("f*ck you", "f*ck"),
            ("you ѕtυріd", "ѕtυріd"),
            ("you s\u{200b}tu\u{200d}pid", "s\u{200b}tu\u{200d}pid"),
            ("you ｓｔｕｐｉｄ", "ｓｔｕｐｉｄ"),
            ("you s̶t̶u̶p̶i̶d̶", "s̶t̶u̶p̶i̶d̶"),
            ("you 𝓼𝓽𝓾𝓹𝓲𝓭", "𝓼𝓽𝓾𝓹𝓲𝓭"),
            ("such a r3t4rd", "r3t4rd"),
            ("stfu n00000b", "n00000b"),
            ("$h!t player", "$h!t"),
        ] {
            let verdict = verdict(text);
            assert_eq!(verdict.class, Class::Explicit, "{text}: {verdict:?}");
            let shown: Vec<&str> = verdict.spans.iter().map(|span| &text[span.clone()]).collect();
            assert!(shown.iter().any(|shown| shown.contains(hidden) || hidden.contains(shown)), "{text}: {shown:?}");
        }
    }

    #[test]
    fn innocent_words_that_contain_others_are_innocent() {
        for text in [
            "scunthorpe united",
            "the class will assemble and assassinate",
            "grape cocktail in the cockpit",
            "snigger at the mustard",
            "shiitake",
            "he has 455 hp",
            "1v1 me at 8",
            "analyse the document",
            "",
            "日本語 привет",
            "🎉🎉🎉",
        ] {
            let verdict = verdict(text);
            assert_ne!(verdict.class, Class::Explicit, "{text}: {verdict:?}");
            assert_eq!(verdict.action, Action::Allow, "{text}: {verdict:?}");
        }
    }

    #[test]
    fn a_slur_or_a_threat_is_explicit_and_surely_so_whatever_stands_around_it() {
        let padded = format!("{} faggot {}", "thanks for the nice game ".repeat(12), "well played all ".repeat(12));
        for text in [padded.as_str(), "gg wp faggot", "kill yourself", "k1ll y0urself", "k y s", "hijo de puta"] {
            let verdict = verdict(text);
            assert_eq!((verdict.class, verdict.action), (Class::Explicit, Action::Block), "{text}");
            assert!(verdict.score >= GRAVE_SCORE, "{text}");
        }
    }

    #[test]
    fn padding_hides_nothing_in_a_long_text() {
        let insult = "fuck you stupid idiot ".repeat(8);
        let text = format!("{}{insult}{}", "thanks for the nice game ".repeat(60), "well played all ".repeat(60));
        assert!(text.len() > 16 * SUM_BYTES_MAX);
        assert_eq!(verdict(&text).class, Class::Explicit);
    }

    #[test]
    fn a_text_that_is_too_long_is_named() {
        let judge = |bytes| {
            let long = "a".repeat(bytes);
            Judge::default().judge(["b", "c", "d", &long].into_iter(), &Policy::default(), |_, _| ())
        };
        assert_eq!(judge(TEXT_BYTES_MAX), Ok(()));
        let fault = judge(TEXT_BYTES_MAX + 1).expect_err("too long");
        assert_eq!(fault.field, "messages[3].text");
    }

    #[test]
    fn the_score_grows_with_the_margin_and_stays_a_probability() {
        let scores: Vec<u16> = (-3000..3000).map(|margin| score([margin, -5000, -5000])).collect();
        assert!(scores.is_sorted() && scores[0] < 50 && scores[5999] > 950);
        assert!(scores.iter().all(|score| *score <= 1000));
    }

    proptest! {
        #[test]
        fn both_walks_come_to_the_same_margins(text in "([a-z ?.0-9!]|\\PC|fuck|ez|\\[SEPA\\]){0,80}") {
            prop_assume!(text.len() <= SUM_BYTES_MAX);
            let (mut batch, mut record) = (Batch::default(), Record::default());
            let odd = normalise(&text, &mut record);
            let others = ["", "gg wp", "a longer text than the others", "x"];
            for at in 0..=others.len() {
                let mut texts = others.to_vec();
                texts.insert(at, &text);
                batch.glance(texts.into_iter());
                let glance = batch.glances()[at];
                prop_assert_eq!((margins(glance.lanes), glance.odd), (record.margins(), odd));
                prop_assert_eq!(has_grave(glance.lanes), record.has_grave());
            }
        }

        #[test]
        fn a_text_is_judged_alike_alone_and_among_many(number in 1..400_usize) {
            let texts = ["gg", "fuck you", "ez", "report", "you 1d10t", "a"].map(|text| (text, verdict(text)));
            let long = "w ".repeat(200);
            let many = (0..number).map(|at| if at % 50 == 7 { long.as_str() } else { texts[at % texts.len()].0 });
            let many: Vec<&str> = many.collect();
            let mut told = 0;
            let tell = |at: usize, verdict: Verdict| {
                assert_eq!(at, told);
                told += 1;
                assert!(at % 50 == 7 || verdict == texts[at % texts.len()].1);
            };
            Judge::default().judge(many.iter().copied(), &Policy::default(), tell).expect("short");
            prop_assert_eq!(told, number);
        }

        #[test]
        fn spans_lie_in_the_text_in_order(text in "([a-z ?.0-9!*@$]|\\PC|fuck|f u c k|1d10t|ez|\\[SEPA\\]){0,300}") {
            prop_assume!(text.len() <= TEXT_BYTES_MAX);
            let verdict = verdict(&text);
            prop_assert!(verdict.spans.len() <= SPANS_MAX && verdict.score <= 1000);
            let mut behind = 0;
            for span in verdict.spans {
                prop_assert!(behind <= span.start && span.start < span.end);
                prop_assert!(text.get(span.clone()).is_some(), "{:?}", span);
                behind = span.end;
            }
        }
    }
}
