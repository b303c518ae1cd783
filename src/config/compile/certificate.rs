//! A certificate and its key, as files: readable, kept to ourselves, in force, strong, and made for each
//! other.

use std::{rc::Rc, time::Duration};

use aws_lc_rs::{
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    },
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer, ParsedExtension},
    public_key::PublicKey,
};

use super::Context;
use crate::{
    config::{input::InputFile, parse::FilePath, reader::Spanned, similar_path},
    model::{
        CERTIFICATE_NOTICE, PemBlock, PemError, PemKind, UnixTime, chain_faults, has_pem_marker,
        pem_certificates, pem_chain, pem_private_key,
    },
    wire::ocsp::{OcspError, validate_ocsp},
};

/// Who makes the files that are missing, for a first start.
const MADE: &str = "`octroi keys init` makes the files that are missing, for trying octroi out: signed by a CA of its own, which no client knows";

/// RSA keys under this many bits are refused: what the public security statement promises.
pub(super) const RSA_BITS: usize = 2048;

/// Validates a pair, and returns what is known of the certificate.
pub(super) fn validate(
    cx: &mut Context<'_>,
    cert: &Spanned<FilePath>,
    key: &Spanned<FilePath>,
) -> Option<Leaf> {
    let leaf = chain(cx, cert).map(|chain| leaf(cx, cert, &chain));
    let private = private_key(cx, key);
    let leaf = leaf??;
    match private {
        Some(private) if private != leaf.public => {
            let message = "the certificate and the key do not belong together";
            cx.error(key.span, message)
                .hint("the chain begins with the certificate that was issued for this key");
            None
        }
        _ => Some(leaf),
    }
}

/// Validates an OCSP answer for a certificate. One that has ended is not stapled, which is no reason not to
/// serve.
pub(super) fn validate_staple(cx: &mut Context<'_>, path: &Spanned<FilePath>, leaf: &Leaf) {
    let Some((file, shown)) = open(cx, path, None) else { return };
    if has_pem_marker(file.bytes.expose()) {
        cx.error(path.span, format!("{shown} is PEM, and an OCSP answer is kept as DER"))
            .hint("`openssl ocsp -respout FILE` writes it so; `openssl base64 -d` reads what stands between the markers");
        return;
    }
    match validate_ocsp(file.bytes.expose(), &leaf.serial, cx.now.as_secs()) {
        Ok(_) => {}
        Err(why @ OcspError::Expired) => {
            cx.warn(path.span, format!("{shown}: {why}")).hint("it is not stapled; fetch another one");
        }
        Err(why) => {
            cx.error(path.span, format!("{shown}: {why}"));
        }
    }
}

/// Reads the chain of a server.
fn chain(cx: &mut Context<'_>, path: &Spanned<FilePath>) -> Option<Vec<CertificateDer<'static>>> {
    let missing = cx.history.certificate(MADE);
    let (read, shown) = blocks(cx, path, Some(missing), pem_chain)?;
    certificates(cx, path, read, &shown)
}

/// Reads the CAs that may vouch for somebody.
pub(super) fn authorities(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
) -> Option<Vec<CertificateDer<'static>>> {
    let (read, shown) = blocks(cx, path, None, pem_certificates)?;
    certificates(cx, path, read, &shown)
}

fn certificates(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    certificates: Vec<Vec<u8>>,
    shown: &str,
) -> Option<Vec<CertificateDer<'static>>> {
    if certificates.is_empty() {
        cx.error(path.span, format!("{shown} holds no certificate"))
            .hint("it is PEM: `-----BEGIN CERTIFICATE-----`");
        return None;
    }
    Some(certificates.into_iter().map(CertificateDer::from).collect())
}

/// Reads what stands in a file of PEM; returns the file's name, too.
pub(super) fn blocks<T>(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    missing: Option<&str>,
    read: fn(&[u8]) -> Result<T, PemError>,
) -> Option<(T, String)> {
    let (file, shown) = open(cx, path, missing)?;
    match read(file.bytes.expose()) {
        Ok(blocks) => Some((blocks, shown)),
        Err(PemError { line, fault }) => {
            cx.error(path.span, format!("{shown}:{line}: {fault}")).maybe_hint(fault.hint(&shown));
            None
        }
    }
}

/// Opens a file; `missing` says who could make it, where nothing is there.
pub(super) fn open(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    missing: Option<&str>,
) -> Option<(Rc<InputFile>, String)> {
    let full = cx.resolve(path);
    let shown = full.display().to_string();
    match cx.inputs.file(&full) {
        Ok(file) => Some((file, shown)),
        Err(why) => {
            let hint = missing.map_or_else(
                || similar_path::hint_or(&full, similar_path::MISSING),
                |missing| cx.history.unread(&full, missing),
            );
            cx.error(path.span, format!("cannot read {shown}: {why}")).hint(hint);
            None
        }
    }
}

/// What is known of the first certificate of a chain.
pub(super) struct Leaf {
    public: Vec<u8>,
    /// The DNS names, in lower case.
    pub(super) names: Vec<String>,
    /// The contents of the DER integer.
    serial: Vec<u8>,
}

fn leaf(cx: &mut Context<'_>, path: &Spanned<FilePath>, chain: &[CertificateDer<'_>]) -> Option<Leaf> {
    let shown = cx.resolve(path).display().to_string();
    let parsed = chain.first().and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, certificate)) = parsed else {
        cx.error(path.span, format!("{shown} holds no certificate that can be read"));
        return None;
    };
    let bits = match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        _ => None,
    };
    if let Some(bits) = bits.filter(|bits| *bits < RSA_BITS) {
        cx.error(path.span, format!("{shown} has an RSA key of {bits} bits"))
            .hint("RSA keys have at least 2048 bits; ECDSA keys are smaller and faster");
        return None;
    }
    in_force(cx, path, &shown, &certificate);
    for fault in chain_faults(chain, cx.now) {
        cx.warn(path.span, format!("{shown}: {fault}"))
            .hint("clients that look nothing up refuse such a chain; each certificate is followed by the one that made it");
    }
    let names = names(&certificate);
    if names.is_empty() {
        cx.warn(path.span, format!("{shown} names no host (no subjectAltName), so no client asks for it"));
    }
    let serial = certificate.raw_serial().to_vec();
    Some(Leaf { public: certificate.public_key().subject_public_key.data.to_vec(), names, serial })
}

fn in_force(cx: &mut Context<'_>, path: &Spanned<FilePath>, shown: &str, certificate: &X509Certificate<'_>) {
    let time = |seconds: i64| UnixTime::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (validity, now) = (certificate.validity(), cx.now);
    let (begin, end) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    const HINT: &str = "clients refuse it; a start shows it all the same, a reload keeps the one before it as long as that one has not ended";
    // One customer's certificate must not keep all others from their changes: it is served, and those clients
    // refuse it that look.
    if end <= cx.now {
        cx.warn(path.span, format!("{shown} expired on {}", moment(end, now)))
            .hint(format!("{HINT}; renew it"));
    } else if cx.now < begin {
        cx.warn(path.span, format!("{shown} is not in force before {}", moment(begin, now))).hint(HINT);
    } else if end.since(cx.now) < CERTIFICATE_NOTICE {
        cx.warn(path.span, format!("{shown} expires on {}", moment(end, now))).hint("renew it");
    }
}

/// Writes a day as `2027-06-30`.
pub(super) fn day(time: UnixTime) -> String {
    time.day()
}

/// How near a time is whose hour counts.
const NEAR: Duration = Duration::from_secs(2 * 86_400);

/// Writes a day, and within two days of now the minute, too: `2027-06-30 at 23:59 UTC`.
pub(super) fn moment(time: UnixTime, now: UnixTime) -> String {
    if time.since(now).max(now.since(time)) <= NEAR {
        format!("{} at {} UTC", time.day(), time.minute())
    } else {
        day(time)
    }
}

/// Returns the DNS names of a certificate, in lower case.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() {
            for name in &alternative.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
    }
    names
}

/// Reads a private key and returns the public one that belongs to it.
fn private_key(cx: &mut Context<'_>, path: &Spanned<FilePath>) -> Option<Vec<u8>> {
    let missing = cx.history.certificate(MADE);
    let (file, shown) = open(cx, path, Some(missing))?;
    if file.is_open_to_all() {
        let message = format!("{shown} is open to every account of this machine (mode {})", file.mode());
        cx.error(path.span, message).hint(format!("chmod 0600 {shown}"));
    }
    let (block, _) = blocks(cx, path, None, pem_private_key)?;
    let Some(block) = block else {
        let hint = "it is PEM, not encrypted: `-----BEGIN PRIVATE KEY-----`";
        cx.error(path.span, format!("{shown} holds no private key")).hint(hint);
        return None;
    };
    let public = public_key(&block);
    if public.is_none() {
        let hint = "a key is ECDSA on P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or Ed25519";
        cx.error(path.span, format!("{shown} holds no key of a kind that TLS uses")).hint(hint);
    }
    public
}

fn public_key(key: &PemBlock) -> Option<Vec<u8>> {
    let der = key.der.expose();
    let rsa = if key.kind == PemKind::Pkcs1Key {
        rsa::KeyPair::from_der(der)
    } else {
        rsa::KeyPair::from_pkcs8(der)
    };
    if let Ok(pair) = rsa {
        return Some(pair.public_key().as_ref().to_vec());
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Some(pair.public_key().as_ref().to_vec());
    }
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING]
        .into_iter()
        .find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok())
        .map(|pair| pair.public_key().as_ref().to_vec())
}
