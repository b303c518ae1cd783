//! Client certificates: which ones a tenant accepts, and whether it requires one.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

use crate::model::{AlternativeName, ClientCertificate, DistinguishedName, HostPattern, Origin, UnixTime};

/// A tenant's rules about client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Where the rules are in the configuration.
    pub origin: Origin,
    /// Whether a certificate is required.
    pub mode: CertificateMode,
    /// The CAs. A lobby without CAs of its own uses those of its members.
    pub trust: Option<Arc<ClientTrust>>,
    /// Why there are none although the rules name some: their file, or that of their lists, could not be used
    /// at the start. Every client is refused.
    pub unusable: Option<Arc<UnusableTrust>>,
    /// Which of the CAs' certificates are accepted.
    pub identities: Identities,
}

/// Whether a client certificate is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateMode {
    /// Every request needs one.
    #[default]
    Required,
    /// One is requested, but a client need not have one.
    Optional,
}

/// The CAs of a tenant, and their revocation lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrust {
    /// The trust anchors.
    pub anchors: Box<[CaCertificate]>,
    /// Intermediate CAs below the anchors. They complete chains that a client sends without them, and may be
    /// revoked.
    pub intermediates: Box<[CaCertificate]>,
    /// The revocation lists. If there is one, a certificate of a CA without a list is refused.
    pub crls: Box<[Crl]>,
    /// The files that all of this was read from.
    pub files: Box<[TrustFile]>,
}

/// CAs that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableTrust {
    /// The error.
    pub why: Box<str>,
    /// The files, with the digest of those that could be read: they are read again once they change.
    pub files: Box<[(PathBuf, Option<[u8; 32]>)]>,
}

/// A file of CAs or lists, as it was when read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// Its path.
    pub path: PathBuf,
    /// SHA-256 of its contents.
    pub digest: [u8; 32],
}

/// A CA certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    /// Its name, for display.
    pub name: Box<str>,
    /// The certificate, in DER.
    pub der: Box<[u8]>,
    /// Its subject in DER: the issuer of the certificates below it.
    pub subject: Box<[u8]>,
    /// The beginning of its validity.
    pub begins: UnixTime,
    /// The end of its validity.
    pub ends: UnixTime,
}

/// A certificate revocation list (RFC 5280, section 5) with a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// Its issuer, for display.
    pub issuer: Box<str>,
    /// The list, in DER.
    pub der: Box<[u8]>,
    /// From when on octroi warns that it expires.
    pub notice: UnixTime,
    /// When the next list is due: this one is not used from then on.
    pub next_update: UnixTime,
}

/// A CA or a list that has expired, or cannot be used at all. Its clients are refused until it is replaced;
/// other clients are unaffected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustExpiry<'a> {
    /// What has expired.
    pub what: ExpiredItem,
    /// The CA's name; for files that cannot be used, the error.
    pub authority: &'a str,
    /// Since when.
    pub since: UnixTime,
}

/// What can expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiredItem {
    /// The CA itself.
    Authority,
    /// Its revocation list.
    List,
    /// Nothing expired: the files cannot be used.
    Unusable,
}

impl fmt::Display for TrustExpiry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            ExpiredItem::Authority => {
                write!(f, "the CA `{}` has ended: its certificates are refused", self.authority)
            }
            ExpiredItem::Unusable => {
                write!(f, "the CAs of clients cannot be used ({}): everybody is refused", self.authority)
            }
            ExpiredItem::List => write!(
                f,
                "the revocation list of `{}` has ended: certificates of that CA are refused",
                self.authority
            ),
        }
    }
}

impl ClientTrust {
    /// Returns what has expired.
    pub fn expired_trust(&self, now: UnixTime) -> impl Iterator<Item = TrustExpiry<'_>> {
        let authorities = self.anchors.iter().chain(&self.intermediates);
        let authorities = authorities.map(|ca| TrustExpiry {
            what: ExpiredItem::Authority,
            authority: &ca.name,
            since: ca.ends,
        });
        let lists = self.crls.iter().map(|crl| TrustExpiry {
            what: ExpiredItem::List,
            authority: &crl.issuer,
            since: crl.next_update,
        });
        authorities.chain(lists).filter(move |lapse| lapse.since <= now)
    }
}

/// Which certificates of a CA are accepted. An empty list accepts everything; each list that is not empty
/// must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// Subjects, by the listed attributes.
    pub subjects: Box<[DistinguishedName]>,
    /// Subject alternative names.
    pub names: Box<[NamePattern]>,
}

/// What an alternative name must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This DNS name, or any name one label below it.
    Dns(HostPattern),
    /// This URI.
    Uri(Box<str>),
    /// This email address.
    Email(Box<str>),
    /// This IP address.
    Address(IpAddr),
}

impl Identities {
    /// Says whether a certificate is accepted.
    pub fn admit(&self, certificate: &ClientCertificate) -> bool {
        let subject =
            self.subjects.is_empty() || self.subjects.iter().any(|rule| rule.covers(&certificate.subject));
        let name = self.names.is_empty()
            || certificate.names.iter().any(|name| self.names.iter().any(|rule| rule.is(name)));
        subject && name
    }
}

impl NamePattern {
    fn is(&self, name: &AlternativeName) -> bool {
        match (self, name) {
            // A wildcard in a client's certificate is not a host, so it matches nothing.
            (Self::Dns(pattern), AlternativeName::Dns(name)) => {
                name.parse().is_ok_and(|host| pattern.matches(&host))
            }
            (Self::Uri(own), AlternativeName::Uri(other))
            | (Self::Email(own), AlternativeName::Email(other)) => own == other,
            (Self::Address(own), AlternativeName::Address(other)) => own == other,
            (Self::Dns(_) | Self::Uri(_) | Self::Email(_) | Self::Address(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(subject: &str, names: Vec<AlternativeName>) -> ClientCertificate {
        ClientCertificate {
            chain: Box::default(),
            subject: subject.parse().unwrap(),
            issuer: DistinguishedName::default(),
            names: names.into(),
            serial: "01".into(),
            fingerprint: [0; 32],
            turns: Box::default(),
        }
    }

    fn identities(subjects: &[&str], names: Vec<NamePattern>) -> Identities {
        Identities {
            subjects: subjects.iter().map(|text| text.parse().unwrap()).collect(),
            names: names.into(),
        }
    }

    #[test]
    fn no_list_bounds_nothing_and_each_list_has_to_be_met() {
        let robot = certificate("CN=robot-1,O=Acme", vec![AlternativeName::Dns("robot-1.acme.test".into())]);
        let named = || vec![NamePattern::Dns("*.acme.test".parse().unwrap())];
        let other = || vec![NamePattern::Dns("*.globex.test".parse().unwrap())];

        assert!(identities(&[], vec![]).admit(&robot));
        assert!(identities(&["CN=robot-2", "O=Acme"], vec![]).admit(&robot));
        assert!(identities(&["O=Acme"], named()).admit(&robot));
        assert!(!identities(&["O=Acme"], other()).admit(&robot));
        assert!(!identities(&["O=Globex"], named()).admit(&robot));
        assert!(!identities(&[], named()).admit(&certificate("CN=robot-1", vec![])));
    }

    #[test]
    fn a_name_is_met_by_its_own_kind_only() {
        let has = |pattern: NamePattern, name: AlternativeName| {
            identities(&[], vec![pattern]).admit(&certificate("CN=a", vec![name]))
        };
        let dns = |text: &str| NamePattern::Dns(text.parse().unwrap());

        assert!(has(dns("a.test"), AlternativeName::Dns("A.test".into())));
        assert!(!has(dns("*.test"), AlternativeName::Dns("*.test".into())));
        assert!(!has(dns("*.test"), AlternativeName::Dns("b.a.test".into())));
        assert!(!has(dns("a.test"), AlternativeName::Uri("a.test".into())));
        assert!(has(
            NamePattern::Uri("spiffe://acme/robot".into()),
            AlternativeName::Uri("spiffe://acme/robot".into())
        ));
        assert!(!has(
            NamePattern::Uri("spiffe://acme/robot".into()),
            AlternativeName::Uri("spiffe://acme/robot/x".into())
        ));
        assert!(!has(NamePattern::Email("a@acme.test".into()), AlternativeName::Email("A@acme.test".into())));
        assert!(has(
            NamePattern::Address([192, 0, 2, 1].into()),
            AlternativeName::Address([192, 0, 2, 1].into())
        ));
        assert!(!has(
            NamePattern::Address([192, 0, 2, 1].into()),
            AlternativeName::Address([192, 0, 2, 2].into())
        ));
    }
}
