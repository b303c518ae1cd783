//! The admin listener and its principals.

use super::{Context, address::Addresses, certificate, secret};
use crate::{
    config::{
        collection::NamedEntry,
        parse::Label,
        reader::{HasSpan, Spanned},
        wire::{Admin as AdminWire, PrincipalWire},
    },
    policy::{Admin, AdminPrincipal},
};

/// Compiles the admin listener.
pub(super) fn admin(cx: &mut Context<'_>, wire: &AdminWire, addresses: &mut Addresses) -> Admin {
    let address = addresses.take(cx, &wire.address);
    if wire.tls.is_none() && !address.ip().is_loopback() && cx.lacks(wire.span(), &["tls"]) {
        let message =
            format!("{address} can be reached from other machines, and tokens would travel in clear text");
        cx.error(wire.address.span, message).hint("add `tls: {cert: …, key: …}`, or bind 127.0.0.1");
    }
    let tls = wire.tls.as_ref().map(|tls| {
        certificate::validate(cx, &tls.cert, &tls.key);
        (cx.resolve(&tls.cert), cx.resolve(&tls.key))
    });
    let hosts = match &wire.hosts {
        Some(hosts) => hosts.0.iter().map(|host| host.value.0.clone()).collect(),
        None => vec![address.ip().to_string(), "localhost".to_owned()],
    };
    Admin { address, tls, principals: principals(cx, &wire.principals.0), hosts }
}

fn principals(cx: &mut Context<'_>, wires: &[NamedEntry<Label, PrincipalWire>]) -> Vec<AdminPrincipal> {
    let mut principals: Vec<AdminPrincipal> = Vec::new();
    for NamedEntry { name, value } in wires {
        let Some(wire) = value else { continue };
        let Some(token) = secret::token(cx, &wire.token) else { continue };
        if let Some(other) = principals.iter().find(|other| other.token == token) {
            let message = format!("`{}` has the same token", other.name);
            cx.error(wire.token.0.span, message)
                .hint("each principal has a token of their own, so that a call can be traced");
            continue;
        }
        let expires = wire.expires.as_ref().map(|expires| expires.value.0);
        match &wire.expires {
            None if !cx.lacks(wire.span(), &["expires"]) => {}
            None => {
                let message = format!("the principal `{}` never expires", name.value.0);
                cx.warn(name.span, message)
                    .hint("add `expires: YYYY-MM-DD`, the last day on which they may act");
            }
            Some(Spanned { value, span }) if cx.has_come(value.0) => {
                cx.warn(*span, format!("the principal `{}` has expired and is left out", name.value.0))
                    .hint("take them out, or set a later day");
                continue;
            }
            Some(_) => {}
        }
        let roles = wire.roles.0.iter().map(|role| role.value).collect();
        principals.push(AdminPrincipal { name: name.value.0.clone(), token, roles, expires });
    }
    principals
}
