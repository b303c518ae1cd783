//! Whom to believe.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::CertificateDer;

use super::OutboundError;
use crate::{files, model::pem_certificates};

/// How large the file of `SSL_CERT_FILE` may be.
const BUNDLE_BYTES: u64 = 4 << 20;

/// The CAs that may vouch for the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system: `SSL_CERT_FILE` and `SSL_CERT_DIR`, else where the distribution keeps them.
    System,
    /// These and no others, each as DER: a private CA.
    Only(Vec<Vec<u8>>),
}

impl Trust {
    /// Builds what a TLS client goes by, and what it says that it will speak. Reads files where the system's
    /// CAs are meant.
    pub(super) fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, OutboundError> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                named_by_environment().map_err(OutboundError::Trust)?;
                let found = rustls_native_certs::load_native_certs().map_err(OutboundError::Trust)?;
                // Distributions carry a few that no parser takes; the others count.
                let _ = roots.add_parsable_certificates(found);
            }
            Self::Only(given) => {
                for der in given {
                    let bad = |error| OutboundError::Trust(io::Error::new(io::ErrorKind::InvalidData, error));
                    roots.add(CertificateDer::from(der.clone())).map_err(bad)?;
                }
            }
        }
        if roots.is_empty() {
            return Err(OutboundError::NoTrust);
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(OutboundError::Setup)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// Judges the file that `SSL_CERT_FILE` names: the library would pass over what it cannot read, and wait for
/// the writer of a pipe.
fn named_by_environment() -> io::Result<()> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else { return Ok(()) };
    let wrong = |why: String| {
        io::Error::new(io::ErrorKind::InvalidData, format!("SSL_CERT_FILE={}: {why}", path.display()))
    };
    let held = files::read(path.as_ref(), BUNDLE_BYTES).map_err(|error| wrong(files::reason(&error)))?;
    pem_certificates(&held.bytes).map(drop).map_err(|error| wrong(error.to_string()))
}
