//! Tenants: names and hosts that nobody else has, references that lead somewhere, members that are no lobbies
//! themselves.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Context,
    client_certificate::{self, TrustCache},
    coverage::Coverage,
    field, ip_access, limits,
    quota::Quotas,
    route, session, sign_in,
    table::Sets,
    tenants_by_name::TenantsByName,
    upstream::Upstreams,
};
use crate::{
    config::{
        collection::{Named, NamedEntry},
        parse::Label,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{CookiesWire, TenantWire},
    },
    model::{HostPattern, TenantName, UpstreamName},
    policy::{
        CookieRules, Protocol, RequestLimits, RouteAccess, RouteTable, SessionRules, Sessions, Tenant,
        Tenants, Upstream,
    },
};

/// What tenants refer to.
pub(super) struct TenantDeps<'a> {
    /// The upstreams.
    pub(super) upstreams: &'a Upstreams,
    /// The quotas.
    pub(super) quotas: &'a Quotas,
    /// The route sets.
    pub(super) sets: Sets,
    /// Bounds of a request.
    pub(super) limits: RequestLimits,
    /// The clocks of sessions.
    pub(super) rules: SessionRules,
    /// Sessions, if there are any.
    pub(super) sessions: Option<&'a Sessions>,
    /// Whether sessions are written at all, even if wrongly: then nobody is told that they are missing.
    pub(super) has_sessions: bool,
    /// What certificates cover, where a listener shows them.
    pub(super) coverage: Option<&'a mut Coverage>,
    /// The CAs of client certificates that were read so far.
    pub(super) trusts: TrustCache,
    /// A listener that serves in clear text.
    pub(super) plaintext: Option<Span>,
    /// Where `login_url` is written.
    pub(super) login_url: Option<Span>,
}

/// Compiles every tenant of every file.
pub(super) fn all(
    cx: &mut Context<'_>,
    files: &[Named<TenantName, TenantWire>],
    mut deps: TenantDeps<'_>,
) -> Tenants {
    let mut names: TenantsByName<'_> = HashMap::new();
    for NamedEntry { name, value } in files.iter().flat_map(|file| &file.0) {
        if let Some((first, _)) = names.insert(&name.value, (name.span, value.as_ref())) {
            cx.error(name.span, format!("two tenants are named `{}`", name.value)).first(first);
        }
    }
    let members = members(cx, files, &names);
    client_certificate::validate(cx, files, &names, deps.plaintext);
    let mut hosts = HashMap::new();
    let (mut judged, mut ungranted) = (HashSet::new(), Vec::new());
    let mut tenants = Tenants::default();
    for NamedEntry { name, value } in files.iter().flat_map(|file| &file.0) {
        let Some(wire) = value else { continue };
        own_hosts(cx, name, wire, &mut hosts, deps.coverage.as_deref_mut());
        if wire.hosts.items.is_empty()
            && wire.hosts.is_complete
            && !members.contains(&name.value)
            && !cx.is_misread
        {
            let message = format!(
                "the tenant `{}` has no host and is nobody's member, so nothing reaches it",
                name.value
            );
            cx.warn(name.span, message).hint("add `hosts`, or name it among the `members` of another tenant");
        }
        if let Some(tenant) = tenant(cx, name, wire, &mut deps) {
            if !tenant.hosts.is_empty() && judged.insert(Arc::as_ptr(&tenant.routes).addr()) {
                validate_routes(cx, name, &tenant.routes, &deps);
                ungranted
                    .extend(sign_in::needs_a_grant(&tenant.routes).map(|route| (name, route.id.clone())));
            }
            // Hosts that somebody else has were refused above.
            let _conflicts = tenants.add(Arc::new(tenant));
        }
    }
    if let Some(coverage) = &deps.coverage {
        coverage.validate(cx);
    }
    warn_of_idle_routes(cx, files, &names, &tenants);
    // Who has errors to mend is not told of this yet; an app with a login of its own grants nothing.
    if let (Some(sessions), Some((name, rule)), 0) = (deps.sessions, ungranted.first(), cx.findings.errors())
        && sessions.foreign.formats().is_empty()
    {
        let others = match ungranted.len() {
            1 => String::new(),
            count => format!(", nor for {} more", count - 1),
        };
        let message = format!(
            "the rule `{}` of `{}` needs a session, and no rule grants one there{others}",
            rule.as_str(),
            name.value
        );
        cx.warn(name.span, message).hint(
            "an app's `Octroi-Session-Grant` counts where a rule says `grant: true`; without, only `octroi session mint` makes sessions",
        );
    }
    tenants
}

fn tenant(
    cx: &mut Context<'_>,
    name: &Spanned<TenantName>,
    wire: &TenantWire,
    deps: &mut TenantDeps<'_>,
) -> Option<Tenant> {
    let limits = limits::request(wire.request_limits.as_ref(), deps.limits);
    let is_whole = cx.lacks(wire.span(), &["routes"]);
    let routes = deps.sets.tenant(cx, wire.routes.as_ref(), is_whole, deps.quotas, limits);
    let upstream = wire.upstream.0.as_ref().and_then(|at| {
        let found = deps.upstreams.get(&at.value);
        if found.is_none() {
            let known = deps.upstreams.keys().map(UpstreamName::as_str);
            cx.unknown(
                "upstream",
                at.span,
                at.value.as_str(),
                known,
                "upstreams stand under `upstreams` at the top",
            );
        }
        found?.clone()
    });
    if let (Some(at), Some(upstream), Some(routes)) = (&wire.upstream.0, &upstream, &routes) {
        no_tunnels(cx, at, upstream, routes);
    }
    let quotas = deps.quotas.named(cx, &wire.quotas);
    let ip_access = ip_access::compile(cx, wire.ip_access.as_ref());
    let client_certificate = wire.client_certificate.as_ref().map(|rules| deps.trusts.compile(cx, rules));
    let sessions = session::tenant(cx, wire.sessions.as_ref(), &deps.rules);
    let response_headers = field::response(cx, wire);
    let request_fields = wire
        .headers
        .as_ref()
        .and_then(|headers| headers.request.as_ref())
        .map(|wire| field::request(cx, wire));
    let origins = route::origins(cx, &wire.origins);
    if let (Some(first), true) = (wire.origins.first(), wire.hosts.items.is_empty() && wire.hosts.is_complete)
    {
        let message = format!("the tenant `{}` has no host, so nobody asks for its `origins`", name.value);
        cx.warn(first.span, message).hint("those of the tenant count at whose host its users sign in");
    }
    let cookies = wire.cookies.as_ref().map(|cookies| cookie_rules(cx, cookies)).unwrap_or_default();
    let flag = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|at| at.value);
    Some(Tenant {
        name: name.value.clone(),
        origin: cx.origin(name.span),
        hosts: wire.hosts.items.iter().map(|host| host.value.clone()).collect(),
        upstream: upstream?,
        routes: routes?,
        quotas,
        ip_access,
        client_certificate: client_certificate.map(Arc::new),
        sessions,
        limits,
        members: wire.members.iter().map(|member| member.value.clone()).collect(),
        mode: wire.mode.as_ref().map(|at| at.value).unwrap_or_default(),
        suspended: flag(&wire.suspended),
        allow_no_sni: flag(&wire.allow_no_sni),
        request_fields: request_fields.unwrap_or_default(),
        response_headers,
        cookies,
        origins,
    })
}

/// A WebSocket is an exchange of HTTP/1.1 here; the way that HTTP/2 has for it (RFC 8441) is not built.
fn no_tunnels(cx: &mut Context<'_>, at: &Spanned<UpstreamName>, upstream: &Upstream, routes: &RouteTable) {
    let tunnel = routes.routes().find(|route| route.websocket);
    if let (Protocol::Http2, Some(route)) = (upstream.protocol, tunnel) {
        let message = format!(
            "the rule `{}` has `websocket: true`, and the upstream `{}` speaks HTTP/2",
            route.id.as_str(),
            at.value
        );
        cx.error(at.span, message)
            .hint("give this tenant rules without WebSockets, or an upstream with `protocol: http1`");
    }
}

/// What stands in the other two lists is set too, so it is allowed as well.
fn cookie_rules(cx: &mut Context<'_>, wire: &CookiesWire) -> CookieRules {
    if let Some(allow) = wire.allow.as_ref().filter(|_| cx.lacks(wire.span(), &["allow"])) {
        for name in wire
            .script
            .iter()
            .chain(&wire.cross_site)
            .filter(|name| !allow.iter().any(|allowed| allowed.value == name.value))
        {
            cx.error(name.span, format!("`allow` does not list the cookie `{}`", name.value.0))
                .hint("a cookie that is not listed there is never set");
        }
    }
    let names = |names: &[Spanned<Label>]| names.iter().map(|name| name.value.0.as_str().into()).collect();
    CookieRules {
        allow: wire.allow.as_deref().map(names),
        script: names(&wire.script),
        cross_site: names(&wire.cross_site),
    }
}

/// A host belongs to one tenant, and some certificate should name it.
fn own_hosts<'w>(
    cx: &mut Context<'_>,
    name: &'w Spanned<TenantName>,
    wire: &'w TenantWire,
    hosts: &mut HashMap<&'w HostPattern, (Span, &'w TenantName)>,
    mut coverage: Option<&mut Coverage>,
) {
    for host in &wire.hosts.items {
        if let Some((first, owner)) = hosts.insert(&host.value, (host.span, &name.value)) {
            let whose =
                if *owner == name.value { "this tenant".to_owned() } else { format!("the tenant `{owner}`") };
            cx.error(host.span, format!("the host `{}` belongs to {whose} already", host.value)).first(first);
        } else if let Some(coverage) = &mut coverage {
            coverage.ask(cx, host, &name.value, wire.client_certificate.is_some());
        }
    }
}

/// Says, once for each lobby, whose rules count for nothing there: the host's are asked before anybody knows
/// whose user it is.
fn warn_of_idle_routes(
    cx: &mut Context<'_>,
    files: &[Named<TenantName, TenantWire>],
    names: &TenantsByName<'_>,
    tenants: &Tenants,
) {
    for NamedEntry { name: lobby, value } in files.iter().flat_map(|file| &file.0) {
        let (Some(wire), Some(asked)) = (value, tenants.named(lobby.value.as_str())) else { continue };
        let with_rules = wire.members.iter().filter_map(|member| {
            let (_, theirs) = names.get(&member.value)?;
            let theirs = (*theirs)?;
            let own = tenants.named(member.value.as_str())?;
            let is_same = Arc::ptr_eq(&own.routes, &asked.routes) || own.routes.is_like(&asked.routes);
            Some((member, theirs, theirs.routes.as_ref().filter(|_| !is_same)?))
        });
        let with_rules: Vec<_> = with_rules.collect();
        let Some((member, theirs, routes)) = with_rules.first() else { continue };
        let others = match with_rules.len().saturating_sub(1) {
            0 => String::new(),
            1 => ", and so do those of one other member".to_owned(),
            many => format!(", and so do those of {many} other members"),
        };
        let message = format!(
            "the `routes` of `{}` count for nothing at its lobby `{}`{others}",
            member.value, lobby.value
        );
        let hint = if theirs.hosts.items.is_empty() {
            format!(
                "`{}` has no host of its own, so they count nowhere: put them into the `routes` of `{}`",
                member.value, lobby.value
            )
        } else {
            format!(
                "they count at its own hosts only; at `{}` the rules of `{}` judge everybody",
                lobby.value, lobby.value
            )
        };
        cx.warn(routes.span().unwrap_or(member.span), message).hint(hint);
    }
}

/// Validates every list of members, and returns everybody who is in one.
fn members<'w>(
    cx: &mut Context<'_>,
    files: &'w [Named<TenantName, TenantWire>],
    names: &TenantsByName<'w>,
) -> HashSet<&'w TenantName> {
    let mut all = HashSet::new();
    for NamedEntry { name, value } in files.iter().flat_map(|file| &file.0) {
        let mut seen: HashMap<&TenantName, Span> = HashMap::new();
        for Spanned { value: member, span } in value.iter().flat_map(|wire| &wire.members) {
            all.insert(member);
            if let Some(first) = seen.insert(member, *span) {
                cx.error(*span, format!("the member `{member}` is named twice")).first(first);
            }
            match names.get(member) {
                None => cx.unknown(
                    "tenant",
                    *span,
                    member.as_str(),
                    names.keys().map(|name| name.as_str()),
                    "a member is a tenant of its own",
                ),
                Some(_) if *member == name.value => {
                    cx.error(*span, "a tenant cannot be its own member")
                        .hint("its own users are admitted anyway; take it out");
                }
                Some((_, Some(wire))) if !wire.members.is_empty() => {
                    let message = format!("the member `{member}` has members itself");
                    cx.error(*span, message).hint("members do not nest; name those that are meant");
                }
                Some(_) => {}
            }
        }
    }
    all
}

/// Says once for each table what its routes need and do not have.
fn validate_routes(
    cx: &mut Context<'_>,
    name: &Spanned<TenantName>,
    routes: &RouteTable,
    deps: &TenantDeps<'_>,
) {
    let needing = routes.routes().find(|route| match route.access {
        RouteAccess::Session | RouteAccess::Roles(_) => true,
        RouteAccess::Public | RouteAccess::Nobody => route.grant.is_allowed() || route.revoke,
    });
    if let (Some(route), false) = (needing, deps.has_sessions) {
        let message = format!(
            "the route `{}` of `{}` needs sessions, and there are none",
            route.id.as_str(),
            name.value
        );
        cx.error(name.span, message).hint(
            "add `sessions: {keys: […]}`, or make its routes public with `unmatched: public` or `deny`",
        );
    }
    let has_login = deps.sessions.is_some_and(|sessions| sessions.login_url.is_some());
    sign_in::validate(cx, name, routes, has_login, deps.sets.is_broken(routes));
    if let (Some(url), Some(span)) =
        (deps.sessions.and_then(|sessions| sessions.login_url.as_deref()), deps.login_url)
    {
        let route = routes.find(url);
        // Who has errors to mend is not told of this yet: the rule may be there.
        if route.access != RouteAccess::Public && cx.findings.errors() == 0 {
            let message = format!(
                "`{url}` is not public at the tenant `{}` (rule `{}`), so nobody could sign in",
                name.value,
                route.id.as_str()
            );
            cx.warn(span, message).hint(format!("add a rule `{{path: {url}, access: public, grant: true}}`"));
        }
    }
}
