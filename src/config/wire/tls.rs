//! Certificates and versions.

use super::AcmeWire;
use crate::{
    config::{
        collection::{NonEmpty, Required},
        parse::FilePath,
        reader::Spanned,
        shape::{wire, words},
    },
    policy::{MinVersion, UnknownSni},
};

words! {
    MinVersion, "TLS version" { "1.2" => MinVersion::Tls12, "1.3" => MinVersion::Tls13, }
    UnknownSni, "rule for unknown names" { "refuse" => UnknownSni::Refuse, "default" => UnknownSni::Default, }
}

wire! {
    /// Certificates and TLS versions.
    TlsWire "tls" {
        /// The oldest version that is spoken: `"1.2"` (default) or `"1.3"`.
        min_version: Option<Spanned<MinVersion>>,
        /// What happens to a client that names a host no certificate is for: `refuse` (default), or
        /// `default`, which shows the first certificate.
        unknown_sni: Option<Spanned<UnknownSni>>,
        /// Whether the JA4 fingerprint of each client is in the access line (`tls.ja4`). Default: `false`.
        ja4: Option<Spanned<bool>>,
        /// A file of secrets from which nodes derive the keys of session tickets, so that a client may go on
        /// at another node: base64 of 32 random bytes per line, newest first. Absent: keys are random and
        /// this node's own. Watched.
        ticket_keys: Option<Spanned<FilePath>>,
        /// The certificates, chosen by the name the client asks for.
        certificates: NonEmpty<CertificateWire>,
    }

    /// A certificate: `cert` and `key`, or `acme`, or `dev: true` and `dir`.
    CertificateWire "certificate" {
        /// The chain, PEM, leaf first.
        cert: Option<Spanned<FilePath>>,
        /// The key, PEM, readable by its owner and group only.
        key: Option<Spanned<FilePath>>,
        /// An OCSP answer to staple, DER. Watched; one that has ended is stapled no more.
        ocsp: Option<Spanned<FilePath>>,
        /// Whether it is meant to cover hosts of several tenants, as a wildcard does: then `check` does not
        /// warn of it. Default: false.
        shared: Option<Spanned<bool>>,
        /// Makes a local CA and one certificate per tenant where they are missing. For demos and tests.
        dev: Option<Spanned<bool>>,
        /// Where the local CA and its certificates are kept.
        dir: Option<Spanned<FilePath>>,
        /// A CA that octroi gets certificates from, and renews them at.
        acme: Option<Required<AcmeWire>>,
    }
}
