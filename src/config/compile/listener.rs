//! Doors: each says plainly what it serves.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::{Context, address::Addresses, deny::DenyFiles};
use crate::{
    config::{
        default,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::ListenerWire,
    },
    model::{ListenerName, Range},
    policy::{IpSet, Listener, ListenerKind, ProxyProtocol},
};

/// Compiles every door.
///
/// `server_trusts` says whether the server's own list of trusted proxies names anybody.
pub(super) fn all(
    cx: &mut Context<'_>,
    wires: &[ListenerWire],
    addresses: &mut Addresses,
    server_trusts: bool,
) -> Vec<Arc<Listener>> {
    let mut names: HashMap<&ListenerName, Span> = HashMap::new();
    let mut listeners = Vec::with_capacity(wires.len());
    let mut files = DenyFiles::default();
    for wire in wires {
        if let Some(first) = names.insert(&wire.name.value, wire.name.span) {
            cx.error(wire.name.span, format!("two listeners are named `{}`", wire.name.value)).first(first);
        }
        validate_tls_in_front(cx, wire, server_trusts);
        listeners.extend(one(cx, wire, addresses, &mut files).map(Arc::new));
    }
    validate_redirects(cx, wires, &listeners);
    listeners
}

/// A redirect leads to a listener of ours that serves HTTPS there, or clients run against a wall. Nobody can
/// say what stands in front of one at port 443, or of one whose port the system chooses.
fn validate_redirects(cx: &mut Context<'_>, wires: &[ListenerWire], listeners: &[Arc<Listener>]) {
    // One with a problem of its own may be the one that is meant.
    if listeners.len() < wires.len() {
        return;
    }
    let serves = |port: u16| {
        let mut https =
            listeners.iter().filter(|listener| listener.kind == ListenerKind::Tls || listener.tls_in_front);
        https.any(|listener| {
            listener.answers_port(port) || (listener.address.port() == 0 && listener.public_port.is_none())
        })
    };
    for port in
        wires.iter().filter_map(|wire| wire.redirect_to_https.as_ref()).filter(|port| !serves(port.value))
    {
        let message = format!("clients are sent to port {}, and no listener serves HTTPS there", port.value);
        cx.warn(port.span, message)
            .hint("name the port of a listener with `tls`; where something in front maps ports, write `public_port` at that listener");
    }
}

fn one(
    cx: &mut Context<'_>,
    wire: &ListenerWire,
    addresses: &mut Addresses,
    files: &mut DenyFiles,
) -> Option<Listener> {
    let address = addresses.take(cx, &wire.address);
    let kind = kind(cx, wire);
    Some(Listener {
        name: wire.name.value.clone(),
        origin: cx.origin(wire.span()),
        address,
        public_port: wire.public_port.as_ref().map(|port| port.value),
        max_connections: wire.max_connections.as_ref().map_or(default::MAX_CONNECTIONS, |at| at.value),
        max_connections_per_client: wire
            .max_connections_per_client
            .as_ref()
            .map_or(default::MAX_CONNECTIONS_PER_CLIENT, |at| at.value),
        max_handshakes_per_second: wire.max_handshakes_per_second.as_ref().map(|at| at.value),
        proxy_protocol: wire
            .proxy_protocol
            .as_ref()
            .map(|proxy| ProxyProtocol { trusted: trusted(cx, &proxy.trusted.0) }),
        deny: files.list(cx, &wire.deny, &wire.deny_files),
        trusted_proxies: wire.trusted_proxies.as_ref().map(|ranges| trusted(cx, ranges)),
        tls_in_front: wire.tls_in_front.as_ref().is_some_and(|at| at.value),
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
        (None, None, None) if !cx.lacks(wire.span(), &["tls", "redirect_to_https", "plaintext"]) => None,
        (None, None, None) => {
            let message = "this listener would serve in clear text";
            cx.error(wire.span(), message).hint(
                "write `tls: {}`, `redirect_to_https: 443`, or, if clear text is meant, `plaintext: true`",
            );
            None
        }
        _ => {
            let message =
                "a listener has one of `tls`, `redirect_to_https` and `plaintext: true`, not several";
            cx.error(wire.span(), message).hint("make two listeners of it");
            None
        }
    }
}

/// TLS ends in one place, and somebody has to be believed that it does.
fn validate_tls_in_front(cx: &mut Context<'_>, wire: &ListenerWire, server_trusts: bool) {
    let Some(at) = wire.tls_in_front.as_ref().filter(|at| at.value) else { return };
    if wire.tls.is_some() {
        cx.error(at.span, "TLS ends at this listener, not in front of it")
            .hint("take out `tls_in_front`, or `tls` where clear text comes here");
    } else if wire.redirect_to_https.is_some() {
        let message = "behind what ends TLS, a redirect to HTTPS would come back here for ever";
        cx.error(at.span, message)
            .hint("write `plaintext: true` instead of `redirect_to_https`, or take out `tls_in_front`");
    }
    if wire.trusted_proxies.as_ref().map_or(!server_trusts, Vec::is_empty)
        && cx.lacks(wire.span(), &["trusted_proxies"])
    {
        cx.error(at.span, "nobody is trusted to say that TLS ended in front of this listener")
            .hint("add `trusted_proxies` with the addresses of what ends TLS");
    }
}

/// Compiles a list of peers that are believed. Everybody is not a list, nor are two halves of everybody: what
/// all of them cover together is judged by its share of the addresses that strangers have.
pub(super) fn trusted(cx: &mut Context<'_>, ranges: &[Spanned<Range>]) -> IpSet {
    let set = IpSet::new(ranges.iter().map(|range| range.value));
    let mut everybody = ranges.iter().filter(|range| range.value.is_everything()).peekable();
    if everybody.peek().is_none() {
        let public = |of: IpAddr| ranges.iter().find(|range| range.value.first().is_ipv4() == of.is_ipv4());
        for (whole, special) in [(EVERY_IPV4, &SPECIAL_IPV4[..]), (EVERY_IPV6, &[])] {
            let Some(first) = public(whole.0) else { continue };
            let Some((covered, all)) = share(&set, whole, special) else { continue };
            if covered > all / 16 {
                let percent = covered.checked_div(all / 100).unwrap_or(100);
                let family = if whole.0.is_ipv4() { "IPv4" } else { "IPv6" };
                let message =
                    format!("together these ranges believe {percent} % of all public {family} addresses");
                cx.error(first.span, message)
                    .hint("name the ranges that your own proxies have: a sixteenth is the most");
            }
        }
    }
    for range in everybody {
        let message = format!("`{}` would believe everybody", range.value);
        cx.error(range.span, message).hint("name the ranges that your own proxies have");
    }
    set
}

/// Returns how many public addresses a set covers, and how many there are.
fn share(set: &IpSet, whole: Block, special: &[Block]) -> Option<(u128, u128)> {
    let all = IpSet::new([range(whole)?]);
    let count = |set: &IpSet| {
        let apart = special.iter().filter_map(|&block| range(block)).map(|range| set.covered(range)).sum();
        Some(set.covered(range(whole)?).saturating_sub(apart))
    };
    Some((count(set)?, count(&all)?))
}

/// The first address of a block, and the length of its prefix.
type Block = (IpAddr, u8);

fn range(block: Block) -> Option<Range> {
    let (first, prefix) = block;
    format!("{first}/{prefix}").parse().ok()
}

const EVERY_IPV4: Block = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// What is allocated to anybody (IANA, IPv6 Global Unicast Address Assignments).
const EVERY_IPV6: Block = (IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), 3);

/// No stranger comes from these: private, shared, local, for documents, multicast, reserved (RFC 6890).
const SPECIAL_IPV4: [Block; 14] = [
    (v4(0, 0, 0, 0), 8),
    (v4(10, 0, 0, 0), 8),
    (v4(100, 64, 0, 0), 10),
    (v4(127, 0, 0, 0), 8),
    (v4(169, 254, 0, 0), 16),
    (v4(172, 16, 0, 0), 12),
    (v4(192, 0, 0, 0), 24),
    (v4(192, 0, 2, 0), 24),
    (v4(192, 168, 0, 0), 16),
    (v4(198, 18, 0, 0), 15),
    (v4(198, 51, 100, 0), 24),
    (v4(203, 0, 113, 0), 24),
    (v4(224, 0, 0, 0), 4),
    (v4(240, 0, 0, 0), 4),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
