//! An OCSP answer, as far as who staples it must know it (RFC 6960, section 4.2.1).
//!
//! Its signature is not verified: the client does that, and only the client knows whom it trusts. What is looked at is whether the
//! answer is one, for which certificate, what it says of it and until when.

use super::UnixTime;

/// How far another clock may be ahead of ours.
const SKEW: std::time::Duration = std::time::Duration::from_secs(300);
/// The object identifier id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// How many certificates an answer may speak of. Answers to staple speak of one.
const MAX_SINGLES: usize = 64;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const FIRST: u8 = 0xa0;
/// The three words for a certificate: good, revoked, unknown; implicitly tagged.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// Why an answer cannot be stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not the bytes of an answer.
    #[error("it is no OCSP answer in DER form")]
    NotAnAnswer,
    /// The responder had nothing to say.
    #[error("the OCSP responder answered with status {0}, which is not `successful` (RFC 6960, section 4.2.1)")]
    Unsuccessful(u8),
    /// For other certificates only.
    #[error("the OCSP answer is for another certificate")]
    OtherCertificate,
    /// The CA took the certificate back.
    #[error("the OCSP answer says that the certificate is revoked")]
    Revoked,
    /// The CA does not know the certificate.
    #[error("the OCSP answer says that the certificate is unknown")]
    Unknown,
    /// Its time has not come.
    #[error("the OCSP answer is not valid yet")]
    NotYetValid,
    /// It does not say until when it holds, so nobody can say when to let it go.
    #[error("the OCSP answer does not say until when it holds (nextUpdate)")]
    Endless,
    /// It held until then.
    #[error("the OCSP answer has ended (nextUpdate)")]
    Ended,
}

/// Judges an answer for the certificate with this serial number: the contents of its DER integer. Returns until when it holds.
pub fn judge_ocsp(answer: &[u8], serial: &[u8], now: UnixTime) -> Result<UnixTime, OcspError> {
    let single = single(answer, serial)?;
    if single.this_update > now.plus(SKEW) {
        return Err(OcspError::NotYetValid);
    }
    match (single.status, single.next_update) {
        (REVOKED, _) => Err(OcspError::Revoked),
        (GOOD, None) => Err(OcspError::Endless),
        (GOOD, Some(until)) if until <= now => Err(OcspError::Ended),
        (GOOD, Some(until)) => Ok(until),
        (_, _) => Err(OcspError::Unknown),
    }
}

/// What an answer says of one certificate.
struct Single {
    status: u8,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
}

/// Finds what an answer says of a certificate.
fn single(answer: &[u8], serial: &[u8]) -> Result<Single, OcspError> {
    let basic = basic(answer)?;
    let mut singles = responses(basic).ok_or(OcspError::NotAnAnswer)?;
    for _ in 0..MAX_SINGLES {
        if singles.0.is_empty() {
            break;
        }
        let (of, single) = singles.take(SEQUENCE).and_then(read_single).ok_or(OcspError::NotAnAnswer)?;
        if magnitude(of) == magnitude(serial) {
            return Ok(single);
        }
    }
    Err(OcspError::OtherCertificate)
}

/// Opens an OCSPResponse down to its BasicOCSPResponse.
fn basic(answer: &[u8]) -> Result<Der<'_>, OcspError> {
    let whole = OcspError::NotAnAnswer;
    let mut outer = Der(answer);
    let mut response = outer.take(SEQUENCE).ok_or(whole)?;
    let [status] = *response.take(ENUMERATED).ok_or(whole)?.0 else { return Err(whole) };
    if status != 0 {
        return Err(OcspError::Unsuccessful(status));
    }
    let mut bytes = response.take(FIRST).and_then(|mut bytes| bytes.take(SEQUENCE)).ok_or(whole)?;
    let kind = bytes.take(OID).ok_or(whole)?;
    let basic = bytes.take(OCTETS).and_then(|mut octets| octets.take(SEQUENCE)).ok_or(whole)?;
    // Junk behind the answer would be stapled with it.
    if kind.0 == BASIC && outer.0.is_empty() && bytes.0.is_empty() { Ok(basic) } else { Err(whole) }
}

/// Opens a BasicOCSPResponse down to the list of what it says.
fn responses(mut basic: Der<'_>) -> Option<Der<'_>> {
    let mut data = basic.take(SEQUENCE)?;
    if data.peek() == Some(FIRST) {
        // The version.
        data.take(FIRST)?;
    }
    // Who answers, by name or by key, and when.
    data.any()?;
    data.take(TIME)?;
    data.take(SEQUENCE)
}

/// Reads a SingleResponse: whose serial number, and what of it.
fn read_single(mut single: Der<'_>) -> Option<(&[u8], Single)> {
    let mut id = single.take(SEQUENCE)?;
    // The hash, and the issuer's name and key by it.
    id.take(SEQUENCE)?;
    id.take(OCTETS)?;
    id.take(OCTETS)?;
    let serial = id.take(INTEGER)?;
    let (status, _) = single.any()?;
    let this_update = time(single.take(TIME)?.0)?;
    let next_update = if single.peek() == Some(FIRST) { Some(time(single.take(FIRST)?.take(TIME)?.0)?) } else { None };
    Some((serial.0, Single { status, this_update, next_update }))
}

/// A number without the zeros in front of it.
fn magnitude(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Reads a GeneralizedTime, `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5.2).
fn time(text: &[u8]) -> Option<UnixTime> {
    let (digits, zone) = text.split_at_checked(14)?;
    if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| std::str::from_utf8(digits.get(from..to)?).ok()?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of a date, with the year beginning in March, so that the leap day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    u64::try_from(seconds).ok().map(UnixTime::from_secs)
}

/// DER that is read from the front: tags of one byte, lengths that are written out.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes a value with a tag.
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
        // A tag of several bytes is in no answer.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            // Without end, or longer than any answer.
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
    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
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

    const SAID: Said<'static> = Said { status: &[GOOD, 0], serial: SERIAL, from: b"20270115000000Z", until: Some(b"20270115080001Z") };

    fn single_response(said: &Said<'_>) -> Vec<u8> {
        let id = der(SEQUENCE, &[&der(SEQUENCE, &[]), &der(OCTETS, &[&[1; 20]]), &der(OCTETS, &[&[2; 20]]), &der(INTEGER, &[said.serial])]);
        let until = said.until.map(|until| der(FIRST, &[&der(TIME, &[until])])).unwrap_or_default();
        der(SEQUENCE, &[&id, said.status, &der(TIME, &[said.from]), &until])
    }

    fn answer_of(singles: &[&[u8]]) -> Vec<u8> {
        let data = der(SEQUENCE, &[&der(0xa1, &[&der(SEQUENCE, &[])]), &der(TIME, &[b"20270115000000Z"]), &der(SEQUENCE, singles)]);
        let basic = der(SEQUENCE, &[&data, &der(SEQUENCE, &[]), &[3, 1, 0]]);
        let bytes = der(FIRST, &[&der(SEQUENCE, &[&der(OID, &[BASIC]), &der(OCTETS, &[&basic])])]);
        der(SEQUENCE, &[&[ENUMERATED, 1, 0], &bytes])
    }

    fn judged(said: &Said<'_>) -> Result<UnixTime, OcspError> {
        judge_ocsp(&answer_of(&[&single_response(said)]), SERIAL, NOW)
    }

    #[test]
    fn an_answer_holds_until_its_next_update() {
        assert_eq!(judged(&SAID), Ok(UnixTime::from_secs(1_800_000_001)));
        assert_eq!(judged(&Said { until: Some(b"20270115080000Z"), ..SAID }), Err(OcspError::Ended));
        assert_eq!(judged(&Said { until: None, ..SAID }), Err(OcspError::Endless));
        assert_eq!(
            judged(&Said { from: b"20270115080500Z", until: Some(b"20280101000000Z"), ..SAID }),
            Ok(UnixTime::from_secs(1_830_297_600))
        );
        assert_eq!(judged(&Said { from: b"20270115080501Z", ..SAID }), Err(OcspError::NotYetValid));
    }

    #[test]
    fn only_good_is_good() {
        assert_eq!(judged(&Said { status: &der(REVOKED, &[&der(TIME, &[b"20260101000000Z"])]), ..SAID }), Err(OcspError::Revoked));
        assert_eq!(judged(&Said { status: &[0x82, 0], ..SAID }), Err(OcspError::Unknown));
        assert_eq!(judged(&Said { status: &[0x85, 0], ..SAID }), Err(OcspError::Unknown));
    }

    #[test]
    fn an_answer_for_others_is_none_for_us() {
        let other = single_response(&Said { serial: &[0x9a, 2], ..SAID });
        let ours = single_response(&Said { serial: &[0, 0, 0x9a, 1], ..SAID });

        assert_eq!(judge_ocsp(&answer_of(&[&other]), SERIAL, NOW), Err(OcspError::OtherCertificate));
        assert_eq!(judge_ocsp(&answer_of(&[]), SERIAL, NOW), Err(OcspError::OtherCertificate));
        assert_eq!(judge_ocsp(&answer_of(&[&other, &ours]), SERIAL, NOW), Ok(UnixTime::from_secs(1_800_000_001)));
        let many = vec![other.as_slice(); MAX_SINGLES];
        assert_eq!(judge_ocsp(&answer_of(&[many.as_slice(), &[&ours]].concat()), SERIAL, NOW), Err(OcspError::OtherCertificate));
    }

    #[test]
    fn a_responder_that_refuses_is_told_from_noise() {
        assert_eq!(judge_ocsp(&der(SEQUENCE, &[&[ENUMERATED, 1, 6]]), SERIAL, NOW), Err(OcspError::Unsuccessful(6)));
        assert_eq!(judge_ocsp(b"-----BEGIN OCSP RESPONSE-----", SERIAL, NOW), Err(OcspError::NotAnAnswer));
        assert_eq!(judge_ocsp(b"", SERIAL, NOW), Err(OcspError::NotAnAnswer));
    }

    #[test]
    fn a_piece_of_an_answer_is_none() {
        let whole = answer_of(&[&single_response(&SAID)]);

        for length in 0..whole.len() {
            assert_eq!(judge_ocsp(&whole[..length], SERIAL, NOW), Err(OcspError::NotAnAnswer), "{length} bytes");
        }
        assert_eq!(judge_ocsp(&[whole.as_slice(), &[0]].concat(), SERIAL, NOW), Err(OcspError::NotAnAnswer));
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic() {
        let whole = answer_of(&[&single_response(&SAID)]);
        for place in 0..whole.len() {
            for byte in [0, 1, 0x1f, 0x7f, 0x80, 0x82, 0x84, 0xff] {
                let mut touched = whole.clone();
                touched[place] = byte;
                let _any = judge_ocsp(&touched, SERIAL, NOW);
            }
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(b"19700101000000Z"), Some(UnixTime::from_secs(0)));
        assert_eq!(time(b"20000229235959Z"), Some(UnixTime::from_secs(951_868_799)));
        assert_eq!(time(b"20991231000000Z"), Some(UnixTime::from_secs(4_102_358_400)));
        for wrong in ["19691231235959Z", "20270115080000", "20270115080000+0100", "202701150800Z", "20271315080000Z", "2027011508000 Z"] {
            assert_eq!(time(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
