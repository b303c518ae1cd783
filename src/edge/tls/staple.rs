//! An OCSP response to staple, read from a file.

use std::path::Path;

use super::{TlsError, content};
use crate::{
    model::UnixTime,
    wire::ocsp::{OcspError, validate_ocsp},
};

/// A response that is valid for its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) answer: Vec<u8>,
    /// It is not stapled from this time on.
    pub(super) until: UnixTime,
}

impl Staple {
    /// Reads a response and validates it for the certificate with this serial number. Blocks.
    pub(super) fn read(path: &Path, serial: &[u8], now: UnixTime) -> Result<Self, TlsError> {
        let (answer, _) = content::read(path)?;
        let until = validate_ocsp(&answer, serial, now.as_secs())
            .map_err(|source| TlsError::Ocsp { path: path.to_owned(), source })?;
        Ok(Self { answer, until: UnixTime::from_secs(until) })
    }

    /// Reads a response. Returns `None` for one that has expired: the certificate is served all the same,
    /// with a warning.
    pub(super) fn read_unless_ended(
        path: &Path,
        serial: &[u8],
        now: UnixTime,
    ) -> Result<Option<Self>, TlsError> {
        match Self::read(path, serial, now) {
            Ok(staple) => Ok(Some(staple)),
            Err(TlsError::Ocsp { source: OcspError::Expired, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
