//! PEM files (RFC 7468), parsed so that nothing in them is silently ignored.
//!
//! The libraries' parsers look for what they want and skip the rest: they read half a chain from
//! `-----END CERTIFICATE----------BEGIN CERTIFICATE-----`, and miss the first CA behind a byte order mark.
//! Here a block is complete or an error with its line, and a malformed block is an error too. Text between
//! blocks is allowed (`subject=…` as OpenSSL writes it, comments), and so are line ends of any kind and
//! blanks at the ends of lines (RFC 7468, section 3, "lax").

mod fault;
mod kind;

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroize;

use super::Secret;

pub use fault::{PemError, PemFault};
pub use kind::{PRIVATE_KEYS, PemKind};

use kind::ANY_KEY;

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemBlock {
    /// Its type.
    pub kind: PemKind,
    /// The line of its begin marker, counted from 1.
    pub line: usize,
    /// Its contents, which may be a key.
    pub der: Secret<Vec<u8>>,
}

/// Reads a server's certificate chain; its key may accompany it.
pub fn pem_chain(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::Certificate], ANY_KEY).map(plain)
}

/// Reads certificates only, such as trusted CAs.
pub fn pem_certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::Certificate], &[]).map(plain)
}

/// Reads revocation lists only.
pub fn pem_revocation_lists(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    read(text, &[PemKind::RevocationList], &[]).map(plain)
}

/// Reads the one private key of a file; its chain may accompany it. `None` where there is no key.
pub fn pem_private_key(text: &[u8]) -> Result<Option<PemBlock>, PemError> {
    let keys = read(text, ANY_KEY, &[PemKind::Certificate])?;
    if let Some(PemBlock { line, .. }) = keys.iter().find(|key| key.kind == PemKind::EncryptedKey) {
        return Err(PemError { line: *line, fault: PemFault::Encrypted });
    }
    only(keys)
}

/// Reads the one block of a file, of any type. `None` where there is none.
pub fn pem_single(text: &[u8]) -> Result<Option<PemBlock>, PemError> {
    only(pem_blocks(text)?.into_iter().filter(|block| block.kind != PemKind::Parameters).collect())
}

fn only(mut blocks: Vec<PemBlock>) -> Result<Option<PemBlock>, PemError> {
    if let Some(PemBlock { kind, line, .. }) = blocks.get(1) {
        return Err(PemError { line: *line, fault: PemFault::Second(kind.clone()) });
    }
    Ok(blocks.pop())
}

/// Reads the blocks that are wanted. Those that may accompany them are skipped; every other block is an
/// error.
fn read(text: &[u8], wanted: &[PemKind], beside: &[PemKind]) -> Result<Vec<PemBlock>, PemError> {
    let mut blocks = pem_blocks(text)?;
    let belongs =
        |kind: &PemKind| *kind == PemKind::Parameters || wanted.contains(kind) || beside.contains(kind);
    if let Some(PemBlock { kind, line, .. }) = blocks.iter().find(|block| !belongs(&block.kind)) {
        return Err(PemError { line: *line, fault: PemFault::Misplaced(kind.clone()) });
    }
    blocks.retain(|block| wanted.contains(&block.kind));
    Ok(blocks)
}

/// Unwraps the contents of blocks that are not secret.
fn plain(blocks: Vec<PemBlock>) -> Vec<Vec<u8>> {
    blocks.into_iter().map(|block| block.der.expose().clone()).collect()
}

/// Finds an encoding that changes the text: a byte order mark, or UTF-16.
pub fn encoding_fault(text: &[u8]) -> Option<PemFault> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Some(PemFault::ByteOrderMark);
    }
    (text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")).then_some(PemFault::Utf16)
}

/// Says whether a text contains a block marker.
pub fn has_pem_marker(text: &[u8]) -> bool {
    contains(text, BEGIN) || contains(text, END)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
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
    if !contains(text, BEGIN)
        && let Some(contents) = sequence(text)
    {
        // A store begins with its version, 3 (RFC 7292, section 4).
        return Err(at_top(if contents.starts_with(&[0x02, 0x01, 0x03]) {
            PemFault::Pkcs12
        } else {
            PemFault::Der
        }));
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

/// Returns the contents of the DER sequence that a file begins with: of more than 127 octets, or all there
/// are.
fn sequence(text: &[u8]) -> Option<&[u8]> {
    match text {
        [0x30, length, behind @ ..] if *length < 0x80 => {
            Some(behind).filter(|behind| behind.len() == usize::from(*length))
        }
        // The number of length octets; 0 is the indefinite form.
        [0x30, octets, behind @ ..] => behind.get(usize::from(octets & 0x7f)..),
        _ => None,
    }
}

/// Splits a text into lines at CR LF, LF or CR (RFC 7468, section 3).
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

/// Encoded text, which may be part of a key.
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
        if contains(text, BYTE_ORDER_MARK) {
            return Err(here(PemFault::ByteOrderMarkWithin));
        }
        match (marker(text), self.open.take()) {
            (Some(Marker::Begin(label)), None) => {
                self.open = Some(Open { label: label.into(), line, encoded: Wiped::default() })
            }
            // The previous block is the broken one.
            (Some(Marker::Begin(_)), Some(open)) => {
                return Err(PemError { line: open.line, fault: PemFault::NoEnd });
            }
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
    /// Reads a line of encoded text. Blanks within it are ignored.
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
            // Nothing may follow the padding.
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
    let fits = |byte: u8| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'.' | b'_' | b'-' | b'/')
    };
    if label.is_empty() || label.trim() != label || label.contains("--") || !label.bytes().all(fits) {
        return None;
    }
    Some(if is_begin { Marker::Begin(label) } else { Marker::End(label) })
}

/// Checks a line between blocks: any text is allowed that does not look like part of a block.
fn outside(text: &[u8]) -> Result<(), PemFault> {
    // A line that begins with `#` is a deliberate comment.
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(());
    }
    if has_pem_marker(text) {
        let behind = text.strip_prefix(BEGIN).or_else(|| text.strip_prefix(END));
        let label = behind.map(|behind| behind.split(|byte| *byte == b'-').next().unwrap_or_default());
        // Without dashes and blanks it is a marker in small letters, or one with too few dashes.
        let is_one = behind
            .zip(label)
            .is_some_and(|(behind, label)| behind.iter().skip(label.len()).all(|byte| *byte == b'-'));
        return Err(if is_one { PemFault::LooksLikeMarker } else { PemFault::NotAlone });
    }
    let shown = String::from_utf8_lossy(text);
    // Word processors replace these by other dashes.
    let is_dash =
        |character: char| matches!(character, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}');
    let bare = shown.trim_matches(|character: char| is_dash(character) || character.is_whitespace());
    let upper = bare.to_uppercase();
    let named = upper
        .strip_prefix("BEGIN")
        .or_else(|| upper.strip_prefix("END"))
        .filter(|rest| rest.starts_with(char::is_whitespace));
    if let Some(rest) = named {
        let has_dashes = shown.trim_start().starts_with(is_dash) || shown.trim_end().ends_with(is_dash);
        if has_dashes
            || ["CERTIFICATE", "KEY", "CRL", "PARAMETERS"].iter().any(|word| rest.trim_end().ends_with(word))
        {
            return Err(PemFault::LooksLikeMarker);
        }
    }
    // The base64 of the first octets of a certificate or key: a DER sequence of some length.
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if text.len() >= STRAY && text.starts_with(b"MI") && text.iter().all(is_base64) {
        Err(PemFault::Stray)
    } else {
        Ok(())
    }
}

/// How long a line without blanks must be to look encoded. OpenSSL writes 64 characters a line.
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
        for (from, to) in [
            ("\n", "\r\n"),
            ("\n", "\r"),
            ("\n", "  \t\n"),
            ("\n", "\n\n"),
            ("\n", "\n  "),
            ("AQID", "AQ\nI D"),
        ] {
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
        assert_eq!(
            chain(&format!("{A}# -----BEGIN CERTIFICATE-----\n{}\nMINT\nBEGIN here\n{B}", "ab".repeat(32))),
            both()
        );
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
        assert_eq!(
            pem_revocation_lists(format!("{list}{A}").as_bytes()).unwrap_err().fault,
            PemFault::Misplaced(PemKind::Certificate)
        );
    }

    #[test]
    fn a_file_has_one_private_key() {
        let key = |text: &str| {
            pem_private_key(text.as_bytes())
                .map(|key| key.map(|key| (key.kind, key.line, key.der.expose().clone())))
        };

        assert_eq!(key(&format!("{A}{KEY}")), Ok(Some((PemKind::Pkcs8Key, 4, vec![7, 8, 9]))));
        assert_eq!(key(A), Ok(None));
        assert_eq!(
            key(&format!("{KEY}{KEY}")),
            Err(PemError { line: 4, fault: PemFault::Second(PemKind::Pkcs8Key) })
        );
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(key(&format!("{A}{encrypted}")), Err(PemError { line: 4, fault: PemFault::Encrypted }));
        assert_eq!(
            key(&KEY.replace("PRIVATE", "PUBLIC")).unwrap_err().fault,
            PemFault::Misplaced(PemKind::PublicKey)
        );
    }
}
