//! An OCSP response, read as far as stapling requires (RFC 6960, section 4.2.1).
//!
//! The signature is not verified: the client does that, and only the client knows whom it trusts. What is
//! checked is that the response is well-formed, that it is for the certificate, that it says `good`, and
//! until when.

/// How many seconds the clock of the responder may be ahead of ours.
const SKEW: u64 = 300;
/// The object identifier id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// How many certificates a response may cover. Responses for stapling cover one.
const MAX_SINGLES: usize = 64;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const FIRST: u8 = 0xa0;
/// The status of a certificate: good, revoked, or unknown; implicitly tagged.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// Why a response cannot be stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// It is not an OCSP response.
    #[error("it is no OCSP answer in DER form")]
    Malformed,
    /// The responder returned an error.
    #[error(
        "the OCSP responder answered with status {0}, which is not `successful` (RFC 6960, section 4.2.1)"
    )]
    Unsuccessful(u8),
    /// It covers other certificates only.
    #[error("the OCSP answer is for another certificate")]
    OtherCertificate,
    /// The CA revoked the certificate.
    #[error("the OCSP answer says that the certificate is revoked")]
    Revoked,
    /// The CA does not know the certificate.
    #[error("the OCSP answer says that the certificate is unknown")]
    Unknown,
    /// Its thisUpdate is in the future.
    #[error("the OCSP answer is not valid yet")]
    NotYetValid,
    /// It has no nextUpdate, so nobody can know when to stop stapling it.
    #[error("the OCSP answer does not say until when it holds (nextUpdate)")]
    NoNextUpdate,
    /// Its nextUpdate has passed.
    #[error("the OCSP answer has expired (nextUpdate)")]
    Expired,
}

/// Validates a response for the certificate with this serial number (the contents of its DER integer).
/// Returns its nextUpdate. Times are seconds since 1970.
pub fn validate_ocsp(response: &[u8], serial: &[u8], now: u64) -> Result<u64, OcspError> {
    let single = single(response, serial)?;
    if single.this_update > now.saturating_add(SKEW) {
        return Err(OcspError::NotYetValid);
    }
    match (single.status, single.next_update) {
        (REVOKED, _) => Err(OcspError::Revoked),
        (GOOD, None) => Err(OcspError::NoNextUpdate),
        (GOOD, Some(until)) if until <= now => Err(OcspError::Expired),
        (GOOD, Some(until)) => Ok(until),
        (_, _) => Err(OcspError::Unknown),
    }
}

/// What a response says about one certificate.
struct Single {
    status: u8,
    this_update: u64,
    next_update: Option<u64>,
}

/// Finds what a response says about a certificate.
fn single(response: &[u8], serial: &[u8]) -> Result<Single, OcspError> {
    let basic = basic(response)?;
    let mut singles = responses(basic).ok_or(OcspError::Malformed)?;
    for _ in 0..MAX_SINGLES {
        if singles.0.is_empty() {
            break;
        }
        let (of, single) = singles.take(SEQUENCE).and_then(read_single).ok_or(OcspError::Malformed)?;
        if magnitude(of) == magnitude(serial) {
            return Ok(single);
        }
    }
    Err(OcspError::OtherCertificate)
}

/// Opens an OCSPResponse down to its BasicOCSPResponse.
fn basic(response: &[u8]) -> Result<Der<'_>, OcspError> {
    let malformed = OcspError::Malformed;
    let mut outer = Der(response);
    let mut response = outer.take(SEQUENCE).ok_or(malformed)?;
    let [status] = *response.take(ENUMERATED).ok_or(malformed)?.0 else { return Err(malformed) };
    if status != 0 {
        return Err(OcspError::Unsuccessful(status));
    }
    let mut bytes = response.take(FIRST).and_then(|mut bytes| bytes.take(SEQUENCE)).ok_or(malformed)?;
    let kind = bytes.take(OID).ok_or(malformed)?;
    let basic = bytes.take(OCTETS).and_then(|mut octets| octets.take(SEQUENCE)).ok_or(malformed)?;
    // Trailing bytes would be stapled too.
    if kind.0 == BASIC && outer.0.is_empty() && bytes.0.is_empty() { Ok(basic) } else { Err(malformed) }
}

/// Opens a BasicOCSPResponse down to its list of SingleResponses.
fn responses(mut basic: Der<'_>) -> Option<Der<'_>> {
    let mut data = basic.take(SEQUENCE)?;
    if data.peek() == Some(FIRST) {
        // The version.
        data.take(FIRST)?;
    }
    // The responder, by name or by key, and the time of the response.
    data.any()?;
    data.take(TIME)?;
    data.take(SEQUENCE)
}

/// Reads a SingleResponse: the serial number, and the status of that certificate.
fn read_single(mut single: Der<'_>) -> Option<(&[u8], Single)> {
    let mut id = single.take(SEQUENCE)?;
    // The hash algorithm, then the hashes of the issuer's name and key.
    id.take(SEQUENCE)?;
    id.take(OCTETS)?;
    id.take(OCTETS)?;
    let serial = id.take(INTEGER)?;
    let (status, _) = single.any()?;
    let this_update = time(single.take(TIME)?.0)?;
    let next_update =
        if single.peek() == Some(FIRST) { Some(time(single.take(FIRST)?.take(TIME)?.0)?) } else { None };
    Some((serial.0, Single { status, this_update, next_update }))
}

/// Returns a number without leading zeros.
fn magnitude(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Reads a GeneralizedTime, `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5.2).
fn time(text: &[u8]) -> Option<u64> {
    let (digits, zone) = text.split_at_checked(14)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        |from: usize, to: usize| std::str::from_utf8(digits.get(from..to)?).ok()?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970, in years that begin in March, so that the leap day is the last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    u64::try_from(seconds).ok()
}

/// A reader of DER: tags of one byte, definite lengths.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes a value with this tag.
    fn take(&mut self, tag: u8) -> Option<Self> {
        if self.peek()? != tag {
            return None;
        }
        self.any().map(|(_, value)| value)
    }

    /// Takes a value, whatever its tag.
    fn any(&mut self) -> Option<(u8, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // No OCSP response contains a tag of several bytes.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            // Indefinite, or longer than any response.
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Self(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15T08:00:00Z.
    const NOW: u64 = 1_800_000_000;
    const SERIAL: &[u8] = &[0, 0x9a, 1];

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = content.len();
        let mut der = vec![tag];
        match u8::try_from(length) {
            Ok(short @ 0..=0x7f) => der.push(short),
            _ => der.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()]),
        }
        der.extend(content);
        der
    }

    struct Said<'a> {
        status: &'a [u8],
        serial: &'a [u8],
        from: &'a [u8],
        until: Option<&'a [u8]>,
    }

    const SAID: Said<'static> = Said {
        status: &[GOOD, 0],
        serial: SERIAL,
        from: b"20270115000000Z",
        until: Some(b"20270115080001Z"),
    };

    fn single_response(said: &Said<'_>) -> Vec<u8> {
        let id = der(
            SEQUENCE,
            &[
                &der(SEQUENCE, &[]),
                &der(OCTETS, &[&[1; 20]]),
                &der(OCTETS, &[&[2; 20]]),
                &der(INTEGER, &[said.serial]),
            ],
        );
        let until = said.until.map(|until| der(FIRST, &[&der(TIME, &[until])])).unwrap_or_default();
        der(SEQUENCE, &[&id, said.status, &der(TIME, &[said.from]), &until])
    }

    fn answer_of(singles: &[&[u8]]) -> Vec<u8> {
        let data = der(
            SEQUENCE,
            &[&der(0xa1, &[&der(SEQUENCE, &[])]), &der(TIME, &[b"20270115000000Z"]), &der(SEQUENCE, singles)],
        );
        let basic = der(SEQUENCE, &[&data, &der(SEQUENCE, &[]), &[3, 1, 0]]);
        let bytes = der(FIRST, &[&der(SEQUENCE, &[&der(OID, &[BASIC]), &der(OCTETS, &[&basic])])]);
        der(SEQUENCE, &[&[ENUMERATED, 1, 0], &bytes])
    }

    fn judged(said: &Said<'_>) -> Result<u64, OcspError> {
        validate_ocsp(&answer_of(&[&single_response(said)]), SERIAL, NOW)
    }

    #[test]
    fn an_answer_holds_until_its_next_update() {
        assert_eq!(judged(&SAID), Ok(1_800_000_001));
        assert_eq!(judged(&Said { until: Some(b"20270115080000Z"), ..SAID }), Err(OcspError::Expired));
        assert_eq!(judged(&Said { until: None, ..SAID }), Err(OcspError::NoNextUpdate));
        assert_eq!(
            judged(&Said { from: b"20270115080500Z", until: Some(b"20280101000000Z"), ..SAID }),
            Ok(1_830_297_600)
        );
        assert_eq!(judged(&Said { from: b"20270115080501Z", ..SAID }), Err(OcspError::NotYetValid));
    }

    #[test]
    fn only_good_is_good() {
        assert_eq!(
            judged(&Said { status: &der(REVOKED, &[&der(TIME, &[b"20260101000000Z"])]), ..SAID }),
            Err(OcspError::Revoked)
        );
        assert_eq!(judged(&Said { status: &[0x82, 0], ..SAID }), Err(OcspError::Unknown));
        assert_eq!(judged(&Said { status: &[0x85, 0], ..SAID }), Err(OcspError::Unknown));
    }

    #[test]
    fn an_answer_for_others_is_none_for_us() {
        let other = single_response(&Said { serial: &[0x9a, 2], ..SAID });
        let ours = single_response(&Said { serial: &[0, 0, 0x9a, 1], ..SAID });

        assert_eq!(validate_ocsp(&answer_of(&[&other]), SERIAL, NOW), Err(OcspError::OtherCertificate));
        assert_eq!(validate_ocsp(&answer_of(&[]), SERIAL, NOW), Err(OcspError::OtherCertificate));
        assert_eq!(validate_ocsp(&answer_of(&[&other, &ours]), SERIAL, NOW), Ok(1_800_000_001));
        let many = vec![other.as_slice(); MAX_SINGLES];
        assert_eq!(
            validate_ocsp(&answer_of(&[many.as_slice(), &[&ours]].concat()), SERIAL, NOW),
            Err(OcspError::OtherCertificate)
        );
    }

    #[test]
    fn a_responder_that_refuses_is_told_from_noise() {
        assert_eq!(
            validate_ocsp(&der(SEQUENCE, &[&[ENUMERATED, 1, 6]]), SERIAL, NOW),
            Err(OcspError::Unsuccessful(6))
        );
        assert_eq!(validate_ocsp(b"-----BEGIN OCSP RESPONSE-----", SERIAL, NOW), Err(OcspError::Malformed));
        assert_eq!(validate_ocsp(b"", SERIAL, NOW), Err(OcspError::Malformed));
    }

    #[test]
    fn a_piece_of_an_answer_is_none() {
        let whole = answer_of(&[&single_response(&SAID)]);

        for length in 0..whole.len() {
            assert_eq!(
                validate_ocsp(&whole[..length], SERIAL, NOW),
                Err(OcspError::Malformed),
                "{length} bytes"
            );
        }
        assert_eq!(validate_ocsp(&[whole.as_slice(), &[0]].concat(), SERIAL, NOW), Err(OcspError::Malformed));
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic() {
        let whole = answer_of(&[&single_response(&SAID)]);
        for place in 0..whole.len() {
            for byte in [0, 1, 0x1f, 0x7f, 0x80, 0x82, 0x84, 0xff] {
                let mut touched = whole.clone();
                touched[place] = byte;
                let _any = validate_ocsp(&touched, SERIAL, NOW);
            }
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(b"19700101000000Z"), Some(0));
        assert_eq!(time(b"20000229235959Z"), Some(951_868_799));
        assert_eq!(time(b"20991231000000Z"), Some(4_102_358_400));
        for wrong in [
            "19691231235959Z",
            "20270115080000",
            "20270115080000+0100",
            "202701150800Z",
            "20271315080000Z",
            "2027011508000 Z",
        ] {
            assert_eq!(time(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
