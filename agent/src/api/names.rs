//! The names that answers to calls bear, spelt once: an id in base58 takes longer to write than a small call to make.

use selvedge_sync::id::{NodeId, ReplicaId};

use crate::service::Committed;

/// Remembers how the last host and the last writer are spelt. Mostly both are this one.
#[derive(Debug, Default)]
pub(super) struct Names {
    node: Option<(NodeId, String)>,
    replica: Option<(ReplicaId, String)>,
}

impl Names {
    /// A host.
    pub(super) fn node(&mut self, node: NodeId) -> &str {
        self.node = self.node.take().filter(|(known, _)| *known == node);
        &self.node.get_or_insert_with(|| (node, node.to_string())).1
    }

    /// A commit, `REPLICA/SEQ`.
    pub(super) fn commit(&mut self, commit: &Committed) -> String {
        let replica = commit.replica;
        self.replica = self.replica.take().filter(|(known, _)| *known == replica);
        let (_, replica) = self.replica.get_or_insert_with(|| (replica, replica.to_string()));
        format!("{replica}/{}", commit.seq)
    }
}

#[cfg(test)]
mod tests {
    use selvedge_sync::hlc::Hlc;
    use selvedge_sync::id::Incarnation;

    use super::*;

    #[test]
    fn names_are_those_of_who_is_asked_for() {
        let mut names = Names::default();
        for (node, incarnation, seq) in [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 2, 4), (1, 1, 1)] {
            let node = NodeId([node; 32]);
            let replica = ReplicaId { node, incarnation: Incarnation(incarnation) };
            let commit = Committed { replica, seq, hlc: Hlc::default() };
            assert_eq!(names.node(node), node.to_string());
            assert_eq!(names.commit(&commit), commit.name());
        }
    }
}
