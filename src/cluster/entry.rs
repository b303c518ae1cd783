//! The entry of one session in Redis.
//!
//! ```text
//! octroi:sessions:TENANT:USER      a tenant's name has no colon, so no two users share a key
//!   SESSION                        32 lower-case hexadecimal digits
//!     1 GRANTED ENDS SEEN GENERATION SINCE EPOCH CLIENT NODE
//! ```
//!
//! Times are milliseconds since 1970. All numbers have at most 15 digits, which scripts of Redis represent
//! exactly. SINCE, the time at which the generation was first announced, is by the clock of Redis, which is
//! the same for all nodes. CLIENT is the prefix as 32 hexadecimal digits, NODE the node that saw the session
//! last.

use crate::{
    model::{ClientPrefix, SessionId, TenantName, UnixTime, UserId},
    sessions::GrantRecord,
};

/// The largest value, in bytes.
pub(super) const VALUE_BYTES: usize = 256;

/// The longest name of a node that is kept.
const NODE_BYTES: usize = 64;

/// The first number that is not read: it has 16 digits.
const TOO_LARGE: u64 = 1_000_000_000_000_000;

/// The name of the key of a user's sessions.
pub(super) fn key(tenant: &TenantName, user: &UserId) -> String {
    format!("octroi:sessions:{tenant}:{}", user.as_str())
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: SessionId,
    pub(super) granted: UnixTime,
    pub(super) ends: UnixTime,
    pub(super) seen: UnixTime,
    pub(super) generation: u32,
    /// By the clock of Redis.
    pub(super) since: UnixTime,
    pub(super) epoch: u32,
    pub(super) client: ClientPrefix,
    pub(super) node: Box<str>,
}

impl Entry {
    /// Reads a field and its value; `None` if no node writes that.
    pub(super) fn read(field: &[u8], value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= VALUE_BYTES)?;
        let field = std::str::from_utf8(field).ok()?;
        let id = SessionId::from_hex(field)?;
        let mut words = value.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok().filter(|number| *number < TOO_LARGE);
        let (1, granted, ends, seen) = (number()?, number()?, number()?, number()?) else { return None };
        let (generation, since, epoch) = (number()?, number()?, number()?);
        let client = words.next()?;
        let entry = Self {
            id,
            granted: UnixTime::from_millis(granted),
            ends: UnixTime::from_millis(ends),
            seen: UnixTime::from_millis(seen),
            generation: generation.try_into().ok()?,
            since: UnixTime::from_millis(since),
            epoch: epoch.try_into().ok()?,
            client: ClientPrefix(u128::from_str_radix(client, 16).ok()?),
            node: words.next()?.into(),
        };
        // Only the canonical spelling: another would be another session, or stay for ever.
        let is_ours =
            entry.id.to_hex() == field && entry.write() == value && *entry.node == *name(&entry.node);
        is_ours.then_some(entry)
    }

    /// Writes the value.
    pub(super) fn write(&self) -> String {
        let Self { granted, ends, seen, generation, since, epoch, client, node, .. } = self;
        let [granted, ends, seen, since] = [granted, ends, seen, since].map(|time| time.as_millis());
        format!("1 {granted} {ends} {seen} {generation} {since} {epoch} {:032x} {node}", client.0)
    }

    /// Returns what was recorded when the session began.
    pub(super) fn note(&self, tenant: &TenantName, user: &UserId) -> GrantRecord {
        GrantRecord {
            id: self.id,
            tenant: tenant.clone(),
            user: user.clone(),
            granted: self.granted,
            ends: self.ends,
            epoch: self.epoch,
            client: self.client,
        }
    }
}

/// Returns a node's name as one short word.
pub(super) fn name(node: &str) -> String {
    let mut name: String = node.chars().filter(char::is_ascii_graphic).take(NODE_BYTES).collect();
    if name.is_empty() {
        name.push('-');
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        Entry {
            id: SessionId::new([0xab; 16]),
            granted: UnixTime::from_millis(1_800_000_000_000),
            ends: UnixTime::from_millis(1_800_043_200_000),
            seen: UnixTime::from_millis(1_800_000_060_000),
            generation: 2,
            since: UnixTime::from_millis(1_800_000_059_000),
            epoch: 1_799_999_999,
            client: ClientPrefix(0xffff_c000_0207),
            node: "edge-1".into(),
        }
    }

    const VALUE: &str = "1 1800000000000 1800043200000 1800000060000 2 1800000059000 1799999999 00000000000000000000ffffc0000207 edge-1";

    #[test]
    fn an_entry_is_one_line_of_text() {
        assert_eq!(entry().write(), VALUE);
        assert_eq!(Entry::read("ab".repeat(16).as_bytes(), VALUE.as_bytes()), Some(entry()));
    }

    #[test]
    fn the_longest_entry_fits() {
        let most = UnixTime::from_millis(TOO_LARGE - 1);
        let longest = Entry {
            granted: most,
            ends: most,
            seen: most,
            since: most,
            generation: u32::MAX,
            epoch: u32::MAX,
            client: ClientPrefix(u128::MAX),
            node: name(&"n".repeat(300)).into(),
            ..entry()
        };

        assert!(longest.write().len() <= VALUE_BYTES);
        assert_eq!(Entry::read("ab".repeat(16).as_bytes(), longest.write().as_bytes()), Some(longest));
    }

    #[test]
    fn another_spelling_is_no_entry() {
        let field = "ab".repeat(16);
        let beyond = VALUE.replacen("1800000000000", "1000000000000000", 1);
        for (field, value) in [
            ("AB".repeat(16), VALUE.to_owned()),
            ("ab".repeat(15), VALUE.to_owned()),
            (field.clone(), format!("{VALUE} ")),
            (field.clone(), format!("{VALUE} more")),
            (field.clone(), VALUE.replacen('1', "2", 1)),
            (field.clone(), VALUE.replacen(" 2 ", " 02 ", 1)),
            (field.clone(), VALUE.replacen(" 2 ", " +2 ", 1)),
            (field.clone(), VALUE.replacen(" 2 ", " 4294967296 ", 1)),
            (field.clone(), VALUE.replace("ffff", "FFFF")),
            (field.clone(), VALUE.replace("edge-1", "")),
            (field.clone(), VALUE.replace("edge-1", &"n".repeat(65))),
            (field.clone(), beyond),
            (field, String::new()),
        ] {
            assert_eq!(Entry::read(field.as_bytes(), value.as_bytes()), None, "{field} {value}");
        }
    }

    #[test]
    fn no_two_users_share_a_key() {
        let key = |tenant: &str, user: &str| key(&tenant.parse().unwrap(), &user.parse().unwrap());

        assert_eq!(key("acme", "u_1"), "octroi:sessions:acme:u_1");
        assert_ne!(key("acme", "b:u_1"), key("acme.b", "u_1"));
        assert!("acme:b".parse::<TenantName>().is_err());
    }

    #[test]
    fn a_node_s_name_is_one_word() {
        assert_eq!([name("edge-1"), name("é dge\n1"), name(" ")], ["edge-1", "dge1", "-"]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(field in "[0-9a-f]{31,33}", value in "1( [0-9]{1,16}){3} [0-9]{1,11} [0-9]{1,16} [0-9]{1,11} [0-9a-f]{31,33} [!-~]{0,66}") {
            if let Some(entry) = Entry::read(field.as_bytes(), value.as_bytes()) {
                prop_assert_eq!((entry.id.to_hex(), entry.write()), (field, value));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(field in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Entry::read(&field, &value);
        }
    }
}
