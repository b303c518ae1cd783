//! `URLSafeTimedSerializer` of itsdangerous, as Flask keeps its sessions.
//!
//! `payload.time.signature`, each base64url without padding: the payload is JSON, or a dot and then packed
//! JSON; the time is the seconds since 1970 as a big-endian number without leading zeros; the signature is
//! over everything before the last dot.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Authentic, Digest, ForeignError, Json, MacKey, SigningKey, inflate::inflate};
use crate::model::UnixTime;

/// How the key that signs is made of secret and salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Derivation {
    /// HMAC of the salt under the secret: Flask.
    Hmac,
    /// The hash of salt, `signer` and secret: what itsdangerous does where nobody says otherwise.
    DjangoConcat,
}

/// What reads the sessions of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Itsdangerous {
    /// The keys, already derived; each is tried.
    pub keys: Vec<SigningKey<MacKey>>,
}

impl Itsdangerous {
    /// Derives the key that signs.
    pub fn key(secret: &[u8], salt: &[u8], digest: Digest, derivation: Derivation) -> MacKey {
        match derivation {
            Derivation::Hmac => MacKey::derived(digest, secret, salt),
            Derivation::DjangoConcat => MacKey::concat(digest, &[salt, b"signer", secret]),
        }
    }

    pub(super) fn open<'a>(&'a self, text: &'a str) -> Result<Authentic<'a>, ForeignError> {
        const FORM: ForeignError = ForeignError::Syntax("payload, time and signature in canonical base64url");
        let (signed, signature) = text.rsplit_once('.').ok_or(FORM)?;
        let (payload, made) = signed.rsplit_once('.').ok_or(FORM)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.key.verify(signed.as_bytes(), &signature))
            .ok_or(ForeignError::Signature)?;
        let made = time(made).ok_or(FORM)?;
        let payload = payload_json(payload).ok_or(ForeignError::Payload(
            "is not JSON that names every member once, or unpacks to over 16 KiB",
        ))?;
        Ok(Authentic {
            key: &key.id,
            tenants: key.tenants.as_deref(),
            payload: untagged(payload),
            signed: Cow::Borrowed(signed),
            made: Some(made),
            begins: None,
            ends: None,
        })
    }
}

/// Reads base64url JSON, packed behind a dot. Django writes it so, too.
pub(super) fn payload_json(text: &str) -> Option<Json> {
    match text.strip_prefix('.') {
        Some(packed) => Json::parse(&inflate(&URL_SAFE_NO_PAD.decode(packed).ok()?)?),
        None => Json::parse(&URL_SAFE_NO_PAD.decode(text).ok()?),
    }
}

fn time(text: &str) -> Option<UnixTime> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| (1..=8).contains(&bytes.len()))?;
    Some(UnixTime::from_secs(bytes.iter().fold(0, |secs, byte| secs << 8 | u64::from(*byte))))
}

/// Takes the marks off that Flask puts around what JSON has no word for: a map with one member whose name
/// begins with a blank.
///
/// A tuple becomes a list, a UUID its 32 hexadecimal digits, a date its seconds, marked-up text and bytes a
/// text.
fn untagged(json: Json) -> Json {
    match json {
        Json::Map(mut members) => {
            if let ([(tag, _)], true) = (members.as_slice(), members.len() == 1)
                && tag.starts_with(' ')
                && let Some((tag, value)) = members.pop()
            {
                return match (&*tag, untagged(value)) {
                    (" d", Json::Text(date)) => date_secs(&date).map_or(Json::Null, Json::Whole),
                    (_, value) => value,
                };
            }
            Json::Map(members.into_iter().map(|(name, value)| (name, untagged(value))).collect())
        }
        Json::List(items) => Json::List(items.into_iter().map(untagged).collect()),
        Json::Null | Json::Bool(_) | Json::Whole(_) | Json::Number(_) | Json::Text(_) => json,
    }
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn date_secs(date: &str) -> Option<u64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flask_s_marks_are_taken_off() {
        let json = |text: &str| untagged(Json::parse(text.as_bytes()).unwrap());

        assert_eq!(json(r#"{"r":{" t":["a","b"]}}"#), json(r#"{"r":["a","b"]}"#));
        assert_eq!(
            json(r#"{"u":{" u":"00112233445566778899aabbccddeeff"}}"#)
                .member("u")
                .and_then(Json::text)
                .map(str::len),
            Some(32)
        );
        assert_eq!(
            json(r#"{"t":{" d":"Sun, 06 Nov 1994 08:49:37 GMT"}}"#).member("t"),
            Some(&Json::Whole(784_111_777))
        );
        assert_eq!(json(r#"{"t":{" d":"yesterday"}}"#).member("t"), Some(&Json::Null));
        assert_eq!(json(r#"{"a":{"b":1}}"#).member("a").and_then(|a| a.member("b")), Some(&Json::Whole(1)));
        assert_eq!(json("{}"), Json::Map(vec![]));
    }

    #[test]
    fn times_are_numbers_of_up_to_eight_bytes() {
        assert_eq!(time("ZVPxAA"), Some(UnixTime::from_secs(0x6553_f100)));
        assert_eq!(time(""), None);
        assert_eq!(time("AAAAAAAAAAAA"), None);
        assert_eq!(time("ZVPxAB"), None, "unused bits");
    }
}
