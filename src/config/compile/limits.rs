//! Bounds of connections and requests.

use std::num::NonZeroU32;

use super::Context;
use crate::{
    config::{
        default,
        reader::Spanned,
        unit::{Size, Wait},
        wire::{Http2Wire, LimitsWire, RequestLimitsWire},
    },
    model::Http2Limits,
    policy::{Limits, RequestLimits},
};

/// A head beyond this is no head: a hundred times what browsers send.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Compiles the bounds of a connection; what is not written has its default.
pub(super) fn connection(cx: &mut Context<'_>, wire: Option<&LimitsWire>) -> Limits {
    let Some(wire) = wire else { return default::LIMITS };
    let wait = |at: Option<Spanned<Wait>>, default| at.map_or(default, |at| at.value.0);
    let bytes = |at: &Option<Spanned<Size>>, default| {
        at.as_ref().map_or(default, |at| usize::try_from(at.value.0).unwrap_or(usize::MAX))
    };
    let limits = Limits {
        handshake_timeout: wait(wire.handshake_timeout.clone(), default::LIMITS.handshake_timeout),
        header_timeout: wait(wire.header_timeout.clone(), default::LIMITS.header_timeout),
        header_bytes: bytes(&wire.header_bytes, default::LIMITS.header_bytes),
        header_count: wire.header_count.as_ref().map_or(default::LIMITS.header_count, |at| at.value),
        field_bytes: bytes(&wire.field_bytes, default::LIMITS.field_bytes),
        path_bytes: bytes(&wire.path_bytes, default::LIMITS.path_bytes),
        uri_bytes: bytes(&wire.uri_bytes, default::LIMITS.uri_bytes),
        idle_timeout: wait(wire.idle_timeout.clone(), default::LIMITS.idle_timeout),
        write_stall: wait(wire.write_stall.clone(), default::LIMITS.write_stall),
        write_min_rate: wire.write_min_rate.as_ref().map_or(default::LIMITS.write_min_rate, |at| at.value.0),
        http2: http2(cx, wire.http2.as_ref()),
    };
    if let Some(header) = wire.header_bytes.as_ref().filter(|header| header.value.0 > MAX_HEADER_BYTES) {
        cx.error(header.span, "a request head may have at most 1MiB");
    }
    let mut within = |inner: (&str, usize, &Option<Spanned<Size>>),
                      outer: (&str, usize, &Option<Spanned<Size>>)| {
        if let (true, Some(at)) = (inner.1 > outer.1, inner.2.as_ref().or(outer.2.as_ref())) {
            let message =
                format!("`{}` ({} bytes) is larger than `{}` ({} bytes)", inner.0, inner.1, outer.0, outer.1);
            cx.error(at.span, message).hint("the part has to fit into the whole");
        }
    };
    let header = ("header_bytes", limits.header_bytes, &wire.header_bytes);
    let uri = ("uri_bytes", limits.uri_bytes, &wire.uri_bytes);
    within(("field_bytes", limits.field_bytes, &wire.field_bytes), header);
    within(uri, header);
    within(("path_bytes", limits.path_bytes, &wire.path_bytes), uri);
    limits
}

/// The windows and buffers of HTTP/2: what the standard begins with, and what would be no bound any more.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = (16 << 10)..=(16 << 20);

/// Compiles the bounds of HTTP/2.
fn http2(cx: &mut Context<'_>, wire: Option<&Http2Wire>) -> Http2Limits {
    let default = default::LIMITS.http2;
    let Some(wire) = wire else { return default };
    let count = |at: &Option<Spanned<NonZeroU32>>, default| at.as_ref().map_or(default, |at| at.value.get());
    let mut bytes = |key: &str, at: &Option<Spanned<Size>>, default| {
        let Some(at) = at else { return default };
        if !WINDOW_BYTES.contains(&at.value.0) {
            cx.error(at.span, format!("`{key}` is 16KiB to 16MiB"));
        }
        u32::try_from(at.value.0).unwrap_or(default)
    };
    let limits = Http2Limits {
        streams: count(&wire.streams, default.streams),
        stream_window: bytes("stream_window", &wire.stream_window, default.stream_window),
        connection_window: bytes("connection_window", &wire.connection_window, default.connection_window),
        send_buffer: bytes("send_buffer", &wire.send_buffer, default.send_buffer),
        resets: count(&wire.resets, default.resets),
        errors: count(&wire.errors, default.errors),
        settings: count(&wire.settings, default.settings),
        pings: count(&wire.pings, default.pings),
        priorities: count(&wire.priorities, default.priorities),
        window_updates: count(&wire.window_updates, default.window_updates),
        empty_data: count(&wire.empty_data, default.empty_data),
        continuations: count(&wire.continuations, default.continuations),
        starved: count(&wire.starved, default.starved),
    };
    if let (true, Some(at)) = (
        limits.stream_window > limits.connection_window,
        wire.stream_window.as_ref().or(wire.connection_window.as_ref()),
    ) {
        let message = format!(
            "`stream_window` ({} bytes) is larger than `connection_window` ({} bytes)",
            limits.stream_window, limits.connection_window
        );
        cx.error(at.span, message).hint("the part has to fit into the whole");
    }
    limits
}

/// Compiles the bounds of a request; what is not written is as outside.
pub(super) fn request(wire: Option<&RequestLimitsWire>, outside: RequestLimits) -> RequestLimits {
    let Some(wire) = wire else { return outside };
    RequestLimits {
        body_bytes: wire.body_bytes.as_ref().map_or(outside.body_bytes, |at| at.value.0),
        body_min_rate: wire.body_min_rate.as_ref().map_or(outside.body_min_rate, |at| at.value.0),
        websocket_idle: wire.websocket_idle.as_ref().map_or(outside.websocket_idle, |at| at.value.0),
    }
}
