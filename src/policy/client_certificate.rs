//! Client certificates: whose a tenant accepts, and whether it insists on one.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

use crate::model::{AlternativeName, ClientCertificate, DistinguishedName, HostPattern, Origin, UnixTime};

/// A tenant's rules about client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Where they were written.
    pub origin: Origin,
    /// Whether one is needed.
    pub mode: CertificateMode,
    /// Who makes them. A lobby without CAs of its own asks for those of its members.
    pub trust: Option<Arc<ClientTrust>>,
    /// Why there is none, where there should be: their file, or that of their lists, could not be used at the start. Everybody is refused.
    pub unusable: Option<Arc<UnusableTrust>>,
    /// Which of theirs are accepted.
    pub identities: Identities,
}

/// Whether a client certificate is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateMode {
    /// Every request needs one.
    #[default]
    Required,
    /// One is asked for; a client may have none.
    Optional,
}

/// The CAs of a tenant, and what they have revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrust {
    /// Where a chain may end.
    pub anchors: Box<[CaCertificate]>,
    /// CAs whose own maker is among the anchors. They are looked for where a client does not send them, and may be revoked.
    pub intermediates: Box<[CaCertificate]>,
    /// The revocation lists. Where there is one, a certificate of a CA that no list is of is refused.
    pub crls: Box<[Crl]>,
    /// The files that all of it was read from.
    pub files: Box<[TrustFile]>,
}

/// CAs that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableTrust {
    /// What is wrong.
    pub why: Box<str>,
    /// The files, with the digest of what could be read: what changes is tried again.
    pub files: Box<[(PathBuf, Option<[u8; 32]>)]>,
}

/// A file of CAs or lists, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of what it held.
    pub digest: [u8; 32],
}

/// The certificate of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    /// What it is called, for people.
    pub name: Box<str>,
    /// DER.
    pub der: Box<[u8]>,
    /// Its name, DER: what the certificates that it made call their issuer.
    pub subject: Box<[u8]>,
    /// From when on it counts.
    pub begins: UnixTime,
    /// From when on it no longer counts.
    pub ends: UnixTime,
}

/// A certificate revocation list (RFC 5280, section 5), whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// Whose list it is, for people.
    pub issuer: Box<str>,
    /// DER.
    pub der: Box<[u8]>,
    /// From when on somebody has to be told that it ends.
    pub notice: UnixTime,
    /// When the next one is due: from then on this one says nothing.
    pub next_update: UnixTime,
}

/// A CA or a list that has ended, or cannot be used at all. Whoever it concerns is refused until its follower is there; nobody else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lapse<'a> {
    /// What has ended.
    pub what: Lapsed,
    /// The CA's name; of what cannot be used, why.
    pub authority: &'a str,
    /// Since when.
    pub since: UnixTime,
}

/// What can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lapsed {
    /// The CA itself.
    Authority,
    /// Its revocation list.
    List,
    /// Nothing ended: the files cannot be used.
    Unusable,
}

impl fmt::Display for Lapse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Lapsed::Authority => write!(f, "the CA `{}` has ended: its certificates are refused", self.authority),
            Lapsed::Unusable => write!(f, "the CAs of clients cannot be used ({}): everybody is refused", self.authority),
            Lapsed::List => write!(f, "the revocation list of `{}` has ended: certificates of that CA are refused", self.authority),
        }
    }
}

impl ClientTrust {
    /// Returns what has ended by now.
    pub fn lapses(&self, now: UnixTime) -> impl Iterator<Item = Lapse<'_>> {
        let authorities = self.anchors.iter().chain(&self.intermediates);
        let authorities = authorities.map(|ca| Lapse { what: Lapsed::Authority, authority: &ca.name, since: ca.ends });
        let lists = self.crls.iter().map(|crl| Lapse { what: Lapsed::List, authority: &crl.issuer, since: crl.next_update });
        authorities.chain(lists).filter(move |lapse| lapse.since <= now)
    }
}

/// Which certificates of a CA are accepted. A list that is empty bounds nothing; each of the others has to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// Subjects, by the attributes that are written.
    pub subjects: Box<[DistinguishedName]>,
    /// Alternative names.
    pub names: Box<[NamePattern]>,
}

/// What an alternative name has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This DNS name, or one of the names one label below.
    Dns(HostPattern),
    /// This URI.
    Uri(Box<str>),
    /// This mailbox.
    Email(Box<str>),
    /// This address.
    Address(IpAddr),
}

impl Identities {
    /// Says whether a certificate is one of those that are meant.
    pub fn admit(&self, certificate: &ClientCertificate) -> bool {
        let subject = self.subjects.is_empty() || self.subjects.iter().any(|rule| rule.covers(&certificate.subject));
        let name = self.names.is_empty() || certificate.names.iter().any(|name| self.names.iter().any(|rule| rule.is(name)));
        subject && name
    }
}

impl NamePattern {
    fn is(&self, name: &AlternativeName) -> bool {
        match (self, name) {
            // A wildcard in the certificate is no host, so it is nobody's name.
            (Self::Dns(pattern), AlternativeName::Dns(name)) => name.parse().is_ok_and(|host| pattern.matches(&host)),
            (Self::Uri(own), AlternativeName::Uri(other)) | (Self::Email(own), AlternativeName::Email(other)) => own == other,
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
        Identities { subjects: subjects.iter().map(|text| text.parse().unwrap()).collect(), names: names.into() }
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
        let has = |pattern: NamePattern, name: AlternativeName| identities(&[], vec![pattern]).admit(&certificate("CN=a", vec![name]));
        let dns = |text: &str| NamePattern::Dns(text.parse().unwrap());

        assert!(has(dns("a.test"), AlternativeName::Dns("A.test".into())));
        assert!(!has(dns("*.test"), AlternativeName::Dns("*.test".into())));
        assert!(!has(dns("*.test"), AlternativeName::Dns("b.a.test".into())));
        assert!(!has(dns("a.test"), AlternativeName::Uri("a.test".into())));
        assert!(has(NamePattern::Uri("spiffe://acme/robot".into()), AlternativeName::Uri("spiffe://acme/robot".into())));
        assert!(!has(NamePattern::Uri("spiffe://acme/robot".into()), AlternativeName::Uri("spiffe://acme/robot/x".into())));
        assert!(!has(NamePattern::Email("a@acme.test".into()), AlternativeName::Email("A@acme.test".into())));
        assert!(has(NamePattern::Address([192, 0, 2, 1].into()), AlternativeName::Address([192, 0, 2, 1].into())));
        assert!(!has(NamePattern::Address([192, 0, 2, 1].into()), AlternativeName::Address([192, 0, 2, 2].into())));
    }
}
