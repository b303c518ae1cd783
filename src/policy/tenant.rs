//! Tenants: customer accounts, found by name and by host.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use super::{ClientCertificates, Crl, IpAccess, Lapse, Lapsed, Quota, RequestFields, RequestLimits, RouteTable, SessionRules, Upstream};
use crate::model::{Host, HostPattern, Mode, Origin, TenantName, UnixTime, WebOrigin};

/// One tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Where it was written.
    pub origin: Origin,
    /// The hosts it owns; a member has none.
    pub hosts: Box<[HostPattern]>,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// Its rules by path.
    pub routes: Arc<RouteTable>,
    /// Its quotas, beside those of a route.
    pub quotas: Box<[Arc<Quota>]>,
    /// Who may reach it.
    pub ip_access: IpAccess,
    /// Its clients' certificates; absent: none is asked for.
    pub client_certificate: Option<Arc<ClientCertificates>>,
    /// Its sessions' clocks.
    pub sessions: SessionRules,
    /// Bounds of a request.
    pub limits: RequestLimits,
    /// Tenants whose users sign in at this one's host.
    pub members: Members,
    /// Whether it enforces or observes.
    pub mode: Mode,
    /// Whether every request is refused.
    pub suspended: bool,
    /// Whether a TLS client that names no host may come in.
    pub allow_no_sni: bool,
    /// Request fields that do or do not reach its app.
    pub request_fields: RequestFields,
    /// Response fields that it adds or replaces; an empty value takes a default field away.
    pub response_headers: Box<[(http::HeaderName, http::HeaderValue)]>,
    /// What the app may do with cookies.
    pub cookies: CookieRules,
    /// Origins that are no other sites here, beside its own hosts.
    pub origins: Box<[WebOrigin]>,
}

/// Tenants in the order in which they are listed, and found by name in as many steps as their number has digits: a lobby may have
/// 100,000, and each request asks for one.
#[derive(Clone, Debug, Default)]
pub struct Members {
    listed: Box<[TenantName]>,
    /// The places of the list, by name.
    sorted: Box<[u32]>,
}

impl Members {
    /// Returns them as listed.
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
    /// Those that it may set; none listed: all.
    pub allow: Option<Box<[Box<str>]>>,
    /// Those that scripts of its pages may read: they are not made `HttpOnly`.
    pub script: Box<[Box<str>]>,
    /// Those that browsers may send when another site asks: they may say `SameSite=None`.
    pub cross_site: Box<[Box<str>]>,
}

impl Tenant {
    /// Returns when the first revocation list of its clients' CAs ends.
    pub fn crl_until(&self) -> Option<UnixTime> {
        self.crls().map(|crl| crl.next_update).min()
    }

    /// Returns the revocation lists of its clients' CAs.
    pub fn crls(&self) -> impl Iterator<Item = &Crl> {
        self.client_certificate.iter().filter_map(|rules| rules.trust.as_ref()).flat_map(|trust| &trust.crls)
    }

    /// Returns which of its clients' CAs, and of their revocation lists, have ended by now, or cannot be used at all.
    pub fn lapses(&self, now: UnixTime) -> impl Iterator<Item = Lapse<'_>> {
        let unusable = self.client_certificate.iter().filter_map(|rules| rules.unusable.as_ref());
        let unusable = unusable.map(|trust| Lapse { what: Lapsed::Unusable, authority: &trust.why, since: UnixTime::default() });
        let trusts = self.client_certificate.iter().filter_map(|rules| rules.trust.as_ref());
        trusts.flat_map(move |trust| trust.lapses(now)).chain(unusable)
    }

    /// Says whether the CAs of its clients could not be used.
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
    /// Hosts of one tenant with hosts of another beneath; found when it is first asked for.
    crossed: OnceLock<HashSet<Box<str>, ahash::RandomState>>,
}

/// Two tenants claim one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConflict {
    /// The host.
    pub host: HostPattern,
    /// Who has it.
    pub owner: TenantName,
}

impl Tenants {
    /// Adds a tenant. Its hosts that another tenant (or itself) has already are returned, and stay with their first owner.
    pub fn add(&mut self, tenant: Arc<Tenant>) -> Vec<HostConflict> {
        let mut conflicts = Vec::new();
        self.crossed.take();
        for pattern in &tenant.hosts {
            let (map, host) = match pattern {
                HostPattern::Exact(host) => (&mut self.exact, host),
                HostPattern::Wildcard(host) => (&mut self.wildcard, host),
            };
            match map.get(host) {
                Some(owner) => conflicts.push(HostConflict { host: pattern.clone(), owner: owner.name.clone() }),
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

    /// Says whether a tenant owns a domain and no other has a host beneath: a cookie for the domain reaches all of them (RFC 6265, section
    /// 5.1.3).
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
        assert!(!members.contains(&name(10_000)) && !members.contains(&"m".parse().unwrap()) && !Members::default().contains(&name(0)));
        assert_eq!(members.iter().next(), Some(&name(0)));
    }
}
