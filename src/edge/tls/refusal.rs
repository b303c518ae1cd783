//! Why a client's certificate is refused, as a text and as the alert for the client.

use std::{borrow::Cow, fmt};

use rustls::CertificateError;

use crate::model::TenantName;

/// Why a certificate is refused. Of the reasons of several tenants the most specific one is kept: the CA that
/// issued the certificate knows most about it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::edge) struct Refused {
    rank: u8,
    words: Cow<'static, str>,
    error: CertificateError,
}

impl Refused {
    /// No certificate is asked for at this host.
    pub(super) const fn unasked() -> Self {
        Self {
            rank: 0,
            words: Cow::Borrowed("no certificate is asked for at this host"),
            error: CertificateError::UnknownIssuer,
        }
    }

    /// No trusted CA issued it.
    pub(super) const fn unknown_issuer() -> Self {
        Self {
            rank: 1,
            words: Cow::Borrowed("none of the CAs made it"),
            error: CertificateError::UnknownIssuer,
        }
    }

    /// The CA certificate has expired or is not valid yet.
    pub(super) const fn ca_not_in_force() -> Self {
        Self {
            rank: 3,
            words: Cow::Borrowed("the CA's own certificate is not in force"),
            error: CertificateError::Expired,
        }
    }

    /// The CA issued it, and the rules of the tenant name others.
    pub(super) fn identity(tenant: &TenantName) -> Self {
        let words = format!("it is none of the `subjects` and `sans` of `{tenant}`");
        Self { rank: 9, words: words.into(), error: CertificateError::ApplicationVerificationFailure }
    }

    /// The certificate or its chain is larger than we forward.
    pub(super) const fn too_large(words: &'static str) -> Self {
        Self { rank: 9, words: Cow::Borrowed(words), error: CertificateError::BadEncoding }
    }

    /// It cannot be read.
    pub(super) const fn unreadable() -> Self {
        Self { rank: 9, words: Cow::Borrowed("it cannot be read"), error: CertificateError::BadEncoding }
    }

    /// Keeps the more specific reason.
    pub(super) fn or(self, other: Self) -> Self {
        if other.rank > self.rank { other } else { self }
    }

    /// Returns the error from which the library makes the alert.
    pub(super) fn into_error(self) -> CertificateError {
        self.error
    }
}

impl From<CertificateError> for Refused {
    fn from(error: CertificateError) -> Self {
        use CertificateError as E;
        // An exhaustive match is impossible: the library may add to its enum.
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is `non_exhaustive`")]
        let (rank, words) = match &error {
            E::Revoked => (8, "it is revoked"),
            E::Expired | E::ExpiredContext { .. } => (7, "it has expired"),
            E::NotValidYet | E::NotValidYetContext { .. } => (7, "it is not valid yet"),
            E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
                (6, "the revocation list of its CA has ended")
            }
            E::UnknownRevocationStatus => (6, "no revocation list says whether it still counts"),
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => (5, "it is not for TLS clients"),
            E::UnhandledCriticalExtension => (5, "it has a critical extension that is not understood"),
            E::BadSignature => (4, "its signature, or that of its revocation list, does not hold"),
            E::BadEncoding => (4, "it cannot be read"),
            E::UnknownIssuer => return Self::unknown_issuer(),
            _ => return Self { rank: 2, words: error.to_string().into(), error },
        };
        Self { rank, words: words.into(), error }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_that_made_it_says_why() {
        let tenant: TenantName = "acme".parse().unwrap();
        let unknown = Refused::unknown_issuer();

        let revoked = unknown.clone().or(Refused::from(CertificateError::Revoked)).or(unknown.clone());
        assert_eq!(revoked.to_string(), "it is revoked");
        assert_eq!(
            Refused::identity(&tenant).or(revoked.clone()).to_string(),
            "it is none of the `subjects` and `sans` of `acme`"
        );
        assert_eq!(revoked.into_error(), CertificateError::Revoked);
        assert_eq!(unknown.into_error(), CertificateError::UnknownIssuer);
    }
}
