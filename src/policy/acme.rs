//! Certificates from a directory (RFC 8555): from whom, for which hosts, proven how.

use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use crate::model::{Host, Secret};

/// One `acme` entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The URL of the directory; https.
    pub directory: Box<str>,
    /// Whom the CA may write to: `mailto:…`.
    pub contact: Option<Box<str>>,
    /// The account at the CA that ours is bound to.
    pub eab: Option<ExternalAccount>,
    /// The CAs that may vouch for the directory, each as DER; absent: the system's.
    pub roots: Option<Vec<Vec<u8>>>,
    /// How hosts are proven, the first choice first; never empty.
    pub challenges: Vec<AcmeChallenge>,
    /// How long before its end a certificate is renewed; absent: a third of its life.
    pub renew_before: Option<Duration>,
    /// How long to wait after a first failure; doubled with each one that follows.
    pub retry_after: Duration,
    /// What is to be had.
    pub certificates: Vec<Arc<AcmeCertificate>>,
}

/// One certificate to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// What it is called in logs and under the state folder: `tenants/acme`, or `hosts/www.example.com` after its first host.
    pub id: Box<str>,
    /// The hosts it is for; 1 to [`MOST_HOSTS`].
    pub hosts: Vec<Host>,
}

/// The most names on one certificate: what the largest public CA takes.
pub const MOST_HOSTS: usize = 100;

/// An account that exists at the CA already (RFC 8555, section 7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its name.
    pub kid: Box<str>,
    /// The key that proves it is ours: HMAC-SHA-256.
    pub key: Secret<Vec<u8>>,
}

/// How the CA sees that a host is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AcmeChallenge {
    /// A file at a path, over HTTP on port 80 (RFC 8555, section 8.3).
    Http01,
    /// A certificate in a handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl AcmeChallenge {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Http01, Self::TlsAlpn01];

    /// Returns the name that configuration, CAs and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl Acme {
    /// Returns where the account is kept, under the state folder. Another directory, contact or binding is another account.
    pub fn account_file(&self) -> PathBuf {
        let mut digest = Sha256::new();
        let (kid, key) = self.eab.as_ref().map_or(("", &[][..]), |eab| (&*eab.kid, eab.key.expose().as_slice()));
        for part in [self.directory.as_bytes(), self.contact.as_deref().unwrap_or("").as_bytes(), kid.as_bytes(), key] {
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

    /// The host of the directory, in characters that file names have.
    fn directory_host(&self) -> String {
        let rest = self.directory.strip_prefix("https://").unwrap_or(&self.directory);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        authority.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
    }
}

impl AcmeCertificate {
    /// Returns where the certificate is kept with its key, in one file, under the state folder.
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
