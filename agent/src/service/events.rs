//! Documents about what happens: commits that were applied, members that come and go, workloads that start and stop.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::stream::BoxStream;
use selvedge_sync::crdt::Value;
use selvedge_sync::hlc::Hlc;
use selvedge_sync::id::{Dot, NodeId};
use selvedge_sync::key::Key;
use selvedge_sync::replica::KeyPrefix;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::RolloutEvent;
use super::json::JsonValue;

/// What a listener wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsWanted {
    /// The kinds of events; without it, commits alone where there is a prefix, and else everything.
    pub kinds: Option<Kinds>,
    /// Of the commits, those that change keys under this prefix.
    pub prefix: Option<KeyPrefix>,
    /// The id of the last event that was heard, as the caller gives it.
    pub after: Option<String>,
    /// Whether the listener came by a way that takes a right, as a unix socket does: places are kept for those.
    pub by_right: bool,
}

impl EventsWanted {
    /// The kinds that are meant.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        let meant = || if self.prefix.is_some() { Kinds::commits() } else { Kinds::all() };
        self.kinds.clone().unwrap_or_else(meant)
    }
}

/// Which kinds of events somebody wants to hear, by the names of [`Event::name`]; `None` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Option<BTreeSet<&'static str>>);

impl Kinds {
    /// Every kind that may be asked for.
    pub const ALL: [&str; 7] = [COMMIT, "member", "link", "fraud", "placement", "rollout", "decision"];

    /// Everything that happens.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// Changes of state, and nothing else.
    #[must_use]
    pub fn commits() -> Self {
        Self(Some(BTreeSet::from([COMMIT])))
    }

    /// Whether changes of state are among them. Whoever does not want those costs the driver nothing.
    #[must_use]
    pub fn has_commits(&self) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.contains(COMMIT))
    }

    /// Whether an event is of one of these kinds.
    #[must_use]
    pub fn include(&self, event: &Event) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.contains(event.name()))
    }
}

/// A text that is no list of kinds of events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of event")]
pub struct ParseKindsError(String);

impl FromStr for Kinds {
    type Err = ParseKindsError;

    /// Reads names with commas between them.
    fn from_str(text: &str) -> Result<Self, ParseKindsError> {
        let kind = |name: &str| {
            let known = Self::ALL.into_iter().find(|known| *known == name.trim());
            known.ok_or_else(|| ParseKindsError(super::shorten(name).into_owned()))
        };
        text.split(',').map(kind).collect::<Result<_, _>>().map(|kinds| Self(Some(kinds)))
    }
}

/// What happened a while ago, other than commits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastEvent {
    /// Its name: the one that listeners were told.
    #[serde(serialize_with = "as_text")]
    pub id: EventId,
    /// When it was recorded, in milliseconds since 1970 by this host's clock.
    pub at_ms: u64,
    /// Its kind, as listeners know it.
    pub kind: &'static str,
    /// The event; its fields stand beside these.
    #[serde(flatten, serialize_with = "as_event")]
    pub event: Arc<Event>,
}

/// The kind of event that there are many of.
pub(crate) const COMMIT: &str = "commit";

fn as_event<S: Serializer>(event: &Arc<Event>, serializer: S) -> Result<S::Ok, S::Error> {
    event.serialize(serializer)
}

fn as_text<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Notices for one listener, in order. Ends when the listener is too slow.
pub type Notices = BoxStream<'static, Notice>;

/// What a listener is told: an event, or only how far it has heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Whoever comes back with this id misses nothing, unless it is told so.
    pub id: EventId,
    /// What happened; `None` when nothing did for a while.
    pub event: Option<Arc<Event>>,
}

/// The name of an event: which life of the agent, and its position within it. Written `LIFE-POSITION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Which life of the agent: another one knows nothing of what this one told.
    pub life: u64,
    /// Counts up by one.
    pub position: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// A commit was applied here, or a repair from state changed objects.
    Commit(CommitEvent),
    /// A member came, went, or fell silent.
    Member(MemberEvent),
    /// A link came up, went down, was slowed or refused.
    Link(LinkEvent),
    /// A member was proven to have given one name to two commits.
    Fraud(FraudEvent),
    /// A workload started, became ready, failed or stopped on some member.
    Placement(PlacementEvent),
    /// A workload was deployed, and how that goes on.
    Rollout(RolloutEvent),
    /// This host did something about a workload.
    Decision(DecisionEvent),
    /// The listener has missed something; what there is now it has to read.
    Reset {
        /// Why, for people.
        reason: &'static str,
    },
    /// The listener was too slow and is told no more. It may come back with the id that it heard last.
    Lagged {
        /// How many events it did not hear.
        missed: u64,
    },
}

/// Objects that a commit changed, with what they hold now. A commit of very many keys makes several events.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitEvent {
    /// What changed, in order of key.
    pub changes: Vec<KeyChange>,
    /// The commit; `None` when a repair from state brought it, with whatever else was missing.
    pub dot: Option<Dot>,
    /// When it was made; for a repair, the newest stamp known here.
    pub hlc: Hlc,
}

/// One object that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChange {
    /// Which.
    pub key: Key,
    /// What it held when the event was recorded: all that this host had applied by then.
    pub value: Known,
    /// About how many bytes both occupy.
    pub bytes: usize,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It is this.
    Value(Arc<Value>),
    /// Nobody has written the object, or it has been emptied and forgotten. JSON: `null`.
    Nothing,
    /// It is too large to be carried by an event and has to be read. JSON: absent.
    TooLarge,
}

/// A member that came, went, or fell silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberEvent {
    /// Who.
    pub node: NodeId,
    /// Its name for people, as far as it is known.
    pub name: String,
    /// `joined`, `suspect`, `refuted`, `lost`, `returned`, `left` or `retired`.
    pub status: &'static str,
}

/// Something that happened to the link between this host and another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkEvent {
    /// The other.
    pub node: NodeId,
    /// Its name for people, as far as it is known.
    pub name: String,
    /// `up`, `down`, `slowed`, `refused` or `two_holders`.
    pub change: &'static str,
    /// Where it is, why it went down, or what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long it is refused, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasting_ms: Option<u64>,
}

/// A member was proven to have given one name to two commits: it lies, or a copy of its data runs elsewhere. What it has written
/// since is not taken any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FraudEvent {
    /// Who.
    pub node: NodeId,
    /// The frozen stream's writer.
    pub replica: String,
    /// The number that was given twice.
    pub seq: u64,
}

impl FraudEvent {
    /// The event about the name that was given twice.
    #[must_use]
    pub fn about(name: Dot) -> Self {
        Self { node: name.replica.node, replica: name.replica.to_string(), seq: name.seq }
    }
}

/// A workload on one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacementEvent {
    /// Which workload.
    pub workload: String,
    /// Where.
    pub node: NodeId,
    /// The digest of what runs there.
    pub digest: String,
    /// `starting`, `ready`, `stopping`, `failed` or `gone`.
    pub phase: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A step that this host took about a workload, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionEvent {
    /// Which workload.
    pub workload: String,
    /// This host.
    pub node: NodeId,
    /// `claimed`, `moved`, `started`, `ready`, `failed`, `given_up`, `drained` or `stopped`.
    pub change: &'static str,
    /// The digest of what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Of a move: the host that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeId>,
    /// Of a move: the host that takes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// Of a move: by how much the score is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DecisionEvent {
    /// A step with nothing else to say.
    #[must_use]
    pub const fn new(workload: String, node: NodeId, change: &'static str) -> Self {
        Self { workload, node, change, digest: None, from: None, to: None, gain: None, reason: None }
    }
}

impl Event {
    /// The kind of event in one word, as listeners know it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Commit(_) => COMMIT,
            Self::Member(_) => "member",
            Self::Link(_) => "link",
            Self::Fraud(_) => "fraud",
            Self::Placement(_) => "placement",
            Self::Rollout(_) => "rollout",
            Self::Decision(_) => "decision",
            Self::Reset { .. } => "reset",
            Self::Lagged { .. } => "lagged",
        }
    }
}

impl Serialize for CommitEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("CommitEvent", 5)?;
        fields.serialize_field("keys", &self.changes.iter().map(|change| &change.key).collect::<Vec<_>>())?;
        fields.serialize_field("values", &Values(&self.changes))?;
        fields.serialize_field("replica", &self.dot.map(|dot| dot.replica.to_string()))?;
        fields.serialize_field("seq", &self.dot.map(|dot| dot.seq))?;
        fields.serialize_field("hlc", &self.hlc.to_string())?;
        fields.end()
    }
}

/// Values by key, without those that are too large.
struct Values<'a>(&'a [KeyChange]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for KeyChange { key, value, .. } in self.0 {
            match value {
                Known::Value(value) => map.serialize_entry(key, &JsonValue(value))?,
                Known::Nothing => map.serialize_entry(key, &())?,
                Known::TooLarge => {}
            }
        }
        map.end()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.life, self.position)
    }
}

/// Text that is no id of an event of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no id of an event")]
pub struct ParseEventIdError;

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<Self, ParseEventIdError> {
        let (life, position) = text.split_once('-').ok_or(ParseEventIdError)?;
        let number = |text: &str| text.parse().map_err(|_| ParseEventIdError);
        Ok(Self { life: number(life)?, position: number(position)? })
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::id::{Incarnation, ReplicaId};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_commit_shows_its_keys_and_what_they_hold() {
        let key = |text: &str| text.parse::<Key>().expect("a key");
        let change = |text: &str, value| KeyChange { key: key(text), value, bytes: 0 };
        let changes = vec![
            change("gcounter/kills", Known::Value(Arc::new(Value::Counter(5)))),
            change("gset/large", Known::TooLarge),
            change("orset/gone", Known::Nothing),
        ];
        let replica = ReplicaId { node: NodeId([7; 32]), incarnation: Incarnation(3) };
        let commit = CommitEvent { changes, dot: Some(Dot { replica, seq: 9 }), hlc: Hlc::from_millis(1_000) };
        let expect = json!({
            "keys": ["gcounter/kills", "gset/large", "orset/gone"],
            "values": {"gcounter/kills": 5, "orset/gone": null},
            "replica": replica.to_string(), "seq": 9, "hlc": "1000.0",
        });
        assert_eq!(serde_json::to_value(Event::Commit(commit.clone())).expect("JSON"), expect);
        let repair = serde_json::to_value(CommitEvent { dot: None, ..commit }).expect("JSON");
        assert!(repair["replica"].is_null() && repair["seq"].is_null(), "{repair}");
    }

    #[test]
    fn a_fraud_names_the_member_and_the_name_that_it_gave_twice() {
        let replica = ReplicaId { node: NodeId([1; 32]), incarnation: Incarnation(3) };
        let event = Event::Fraud(FraudEvent::about(Dot { replica, seq: 7 }));
        let expect = json!({"node": replica.node, "replica": replica.to_string(), "seq": 7});
        assert_eq!((event.name(), serde_json::to_value(&event).expect("JSON")), ("fraud", expect));
    }

    #[test]
    fn kinds_are_asked_for_by_name() {
        let kinds: Kinds = "member, link".parse().expect("kinds");
        let fraud = Event::Fraud(FraudEvent { node: NodeId([1; 32]), replica: String::new(), seq: 1 });
        assert!(!kinds.has_commits() && !kinds.include(&fraud));
        assert!(Kinds::all().include(&fraud) && Kinds::all().has_commits());
        assert_eq!("member,birth".parse::<Kinds>(), Err(ParseKindsError("birth".to_owned())));
        assert!("".parse::<Kinds>().is_err());
    }

    #[test]
    fn ids_survive_their_own_text() {
        let id = EventId { life: 3, position: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "3", "3-", "-3", "3-x", "3-4-5", "99999999999999999999-1"] {
            assert_eq!(other.parse::<EventId>(), Err(ParseEventIdError), "{other}");
        }
    }
}
