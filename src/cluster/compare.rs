//! Compares everything that Redis holds with everything that this node knows: each side gets what only the
//! other has.

use std::sync::Arc;

use super::{
    message::{self, ForeignData},
    node::Replication,
    script::ENDED,
};
use crate::{
    redis::RedisFault,
    sessions::{DEFAULT_BOUND, Record, RevocationIndex, TenantCounts},
};

/// About how many entries are read at once.
const PAGE: usize = 500;

/// How many bytes of records are written at once: the size of a message that other nodes accept.
const BATCH_BYTES: usize = 48 << 10;

/// The most entries that are read. With more, a node never knows all of them.
const MOST_ENTRIES: usize = DEFAULT_BOUND * 4;

/// How many revocations were transferred in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) learnt: u64,
    pub(super) told: u64,
}

/// Compares. On return, received revocations are in force, and sent ones are in Redis.
pub(super) async fn compare(replication: &Replication) -> Result<Counts, RedisFault> {
    let (theirs, learnt) = read(replication).await?;
    number(replication).await?;
    let (ledger, now) = (Arc::clone(&replication.ledger), replication.clock.now());
    // A million of them take a second: do not block a thread that serves requests.
    let missing = tokio::task::spawn_blocking(move || {
        let mut missing = Vec::new();
        ledger.each_shared(now, |record| {
            if !theirs.covers(&record) {
                missing.push(record);
            }
        });
        missing
    });
    let missing = missing.await.map_err(|_| RedisFault::Away)?;
    let mut told = 0;
    for batch in batches(missing) {
        told += replication.put(&batch, None).await?;
    }
    Ok(Counts { learnt, told })
}

/// Reads what Redis holds, and takes in what is new. SCAN returns every entry that exists all the time; an
/// entry that is added meanwhile comes as a message, or the number of messages shows that one was missed.
async fn read(replication: &Replication) -> Result<(RevocationIndex, u64), RedisFault> {
    let (theirs, mut counts) = (RevocationIndex::default(), TenantCounts::default());
    let (mut cursor, mut entries, mut strange, mut learnt) = (0_u64, 0_usize, 0_u64, 0_u64);
    loop {
        let mut scan = redis::cmd("ZSCAN");
        scan.arg(ENDED).arg(cursor).arg("COUNT").arg(PAGE);
        let (next, page): (u64, Vec<(Vec<u8>, f64)>) = replication.redis.call_bulk(&scan).await?;
        entries = entries.saturating_add(page.len());
        let now = replication.clock.now();
        let mut records = Vec::with_capacity(page.len());
        for (bytes, _) in &page {
            match message::record(bytes, now) {
                Ok(record) => {
                    theirs.apply(&mut counts, record.clone());
                    records.push(record);
                }
                Err(ForeignData::Past) => {}
                Err(ForeignData::Malformed) => strange += 1,
            }
        }
        let taken = replication.ledger.learn(records, now);
        learnt = learnt.saturating_add(u64::try_from(taken.news).unwrap_or(u64::MAX));
        replication.took(taken);
        cursor = next;
        if cursor == 0 {
            break;
        }
        if entries > MOST_ENTRIES {
            return Err(RedisFault::TooMuch(MOST_ENTRIES));
        }
    }
    if strange > 0 {
        replication.foreign_data(strange, "entries of octroi:ended are no revocations");
    }
    theirs.settle_dates(&mut counts, replication.clock.now());
    Ok((theirs, learnt))
}

/// Lets Redis number the epochs of tenants that were revoked while it was away.
async fn number(replication: &Replication) -> Result<(), RedisFault> {
    let unnumbered = replication.state().unnumbered.clone();
    for (tenant, at) in unnumbered {
        let Some(record) = replication.ledger.raise_at(&tenant, at) else { continue };
        replication.put_strictly(&mut [record], None).await?;
        let mut state = replication.state();
        if state.unnumbered.get(&tenant) == Some(&at) {
            state.unnumbered.remove(&tenant);
        }
    }
    Ok(())
}

fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut batches, mut bytes): (Vec<Vec<Record>>, usize) = (Vec::new(), usize::MAX);
    for record in records {
        let length = message::bytes(&record).len();
        match batches.last_mut() {
            Some(batch) if bytes.saturating_add(length) <= BATCH_BYTES => {
                bytes += length;
                batch.push(record);
            }
            Some(_) | None => {
                bytes = length;
                batches.push(vec![record]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, UnixTime};

    #[test]
    fn batches_are_bounded_and_hold_everything() {
        let record = |number: u16| Record::Session {
            id: SessionId::new([u8::try_from(number % 256).unwrap(); 16]),
            at: UnixTime::from_secs(1),
            keep_until: UnixTime::from_secs(u64::from(number)),
            tenant: None,
        };
        let records: Vec<Record> = (0..5000).map(record).collect();

        let batches = batches(records.clone());

        assert!(batches.len() > 1);
        assert!(batches.iter().all(|batch| {
            batch.iter().map(|record| message::bytes(record).len()).sum::<usize>() <= BATCH_BYTES
        }));
        assert_eq!(batches.concat(), records);
        assert!(super::batches(Vec::new()).is_empty());
    }
}
