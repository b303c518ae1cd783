//! Client certificates: whom one names, and which tenants accept it.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::{DistinguishedName, Host, TenantName, UnixTime};

/// A certificate that a client presented in the handshake, and whose private key it proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain as presented, in DER, the client's own certificate first.
    pub chain: Box<[Box<[u8]>]>,
    /// Its subject.
    pub subject: DistinguishedName,
    /// Its issuer.
    pub issuer: DistinguishedName,
    /// Its subject alternative names.
    pub names: Box<[AlternativeName]>,
    /// Its serial number, in hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// The times at which a certificate of the chain becomes valid or expires.
    pub turns: Box<[UnixTime]>,
}

/// One subjectAltName of a certificate (RFC 5280, section 4.2.1.6), as written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE ID.
    Uri(Box<str>),
    /// An email address.
    Email(Box<str>),
    /// An IP address.
    Address(IpAddr),
}

impl ClientCertificate {
    /// Returns the client's own certificate, in DER.
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf)
    }

    /// Returns the first 16 bytes of the fingerprint in hexadecimal: enough to identify a certificate in a
    /// log line.
    pub fn short_fingerprint(&self) -> String {
        self.fingerprint.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Which tenants of a realm accept a certificate, under one revision of the rules and at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The tenants that accept it.
    ///
    /// Sorted: a host may have many members, and every request looks one up.
    pub tenants: Box<[TenantName]>,
    /// Why the other tenants do not accept it: the most specific of their reasons.
    pub why_not: Box<str>,
    /// The revision of the rules that it was verified under; every revision has its own number.
    pub rules: u64,
    /// When it was verified.
    pub verified: UnixTime,
    /// When it must be verified again, because something in the chain expires then.
    pub until: UnixTime,
}

impl Acceptance {
    /// Says whether this result is still valid. A clock that went backwards invalidates it: what was valid
    /// then need not be valid now.
    pub fn holds(&self, rules: u64, now: UnixTime) -> bool {
        self.rules == rules && self.verified <= now && now < self.until
    }
}

/// The certificate that a connection presented, verified under the current rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The certificate.
    pub certificate: Arc<ClientCertificate>,
    /// The tenants that accept it.
    pub acceptance: Arc<Acceptance>,
}

impl Presented {
    /// Says whether a tenant accepts it.
    pub fn is_accepted_by(&self, tenant: &TenantName) -> bool {
        self.acceptance.tenants.binary_search(tenant).is_ok()
    }
}

/// Verifies client certificates. Connections ask again when the rules have changed or the result has expired.
pub trait CertificateVerifier: fmt::Debug + Send + Sync {
    /// Returns the revision of the current rules.
    fn rules(&self) -> u64;

    /// Verifies a certificate that was presented to a host, under the current rules.
    fn verify(&self, host: Option<&Host>, certificate: &ClientCertificate, now: UnixTime) -> Acceptance;
}

/// How long a refusal is cached at most: its cause may pass with time.
pub const REFUSAL_HOLDS: Duration = Duration::from_secs(10);
