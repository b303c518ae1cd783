//! Revocation lists: made by one of the CAs beside them and signed by it; one whose follower is due is told
//! of.

use std::collections::HashSet;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList,
};

use super::{Context, certificate};
use crate::{
    config::{default, parse::FilePath, reader::Spanned},
    model::{UnixTime, pem_revocation_lists},
    policy::{CaCertificate, Crl},
};

/// issuingDistributionPoint (RFC 5280, section 5.2.5): a list that is for a part of a CA's certificates.
const PART: &str = "2.5.29.28";

/// Reads a file of lists; nothing where one of them cannot be believed.
pub(super) fn read(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    authorities: &[(CaCertificate, X509Certificate<'_>)],
) -> Option<Vec<Crl>> {
    let (lists, shown) = certificate::blocks(cx, path, None, pem_revocation_lists)?;
    if lists.is_empty() {
        let hint = "it is PEM: `-----BEGIN X509 CRL-----`; `openssl crl -inform DER` reads the other form";
        cx.error(path.span, format!("{shown} holds no revocation list")).hint(hint);
        return None;
    }
    let judged: Vec<Option<Crl>> =
        lists.iter().map(|der| validate(cx, path, &shown, der, authorities)).collect();
    let crls: Vec<Crl> = judged.into_iter().collect::<Option<_>>()?;
    of_each(cx, path, &shown, &crls, authorities)?;
    Some(crls)
}

/// Validates one list.
fn validate(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    shown: &str,
    der: &[u8],
    authorities: &[(CaCertificate, X509Certificate<'_>)],
) -> Option<Crl> {
    let Some(list) = parse(der) else {
        cx.error(path.span, format!("{shown} holds a revocation list that cannot be read"));
        return None;
    };
    let issuer = list.issuer().to_string();
    let mut named =
        authorities.iter().filter(|(_, x509)| x509.subject().as_raw() == list.issuer().as_raw()).peekable();
    if named.peek().is_none() {
        let message = format!("the revocation list in {shown} is of `{issuer}`, which is none of the CAs");
        cx.error(path.span, message)
            .hint("add that CA to the `ca` file, or name the list of the CA that is there");
        return None;
    }
    let may_sign = |x509: &X509Certificate<'_>| {
        x509.key_usage().ok().is_some_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()))
    };
    if !named.any(|(_, x509)| may_sign(x509) && is_signed(&list, x509)) {
        let message = format!("the revocation list of `{issuer}` in {shown} is not signed by that CA");
        cx.error(path.span, message)
            .hint("get it anew from the CA; RSA (PKCS #1), ECDSA and Ed25519 signatures are read");
        return None;
    }
    let time = |seconds: i64| UnixTime::from_secs(u64::try_from(seconds).unwrap_or(0));
    let begins = time(list.last_update().timestamp());
    if begins > cx.now.plus(default::CRL_SKEW) {
        cx.error(
            path.span,
            format!(
                "the revocation list of `{issuer}` in {shown} is from {}, which is to come",
                certificate::day(begins)
            ),
        )
        .hint("look after the clock, here or at the CA");
        return None;
    }
    let Some(next) = list.next_update().map(|next| time(next.timestamp())) else {
        let message =
            format!("the revocation list of `{issuer}` in {shown} does not say when the next one is due");
        cx.error(path.span, message).hint(
            "RFC 5280, section 5.1.2.5 asks for it; without it nobody notices that lists stopped coming",
        );
        return None;
    };
    // The policy is loaded again before the list ends: by then its follower may lie there.
    let notice = next.minus(notice(next.since(begins)));
    if cx.has_come(next) {
        // Nobody of that CA comes in, and nobody else is concerned: one customer's list must not keep all
        // others from their changes.
        let message = format!(
            "the revocation list of `{issuer}` in {shown} has ended: the next one was due on {}. Certificates of that CA are refused",
            certificate::day(next)
        );
        cx.warn(path.span, message).hint("get the one that is in force from the CA");
    } else if cx.has_come(notice) {
        let left = next.since(cx.now).as_secs();
        let message = format!(
            "the revocation list of `{issuer}` in {shown} ends in {left} s, and then nobody of that CA comes in"
        );
        cx.warn(path.span, message).hint("put the next one there");
    }
    Some(Crl { issuer: issuer.into(), der: der.into(), notice, next_update: next })
}

/// How long before a list ends somebody is told: a fourth of its life, at most a day.
fn notice(life: std::time::Duration) -> std::time::Duration {
    (life / 4).min(default::CRL_NOTICE)
}

/// One list of each CA, or of each part of one: the library would take the first of two, which may be the
/// older.
fn of_each(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    shown: &str,
    crls: &[Crl],
    authorities: &[(CaCertificate, X509Certificate<'_>)],
) -> Option<()> {
    let mut parts = HashSet::new();
    let mut issuers = HashSet::new();
    for list in crls.iter().filter_map(|crl| parse(&crl.der)) {
        let part = list
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == PART)
            .map(|extension| extension.value.to_vec());
        issuers.insert(list.issuer().as_raw().to_vec());
        if !parts.insert((list.issuer().as_raw().to_vec(), part)) {
            let message = format!("{shown} holds two revocation lists of `{}`", list.issuer());
            cx.error(path.span, message).hint("keep the newer one");
            return None;
        }
    }
    for (_, x509) in authorities.iter().filter(|(authority, _)| !issuers.contains(&*authority.subject)) {
        let message = format!(
            "{shown} holds no revocation list of `{}`, so every certificate that it made is refused",
            x509.subject()
        );
        cx.warn(path.span, message).hint("add its list, or take the CA out");
    }
    Some(())
}

fn parse(der: &[u8]) -> Option<CertificateRevocationList<'_>> {
    CertificateRevocationList::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, list)| list)
}

/// Says whether the key of a CA has signed a list.
fn is_signed(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> bool {
    let key = &*authority.public_key().subject_public_key.data;
    let Some(algorithm) = algorithm(&list.signature_algorithm.algorithm.to_id_string(), key.len()) else {
        return false;
    };
    UnparsedPublicKey::new(algorithm, key)
        .verify(list.tbs_cert_list.as_ref(), &list.signature_value.data)
        .is_ok()
}

/// Finds how a signature is verified; the curve of an ECDSA key is told by the length of its point.
fn algorithm(oid: &str, key_bytes: usize) -> Option<&'static dyn VerificationAlgorithm> {
    const P256: usize = 65;
    const P384: usize = 97;
    const P521: usize = 133;
    Some(match (oid, key_bytes) {
        ("1.2.840.113549.1.1.11", _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.4.3.2", P256) => &signature::ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P256) => &signature::ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.2", P384) => &signature::ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P384) => &signature::ECDSA_P384_SHA384_ASN1,
        ("1.2.840.10045.4.3.2", P521) => &signature::ECDSA_P521_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", P521) => &signature::ECDSA_P521_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", P521) => &signature::ECDSA_P521_SHA512_ASN1,
        ("1.3.101.112", _) => &signature::ED25519,
        _ => return None,
    })
}
