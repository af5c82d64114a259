//! From a text to a verdict.
//!
//! Owns the decision: which class, how sure, which spans, what to do. The invariants: the same text under the same policy
//! gives the same verdict on every host; and a text that is not odd and not toxic is read once, and costs no memory.

use std::ops::Range;

use crate::automaton::{CALIBRATION, Lists, Margins};
use crate::fold::Glyphs;
use crate::policy::Policy;
use crate::reading::Reading;

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
    reading: Reading,
    /// Another reading of the same text.
    other: Reading,
    glyphs: Glyphs,
}

impl Judge {
    /// Judges one text.
    #[inline]
    pub fn judge(&mut self, text: &str, policy: &Policy) -> Verdict {
        let margins = self.glance(text);
        if self.suspects(margins) {
            return self.examine(text, margins, policy);
        }
        Verdict { action: Action::Allow, class: class(margins), score: score(margins), spans: Vec::new() }
    }

    /// Judges one text, and tells the verdict if it is not allowed.
    #[inline]
    pub fn screen(&mut self, text: &str, policy: &Policy) -> Option<Verdict> {
        let margins = self.glance(text);
        let verdict = self.suspects(margins).then(|| self.examine(text, margins, policy));
        verdict.filter(|verdict| verdict.action != Action::Allow)
    }

    #[inline(always)]
    fn glance(&mut self, text: &str) -> Margins {
        self.reading.read(text);
        self.reading.margins()
    }

    /// Whether a text deserves more than a glance.
    #[inline(always)]
    fn suspects(&self, margins: Margins) -> bool {
        let toxic = matches!(class(margins), Class::Explicit | Class::Implicit);
        toxic || self.reading.is_odd() || self.reading.has_grave()
    }

    /// Judges at leisure: texts that look odd, or of which it must be said what is wrong with them.
    #[inline(never)]
    fn examine(&mut self, text: &str, mut margins: Margins, policy: &Policy) -> Verdict {
        if self.reading.is_odd() {
            margins = self.see_through(text, margins);
        }
        let grave = self.reading.has_grave();
        let class = if grave { Class::Explicit } else { class(margins) };
        let score = score(margins).max(if grave { GRAVE_SCORE } else { 0 });
        Verdict { action: policy.action(class, score), class, score, spans: self.spans(class) }
    }

    /// Leaves the worst reading of a disguise in `reading`, and returns the margins with it.
    ///
    /// Only a listed word makes a disguise: who reads digits as letters finds a meaning in any score.
    fn see_through(&mut self, text: &str, plain: Margins) -> Margins {
        let mut worst = plain;
        self.glyphs.look(text);
        for key in self.glyphs.keys() {
            self.other.clear();
            self.glyphs.fold(key, &mut self.other);
            let margins = self.other.margins();
            if self.other.explicit() > self.reading.explicit() {
                std::mem::swap(&mut self.reading, &mut self.other);
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
        let listed: Vec<_> = self.reading.listed(lists).take(SPANS_MAX).collect();
        if listed.is_empty() { self.reading.heavy(lane).take(SPANS_MAX).collect() } else { listed }
    }
}

/// `Explicit` if that has a margin over all others, or else of the other two the one with the greater, if any has one.
#[must_use]
pub const fn class([explicit, implicit, action]: Margins) -> Class {
    if explicit > 0 {
        Class::Explicit
    } else if implicit > 0 && implicit >= action {
        Class::Implicit
    } else if action > 0 {
        Class::Action
    } else {
        Class::Other
    }
}

/// The margin of the toxic classes over the others, by which scores and parts are compared.
#[must_use]
pub fn toxicity([explicit, implicit, action]: &Margins) -> i32 {
    *explicit.max(&(implicit - action.max(&0)))
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
    use crate::reading::PART;

    fn verdict(text: &str) -> Verdict {
        Judge::default().judge(text, &Policy::default())
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
        assert!(text.len() > 16 * PART);
        assert_eq!(verdict(&text).class, Class::Explicit);
    }

    #[test]
    fn the_score_grows_with_the_margin_and_stays_a_probability() {
        let scores: Vec<u16> = (-3000..3000).map(|margin| score([margin, -5000, -5000])).collect();
        assert!(scores.is_sorted() && scores[0] < 50 && scores[5999] > 950);
        assert!(scores.iter().all(|score| *score <= 1000));
    }

    proptest! {
        #[test]
        fn a_text_is_judged_alike_alone_and_after_others(order in proptest::collection::vec(0..8_usize, 0..40)) {
            let long = "w ".repeat(200);
            let texts = ["gg", "fuck you", "ez", "report", "you 1d10t", "a", "kill yourself", &long];
            let mut judge = Judge::default();
            for at in order {
                let expect = verdict(texts[at]);
                prop_assert_eq!(&judge.judge(texts[at], &Policy::default()), &expect, "{}", texts[at]);
                let refused = Some(expect).filter(|verdict| verdict.action != Action::Allow);
                prop_assert_eq!(judge.screen(texts[at], &Policy::default()), refused, "{}", texts[at]);
            }
        }

        #[test]
        fn spans_lie_in_the_text_in_order(text in "([a-z ?.0-9!*@$]|\\PC|fuck|f u c k|1d10t|ez|\\[SEPA\\]){0,300}") {
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
