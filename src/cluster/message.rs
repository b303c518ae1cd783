//! The messages between nodes, through Redis.

use crate::{
    append_log::Codec,
    model::UnixTime,
    sessions::{Record, ends, is_now},
};

/// How far an epoch may be ahead of the seconds since 1970: a node starts from its clock and then counts up
/// by one. No node could exceed one that is further ahead, so it would end every session of its tenant for
/// good.
const AHEAD_SECS: u64 = 86_400;

/// A message with revocations.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    /// The sequence number, which Redis assigned.
    pub(super) number: u64,
    /// The process that published it.
    pub(super) process: &'a str,
    /// The token of the confirmation; `None` if the sender does not wait for one.
    pub(super) token: Option<&'a str>,
    /// Concatenated records of the ledger.
    pub(super) records: &'a [u8],
}

/// Writes the part of a message that the sender knows, without the records.
pub(super) fn head(process: &str, token: Option<&str>) -> String {
    format!("{process}:{}", token.unwrap_or("-"))
}

/// Reads `NUMBER:PROCESS:TOKEN:RECORDS`.
pub(super) fn read(message: &[u8]) -> Option<News<'_>> {
    let mut parts = message.splitn(4, |byte| *byte == b':');
    let mut word = || {
        let word = std::str::from_utf8(parts.next()?).ok()?;
        (1..=32)
            .contains(&word.len())
            .then_some(word)
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    };
    let (number, process, token) = (word()?, word()?, word()?);
    let number = number.parse().ok()?;
    Some(News { number, process, token: Some(token).filter(|token| *token != "-"), records: parts.next()? })
}

/// Why a record of another node is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignData {
    /// It cannot be parsed, or is of a kind that no node writes there.
    Malformed,
    /// It has expired, which is no fault.
    Past,
}

/// Reads one record that fills all the bytes.
pub(super) fn record(bytes: &[u8], now: UnixTime) -> Result<Record, ForeignData> {
    let mut rest = bytes;
    let record = Record::decode(&mut rest).filter(|_| rest.is_empty()).ok_or(ForeignData::Malformed)?;
    judge(record, now)
}

/// Reads concatenated records. The flag says whether all of them were valid.
pub(super) fn records(mut bytes: &[u8], now: UnixTime) -> (Vec<Record>, bool) {
    let (mut found, mut whole) = (Vec::new(), true);
    while !bytes.is_empty() {
        let Some(record) = Record::decode(&mut bytes) else { return (found, false) };
        match judge(record, now) {
            Ok(record) => found.push(record),
            Err(ForeignData::Past) => {}
            Err(ForeignData::Malformed) => whole = false,
        }
    }
    (found, whole)
}

fn judge(mut record: Record, now: UnixTime) -> Result<Record, ForeignData> {
    // A node whose clock is ahead says "now" with a time in our future. The revocation takes effect here now,
    // too.
    match &mut record {
        Record::Session { at, .. } | Record::User { from: at, .. } if is_now(*at, now) => *at = now.min(*at),
        // An epoch is identified by its number and its time, so its time must not change; the journal lets it
        // begin early.
        Record::Session { .. } | Record::User { .. } | Record::Raise { .. } => {}
        Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => {}
        Record::Granted(_) | Record::Presented { .. } => {}
    }
    match &record {
        Record::Session { .. } | Record::User { .. } => {}
        Record::Raise { at, epoch: Some(epoch), .. }
            if u64::from(*epoch) <= at.max(&now).as_secs().saturating_add(AHEAD_SECS) => {}
        Record::Raise { .. } | Record::Fold { .. } | Record::Tenant { .. } | Record::Fresh { .. } => {
            return Err(ForeignData::Malformed);
        }
        Record::Granted(_) | Record::Presented { .. } => return Err(ForeignData::Malformed),
    }
    if ends(&record).is_some_and(|end| end <= now) { Err(ForeignData::Past) } else { Ok(record) }
}

/// Returns a record's bytes.
pub(super) fn bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SessionId;

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    fn session(end: u64) -> Record {
        Record::Session {
            id: SessionId::new([58; 16]),
            at: NOW,
            keep_until: UnixTime::from_secs(end),
            tenant: None,
        }
    }

    fn raise(at: u64, epoch: u32) -> Record {
        Record::Raise { tenant: "acme".parse().unwrap(), at: UnixTime::from_secs(at), epoch: Some(epoch) }
    }

    #[test]
    fn a_message_reads_back_whatever_bytes_its_records_have() {
        let written = [
            format!("17:{}:", head("ab12", Some("cd34"))).into_bytes(),
            bytes(&session(2_000)),
            bytes(&raise(1, 2)),
        ]
        .concat();

        let news = read(&written).unwrap();

        assert_eq!((news.number, news.process, news.token), (17, "ab12", Some("cd34")));
        assert_eq!(records(news.records, NOW), (vec![session(2_000), raise(1, 2)], true));
        assert_eq!(read(format!("1:{}:", head("ab12", None)).as_bytes()).unwrap().token, None);
    }

    #[test]
    fn a_message_has_its_bytes() {
        assert_eq!(
            (head("ab12", Some("cd34")), head("ab12", None)),
            ("ab12:cd34".to_owned(), "ab12:-".to_owned())
        );
        assert_eq!(bytes(&raise(1, 2)), b"\x08\x04acme\0\0\0\0\0\0\x03\xe8\0\0\0\x02");
    }

    #[test]
    fn what_nobody_writes_is_not_taken() {
        let junk: [&[u8]; 8] = [b"", b"1", b"1:a", b"1:a:b", b"x:a:b:", b"-1:a:b:", b":::", b"1:a b:c:"];
        assert!(junk.iter().all(|junk| read(junk).is_none()));
        assert_eq!(record(b"junk", NOW), Err(ForeignData::Malformed));
        assert_eq!(record(&[bytes(&session(2_000)), vec![0]].concat(), NOW), Err(ForeignData::Malformed));
        for kind in [
            Record::Fold { tenant: "acme".parse().unwrap(), at: NOW, epoch: Some(1) },
            Record::Raise { tenant: "acme".parse().unwrap(), at: NOW, epoch: None },
            Record::Tenant {
                tenant: "acme".parse().unwrap(),
                epoch: 1,
                present: false,
                since: NOW,
                raises: Vec::new(),
            },
            Record::Fresh { until: UnixTime::from_secs(9_999) },
        ] {
            assert_eq!(record(&bytes(&kind), NOW), Err(ForeignData::Malformed), "{kind:?}");
        }
        assert_eq!(
            records(&[bytes(&session(2_000)), b"junk".to_vec()].concat(), NOW),
            (vec![session(2_000)], false)
        );
    }

    #[test]
    fn an_epoch_that_nobody_could_outdo_is_not_taken() {
        assert_eq!(record(&bytes(&raise(1, 1_000 + 86_400)), NOW), Ok(raise(1, 1_000 + 86_400)));
        assert_eq!(record(&bytes(&raise(1, 1_001 + 86_400)), NOW), Err(ForeignData::Malformed));
        assert_eq!(
            record(&bytes(&raise(500_000, 500_000)), NOW),
            Ok(raise(500_000, 500_000)),
            "a date to come"
        );
    }

    #[test]
    fn now_of_a_clock_that_is_ahead_is_now() {
        let at = |secs| Record::Session {
            id: SessionId::new([1; 16]),
            at: UnixTime::from_secs(secs),
            keep_until: UnixTime::from_secs(9_999),
            tenant: None,
        };

        assert_eq!(record(&bytes(&at(1_060)), NOW), Ok(at(1_000)));
        assert_eq!(record(&bytes(&at(1_061)), NOW), Ok(at(1_061)), "a date");
        assert_eq!(record(&bytes(&at(999)), NOW), Ok(at(999)));
    }

    #[test]
    fn what_has_ended_is_no_fault() {
        assert_eq!(record(&bytes(&session(1_000)), NOW), Err(ForeignData::Past));
        assert_eq!(records(&bytes(&session(1_000)), NOW), (vec![], true));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (read(&bytes), record(&bytes, NOW), records(&bytes, NOW));
        }
    }
}
