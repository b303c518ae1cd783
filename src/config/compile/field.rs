//! Fields that a tenant has a word about: none that frame the message, carry sessions or say who asks.

use super::Context;
use crate::{
    config::{
        collection::NamedEntry,
        reader::Spanned,
        source::Span,
        wire::{RequestFieldsWire, TenantWire},
    },
    policy::{
        RequestFields,
        request_fields::{self, Claim, FRAMING, claim, is_in},
    },
};

/// Compiles what a realm says of the fields of its requests.
pub(super) fn request(cx: &mut Context<'_>, wire: &RequestFieldsWire) -> RequestFields {
    for Spanned { value, span } in &wire.drop {
        dropped(cx, &value.0, *span);
    }
    for Spanned { value, span } in &wire.keep {
        let name = value.0.as_str();
        match wire.drop.iter().find(|pattern| is_in(&pattern.value.0, name)) {
            Some(pattern) if *pattern.value.0 == *name => {
                cx.error(*span, format!("`{name}` is in `drop` too")).first(pattern.span);
            }
            within => kept(cx, name, *span, within.is_some()),
        }
    }
    RequestFields {
        drop: wire.drop.iter().map(|pattern| pattern.value.0.clone()).collect(),
        keep: wire.keep.iter().map(|name| name.value.0.as_str().into()).collect(),
    }
}

/// Validates what is to be dropped: what frames a request is not the realm's, what is dropped or stated
/// anyway needs no word.
fn dropped(cx: &mut Context<'_>, pattern: &str, span: Span) {
    let stem = pattern.strip_suffix('*');
    if let Some(name) = FRAMING.iter().find(|name| is_in(pattern, name)) {
        cx.error(
            span,
            format!("`{pattern}` would take `{name}` off, which belongs to octroi or to the connection"),
        )
        .hint("name the fields that are meant");
    } else if stem.is_some_and(|stem| stem.trim_end_matches('-').len() < 2) {
        cx.error(span, format!("`{pattern}` would take off most of what clients send"))
            .hint("name the fields that are meant");
    } else if let (None, Some(_)) = (stem, claim(pattern)) {
        cx.warn(span, format!("`{pattern}` never reaches an app, so it need not be dropped"))
            .hint("take it out");
    }
}

/// Validates what is to be kept: never what octroi states itself, nor what belongs to one connection.
fn kept(cx: &mut Context<'_>, name: &str, span: Span, else_dropped: bool) {
    if request_fields::is_framing(name) || name == "proxy" {
        cx.error(span, format!("the field `{name}` belongs to octroi or to the connection"))
            .hint("take it out");
    } else if name.contains('_') {
        let message =
            format!("`{name}` has an underscore, and servers take it for `{}`", name.replace('_', "-"));
        cx.error(span, message).hint("let clients send it with hyphens");
    } else if claim(name) == Some(Claim::Gateway) || name == "x-real-ip" {
        cx.error(
            span,
            format!(
                "`{name}` is octroi's own to say: an app that gets it from a client takes anybody for anybody"
            ),
        )
        .hint("take it out");
    } else if claim(name).is_none() && !else_dropped {
        cx.warn(span, format!("`{name}` reaches the app anyway")).hint("take it out");
    }
}

/// Compiles the fields that a tenant adds to its answers, or takes away.
pub(super) fn response(
    cx: &mut Context<'_>,
    wire: &TenantWire,
) -> Box<[(http::HeaderName, http::HeaderValue)]> {
    let mut headers = Vec::new();
    for NamedEntry { name, value } in wire.headers.iter().flat_map(|headers| &headers.response.0) {
        let Some(value) = value else { continue };
        if is_ours(&name.value.0) {
            let message = format!("the field `{}` belongs to octroi or to the connection", name.value.0);
            cx.error(name.span, message).hint("take it out");
        }
        match http::HeaderValue::from_str(&value.value) {
            Ok(value) => headers.push((name.value.0.clone(), value)),
            Err(_) => {
                cx.error(value.span, "the value of a field has no line breaks or control characters");
            }
        }
    }
    headers.into()
}

/// Fields that frame the message, carry sessions or say who asks: no tenant sets them.
fn is_ours(name: &http::HeaderName) -> bool {
    const FRAMING: &[&str] = &[
        "connection",
        "content-length",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
        || name.as_str().starts_with("octroi-")
        || name.as_str().starts_with("x-octroi-")
}
