//! Names and identifiers, each with its own type.

use std::{fmt, str::FromStr, sync::Arc};

use compact_str::CompactString;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than a name may be.
    #[error("a name has at most {MAX_NAME_BYTES} characters")]
    TooLong,
    /// A character that names do not contain.
    #[error(
        "a name has only letters, digits, `.`, `_` and `-`, and begins with a letter or digit; found `{0}`"
    )]
    Character(char),
}

/// The longest name of a tenant, upstream, quota or listener, in octets.
pub const MAX_NAME_BYTES: usize = 64;

fn checked(text: &str) -> Result<CompactString, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    for (index, character) in text.chars().enumerate() {
        let fits = character.is_ascii_alphanumeric() || (index > 0 && matches!(character, '.' | '_' | '-'));
        if !fits {
            return Err(NameError::Character(character));
        }
    }
    Ok(text.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(CompactString);

        impl $type {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                checked(text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        // Lets a map that is keyed by the name be queried with plain text.
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a tenant: a customer account.
    TenantName
}
name! {
    /// The name of a listener.
    ListenerName
}
name! {
    /// The name of an upstream.
    UpstreamName
}
name! {
    /// The name of a quota.
    QuotaName
}

/// A route's name in logs and quotas: the path in the configuration, never the path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(Arc<str>);

impl RouteId {
    /// Names a route by its path in the configuration.
    pub fn new(path: &str) -> Self {
        Self(Arc::from(path))
    }

    /// Returns the path as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A user of a tenant, as its app names them: 1 to 256 visible ASCII characters.
///
/// Whatever else a grant names must be percent-encoded by the app, or is refused (threat model, row 56).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(CompactString);

impl UserId {
    /// The longest user, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Returns the user as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether the text looks like an email address: `something@something.something`.
    pub fn looks_like_email(&self) -> bool {
        let Some((local, domain)) = self.0.rsplit_once('@') else { return false };
        !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
    }
}

impl FromStr for UserId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong);
        }
        match text.chars().find(|character| !character.is_ascii_graphic()) {
            Some(character) => Err(NameError::Character(character)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The 128 random bits that identify a session. Never logged: logs carry a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Wraps the bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns 32 lower-case hexadecimal digits: what `octroi session inspect` prints and `revoke` takes.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Reads 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 32 && !text.starts_with('+'))
            .map(|bits| Self(bits.to_be_bytes()))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// Identifies one request in the client's answer, in the log and towards the upstream: 26 characters of
/// Crockford's base 32, 48 bits of milliseconds then 80 random bits, so that identifiers sort by time (the
/// ULID layout).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 26]);

impl RequestId {
    /// The identifier in answers that belong to no request.
    pub const ZERO: Self = Self([b'0'; 26]);

    /// Builds an identifier from milliseconds since 1970 and random bits, of which the low 80 are used.
    pub fn new(millis: u64, random: u128) -> Self {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut bits = (u128::from(millis) << 80) | (random & ((1 << 80) - 1));
        let mut text = [b'0'; 26];
        for place in text.iter_mut().rev() {
            let digit = usize::try_from(bits & 31).unwrap_or(0);
            *place = DIGITS.get(digit).copied().unwrap_or(b'0');
            bits >>= 5;
        }
        Self(text)
    }

    /// Returns the 26 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_would_break_a_log_or_a_path() {
        assert_eq!("acme".parse::<TenantName>().map(|name| name.as_str().to_owned()), Ok("acme".to_owned()));
        assert_eq!("".parse::<TenantName>(), Err(NameError::Empty));
        assert_eq!("a b".parse::<TenantName>(), Err(NameError::Character(' ')));
        assert_eq!("-a".parse::<TenantName>(), Err(NameError::Character('-')));
        assert_eq!("a".repeat(65).parse::<TenantName>(), Err(NameError::TooLong));
    }

    #[test]
    fn users_are_visible_ascii_of_at_most_256_bytes() {
        assert!("u_812".parse::<UserId>().is_ok());
        assert_eq!("u 1".parse::<UserId>(), Err(NameError::Character(' ')));
        assert!("u".repeat(256).parse::<UserId>().is_ok());
        assert_eq!("u".repeat(257).parse::<UserId>(), Err(NameError::TooLong));
    }

    #[test]
    fn an_email_address_is_recognised() {
        let looks = |text: &str| text.parse::<UserId>().is_ok_and(|user| user.looks_like_email());

        assert!(looks("jane@example.com"));
        assert!(!looks("u_812"));
        assert!(!looks("jane@host"));
        assert!(!looks("@example.com"));
    }

    #[test]
    fn request_ids_sort_by_time() {
        let early = RequestId::new(1, u128::MAX);
        let late = RequestId::new(2, 0);

        assert!(early < late);
        assert_eq!(early.as_str().len(), 26);
        assert_eq!(RequestId::new(0, 0).as_str(), "00000000000000000000000000");
    }

    #[test]
    fn session_ids_read_back_from_hex() {
        let id = SessionId::new([0xab; 16]);

        assert_eq!(SessionId::from_hex(&id.to_hex()), Some(id));
        assert_eq!(SessionId::from_hex("abc"), None);
        assert_eq!(SessionId::from_hex(&format!("+{}", "1".repeat(31))), None);
    }
}
