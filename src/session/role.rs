//! The roles of a session.

use std::fmt;

use compact_str::CompactString;

/// What a session's user may do: at most 32 roles, each `[A-Za-z0-9._:-]{1,64}`, in the order they were
/// given.
///
/// They stand in one text with blanks between them, which no role has: one allocation for all of them, none
/// up to 24 bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Roles(CompactString);

/// Why some texts are not the roles of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most 32 roles, each of 1 to 64 letters, digits, `.`, `_`, `:` and `-`")]
pub struct RolesError;

impl Roles {
    /// The most roles a session has.
    pub const MAX: usize = 32;

    /// The longest role, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Takes the roles; refuses all of them where one is none, or where they are too many.
    pub fn try_new<'a>(roles: impl IntoIterator<Item = &'a str>) -> Result<Self, RolesError> {
        Self::with_capacity(0, roles.into_iter().map(Some))
    }

    /// Takes texts that may be missing, about so many bytes of them.
    pub(super) fn with_capacity<'a>(
        bytes: usize,
        roles: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Result<Self, RolesError> {
        let mut text = CompactString::with_capacity(bytes);
        for (number, role) in roles.into_iter().enumerate() {
            let role =
                role.filter(|role| number < Self::MAX && is_role(role.as_bytes())).ok_or(RolesError)?;
            if number > 0 {
                text.push(BETWEEN);
            }
            text.push_str(role);
        }
        Ok(Self(text))
    }

    /// Returns them one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        // The only text without a role is the empty one.
        self.0.split(BETWEEN).filter(|role| !role.is_empty())
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const BETWEEN: char = ' ';

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Says whether the text is a role.
fn is_role(text: &[u8]) -> bool {
    (1..=Roles::MAX_BYTES).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_short_and_plain() {
        assert!(is_role(b"admin"));
        assert!(is_role(b"team:a.b_c-9"));
        assert!(is_role(&[b'r'; 64]));
        assert!(!is_role(&[b'r'; 65]));
        assert!(!is_role(b""));
        assert!(!is_role(b"a,b"));
        assert!(!is_role(b"a b"));
        assert!(!is_role("é".as_bytes()));
    }

    #[test]
    fn roles_keep_their_order_and_are_all_or_none() {
        let roles = Roles::try_new(["b", "a", "b"]).unwrap();

        assert_eq!(roles.iter().collect::<Vec<_>>(), ["b", "a", "b"]);
        assert_eq!((roles.len(), roles.is_empty()), (3, false));
        assert_eq!(Roles::try_new([]), Ok(Roles::default()));
        assert_eq!((Roles::default().len(), Roles::default().is_empty()), (0, true));
        for bad in [&["a", ""][..], &["", "a"], &[""], &["a b"], &["a", "b,c"]] {
            assert_eq!(Roles::try_new(bad.iter().copied()), Err(RolesError), "{bad:?}");
        }
        assert!(Roles::try_new(["r"; 32]).is_ok());
        assert_eq!(Roles::try_new(["r"; 33]), Err(RolesError));
    }
}
