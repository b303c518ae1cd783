//! Client certificates: CAs that are CAs, lists that are theirs, and lobbies that ask for what their members
//! need.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

use super::{Context, certificate, crl, tenants_by_name::TenantsByName};
use crate::{
    config::{
        collection::{Named, NamedEntry},
        parse::FilePath,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{ClientCertificateWire, TenantWire},
    },
    model::{CERTIFICATE_NOTICE, TenantName, UnixTime},
    policy::{
        Binding, CaCertificate, CertificateMode, ClientCertificates, ClientTrust, Identities, TrustFile,
        UnusableTrust,
    },
};

/// CAs and lists by the files that they stand in: tenants that name the same files share what is in them.
#[derive(Debug, Default)]
pub(super) struct TrustCache(HashMap<(PathBuf, Option<PathBuf>), CachedTrust>);

/// CAs, or why they cannot be used.
type CachedTrust = Result<Arc<ClientTrust>, Arc<UnusableTrust>>;

impl TrustCache {
    /// Compiles the rules of one tenant. What the tenant's place among others asks of them is [`validate`]'s.
    pub(super) fn compile(
        &mut self,
        cx: &mut Context<'_>,
        wire: &ClientCertificateWire,
    ) -> ClientCertificates {
        let trusted = wire.ca.as_ref().map(|ca| {
            let files = (cx.resolve(ca), wire.crl.as_ref().map(|crl| cx.resolve(crl)));
            self.0.entry(files).or_insert_with(|| trusted(cx, ca, wire.crl.as_ref())).clone()
        });
        let (trust, unusable) = match trusted {
            None => (None, None),
            Some(Ok(trust)) => (Some(trust), None),
            Some(Err(unusable)) => (None, Some(unusable)),
        };
        for (list, span, what) in [
            (wire.subjects.as_ref().map(Vec::len), wire.span(), "subjects"),
            (wire.sans.as_ref().map(Vec::len), wire.span(), "sans"),
        ] {
            if list == Some(0) {
                cx.warn(span, format!("`{what}` is empty, which bounds nothing"))
                    .hint("name those that are meant, or leave the key out");
            }
        }
        let subjects = wire.subjects.iter().flatten().map(|at| at.value.0.clone());
        let names = wire.sans.iter().flatten().map(|at| at.value.0.clone());
        ClientCertificates {
            origin: cx.origin(wire.span()),
            mode: mode(cx, wire),
            trust,
            unusable,
            identities: Identities { subjects: subjects.collect(), names: names.collect() },
        }
    }
}

fn mode(cx: &Context<'_>, wire: &ClientCertificateWire) -> CertificateMode {
    // A word that was refused requires nothing that something else would contradict.
    let otherwise =
        if cx.lacks(wire.span(), &["mode"]) { CertificateMode::default() } else { CertificateMode::Optional };
    wire.mode.as_ref().map_or(otherwise, |at| at.value)
}

/// Validates what a tenant's rules ask of listeners, lobbies and members.
pub(super) fn validate(
    cx: &mut Context<'_>,
    files: &[Named<TenantName, TenantWire>],
    names: &TenantsByName<'_>,
    plaintext: Option<Span>,
) {
    for NamedEntry { name, value } in files.iter().flat_map(|file| &file.0) {
        let Some(tenant) = value else { continue };
        members(cx, name, tenant, names);
        match &tenant.client_certificate {
            Some(rules) => rules_of(cx, name, tenant, rules, names, plaintext),
            None if !cx.lacks(tenant.span(), &["client_certificate"]) => {}
            None => {
                let bind = tenant.sessions.iter().filter_map(|sessions| sessions.bind.as_ref()).flatten();
                if let Some(at) = bind.into_iter().find(|at| at.value == Binding::ClientCertificate) {
                    let message = format!(
                        "the sessions of `{}` are bound to a client certificate, and it asks for none",
                        name.value
                    );
                    cx.error(at.span, message).hint("add `client_certificate: {ca: FILE}`");
                }
            }
        }
    }
}

fn rules_of(
    cx: &mut Context<'_>,
    name: &Spanned<TenantName>,
    tenant: &TenantWire,
    rules: &ClientCertificateWire,
    names: &TenantsByName<'_>,
    plaintext: Option<Span>,
) {
    let required = mode(cx, rules) == CertificateMode::Required;
    if rules.ca.is_none() && cx.lacks(rules.span(), &["ca"]) {
        without_ca(cx, name, tenant, rules, names);
    }
    if let (true, Some(at)) = (required, tenant.allow_no_sni.as_ref().filter(|at| at.value)) {
        let message = format!(
            "a client that names no host is asked for no certificate, and `{}` requires one",
            name.value
        );
        cx.error(at.span, message).hint("take `allow_no_sni` out, or write `mode: optional`");
    }
    if let (Some(listener), false) = (plaintext, tenant.hosts.items.is_empty()) {
        let line = cx.origin(listener).line;
        if required {
            let message = format!(
                "`{}` requires a client certificate, and a listener serves in clear text, which has none",
                name.value
            );
            cx.error(rules.span(), message).hint(format!("take `plaintext: true` out of line {line}"));
        } else {
            let message =
                format!("`{}` asks for client certificates, so it is not served in clear text", name.value);
            cx.warn(rules.span(), message).hint(format!("the listener stands in line {line}"));
        }
    }
}

/// Only a lobby that needs no certificate of its own may leave the CAs to its members.
fn without_ca(
    cx: &mut Context<'_>,
    name: &Spanned<TenantName>,
    tenant: &TenantWire,
    rules: &ClientCertificateWire,
    names: &TenantsByName<'_>,
) {
    const OWN: &str = "add `ca: FILE`, a PEM file with the CAs";
    let members = tenant.members.iter().filter_map(|member| names.get(&member.value)?.1);
    let mut asked = members.filter(|member| {
        !cx.lacks(member.span(), &["client_certificate"])
            || member.client_certificate.as_ref().is_some_and(|rules| rules.ca.is_some())
    });
    let no_member_asks = asked.next().is_none() && cx.lacks(tenant.span(), &["members"]);
    let bounds = [
        rules.crl.as_ref().map(|at| at.span),
        rules.subjects.as_ref().map(|_| rules.span()),
        rules.sans.as_ref().map(|_| rules.span()),
    ];
    if tenant.members.is_empty() && !cx.lacks(tenant.span(), &["members"]) {
        // That they could not be read was said.
    } else if tenant.members.is_empty() {
        cx.error(rules.span(), format!("`{}` asks for client certificates, and names no CA", name.value))
            .hint(OWN);
    } else if mode(cx, rules) == CertificateMode::Required {
        let message = format!("`{}` requires a client certificate of its own, and names no CA", name.value);
        cx.error(rules.span(), message)
            .hint(format!("write `mode: optional` if its members say whether one is needed, or {OWN}"));
    } else if let Some(span) = bounds.into_iter().flatten().next() {
        cx.error(span, "`crl`, `subjects` and `sans` bound the certificates of a `ca`, and there is none")
            .hint(format!("take them out: those of a member stand with the member; or {OWN}"));
    } else if no_member_asks {
        let message = format!(
            "`{}` asks for the client certificates of its members, and none of them names a CA",
            name.value
        );
        cx.warn(rules.span(), message)
            .hint("add `client_certificate: {ca: FILE}` to a member, or take it out here");
    }
}

/// A member's users come in at the lobby, which alone can ask for their certificates.
fn members(cx: &mut Context<'_>, name: &Spanned<TenantName>, tenant: &TenantWire, names: &TenantsByName<'_>) {
    if tenant.client_certificate.is_some() || !cx.lacks(tenant.span(), &["client_certificate"]) {
        return;
    }
    for Spanned { value: member, span } in &tenant.members {
        let Some((_, Some(wire))) = names.get(member) else { continue };
        if wire.client_certificate.as_ref().is_some_and(|rules| mode(cx, rules) == CertificateMode::Required)
        {
            let message = format!(
                "the member `{member}` requires a client certificate, and `{}` asks for none",
                name.value
            );
            cx.error(*span, message)
                .hint(format!("add `client_certificate: {{mode: optional}}` to `{}`", name.value));
        }
    }
}

/// Reads them for whom a start serves without them: one tenant's file must not keep all others out.
fn trusted(cx: &mut Context<'_>, path: &Spanned<FilePath>, lists: Option<&Spanned<FilePath>>) -> CachedTrust {
    let before = cx.findings.errors();
    if let Some(trust) = trust(cx, path, lists) {
        return Ok(Arc::new(trust));
    }
    let why = cx.findings.excuse_trust(before);
    let files = [Some(path), lists].into_iter().flatten().map(|at| {
        let path = cx.resolve(at);
        let digest = cx.inputs.file(&path).ok().map(|file| Sha256::digest(file.bytes.expose()).into());
        (path, digest)
    });
    Err(Arc::new(UnusableTrust { why: why.into(), files: files.collect() }))
}

/// Reads a bundle and the lists that belong to it.
fn trust(
    cx: &mut Context<'_>,
    path: &Spanned<FilePath>,
    lists: Option<&Spanned<FilePath>>,
) -> Option<ClientTrust> {
    let bundle = certificate::authorities(cx, path)?;
    let shown = cx.resolve(path).display().to_string();
    let mut authorities = Vec::with_capacity(bundle.len());
    let mut good = true;
    for der in &bundle {
        match authority(cx, path.span, &shown, der) {
            // The same CA twice is one CA.
            Some(authority)
                if authorities.iter().any(|(other, _): &(CaCertificate, X509Certificate<'_>)| {
                    other.der == authority.0.der
                }) => {}
            Some(authority) => authorities.push(authority),
            None => good = false,
        }
    }
    let crls = lists.map(|lists| crl::read(cx, lists, &authorities));
    if !good {
        return None;
    }
    let crls = crls.map_or(Some(Vec::new()), |crls| crls)?;
    // Whose maker stands here too is looked up through it: as an end of chains of its own it could not be
    // revoked.
    let made_here = |x509: &X509Certificate<'_>| {
        x509.issuer().as_raw() != x509.subject().as_raw()
            && authorities.iter().any(|(_, other)| other.subject().as_raw() == x509.issuer().as_raw())
    };
    let flags: Vec<bool> = authorities.iter().map(|(_, x509)| made_here(x509)).collect();
    let of = |wanted: bool| {
        authorities
            .iter()
            .zip(&flags)
            .filter(move |(_, flag)| **flag == wanted)
            .map(|((authority, _), _)| authority.clone())
            .collect()
    };
    let (anchors, intermediates): (Box<[CaCertificate]>, Box<[CaCertificate]>) = (of(false), of(true));
    if anchors.is_empty() {
        cx.error(path.span, format!("the CAs in {shown} have made each other, so no chain ends"))
            .hint("add the root");
        return None;
    }
    let files = [Some(path), lists].into_iter().flatten().filter_map(|at| {
        let path = cx.resolve(at);
        // Both were read above; what is read is remembered.
        let digest = cx.inputs.file(&path).ok().map(|file| Sha256::digest(file.bytes.expose()).into())?;
        Some(TrustFile { path, digest })
    });
    Some(ClientTrust { anchors, intermediates, crls: crls.into(), files: files.collect() })
}

/// Validates one CA of a bundle.
fn authority<'a>(
    cx: &mut Context<'_>,
    span: Span,
    shown: &str,
    der: &'a CertificateDer<'_>,
) -> Option<(CaCertificate, X509Certificate<'a>)> {
    let Ok((_, x509)) = X509Certificate::from_der(der) else {
        cx.error(span, format!("{shown} holds a certificate that cannot be read"));
        return None;
    };
    let name = x509.subject().to_string();
    let is_ca = x509.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    let signs =
        x509.key_usage().ok().is_some_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    if !is_ca || !signs {
        let message = format!("`{name}` in {shown} is no CA: it may not make certificates");
        cx.error(span, message).hint("the file holds the CAs, not the certificates of clients");
        return None;
    }
    if let Ok(PublicKey::RSA(key)) = x509.public_key().parsed()
        && key.key_size() < certificate::RSA_BITS
    {
        cx.error(
            span,
            format!(
                "the CA `{name}` in {shown} has an RSA key of {} bits; at least 2048 are needed",
                key.key_size()
            ),
        );
        return None;
    }
    let time = |seconds: i64| UnixTime::from_secs(u64::try_from(seconds).unwrap_or(0));
    let begins = time(x509.validity().not_before.timestamp());
    // Its last second still counts.
    let ends = time(x509.validity().not_after.timestamp().saturating_add(1));
    if cx.has_come(ends) {
        // One customer's CA must not keep all others from their changes.
        let message = format!(
            "the CA `{name}` in {shown} expired on {}: its certificates are refused",
            certificate::moment(ends, cx.now)
        );
        cx.warn(span, message).hint("put the one that follows it there, or take it out");
    } else if ends.since(cx.now) < CERTIFICATE_NOTICE {
        let message = format!("the CA `{name}` in {shown} expires on {}", certificate::moment(ends, cx.now));
        cx.warn(span, message)
            .hint("add the one that follows it; clients need certificates of that one by then");
    }
    let authority = CaCertificate {
        name: name.into(),
        der: der.to_vec().into(),
        subject: x509.subject().as_raw().into(),
        begins,
        ends,
    };
    Some((authority, x509))
}
