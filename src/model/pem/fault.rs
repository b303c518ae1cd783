//! What can be wrong with a PEM file.

use std::fmt;

use super::kind::PemKind;

/// A fault in a text, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct PemError {
    /// The line, counted from 1.
    pub line: usize,
    /// The fault.
    pub fault: PemFault,
}

/// What is wrong with a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemFault {
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// A byte order mark further below, where two such files were concatenated.
    ByteOrderMarkWithin,
    /// It is UTF-16.
    Utf16,
    /// It is DER, not PEM.
    Der,
    /// It is a PKCS#12 store.
    Pkcs12,
    /// A marker that is not alone on its line, such as an end and a begin marker together.
    NotAlone,
    /// A line that looks like a marker and is not one.
    LooksLikeMarker,
    /// Encoded text outside of a block.
    Stray,
    /// The end of a block that did not begin.
    NoBegin,
    /// A block that does not end.
    NoEnd,
    /// The end marker has another label.
    OtherEnd {
        /// The label of the begin marker.
        begins: Box<str>,
        /// The label of the end marker.
        ends: Box<str>,
    },
    /// Header fields before the encoded text (RFC 1421).
    Fields,
    /// An encrypted key.
    Encrypted,
    /// Nothing between the markers.
    Empty,
    /// Not base64.
    NotBase64,
    /// A block that does not belong into this file.
    Misplaced(PemKind),
    /// A second block where only one can be used.
    Second(PemKind),
}

impl fmt::Display for PemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => {
                f.write_str("the file begins with a byte order mark; save it as UTF-8 without one")
            }
            Self::Utf16 => f.write_str("the file is UTF-16; save it as UTF-8 without a byte order mark"),
            Self::ByteOrderMarkWithin => {
                f.write_str("a byte order mark (U+FEFF) stands here, which no editor shows")
            }
            Self::Der => f.write_str("the file is DER, and PEM is wanted"),
            Self::Pkcs12 => f.write_str("the file is PKCS#12, and PEM is wanted"),
            Self::NotAlone => {
                f.write_str("a `-----BEGIN …-----` or `-----END …-----` must stand alone on its line")
            }
            Self::LooksLikeMarker => {
                f.write_str("this looks like the beginning or end of a block, and is written otherwise")
            }
            Self::Stray => f.write_str("this looks like the contents of a block, and no block has begun"),
            Self::NoBegin => f.write_str("a block ends here that did not begin"),
            Self::NoEnd => f.write_str("the block that begins here has no end"),
            Self::OtherEnd { begins, ends } => {
                write!(f, "the block begins as `{begins}` and ends as `{ends}`")
            }
            Self::Fields => f.write_str("a block with fields (RFC 1421) is not read"),
            Self::Encrypted => f.write_str("the key is encrypted, and nobody could type its password"),
            Self::Empty => f.write_str("the block is empty"),
            Self::NotBase64 => f.write_str("this is not base64"),
            Self::Misplaced(kind) => write!(f, "a block `{kind}` does not belong into this file"),
            Self::Second(kind) => write!(f, "a second block `{kind}`, and only one can be used"),
        }
    }
}

impl PemFault {
    /// Returns advice on how to repair such a file, where there is some.
    pub fn hint(&self, file: &str) -> Option<String> {
        self.remedy().map(|remedy| remedy.replace("FILE", file))
    }

    const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::ByteOrderMark | Self::ByteOrderMarkWithin => {
                Some("`sed -i 's/\\xEF\\xBB\\xBF//g' FILE` takes such marks out")
            }
            Self::Der => Some(
                "a certificate: `openssl x509 -inform der -in FILE -out NEW`; a key: `openssl pkey -inform der -in FILE -out NEW`; a \
                 revocation list: `openssl crl -inform der -in FILE -out NEW`",
            ),
            Self::Pkcs12 => Some(
                "the chain: `openssl pkcs12 -in FILE -nokeys -out NEW`; the key: `openssl pkcs12 -in FILE -nocerts -noenc -out NEW`, which \
                 only octroi may read",
            ),
            Self::Encrypted => Some(
                "`openssl pkey -in FILE -out NEW` asks for its password and writes it without; only octroi may read that",
            ),
            Self::NoEnd | Self::Empty => Some("it looks cut off: copy the file again, with all of its lines"),
            Self::NotBase64 => {
                Some("it looks cut off, or changed on its way: copy the file again, with all of its lines")
            }
            Self::Utf16
            | Self::NotAlone
            | Self::LooksLikeMarker
            | Self::Stray
            | Self::NoBegin
            | Self::OtherEnd { .. }
            | Self::Fields
            | Self::Misplaced(_)
            | Self::Second(_) => None,
        }
    }
}
