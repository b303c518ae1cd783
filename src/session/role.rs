//! What a role may be called.

/// The most roles a session has.
pub(super) const MAX_ROLES: usize = 32;

/// The longest role, in bytes.
pub(super) const MAX_ROLE_BYTES: usize = 64;

/// Says whether the text is a role: `[A-Za-z0-9._:-]{1,64}`.
pub(super) fn is_role(text: &[u8]) -> bool {
    (1..=MAX_ROLE_BYTES).contains(&text.len()) && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
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
}
