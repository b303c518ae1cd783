//! The tenants that the sessions of apps speak for: names that stand for somebody, and rules that such
//! sessions can keep.

use std::collections::HashSet;

use super::{
    Context,
    foreign::{Named, place},
};
use crate::{
    config::{collection::NonEmpty, reader::Spanned, wire::SessionsWire},
    model::TenantName,
    policy::{ForeignSessions, Tenants},
    session::foreign::Format,
};

/// Validates what needs the tenants: names that stand for nobody, and rules that no foreign session can keep.
pub(super) fn validate(
    cx: &mut Context<'_>,
    wire: &SessionsWire,
    sessions: &ForeignSessions,
    tenants: &Tenants,
    everybody: &HashSet<&TenantName>,
) {
    let named: Vec<(Format, Option<&NonEmpty<Spanned<TenantName>>>)> = [
        list(Format::Jwt, wire.jwt.as_ref().and_then(|wire| wire.keys.0.as_ref())),
        list(Format::Express, wire.express.as_ref().and_then(|wire| wire.keys.0.as_ref())),
        list(Format::Itsdangerous, wire.itsdangerous.as_ref().and_then(|wire| wire.keys.0.as_ref())),
        list(Format::Django, wire.django.as_ref().and_then(|wire| wire.keys.0.as_ref())),
    ]
    .concat();
    for at in named.iter().filter_map(|(_, list)| *list).flat_map(|list| &list.0) {
        if !everybody.contains(&at.value) {
            let known = everybody.iter().map(|name| name.as_str());
            cx.unknown(
                "tenant",
                at.span,
                at.value.as_str(),
                known,
                "tenants stand under `tenants` at the top",
            );
        }
    }
    for tenant in tenants.iter() {
        let Some(allowed) = &tenant.cookies.allow else { continue };
        for name in sessions.cookies().iter().filter(|name| !allowed.contains(name)) {
            let written = sessions.formats().iter().find(|format| {
                format.cookie.as_ref() == Some(name) || format.signature_cookie.as_ref() == Some(name)
            });
            let Some(format) = written.map(|format| format.codec.format()) else { continue };
            if named.iter().any(|(of, list)| *of == format && reaches(*list, &tenant.name)) {
                let message =
                    format!("the app of tenant `{}` may not set its session cookie `{name}`", tenant.name);
                cx.warn(place(wire, format), message)
                    .hint(format!("add it: `cookies: {{allow: [{name}, …]}}`"));
            }
        }
    }
    let mut told = HashSet::new();
    for tenant in tenants.iter().filter(|tenant| !tenant.sessions.bind.is_empty()) {
        let reached = named.iter().find(|(_, list)| reaches(*list, &tenant.name));
        let Some((format, _)) = reached.filter(|(format, _)| told.insert(*format)) else { continue };
        let message = format!(
            "the tenant `{}` binds its sessions, and one of format `{}` carries no binding",
            tenant.name,
            format.as_str()
        );
        cx.error(place(wire, *format), message)
            .hint("take `bind` out, or name the other tenants that each key speaks for: `tenants: […]`");
    }
}

fn reaches(list: Option<&NonEmpty<Spanned<TenantName>>>, tenant: &TenantName) -> bool {
    list.is_none_or(|list| list.0.iter().any(|at| at.value == *tenant))
}

fn list<W: Named>(
    format: Format,
    keys: Option<&NonEmpty<W>>,
) -> Vec<(Format, Option<&NonEmpty<Spanned<TenantName>>>)> {
    keys.iter().flat_map(|keys| &keys.0).map(|key| (format, key.tenants())).collect()
}
