//! The endpoints: their paths, methods and roles.

use super::refusal::{Refusal, refusal};
use crate::model::Role;

/// The prefix of a tenant's path.
pub(super) const TENANT_PATH: &str = "/v1/tenants/";

/// An endpoint.
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
    /// Finds the endpoint of a path and method.
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
            _ => return Err(refusal(404, "not_found", "no such endpoint")),
        };
        if fits {
            Ok(endpoint)
        } else {
            Err(refusal(405, "method_not_allowed", "this endpoint does not take the method"))
        }
    }

    /// Returns the role that it requires.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::Status | Self::Tenant | Self::Keys | Self::Bans => Role::Viewer,
            Self::Reload | Self::Revoke | Self::Sessions | Self::Upgrade | Self::Ban | Self::Unban => {
                Role::Operator
            }
        }
    }
}
