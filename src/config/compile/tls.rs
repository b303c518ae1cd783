//! Certificates: which there are, and whether they are what they should be.

use std::{path::PathBuf, sync::Arc};

use super::{
    Context,
    acme::Entries,
    certificate,
    coverage::{Coverage, CoveredNames},
};
use crate::{
    config::{
        parse::FilePath,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{CertificateWire, TlsWire},
    },
    model::encoding_fault,
    policy::{Certificate, CertificateSource, Listener, MinVersion, TicketSecrets, Tls, UnknownSni},
};

/// Compiles certificates and versions, what names the certificates have, and what is still to be said of
/// those by ACME.
pub(super) fn tls(
    cx: &mut Context<'_>,
    wire: Option<&TlsWire>,
    listeners: &[Arc<Listener>],
) -> (Tls, Coverage, Entries) {
    let (mut coverage, mut entries) = (Coverage::default(), Entries::default());
    let mut tls = Tls {
        min_version: MinVersion::default(),
        unknown_sni: UnknownSni::default(),
        ja4: false,
        ticket_keys: None,
        certificates: Vec::new(),
    };
    let Some(wire) = wire else { return (tls, coverage, entries) };
    tls.min_version = wire.min_version.as_ref().map(|at| at.value).unwrap_or_default();
    tls.ja4 = wire.ja4.as_ref().is_some_and(|at| at.value);
    tls.unknown_sni = wire.unknown_sni.as_ref().map(|at| at.value).unwrap_or_default();
    tls.ticket_keys = wire.ticket_keys.as_ref().map(|path| ticket_keys(cx, path));
    if !cx.lacks(wire.span(), &["certificates"]) {
        coverage.add(CoveredNames::Unknown);
    }
    for certificate in &wire.certificates.0 {
        let Some((source, names)) = source(cx, certificate, &mut entries, listeners) else {
            coverage.add(CoveredNames::Unknown);
            continue;
        };
        coverage.add(shared(cx, certificate, names));
        tls.certificates.push(Certificate { origin: cx.origin(certificate.span()), source });
    }
    (tls, coverage, entries)
}

/// Notes that a certificate is meant to be several tenants', where it has names of its own to share.
fn shared(cx: &mut Context<'_>, wire: &CertificateWire, names: CoveredNames) -> CoveredNames {
    match (&wire.shared, names) {
        (Some(at), CoveredNames::Listed { span, names, .. }) => {
            CoveredNames::Listed { span, names, shared: at.value }
        }
        (Some(at), names @ (CoveredNames::Every | CoveredNames::Rest)) => {
            cx.error(at.span, "each tenant gets a certificate of its own here, so none is `shared`")
                .hint("take it out");
            names
        }
        (Some(_), CoveredNames::Unknown) => CoveredNames::Unknown,
        (None, names) => names,
    }
}

fn source(
    cx: &mut Context<'_>,
    wire: &CertificateWire,
    entries: &mut Entries,
    listeners: &[Arc<Listener>],
) -> Option<(CertificateSource, CoveredNames)> {
    const FORMS: &str = "write `{cert: FILE, key: FILE}`, `{acme: {directory: URL}}`, or, for a demo, `{dev: true, dir: FOLDER}`";
    if let Some(acme) = &wire.acme {
        let others = wire.cert.is_some() || wire.key.is_some() || wire.dev.is_some() || wire.dir.is_some();
        if others {
            return refuse(cx, wire.span(), "this is a certificate by `acme` and something else", FORMS);
        }
        // What is wrong with it was said.
        let (acme, names) = entries.entry(cx, acme.0.as_ref()?, listeners)?;
        return Some((CertificateSource::Acme(Arc::new(acme)), names));
    }
    // What was said of a key that is written wrong is not said again as if it were not there.
    if ["cert", "key", "dev", "dir", "acme"].iter().any(|key| cx.findings.is_refused(wire.span(), key)) {
        return None;
    }
    match (&wire.cert, &wire.key, &wire.dev, &wire.dir) {
        (Some(cert), Some(key), None, None) => {
            let before = cx.findings.errors();
            let leaf = certificate::validate(cx, cert, key);
            if let (Some(path), Some(leaf)) = (&wire.ocsp, &leaf) {
                certificate::validate_staple(cx, path, leaf);
            }
            cx.findings.excuse(before);
            let names = match leaf {
                Some(leaf) => CoveredNames::Listed { span: cert.span, names: leaf.names, shared: false },
                None => CoveredNames::Unknown,
            };
            let ocsp = wire.ocsp.as_ref().map(|path| cx.resolve(path));
            Some((CertificateSource::Files { cert: cx.resolve(cert), key: cx.resolve(key), ocsp }, names))
        }
        (None, ..) if wire.ocsp.is_some() => {
            refuse(cx, wire.span(), "the OCSP answer has no certificate", "it goes with `cert` and `key`")
        }
        (None, None, Some(Spanned { value: true, .. }), Some(dir)) => {
            Some((CertificateSource::Dev { dir: cx.resolve(dir) }, CoveredNames::Every))
        }
        (Some(_), None, None, None) => refuse(cx, wire.span(), "the certificate has no `key`", FORMS),
        (None, Some(_), None, None) => refuse(cx, wire.span(), "the key has no `cert`", FORMS),
        (None, None, Some(Spanned { value: true, .. }), None) => {
            refuse(cx, wire.span(), "`dev: true` needs a `dir` to keep its files in", FORMS)
        }
        _ => refuse(
            cx,
            wire.span(),
            "this is neither a pair of files nor a certificate by `acme` nor one for development",
            FORMS,
        ),
    }
}

/// Validates a file of secrets for tickets. It is read again when it changes, so the policy only names it.
fn ticket_keys(cx: &mut Context<'_>, path: &Spanned<FilePath>) -> PathBuf {
    let make = cx.history.secret("`octroi keys init` makes one; so does `head -c 32 /dev/urandom | base64`");
    let full = cx.resolve(path);
    let shown = full.display();
    let wrong = match cx.inputs.file(&full) {
        Err(why) => Some((format!("cannot read {shown}: {why}"), cx.history.unread(&full, make))),
        Ok(file) if file.is_open_to_all() => {
            let message = format!("{shown} is open to every account of this machine (mode {})", file.mode());
            Some((message, format!("chmod 0600 {shown}")))
        }
        Ok(file) if let Some(fault) = encoding_fault(file.bytes.expose()) => Some((
            format!("{shown}:1: {fault}"),
            fault.hint(&shown.to_string()).unwrap_or_else(|| make.to_owned()),
        )),
        Ok(file) => match std::str::from_utf8(file.bytes.expose()).map(TicketSecrets::parse) {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some((format!("{shown}: {why}"), make.to_owned())),
            Err(_) => Some((format!("{shown} is not text"), make.to_owned())),
        },
    };
    if let Some((message, hint)) = wrong {
        cx.error(path.span, message).hint(hint);
    }
    full
}

fn refuse(
    cx: &mut Context<'_>,
    span: Span,
    message: &'static str,
    hint: &str,
) -> Option<(CertificateSource, CoveredNames)> {
    cx.error(span, message).hint(hint);
    None
}
