//! The octets of field names and values (RFC 9110, section 5.6).

/// Says whether a byte is a `tchar`, of which tokens consist: methods, field names, options, chunk extensions
/// (RFC 9110, section 5.6.2).
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Removes spaces and tabs from both ends (`OWS`, RFC 9110, section 5.6.3).
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_no_separator_control_or_octet_beyond_ascii() {
        let allowed: Vec<u8> = (0..=u8::MAX).filter(|&byte| is_token(byte)).collect();

        let mut listed =
            b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".to_vec();
        listed.sort_unstable();
        assert_eq!(allowed, listed);
    }

    #[test]
    fn only_spaces_and_tabs_at_the_ends_are_trimmed() {
        assert_eq!(trim(b" \t a\tb \t"), b"a\tb");
        assert_eq!(trim(b"\x0b a\r"), b"\x0b a\r");
        assert_eq!(trim(b" \t"), b"");
    }
}
