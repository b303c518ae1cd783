//! Certificates by ACME (RFC 8555): from which CA, for which hosts, validated how.

use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use crate::model::{Host, Secret};

/// One `acme` entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The directory URL; https.
    pub directory: Box<str>,
    /// The contact of the account: `mailto:…`.
    pub contact: Option<Box<str>>,
    /// The existing account at the CA that ours is bound to.
    pub eab: Option<ExternalAccount>,
    /// The trusted CAs for the directory, in DER; `None`: the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// How hosts are validated, in order of preference; never empty.
    pub challenges: Vec<AcmeChallenge>,
    /// How long before its expiry a certificate is renewed; `None`: a third of its lifetime.
    pub renew_before: Option<Duration>,
    /// How long to wait after a first failure; doubled with each failure that follows.
    pub retry_after: Duration,
    /// The certificates to obtain.
    pub certificates: Vec<Arc<AcmeCertificate>>,
}

/// One certificate to obtain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// Its name in logs and under the state directory: `tenants/acme`, or `hosts/www.example.com` after its
    /// first host.
    pub id: Box<str>,
    /// Its hosts; 1 to [`MOST_HOSTS`].
    pub hosts: Vec<Host>,
}

/// How many hosts a certificate may have: the limit of the largest public CA.
pub const MOST_HOSTS: usize = 100;

/// An existing account at the CA (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its key identifier.
    pub kid: Box<str>,
    /// Its HMAC-SHA-256 key, which proves that it is ours.
    pub key: Secret<Vec<u8>>,
}

/// How the CA validates a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AcmeChallenge {
    /// A file at a path, over HTTP on port 80 (RFC 8555, section 8.3).
    Http01,
    /// A certificate in a handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl AcmeChallenge {
    /// Every challenge type.
    pub const ALL: [Self; 2] = [Self::Http01, Self::TlsAlpn01];

    /// Returns the name in configuration, in the protocol and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl Acme {
    /// Returns the path of the account file, under the state directory. Another directory, contact or binding
    /// is another account.
    pub fn account_file(&self) -> PathBuf {
        let mut digest = Sha256::new();
        let (kid, key) =
            self.eab.as_ref().map_or(("", &[][..]), |eab| (&*eab.kid, eab.key.expose().as_slice()));
        for part in
            [self.directory.as_bytes(), self.contact.as_deref().unwrap_or("").as_bytes(), kid.as_bytes(), key]
        {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        let mut name = self.directory_host();
        name.push('-');
        for byte in digest.finalize().iter().take(8) {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name.push_str(".json");
        PathBuf::from("acme/accounts").join(name)
    }

    /// The host of the directory URL, in characters that file names may have.
    fn directory_host(&self) -> String {
        let rest = self.directory.strip_prefix("https://").unwrap_or(&self.directory);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        authority
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
            .collect()
    }
}

impl AcmeCertificate {
    /// Returns the path of the file with the certificate and its key, under the state directory.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(format!("acme/certificates/{}.pem", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Acme {
        Acme {
            directory: "https://ca.test:14000/dir".into(),
            contact: None,
            eab: None,
            roots: None,
            challenges: AcmeChallenge::ALL.to_vec(),
            renew_before: None,
            retry_after: Duration::from_secs(60),
            certificates: Vec::new(),
        }
    }

    #[test]
    fn an_account_is_of_a_directory_a_contact_and_a_binding() {
        let eab = |key: &[u8]| Some(ExternalAccount { kid: "k".into(), key: Secret::new(key.to_vec()) });
        let all = [
            entry(),
            Acme { contact: Some("mailto:a@b.test".into()), ..entry() },
            Acme { eab: eab(&[1; 32]), ..entry() },
            Acme { eab: eab(&[2; 32]), ..entry() },
            Acme { directory: "https://ca.test:14000/other".into(), ..entry() },
        ];

        let files: std::collections::BTreeSet<PathBuf> = all.iter().map(Acme::account_file).collect();

        assert_eq!(files.len(), all.len());
        assert_eq!(Acme { retry_after: Duration::ZERO, ..entry() }.account_file(), entry().account_file());
        let name = entry().account_file();
        let name = name.to_str().unwrap();
        assert!(name.starts_with("acme/accounts/ca.test_14000-") && name.ends_with(".json"), "{name}");
    }
}
