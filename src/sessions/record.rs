//! What one record of the journal says.

use std::{num::NonZeroU8, time::Duration};

use super::grant_record::{GrantLimits, GrantRecord};
use crate::{
    append_log::Codec,
    model::{BEGAN, ClientPrefix, JOURNAL, SessionId, TenantName, UnixTime, UserId},
    session::{LimitAction, UserLimit},
};

/// One record.
///
/// Integers are big-endian; a name is a length byte and the name, a user two length bytes and the user. Each
/// record begins with its kind:
///
/// * 1, a session ended: identifier 16, at u64, keep until u64, tenant (length 0: not known).
/// * 2, a user ended: tenant, user, from u64, at u64, keep until u64.
/// * 3, a tenant ended, in its next epoch: tenant, at u64.
/// * 8, a tenant ended: tenant, at u64, epoch u32.
/// * 9, a tenant's sessions folded into its epoch: tenant, at u64, epoch u32.
/// * 10, a tenant as it stands: tenant, epoch u32, present u8, since u64, count u8, that many of: at
///   u64, epoch u32.
/// * 11, no news from other nodes needed before: until u64.
/// * 12, a session granted: identifier 16, tenant, user, granted u64, ends u64, epoch u32, client 16
///   (an IPv4-mapped or IPv6 /64 prefix; zeros: not known), limit u8 (0: none), over u8 (0: oldest, 1:
///   refuse), idle u64 in milliseconds.
/// * 13, a token presented: identifier 16, generation u32, since u64, last seen u64.
///
/// 4 to 7 are from before nodes shared epochs; they are read and not written. 6 folds into the next epoch,
/// and in 7 the dates count on from the epoch; 4 and 5 are 6 and 7 without `at` and `since`. 11 is in no
/// file: one process sends it to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A session ends at a time.
    Session { id: SessionId, at: UnixTime, keep_until: UnixTime, tenant: Option<TenantName> },
    /// From a time on, the sessions of a user that signed in up to `at` are ended.
    User { tenant: TenantName, user: UserId, from: UnixTime, at: UnixTime, keep_until: UnixTime },
    /// A tenant enters an epoch at a time: its next one, where no number is named.
    Raise { tenant: TenantName, at: UnixTime, epoch: Option<u32> },
    /// A tenant enters an epoch now, and the records of its single sessions are forgotten: the epoch covers
    /// them.
    Fold { tenant: TenantName, at: UnixTime, epoch: Option<u32> },
    /// A tenant's epoch, when it began, whether the policy has the tenant, and the times at which its next
    /// epochs begin.
    Tenant { tenant: TenantName, epoch: u32, present: bool, since: UnixTime, raises: Vec<(UnixTime, u32)> },
    /// Until then no news of other nodes are missed.
    Fresh { until: UnixTime },
    /// A session began, and under which rule.
    Granted(Box<(GrantRecord, GrantLimits)>),
    /// The newest token of a session that was presented, since when, and when the session was last seen.
    Presented { id: SessionId, generation: u32, since: UnixTime, seen: UnixTime },
}

impl Record {
    /// Returns the session that the record is about, if it is one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session { id, .. } | Self::Presented { id, .. } => Some(*id),
            Self::Granted(granted) => Some(granted.0.id),
            Self::User { .. }
            | Self::Raise { .. }
            | Self::Fold { .. }
            | Self::Tenant { .. }
            | Self::Fresh { .. } => None,
        }
    }
}

impl Codec for Record {
    const FILE: &'static str = JOURNAL;
    const MARK: &'static str = BEGAN;
    const LOCK: &'static str = "revocations.lock";
    const MAGIC: [u8; 12] = *b"octroi-ended";
    const VERSION: u32 = 1;
    const LAST_KIND: u8 = 13;
    const FOREIGN: &'static str = "the file is no revocation journal";
    const REMEDY: &'static str = "restore it, or move it away and revoke every tenant's sessions again";

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session { id, at, keep_until, tenant } => {
                out.push(1);
                out.extend_from_slice(id.as_bytes());
                put_times(out, &[*at, *keep_until]);
                put_name(out, tenant.as_ref().map_or("", TenantName::as_str));
            }
            Self::User { tenant, user, from, at, keep_until } => {
                out.push(2);
                put_name(out, tenant.as_str());
                put_user(out, user);
                put_times(out, &[*from, *at, *keep_until]);
            }
            Self::Raise { tenant, at, epoch } => {
                put_epoch(out, if epoch.is_some() { 8 } else { 3 }, tenant, *at, *epoch)
            }
            Self::Fold { tenant, at, epoch } => {
                put_epoch(out, if epoch.is_some() { 9 } else { 6 }, tenant, *at, *epoch)
            }
            Self::Tenant { tenant, epoch, present, since, raises } => {
                out.push(10);
                put_name(out, tenant.as_str());
                out.extend_from_slice(&epoch.to_be_bytes());
                out.push(u8::from(*present));
                put_times(out, &[*since]);
                out.push(u8::try_from(raises.len()).unwrap_or(u8::MAX));
                for (at, epoch) in raises {
                    put_times(out, &[*at]);
                    out.extend_from_slice(&epoch.to_be_bytes());
                }
            }
            Self::Fresh { until } => {
                out.push(11);
                put_times(out, &[*until]);
            }
            Self::Granted(granted) => put_granted(out, &granted.0, granted.1),
            Self::Presented { id, generation, since, seen } => {
                out.push(13);
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&generation.to_be_bytes());
                put_times(out, &[*since, *seen]);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let [kind] = take(input)?;
        match kind {
            1 => {
                let id = SessionId::new(take(input)?);
                let (at, keep_until) = (take_time(input)?, take_time(input)?);
                let tenant = match take_text(input, 1)? {
                    "" => None,
                    name => Some(name.parse().ok()?),
                };
                Some(Self::Session { id, at, keep_until, tenant })
            }
            2 => Some(Self::User {
                tenant: take_text(input, 1)?.parse().ok()?,
                user: take_text(input, 2)?.parse().ok()?,
                from: take_time(input)?,
                at: take_time(input)?,
                keep_until: take_time(input)?,
            }),
            3 => Some(Self::Raise {
                tenant: take_text(input, 1)?.parse().ok()?,
                at: take_time(input)?,
                epoch: None,
            }),
            4 => Some(Self::Fold {
                tenant: take_text(input, 1)?.parse().ok()?,
                at: UnixTime::default(),
                epoch: None,
            }),
            6 => Some(Self::Fold {
                tenant: take_text(input, 1)?.parse().ok()?,
                at: take_time(input)?,
                epoch: None,
            }),
            8 => Some(Self::Raise {
                tenant: take_text(input, 1)?.parse().ok()?,
                at: take_time(input)?,
                epoch: Some(take_number(input)?),
            }),
            9 => Some(Self::Fold {
                tenant: take_text(input, 1)?.parse().ok()?,
                at: take_time(input)?,
                epoch: Some(take_number(input)?),
            }),
            11 => Some(Self::Fresh { until: take_time(input)? }),
            12 => take_granted(input).map(|granted| Self::Granted(Box::new(granted))),
            13 => Some(Self::Presented {
                id: SessionId::new(take(input)?),
                generation: take_number(input)?,
                since: take_time(input)?,
                seen: take_time(input)?,
            }),
            5 | 7 | 10 => {
                let tenant = take_text(input, 1)?.parse().ok()?;
                let epoch = take_number(input)?;
                let present = match take(input)? {
                    [0] => false,
                    [1] => true,
                    [_] => return None,
                };
                let since = if kind == 5 { UnixTime::default() } else { take_time(input)? };
                let [count] = take(input)?;
                let raise = |next: u8| {
                    let at = take_time(input)?;
                    let counted = epoch.saturating_add(u32::from(next)).saturating_add(1);
                    Some((at, if kind == 10 { take_number(input)? } else { counted }))
                };
                let raises = (0..count).map(raise).collect::<Option<_>>()?;
                Some(Self::Tenant { tenant, epoch, present, since, raises })
            }
            _ => None,
        }
    }
}

fn put_granted(out: &mut Vec<u8>, note: &GrantRecord, terms: GrantLimits) {
    out.push(12);
    out.extend_from_slice(note.id.as_bytes());
    put_name(out, note.tenant.as_str());
    put_user(out, &note.user);
    put_times(out, &[note.granted, note.ends]);
    out.extend_from_slice(&note.epoch.to_be_bytes());
    out.extend_from_slice(&note.client.0.to_be_bytes());
    out.push(terms.limit.map_or(0, |limit| limit.limit.get()));
    out.push(u8::from(terms.limit.is_some_and(|limit| limit.over == LimitAction::Refuse)));
    out.extend_from_slice(&u64::try_from(terms.idle.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
}

fn take_granted(input: &mut &[u8]) -> Option<(GrantRecord, GrantLimits)> {
    let note = GrantRecord {
        id: SessionId::new(take(input)?),
        tenant: take_text(input, 1)?.parse().ok()?,
        user: take_text(input, 2)?.parse().ok()?,
        granted: take_time(input)?,
        ends: take_time(input)?,
        epoch: take_number(input)?,
        client: ClientPrefix(u128::from_be_bytes(take(input)?)),
    };
    let [limit, over] = take(input)?;
    let over = match over {
        0 => LimitAction::Oldest,
        1 => LimitAction::Refuse,
        _ => return None,
    };
    let idle = Duration::from_millis(u64::from_be_bytes(take(input)?));
    let limit = NonZeroU8::new(limit).map(|limit| UserLimit { limit, over });
    Some((note, GrantLimits { limit, idle, ..GrantLimits::default() }))
}

fn put_epoch(out: &mut Vec<u8>, kind: u8, tenant: &TenantName, at: UnixTime, epoch: Option<u32>) {
    out.push(kind);
    put_name(out, tenant.as_str());
    put_times(out, &[at]);
    if let Some(epoch) = epoch {
        out.extend_from_slice(&epoch.to_be_bytes());
    }
}

/// Names have at most 64 bytes.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

/// Users have at most 256 bytes.
fn put_user(out: &mut Vec<u8>, user: &UserId) {
    out.extend_from_slice(&u16::try_from(user.as_str().len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(user.as_str().as_bytes());
}

fn put_times(out: &mut Vec<u8>, times: &[UnixTime]) {
    for time in times {
        out.extend_from_slice(&time.as_millis().to_be_bytes());
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*head)
}

fn take_number(input: &mut &[u8]) -> Option<u32> {
    take(input).map(u32::from_be_bytes)
}

fn take_time(input: &mut &[u8]) -> Option<UnixTime> {
    take(input).map(|bytes| UnixTime::from_millis(u64::from_be_bytes(bytes)))
}

fn take_text<'a>(input: &mut &'a [u8], length_bytes: usize) -> Option<&'a str> {
    let (length, rest) = input.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let (text, rest) = rest.split_at_checked(length)?;
    *input = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let time = || any::<u64>().prop_map(UnixTime::from_millis);
        let name = || "[a-z][a-z0-9]{0,63}".prop_map(|name| name.parse::<TenantName>().unwrap());
        let user = "[!-~]{1,256}".prop_map(|user| user.parse::<UserId>().unwrap());
        prop_oneof![
            (any::<[u8; 16]>(), time(), time(), prop::option::of(name())).prop_map(
                |(id, at, keep_until, tenant)| Record::Session {
                    id: SessionId::new(id),
                    at,
                    keep_until,
                    tenant
                }
            ),
            (name(), user, time(), time(), time()).prop_map(|(tenant, user, from, at, keep_until)| {
                Record::User { tenant, user, from, at, keep_until }
            }),
            (name(), time(), any::<Option<u32>>()).prop_map(|(tenant, at, epoch)| Record::Raise {
                tenant,
                at,
                epoch
            }),
            (name(), time(), any::<Option<u32>>()).prop_map(|(tenant, at, epoch)| Record::Fold {
                tenant,
                at,
                epoch
            }),
            time().prop_map(|until| Record::Fresh { until }),
            (any::<[u8; 16]>(), any::<u32>(), time(), time()).prop_map(|(id, generation, since, seen)| {
                Record::Presented { id: SessionId::new(id), generation, since, seen }
            }),
            (
                any::<[u8; 16]>(),
                (name(), "[!-~]{1,256}"),
                time(),
                time(),
                any::<(u32, u128, u64)>(),
                any::<(u8, bool)>()
            )
                .prop_map(
                    |(id, (tenant, user), granted, ends, (epoch, client, idle), (limit, refuse))| {
                        let note = GrantRecord {
                            id: SessionId::new(id),
                            tenant,
                            user: user.parse().unwrap(),
                            granted,
                            ends,
                            epoch,
                            client: ClientPrefix(client),
                        };
                        let over =
                            if refuse && limit > 0 { LimitAction::Refuse } else { LimitAction::Oldest };
                        let limit = NonZeroU8::new(limit).map(|limit| UserLimit { limit, over });
                        Record::Granted(Box::new((
                            note,
                            GrantLimits {
                                limit,
                                idle: Duration::from_millis(idle),
                                ..GrantLimits::default()
                            },
                        )))
                    }
                ),
            (
                name(),
                any::<u32>(),
                any::<bool>(),
                time(),
                prop::collection::vec((time(), any::<u32>()), 0..16)
            )
                .prop_map(|(tenant, epoch, present, since, raises)| {
                    Record::Tenant { tenant, epoch, present, since, raises }
                }),
        ]
    }

    /// They lie in files, in Redis and in hand-overs: other bytes are another kind.
    #[test]
    fn each_record_has_its_bytes() {
        let (id, at) = (SessionId::new([0xab; 16]), UnixTime::from_millis);
        let (acme, user) = (|| "acme".parse::<TenantName>().unwrap(), || "u_1".parse::<UserId>().unwrap());
        let client = ClientPrefix(0xffff_c000_0207);
        let note =
            GrantRecord { id, tenant: acme(), user: user(), granted: at(11), ends: at(12), epoch: 7, client };
        let limit = NonZeroU8::new(5).map(|limit| UserLimit { limit, over: LimitAction::Refuse });
        let terms = GrantLimits { limit, idle: Duration::from_secs(1800), ..GrantLimits::default() };
        let records = [
            (
                Record::Session { id, at: at(1), keep_until: at(2), tenant: Some(acme()) },
                "01abababababababababababababababab000000000000000100000000000000020461636d65",
            ),
            (
                Record::Session { id, at: at(1), keep_until: at(2), tenant: None },
                "01abababababababababababababababab0000000000000001000000000000000200",
            ),
            (
                Record::User { tenant: acme(), user: user(), from: at(3), at: at(4), keep_until: at(5) },
                "020461636d650003755f31000000000000000300000000000000040000000000000005",
            ),
            (Record::Raise { tenant: acme(), at: at(6), epoch: None }, "030461636d650000000000000006"),
            (
                Record::Raise { tenant: acme(), at: at(6), epoch: Some(7) },
                "080461636d65000000000000000600000007",
            ),
            (Record::Fold { tenant: acme(), at: at(6), epoch: None }, "060461636d650000000000000006"),
            (
                Record::Fold { tenant: acme(), at: at(6), epoch: Some(7) },
                "090461636d65000000000000000600000007",
            ),
            (
                Record::Tenant {
                    tenant: acme(),
                    epoch: 7,
                    present: true,
                    since: at(8),
                    raises: vec![(at(9), 8)],
                },
                "0a0461636d650000000701000000000000000801000000000000000900000008",
            ),
            (Record::Fresh { until: at(10) }, "0b000000000000000a"),
            (
                Record::Granted(Box::new((note, terms))),
                "0cabababababababababababababababab0461636d650003755f31000000000000000b000000000000000c0000000700000000000000000000ffffc0000207050100000000001b7740",
            ),
            (
                Record::Presented { id, generation: 2, since: at(13), seen: at(14) },
                "0dabababababababababababababababab00000002000000000000000d000000000000000e",
            ),
        ];

        for (record, hex) in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex, "{record:?}");
        }
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let tenant: TenantName = "a".parse().unwrap();
        let mut input: &[u8] =
            b"\x04\x01a\x05\x01a\0\0\0\x03\x01\x00\x07\x01a\0\0\0\x03\x01\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b";

        assert_eq!(
            Record::decode(&mut input),
            Some(Record::Fold { tenant: tenant.clone(), at: UnixTime::default(), epoch: None })
        );
        let stands = Record::Tenant {
            tenant: tenant.clone(),
            epoch: 3,
            present: true,
            since: UnixTime::default(),
            raises: vec![],
        };
        assert_eq!(Record::decode(&mut input), Some(stands));
        let raises = vec![(UnixTime::from_millis(9), 4), (UnixTime::from_millis(11), 5)];
        let stands =
            Record::Tenant { tenant, epoch: 3, present: true, since: UnixTime::from_millis(1), raises };
        assert_eq!(Record::decode(&mut input), Some(stands));
        assert!(input.is_empty());
    }

    proptest! {
        #[test]
        fn records_read_back_one_after_the_other(records in prop::collection::vec(any_record(), 0..5)) {
            let mut bytes = Vec::new();
            records.iter().for_each(|record| record.encode(&mut bytes));

            let mut input = bytes.as_slice();
            let read: Vec<_> = std::iter::from_fn(|| Record::decode(&mut input)).collect();

            prop_assert_eq!(read, records);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&mut bytes.as_slice());
        }
    }
}
