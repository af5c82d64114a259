//! Joining: how a stranger with a token becomes a member, in two questions.
//!
//! The first question names the invitation, and nothing else; whoever knows that name shows that it belongs to the cluster that
//! the token names. Only then does the joiner tell the secret, with the name and the region that it wants, and gets its
//! certificate. So a stranger learns nothing from a member, and a false member nothing from a joiner.

use std::collections::BTreeSet;

use selvedge_sync::codec;
use selvedge_sync::id::NodeId;
use serde::{Deserialize, Serialize};

use super::invitation::{TOKEN_ID_BYTES, TOKEN_SECRET_BYTES};
use super::{
    Authority, Certificate, Claims, Denied, Invitations, Papers, ROLE_AUTHORITY, ROLE_DEPLOYER, ROLE_MEMBER, Refusal,
    Roster, Terms, Token, Trust, UnixSeconds,
};

/// Longest message of a join, in bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1_024;

/// Longest name or region, in bytes; the configuration is stricter.
const NAME_BYTES_MAX: usize = 128;

/// How much earlier than now a certificate begins to hold: clocks of edge hosts differ.
pub const BACKDATED_S: u64 = 300;

/// What a joiner asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Do you await the bearer of this token?
    #[serde(rename = "i")]
    Introduce {
        /// The token's name.
        #[serde(rename = "i", with = "serde_bytes")]
        id: [u8; TOKEN_ID_BYTES],
    },
    /// Here is its secret; certify me.
    #[serde(rename = "c")]
    Claim {
        /// The token's name.
        #[serde(rename = "i", with = "serde_bytes")]
        id: [u8; TOKEN_ID_BYTES],
        /// The token's secret.
        #[serde(rename = "s", with = "serde_bytes")]
        secret: [u8; TOKEN_SECRET_BYTES],
        /// What the joiner wants to be called, where the invitation leaves that to it.
        #[serde(rename = "n")]
        name: String,
        /// Where it stands, where the invitation leaves that to it.
        #[serde(rename = "r")]
        region: String,
    },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Who we are.
    #[serde(rename = "w")]
    Welcome {
        /// That we are a member and hold an authority's key.
        #[serde(rename = "p")]
        papers: Box<Papers>,
    },
    /// You are a member.
    #[serde(rename = "a")]
    Admitted {
        /// What proves it.
        #[serde(rename = "c")]
        certificate: Box<Certificate>,
    },
    /// You are not, and why.
    #[serde(rename = "d")]
    Denied {
        /// Why.
        #[serde(rename = "r")]
        reason: String,
    },
}

/// Why a joiner is no member now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Whoever answered does not belong to the cluster of the token, so it was told nothing.
    #[error("whoever answers is not of the token's cluster, and was told nothing: {0}")]
    FalseMember(Refusal),
    /// Whoever answered is a member that holds no authority's key.
    #[error("whoever answers is a member, but none that can admit others")]
    NoAuthority,
    /// It was refused.
    #[error("refused: {0}")]
    Denied(String),
    /// The answer is none.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}

/// The joiner's side. [`Joining::next`] makes each question from the last answer.
#[derive(Debug)]
pub struct Joining {
    token: Token,
    node: NodeId,
    name: String,
    region: String,
    trust: Trust,
    certificate: Option<Certificate>,
}

impl Joining {
    /// Somebody who holds the key of `node` and a token.
    #[must_use]
    pub const fn new(token: Token, node: NodeId, name: String, region: String) -> Self {
        let trust = Trust::of(token.cluster);
        Self { token, node, name, region, trust, certificate: None }
    }

    /// The next question to the holder of `authority`'s key, from its last answer; `None` when this is a member.
    ///
    /// # Errors
    /// It does not become one here.
    pub fn next(
        &mut self,
        authority: NodeId,
        answer: Option<&[u8]>,
        now: UnixSeconds,
    ) -> Result<Option<Vec<u8>>, JoinError> {
        let id = self.token.id;
        let Some(bytes) = answer else { return Ok(Some(codec::encode(&Question::Introduce { id }))) };
        let answer =
            codec::decode(bytes, MESSAGE_BYTES_MAX).map_err(|error| JoinError::Malformed(error.to_string()))?;
        match answer {
            Answer::Welcome { papers } => {
                self.trust.learn(&papers.endorsements);
                let judged = self.trust.judge(&papers.certificate, authority, false, now);
                let claims = judged.map_err(JoinError::FalseMember)?;
                if !claims.roles.contains(ROLE_AUTHORITY) {
                    return Err(JoinError::NoAuthority);
                }
                let (secret, name, region) = (self.token.secret, self.name.clone(), self.region.clone());
                Ok(Some(codec::encode(&Question::Claim { id, secret, name, region })))
            }
            Answer::Admitted { certificate } => {
                self.trust
                    .judge(&certificate, self.node, false, now)
                    .map_err(|error| JoinError::Malformed(error.to_string()))?;
                self.certificate = Some(*certificate);
                Ok(None)
            }
            Answer::Denied { reason } => Err(JoinError::Denied(reason.escape_debug().to_string())),
        }
    }

    /// What makes this a member, once [`Joining::next`] has returned `None`.
    #[must_use]
    pub fn finish(self) -> Option<(Trust, Certificate)> {
        self.certificate.map(|certificate| (self.trust, certificate))
    }
}

/// What an authority keeps about those whom it admits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Who may come.
    pub invitations: Invitations,
    /// Who came.
    pub roster: Roster,
}

/// The side that admits: an authority, and how long the certificates that it signs hold.
#[derive(Debug)]
pub struct Desk {
    /// Signs.
    pub authority: Authority,
    /// How long certificates hold, in seconds.
    pub lifetime_s: u64,
}

impl Desk {
    /// Answers a joiner for a member who knows `trust` and has the certificate `own`; `None` for a stranger. A key that is out
    /// (`is_revoked`) is not admitted. Where the answer admits somebody, `books` have to be durable before it is sent.
    pub fn answer(
        &self,
        question: &[u8],
        (node, is_revoked): (NodeId, bool),
        (trust, own): (&Trust, &Certificate),
        books: &mut Books,
        now: UnixSeconds,
    ) -> Option<Answer> {
        match codec::decode(question, MESSAGE_BYTES_MAX).ok()? {
            Question::Introduce { id } => {
                books.invitations.awaits(&id, now).then(|| Answer::Welcome { papers: Box::new(trust.papers(own)) })
            }
            Question::Claim { id, secret, name, region } => {
                if !(is_sound(&name) && is_sound(&region)) {
                    let reason =
                        format!("a name and a region have 1 to {NAME_BYTES_MAX} bytes and no control characters");
                    return books.invitations.awaits(&id, now).then_some(Answer::Denied { reason });
                }
                // Only whoever has the token hears that its key is out: what the token would give is asked first.
                let admitted = match books.invitations.terms(&id, &secret, node, now) {
                    Ok(_) if is_revoked => Err(Denied::KeyRevoked),
                    Ok(terms) => self.admit((&id, &secret), (trust, node), (name, region), terms, books, now),
                    Err(denied) => Err(denied),
                };
                match admitted {
                    Ok(certificate) => Some(Answer::Admitted { certificate: Box::new(certificate) }),
                    // Whoever guesses is told nothing; whoever had the token is told what became of it.
                    Err(Denied::Unknown) => None,
                    Err(denied) => Some(Answer::Denied { reason: denied.to_string() }),
                }
            }
        }
    }

    /// Certifies whoever has a token and a name that is free; otherwise the token stays as it was.
    fn admit(
        &self,
        (id, secret): (&[u8; TOKEN_ID_BYTES], &[u8; TOKEN_SECRET_BYTES]),
        (trust, node): (&Trust, NodeId),
        (name, region): (String, String),
        terms: Terms,
        books: &mut Books,
        now: UnixSeconds,
    ) -> Result<Certificate, Denied> {
        let (name, region) = (terms.name.unwrap_or(name), terms.region.unwrap_or(region));
        let deployer = terms.may_deploy.then_some(ROLE_DEPLOYER);
        if let Some(by) = books.roster.bearer(&name, Some(node), now) {
            return Err(Denied::NameTaken { name, by });
        }
        let roles = [ROLE_MEMBER].into_iter().chain(deployer).map(ToOwned::to_owned).collect();
        let claims = self.claims(trust, node, (name, region), roles, now);
        books.roster.note(&claims, now)?;
        books.invitations.claim(id, secret, node, now)?;
        Ok(self.authority.certify(&claims))
    }

    /// What a new member's certificate says.
    fn claims(
        &self,
        trust: &Trust,
        node: NodeId,
        (name, region): (String, String),
        roles: BTreeSet<String>,
        now: UnixSeconds,
    ) -> Claims {
        let cluster = trust.cluster();
        let (not_before, not_after) = (now.saturating_sub(BACKDATED_S), now.saturating_add(self.lifetime_s));
        Claims { cluster, node, name, region, roles, not_before, not_after }
    }

    /// A certificate that says the same as one that still holds, for longer.
    #[must_use]
    pub fn renew(&self, claims: Claims, now: UnixSeconds) -> Certificate {
        let (not_before, not_after) = (now.saturating_sub(BACKDATED_S), now.saturating_add(self.lifetime_s));
        self.authority.certify(&Claims { not_before, not_after, ..claims })
    }
}

fn is_sound(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{AuthorityId, Span};

    const AT_DESK: NodeId = NodeId([1; 32]);
    const JOINER: NodeId = NodeId([2; 32]);
    const NOW: u64 = 10_000;

    fn desk(seed: u8, roles: &[&str]) -> (Desk, Trust, Certificate) {
        let authority = Authority::from_seed(&[seed; 32]);
        let trust = authority.found("games", Span { from: 0, to: 1 << 40 });
        let claims = Claims {
            cluster: trust.cluster(),
            node: AT_DESK,
            name: "first".into(),
            region: "eu".into(),
            roles: roles.iter().map(ToString::to_string).collect(),
            not_before: 0,
            not_after: 1 << 40,
        };
        let certificate = authority.certify(&claims);
        (Desk { authority, lifetime_s: 1_000 }, trust, certificate)
    }

    fn token(cluster: AuthorityId) -> Token {
        Token {
            cluster,
            id: [5; 8],
            secret: [6; 16],
            addresses: vec!["203.0.113.5:7412".to_owned()],
            name: None,
            region: None,
        }
    }

    fn joining(token: Token) -> Joining {
        Joining::new(token, JOINER, "edge-2".into(), "us".into())
    }

    /// Carries questions and answers to and fro until there is nothing more to ask.
    fn meet(
        joining: &mut Joining,
        (desk, trust, own): &(Desk, Trust, Certificate),
        books: &mut Books,
    ) -> Result<usize, JoinError> {
        let (mut answer, mut asked) = (None, 0);
        while let Some(question) = joining.next(AT_DESK, answer.as_deref(), NOW)? {
            asked += 1;
            let answered = desk.answer(&question, (JOINER, false), (trust, own), books, NOW);
            answer = Some(codec::encode(&answered.ok_or(JoinError::Denied("nobody answers".into()))?));
        }
        Ok(asked)
    }

    fn invited(token: &Token, name: Option<&str>) -> Books {
        let mut books = Books::default();
        let terms =
            Terms { name: name.map(ToOwned::to_owned), region: None, may_deploy: name.is_some(), not_after: NOW + 60 };
        books.invitations.invite(token, terms, NOW).expect("there is room");
        books
    }

    #[test]
    fn a_token_makes_a_member_in_two_questions() {
        for (name, expected) in [(None, "edge-2"), (Some("kiosk"), "kiosk")] {
            let at = desk(1, &[ROLE_MEMBER, ROLE_AUTHORITY]);
            let token = token(at.1.cluster());
            let (mut joining, mut books) = (joining(token.clone()), invited(&token, name));
            assert_eq!(meet(&mut joining, &at, &mut books), Ok(2));
            let (trust, certificate) = joining.finish().expect("is a member");
            assert_eq!(trust, at.1);
            let claims = trust.judge(&certificate, JOINER, false, NOW).expect("is believed");
            assert_eq!((claims.name.as_str(), claims.region.as_str()), (expected, "us"));
            assert_eq!((claims.not_before, claims.not_after), (NOW - BACKDATED_S, NOW + 1_000));
            let granted = [ROLE_MEMBER].into_iter().chain(name.map(|_| ROLE_DEPLOYER)).map(ToOwned::to_owned).collect();
            assert_eq!(claims.roles, granted, "and nothing more");
        }
    }

    #[test]
    fn a_false_member_is_told_nothing() {
        let (real, false_desk) = (desk(1, &[ROLE_AUTHORITY]), desk(2, &[ROLE_AUTHORITY]));
        let token = token(real.1.cluster());
        let mut books = invited(&token, None);
        let error = meet(&mut joining(token.clone()), &false_desk, &mut books).expect_err("is refused");
        assert!(matches!(error, JoinError::FalseMember(Refusal::Stranger(_))), "{error}");
        // Nor is one that shows what it has seen of the real one.
        let replayed = (false_desk.0, real.1, real.2);
        let mut joining = joining(token);
        let question = joining.next(NodeId([9; 32]), None, NOW).expect("asks").expect("asks");
        let answer = replayed
            .0
            .answer(&question, (JOINER, false), (&replayed.1, &replayed.2), &mut books, NOW)
            .expect("answers");
        let error = joining.next(NodeId([9; 32]), Some(&codec::encode(&answer)), NOW).expect_err("is refused");
        assert!(matches!(error, JoinError::FalseMember(Refusal::OtherNode(AT_DESK))), "{error}");
        assert!(books.invitations.iter().all(|invitation| invitation.used_by.is_none()));
    }

    #[test]
    fn a_member_without_an_authority_cannot_admit() {
        let at = desk(1, &[ROLE_MEMBER]);
        let token = token(at.1.cluster());
        assert_eq!(meet(&mut joining(token.clone()), &at, &mut invited(&token, None)), Err(JoinError::NoAuthority));
    }

    #[test]
    fn strangers_and_guessers_hear_nothing() {
        let (desk, trust, own) = desk(1, &[ROLE_AUTHORITY]);
        let token = token(trust.cluster());
        let mut books = invited(&token, None);
        let claim = |id, secret, name: &str| Question::Claim { id, secret, name: name.into(), region: "eu".into() };
        for silent in [
            codec::encode(&Question::Introduce { id: [9; 8] }),
            codec::encode(&claim(token.id, [9; 16], "x")),
            codec::encode(&claim([9; 8], token.secret, "")),
            b"nonsense".to_vec(),
            vec![],
        ] {
            assert_eq!(desk.answer(&silent, (JOINER, false), (&trust, &own), &mut books, NOW), None);
        }
        let unnamed = codec::encode(&claim(token.id, token.secret, "a\nb"));
        assert!(matches!(
            desk.answer(&unnamed, (JOINER, false), (&trust, &own), &mut books, NOW),
            Some(Answer::Denied { .. })
        ));
        assert!(books.invitations.iter().all(|invitation| invitation.used_by.is_none()), "it can still be used");
    }

    #[test]
    fn a_name_that_is_taken_leaves_the_token_unused() {
        let at = desk(1, &[ROLE_AUTHORITY]);
        let token = token(at.1.cluster());
        let mut books = invited(&token, Some("kiosk"));
        let other = at.0.claims(&at.1, NodeId([9; 32]), ("kiosk".into(), "eu".into()), BTreeSet::new(), NOW);
        books.roster.note(&other, NOW).expect("there is room");
        let before = books.clone();
        let refused = meet(&mut joining(token.clone()), &at, &mut books);
        assert!(matches!(&refused, Err(JoinError::Denied(why)) if why.contains("`kiosk` is taken")), "{refused:?}");
        assert_eq!(books, before);
        books.roster.strike(|node| *node == NodeId([9; 32]));
        assert_eq!(meet(&mut joining(token.clone()), &at, &mut books), Ok(2));
        assert_eq!(books.roster.bearer("kiosk", None, NOW), Some(JOINER));
        // A guesser is not told which names there are.
        let guess = Question::Claim { id: token.id, secret: [0; 16], name: "kiosk".into(), region: "eu".into() };
        let answer = at.0.answer(&codec::encode(&guess), (NodeId([7; 32]), false), (&at.1, &at.2), &mut books, NOW);
        assert_eq!(answer, None);
    }

    #[test]
    fn a_key_that_is_out_hears_so_if_it_has_the_token_and_another_key_can_come_with_it() {
        let at = desk(1, &[ROLE_AUTHORITY]);
        let token = token(at.1.cluster());
        let mut books = invited(&token, None);
        let before = books.clone();
        let claim = |secret| {
            let (id, name, region) = (token.id, "edge-2".into(), "us".into());
            codec::encode(&Question::Claim { id, secret, name, region })
        };
        let answer = at.0.answer(&claim(token.secret), (JOINER, true), (&at.1, &at.2), &mut books, NOW);
        assert!(matches!(&answer, Some(Answer::Denied { reason }) if reason.contains("revoked")), "{answer:?}");
        assert_eq!(at.0.answer(&claim([9; 16]), (JOINER, true), (&at.1, &at.2), &mut books, NOW), None);
        assert_eq!(books, before, "the token is unused");
        assert_eq!(meet(&mut joining(token.clone()), &at, &mut books), Ok(2));
    }

    #[test]
    fn a_token_makes_one_member() {
        let at = desk(1, &[ROLE_AUTHORITY]);
        let token = token(at.1.cluster());
        let mut books = invited(&token, None);
        assert_eq!(meet(&mut joining(token.clone()), &at, &mut books), Ok(2));
        assert_eq!(meet(&mut joining(token.clone()), &at, &mut books), Ok(2), "who lost the answer asks again");
        let other = codec::encode(&Question::Claim {
            id: token.id,
            secret: token.secret,
            name: "thief".into(),
            region: "eu".into(),
        });
        let answer = at.0.answer(&other, (NodeId([7; 32]), false), (&at.1, &at.2), &mut books, NOW);
        assert_eq!(answer, Some(Answer::Denied { reason: Denied::Used.to_string() }));
    }
    #[test]
    fn questions_and_answers_that_are_none_are_errors() {
        let at = desk(1, &[ROLE_AUTHORITY]);
        let token = token(at.1.cluster());
        let (id, secret, name, region) = (token.id, token.secret, "kiosk".into(), "eu".into());
        let question = |bytes: &[u8]| codec::decode::<Question>(bytes, MESSAGE_BYTES_MAX).is_ok();
        crate::outside::check("a claim", &codec::encode(&Question::Claim { id, secret, name, region }), question);
        let mut books = invited(&token, None);
        let introduction = codec::encode(&Question::Introduce { id });
        let welcome = at.0.answer(&introduction, (JOINER, false), (&at.1, &at.2), &mut books, NOW).expect("answers");
        let answer = |bytes: &[u8]| joining(token.clone()).next(AT_DESK, Some(bytes), NOW).is_ok();
        crate::outside::check("a welcome", &codec::encode(&welcome), answer);
    }
}
