//! Certificates from a directory: from whom, for which hosts, and whether a listener can prove them.

use std::{collections::BTreeMap, sync::Arc};

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Context, certificate, coverage::CoveredNames, secret};
use crate::{
    config::{
        collection::{NonEmpty, Required},
        default,
        parse::FilePath,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{AcmeWire, EabWire},
    },
    model::{Host, HostPattern, TenantName},
    policy::{
        Acme, AcmeCertificate, AcmeChallenge, Certificate, CertificateSource, ExternalAccount, Listener,
        ListenerKind, MOST_ACME_HOSTS, Tenants,
    },
};

/// What the entries share while they are compiled.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Where the entry is written that takes what nobody else covers.
    rest: Option<Span>,
    /// Where each host of the others is written.
    named: BTreeMap<Host, Span>,
}

impl Entries {
    /// Compiles an entry, and says what it covers. The certificates of one without `hosts` are filled in when
    /// the tenants are known.
    pub(super) fn entry(
        &mut self,
        cx: &mut Context<'_>,
        wire: &AcmeWire,
        listeners: &[Arc<Listener>],
    ) -> Option<(Acme, CoveredNames)> {
        let before = cx.findings.errors();
        let roots = wire.ca.as_ref().map(|path| roots(cx, path));
        let eab = wire.eab.as_ref().map(|wire| eab(cx, wire));
        let challenges = challenges(cx, wire, listeners);
        let (certificates, names) = match &wire.hosts {
            None => {
                let first = *self.rest.get_or_insert(wire.span());
                if first != wire.span() {
                    cx.error(wire.span(), "two entries take the hosts that no other certificate covers")
                        .hint("give one of them `hosts`")
                        .first(first);
                }
                (Vec::new(), CoveredNames::Rest)
            }
            // That the list cannot be read was said.
            Some(Required(None)) => return None,
            Some(Required(Some(NonEmpty(hosts)))) => {
                let hosts = self.hosts(cx, wire.span(), hosts);
                let names = CoveredNames::Listed {
                    span: wire.span(),
                    names: hosts.iter().map(ToString::to_string).collect(),
                    shared: false,
                };
                let first = hosts.first().map(|host| format!("hosts/{host}").into());
                (first.map(|id| Arc::new(AcmeCertificate { id, hosts })).into_iter().collect(), names)
            }
        };
        if cx.findings.errors() > before {
            return None;
        }
        let acme = Acme {
            directory: wire.directory.value.0.clone(),
            contact: wire.contact.as_ref().map(|at| at.value.0.clone()),
            eab: eab.flatten(),
            roots: roots.flatten(),
            challenges,
            renew_before: wire.renew_before.as_ref().map(|at| at.value.0),
            retry_after: wire.retry_after.as_ref().map_or(default::ACME_RETRY, |at| at.value.0),
            certificates,
        };
        Some((acme, names))
    }

    fn hosts(&mut self, cx: &mut Context<'_>, at: Span, wires: &[Spanned<HostPattern>]) -> Vec<Host> {
        let mut hosts = Vec::with_capacity(wires.len());
        for wire in wires {
            let host = match &wire.value {
                HostPattern::Exact(host) => host,
                HostPattern::Wildcard(_) => {
                    cx.error(
                        wire.span,
                        format!(
                            "`{}` cannot be had: a CA proves wildcards over DNS only (dns-01)",
                            wire.value
                        ),
                    )
                    .hint(
                        "name the hosts one by one, or get the certificate by other means and name its files",
                    );
                    continue;
                }
            };
            if let Some(first) = self.named.insert(host.clone(), wire.span) {
                cx.error(wire.span, format!("the host `{host}` is on another certificate already"))
                    .first(first);
            }
            hosts.push(host.clone());
        }
        if wires.len() > MOST_ACME_HOSTS {
            too_many(cx, at, wires.len());
        }
        hosts
    }

    /// Fills in what was left to the entry without `hosts`, and says which of the others' hosts are nobody's.
    pub(super) fn finish(
        &self,
        cx: &mut Context<'_>,
        rest: Vec<(TenantName, Span, Vec<Host>)>,
        tenants: &Tenants,
        all: &mut [Certificate],
    ) {
        for (host, span) in &self.named {
            if tenants.owning(host).is_none() && cx.findings.errors() == 0 {
                cx.warn(*span, format!("no tenant has the host `{host}`"))
                    .hint("a certificate would be had that nobody is shown");
            }
        }
        let certificates = rest.into_iter().map(|(tenant, span, hosts)| {
            if hosts.len() > MOST_ACME_HOSTS {
                too_many(cx, span, hosts.len());
            }
            Arc::new(AcmeCertificate { id: format!("tenants/{tenant}").into(), hosts })
        });
        let mut certificates: Vec<_> = certificates.collect();
        if let (Some(span), true, 0) = (self.rest, certificates.is_empty(), cx.findings.errors()) {
            cx.warn(span, "no host is left for this entry, so it gets no certificate")
                .hint("give it `hosts`, or take it out");
        }
        for certificate in all {
            // Only the one without `hosts` has none so far.
            if let CertificateSource::Acme(acme) = &mut certificate.source
                && acme.certificates.is_empty()
            {
                Arc::make_mut(acme).certificates = std::mem::take(&mut certificates);
            }
        }
    }
}

fn too_many(cx: &mut Context<'_>, span: Span, hosts: usize) {
    cx.error(span, format!("a certificate for {hosts} hosts; CAs take {MOST_ACME_HOSTS}"))
        .hint("share them out among several entries with `hosts`");
}

/// Reads the CAs that may vouch for a server.
pub(super) fn roots(cx: &mut Context<'_>, path: &Spanned<FilePath>) -> Option<Vec<Vec<u8>>> {
    let chain: Vec<CertificateDer<'static>> = certificate::authorities(cx, path)?;
    if chain.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        let shown = cx.resolve(path).display().to_string();
        cx.error(path.span, format!("{shown} holds a certificate that cannot be read"));
        return None;
    }
    Some(chain.into_iter().map(|der| der.to_vec()).collect())
}

fn eab(cx: &mut Context<'_>, wire: &EabWire) -> Option<ExternalAccount> {
    let key = secret::mac_key(cx, &wire.key)?;
    Some(ExternalAccount { kid: wire.kid.value.0.as_str().into(), key })
}

/// Decides how hosts are proven: as it is written, or as the listeners can answer.
fn challenges(cx: &mut Context<'_>, wire: &AcmeWire, listeners: &[Arc<Listener>]) -> Vec<AcmeChallenge> {
    let answers = |challenge: AcmeChallenge| {
        listeners.iter().any(|listener| match listener.kind {
            ListenerKind::Tls => challenge == AcmeChallenge::TlsAlpn01,
            ListenerKind::Plaintext | ListenerKind::Redirect { .. } => challenge == AcmeChallenge::Http01,
        })
    };
    // A listener with a mistake of its own is not in the list: then nothing is known.
    let judged = cx.findings.errors() == 0;
    match &wire.challenge {
        Some(Spanned { value, span }) => {
            if judged && !answers(*value) {
                let (what, hint) = match value {
                    AcmeChallenge::Http01 => (
                        "in clear text",
                        "add a listener with `redirect_to_https: 443`; the CA comes to port 80",
                    ),
                    AcmeChallenge::TlsAlpn01 => {
                        ("over TLS", "add a listener with `tls: {}`; the CA comes to port 443")
                    }
                };
                cx.error(
                    *span,
                    format!("no listener serves {what}, so nothing answers `{}`", value.as_str()),
                )
                .hint(hint);
            }
            vec![*value]
        }
        None => {
            let can: Vec<_> = [AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01]
                .into_iter()
                .filter(|one| answers(*one))
                .collect();
            if judged && can.is_empty() {
                cx.error(wire.span(), "no listener answers the CA")
                    .hint("add one with `tls: {}` for port 443");
            }
            can
        }
    }
}
