//! Text with encoded blocks (PEM, RFC 7468), read so that nothing of it is passed over in silence.
//!
//! The libraries' readers look for what they want and skip the rest: of `-----END CERTIFICATE----------BEGIN CERTIFICATE-----` they take
//! half a chain, behind a byte order mark they miss the first CA. Here a block is whole or an error with its line, and what looks like a
//! block and is none is an error too. Text between blocks is honest (`subject=…` as OpenSSL writes it, comments), so are line ends of any
//! kind and blanks at the ends of lines (RFC 7468, section 3, "lax").

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroize;

use super::Secret;

/// What a block is, by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemKind {
    /// A certificate.
    Certificate,
    /// A revocation list.
    RevocationList,
    /// A private key, PKCS#8.
    Pkcs8Key,
    /// A private key of RSA, PKCS#1.
    Pkcs1Key,
    /// A private key of ECDSA, SEC 1.
    Sec1Key,
    /// A private key under a password.
    EncryptedKey,
    /// A public key.
    PublicKey,
    /// Parameters of a curve or a group, which OpenSSL writes before a key: they say nothing that the key does not.
    Parameters,
    /// Something else, by its label.
    Other(Box<str>),
}

/// The private keys that can be used.
pub const PRIVATE_KEYS: &[PemKind] = &[PemKind::Pkcs8Key, PemKind::Pkcs1Key, PemKind::Sec1Key];

/// A private key in whatever form, which may stand beside its chain.
const ANY_KEY: &[PemKind] = &[PemKind::Pkcs8Key, PemKind::Pkcs1Key, PemKind::Sec1Key, PemKind::EncryptedKey];

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemBlock {
    /// What it is.
    pub kind: PemKind,
    /// The line that it begins in, counted from 1.
    pub line: usize,
    /// What it holds. It may be a key.
    pub der: Secret<Vec<u8>>,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct PemError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: PemFault,
}

/// What is wrong with a text of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemFault {
    /// It begins with a byte order mark.
    ByteOrderMark,
    /// It is UTF-16.
    Utf16,
    /// It is what PEM encodes.
    Der,
    /// A line that ends a block and begins the next, or has other text beside a marker.
    NotAlone,
    /// A line that looks like a marker.
    LooksLikeMarker,
    /// Encoded text outside of a block.
    Stray,
    /// The end of a block that did not begin.
    NoBegin,
    /// A block that does not end.
    NoEnd,
    /// The end of a block of another label.
    OtherEnd {
        /// How the block begins.
        begins: Box<str>,
        /// How it ends.
        ends: Box<str>,
    },
    /// Fields before the encoded text, as before RFC 7468.
    Fields,
    /// A key under a password.
    Encrypted,
    /// Nothing between the markers.
    Empty,
    /// What is no base64.
    NotBase64,
    /// A block that does not belong into this file.
    Misplaced(PemKind),
    /// A second block where only one can be used.
    Second(PemKind),
}

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "CERTIFICATE",
            Self::RevocationList => "X509 CRL",
            Self::Pkcs8Key => "PRIVATE KEY",
            Self::Pkcs1Key => "RSA PRIVATE KEY",
            Self::Sec1Key => "EC PRIVATE KEY",
            Self::EncryptedKey => "ENCRYPTED PRIVATE KEY",
            Self::PublicKey => "PUBLIC KEY",
            Self::Parameters => "PARAMETERS",
            Self::Other(label) => label,
        })
    }
}

impl fmt::Display for PemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => f.write_str("the file begins with a byte order mark; save it as UTF-8 without one"),
            Self::Utf16 => f.write_str("the file is UTF-16; save it as UTF-8 without a byte order mark"),
            Self::Der => f.write_str("the file is DER, and PEM is wanted"),
            Self::NotAlone => f.write_str("a `-----BEGIN …-----` or `-----END …-----` must stand alone on its line"),
            Self::LooksLikeMarker => f.write_str("this looks like the beginning or end of a block, and is written otherwise"),
            Self::Stray => f.write_str("this looks like the contents of a block, and no block has begun"),
            Self::NoBegin => f.write_str("a block ends here that did not begin"),
            Self::NoEnd => f.write_str("the block that begins here has no end"),
            Self::OtherEnd { begins, ends } => write!(f, "the block begins as `{begins}` and ends as `{ends}`"),
            Self::Fields => f.write_str("a block with fields (RFC 1421) is not read"),
            Self::Encrypted => f.write_str("the key is encrypted, and nobody could type its password"),
            Self::Empty => f.write_str("the block is empty"),
            Self::NotBase64 => f.write_str("this is not base64"),
            Self::Misplaced(kind) => write!(f, "a block `{kind}` does not belong into this file"),
            Self::Second(kind) => write!(f, "a second block `{kind}`, and only one can be used"),
        }
    }
}

impl PemKind {
    fn of(label: &str) -> Self {
        match label {
            // RFC 7468, section 5.2, has the older labels.
            "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => Self::Certificate,
            "X509 CRL" => Self::RevocationList,
            "PRIVATE KEY" => Self::Pkcs8Key,
            "RSA PRIVATE KEY" => Self::Pkcs1Key,
            "EC PRIVATE KEY" => Self::Sec1Key,
            "ENCRYPTED PRIVATE KEY" => Self::EncryptedKey,
            "PUBLIC KEY" => Self::PublicKey,
            "EC PARAMETERS" | "DH PARAMETERS" | "X9.42 DH PARAMETERS" => Self::Parameters,
            other => Self::Other(other.into()),
        }
    }
}

/// Reads a chain as a server shows it; its key may stand beside it.
pub fn pem_chain(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::Certificate], ANY_KEY).map(plain)
}

/// Reads certificates alone, as of CAs that are trusted.
pub fn pem_certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::Certificate], &[]).map(plain)
}

/// Reads revocation lists alone.
pub fn pem_revocation_lists(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::RevocationList], &[]).map(plain)
}

/// Reads the one private key of a file; its chain may stand beside it. Nothing comes back where there is no key.
pub fn pem_private_key(text: &[u8]) -> Result<Option<PemBlock>, PemError> {
    let keys = read(text, ANY_KEY, &[PemKind::Certificate])?;
    if let Some(PemBlock { line, .. }) = keys.iter().find(|key| key.kind == PemKind::EncryptedKey) {
        return Err(PemError { line: *line, fault: PemFault::Encrypted });
    }
    only(keys)
}

/// Reads the one block of a file, of whatever kind. Nothing comes back where there is none.
pub fn pem_single(text: &[u8]) -> Result<Option<PemBlock>, PemError> {
    only(pem_blocks(text)?.into_iter().filter(|block| block.kind != PemKind::Parameters).collect())
}

fn only(mut blocks: Vec<PemBlock>) -> Result<Option<PemBlock>, PemError> {
    if let Some(PemBlock { kind, line, .. }) = blocks.get(1) {
        return Err(PemError { line: *line, fault: PemFault::Second(kind.clone()) });
    }
    Ok(blocks.pop())
}

/// Reads the blocks that are wanted. Those that may stand beside them are passed over; every other one is an error.
fn read(text: &[u8], wanted: &[PemKind], beside: &[PemKind]) -> Result<Vec<PemBlock>, PemError> {
    let mut blocks = pem_blocks(text)?;
    let belongs = |kind: &PemKind| *kind == PemKind::Parameters || wanted.contains(kind) || beside.contains(kind);
    if let Some(PemBlock { kind, line, .. }) = blocks.iter().find(|block| !belongs(&block.kind)) {
        return Err(PemError { line: *line, fault: PemFault::Misplaced(kind.clone()) });
    }
    blocks.retain(|block| wanted.contains(&block.kind));
    Ok(blocks)
}

/// Takes the contents of blocks out that are no secret.
fn plain(blocks: Vec<PemBlock>) -> Vec<Vec<u8>> {
    blocks.into_iter().map(|block| block.der.expose().clone()).collect()
}

/// Finds what makes a text another one than it looks: a byte order mark, or UTF-16.
pub fn encoding_fault(text: &[u8]) -> Option<PemFault> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Some(PemFault::ByteOrderMark);
    }
    (text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")).then_some(PemFault::Utf16)
}

/// Says whether a text has the markers of a block in it.
pub fn has_pem_marker(text: &[u8]) -> bool {
    contains(text, BEGIN) || contains(text, END)
}

const BEGIN: &[u8] = b"-----BEGIN";
const END: &[u8] = b"-----END";
const DASHES: &str = "-----";

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Reads every block of a text.
pub fn pem_blocks(text: &[u8]) -> Result<Vec<PemBlock>, PemError> {
    let at_top = |fault| PemError { line: 1, fault };
    if let Some(fault) = encoding_fault(text) {
        return Err(at_top(fault));
    }
    if contains(text, b"-\0-\0") {
        return Err(at_top(PemFault::Utf16));
    }
    // A sequence of more than 127 octets.
    if matches!(text, [0x30, length, ..] if *length >= 0x80) && !contains(text, BEGIN) {
        return Err(at_top(PemFault::Der));
    }
    let mut reading = Reading::default();
    for (line, bytes) in (1..).zip(lines(text)) {
        reading.take(line, bytes)?;
    }
    match reading.open.take() {
        Some(open) => Err(PemError { line: open.line, fault: PemFault::NoEnd }),
        None => Ok(reading.blocks),
    }
}

/// Cuts a text into lines: at CR LF, LF or CR (RFC 7468, section 3).
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', text) else {
            return (!text.is_empty()).then_some(text);
        };
        let (line, behind) = text.split_at_checked(end)?;
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..));
        Some(line)
    })
}

#[derive(Default)]
struct Reading {
    blocks: Vec<PemBlock>,
    open: Option<Open>,
}

/// A block that has begun.
struct Open {
    label: Box<str>,
    line: usize,
    encoded: Wiped,
}

/// Encoded text, which may be a key's.
#[derive(Default)]
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

enum Marker<'a> {
    Begin(&'a str),
    End(&'a str),
}

impl Reading {
    fn take(&mut self, line: usize, bytes: &[u8]) -> Result<(), PemError> {
        let text = bytes.trim_ascii();
        let here = |fault| PemError { line, fault };
        match (marker(text), self.open.take()) {
            (Some(Marker::Begin(label)), None) => self.open = Some(Open { label: label.into(), line, encoded: Wiped::default() }),
            // It is the one before that is broken.
            (Some(Marker::Begin(_)), Some(open)) => return Err(PemError { line: open.line, fault: PemFault::NoEnd }),
            (Some(Marker::End(_)), None) => return Err(here(PemFault::NoBegin)),
            (Some(Marker::End(label)), Some(open)) => self.blocks.push(open.close(label).map_err(here)?),
            (None, None) => outside(text).map_err(here)?,
            (None, Some(mut open)) => {
                open.inside(text).map_err(here)?;
                self.open = Some(open);
            }
        }
        Ok(())
    }
}

impl Open {
    /// Takes a line of encoded text in. Blanks within it have no meaning.
    fn inside(&mut self, text: &[u8]) -> Result<(), PemFault> {
        if has_pem_marker(text) {
            return Err(PemFault::NotAlone);
        }
        if contains(text, b"ENCRYPTED") {
            return Err(PemFault::Encrypted);
        }
        if text.contains(&b':') {
            return Err(PemFault::Fields);
        }
        for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            // What comes behind the padding is no part of it.
            let ended = self.encoded.0.last() == Some(&b'=') && *byte != b'=';
            if ended || !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')) {
                return Err(PemFault::NotBase64);
            }
            self.encoded.0.push(*byte);
        }
        Ok(())
    }

    fn close(self, label: &str) -> Result<PemBlock, PemFault> {
        if *self.label != *label {
            return Err(PemFault::OtherEnd { begins: self.label, ends: label.into() });
        }
        if self.encoded.0.is_empty() {
            return Err(PemFault::Empty);
        }
        let der = STANDARD.decode(&self.encoded.0).map(Secret::new).map_err(|_| PemFault::NotBase64)?;
        Ok(PemBlock { kind: PemKind::of(&self.label), line: self.line, der })
    }
}

/// Reads a marker that stands alone on its line.
fn marker(text: &[u8]) -> Option<Marker<'_>> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix(DASHES)?.strip_suffix(DASHES)?;
    let (is_begin, label) = match (text.strip_prefix("BEGIN "), text.strip_prefix("END ")) {
        (Some(label), _) => (true, label),
        (None, Some(label)) => (false, label),
        (None, None) => return None,
    };
    // Printable, with single blanks and hyphens inside (RFC 7468, section 3); labels in use are in capitals.
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'.' | b'_' | b'-' | b'/');
    if label.is_empty() || label.trim() != label || label.contains("--") || !label.bytes().all(fits) {
        return None;
    }
    Some(if is_begin { Marker::Begin(label) } else { Marker::End(label) })
}

/// Looks at a line between blocks: it may say anything, but not look like a part of a block.
fn outside(text: &[u8]) -> Result<(), PemFault> {
    // Whoever wrote `#` before it meant to.
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(());
    }
    if has_pem_marker(text) {
        let behind = text.strip_prefix(BEGIN).or_else(|| text.strip_prefix(END));
        let label = behind.map(|behind| behind.split(|byte| *byte == b'-').next().unwrap_or_default());
        // Dashes and blanks apart, it is a marker in small letters, or with too few dashes.
        let is_one = behind.zip(label).is_some_and(|(behind, label)| behind.iter().skip(label.len()).all(|byte| *byte == b'-'));
        return Err(if is_one { PemFault::LooksLikeMarker } else { PemFault::NotAlone });
    }
    let shown = String::from_utf8_lossy(text);
    // Word processors make other dashes of these.
    let is_dash = |character: char| matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}');
    let bare = shown.trim_matches(|character: char| is_dash(character) || character.is_whitespace());
    let upper = bare.to_uppercase();
    let named = upper.strip_prefix("BEGIN").or_else(|| upper.strip_prefix("END")).filter(|rest| rest.starts_with(char::is_whitespace));
    if let Some(rest) = named {
        let has_dashes = shown.trim_start().starts_with(is_dash) || shown.trim_end().ends_with(is_dash);
        if has_dashes || ["CERTIFICATE", "KEY", "CRL", "PARAMETERS"].iter().any(|word| rest.trim_end().ends_with(word)) {
            return Err(PemFault::LooksLikeMarker);
        }
    }
    // What a certificate or key begins with, encoded: the first octets of a DER sequence of some length.
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.len() >= STRAY && text.starts_with(b"MI") && text.iter().all(is_base64) { Err(PemFault::Stray) } else { Ok(()) }
}

/// How long a line without blanks is that looks encoded. OpenSSL writes 64 characters a line.
const STRAY: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    const B: &str = "-----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBwgJ\n-----END PRIVATE KEY-----\n";

    fn chain(text: &str) -> Result<Vec<Vec<u8>>, (usize, PemFault)> {
        pem_chain(text.as_bytes()).map_err(|error| (error.line, error.fault))
    }

    fn both() -> Result<Vec<Vec<u8>>, (usize, PemFault)> {
        Ok(vec![vec![1, 2, 3], vec![4, 5, 6]])
    }

    #[test]
    fn a_chain_is_read_whole() {
        assert_eq!(chain(&format!("{A}{B}")), both());
        assert_eq!(chain(""), Ok(Vec::new()));
        // With OpenSSL's text, comments, blank lines, a key, parameters, and no newline at the end.
        let more = format!(
            "# ours\nBag Attributes\n    localKeyID: 01\nsubject=CN = a, O = \u{dc}-- x\n---\n{A}\n \t\n{KEY}\
             -----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n\
             -----BEGIN DH PARAMETERS-----\nAQ==\n-----END DH PARAMETERS-----\nEND of the first, begin of the second\n{}",
            B.trim_end()
        );
        assert_eq!(chain(&more), both());
    }

    #[test]
    fn line_ends_and_blanks_have_no_meaning() {
        let text = format!("{A}{B}");
        for (from, to) in [("\n", "\r\n"), ("\n", "\r"), ("\n", "  \t\n"), ("\n", "\n\n"), ("\n", "\n  "), ("AQID", "AQ\nI D")] {
            assert_eq!(chain(&text.replace(from, to)), both(), "{to:?}");
        }
        let label = text.replace("CERTIFICATE", "X509 CERTIFICATE");
        assert_eq!(chain(&label), both());
    }

    #[test]
    fn a_broken_block_is_an_error_with_its_line() {
        let joined = format!("{}{B}", A.trim_end());
        for (text, line, fault) in [
            (joined.as_str(), 3, PemFault::NotAlone),
            (&format!("subject=x {A}"), 1, PemFault::NotAlone),
            (&format!("{A}-----END CERTIFICATE----- # done\n"), 4, PemFault::NotAlone),
            (&A.replace("-----\nAQID\n", "-----AQID"), 1, PemFault::NotAlone),
            (&A.replace('\n', "\\n"), 1, PemFault::NotAlone),
            (&format!("{A}{}", B.replace("-----END CERTIFICATE-----\n", "")), 4, PemFault::NoEnd),
            (&format!("{}{B}", A.replace("-----END CERTIFICATE-----\n", "")), 1, PemFault::NoEnd),
            (&format!("{A}{}", B.replace("-----BEGIN CERTIFICATE-----\n", "")), 5, PemFault::NoBegin),
            (&A.replace("AQID", "AQ*D"), 2, PemFault::NotBase64),
            (&A.replace("AQID", "AQI"), 3, PemFault::NotBase64),
            (&A.replace("AQID", "AQ==\nAQID"), 3, PemFault::NotBase64),
            (&A.replace("AQID", ""), 3, PemFault::Empty),
            (&A.replace("AQID", "Proc-Type: 4,X\n\nAQID"), 2, PemFault::Fields),
            (&A.replace("AQID", "Proc-Type: 4,ENCRYPTED\n\nAQID"), 2, PemFault::Encrypted),
            (
                &A.replace("END CERTIFICATE", "END CERTIFICATES"),
                3,
                PemFault::OtherEnd { begins: "CERTIFICATE".into(), ends: "CERTIFICATES".into() },
            ),
            (&format!("\u{feff}{A}"), 1, PemFault::ByteOrderMark),
        ] {
            assert_eq!(chain(text), Err((line, fault)), "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_a_block_and_is_none_is_an_error() {
        for marker in [
            "----BEGIN CERTIFICATE----",
            "-----BEGIN CERTIFICATE----",
            "-----begin certificate-----",
            "-----BEGIN certificate-----",
            "\u{2013}\u{2013}BEGIN CERTIFICATE\u{2014}",
            "---- BEGIN SSH2 PUBLIC KEY ----",
            "BEGIN CERTIFICATE",
            "END CERTIFICATE",
            "- END of it -",
        ] {
            assert_eq!(chain(&format!("{A}{marker}\n{B}")), Err((4, PemFault::LooksLikeMarker)), "{marker}");
        }
        assert_eq!(chain(&format!("{A}MI{}\n{B}", "A".repeat(62))), Err((4, PemFault::Stray)));
        // A comment, a digest and a short word are text.
        assert_eq!(chain(&format!("{A}# -----BEGIN CERTIFICATE-----\n{}\nMINT\nBEGIN here\n{B}", "ab".repeat(32))), both());
    }

    #[test]
    fn other_encodings_are_named() {
        let fault = |bytes: &[u8]| pem_chain(bytes).unwrap_err().fault;
        let utf16: Vec<u8> = A.encode_utf16().flat_map(u16::to_le_bytes).collect();

        assert_eq!(fault(&[b"\xff\xfe".to_vec(), utf16.clone()].concat()), PemFault::Utf16);
        assert_eq!(fault(&utf16), PemFault::Utf16);
        assert_eq!(fault(&[0x30, 0x82, 0x01, 0x0a, 0x02, 0x01]), PemFault::Der);
    }

    #[test]
    fn a_block_of_another_kind_does_not_belong() {
        let list = "-----BEGIN X509 CRL-----\nAQID\n-----END X509 CRL-----\n";
        let misplaced = |kind| Err((4, PemFault::Misplaced(kind)));

        assert_eq!(chain(&format!("{A}{list}")), misplaced(PemKind::RevocationList));
        assert_eq!(
            chain(&format!("{A}{}", B.replace("CERTIFICATE", "TRUSTED CERTIFICATE"))),
            misplaced(PemKind::Other("TRUSTED CERTIFICATE".into()))
        );
        let cas = |text: &str| pem_certificates(text.as_bytes()).map_err(|error| (error.line, error.fault));
        assert_eq!(cas(&format!("{A}{B}")), both());
        assert_eq!(cas(&format!("{A}{KEY}")), misplaced(PemKind::Pkcs8Key), "whom one trusts has no key");
        assert_eq!(pem_revocation_lists(list.as_bytes()), Ok(vec![vec![1, 2, 3]]));
        assert_eq!(pem_revocation_lists(format!("{list}{A}").as_bytes()).unwrap_err().fault, PemFault::Misplaced(PemKind::Certificate));
    }

    #[test]
    fn a_file_has_one_private_key() {
        let key = |text: &str| pem_private_key(text.as_bytes()).map(|key| key.map(|key| (key.kind, key.line, key.der.expose().clone())));

        assert_eq!(key(&format!("{A}{KEY}")), Ok(Some((PemKind::Pkcs8Key, 4, vec![7, 8, 9]))));
        assert_eq!(key(A), Ok(None));
        assert_eq!(key(&format!("{KEY}{KEY}")), Err(PemError { line: 4, fault: PemFault::Second(PemKind::Pkcs8Key) }));
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(key(&format!("{A}{encrypted}")), Err(PemError { line: 4, fault: PemFault::Encrypted }));
        assert_eq!(key(&KEY.replace("PRIVATE", "PUBLIC")).unwrap_err().fault, PemFault::Misplaced(PemKind::PublicKey));
    }
}
