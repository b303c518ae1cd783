//! Reads a client's certificate, as far as rules and logs need it.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, x509::X509Name};

use super::refusal::Refused;
use crate::model::{AlternativeName, ClientCertificate, DistinguishedName, UnixTime};

/// The largest client certificate: it is forwarded to the upstream in a field, and common servers accept 8
/// KiB of fields in all.
const MAX_LEAF_BYTES: usize = 4 << 10;
/// The most certificates in a chain. Real chains have at most four.
const MAX_CHAIN: usize = 8;

/// Reads the chain that a client presents.
pub(super) fn read(chain: &[CertificateDer<'_>]) -> Result<ClientCertificate, Refused> {
    let leaf = chain.first().ok_or_else(Refused::unreadable)?;
    if leaf.len() > MAX_LEAF_BYTES {
        return Err(Refused::too_large("it is larger than 4 KiB"));
    }
    if chain.len() > MAX_CHAIN {
        return Err(Refused::too_large("its chain has more than 8 certificates"));
    }
    let parsed: Vec<X509Certificate<'_>> = chain.iter().filter_map(|der| parse(der)).collect();
    let x509 = parsed.first().filter(|_| parsed.len() == chain.len()).ok_or_else(Refused::unreadable)?;
    let time = |seconds: i64| UnixTime::from_secs(u64::try_from(seconds).unwrap_or(0));
    let turns = parsed.iter().flat_map(|x509| {
        let validity = x509.validity();
        // The last second still counts.
        [time(validity.not_before.timestamp()), time(validity.not_after.timestamp().saturating_add(1))]
    });
    Ok(ClientCertificate {
        chain: chain.iter().map(|der| der.to_vec().into()).collect(),
        subject: name(x509.subject()),
        issuer: name(x509.issuer()),
        names: alternative_names(x509),
        serial: x509.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        fingerprint: Sha256::digest(leaf).into(),
        turns: turns.collect(),
    })
}

/// Returns the issuer names of the certificates of a chain, in DER.
pub(super) fn issuers(chain: &[CertificateDer<'_>]) -> Vec<Box<[u8]>> {
    chain.iter().filter_map(|der| parse(der)).map(|x509| x509.issuer().as_raw().into()).collect()
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, x509)| x509)
}

fn name(name: &X509Name<'_>) -> DistinguishedName {
    DistinguishedName::new(
        name.iter_attributes()
            .map(|attribute| (attribute.attr_type().to_id_string(), attribute.as_str().ok().map(Into::into))),
    )
}

fn alternative_names(x509: &X509Certificate<'_>) -> Box<[AlternativeName]> {
    let names = x509.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(AlternativeName::Dns((*name).into())),
            GeneralName::URI(uri) => Some(AlternativeName::Uri((*uri).into())),
            GeneralName::RFC822Name(mailbox) => Some(AlternativeName::Email((*mailbox).into())),
            GeneralName::IPAddress(bytes) => address(bytes).map(AlternativeName::Address),
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
