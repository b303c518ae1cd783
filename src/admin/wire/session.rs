//! Sessions: list, revocation, and the tenant's epoch.

use serde::{Deserialize, Serialize};

use super::write_time;
use crate::model::{RevocationReport, SessionStatus, SessionsOfUser};

/// `GET /v1/tenants/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantBody {
    /// The tenant.
    pub name: String,
    /// The epoch in which its sessions are minted.
    pub epoch: u32,
}

/// What `POST /v1/sessions/revoke` takes: a session, or a tenant, or a tenant and a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The user of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it takes effect, as RFC 3339; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answer to `POST /v1/sessions/revoke`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedBody {
    /// On how many nodes it is in force.
    pub nodes: u32,
    /// The time until it was in force and on the disk, in milliseconds.
    pub took_ms: f64,
    /// When it takes effect.
    pub at: String,
    /// Live nodes that did not confirm in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// How many nodes are expected, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How many known sessions of the user it ends; absent if no user is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
}

impl From<RevocationReport> for RevokedBody {
    fn from(report: RevocationReport) -> Self {
        Self {
            nodes: report.nodes,
            took_ms: report.took.as_secs_f64() * 1000.0,
            at: write_time(report.at),
            silent: report.silent,
            replicas: report.replicas,
            known: report.known,
        }
    }
}

/// What `POST /v1/sessions/list` takes. It is a body because paths are logged, and a user's name must not
/// be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSessionsBody {
    /// The tenant.
    pub tenant: String,
    /// The user of the tenant.
    pub user: String,
}

/// The answer to `POST /v1/sessions/list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsBody {
    /// The known sessions, the oldest first.
    pub sessions: Vec<SessionBody>,
    /// Whether those of other nodes are among them.
    pub all_nodes: bool,
    /// Why they are not; absent if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// Kinds of sessions that no store knows, in words.
    pub unknown: Vec<String>,
}

/// One session of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBody {
    /// Its identifier, which `/v1/sessions/revoke` takes.
    pub session: String,
    /// When it was granted.
    pub granted: String,
    /// When it was last seen.
    pub seen: String,
    /// When it ends at the latest.
    pub ends: String,
    /// The client it was granted to: an IPv4 address or an IPv6 /64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How often its token was renewed.
    pub generation: u32,
    /// The node that saw it last.
    pub node: String,
}

impl From<SessionsOfUser> for SessionsBody {
    fn from(known: SessionsOfUser) -> Self {
        let session = |session: SessionStatus| SessionBody {
            session: session.id.to_hex(),
            granted: write_time(session.granted),
            seen: write_time(session.seen),
            ends: write_time(session.ends),
            client: session.client.map(|client| client.to_string()),
            generation: session.generation,
            node: session.node,
        };
        let mut unknown = vec!["Bearer tokens".to_owned()];
        if known.has_foreign {
            unknown.push("sessions of apps with a login of their own".to_owned());
        }
        Self {
            sessions: known.sessions.into_iter().map(session).collect(),
            all_nodes: known.silence.is_none(),
            silence: known.silence,
            unknown,
        }
    }
}
