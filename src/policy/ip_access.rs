//! Which addresses may reach a tenant.

use super::IpSet;
use crate::model::{ClientIp, Origin, Range, UnixTime};

/// One entry of an `allow` or `deny` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRule {
    /// The range.
    pub range: Range,
    /// Where it was written.
    pub origin: Origin,
    /// What it is for.
    pub note: Option<Box<str>>,
    /// When it stops counting.
    pub expires: Option<UnixTime>,
}

/// The two lists of a tenant, as of the time the policy was loaded: entries that had expired by then are not in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpAccess {
    allow: Option<List>,
    deny: List,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    set: IpSet,
    rules: Box<[RangeRule]>,
}

impl List {
    fn new(rules: Vec<RangeRule>) -> Self {
        Self { set: IpSet::new(rules.iter().map(|rule| rule.range)), rules: rules.into() }
    }

    fn find(&self, client: ClientIp) -> Option<&RangeRule> {
        self.rules.get(self.set.find(client)?)
    }
}

/// What the lists say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// There is no `allow` list, and no deny range names the address.
    Open,
    /// An allow range holds the address, and no deny range does.
    Allowed(&'a RangeRule),
    /// A deny range holds the address. Deny wins.
    Denied(&'a RangeRule),
    /// There is an `allow` list and the address is not in it.
    Unlisted,
}

impl IpAccess {
    /// Builds the lists from the entries that have not expired. `allow: None` admits every address not denied; an allow list
    /// that expiry has emptied admits nobody.
    pub fn new(allow: Option<Vec<RangeRule>>, deny: Vec<RangeRule>) -> Self {
        Self { allow: allow.map(List::new), deny: List::new(deny) }
    }

    /// Asks about an address.
    pub fn lookup(&self, client: ClientIp) -> Access<'_> {
        if let Some(rule) = self.deny.find(client) {
            return Access::Denied(rule);
        }
        match &self.allow {
            None => Access::Open,
            Some(allow) => allow.find(client).map_or(Access::Unlisted, Access::Allowed),
        }
    }

    /// Returns the ranges of the allow list, if there is one.
    pub fn allowed(&self) -> Option<&[RangeRule]> {
        self.allow.as_ref().map(|list| &*list.rules)
    }

    /// Returns the ranges of the deny list.
    pub fn denied(&self) -> &[RangeRule] {
        &self.deny.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(range: &str) -> RangeRule {
        RangeRule { range: range.parse().unwrap(), origin: Origin::default(), note: None, expires: None }
    }

    fn ip(text: &str) -> ClientIp {
        ClientIp::from(text.parse::<std::net::IpAddr>().unwrap())
    }

    #[test]
    fn deny_wins_over_allow() {
        let access = IpAccess::new(Some(vec![rule("203.0.113.0/24")]), vec![rule("203.0.113.66/32")]);

        assert_eq!(access.lookup(ip("203.0.113.65")), Access::Allowed(&rule("203.0.113.0/24")));
        assert_eq!(access.lookup(ip("203.0.113.66")), Access::Denied(&rule("203.0.113.66/32")));
        assert_eq!(access.lookup(ip("203.0.114.1")), Access::Unlisted);
    }

    #[test]
    fn no_allow_list_admits_every_address_not_denied() {
        let access = IpAccess::new(None, vec![rule("203.0.113.66/32")]);

        assert_eq!(access.lookup(ip("192.0.2.1")), Access::Open);
        assert_eq!(access.lookup(ip("203.0.113.66")), Access::Denied(&rule("203.0.113.66/32")));
    }

    #[test]
    fn a_list_emptied_by_expiry_admits_nobody() {
        assert_eq!(IpAccess::new(Some(Vec::new()), Vec::new()).lookup(ip("192.0.2.1")), Access::Unlisted);
    }
}
