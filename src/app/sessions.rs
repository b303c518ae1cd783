//! The sessions that a user has.

use std::{collections::HashMap, sync::Arc};

use super::parts::App;
use crate::{
    cluster::RemoteSession,
    model::{
        ClientPrefix, ControlError, SessionId, SessionStatus, SessionsOfUser, TenantName, UserId, error_chain,
    },
    sessions::LocalSession,
};

impl App {
    /// Lists what stores know of a user's sessions: this node's, and the one that nodes share.
    pub(super) async fn list_sessions(
        &self,
        tenant: &TenantName,
        user: &UserId,
    ) -> Result<SessionsOfUser, ControlError> {
        let policy = Arc::clone(&self.shared.snapshot.load().policy);
        let found =
            policy.tenants.named(tenant.as_str()).ok_or_else(|| ControlError::Unknown(tenant.to_string()))?;
        let idle = found.sessions.idle;
        let (elsewhere, silence) = match &self.sharing {
            Some(sharing) => match sharing.sessions_of(tenant, user, idle).await {
                Ok(elsewhere) => (elsewhere, None),
                Err(fault) => (Vec::new(), Some(error_chain(&fault))),
            },
            None => (Vec::new(), policy.redis.as_ref().map(|_| "nodes share no revocations".to_owned())),
        };
        let now = self.shared.clock.now();
        let own = self.shared.revocations.sessions_of(tenant, user, idle, now);
        let mut sessions = union(own, elsewhere, &policy.node);
        for session in &mut sessions {
            session.ends = session.ends.min(session.granted.plus(found.sessions.absolute));
        }
        sessions.retain(|session| session.ends > now);
        Ok(SessionsOfUser {
            sessions,
            silence,
            has_foreign: policy
                .sessions
                .as_ref()
                .is_some_and(|sessions| !sessions.foreign.formats().is_empty()),
        })
    }
}

/// Puts together what this node and the others know, the oldest first. Of each session the node is named that
/// saw it last.
fn union(own: Vec<LocalSession>, elsewhere: Vec<RemoteSession>, node: &str) -> Vec<SessionStatus> {
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
    use crate::{model::UnixTime, sessions::GrantRecord};

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
