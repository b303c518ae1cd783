//! Doors: each says plainly what it serves.

use std::{collections::HashMap, sync::Arc};

use super::{Context, address::Addresses, deny::DenyFiles};
use crate::{
    config::{
        default,
        reader::{At, Placed},
        source::Span,
        wire::ListenerWire,
    },
    model::{ListenerName, Range},
    policy::{IpSet, Listener, ListenerKind, ProxyProtocol},
};

/// Compiles every door.
pub(super) fn all(cx: &mut Context<'_>, wires: &[ListenerWire], addresses: &mut Addresses) -> Vec<Arc<Listener>> {
    let mut names: HashMap<&ListenerName, Span> = HashMap::new();
    let mut listeners = Vec::with_capacity(wires.len());
    let mut files = DenyFiles::default();
    for wire in wires {
        if let Some(first) = names.insert(&wire.name.value, wire.name.span) {
            cx.error(wire.name.span, format!("two listeners are named `{}`", wire.name.value)).first(first);
        }
        listeners.extend(one(cx, wire, addresses, &mut files).map(Arc::new));
    }
    listeners
}

fn one(cx: &mut Context<'_>, wire: &ListenerWire, addresses: &mut Addresses, files: &mut DenyFiles) -> Option<Listener> {
    let address = addresses.take(cx, &wire.address);
    let kind = kind(cx, wire);
    Some(Listener {
        name: wire.name.value.clone(),
        origin: cx.origin(wire.at()),
        address,
        public_port: wire.public_port.as_ref().map(|port| port.value),
        max_connections: wire.max_connections.as_ref().map_or(default::MAX_CONNECTIONS, |at| at.value),
        max_connections_per_client: wire.max_connections_per_client.as_ref().map_or(default::MAX_CONNECTIONS_PER_CLIENT, |at| at.value),
        max_handshakes_per_second: wire.max_handshakes_per_second.as_ref().map(|at| at.value),
        proxy_protocol: wire.proxy_protocol.as_ref().map(|proxy| ProxyProtocol { trusted: trusted(cx, &proxy.trusted.0) }),
        deny: files.list(cx, &wire.deny, &wire.deny_files),
        trusted_proxies: wire.trusted_proxies.as_ref().map(|ranges| trusted(cx, ranges)),
        kind: kind?,
    })
}

/// A door has one purpose, and one that is not encrypted says so.
fn kind(cx: &mut Context<'_>, wire: &ListenerWire) -> Option<ListenerKind> {
    let plaintext = wire.plaintext.as_ref().filter(|at| at.value);
    match (&wire.tls, &wire.redirect_to_https, plaintext) {
        (Some(_), None, None) => Some(ListenerKind::Tls),
        (None, Some(port), None) => Some(ListenerKind::Redirect { port: port.value }),
        (None, None, Some(_)) => Some(ListenerKind::Plaintext),
        (None, None, None) => {
            let message = "this listener would serve in clear text";
            cx.error(wire.at(), message).hint("write `tls: {}`, `redirect_to_https: 443`, or, if clear text is meant, `plaintext: true`");
            None
        }
        _ => {
            let message = "a listener has one of `tls`, `redirect_to_https` and `plaintext: true`, not several";
            cx.error(wire.at(), message).hint("make two listeners of it");
            None
        }
    }
}

/// Compiles a list of peers that are believed. Everybody is not a list.
pub(super) fn trusted(cx: &mut Context<'_>, ranges: &[At<Range>]) -> IpSet {
    for range in ranges.iter().filter(|range| range.value.is_everything()) {
        let message = format!("`{}` would believe everybody", range.value);
        cx.error(range.span, message).hint("name the ranges that your own proxies have");
    }
    IpSet::new(ranges.iter().map(|range| range.value))
}
