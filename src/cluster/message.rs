//! What nodes tell each other through Redis.

use crate::{
    append_log::Codec,
    model::UnixTime,
    sessions::{Record, ends, is_now},
};

/// How far an epoch may be ahead of the seconds since 1970: a node numbers them by its clock and then one by
/// one. One that is further ahead would never be outdone, and so end every session of its tenant for good.
const AHEAD_SECS: u64 = 86_400;

/// A message on the channel of news.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    /// Counts messages; Redis gave it.
    pub(super) number: u64,
    /// The process that published it.
    pub(super) process: &'a str,
    /// What to answer with; nothing if nobody waits for it.
    pub(super) token: Option<&'a str>,
    /// Records of the ledger, one after the other.
    pub(super) records: &'a [u8],
}

/// Writes the part of a message that the sender knows, but the records.
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

/// What is wrong with a record that others wrote, so that it is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignData {
    /// It cannot be read, or is of a kind that no node writes there.
    Malformed,
    /// It no longer matters, which is no fault.
    Past,
}

/// Reads one record that fills all of the bytes.
pub(super) fn record(bytes: &[u8], now: UnixTime) -> Result<Record, ForeignData> {
    let mut rest = bytes;
    let record = Record::decode(&mut rest).filter(|_| rest.is_empty()).ok_or(ForeignData::Malformed)?;
    judge(record, now)
}

/// Reads records that stand one after the other. The flag says whether all of them could be taken.
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
    // Whose clock is ahead says "now" with a time that is still to come here. It ends here now, too.
    match &mut record {
        Record::Session { at, .. } | Record::User { from: at, .. } if is_now(*at, now) => *at = now.min(*at),
        // An epoch is known by its number and its time: the journal has it begin early.
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
