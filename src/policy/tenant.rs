//! Tenants: customer accounts, found by name and by host.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use super::{
    ClientCertificates, Crl, ExpiredItem, IpAccess, Quota, RequestFields, RequestLimits, RouteTable,
    SessionRules, TrustExpiry, Upstream,
};
use crate::model::{Host, HostPattern, Mode, Origin, TenantName, UnixTime, WebOrigin};

/// One tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Where it is in the configuration.
    pub origin: Origin,
    /// The hosts it owns; a member has none.
    pub hosts: Box<[HostPattern]>,
    /// The upstream of its requests.
    pub upstream: Arc<Upstream>,
    /// Its rules by path.
    pub routes: Arc<RouteTable>,
    /// Its quotas, in addition to those of a route.
    pub quotas: Box<[Arc<Quota>]>,
    /// The addresses that may reach it.
    pub ip_access: IpAccess,
    /// Its rules about client certificates; `None`: none is requested.
    pub client_certificate: Option<Arc<ClientCertificates>>,
    /// The lifetimes of its sessions.
    pub sessions: SessionRules,
    /// Bounds of a request.
    pub limits: RequestLimits,
    /// Tenants whose users sign in at this tenant's host.
    pub members: Members,
    /// Whether it enforces or observes.
    pub mode: Mode,
    /// Whether every request is refused.
    pub suspended: bool,
    /// Whether TLS clients without SNI are accepted.
    pub allow_no_sni: bool,
    /// Which request fields reach its app.
    pub request_fields: RequestFields,
    /// Response fields that it adds or replaces; an empty value removes a default field.
    pub response_headers: Box<[(http::HeaderName, http::HeaderValue)]>,
    /// What the app may do with cookies.
    pub cookies: CookieRules,
    /// Origins that count as the same site here, in addition to its own hosts.
    pub origins: Box<[WebOrigin]>,
}

/// Tenants in the order in which they are listed, found by name with a binary search: a lobby may have
/// 100,000, and every request looks one up.
#[derive(Clone, Debug, Default)]
pub struct Members {
    listed: Box<[TenantName]>,
    /// Indices into the list, by name.
    sorted: Box<[u32]>,
}

impl Members {
    /// Returns them in the order listed.
    pub fn iter(&self) -> std::slice::Iter<'_, TenantName> {
        self.listed.iter()
    }

    /// Says whether a tenant is one of them.
    pub fn contains(&self, tenant: &TenantName) -> bool {
        self.sorted.binary_search_by(|&place| self.at(place).cmp(&Some(tenant))).is_ok()
    }

    fn at(&self, place: u32) -> Option<&TenantName> {
        self.listed.get(usize::try_from(place).ok()?)
    }
}

impl FromIterator<TenantName> for Members {
    fn from_iter<I: IntoIterator<Item = TenantName>>(listed: I) -> Self {
        let listed: Box<[TenantName]> = listed.into_iter().collect();
        let mut sorted: Vec<(&TenantName, u32)> = listed.iter().zip(0..).collect();
        sorted.sort_unstable();
        Self { sorted: sorted.into_iter().map(|(_, place)| place).collect(), listed }
    }
}

/// What a tenant's app may do with cookies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieRules {
    /// The cookies that it may set; `None`: all.
    pub allow: Option<Box<[Box<str>]>>,
    /// The cookies that scripts of its pages may read: they are not made `HttpOnly`.
    pub script: Box<[Box<str>]>,
    /// The cookies that browsers may send with cross-site requests: they may have `SameSite=None`.
    pub cross_site: Box<[Box<str>]>,
}

impl Tenant {
    /// Returns when the first revocation list of its clients' CAs expires.
    pub fn crl_until(&self) -> Option<UnixTime> {
        self.crls().map(|crl| crl.next_update).min()
    }

    /// Returns the revocation lists of its clients' CAs.
    pub fn crls(&self) -> impl Iterator<Item = &Crl> {
        self.client_certificate.iter().filter_map(|rules| rules.trust.as_ref()).flat_map(|trust| &trust.crls)
    }

    /// Returns which of its clients' CAs, and of their revocation lists, have expired or cannot be used at
    /// all.
    pub fn expired_trust(&self, now: UnixTime) -> impl Iterator<Item = TrustExpiry<'_>> {
        let unusable = self.client_certificate.iter().filter_map(|rules| rules.unusable.as_ref());
        let unusable = unusable.map(|trust| TrustExpiry {
            what: ExpiredItem::Unusable,
            authority: &trust.why,
            since: UnixTime::default(),
        });
        let trusts = self.client_certificate.iter().filter_map(|rules| rules.trust.as_ref());
        trusts.flat_map(move |trust| trust.expired_trust(now)).chain(unusable)
    }

    /// Says whether the CAs of its clients cannot be used.
    pub fn has_unusable_trust(&self) -> bool {
        self.client_certificate.as_ref().is_some_and(|rules| rules.unusable.is_some())
    }

    /// Says whether sessions of this tenant may be used at this realm.
    pub fn admits(&self, tenant: &TenantName) -> bool {
        self.name == *tenant || self.members.contains(tenant)
    }
}

/// All tenants.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    by_name: BTreeMap<TenantName, Arc<Tenant>>,
    exact: HashMap<Host, Arc<Tenant>, ahash::RandomState>,
    wildcard: HashMap<Host, Arc<Tenant>, ahash::RandomState>,
    /// Hosts of one tenant with hosts of another beneath them; computed on first use.
    crossed: OnceLock<HashSet<Box<str>, ahash::RandomState>>,
}

/// Two tenants claim one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConflict {
    /// The host.
    pub host: HostPattern,
    /// The tenant that has it.
    pub owner: TenantName,
}

impl Tenants {
    /// Adds a tenant. Returns its hosts that another tenant (or itself) already has; they stay with their
    /// first owner.
    pub fn add(&mut self, tenant: Arc<Tenant>) -> Vec<HostConflict> {
        let mut conflicts = Vec::new();
        self.crossed.take();
        for pattern in &tenant.hosts {
            let (map, host) = match pattern {
                HostPattern::Exact(host) => (&mut self.exact, host),
                HostPattern::Wildcard(host) => (&mut self.wildcard, host),
            };
            match map.get(host) {
                Some(owner) => {
                    conflicts.push(HostConflict { host: pattern.clone(), owner: owner.name.clone() })
                }
                None => {
                    map.insert(host.clone(), Arc::clone(&tenant));
                }
            }
        }
        self.by_name.insert(tenant.name.clone(), tenant);
        conflicts
    }

    /// Finds a tenant by name.
    pub fn named(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.by_name.get(name)
    }

    /// Finds the tenant that owns a host: by the exact name, else by a wildcard one label above.
    pub fn owning(&self, host: &Host) -> Option<&Arc<Tenant>> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.parent()?))
    }

    /// Says whether a tenant owns a domain and no other tenant has a host beneath it: a cookie for the domain
    /// reaches all of them (RFC 6265, section 5.1.3).
    pub fn owns_domain(&self, tenant: &TenantName, domain: &Host) -> bool {
        self.owning(domain).is_some_and(|owner| owner.name == *tenant)
            && !self.crossed.get_or_init(|| self.crossings()).contains(domain.as_str())
    }

    fn crossings(&self) -> HashSet<Box<str>, ahash::RandomState> {
        let exact = self.exact.iter().filter_map(|(host, owner)| Some((host.parent()?, owner)));
        let all = exact.chain(self.wildcard.iter().map(|(base, owner)| (base.as_str(), owner)));
        let mut crossed = HashSet::default();
        for (nearest, owner) in all {
            let above = std::iter::successors(Some(nearest), |domain| Some(domain.split_once('.')?.1));
            for domain in above {
                let other = self.exact.get(domain).or_else(|| self.wildcard.get(domain.split_once('.')?.1));
                if other.is_some_and(|other| other.name != owner.name) {
                    crossed.insert(domain.into());
                }
            }
        }
        crossed
    }

    /// Returns every tenant, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.by_name.values()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_wherever_it_is_listed() {
        let name = |number: usize| format!("m{}", number * 7919 % 10_007).parse::<TenantName>().unwrap();
        let members: Members = (0..10_000).map(name).collect();

        assert!((0..10_000).all(|number| members.contains(&name(number))));
        assert!(
            !members.contains(&name(10_000))
                && !members.contains(&"m".parse().unwrap())
                && !Members::default().contains(&name(0))
        );
        assert_eq!(members.iter().next(), Some(&name(0)));
    }
}
