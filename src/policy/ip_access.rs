//! The addresses that may reach a tenant.

use super::IpSet;
use crate::model::{ClientIp, Origin, Range, UnixTime};

/// One entry of an `allow` or `deny` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRule {
    /// The range.
    pub range: Range,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// The operator's note.
    pub note: Option<Box<str>>,
    /// When it expires.
    pub expires: Option<UnixTime>,
}

/// The two lists of a tenant, without the entries that had expired when the policy was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpAccess {
    allow: Option<List>,
    deny: List,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    set: IpSet,
    rules: Box<[RangeRule]>,
    /// For each rule, the index of the next one around it; empty where none expires.
    enclosing: Box<[Option<u32>]>,
}

/// The result of a look-up in one list.
enum RangeMatch<'a> {
    Range(&'a RangeRule),
    /// Only expired ranges contain the address; this is the most specific one.
    Expired(&'a RangeRule),
    None,
}

impl List {
    fn new(rules: Vec<RangeRule>) -> Self {
        let set = IpSet::new(rules.iter().map(|rule| rule.range));
        let enclosing =
            if rules.iter().any(|rule| rule.expires.is_some()) { set.enclosing() } else { Box::default() };
        Self { set, rules: rules.into(), enclosing }
    }

    /// Finds the most specific range that contains the address and has not expired. An expired range does not
    /// hide the ones around it.
    fn find(&self, client: ClientIp, now: UnixTime) -> RangeMatch<'_> {
        let Some((mut at, first)) = self.set.find(client).and_then(|at| Some((at, self.rules.get(at)?)))
        else {
            return RangeMatch::None;
        };
        let mut rule = first;
        // Each range is wider than the one before, or equal and later in the configuration.
        while rule.expires.is_some_and(|end| end <= now) {
            let outer =
                self.enclosing.get(at).copied().flatten().and_then(|outer| usize::try_from(outer).ok());
            match outer.and_then(|outer| Some((outer, self.rules.get(outer)?))) {
                Some(outer) => (at, rule) = outer,
                None => return RangeMatch::Expired(first),
            }
        }
        RangeMatch::Range(rule)
    }
}

/// The result of a look-up in both lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// There is no `allow` list, and no deny range contains the address.
    Open,
    /// An allow range contains the address, and no deny range does.
    Allowed(&'a RangeRule),
    /// A deny range contains the address. Deny wins.
    Denied(&'a RangeRule),
    /// There is an `allow` list, and its ranges for the address have expired since it was loaded.
    Expired(&'a RangeRule),
    /// There is an `allow` list and the address is not in it.
    Unlisted,
}

impl IpAccess {
    /// Builds the lists from entries that have not expired. `allow: None` admits every address that is not
    /// denied; an allow list whose entries have all expired admits none.
    pub fn new(allow: Option<Vec<RangeRule>>, deny: Vec<RangeRule>) -> Self {
        Self { allow: allow.map(List::new), deny: List::new(deny) }
    }

    /// Looks an address up at a time: ranges that have expired since the lists were loaded are ignored.
    pub fn lookup(&self, client: ClientIp, now: UnixTime) -> Access<'_> {
        if let RangeMatch::Range(rule) = self.deny.find(client, now) {
            return Access::Denied(rule);
        }
        match self.allow.as_ref().map(|allow| allow.find(client, now)) {
            None => Access::Open,
            Some(RangeMatch::Range(rule)) => Access::Allowed(rule),
            Some(RangeMatch::Expired(rule)) => Access::Expired(rule),
            Some(RangeMatch::None) => Access::Unlisted,
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

    fn until(range: &str, end: u64) -> RangeRule {
        RangeRule { expires: Some(UnixTime::from_secs(end)), ..rule(range) }
    }

    const NOW: UnixTime = UnixTime::from_secs(100);

    #[test]
    fn what_has_expired_is_not_there() {
        let allow = vec![
            until("203.0.113.7/32", 100),
            until("203.0.113.0/28", 90),
            rule("203.0.113.0/24"),
            until("198.51.100.0/24", 100),
        ];
        let access =
            IpAccess::new(Some(allow), vec![until("203.0.113.9/32", 100), until("203.0.113.10/32", 101)]);
        let at = |text: &str, now| access.lookup(ip(text), UnixTime::from_secs(now));

        assert_eq!(at("203.0.113.7", 99), Access::Allowed(&until("203.0.113.7/32", 100)));
        assert_eq!(
            at("203.0.113.7", 100),
            Access::Allowed(&rule("203.0.113.0/24")),
            "two around it, of which one has expired"
        );
        assert_eq!(at("198.51.100.1", 99), Access::Allowed(&until("198.51.100.0/24", 100)));
        assert_eq!(at("198.51.100.1", 100), Access::Expired(&until("198.51.100.0/24", 100)));
        assert_eq!(at("203.0.113.9", 99), Access::Denied(&until("203.0.113.9/32", 100)));
        assert_eq!(
            at("203.0.113.9", 100),
            Access::Allowed(&rule("203.0.113.0/24")),
            "a denied range that has expired denies nobody"
        );
        assert_eq!(at("203.0.113.10", 100), Access::Denied(&until("203.0.113.10/32", 101)));
    }

    #[test]
    fn of_two_equal_ranges_the_one_that_holds_counts() {
        for ranges in [
            vec![until("203.0.113.0/24", 90), rule("203.0.113.0/24")],
            vec![rule("203.0.113.0/24"), until("203.0.113.0/24", 90)],
        ] {
            let access = IpAccess::new(Some(ranges), Vec::new());

            assert_eq!(access.lookup(ip("203.0.113.7"), NOW), Access::Allowed(&rule("203.0.113.0/24")));
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let access = IpAccess::new(Some(vec![rule("203.0.113.0/24")]), vec![rule("203.0.113.66/32")]);

        assert_eq!(access.lookup(ip("203.0.113.65"), NOW), Access::Allowed(&rule("203.0.113.0/24")));
        assert_eq!(access.lookup(ip("203.0.113.66"), NOW), Access::Denied(&rule("203.0.113.66/32")));
        assert_eq!(access.lookup(ip("203.0.114.1"), NOW), Access::Unlisted);
    }

    #[test]
    fn no_allow_list_admits_every_address_not_denied() {
        let access = IpAccess::new(None, vec![rule("203.0.113.66/32")]);

        assert_eq!(access.lookup(ip("192.0.2.1"), NOW), Access::Open);
        assert_eq!(access.lookup(ip("203.0.113.66"), NOW), Access::Denied(&rule("203.0.113.66/32")));
    }

    #[test]
    fn a_list_emptied_by_expiry_admits_nobody() {
        assert_eq!(
            IpAccess::new(Some(Vec::new()), Vec::new()).lookup(ip("192.0.2.1"), NOW),
            Access::Unlisted
        );
    }
}
