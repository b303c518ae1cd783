//! What can be called: by which path and method, and by whom.

use super::refusal::{Refusal, refusal};
use crate::model::Role;

/// What the path of a tenant begins with.
pub(super) const TENANT_PATH: &str = "/v1/tenants/";

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Status,
    Tenant,
    Reload,
    Revoke,
    Sessions,
    Upgrade,
    Keys,
    Bans,
    Ban,
    Unban,
}

impl Endpoint {
    /// Finds what a path and a method ask for.
    pub(super) fn find(path: &str, method: &str) -> Result<Self, Refusal> {
        let (endpoint, fits) = match path {
            "/v1/status" => (Self::Status, matches!(method, "GET" | "HEAD")),
            "/v1/reload" => (Self::Reload, method == "POST"),
            "/v1/upgrade" => (Self::Upgrade, method == "POST"),
            "/v1/sessions/revoke" => (Self::Revoke, method == "POST"),
            "/v1/sessions/list" => (Self::Sessions, method == "POST"),
            "/v1/keys" => (Self::Keys, matches!(method, "GET" | "HEAD")),
            "/v1/bans" if method == "POST" => (Self::Ban, true),
            "/v1/bans" => (Self::Bans, matches!(method, "GET" | "HEAD")),
            "/v1/bans/remove" => (Self::Unban, method == "POST"),
            _ if path.starts_with(TENANT_PATH) => (Self::Tenant, matches!(method, "GET" | "HEAD")),
            _ => return Err(refusal(404, "not_found", "there is no such call")),
        };
        if fits {
            Ok(endpoint)
        } else {
            Err(refusal(405, "method_not_allowed", "the call has another method"))
        }
    }

    /// Returns the role that it needs.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::Status | Self::Tenant | Self::Keys | Self::Bans => Role::Viewer,
            Self::Reload | Self::Revoke | Self::Sessions | Self::Upgrade | Self::Ban | Self::Unban => {
                Role::Operator
            }
        }
    }
}
