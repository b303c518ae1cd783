//! One rule by path, and what it requires of a request.

use std::{sync::Arc, time::Duration};

use super::{Quota, RequestLimits};
use crate::model::{Origin, PathRules, RouteId, WebOrigin};

/// Who may pass a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; an invalid session counts as none.
    Public,
    /// Every valid session of the tenant.
    Session,
    /// A valid session with one of these roles.
    Roles(Box<[Box<str>]>),
    /// Nobody: 404. Only the `unmatched` route of a set uses it.
    Nobody,
}

/// Whether an upstream may grant a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granting {
    /// No.
    #[default]
    Never,
    /// Yes.
    Directly,
    /// Only to a sign-in that began here and comes back from another site.
    Callback,
}

impl Granting {
    /// Says whether it may at all.
    pub fn is_allowed(self) -> bool {
        self != Self::Never
    }
}

/// What is refused when a page of another site makes the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginCheck {
    /// Nothing.
    Off,
    /// Unsafe methods with a session from a cookie.
    #[default]
    Sessions,
    /// Every unsafe method, WebSockets, and grants and revocations by the answer.
    Always,
}

/// One rule of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name: the path in the configuration, `*` for the unmatched route.
    pub id: RouteId,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// Who may pass.
    pub access: Access,
    /// The allowed methods; if empty: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    pub methods: Box<[Box<str>]>,
    /// Whether the upstream may grant a session here.
    pub grant: Granting,
    /// Whether a sign-in begins here that will come back from another site.
    pub begins_sign_in: bool,
    /// Whether the upstream may revoke sessions here.
    pub revoke: bool,
    /// How old a sign-in may be.
    pub max_auth_age: Option<Duration>,
    /// Whether a WebSocket may be opened.
    pub websocket: bool,
    /// Whether GET, HEAD and OPTIONS may have a body.
    pub body: bool,
    /// What is refused when another site makes the request.
    pub origin_check: OriginCheck,
    /// Origins that count as the same site here, in addition to the tenant's.
    pub origins: Box<[WebOrigin]>,
    /// What the path may contain beyond the strict form.
    pub path: PathRules,
    /// Quotas of the route, in addition to the tenant's.
    pub quotas: Box<[Arc<Quota>]>,
    /// Bounds of a request; `None`: the tenant's.
    pub limits: Option<RequestLimits>,
}

impl Route {
    /// Says whether a request may pass while it is unknown if its session is valid: it needs none, and
    /// neither creates nor ends one.
    pub fn needs_no_session(&self) -> bool {
        self.access == Access::Public && !self.grant.is_allowed() && !self.revoke
    }

    /// Says whether the rule allows the method.
    pub fn lists(&self, method: &str) -> bool {
        self.methods().any(|listed| listed == method)
    }

    /// Returns the allowed methods.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let usual = if self.methods.is_empty() { USUAL_METHODS } else { &[] };
        self.methods.iter().map(|method| &**method).chain(usual.iter().copied())
    }

    /// Says whether everything that passes this rule also passes the other one: it is as strict in who may
    /// pass, in the age of the sign-in, in origins and in methods. It is a partial order.
    pub fn asks_at_least(&self, other: &Self) -> bool {
        self.access == Access::Nobody
            || (self.guards_at_least(other)
                && self.origin_at_least(other)
                && self.methods().all(|method| other.lists(method)))
    }

    /// Compares who may pass, and how old the sign-in may be.
    pub fn guards_at_least(&self, other: &Self) -> bool {
        let old = match (self.max_auth_age, other.max_auth_age) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(own), Some(other)) => own <= other,
        };
        old && self.access.asks_at_least(&other.access)
    }

    /// Says whether a rule includes the quotas and bounds of another, if that has any of its own.
    pub fn bounds_at_least(&self, other: &Self) -> bool {
        let has = |quota: &Arc<Quota>| self.quotas.iter().any(|own| own.name == quota.name);
        (other.limits.is_none() || self.limits == other.limits) && other.quotas.iter().all(has)
    }

    /// Compares where a request may come from.
    pub fn origin_at_least(&self, other: &Self) -> bool {
        let listed = || self.origins.iter().all(|origin| other.origins.contains(origin));
        self.origin_check >= other.origin_check && (other.origin_check == OriginCheck::Off || listed())
    }
}

impl Access {
    /// Says whether everybody who may pass here may also pass there.
    pub fn asks_at_least(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nobody, _) | (_, Self::Public) | (Self::Session | Self::Roles(_), Self::Session) => true,
            // One of these roles is enough, so fewer roles are stricter.
            (Self::Roles(own), Self::Roles(other)) => own.iter().all(|role| other.contains(role)),
            (Self::Public | Self::Session, Self::Roles(_))
            | (Self::Public, Self::Session)
            | (_, Self::Nobody) => false,
        }
    }
}

/// The methods of a rule that names none.
const USUAL_METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What happens where no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmatched {
    /// A valid session passes.
    #[default]
    Session,
    /// Everybody passes.
    Public,
    /// 404.
    Deny,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(change: impl FnOnce(&mut Route)) -> Route {
        let mut route = Route {
            id: RouteId::new("/x"),
            origin: Origin::default(),
            access: Access::Session,
            methods: Box::default(),
            grant: Granting::default(),
            begins_sign_in: false,
            revoke: false,
            max_auth_age: None,
            websocket: false,
            body: false,
            origin_check: OriginCheck::default(),
            origins: Box::default(),
            path: PathRules::default(),
            quotas: Box::default(),
            limits: None,
        };
        change(&mut route);
        route
    }

    fn roles(names: &[&str]) -> Access {
        Access::Roles(names.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn a_rule_is_as_strict_in_everything_or_not_as_strict() {
        let session = route(|_| {});
        let stricter = [
            route(|route| route.access = roles(&["admin"])),
            route(|route| route.access = Access::Nobody),
            route(|route| route.max_auth_age = Some(Duration::from_secs(60))),
            route(|route| route.origin_check = OriginCheck::Always),
            route(|route| route.methods = Box::new(["GET".into()])),
        ];

        assert!(session.asks_at_least(&session));
        assert!(session.asks_at_least(&route(|route| route.access = Access::Public)));
        for other in &stricter {
            assert!(other.asks_at_least(&session) && !session.asks_at_least(other), "{other:?}");
        }
    }

    #[test]
    fn fewer_roles_fewer_methods_and_younger_sign_ins_ask_for_more() {
        let of = |names: &[&str]| route(|route| route.access = roles(names));
        let aged = |seconds| route(|route| route.max_auth_age = Some(Duration::from_secs(seconds)));
        let with = |methods: &[&str]| {
            route(|route| route.methods = methods.iter().map(|name| (*name).into()).collect())
        };

        assert!(of(&["a"]).asks_at_least(&of(&["a", "b"])));
        assert!(!of(&["a", "b"]).asks_at_least(&of(&["a"])));
        assert!(!of(&["a"]).asks_at_least(&of(&["b"])) && !of(&["b"]).asks_at_least(&of(&["a"])), "neither");
        assert!(aged(60).asks_at_least(&aged(60)) && !aged(61).asks_at_least(&aged(60)));
        assert!(
            with(&["GET"]).asks_at_least(&with(&["GET", "PROPFIND"]))
                && !with(&["PROPFIND"]).asks_at_least(&with(&[]))
        );
    }
}
