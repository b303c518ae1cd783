//! The claims of a session, as the token holds them.

use super::Roles;
use crate::model::{SessionId, TenantName, UnixTime, UserId};

/// What a token says. The layout stands in the [room's document](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The session's identifier.
    pub id: SessionId,
    /// The user's tenant: the realm or one of its members.
    pub tenant: TenantName,
    /// Who signed in.
    pub user: UserId,
    /// What they may do.
    pub roles: Roles,
    /// When this token was made.
    pub issued: UnixTime,
    /// When the user signed in; renewal never changes it.
    pub auth_time: UnixTime,
    /// When the token begins to count.
    pub not_before: UnixTime,
    /// When it ends if it is not renewed.
    pub idle_end: UnixTime,
    /// When it ends in any case.
    pub absolute_end: UnixTime,
    /// How often it was renewed.
    pub generation: u32,
    /// The tenant's epoch at the sign-in.
    pub epoch: u32,
    /// What else must stay the same.
    pub binding: Option<[u8; 16]>,
}

/// The layout that is written and read.
const LAYOUT: u8 = 1;

impl Claims {
    /// Appends the bytes; `None` where a length does not fit its field, which no type of the claims allows.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        let roles = u8::try_from(self.roles.len()).ok()?;
        let tenant = u8::try_from(self.tenant.as_str().len()).ok()?;
        let user = u16::try_from(self.user.as_str().len()).ok()?;
        out.push(LAYOUT);
        out.extend_from_slice(self.id.as_bytes());
        for time in [self.issued, self.auth_time, self.not_before, self.idle_end, self.absolute_end] {
            out.extend_from_slice(&time.as_millis().to_be_bytes());
        }
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.push(u8::from(self.binding.is_some()));
        out.extend_from_slice(self.binding.as_ref().map_or(&[], |binding| binding.as_slice()));
        out.push(tenant);
        out.extend_from_slice(self.tenant.as_str().as_bytes());
        out.extend_from_slice(&user.to_be_bytes());
        out.extend_from_slice(self.user.as_str().as_bytes());
        out.push(roles);
        for role in self.roles.iter() {
            out.push(u8::try_from(role.len()).ok()?);
            out.extend_from_slice(role.as_bytes());
        }
        Some(())
    }

    /// Reads the bytes; `None` where they are not exactly what [`Claims::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        if input.u8()? != LAYOUT {
            return None;
        }
        let id = SessionId::new(input.array()?);
        let [issued, auth_time, not_before, idle_end, absolute_end] =
            [input.time()?, input.time()?, input.time()?, input.time()?, input.time()?];
        let generation = u32::from_be_bytes(input.array()?);
        let epoch = u32::from_be_bytes(input.array()?);
        let binding = match input.u8()? {
            0 => None,
            1 => Some(input.array()?),
            _ => return None,
        };
        let length = usize::from(input.u8()?);
        let tenant = input.text(length)?.parse().ok()?;
        let length = usize::from(u16::from_be_bytes(input.array()?));
        let user = input.text(length)?.parse().ok()?;
        let count = usize::from(input.u8()?);
        // Each role has a byte for its length there and one between it and the next here.
        let bytes = input.0.len();
        let roles = (0..count).map(|_| input.u8().and_then(|length| input.text(usize::from(length))));
        let roles = Roles::with_capacity(bytes, roles).ok()?;
        let claims = Self {
            id,
            tenant,
            user,
            roles,
            issued,
            auth_time,
            not_before,
            idle_end,
            absolute_end,
            generation,
            epoch,
            binding,
        };
        input.0.is_empty().then_some(claims)
    }
}

/// Bytes that are still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn time(&mut self) -> Option<UnixTime> {
        self.array().map(|bytes| UnixTime::from_millis(u64::from_be_bytes(bytes)))
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::session) fn any_claims() -> impl Strategy<Value = Claims> {
        let names = (
            "[A-Za-z0-9][A-Za-z0-9._-]{0,20}",
            "[!-~]{1,40}",
            prop::collection::vec("[A-Za-z0-9._:-]{1,20}", 0..8),
        );
        let times = prop::array::uniform5(any::<u64>());
        let rest = (any::<[u8; 16]>(), any::<u32>(), any::<u32>(), any::<Option<[u8; 16]>>());
        (names, times, rest).prop_map(|((tenant, user, roles), times, (id, generation, epoch, binding))| {
            let [issued, auth_time, not_before, idle_end, absolute_end] = times.map(UnixTime::from_millis);
            Claims {
                id: SessionId::new(id),
                tenant: tenant.parse().unwrap(),
                user: user.parse().unwrap(),
                roles: Roles::try_new(roles.iter().map(String::as_str)).unwrap(),
                issued,
                auth_time,
                not_before,
                idle_end,
                absolute_end,
                generation,
                epoch,
                binding,
            }
        })
    }

    fn encoded(claims: &Claims) -> Vec<u8> {
        let mut bytes = Vec::new();
        claims.encode(&mut bytes).unwrap();
        bytes
    }

    fn plain() -> Claims {
        let end = UnixTime::from_secs(2);
        Claims {
            id: SessionId::new([1; 16]),
            tenant: "acme".parse().unwrap(),
            user: "u".parse().unwrap(),
            roles: Roles::try_new(["r"]).unwrap(),
            issued: end,
            auth_time: end,
            not_before: end,
            idle_end: end,
            absolute_end: end,
            generation: 0,
            epoch: 0,
            binding: None,
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let good = encoded(&plain());
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Claims::decode(&bytes)
        };

        assert_eq!(Claims::decode(&good), Some(plain()));
        assert_eq!(changed(0, 2), None, "another layout");
        assert_eq!(changed(65, 2), None, "bound is 0 or 1");
        assert_eq!(changed(67, b' '), None, "a tenant's name");
        assert_eq!(changed(73, 0x80), None, "a user");
        assert_eq!(changed(74, 0), None, "bytes after the last role");
        assert_eq!(changed(74, 33), None, "more roles than there may be");
        assert_eq!(changed(76, b','), None, "a role");
    }

    proptest! {
        #[test]
        fn claims_read_back(claims in any_claims()) {
            prop_assert_eq!(Claims::decode(&encoded(&claims)), Some(claims));
        }

        #[test]
        fn a_part_is_never_the_whole(claims in any_claims(), cut in any::<prop::sample::Index>(), extra in any::<u8>()) {
            let mut bytes = encoded(&claims);
            prop_assert_eq!(Claims::decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(extra);
            prop_assert_eq!(Claims::decode(&bytes), None);
        }

        #[test]
        fn what_is_accepted_is_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(claims) = Claims::decode(&bytes) {
                prop_assert_eq!(encoded(&claims), bytes);
            }
        }
    }
}
