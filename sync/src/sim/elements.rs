//! Every put that was ever made of a set's member or a map's field, and which commit removes which.
//!
//! Kept apart from the reference, so that "what was removed never returns" is checked by a rule of its own: an element may be
//! read only while some put of it is removed by no commit that was seen.

use std::collections::BTreeMap;

use crate::commit::Commit;
use crate::crdt::Op;
use crate::id::Dot;
use crate::key::Key;
use crate::scalar::Scalar;

/// A put of an element.
#[derive(Clone, Debug)]
struct Put {
    dot: Dot,
    value: Scalar,
}

/// What one commit does to one element.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    pub(super) element: usize,
    /// The puts that it removes: those that it names, and all earlier ones of its own writer.
    pub(super) removes: Vec<usize>,
}

/// All elements and their puts, numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    numbers: BTreeMap<(Key, Scalar), usize>,
    names: Vec<(Key, Scalar)>,
    puts: Vec<Put>,
    puts_of: Vec<Vec<usize>>,
    /// How many puts were ever removed, counted once for each commit that does.
    pub(super) removals: usize,
}

impl Elements {
    /// Notes what a commit does.
    pub(super) fn note(&mut self, commit: &Commit) -> Vec<Touched> {
        let mut touched = Vec::new();
        for (key, op) in &commit.ops {
            match op {
                Op::OrSet(assigns) => {
                    for assign in assigns {
                        let put = assign.value.map(|()| Scalar::Null);
                        touched.push(self.touch(commit, key, assign.member.clone(), put, &assign.over));
                    }
                }
                Op::LwwMap(assigns) => {
                    for assign in assigns {
                        let field = Scalar::Text(assign.member.clone());
                        touched.push(self.touch(commit, key, field, assign.value.clone(), &assign.over));
                    }
                }
                Op::GCounter(_) | Op::PnCounter(..) | Op::Fold { .. } | Op::GSet(_) => {}
            }
        }
        touched
    }

    fn touch(&mut self, commit: &Commit, key: &Key, member: Scalar, put: Option<Scalar>, over: &[Dot]) -> Touched {
        let dot = commit.dot();
        let name = (key.clone(), member);
        let element = *self.numbers.entry(name.clone()).or_insert_with(|| {
            self.names.push(name);
            self.puts_of.push(Vec::new());
            self.names.len() - 1
        });
        let earlier = |of: &Dot| of.replica == dot.replica && of.seq < dot.seq;
        let removed = |of: &Dot| over.contains(of) || earlier(of);
        let removes: Vec<usize> =
            self.puts_of[element].iter().copied().filter(|put| removed(&self.puts[*put].dot)).collect();
        self.removals += removes.len();
        if let Some(value) = put {
            self.puts_of[element].push(self.puts.len());
            self.puts.push(Put { dot, value });
        }
        Touched { element, removes }
    }

    /// Forgets a commit that a crash took.
    pub(super) fn forget(&mut self, commit: &Commit, touched: &[Touched]) {
        for Touched { element, .. } in touched {
            self.puts_of[*element].retain(|put| self.puts[*put].dot != commit.dot());
        }
    }

    /// The key and the member or field of an element.
    pub(super) fn name(&self, element: usize) -> &(Key, Scalar) {
        &self.names[element]
    }

    /// The number of an element that was ever put or removed.
    pub(super) fn number(&self, key: &Key, member: &Scalar) -> Option<usize> {
        self.numbers.get(&(key.clone(), member.clone())).copied()
    }

    /// Whether an element may be read with this value by whoever has seen the removal of the puts in `gone`.
    pub(super) fn may_show(&self, element: usize, value: Option<&Scalar>, gone: &[bool]) -> bool {
        self.puts_of[element].iter().any(|put| {
            !gone.get(*put).copied().unwrap_or(false) && value.is_none_or(|value| *value == self.puts[*put].value)
        })
    }
}
