//! What one record of the journal says.

use crate::model::{SessionId, TenantName, UnixTime, UserId};

/// One record. Integers are big-endian; a name is a length byte and the name, a user two length bytes and the user.
///
/// | record | bytes |
/// |---|---|
/// | session ended | 1, identifier 16, at u64, keep until u64, tenant (length 0: not known) |
/// | user ended | 2, tenant, user, from u64, at u64, keep until u64 |
/// | tenant ended | 3, tenant, at u64 |
/// | tenant's sessions folded into its epoch | 6, tenant, at u64 |
/// | tenant as it stands | 7, tenant, epoch u32, present u8, since u64, count u8, that many u64 |
///
/// 4 and 5 are 6 and 7 without `at` and `since`, from before there were sessions that carry no epoch; they are read and not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A session ends at a time.
    Session { id: SessionId, at: UnixTime, keep_until: UnixTime, tenant: Option<TenantName> },
    /// From a time on, the sessions of a user that signed in up to `at` are ended.
    User { tenant: TenantName, user: UserId, from: UnixTime, at: UnixTime, keep_until: UnixTime },
    /// A tenant enters its next epoch at a time.
    Raise { tenant: TenantName, at: UnixTime },
    /// A tenant enters its next epoch now, and the records of its single sessions are forgotten: the epoch covers them.
    Fold { tenant: TenantName, at: UnixTime },
    /// A tenant's epoch, when it began, whether the policy has the tenant, and the times at which its next epochs begin.
    Tenant { tenant: TenantName, epoch: u32, present: bool, since: UnixTime, raises: Vec<UnixTime> },
}

impl Record {
    /// Appends the bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
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
                out.extend_from_slice(&u16::try_from(user.as_str().len()).unwrap_or(u16::MAX).to_be_bytes());
                out.extend_from_slice(user.as_str().as_bytes());
                put_times(out, &[*from, *at, *keep_until]);
            }
            Self::Raise { tenant, at } => {
                out.push(3);
                put_name(out, tenant.as_str());
                put_times(out, &[*at]);
            }
            Self::Fold { tenant, at } => {
                out.push(6);
                put_name(out, tenant.as_str());
                put_times(out, &[*at]);
            }
            Self::Tenant { tenant, epoch, present, since, raises } => {
                out.push(7);
                put_name(out, tenant.as_str());
                out.extend_from_slice(&epoch.to_be_bytes());
                out.push(u8::from(*present));
                put_times(out, &[*since]);
                out.push(u8::try_from(raises.len()).unwrap_or(u8::MAX));
                put_times(out, raises);
            }
        }
    }

    /// Takes one record off the front; `None` where no record stands.
    pub(super) fn decode(input: &mut &[u8]) -> Option<Self> {
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
            3 => Some(Self::Raise { tenant: take_text(input, 1)?.parse().ok()?, at: take_time(input)? }),
            4 => Some(Self::Fold { tenant: take_text(input, 1)?.parse().ok()?, at: UnixTime::default() }),
            6 => Some(Self::Fold { tenant: take_text(input, 1)?.parse().ok()?, at: take_time(input)? }),
            5 | 7 => {
                let tenant = take_text(input, 1)?.parse().ok()?;
                let epoch = u32::from_be_bytes(take(input)?);
                let present = match take(input)? {
                    [0] => false,
                    [1] => true,
                    [_] => return None,
                };
                let since = if kind == 7 { take_time(input)? } else { UnixTime::default() };
                let [count] = take(input)?;
                let raises = (0..count).map(|_| take_time(input)).collect::<Option<_>>()?;
                Some(Self::Tenant { tenant, epoch, present, since, raises })
            }
            _ => None,
        }
    }
}

/// Names have at most 64 bytes.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
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
            (any::<[u8; 16]>(), time(), time(), prop::option::of(name())).prop_map(|(id, at, keep_until, tenant)| Record::Session {
                id: SessionId::new(id),
                at,
                keep_until,
                tenant
            }),
            (name(), user, time(), time(), time()).prop_map(|(tenant, user, from, at, keep_until)| Record::User {
                tenant,
                user,
                from,
                at,
                keep_until
            }),
            (name(), time()).prop_map(|(tenant, at)| Record::Raise { tenant, at }),
            (name(), time()).prop_map(|(tenant, at)| Record::Fold { tenant, at }),
            (name(), any::<u32>(), any::<bool>(), time(), prop::collection::vec(time(), 0..16))
                .prop_map(|(tenant, epoch, present, since, raises)| { Record::Tenant { tenant, epoch, present, since, raises } }),
        ]
    }

    #[test]
    fn records_from_before_there_were_times_are_read() {
        let tenant: TenantName = "a".parse().unwrap();
        let mut input: &[u8] = b"\x04\x01a\x05\x01a\0\0\0\x03\x01\x00";

        assert_eq!(Record::decode(&mut input), Some(Record::Fold { tenant: tenant.clone(), at: UnixTime::default() }));
        let stands = Record::Tenant { tenant, epoch: 3, present: true, since: UnixTime::default(), raises: vec![] };
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
