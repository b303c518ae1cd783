//! A session that is about to begin, and its bytes where another process is to judge it.

use std::time::Duration;

use super::{
    grant_record::{GrantLimits, GrantRecord},
    record::Record,
};
use crate::{append_log::Codec, model::SessionId, policy::OnStale};

/// The terms are for whoever judges; they stand in no file.
pub(super) fn note_of(record: GrantRecord) -> Record {
    Record::Granted(Box::new((record, GrantLimits::default())))
}

/// A session that is about to begin.
///
/// Its bytes: the record of the session with its terms, then `absolute` u64 in milliseconds, what to do where
/// others cannot be asked (0: deny, 1: allow), and the identifier that is replaced, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRequest {
    /// The session.
    pub record: GrantRecord,
    /// The rules that it begins under.
    pub limits: GrantLimits,
    /// The session that ends with it.
    pub replaces: Option<SessionId>,
}

impl GrantRequest {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        Record::Granted(Box::new((self.record, self.limits))).encode(&mut out);
        out.extend_from_slice(
            &u64::try_from(self.limits.absolute.as_millis()).unwrap_or(u64::MAX).to_be_bytes(),
        );
        out.push(match self.limits.on_stale {
            OnStale::Deny => 0,
            OnStale::Allow => 1,
        });
        out.extend(self.replaces.iter().flat_map(SessionId::as_bytes));
        out
    }

    /// Reads what stands behind the record.
    pub(super) fn decode(record: GrantRecord, limits: GrantLimits, rest: &[u8]) -> Option<Self> {
        let (absolute, rest) = rest.split_first_chunk()?;
        let (on_stale, rest) = rest.split_first()?;
        let on_stale = match on_stale {
            0 => OnStale::Deny,
            1 => OnStale::Allow,
            _ => return None,
        };
        let replaces = if rest.is_empty() { None } else { Some(SessionId::new(rest.try_into().ok()?)) };
        let absolute = Duration::from_millis(u64::from_be_bytes(*absolute));
        Some(Self { record, limits: GrantLimits { absolute, on_stale, ..limits }, replaces })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{ClientPrefix, UnixTime},
        session::{LimitAction, UserLimit},
    };

    proptest! {
        #[test]
        fn a_wish_reads_back(absolute in any::<u64>(), allows in any::<bool>(), replaces in prop::option::of(any::<[u8; 16]>()), cut in 1_usize..30) {
            let limit = UserLimit { limit: NonZeroU8::MIN, over: LimitAction::Refuse };
            let wish = || GrantRequest {
                record: GrantRecord {
                    id: SessionId::new([7; 16]),
                    tenant: "acme".parse().unwrap(),
                    user: "u_1".parse().unwrap(),
                    granted: UnixTime::from_secs(1),
                    ends: UnixTime::from_secs(2),
                    epoch: 3,
                    client: ClientPrefix(4),
                },
                limits: GrantLimits {
                    limit: Some(limit),
                    idle: Duration::from_secs(5),
                    absolute: Duration::from_millis(absolute),
                    on_stale: if allows { OnStale::Allow } else { OnStale::Deny },
                },
                replaces: replaces.map(SessionId::new),
            };
            let bytes = wish().encode();
            let read = |mut bytes: &[u8]| {
                let Record::Granted(granted) = Record::decode(&mut bytes)? else { return None };
                GrantRequest::decode(granted.0, granted.1, bytes)
            };

            prop_assert_eq!(read(&bytes), Some(wish()));
            // Without the identifier it is a whole one, too.
            if !(replaces.is_some() && cut == 16) {
                prop_assert_eq!(read(&bytes[..bytes.len() - cut]), None);
            }
        }
    }
}
