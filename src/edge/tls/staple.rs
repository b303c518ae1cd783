//! An OCSP answer to staple, read from a file.

use std::path::Path;

use super::{TlsError, content};
use crate::model::{OcspError, UnixTime, judge_ocsp};

/// An answer that is good for its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) answer: Vec<u8>,
    /// From then on it is stapled no more.
    pub(super) until: UnixTime,
}

impl Staple {
    /// Reads an answer and judges it for the certificate with this serial number. Blocks.
    pub(super) fn read(path: &Path, serial: &[u8], now: UnixTime) -> Result<Self, TlsError> {
        let (answer, _) = content::read(path)?;
        let until = judge_ocsp(&answer, serial, now).map_err(|source| TlsError::Ocsp { path: path.to_owned(), source })?;
        Ok(Self { answer, until })
    }

    /// Reads an answer; one that has ended is none. That is no reason not to serve: it is warned of.
    pub(super) fn read_unless_ended(path: &Path, serial: &[u8], now: UnixTime) -> Result<Option<Self>, TlsError> {
        match Self::read(path, serial, now) {
            Ok(staple) => Ok(Some(staple)),
            Err(TlsError::Ocsp { source: OcspError::Ended, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
