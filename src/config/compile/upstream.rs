//! Upstreams: whom requests go to, and whether that may be in clear text.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Context, address::OwnAddresses, certificate};
use crate::{
    config::{
        collection::{Named, NamedEntry},
        default,
        reader::{HasSpan, Spanned},
        source::Span,
        unit::Wait,
        wire::{Party, ServerEntry, TimeoutsWire, UpstreamWire},
    },
    model::UpstreamName,
    policy::{Balance, Protocol, Server, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls},
};

/// Every upstream by name; nothing where it has a problem of its own.
pub(super) type Upstreams = BTreeMap<UpstreamName, Option<Arc<Upstream>>>;

/// Compiles every upstream. `audience` is whom assertions are for where an upstream does not say so itself.
pub(super) fn all(
    cx: &mut Context<'_>,
    wires: &Named<UpstreamName, UpstreamWire>,
    audience: Option<&Spanned<Party>>,
    own: &OwnAddresses<'_>,
) -> Upstreams {
    let compiled = wires.0.iter().map(|NamedEntry { name, value }| {
        let upstream = value.as_ref().map(|wire| Arc::new(one(cx, name, wire, audience, own)));
        (name.value.clone(), upstream)
    });
    compiled.collect()
}

fn one(
    cx: &mut Context<'_>,
    name: &Spanned<UpstreamName>,
    wire: &UpstreamWire,
    audience: Option<&Spanned<Party>>,
    own: &OwnAddresses<'_>,
) -> Upstream {
    let plaintext = wire.plaintext.as_ref().filter(|at| at.value);
    if let (Some(_), Some(at)) = (&wire.tls, plaintext) {
        cx.error(at.span, "an upstream has `tls` or `plaintext: true`, not both");
    }
    let tls = wire.tls.as_ref().map(|tls| UpstreamTls {
        sni: tls.sni.value.as_str().to_owned(),
        ca: tls
            .ca
            .as_ref()
            .and_then(|ca| certificate::authorities(cx, ca))
            .map(|chain| chain.iter().map(|der| der.to_vec()).collect()),
    });
    let mut seen: HashMap<String, Span> = HashMap::new();
    for ServerEntry { address, .. } in &wire.servers.0 {
        own.validate(cx, address);
        if let Some(first) = seen.insert(format!("{:?}", address.value), address.span) {
            cx.error(address.span, "this server is named twice")
                .first(first)
                .hint("give it a `weight` instead");
        }
        if let (None, None, ServerAddress::Tcp(tcp)) = (&wire.tls, plaintext, &address.value)
            && !tcp.ip().to_canonical().is_loopback()
            && cx.lacks(wire.span(), &["tls", "plaintext"])
        {
            let message = format!("requests would leave this machine in clear text, to {tcp}");
            cx.error(address.span, message)
                .hint("add `tls: {sni: …}`, or, if clear text is meant, `plaintext: true`");
        }
    }
    let retries = wire.retries.as_ref();
    if let Some(at) = retries.filter(|at| at.value > 1) {
        cx.error(at.span, format!("{} retries would multiply a failure", at.value)).hint("write 0 or 1");
    }
    let protocol = wire.protocol.as_ref().map(|at| at.value).unwrap_or_default();
    if let (Protocol::Http2, Some(at)) = (protocol, wire.reads_bodies.as_ref()) {
        cx.error(at.span, "over HTTP/2 a body that is not read is never taken for a request")
            .hint("take `reads_bodies` out");
    }
    Upstream {
        name: name.value.clone(),
        origin: cx.origin(name.span),
        servers: wire.servers.0.iter().map(server).collect(),
        balance: wire.balance.as_ref().map_or(Balance::RoundRobin, |at| at.value),
        protocol,
        tls,
        timeouts: timeouts(wire.timeouts.as_ref()),
        retries: retries.map_or(default::RETRIES, |at| at.value),
        isolate: wire.isolate.as_ref().is_some_and(|at| at.value),
        reads_bodies: wire.reads_bodies.as_ref().is_some_and(|at| at.value),
        audience: wire
            .audience
            .as_ref()
            .or(audience)
            .map_or_else(|| name.value.as_str().into(), |at| at.value.0.clone()),
    }
}

fn server(wire: &ServerEntry) -> Server {
    Server {
        address: wire.address.value.clone(),
        weight: wire.weight.as_ref().map_or(std::num::NonZeroU32::MIN, |at| at.value),
    }
}

fn timeouts(wire: Option<&TimeoutsWire>) -> UpstreamTimeouts {
    let written = |key: fn(&TimeoutsWire) -> &Option<Spanned<Wait>>, default| {
        wire.and_then(|wire| key(wire).as_ref()).map_or(default, |at| at.value.0)
    };
    UpstreamTimeouts {
        connect: written(|wire| &wire.connect, default::UPSTREAM_TIMEOUTS.connect),
        first_byte: written(|wire| &wire.first_byte, default::UPSTREAM_TIMEOUTS.first_byte),
        between_bytes: written(|wire| &wire.between_bytes, default::UPSTREAM_TIMEOUTS.between_bytes),
    }
}
