//! A client's certificate: who it says it is, and which tenants take its word.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::{DistinguishedName, Host, TenantName, UnixTime};

/// A certificate that a client presented in the handshake, and whose key it proved to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain as presented, DER, the client's own certificate first.
    pub chain: Box<[Box<[u8]>]>,
    /// Whom it is for.
    pub subject: DistinguishedName,
    /// Who made it.
    pub issuer: DistinguishedName,
    /// Its other names.
    pub names: Box<[AlternativeName]>,
    /// Its serial number, hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 over its DER.
    pub fingerprint: [u8; 32],
    /// When something in the chain begins to count, or no longer does.
    pub turns: Box<[UnixTime]>,
}

/// One subjectAltName of a certificate (RFC 5280, section 4.2.1.6), as written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name.
    Dns(Box<str>),
    /// A URI: of SPIFFE, for one.
    Uri(Box<str>),
    /// A mailbox.
    Email(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl ClientCertificate {
    /// Returns the client's own certificate, DER.
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf)
    }

    /// Returns the first 16 bytes of the fingerprint, hexadecimal: enough to name a certificate in a line.
    pub fn short_fingerprint(&self) -> String {
        self.fingerprint.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Which tenants of a realm accept a certificate, by the rules and the time of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Those that do.
    ///
    /// Sorted: a lobby's members may be many, and each request asks for one.
    pub tenants: Box<[TenantName]>,
    /// Why the others do not, or the most telling reason of them.
    pub why_not: Box<str>,
    /// The rules that it was judged by: a number that no other rules have.
    pub rules: u64,
    /// When it was judged.
    pub judged: UnixTime,
    /// When it has to be judged again, because something in it ends then.
    pub until: UnixTime,
}

impl Acceptance {
    /// Says whether it still holds. A clock that went back makes it void: what was in force then need not be in force now.
    pub fn holds(&self, rules: u64, now: UnixTime) -> bool {
        self.rules == rules && self.judged <= now && now < self.until
    }
}

/// What a request's connection presented, judged by the rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The certificate.
    pub certificate: Arc<ClientCertificate>,
    /// Who accepts it.
    pub acceptance: Arc<Acceptance>,
}

impl Presented {
    /// Says whether a tenant accepts it.
    pub fn is_accepted_by(&self, tenant: &TenantName) -> bool {
        self.acceptance.tenants.binary_search(tenant).is_ok()
    }
}

/// Says who accepts a certificate. Connections ask it again when the rules or the time have moved on.
pub trait CertificateJudge: fmt::Debug + Send + Sync {
    /// Returns the number of the rules in force.
    fn rules(&self) -> u64;

    /// Judges a certificate that was presented to a host, by the rules in force.
    fn judge(&self, host: Option<&Host>, certificate: &ClientCertificate, now: UnixTime) -> Acceptance;
}

/// How long a refusal is believed, at most: its reason may be one that time mends.
pub const REFUSAL_HOLDS: Duration = Duration::from_secs(10);
