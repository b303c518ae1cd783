//! One rule: what it asks for, and that it makes sense.

use std::{collections::HashMap, sync::Arc};

use super::{Context, quota::Quotas};
use crate::{
    config::{
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{AccessWord, RequestLimitsWire, Rule, SignInWord},
    },
    model::{Path, PathRules, RouteId, WebOrigin},
    policy::{Granting, OriginCheck, Route, RouteAccess, Unmatched},
};

/// A rule that is compiled, except for bounds that depend on the tenant.
#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    /// The decoded path that requests are compared with.
    pub(super) path: String,
    /// Where the path is written.
    pub(super) span: Span,
    /// The rule.
    pub(super) route: Route,
    /// The bounds it has of its own; the others are the tenant's.
    pub(super) limits: Option<RequestLimitsWire>,
}

/// Compiles a rule.
pub(super) fn rule(cx: &mut Context<'_>, wire: &Rule, quotas: &Quotas) -> Option<CompiledRule> {
    let on = |flag: &Option<Spanned<bool>>| flag.as_ref().is_some_and(|at| at.value);
    let rules = PathRules {
        allow_encoded_slash: on(&wire.allow_encoded_slash),
        allow_path_parameters: on(&wire.allow_path_parameters),
        merge_slashes: on(&wire.merge_slashes),
        allow_double_encoding: on(&wire.allow_double_encoding),
    };
    let path = path(cx, &wire.path, rules);
    let access = access(cx, wire);
    let quotas = quotas.named(cx, &wire.quotas);
    let methods: Box<[Box<str>]> =
        wire.methods.iter().flat_map(|methods| &methods.0).map(|method| method.value.0.clone()).collect();
    for at in wire.methods.iter().flat_map(|methods| &methods.0) {
        if let Some(meant) = method_meant(&at.value.0) {
            cx.warn(
                at.span,
                format!("nobody registered a method `{}`, so hardly a client uses it", at.value.0),
            )
            .hint(format!("did you mean `{meant}`?"));
        }
    }
    let grant = wire.grant.as_ref().map(|at| at.value).unwrap_or_default();
    let websocket = on(&wire.websocket);
    if let (true, Some(at)) =
        (!methods.is_empty() && !methods.iter().any(|method| &**method == "GET"), wire.websocket.as_ref())
        && websocket
        && cx.lacks(wire.span(), &["methods"])
    {
        cx.error(at.span, "a WebSocket is opened with GET, which `methods` does not name")
            .hint("add GET to `methods`");
    }
    let revoke = on(&wire.revoke);
    let origin_check = origin_check(cx, wire, grant.is_allowed() || revoke || websocket);
    let bodiless = |method: &str| matches!(method, "GET" | "HEAD" | "OPTIONS");
    if let (true, Some(at)) = (
        !methods.is_empty() && !methods.iter().any(|method| bodiless(method)),
        wire.body.as_ref().filter(|at| at.value),
    ) && cx.lacks(wire.span(), &["methods"])
    {
        cx.error(at.span, "`body: true` is for GET, HEAD and OPTIONS, and `methods` names none of them")
            .hint("take it out: other methods may have a body anyway");
    }
    let route = Route {
        id: RouteId::new(&wire.path.value),
        origin: cx.origin(wire.span()),
        access,
        methods,
        grant,
        begins_sign_in: wire.sign_in.as_ref().is_some_and(|at| at.value == SignInWord::Begin),
        revoke,
        max_auth_age: wire.max_auth_age.as_ref().map(|at| at.value.0),
        websocket,
        body: on(&wire.body),
        origin_check,
        origins: origins(cx, &wire.origins),
        path: rules,
        quotas,
        limits: None,
    };
    Some(CompiledRule { path: path?, span: wire.path.span, route, limits: wire.request_limits.clone() })
}

/// Methods that are registered (IANA, HTTP Method Registry; RFC 9110, section 18.2), and that a rule may
/// name.
const REGISTERED: &[&str] = &[
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Methods that nobody registered and many use: caches, stores of secrets, media servers, UPnP.
const IN_USE: &[&str] = &[
    "BAN",
    "LIST",
    "M-SEARCH",
    "NOTIFY",
    "PING",
    "POLL",
    "PURGE",
    "REFRESH",
    "SOURCE",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
];

/// Returns the registered method that a name was probably meant to be: one letter away, or two where it is no
/// short one.
fn method_meant(name: &str) -> Option<&'static str> {
    if REGISTERED.contains(&name) || IN_USE.contains(&name) {
        return None;
    }
    let bound = if name.len() > 4 { 2 } else { 1 };
    let near = REGISTERED.iter().map(|other| (strsim::damerau_levenshtein(name, other), *other));
    near.filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Where another site could sign somebody in or out, or speak in their name, closed is the default.
fn origin_check(cx: &mut Context<'_>, wire: &Rule, without_session: bool) -> OriginCheck {
    match &wire.origin_check {
        Some(at) if at.value => OriginCheck::Always,
        Some(at) => {
            if wire.grant.as_ref().is_some_and(|grant| grant.value == Granting::Callback) {
                cx.error(at.span, "`origin_check: false` switches off what `grant: callback` asks for")
                    .hint("take it out; for sign-ins that begin at the identity provider write `grant: true` with it");
                return OriginCheck::Off;
            }
            let message =
                format!("`{}` takes requests from every other site: `origin_check` is off", wire.path.value);
            cx.warn(at.span, message).hint(
                "the app itself must tell them apart; `origins: […]` lets only those pass that are named",
            );
            OriginCheck::Off
        }
        None if without_session => OriginCheck::Always,
        None => OriginCheck::Sessions,
    }
}

/// Compiles a list of origins.
pub(super) fn origins(cx: &mut Context<'_>, list: &[Spanned<WebOrigin>]) -> Box<[WebOrigin]> {
    let mut seen: HashMap<&WebOrigin, Span> = HashMap::new();
    for Spanned { value, span } in list {
        if let Some(first) = seen.insert(value, *span) {
            cx.error(*span, format!("the origin `{value}` is named twice")).first(first);
        } else if value.is_clear_text() {
            cx.warn(*span, format!("pages of `{value}` come in clear text"))
                .hint("whoever is on their way can change them, and act here in a user's name");
        }
    }
    list.iter().map(|at| at.value.clone()).collect()
}

/// Compiles what holds where no rule matches.
pub(super) fn unmatched(cx: &Context<'_>, word: Unmatched, span: Option<Span>) -> Arc<Route> {
    let access = match word {
        Unmatched::Session => RouteAccess::Session,
        Unmatched::Public => RouteAccess::Public,
        Unmatched::Deny => RouteAccess::Nobody,
    };
    Arc::new(Route {
        id: RouteId::new("*"),
        origin: span.map(|span| cx.origin(span)).unwrap_or_default(),
        access,
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
    })
}

/// Reads the path of a rule the way the path of a request is read.
fn path(cx: &mut Context<'_>, at: &Spanned<String>, rules: PathRules) -> Option<String> {
    let written = at.value.as_str();
    let wrong = |cx: &mut Context<'_>, why: String, hint: &str| {
        cx.error(at.span, format!("not the path of a rule: `{written}`")).hint(format!("{why}; {hint}"));
        None
    };
    if written.split('/').any(|segment| segment.contains('*') && segment.bytes().all(|byte| byte == b'*')) {
        return wrong(
            cx,
            "`*` stands for itself here".into(),
            "a path that ends in `/` covers everything below it",
        );
    }
    // Empty segments and parameters are left out of what is compared, so a rule that has them would say
    // something else.
    let strict = PathRules { allow_encoded_slash: rules.allow_encoded_slash, ..PathRules::default() };
    let parsed = Path::parse_written(written)
        .and_then(|path| path.permit(strict).map(|()| path.matching().to_owned()));
    match parsed {
        Ok(path) => Some(path),
        Err(_) if written.contains(['{', '}']) => {
            let hint = "a path that ends in `/` covers everything below it; the characters themselves are `%7B` and `%7D`";
            wrong(cx, "`{` and `}` stand for themselves here".into(), hint)
        }
        Err(error) => wrong(
            cx,
            error.to_string(),
            "write `/login`, or `/public/` and everything below it; other characters as `%C3%A9`",
        ),
    }
}

fn access(cx: &mut Context<'_>, wire: &Rule) -> RouteAccess {
    let public = wire.access.as_ref().filter(|at| at.value == AccessWord::Public);
    if let (Some(at), true) = (public, wire.roles.is_some()) {
        cx.error(at.span, "a rule with `roles` cannot be public").hint("take `access` out, or `roles`");
    }
    if let (Some(_), Some(age)) = (public, &wire.max_auth_age) {
        cx.error(age.span, "a public rule asks for no sign-in, so none can be too old")
            .hint("take `max_auth_age` out, or `access: public`");
    }
    match (&wire.roles, public) {
        (Some(roles), _) => RouteAccess::Roles(roles.0.iter().map(|role| role.value.0.clone()).collect()),
        (None, Some(_)) => RouteAccess::Public,
        // Who may pass is not known: nothing is asked for that a session would need.
        (None, None) if !cx.lacks(wire.span(), &["access", "roles"]) => RouteAccess::Public,
        (None, None) => RouteAccess::Session,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_one_or_two_letters_away_from_a_registered_one_is_told() {
        for (name, meant) in [
            ("PSOT", "POST"),
            ("GTE", "GET"),
            ("PUTT", "PUT"),
            ("DELTE", "DELETE"),
            ("DEELTES", "DELETE"),
            ("OPTION", "OPTIONS"),
        ] {
            assert_eq!(method_meant(name), Some(meant), "{name}");
        }
        // Registered, in use, or somebody's own.
        for name in ["POST", "PROPFIND", "QUERY", "PURGE", "LIST", "POKE", "FROBNICATE", "X"] {
            assert_eq!(method_meant(name), None, "{name}");
        }
    }
}
