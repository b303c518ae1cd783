//! The keys that apps sign their sessions with: strong, of one algorithm, and never a private one.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Context, secret::reveal};
use crate::{
    config::{
        parse::FilePath,
        reader::{At, Placed, SecretText},
        wire::JwtKeyWire,
    },
    model::Secret,
    session::foreign::{Algorithm, Json, Jwk, VerifyKey},
};

/// The fewest bytes of a secret: 128 bits even where they are hexadecimal digits.
const SECRET_BYTES: usize = 32;

/// The fewest different bytes of a secret.
const DISTINCT: usize = 10;

/// Secrets that everybody knows: what `startproject` writes, what a well-known page and what manuals show.
const EXAMPLES: [&str; 4] = ["django-insecure-", "a-string-secret-at-least-256-bits-long", "your-256-bit-secret", "keyboard cat"];

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
    let wrong = if EXAMPLES.iter().any(|example| all.starts_with(example.as_bytes())) {
        "the secret is an example that everybody knows".to_owned()
    } else if all.len() < SECRET_BYTES {
        format!("the secret has {} bytes; it needs at least {SECRET_BYTES}", all.len())
    } else if all.iter().collect::<BTreeSet<_>>().len() < DISTINCT {
        "the secret is not random".to_owned()
    } else {
        return Some(bytes);
    };
    cx.error(text.0.span, wrong).hint("whoever guesses it is every user; give the app a new one: `openssl rand -hex 32`");
    None
}

fn octets(text: &str) -> Option<Secret<Vec<u8>>> {
    let json = Json::parse(text.as_bytes())?;
    let k = json.member("k").and_then(Json::text).filter(|_| json.member("kty").and_then(Json::text) == Some("oct"))?;
    URL_SAFE_NO_PAD.decode(k).ok().map(Secret::new)
}

/// Reads a key of JSON Web Tokens.
pub(super) fn jwt(cx: &mut Context<'_>, wire: &JwtKeyWire) -> Option<VerifyKey> {
    let algorithm = wire.algorithm.value;
    match (&wire.secret, &wire.key, algorithm.secret_bytes()) {
        (Some(text), None, Some(_)) => {
            let secret = secret(cx, text)?;
            VerifyKey::shared(algorithm, secret).map_err(|error| cx.error(text.0.span, error.to_string()).hint(MAKE)).ok()
        }
        (None, Some(path), None) => public(cx, path, algorithm),
        (_, _, Some(_)) => {
            cx.error(wire.at(), "this algorithm has a shared `secret`, and nothing else").hint("write `secret: \"${file:jwt.key}\"`");
            None
        }
        (_, _, None) => {
            cx.error(wire.at(), "this algorithm has a public `key`, and nothing else").hint("write `key: jwt.pem`");
            None
        }
    }
}

/// Who makes longer ones.
const MAKE: &str = "give the app a longer one: `openssl rand -hex 32` has 64 characters";

fn public(cx: &mut Context<'_>, path: &At<FilePath>, algorithm: Algorithm) -> Option<VerifyKey> {
    let full = cx.resolve(path);
    let shown = full.display().to_string();
    let file = match cx.inputs.file(&full) {
        Ok(file) => file,
        Err(why) => {
            cx.error(path.span, format!("cannot read {shown}: {why}"));
            return None;
        }
    };
    match read(file.bytes.expose(), algorithm) {
        Ok(key) => Some(key),
        Err(why) => {
            cx.error(path.span, format!("{shown}: {why}"))
                .hint("the public key, PEM (`-----BEGIN PUBLIC KEY-----`), its certificate, or a JSON Web Key");
            None
        }
    }
}

fn read(bytes: &[u8], algorithm: Algorithm) -> Result<VerifyKey, String> {
    let holds = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    if holds("PRIVATE KEY-----") {
        return Err("it is a private key; give octroi the public one, it only verifies".to_owned());
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let json = Json::parse(bytes).ok_or("it is not JSON that names every member once")?;
        return Jwk::parse(&json, algorithm).map(|jwk| jwk.key).map_err(|error| error.to_string());
    }
    let der = if holds("-----BEGIN CERTIFICATE-----") {
        let certificate = CertificateDer::from_pem_slice(bytes).map_err(|error| format!("it is not readable PEM: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| "it holds no certificate that can be read")?;
        parsed.public_key().raw.to_vec()
    } else {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(bytes).map_err(|error| format!("it is not readable PEM: {error}"))?;
        key.to_vec()
    };
    VerifyKey::public(algorithm, &der).map_err(|error| error.to_string())
}
