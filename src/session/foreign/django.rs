//! `django.core.signing`, as the `signed_cookies` backend keeps sessions. JSON only: a payload that Python
//! pickled is refused.
//!
//! `payload:time:signature`: the payload is base64url of JSON, or a dot and then of packed JSON; the time is
//! the seconds since 1970 in base 62; the signature is over everything before the last colon.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Authentic, Digest, ForeignError, MacKey, SigningKey, itsdangerous::payload_json};
use crate::model::UnixTime;

/// What reads the sessions of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Django {
    /// The keys, already derived; each is tried.
    pub keys: Vec<SigningKey<MacKey>>,
}

impl Django {
    /// Derives the key that signs: `salted_hmac` with the salt of a `Signer`.
    pub fn key(secret: &[u8], salt: &[u8], digest: Digest) -> MacKey {
        MacKey::concat(digest, &[salt, b"signer", secret])
    }

    pub(super) fn open<'a>(&'a self, text: &'a str) -> Result<Authentic<'a>, ForeignError> {
        const FORM: ForeignError = ForeignError::Syntax("payload, time and signature between colons");
        let (signed, signature) = text.rsplit_once(':').ok_or(FORM)?;
        let (payload, made) = signed.rsplit_once(':').ok_or(FORM)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.key.verify(signed.as_bytes(), &signature))
            .ok_or(ForeignError::Signature)?;
        let made = base62(made).ok_or(FORM)?;
        let payload = payload_json(payload).ok_or(ForeignError::Payload(
            "is not JSON that names every member once, or unpacks to over 16 KiB",
        ))?;
        Ok(Authentic {
            key: &key.id,
            tenants: key.tenants.as_deref(),
            payload,
            signed: Cow::Borrowed(signed),
            made: Some(UnixTime::from_secs(made)),
            begins: None,
            ends: None,
        })
    }
}

/// Reads digits, upper-case and then lower-case letters.
fn base62(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        number.checked_mul(62)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_62_is_django_s() {
        assert_eq!(base62("0"), Some(0));
        assert_eq!(base62("1xocE4"), Some(1_800_000_000));
        assert_eq!((base62("z"), base62("10"), base62("A")), (Some(61), Some(62), Some(10)));
        assert_eq!(
            (base62(""), base62("-1"), base62("1 "), base62("zzzzzzzzzzzz")),
            (None, None, None, None)
        );
    }
}
