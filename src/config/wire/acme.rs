//! Certificates from a directory.

use http::{Uri, uri::Scheme};
use serde_json::{Value, json};

use crate::{
    config::{
        collection::{NonEmpty, Required},
        parse::{FilePath, Label, Scalar, ScalarError},
        reader::{SecretText, Spanned},
        shape::{wire, words},
        unit::Wait,
    },
    model::HostPattern,
    policy::AcmeChallenge,
};

words! {
    AcmeChallenge, "challenge" { "http-01" => AcmeChallenge::Http01, "tls-alpn-01" => AcmeChallenge::TlsAlpn01, }
}

/// The URL of an ACME directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct DirectoryUrl(pub(in crate::config) Box<str>);

impl Scalar for DirectoryUrl {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        const HINT: &str = "it is the URL that the CA calls its directory: `https://ca.example/directory`";
        let uri =
            text.parse::<Uri>().map_err(|_| ScalarError::new(format!("not a URL: `{text}`")).hint(HINT))?;
        match uri.authority() {
            Some(_) if uri.scheme() == Some(&Scheme::HTTP) => {
                Err(ScalarError::new(format!("`{text}` is not https"))
                    .hint("orders over an unproven connection could be anybody's; use https"))
            }
            Some(authority) if authority.as_str().contains('@') => {
                Err(ScalarError::new("a user stands in the URL of a directory")
                    .hint("an account that one has already goes into `eab`"))
            }
            Some(_) if uri.scheme() == Some(&Scheme::HTTPS) && !text.contains('#') => Ok(Self(text.into())),
            _ => Err(ScalarError::new(format!("not an https URL: `{text}`")).hint(HINT)),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^https://[^@#]+$"})
    }
}

/// Whom a CA may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Contact(pub(in crate::config) Box<str>);

impl Scalar for Contact {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        // One address and no header fields (RFC 8555, section 7.3).
        let address = text.strip_prefix("mailto:").and_then(|address| address.split_once('@'));
        let fits = |byte: u8| {
            byte.is_ascii_graphic() && !matches!(byte, b',' | b'?' | b'<' | b'>' | b'"' | b'\\' | b'@')
        };
        match address {
            Some((name, host))
                if !name.is_empty()
                    && !host.is_empty()
                    && text.len() <= 320
                    && name.bytes().all(fits)
                    && host.bytes().all(fits) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(ScalarError::new(format!("not a contact: `{text}`"))
                .hint("it is one address: `mailto:ops@example.com`")),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^mailto:[^@,?]+@[^@,?]+$"})
    }
}

wire! {
    /// Certificates from a CA that speaks ACME (RFC 8555). Whoever writes this agrees to the terms of that
    /// CA.
    AcmeWire "acme" {
        /// The URL of the CA's directory, https.
        directory: Spanned<DirectoryUrl>,
        /// Whom the CA may write to: `mailto:ops@example.com`. Default: nobody.
        contact: Option<Spanned<Contact>>,
        /// The hosts of one certificate. Default: a certificate for each tenant, for its exact hosts that no
        /// other certificate covers.
        hosts: Option<Required<NonEmpty<Spanned<HostPattern>>>>,
        /// How hosts are proven: `tls-alpn-01` (port 443) or `http-01` (port 80). Default: what the listeners
        /// can answer, the first of these first.
        challenge: Option<Spanned<AcmeChallenge>>,
        /// The CAs that may vouch for the directory itself, PEM. Default: the system's.
        ca: Option<Spanned<FilePath>>,
        /// The account that one has at the CA already, where it asks for that.
        eab: Option<EabWire>,
        /// How long before its end a certificate is renewed. Default: a third of its life.
        renew_before: Option<Spanned<Wait>>,
        /// How long to wait after a first failure; doubled up to six hours. Default: 1m.
        retry_after: Option<Spanned<Wait>>,
    }

    /// External account binding (RFC 8555, section 7.3.4): what the CA gave out for it.
    EabWire "acme_eab" {
        /// The key's name.
        kid: Spanned<Label>,
        /// The key, base64 or base64url, at least 32 bytes: `${file:eab.key}`.
        key: SecretText,
    }
}
