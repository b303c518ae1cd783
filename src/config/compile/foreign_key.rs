//! The keys that apps sign their sessions with: strong, of one algorithm, and never a private one.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Context, acme, secret::reveal};
use crate::{
    config::{
        collection::Required,
        default,
        parse::FilePath,
        reader::{HasSpan, SecretText, Spanned},
        similar_path,
        wire::{JwksWire, JwtKeyWire},
    },
    model::{PRIVATE_KEYS, PemKind, Secret, encoding_fault, has_pem_marker, pem_single},
    policy::KeySource,
    session::foreign::{Algorithm, Json, Jwk, SourceId, VerifyKey},
};

/// The fewest bytes of a secret: 128 bits even where they are hexadecimal digits.
const SECRET_BYTES: usize = 32;

/// The fewest different bytes of a secret.
const DISTINCT: usize = 10;

/// Secrets that everybody knows: what `startproject` writes, what a well-known page and what manuals show.
const EXAMPLES: [&str; 4] =
    ["django-insecure-", "a-string-secret-at-least-256-bits-long", "your-256-bit-secret", "keyboard cat"];

/// Reads what an app signs with: the text itself, or the bytes of a JSON Web Key.
pub(super) fn secret(cx: &mut Context<'_>, text: &SecretText) -> Option<Secret<Vec<u8>>> {
    let revealed = reveal(cx, text)?;
    let bytes = if revealed.expose().starts_with('{') {
        octets(revealed.expose()).or_else(|| {
            cx.error(text.0.span, "the secret begins as a JSON Web Key, and is none")
                .hint(r#"write `{"kty": "oct", "k": "…"}`, or the text itself"#);
            None
        })?
    } else {
        Secret::new(revealed.expose().as_bytes().to_vec())
    };
    let all = bytes.expose();
    let wrong = if has_pem_marker(all) {
        // As a secret, a public key that anybody may read would sign for everybody.
        "the secret is PEM, which no app takes for a shared secret".to_owned()
    } else if EXAMPLES.iter().any(|example| all.starts_with(example.as_bytes())) {
        "the secret is an example that everybody knows".to_owned()
    } else if all.len() < SECRET_BYTES {
        format!("the secret has {} bytes; it needs at least {SECRET_BYTES}", all.len())
    } else if all.iter().collect::<BTreeSet<_>>().len() < DISTINCT {
        "the secret is not random".to_owned()
    } else {
        return Some(bytes);
    };
    cx.error(text.0.span, wrong)
        .hint("whoever guesses it is every user; give the app a new one: `openssl rand -hex 32`");
    None
}

fn octets(text: &str) -> Option<Secret<Vec<u8>>> {
    let json = Json::parse(text.as_bytes())?;
    let k = json
        .member("k")
        .and_then(Json::text)
        .filter(|_| json.member("kty").and_then(Json::text) == Some("oct"))?;
    URL_SAFE_NO_PAD.decode(k).ok().map(Secret::new)
}

/// What an entry of `jwt.keys` is.
pub(super) enum JwtKey {
    /// A key.
    One(VerifyKey),
    /// Keys that are fetched.
    Source(KeySource),
}

impl PartialEq for JwtKey {
    /// The same keys: how often they are fetched makes no other ones.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), Self::One(other)) => one == other,
            (Self::Source(one), Self::Source(other)) => one.id == other.id,
            (Self::One(_), Self::Source(_)) | (Self::Source(_), Self::One(_)) => false,
        }
    }
}

/// Reads an entry of `jwt.keys`.
pub(super) fn jwt(cx: &mut Context<'_>, wire: &JwtKeyWire) -> Option<JwtKey> {
    let Some(jwks) = &wire.jwks else { return one(cx, wire).map(JwtKey::One) };
    // That it cannot be read was said.
    let Required(Some(jwks)) = jwks else { return None };
    let algorithm = wire.algorithm.as_ref().and_then(|Required(at)| at.as_ref());
    let other = [
        algorithm.map(|at| at.span),
        wire.secret.as_ref().map(|text| text.0.span),
        wire.key.as_ref().map(|at| at.span),
    ];
    if let Some(span) = other.into_iter().flatten().next() {
        cx.error(span, "keys that are fetched say this themselves")
            .hint("take it out; `jwks: {algorithms: […]}` says which are allowed");
        return None;
    }
    source(cx, &wire.id.value.0, jwks).map(JwtKey::Source)
}

fn source(cx: &mut Context<'_>, name: &str, wire: &JwksWire) -> Option<KeySource> {
    let before = cx.findings.errors();
    let mut algorithms = Vec::new();
    for at in wire.algorithms.iter().flat_map(|list| &list.0) {
        if at.value.secret_bytes().is_some() {
            cx.error(at.span, "a shared secret is not published")
                .hint("only RS256, PS256, ES256, ES384 and EdDSA have public keys");
        } else if algorithms.contains(&at.value) {
            cx.error(at.span, "this algorithm is named twice");
        } else {
            algorithms.push(at.value);
        }
    }
    if wire.algorithms.is_none() {
        algorithms.extend(
            Algorithm::ALL
                .into_iter()
                .map(|(_, algorithm)| algorithm)
                .filter(|algorithm| algorithm.secret_bytes().is_none()),
        );
    }
    let refresh = wire.refresh.as_ref().map_or(default::KEY_SET_REFRESH, |at| at.value.0);
    let max_age = wire.max_age.as_ref().map_or(default::KEY_SET_MAX_AGE.max(refresh * 2), |at| at.value.0);
    if let Some(at) = &wire.refresh
        && !(default::MIN_KEY_SET_REFRESH..=default::MAX_KEY_SET_REFRESH).contains(&refresh)
    {
        cx.error(at.span, "the keys would be fetched too often, or too rarely").hint("`refresh` is 1m to 1d");
    }
    if let Some(at) = wire.max_age.as_ref().filter(|_| max_age < refresh * 2) {
        cx.error(at.span, "the keys would be too old before they are fetched again")
            .hint("`max_age` is at least twice `refresh`");
    }
    let roots = wire.ca.as_ref().map(|path| acme::roots(cx, path));
    if cx.findings.errors() > before {
        return None;
    }
    let (url, roots) = (wire.url.value.0.clone(), roots.flatten());
    Some(KeySource {
        id: SourceId::new(&url, roots.as_deref(), &algorithms),
        name: name.into(),
        url,
        roots,
        algorithms: algorithms.into(),
        refresh,
        max_age,
    })
}

fn one(cx: &mut Context<'_>, wire: &JwtKeyWire) -> Option<VerifyKey> {
    let Some(Required(algorithm)) = &wire.algorithm else {
        cx.error(wire.span(), "the key `algorithm` is missing")
            .hint("each key has one; keys that an issuer publishes are `jwks: {url: …}`");
        return None;
    };
    let algorithm = algorithm.as_ref()?.value;
    match (&wire.secret, &wire.key, algorithm.secret_bytes()) {
        (Some(text), None, Some(_)) => {
            let secret = secret(cx, text)?;
            VerifyKey::shared(algorithm, secret)
                .map_err(|error| cx.error(text.0.span, error.to_string()).hint(MAKE))
                .ok()
        }
        (None, Some(path), None) => public(cx, path, algorithm),
        (..) if !cx.lacks(wire.span(), &["secret", "key"]) => None,
        (_, _, Some(_)) => {
            cx.error(wire.span(), "this algorithm has a shared `secret`, and nothing else")
                .hint("write `secret: \"${file:jwt.key}\"`");
            None
        }
        (_, _, None) => {
            cx.error(wire.span(), "this algorithm has a public `key`, and nothing else")
                .hint("write `key: jwt.pem`");
            None
        }
    }
}

/// Who makes longer ones.
const MAKE: &str = "give the app a longer one: `openssl rand -hex 32` has 64 characters";

fn public(cx: &mut Context<'_>, path: &Spanned<FilePath>, algorithm: Algorithm) -> Option<VerifyKey> {
    let full = cx.resolve(path);
    let shown = full.display().to_string();
    let file = match cx.inputs.file(&full) {
        Ok(file) => file,
        Err(why) => {
            cx.error(path.span, format!("cannot read {shown}: {why}"))
                .hint(similar_path::hint_or(&full, similar_path::MISSING));
            return None;
        }
    };
    match read(file.bytes.expose(), algorithm) {
        Ok(key) => Some(key),
        Err(why) => {
            let bytes = file.bytes.expose();
            let remedy = encoding_fault(bytes)
                .or_else(|| pem_single(bytes).err().map(|error| error.fault))
                .and_then(|fault| fault.hint(&shown));
            let remedy = remedy.filter(|_| !bytes.trim_ascii_start().starts_with(b"{"));
            cx.error(path.span, format!("{shown}: {why}"))
                .hint(
                    "the public key, PEM (`-----BEGIN PUBLIC KEY-----`), its certificate, or a JSON Web Key",
                )
                .maybe_hint(remedy);
            None
        }
    }
}

fn read(bytes: &[u8], algorithm: Algorithm) -> Result<VerifyKey, String> {
    if let Some(fault) = encoding_fault(bytes) {
        return Err(fault.to_string());
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let json = Json::parse(bytes).ok_or("it is not JSON that names every member once")?;
        return Jwk::parse(&json, algorithm).map(|jwk| jwk.key).map_err(|error| error.to_string());
    }
    let block = pem_single(bytes).map_err(|error| error.to_string())?.ok_or("it holds no key")?;
    let der = block.der.expose();
    if PRIVATE_KEYS.contains(&block.kind) || block.kind == PemKind::EncryptedKey {
        return Err("it is a private key; give octroi the public one, it only verifies".to_owned());
    }
    if block.kind == PemKind::Certificate {
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|_| "it holds no certificate that can be read")?;
        return VerifyKey::public(algorithm, parsed.public_key().raw).map_err(|error| error.to_string());
    }
    if block.kind != PemKind::PublicKey {
        return Err(format!("line {}: a block `{}` does not belong into this file", block.line, block.kind));
    }
    VerifyKey::public(algorithm, der).map_err(|error| error.to_string())
}
