//! OCSP answers: what is stapled holds for a while yet, and for this certificate only.

use std::path::Path;

use octroi::wire::ocsp::{OcspError, validate_ocsp};

use super::input::Input;

/// The time at which answers are judged, a day in the life of the seeds.
const NOW: u64 = 1_800_000_000;
const SERIAL: &[u8] = &[0x11];

/// Judges one input: a time, then an answer.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let offset: [u8; 4] = input.array();
    let answer = input.0;
    let now = u64::from(u32::from_be_bytes(offset));
    for now in [now, NOW] {
        let judged = validate_ocsp(answer, SERIAL, now);
        if let Ok(until) = judged {
            assert!(until > now);
            assert_eq!(
                validate_ocsp(answer, &[0, 0, 0x11], now),
                Ok(until),
                "zeros in front change no number"
            );
            assert_eq!(validate_ocsp(answer, SERIAL, until), Err(OcspError::Expired));
            assert_eq!(validate_ocsp(&[answer, &[0]].concat(), SERIAL, now), Err(OcspError::Malformed));
        }
    }
}

/// Makes the seeds: an answer as openssl makes it, in its shape, and its pieces.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let der = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap_or(0).to_be_bytes();
        if content.len() < 0x80 {
            [&[tag, length[1]], &content[..]].concat()
        } else {
            [&[tag, 0x82, length[0], length[1]], &content[..]].concat()
        }
    };
    let answer = |status: &[u8], until: &[u8]| {
        let id =
            der(0x30, &[&der(0x30, &[]), &der(4, &[&[1; 20]]), &der(4, &[&[2; 20]]), &der(2, &[SERIAL])]);
        let single = der(0x30, &[&id, status, &der(0x18, &[b"20270115000000Z"]), until]);
        let data = der(
            0x30,
            &[&der(0xa2, &[&der(4, &[&[3; 20]])]), &der(0x18, &[b"20270115000000Z"]), &der(0x30, &[&single])],
        );
        let basic = der(0x30, &[&data, &der(0x30, &[]), &[3, 1, 0]]);
        let kind = der(6, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]]);
        der(0x30, &[&[10, 1, 0], &der(0xa0, &[&der(0x30, &[&kind, &der(4, &[&basic])])])])
    };
    let until = der(0xa0, &[&der(0x18, &[b"20270116000000Z"])]);
    let revoked = der(0xa1, &[&der(0x18, &[b"20260101000000Z"])]);
    let answers = [
        answer(&[0x80, 0], &until),
        answer(&[0x80, 0], &[]),
        answer(&[0x82, 0], &until),
        answer(&revoked, &until),
        vec![0x30, 3, 10, 1, 6],
    ];
    answers.iter().map(|answer| [&1_800_000_000_u32.to_be_bytes(), &answer[..]].concat()).collect()
}
