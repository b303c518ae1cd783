//! The signed statement of who asks: its keys, whom it is for, and whether anybody can verify it.

use super::{Context, secret::reveal};
use crate::{
    config::{
        default,
        reader::{HasSpan, SecretText},
        wire::{AssertionWire, Root, SessionsWire},
    },
    model::{PemFault, PemKind, pem_single},
    session::{AssertionKey, Assertions},
};

/// Most keys: one that signs, one that comes, one that goes, and some in doubt.
const MAX_KEYS: usize = 8;

/// How one comes by a key.
const MAKE: &str = "`octroi keys init` makes one; so does `openssl genpkey -algorithm ed25519`";

/// Compiles what signs.
pub(super) fn assertions(cx: &mut Context<'_>, wire: &AssertionWire) -> Assertions {
    let texts = wire.key.0.as_ref().map_or(&[][..], |texts| &texts.0);
    if let Some(extra) = texts.get(MAX_KEYS) {
        cx.error(extra.0.span, format!("at most {MAX_KEYS} keys are published")).hint("take old ones out");
    }
    let mut keys: Vec<AssertionKey> = Vec::new();
    for text in texts {
        let Some(key) = key(cx, text) else { continue };
        if keys.contains(&key) {
            cx.error(text.0.span, "this key stands in the list already")
                .hint("each stands once; the first signs");
        } else {
            keys.push(key);
        }
    }
    Assertions::new(keys, wire.issuer.as_ref().map_or(default::ASSERTION_ISSUER, |at| &at.value.0))
}

fn key(cx: &mut Context<'_>, text: &SecretText) -> Option<AssertionKey> {
    let pem = reveal(cx, text)?;
    let make = cx.history.secret(MAKE);
    let hint = |pem: &str| match pem_single(pem.as_bytes()) {
        Err(error) => error.fault.hint("FILE"),
        Ok(block) => block
            .filter(|block| block.kind == PemKind::EncryptedKey)
            .and_then(|_| PemFault::Encrypted.hint("FILE")),
    };
    read(pem.expose())
        .map_err(|wrong| cx.error(text.0.span, wrong).hint(make).maybe_hint(hint(pem.expose())))
        .ok()
}

/// Reads PEM. What is not a key is told from what is a key of another kind.
fn read(pem: &str) -> Result<AssertionKey, String> {
    const NONE: &str = "it is no private key, PKCS#8 as PEM";
    let block = pem_single(pem.as_bytes()).map_err(|error| error.to_string())?.ok_or(NONE)?;
    let wrong = match block.kind {
        PemKind::Pkcs8Key => None,
        PemKind::EncryptedKey => Some("the key is encrypted"),
        PemKind::Pkcs1Key => Some("it is a key of RSA, and assertions are signed with Ed25519"),
        PemKind::Sec1Key => Some("it is a key of ECDSA, and assertions are signed with Ed25519"),
        PemKind::PublicKey => Some("it is a public key; the private one signs"),
        PemKind::Certificate | PemKind::RevocationList | PemKind::Parameters | PemKind::Other(_) => {
            Some(NONE)
        }
    };
    if let Some(wrong) = wrong {
        return Err(wrong.to_owned());
    }
    let der = block.der.expose().as_slice();
    // The algorithm stands before the key (RFC 5958, section 2).
    let begins = der.get(..32).unwrap_or(der);
    let holds = |identifier: &[u8]| memchr::memmem::find(begins, identifier).is_some();
    let other = [(RSA, "RSA"), (ECDSA, "ECDSA"), (ED448, "Ed448"), (X25519, "X25519")];
    if let Some((_, name)) = other.iter().find(|(identifier, _)| holds(identifier)) {
        return Err(format!("it is a key of {name}, and assertions are signed with Ed25519"));
    }
    AssertionKey::from_pkcs8(der).map_err(|error| error.to_string())
}

/// Object identifiers, DER: 1.2.840.113549.1.1.1, 1.2.840.10045.2.1, 1.3.101.113, 1.3.101.110.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ECDSA: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED448: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x71];
const X25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6e];

/// Validates what needs the rest of the configuration.
pub(super) fn validate(cx: &mut Context<'_>, root: &Root, wire: Option<&AssertionWire>) {
    let upstreams = || root.upstreams.0.iter().filter_map(|entry| entry.value.as_ref());
    let Some(wire) = wire else {
        let lacks = |sessions: &SessionsWire| cx.lacks(sessions.span(), &["assertion"]);
        if root.sessions.as_ref().is_none_or(|sessions| sessions.0.as_ref().is_some_and(lacks))
            && cx.lacks(root.span(), &["sessions"])
        {
            for at in upstreams().filter_map(|upstream| upstream.audience.as_ref()) {
                cx.error(at.span, "no assertion is signed, so none is for this `audience`").hint(
                    "add `assertion: {key: \"${file:assertion.pem}\"}` to `sessions`, or take the key out",
                );
            }
        }
        return;
    };
    if root.metrics.is_none() && cx.lacks(root.span(), &["metrics"]) {
        cx.warn(wire.span(), "nobody can fetch the keys that verify the assertions")
            .hint("they are published at `/.well-known/jwks.json` of the metrics listener: add `metrics: {address: 127.0.0.1:9902}`");
    }
    if let Some(at) = &wire.audience
        && upstreams()
            .filter(|upstream| upstream.audience.is_none() && cx.lacks(upstream.span(), &["audience"]))
            .count()
            > 1
    {
        cx.warn(
            at.span,
            "several upstreams share this `audience`, so each could show what it got to the others",
        )
        .hint("take it out, and it is the upstream's name; or give each upstream its own `audience`");
    }
}
