//! The replicated state: objects by key, and the root that sums them up.
//!
//! Turns a draft into operations, applies operations, merges objects of other hosts. Knows no peers and no log. The invariant:
//! `root` is the sum of the content of all objects, whatever order they changed in; and nothing that leaves depends on a hash.

mod leaves;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use leaves::Leaves;
pub(crate) use leaves::{Range, mark, mix};

use crate::causal::VersionVector;
use crate::codec::ObjectRow;
use crate::crdt::{Assign, ContentHash, Context, Counter, Object, ObjectState, Op, Raise, Seeded, Value, Writers};
use crate::draft::{Folded, ReadState};
use crate::hlc::Hlc;
use crate::id::{Dot, ReplicaId, Stream};
use crate::key::{Key, Kind};
use crate::limits::{COUNTER_TOTAL_MAX, DOTS_PER_ASSIGN_MAX};
use crate::planted::{self, Bug};
use crate::scalar::Scalar;

/// All objects of one scope.
#[derive(Clone, Debug)]
pub struct State {
    me: ReplicaId,
    seed: Seeded,
    /// In the order in which they came, which says nothing. What leaves the state is in order of key.
    objects: IndexMap<Key, Slot, Seeded>,
    order: BTreeSet<Key>,
    leaves: Leaves,
    /// Those that wrote what is there: each is named once.
    writers: Writers,
    root: ContentHash,
    bytes: u64,
    /// Objects that hold deferred dots or nothing at all, or did when they were last looked at: what [`State::settle`] looks at.
    unsettled: Vec<Key>,
    /// Objects that changed since they were last stored. One that was forgotten may be named twice.
    dirty: Vec<Key>,
    /// Objects whose content changed since the last [`State::take_touched`]; `None` while nobody watches.
    touched: Option<BTreeSet<Key>>,
}

/// An object, and which lists of keys name it.
#[derive(Clone, Debug)]
struct Slot {
    object: Object,
    /// The next object of the leaf.
    next: u32,
    unsettled: bool,
    dirty: bool,
}

impl Slot {
    const fn new(object: Object) -> Self {
        Self { object, next: leaves::NONE, unsettled: false, dirty: false }
    }
}

impl State {
    /// An empty state, read on behalf of the replica `me`, whose tables are hashed by a seed that everybody knows.
    #[must_use]
    pub fn new(me: ReplicaId) -> Self {
        Self::seeded(me, Seeded::default())
    }

    /// As [`State::new`], with a seed that nobody who chooses keys and members should know. Nothing else depends on it.
    #[must_use]
    pub fn seeded(me: ReplicaId, seed: Seeded) -> Self {
        Self {
            me,
            seed,
            objects: IndexMap::with_hasher(seed),
            order: BTreeSet::new(),
            leaves: Leaves::default(),
            writers: Writers::default(),
            root: ContentHash::ZERO,
            bytes: 0,
            unsettled: Vec::new(),
            dirty: Vec::new(),
            touched: None,
        }
    }

    /// The replica whose totals a counter's [`ReadState::own_totals`] tells.
    pub const fn become_replica(&mut self, me: ReplicaId) {
        self.me = me;
    }

    /// The hash of all live content: equal on hosts that have seen the same commits.
    #[must_use]
    pub const fn root(&self) -> ContentHash {
        self.root
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// How many objects a reader finds something in. Hosts with equal roots have the same number, unlike that of objects: what was emptied
    /// is forgotten on each host when that host knows that all have seen it.
    #[must_use]
    pub fn filled(&self) -> usize {
        let unsettled = self.unsettled.iter().filter_map(|key| self.objects.get(key));
        self.objects.len() - unsettled.filter(|slot| slot.object.is_empty()).count()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// About how many bytes the content occupies in memory.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many dots and empty objects are kept only until every member has seen what made them so.
    #[must_use]
    pub fn garbage(&self) -> usize {
        let unsettled = self.unsettled.iter().filter_map(|key| self.objects.get(key));
        unsettled.filter(|slot| slot.object.needs_settling()).map(|slot| slot.object.garbage().max(1)).sum()
    }

    /// An object; `None` when nobody has written it.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key).map(|slot| &slot.object)
    }

    /// What a reader sees of an object; `None` when nobody has written it.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<Value> {
        self.object(key).map(Object::value)
    }

    /// Objects in order of key, beginning after `after`.
    pub fn objects_after<'a>(&'a self, after: Option<&'a Key>) -> impl Iterator<Item = (&'a Key, &'a Object)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let keys = self.order.range((after.map_or(Unbounded, Excluded), Unbounded));
        keys.filter_map(|key| Some((key, self.object(key)?)))
    }

    /// Turns folded changes into the operations of the commit named by `dot`. What changes nothing is left out.
    pub(crate) fn operations(&self, folded: BTreeMap<Key, Folded>, dot: &Dot) -> Vec<(Key, Op)> {
        folded.into_iter().filter_map(|(key, folded)| self.operation(&key, folded, dot).map(|op| (key, op))).collect()
    }

    fn operation(&self, key: &Key, folded: Folded, dot: &Dot) -> Option<Op> {
        let object = self.object(key);
        let op = match folded {
            Folded::Counter { up, down } => {
                let (own_up, own_down) = object.map_or((0, 0), |object| object.totals(&dot.replica));
                match key.kind() {
                    Kind::GCounter if planted::is(Bug::StepsNotTotals) => Op::GCounter(Raise { total: up, step: up }),
                    Kind::GCounter => Op::GCounter(Raise { total: own_up + up, step: up }),
                    Kind::PnCounter | Kind::GSet | Kind::OrSet | Kind::LwwMap => Op::PnCounter(
                        Raise { total: own_up + up, step: up },
                        Raise { total: own_down + down, step: down },
                    ),
                }
            }
            Folded::Grow(members) => {
                let new = |member: &Scalar| !object.is_some_and(|object| object.contains(member));
                let members: Vec<_> = members.into_iter().filter(new).collect();
                if members.is_empty() && object.is_some() {
                    return None;
                }
                Op::GSet(members)
            }
            Folded::Set(members) => {
                let assigns = members.into_iter().filter_map(|(member, add)| {
                    let over = object.map_or_else(Vec::new, |object| object.observed_member(&member, dot));
                    let there = object.is_some_and(|object| object.contains(&member));
                    (add || there).then_some(Assign { member, value: add.then_some(()), over })
                });
                Op::OrSet(assigns.collect())
            }
            Folded::Map(fields) => {
                let assigns = fields.into_iter().filter_map(|(member, value)| {
                    let over = object.map_or_else(Vec::new, |object| object.observed_field(&member, dot));
                    let there = object.is_some_and(|object| object.field(&member).is_some());
                    (value.is_some() || there).then_some(Assign { member, value, over })
                });
                Op::LwwMap(assigns.collect())
            }
        };
        Some(op)
    }

    /// The operation by which `me` takes over what retired replicas hold of the counter `key`; `None` when they hold nothing, or
    /// the sum is more than one replica may hold. `seen` must include all that was ever written by them, and nobody else may
    /// take over the same entries at the same time: what two take over counts twice.
    #[must_use]
    pub fn fold_of(&self, key: &Key, retired: &BTreeSet<ReplicaId>, seen: &VersionVector, me: ReplicaId) -> Option<Op> {
        let counter = self.object(key)?.as_counter()?;
        let (mut up, mut down) = counter.totals(&me);
        let mut from = Vec::new();
        for share in counter.shares().iter().filter(|share| share.replica != me && retired.contains(&share.replica)) {
            // The last commit of the stream, not that of the entry: hosts that read it from the first version of the format
            // may know different ones, and all of them go.
            let seq = seen.seq(&Stream::global(share.replica));
            if seq < share.seq.max(1) || from.len() == DOTS_PER_ASSIGN_MAX {
                continue;
            }
            up = up.checked_add(share.up).filter(|up| *up <= COUNTER_TOTAL_MAX)?;
            down = down.checked_add(share.down).filter(|down| *down <= COUNTER_TOTAL_MAX)?;
            from.push(Dot { replica: share.replica, seq });
        }
        (!from.is_empty()).then_some(Op::Fold { up, down, from })
    }

    /// The counters that hold shares of any of `replicas`, in order of key. Looks at every counter, which come first among keys,
    /// and at nothing else.
    pub fn counters_holding<'a>(&'a self, replicas: &'a BTreeSet<ReplicaId>) -> impl Iterator<Item = &'a Key> {
        let counters = self.objects_after(None).map_while(|(key, object)| Some((key, object.as_counter()?)));
        let held = move |counter: &Counter| counter.shares().iter().any(|share| replicas.contains(&share.replica));
        counters.filter(move |(_, counter)| held(counter)).map(|(key, _)| key)
    }

    /// Applies one operation of the commit named by `dot`, stamped `hlc`. It has been validated.
    pub fn apply(&mut self, key: Key, op: Op, dot: Dot, hlc: Hlc, context: Context<'_>) {
        self.writers.note(&dot.replica);
        self.touch(key, |object, seed, writers| {
            object.apply(op, dot, hlc, Context { seed, writers: Some(writers), ..context });
        });
    }

    /// Merges an object as another host holds it, which has seen `theirs`. It has been validated.
    pub fn merge(&mut self, key: Key, state: ObjectState, theirs: Context<'_>, ours: Context<'_>) {
        state.replicas().for_each(|replica| self.writers.note(replica));
        self.touch(key, |object, seed, writers| {
            object.merge(state, theirs, Context { seed, writers: Some(writers), ..ours });
        });
    }

    /// Leaves in a grow-only set only those of `members`. Such a set never shrinks by what replicas do: this is for what none of them may
    /// hold, and each has to leave out the same.
    pub(crate) fn replace_members(&mut self, key: &Key, members: Vec<Scalar>) {
        let nothing = VersionVector::default();
        self.touch(key.clone(), |object, seed, writers| {
            let context = Context { seed, writers: Some(writers), ..Context::of(&nothing) };
            let mut only = Object::new(key);
            only.merge(ObjectState::GSet(members), context, context);
            *object = only;
        });
    }

    /// Forgets deferred dots that `context` has come to cover.
    pub fn settle(&mut self, context: Context<'_>) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.retain(|key| {
            let Some(slot) = self.objects.get_mut(key) else { return false };
            let before = slot.object.garbage();
            if before > 0 {
                slot.object.settle(context);
                let position = slot.object.content().position();
                self.leaves.change(position, None, leaves::settled_mark(&slot.object));
            }
            if slot.object.garbage() < before && !slot.dirty {
                slot.dirty = true;
                self.dirty.push(key.clone());
            }
            slot.unsettled = slot.object.needs_settling();
            slot.unsettled
        });
        self.unsettled = unsettled;
    }

    /// Forgets objects that hold nothing any more. Right when every member has seen what emptied them.
    pub fn forget_empty(&mut self) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        // Names can be chosen so that they crowd in one leaf. Building all leaves anew costs as many steps as there are objects.
        let (mut steps, mut is_linked) = (self.objects.len(), true);
        unsettled.retain(|key| {
            let Some((index, _, slot)) = self.objects.get_full(key) else { return false };
            if !slot.object.is_forgettable() {
                return true;
            }
            if !slot.dirty {
                self.dirty.push(key.clone());
            }
            is_linked = is_linked && self.leaves.swap_remove(&mut self.objects, index, &mut steps);
            self.objects.swap_remove_index(index);
            self.order.remove(key);
            false
        });
        self.unsettled = unsettled;
        if !is_linked || self.leaves.is_sparse(self.objects.len()) {
            self.leaves.rebuild(&mut self.objects);
        }
    }

    /// The objects that changed since the last call, in order of key, for the store; `None` stands for one that was forgotten.
    pub fn take_dirty(&mut self) -> Vec<(Key, Option<ObjectRow>)> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        let take = |key: Key| {
            let row = self.objects.get_mut(&key).map(|slot| {
                slot.dirty = false;
                ObjectRow::from(&slot.object.state())
            });
            (key, row)
        };
        dirty.into_iter().map(take).collect()
    }

    /// Puts back what [`State::take_dirty`] gave, because storing it failed.
    pub fn mark_dirty(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            let known = self.objects.get_mut(&key).is_some_and(|slot| std::mem::replace(&mut slot.dirty, true));
            if !known {
                self.dirty.push(key);
            }
        }
    }

    /// How many objects wait to be stored, or a few more.
    #[must_use]
    pub const fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Whether to note which objects change, for those who watch.
    pub(crate) fn collect_touched(&mut self, collect: bool) {
        self.touched = if collect { Some(self.touched.take().unwrap_or_default()) } else { None };
    }

    /// The objects whose content changed since the last call. What the root does not cover is no change.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<Key> {
        self.touched.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes what a store held, into a state that is still empty. It has been validated. Nothing of it counts as changed.
    pub fn restore(&mut self, objects: Vec<(Key, ObjectState)>) {
        let nothing = VersionVector::default();
        self.objects.reserve(objects.len());
        for (key, state) in objects {
            state.replicas().for_each(|replica| self.writers.note(replica));
            let context = Context { seed: self.seed, writers: Some(&self.writers), ..Context::of(&nothing) };
            let mut object = Object::new(&key);
            object.merge(state, context, context);
            self.root = self.root.plus(object.content().hash());
            self.bytes = self.bytes.saturating_add(object.content().bytes());
            let mut slot = Slot::new(object);
            if slot.object.needs_settling() {
                slot.unsettled = true;
                self.unsettled.push(key.clone());
            }
            self.objects.insert(key, slot);
        }
        // Built at once, the order is packed, and costs no more than sorting what is nearly sorted.
        self.order = self.objects.keys().cloned().collect();
        self.leaves.rebuild(&mut self.objects);
    }

    fn touch(&mut self, key: Key, act: impl FnOnce(&mut Object, Seeded, &Writers)) {
        let index = self.objects.get_index_of(&key).unwrap_or_else(|| self.insert(key));
        let Some((key, slot)) = self.objects.get_index_mut(index) else { return };
        let (before, mark_before) = (*slot.object.content(), leaves::settled_mark(&slot.object));
        act(&mut slot.object, self.seed, &self.writers);
        let (after, needs_settling) = (slot.object.content(), slot.object.needs_settling());
        let mark_after = (!needs_settling).then(|| mark(&slot.object));
        self.leaves.change(after.position(), mark_before, mark_after);
        self.root = self.root.minus(before.hash()).plus(after.hash());
        self.bytes = self.bytes.saturating_sub(before.bytes()).saturating_add(after.bytes());
        if !slot.unsettled && needs_settling {
            slot.unsettled = true;
            self.unsettled.push(key.clone());
        }
        if let Some(touched) = &mut self.touched
            && before.hash() != after.hash()
        {
            touched.insert(key.clone());
        }
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(key.clone());
        }
    }

    fn insert(&mut self, key: Key) -> usize {
        let slot = Slot::new(Object::new(&key));
        self.order.insert(key.clone());
        let index = self.objects.insert_full(key, slot).0;
        self.leaves.insert(&mut self.objects, index);
        index
    }
}

impl ReadState for State {
    fn counter(&self, key: &Key) -> Option<i128> {
        match self.value(key)? {
            Value::Counter(value) => Some(value),
            Value::Set(_) | Value::Map(_) => None,
        }
    }

    fn own_totals(&self, key: &Key) -> (u64, u64) {
        self.object(key).map_or((0, 0), |object| object.totals(&self.me))
    }

    fn contains(&self, key: &Key, member: &Scalar) -> bool {
        self.object(key).is_some_and(|object| object.contains(member))
    }

    fn members(&self, key: &Key) -> Option<Vec<Scalar>> {
        match self.value(key)? {
            Value::Set(members) => Some(members),
            Value::Counter(_) | Value::Map(_) => None,
        }
    }

    fn field(&self, key: &Key, field: &str) -> Option<Scalar> {
        self.object(key).and_then(|object| object.field(field))
    }

    fn fields(&self, key: &Key) -> Option<BTreeMap<String, Scalar>> {
        match self.value(key)? {
            Value::Map(fields) => Some(fields),
            Value::Counter(_) | Value::Set(_) => None,
        }
    }
}

impl State {
    /// Small ranges that cover those from `start` to `last`, in order of position.
    pub(crate) fn ranges(&self, start: u64, last: u64) -> impl Iterator<Item = Range> {
        self.leaves.ranges(start, last)
    }

    /// The objects of one of [`State::ranges`], in an order that means nothing.
    pub(crate) fn objects_of(&self, range: &Range) -> impl Iterator<Item = (&Key, &Object)> {
        leaves::chain(&self.objects, range)
    }

    /// The objects that need settling, in an order that means nothing: those that the sums of [`State::ranges`] leave out.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (&Key, &Object)> {
        let unsettled = self.unsettled.iter().filter_map(|key| Some((key, self.object(key)?)));
        unsettled.filter(|(_, object)| object.needs_settling())
    }

    /// Removes of `key` what another host, which has seen `theirs`, does not hold any more: it holds nothing of that name.
    pub(crate) fn merge_absence(&mut self, key: Key, theirs: Context<'_>, ours: Context<'_>) {
        let nothing = Object::new(&key).state();
        self.merge(key, nothing, theirs, ours);
    }
}
