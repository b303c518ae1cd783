//! The sessions of a user on all nodes, as one list.

use std::collections::HashMap;

use super::grant_record::GrantRecord;
use crate::model::{ClientPrefix, SessionId, SessionStatus, UnixTime};

/// A session that this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSession {
    /// What was noted when it began.
    pub note: GrantRecord,
    /// When it was last seen here.
    pub seen: UnixTime,
    /// The newest of its tokens that was presented.
    pub generation: u32,
}

/// A session that the nodes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSession {
    /// What was recorded when it began.
    pub note: GrantRecord,
    /// When it was last used, to about a minute.
    pub seen: UnixTime,
    /// The generation of the newest token that was presented.
    pub generation: u32,
    /// The node that saw it last.
    pub node: String,
}

/// Why the sessions of other nodes cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ListError(pub String);

/// Merges what this node and the others know, oldest session first. Each session names the node that saw it
/// last.
pub(super) fn union(own: Vec<LocalSession>, elsewhere: Vec<RemoteSession>, node: &str) -> Vec<SessionStatus> {
    let mut all: HashMap<SessionId, SessionStatus> = HashMap::new();
    for one in elsewhere {
        let RemoteSession { note, seen, generation, node } = one;
        let client = Some(note.client).filter(|client| *client != ClientPrefix::default());
        all.insert(
            note.id,
            SessionStatus {
                id: note.id,
                granted: note.granted,
                seen,
                ends: note.ends,
                client,
                generation,
                node,
            },
        );
    }
    for one in own {
        let LocalSession { note, seen, generation } = one;
        let client = Some(note.client).filter(|client| *client != ClientPrefix::default());
        let here = SessionStatus {
            id: note.id,
            granted: note.granted,
            seen,
            ends: note.ends,
            client,
            generation,
            node: node.to_owned(),
        };
        let session = all.entry(note.id).or_insert_with(|| here.clone());
        session.generation = session.generation.max(generation);
        if here.seen >= session.seen {
            (session.seen, session.node) = (here.seen, here.node);
        }
    }
    let mut all: Vec<SessionStatus> = all.into_values().collect();
    all.sort_by_key(|session| (session.granted, *session.id.as_bytes()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(byte: u8, granted: u64, client: ClientPrefix) -> GrantRecord {
        GrantRecord {
            id: SessionId::new([byte; 16]),
            tenant: "acme".parse().unwrap(),
            user: "u_1".parse().unwrap(),
            granted: UnixTime::from_secs(granted),
            ends: UnixTime::from_secs(9_000),
            epoch: 0,
            client,
        }
    }

    #[test]
    fn each_session_is_listed_once_with_the_node_that_saw_it_last() {
        let at = UnixTime::from_secs;
        let own = [(1, 100, 500), (2, 200, 700), (4, 50, 60)];
        let own = own.map(|(byte, granted, seen)| LocalSession {
            note: note(byte, granted, ClientPrefix(7)),
            seen: at(seen),
            generation: 1,
        });
        let elsewhere =
            [(1, 100, 600), (2, 200, 650), (3, 300, 300)].map(|(byte, granted, seen)| RemoteSession {
                note: note(byte, granted, ClientPrefix::default()),
                seen: at(seen),
                generation: 2,
                node: "edge-2".to_owned(),
            });

        let all = union(own.into(), elsewhere.into(), "edge-1");

        let told: Vec<_> = all
            .iter()
            .map(|one| (one.id.as_bytes()[0], one.seen, one.generation, one.node.as_str()))
            .collect();
        let expected =
            [(4, 60, 1, "edge-1"), (1, 600, 2, "edge-2"), (2, 700, 2, "edge-1"), (3, 300, 2, "edge-2")];
        assert_eq!(told, expected.map(|(byte, seen, generation, node)| (byte, at(seen), generation, node)));
    }
}
