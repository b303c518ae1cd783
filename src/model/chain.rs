//! A server's certificate chain: is each certificate issued by the next one, with nothing else in between?
//!
//! Browsers repair most of these faults and programs do not. So a fault never stops octroi from serving a
//! chain, and every fault is reported. Signatures are not verified: names and key identifiers tell which
//! certificate issued which (RFC 5280, sections 4.2.1.1 and 4.2.1.2).

use std::{fmt, time::Duration};

use x509_parser::{
    certificate::X509Certificate,
    extensions::{AccessDescription, ParsedExtension},
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS,
    prelude::{FromDer, GeneralName},
};

use super::UnixTime;

/// How long before its expiry `octroi check` and `octroi status` warn about a certificate.
pub const CERTIFICATE_NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// A fault of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// A certificate does not stand directly behind the one that it issued.
    Order(String),
    /// The issuer of the first certificate is missing, though other certificates follow.
    Gap(String),
    /// The first certificate stands alone, and by its own contents it was not issued by a root.
    Alone(String),
    /// A certificate issued none of the others.
    Foreign(String),
    /// A certificate appears twice.
    Twice(String),
    /// A certificate behind the first one has expired.
    Ended(String, UnixTime),
    /// An entry that is not a certificate.
    Unreadable,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(name) => write!(f, "`{name}` does not stand behind the certificate that it made"),
            Self::Gap(issuer) => {
                write!(f, "the certificate of `{issuer}`, which made the first one, is missing")
            }
            Self::Alone(issuer) => {
                write!(f, "the first certificate stands alone; that of `{issuer}`, which made it, is missing")
            }
            Self::Foreign(name) => write!(f, "`{name}` made no certificate of this chain"),
            Self::Twice(name) => write!(f, "`{name}` stands there twice"),
            Self::Ended(name, at) => write!(f, "`{name}` expired on {}", at.day()),
            Self::Unreadable => f.write_str("one of the certificates cannot be read"),
        }
    }
}

/// How many certificates of a chain are examined. Public chains have two to four.
const MOST: usize = 16;

/// Finds the faults of a chain, its first certificate first. The expiry of the first certificate is not
/// reported here.
pub fn chain_faults<D: AsRef<[u8]>>(chain: &[D], now: UnixTime) -> Vec<ChainFault> {
    let read: Vec<_> =
        chain.iter().take(MOST).filter_map(|der| X509Certificate::from_der(der.as_ref()).ok()).collect();
    let certificates: Vec<&X509Certificate<'_>> = read.iter().map(|(_, certificate)| certificate).collect();
    let mut faults = Vec::new();
    if certificates.len() < chain.len().min(MOST) {
        faults.push(ChainFault::Unreadable);
    }
    let Some(first) = certificates.first() else { return faults };
    let (mut current, mut way) = (*first, vec![0]);
    while !is_made_by_itself(current) {
        let free = || certificates.iter().enumerate().filter(|(index, _)| !way.contains(index));
        let made = free().filter(|(_, other)| is_made_by(current, other));
        // Where several certificates have the issuer's name, the one closest to its place counts.
        let Some((index, maker)) = made.min_by_key(|(index, _)| index.abs_diff(way.len())) else { break };
        // One misplaced certificate displaces others, so this fault is reported once.
        if index != way.len() && !faults.iter().any(|fault| matches!(fault, ChainFault::Order(_))) {
            faults.push(ChainFault::Order(name(maker)));
        }
        way.push(index);
        current = maker;
    }
    if way.len() == 1 && !is_made_by_itself(first) {
        let issuer = first.issuer().to_string();
        if certificates.len() > 1 {
            faults.push(ChainFault::Gap(issuer));
        } else if has_one_between(first) {
            faults.push(ChainFault::Alone(issuer));
        }
    }
    for (index, other) in certificates.iter().enumerate() {
        if !way.contains(&index) {
            let is_there = certificates.iter().take(index).any(|before| before.as_ref() == other.as_ref());
            faults.push(if is_there {
                ChainFault::Twice(name(other))
            } else {
                ChainFault::Foreign(name(other))
            });
        }
        let end = UnixTime::from_secs(u64::try_from(other.validity().not_after.timestamp()).unwrap_or(0));
        if index > 0 && end < now {
            faults.push(ChainFault::Ended(name(other), end));
        }
    }
    faults
}

fn name(certificate: &X509Certificate<'_>) -> String {
    certificate.subject().to_string()
}

fn is_made_by_itself(certificate: &X509Certificate<'_>) -> bool {
    is_made_by(certificate, certificate)
}

fn is_made_by(certificate: &X509Certificate<'_>, maker: &X509Certificate<'_>) -> bool {
    let named = certificate.issuer().as_raw() == maker.subject().as_raw();
    named && authority_key(certificate).zip(subject_key(maker)).is_none_or(|(wanted, found)| wanted == found)
}

fn authority_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() else { return None };
        key.key_identifier.as_ref().map(|key| key.0)
    })
}

fn subject_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| {
        if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
            Some(key.0)
        } else {
            None
        }
    })
}

/// The prefix of the CA/Browser Forum's policies: every certificate of a public CA names one of them
/// (Baseline Requirements, section 7.1.6.1).
const PUBLIC_POLICIES: &str = "2.23.140.1.2.";
/// Timestamps of Certificate Transparency (RFC 6962, section 3.3), which public CAs embed.
const TIMESTAMPS: &str = "1.3.6.1.4.1.11129.2.4.2";

/// Says whether there is an intermediate between this certificate and the root.
///
/// A certificate of a public CA shows by its policy or its timestamps that it is one, and roots of public CAs
/// do not issue directly (Baseline Requirements, section 6.1.7). Any other certificate shows it by an HTTP
/// URL for its issuer's certificate (RFC 5280, section 4.2.2.1): clients that have the root need no such URL.
/// A private root that issues directly names none; Windows puts a directory (`ldap:`) into certificates of
/// roots, too.
fn has_one_between(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| {
        let parsed = extension.parsed_extension();
        if let ParsedExtension::AuthorityInfoAccess(access) = parsed {
            return access.accessdescs.iter().any(is_on_the_web);
        }
        if let ParsedExtension::CertificatePolicies(policies) = parsed {
            return policies
                .iter()
                .any(|policy| policy.policy_id.to_id_string().starts_with(PUBLIC_POLICIES));
        }
        extension.oid.to_id_string() == TIMESTAMPS
    })
}

fn is_on_the_web(one: &AccessDescription<'_>) -> bool {
    let GeneralName::URI(place) = one.access_location else { return false };
    let is_web = place
        .split_once(':')
        .is_some_and(|(scheme, _)| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)));
    is_web && one.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS
}

#[cfg(all(test, feature = "gateway"))]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
    };

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    struct Ca {
        der: Vec<u8>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn params(name: &str, until: i32) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn ca(name: &str, by: Option<&Ca>, until: i32) -> Ca {
        let (key, params) = (KeyPair::generate().unwrap(), params(name, until));
        let made = match by {
            Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Ca { der: made.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn said(chain: &[&Ca]) -> Vec<String> {
        let ders: Vec<&[u8]> = chain.iter().map(|one| one.der.as_slice()).collect();
        chain_faults(&ders, NOW).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_in_order_is_silent_with_its_root_and_without() {
        let root = ca("root", None, 2030);
        let middle = ca("middle", Some(&root), 2030);
        let leaf = ca("leaf", Some(&middle), 2030);

        for chain in [&[&leaf, &middle, &root][..], &[&leaf, &middle], &[&leaf], &[&root]] {
            assert_eq!(said(chain), [""; 0]);
        }
        assert_eq!(said(&[]), [""; 0]);
    }

    #[test]
    fn what_is_odd_is_named() {
        let root = ca("root", None, 2030);
        let middle = ca("middle", Some(&root), 2030);
        let leaf = ca("leaf", Some(&middle), 2030);
        let stranger = ca("stranger", None, 2030);
        let namesake = ca("middle", Some(&root), 2030);

        assert_eq!(
            said(&[&leaf, &root, &middle]),
            ["`CN=middle` does not stand behind the certificate that it made"]
        );
        assert_eq!(
            said(&[&leaf, &root]),
            [
                "the certificate of `CN=middle`, which made the first one, is missing",
                "`CN=root` made no certificate of this chain"
            ]
        );
        assert_eq!(said(&[&leaf, &middle, &stranger]), ["`CN=stranger` made no certificate of this chain"]);
        assert_eq!(said(&[&leaf, &middle, &middle]), ["`CN=middle` stands there twice"]);
        assert_eq!(said(&[&leaf, &namesake]).len(), 2, "the name alone makes no maker");
        let old_root = ca("old root", None, 2021);
        assert_eq!(
            said(&[&ca("leaf", Some(&old_root), 2030), &old_root]),
            ["`CN=old root` expired on 2021-01-01"]
        );
        assert_eq!(chain_faults(&[leaf.der.as_slice(), b"?"], NOW), [ChainFault::Unreadable]);
    }

    #[test]
    fn one_that_has_another_between_it_and_the_root_does_not_stand_alone() {
        let root = ca("root", None, 2030);
        // SEQUENCE { SEQUENCE { caIssuers, [6] location } }
        let access = |method: u8, place: &[u8]| {
            let length = u8::try_from(place.len()).unwrap();
            let head = [
                0x30,
                length + 14,
                0x30,
                length + 12,
                0x06,
                0x08,
                0x2b,
                6,
                1,
                5,
                5,
                7,
                0x30,
                method,
                0x86,
                length,
            ];
            (&[1_u64, 3, 6, 1, 5, 5, 7, 1, 1][..], [head.as_slice(), place].concat())
        };
        // SEQUENCE { SEQUENCE { 2.23.140.1.2.1 } }, or a CA's own policy.
        let policy = |first: &[u8]| {
            let length = u8::try_from(first.len()).unwrap();
            (&[2_u64, 5, 29, 32][..], [&[0x30, length + 4, 0x30, length + 2, 0x06, length], first].concat())
        };
        let timestamps = (&[1_u64, 3, 6, 1, 4, 1, 11129, 2, 4, 2][..], vec![0x04, 0x02, 0x00, 0x00]);

        for ((oid, content), stands_alone) in [
            (access(2, b"http://ca.test/i"), true),
            (access(2, b"HTTPS://ca.test/i"), true),
            (access(1, b"http://ca.test/ocsp"), false),
            (access(2, b"ldap:///CN=root"), false),
            (policy(&[0x67, 0x81, 0x0c, 1, 2, 1]), true),
            (policy(&[0x2b, 6, 1, 4, 1, 0x09, 1]), false),
            (timestamps, true),
        ] {
            let mut params = params("leaf", 2030);
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, content));
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), &root.issuer).unwrap();
            let expected =
                if stands_alone { vec![ChainFault::Alone("CN=root".to_owned())] } else { Vec::new() };
            assert_eq!(chain_faults(&[leaf.der()], NOW), expected, "{oid:?}");
            assert_eq!(chain_faults(&[leaf.der().as_ref(), root.der.as_slice()], NOW), [], "{oid:?}");
        }
    }
}
