//! Cookies that Express signs: cookie-session, and signed JSON cookies of cookie-parser.
//!
//! * *cookie-session*: the cookie holds base64 of JSON; a second one, with `.sig` behind its name, holds the
//!   keyed hash of `name=value` in base64url without padding (keygrip).
//! * *signed JSON*: `res.cookie(name, {…}, {signed: true})`, percent-encoded: `s:j:{…}.` and the HMAC-SHA-256
//!   of `j:{…}` in base64 without padding (cookie-signature).
//!
//! What `express-session` keeps in its cookie is a number alone, signed; whose it is stands in the app's own
//! store, so no gateway can say.

use std::borrow::Cow;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::{Authentic, ForeignError, Json, MacKey, SigningKey};

/// Which cookies these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    /// cookie-session: two cookies.
    CookieSession,
    /// cookie-parser: one.
    SignedJson,
}

/// What reads the sessions of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Express {
    /// The cookie's name, which cookie-session signs too.
    pub cookie: Box<str>,
    /// Which cookies these are.
    pub style: Style,
    /// The keys; each is tried.
    pub keys: Vec<SigningKey<MacKey>>,
    /// Members that a session has, with these texts. The signature of a signed JSON cookie does not cover its
    /// name: whatever else the app signs with its secret, a client can send under the name of the session,
    /// and this tells them apart.
    pub required: Box<[(Box<str>, Box<str>)]>,
}

impl Express {
    /// Returns the name of the cookie that holds the signature, where it stands in one of its own.
    pub fn signature_cookie(&self) -> Option<String> {
        match self.style {
            Style::CookieSession => Some(format!("{}.sig", self.cookie)),
            Style::SignedJson => None,
        }
    }

    pub(super) fn open<'a>(
        &'a self,
        text: &'a str,
        signature: Option<&str>,
    ) -> Result<Authentic<'a>, ForeignError> {
        const JSON: ForeignError = ForeignError::Payload("is not a JSON object that names every member once");
        let (key, signed, payload) = match self.style {
            Style::CookieSession => {
                const FORM: ForeignError =
                    ForeignError::Syntax("base64, with its signature in the cookie `….sig`");
                let tag =
                    signature.and_then(|signature| URL_SAFE_NO_PAD.decode(signature).ok()).ok_or(FORM)?;
                let signed = format!("{}={text}", self.cookie);
                let key = self.signer(signed.as_bytes(), &tag)?;
                (key, signed, Json::parse(&STANDARD.decode(text).map_err(|_| FORM)?))
            }
            Style::SignedJson => {
                const FORM: ForeignError =
                    ForeignError::Syntax("`s:j:`, JSON, a dot and base64, percent-encoded");
                let decoded = percent_decoded(text).ok_or(FORM)?;
                let (signed, tag) =
                    decoded.strip_prefix("s:").and_then(|rest| rest.rsplit_once('.')).ok_or(FORM)?;
                let tag = STANDARD_NO_PAD.decode(tag).map_err(|_| FORM)?;
                let key = self.signer(signed.as_bytes(), &tag)?;
                // A signed text without `j:` is no JSON to Express either.
                (
                    key,
                    signed.to_owned(),
                    signed.strip_prefix("j:").and_then(|json| Json::parse(json.as_bytes())),
                )
            }
        };
        let payload = payload.filter(|json| matches!(json, Json::Map(_))).ok_or(JSON)?;
        if self.required.iter().any(|(name, text)| payload.member(name).and_then(Json::text) != Some(&**text))
        {
            return Err(ForeignError::Payload("has not what `require` asks for"));
        }
        Ok(Authentic {
            key: &key.id,
            tenants: key.tenants.as_deref(),
            payload,
            signed: Cow::Owned(signed),
            made: None,
            begins: None,
            ends: None,
        })
    }

    fn signer(&self, signed: &[u8], tag: &[u8]) -> Result<&SigningKey<MacKey>, ForeignError> {
        self.keys.iter().find(|key| key.key.verify(signed, tag)).ok_or(ForeignError::Signature)
    }
}

/// Takes the percent-encoding off, once, as `decodeURIComponent` does; `None` where an escape is malformed or
/// the text is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for at in memchr::memchr_iter(b'%', bytes) {
        let digits = bytes.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
    }
    percent_encoding::percent_decode(bytes).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_whole() {
        assert_eq!(percent_decoded("s%3Aj%3A%7B%7D").as_deref(), Some("s:j:{}"));
        assert_eq!(percent_decoded("%25").as_deref(), Some("%"));
        assert_eq!(
            (percent_decoded("%"), percent_decoded("%4"), percent_decoded("%4g"), percent_decoded("%ff")),
            (None, None, None, None)
        );
    }
}
