//! Routes: the most specific rule wins, whatever the order in the file.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Quota, RequestLimits};
use crate::model::{Origin, PathRules, RouteId, WebOrigin};

/// Who may pass a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; a bad session is no session.
    Public,
    /// Every valid session of the tenant.
    Session,
    /// A valid session with one of these roles.
    Roles(Box<[Box<str>]>),
    /// Nobody: 404. Only the `unmatched` route of a set has it.
    Nobody,
}

/// What is refused where a page of another site asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginCheck {
    /// Nothing.
    Off,
    /// Unsafe methods with a session from a cookie.
    #[default]
    Sessions,
    /// Every unsafe method, WebSockets, and what an answer does to sessions.
    Always,
}

/// One rule of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name: the path as written, `*` for what no rule matches.
    pub id: RouteId,
    /// Where it was written.
    pub origin: Origin,
    /// Who may pass.
    pub access: Access,
    /// The methods that may be used; none listed: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    pub methods: Box<[Box<str>]>,
    /// Whether the upstream may grant a session here.
    pub grant: bool,
    /// Whether the upstream may revoke sessions here.
    pub revoke: bool,
    /// How old a sign-in may be.
    pub max_auth_age: Option<Duration>,
    /// Whether a WebSocket may be opened.
    pub websocket: bool,
    /// What is refused where another site asks.
    pub origin_check: OriginCheck,
    /// Origins that are no other sites here, beside the tenant's.
    pub origins: Box<[WebOrigin]>,
    /// What the path may have beyond the strict form.
    pub path: PathRules,
    /// Quotas of the route, beside the tenant's.
    pub quotas: Box<[Arc<Quota>]>,
    /// Bounds of a request; absent: the tenant's.
    pub limits: Option<RequestLimits>,
}

impl Route {
    /// Says whether a request may pass while nobody knows if its session holds: it needs none, and neither makes nor ends one.
    pub fn needs_no_session(&self) -> bool {
        self.access == Access::Public && !self.grant && !self.revoke
    }
}

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

/// The rules of one tenant, ready to be asked.
#[derive(Clone, Debug)]
pub struct RouteTable {
    exact: BTreeMap<Box<str>, Arc<Route>>,
    /// By path, each ending in `/`.
    prefixes: BTreeMap<Box<str>, Arc<Route>>,
    unmatched: Arc<Route>,
}

impl RouteTable {
    /// Finds the rule for a decoded path: the exact one, else the longest prefix, else what the set says of the unmatched.
    ///
    /// A path that ends in `/` is a prefix of everything below it; any other path is exact. So a prefix ends on a segment
    /// boundary by construction. Cost: one look-up per segment.
    pub fn find(&self, path: &str) -> &Arc<Route> {
        if let Some(route) = self.exact.get(path) {
            return route;
        }
        let mut rest = path;
        while let Some(slash) = rest.rfind('/') {
            if let Some(route) = path.get(..=slash).and_then(|prefix| self.prefixes.get(prefix)) {
                return route;
            }
            rest = rest.get(..slash).unwrap_or("");
        }
        &self.unmatched
    }

    /// Returns every rule, exact ones first, the unmatched one last.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exact.values().chain(self.prefixes.values()).chain(std::iter::once(&self.unmatched))
    }
}

/// Collects rules into a table.
#[derive(Clone, Debug, Default)]
pub struct RouteTableBuilder {
    exact: BTreeMap<Box<str>, Arc<Route>>,
    prefixes: BTreeMap<Box<str>, Arc<Route>>,
}

/// Two rules of one set have the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameRoute {
    /// The rule that was there first.
    pub first: Origin,
}

impl RouteTableBuilder {
    /// Adds a rule under its decoded path. A rule of `own` replaces one that an earlier set brought (`origin_of_set`), which is
    /// how a tenant refines a shared set; two rules of one set are a mistake.
    pub fn add(&mut self, path: &str, route: Arc<Route>, refines: bool) -> Result<(), SameRoute> {
        let map = if path.ends_with('/') { &mut self.prefixes } else { &mut self.exact };
        match map.insert(path.into(), route) {
            Some(first) if !refines => Err(SameRoute { first: first.origin }),
            Some(_) | None => Ok(()),
        }
    }

    /// Finishes the table with the route for what no rule matches.
    pub fn build(self, unmatched: Arc<Route>) -> RouteTable {
        RouteTable { exact: self.exact, prefixes: self.prefixes, unmatched }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Arc<Route> {
        Arc::new(Route {
            id: RouteId::new(path),
            origin: Origin { file: 0, line: 7 },
            access: Access::Session,
            methods: Box::default(),
            grant: false,
            revoke: false,
            max_auth_age: None,
            websocket: false,
            origin_check: OriginCheck::default(),
            origins: Box::default(),
            path: PathRules::default(),
            quotas: Box::default(),
            limits: None,
        })
    }

    fn table(paths: &[&str]) -> RouteTable {
        let mut builder = RouteTableBuilder::default();
        for path in paths {
            builder.add(path, route(path), false).unwrap();
        }
        builder.build(route("*"))
    }

    #[test]
    fn the_most_specific_rule_wins_whatever_the_order() {
        for paths in [["/a/", "/a/b/", "/a/b/c", "/"], ["/", "/a/b/c", "/a/b/", "/a/"]] {
            let table = table(&paths);
            let find = |path| table.find(path).id.as_str().to_owned();

            assert_eq!(find("/a/b/c"), "/a/b/c");
            assert_eq!(find("/a/b/d"), "/a/b/");
            assert_eq!(find("/a/b/"), "/a/b/");
            assert_eq!(find("/a/x"), "/a/");
            assert_eq!(find("/x"), "/");
        }
    }

    #[test]
    fn a_prefix_ends_on_a_segment_boundary() {
        let table = table(&["/public/", "/login"]);

        assert_eq!(table.find("/publicx").id.as_str(), "*");
        assert_eq!(table.find("/public").id.as_str(), "*");
        assert_eq!(table.find("/public/x").id.as_str(), "/public/");
        assert_eq!(table.find("/login/x").id.as_str(), "*");
        assert_eq!(table.find("/Login").id.as_str(), "*");
    }

    #[test]
    fn two_rules_for_one_path_are_a_mistake_in_a_set_and_a_refinement_across_sets() {
        let mut builder = RouteTableBuilder::default();

        assert_eq!(builder.add("/a", route("/a"), false), Ok(()));
        assert_eq!(builder.add("/a", route("/a"), false), Err(SameRoute { first: Origin { file: 0, line: 7 } }));
        assert_eq!(builder.add("/a", route("/a"), true), Ok(()));
    }
}
