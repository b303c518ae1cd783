//! JSON Web Tokens, signed and in compact form (RFC 7515, RFC 7519), read as RFC 8725 asks.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Algorithm, Authentic, ForeignError, Json, SigningKey, VerifyKey};
use crate::model::UnixTime;

/// What reads the tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The keys. A token's `kid` picks those of its name, a token without one those of its algorithm.
    pub keys: Vec<SigningKey<VerifyKey>>,
    /// What `iss` must say, if anything.
    pub issuer: Option<Box<str>>,
    /// What `aud` must name one of. Empty: a token that names any is for somebody else.
    pub audience: Box<[Box<str>]>,
    /// Whether a token without `exp` is read; then something else must end it.
    pub without_exp: bool,
}

/// What `typ` may say, without `application/` before it: a token for signing out, or a proof of possession, is no session (RFC 8725, section 3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Most bytes of a header.
const MAX_HEADER_BYTES: usize = 2048;

/// The header, as far as it counts.
struct Header {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
}

impl Jwt {
    /// Proves a token: one of the configured keys made it, its algorithm is that key's, `iss` and `aud` are as they must be.
    ///
    /// The times are handed out and not judged. `jku`, `x5u`, `jwk` and `x5c` are not looked at (RFC 8725, section 3.10).
    pub(super) fn open<'a>(&'a self, token: &'a str) -> Result<Authentic<'a>, ForeignError> {
        const FORM: ForeignError = ForeignError::Syntax("three parts of canonical base64url");
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(FORM)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?;
        let header = Header::parse(header)?;
        let mut fitting = self.keys.iter().filter(|key| header.fits(key)).peekable();
        if fitting.peek().is_none() {
            return Err(ForeignError::Key);
        }
        let key = fitting.find(|key| key.key.verify(signed.as_bytes(), &signature)).ok_or(ForeignError::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| FORM)?;
        let payload = Json::parse(&payload).filter(|json| matches!(json, Json::Map(_)));
        let payload = payload.ok_or(ForeignError::Payload("is not a JSON object that names every member once"))?;
        self.judge(&payload)?;
        let [made, begins, ends] = [time(&payload, "iat")?, time(&payload, "nbf")?, time(&payload, "exp")?];
        if ends.is_none() && !self.without_exp {
            return Err(ForeignError::Claim { claim: "`exp`", expected: "there; without one, `max_age` must be configured" });
        }
        Ok(Authentic { key: &key.id, tenants: key.tenants.as_deref(), payload, signed: Cow::Borrowed(signed), made, begins, ends })
    }

    fn judge(&self, payload: &Json) -> Result<(), ForeignError> {
        if let Some(issuer) = &self.issuer
            && payload.member("iss").and_then(Json::text) != Some(issuer)
        {
            return Err(ForeignError::Claim { claim: "`iss`", expected: "the configured issuer" });
        }
        let ours = |name: &Json| name.text().is_some_and(|name| self.audience.iter().any(|audience| **audience == *name));
        let meant = match payload.member("aud") {
            None => self.audience.is_empty(),
            Some(Json::List(names)) => names.iter().any(ours),
            // RFC 7519, section 4.1.3: who is not named must refuse.
            Some(name) => ours(name),
        };
        if !meant {
            return Err(ForeignError::Claim { claim: "`aud`", expected: "one of the configured audiences" });
        }
        Ok(())
    }
}

impl Header {
    fn parse(text: &str) -> Result<Self, ForeignError> {
        let bytes = Some(text).filter(|text| text.len() <= MAX_HEADER_BYTES).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let json = bytes.and_then(|bytes| Json::parse(&bytes)).filter(|json| matches!(json, Json::Map(_)));
        let json = json.ok_or(ForeignError::Header("is not a JSON object that names every member once"))?;
        // An extension that must be understood, and none is (RFC 7515, section 4.1.11).
        if json.member("crit").is_some() {
            return Err(ForeignError::Header("has `crit`"));
        }
        if json.member("enc").is_some() || json.member("zip").is_some() {
            return Err(ForeignError::Header("is one of encryption"));
        }
        if let Some(typ) = json.member("typ") {
            let typ = typ.text().unwrap_or_default().to_ascii_lowercase();
            if !TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ)) {
                return Err(ForeignError::Header("has a `typ` that is no session's"));
            }
        }
        let algorithm = json.member("alg").and_then(Json::text).and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(ForeignError::Header("has an `alg` that is not read"))?;
        let kid = match json.member("kid") {
            None => None,
            Some(kid) => Some(kid.text().ok_or(ForeignError::Header("has a `kid` that is no text"))?.into()),
        };
        Ok(Self { algorithm, kid })
    }

    /// Says whether a key is meant. The key's algorithm must be the token's word for it: the token chooses none.
    fn fits(&self, key: &SigningKey<VerifyKey>) -> bool {
        self.kid.as_ref().is_none_or(|kid| *kid == key.id) && key.key.algorithm() == self.algorithm
    }
}

fn time(payload: &Json, claim: &'static str) -> Result<Option<UnixTime>, ForeignError> {
    let said = match claim {
        "iat" => "`iat`",
        "nbf" => "`nbf`",
        _ => "`exp`",
    };
    match payload.member(claim) {
        None => Ok(None),
        Some(json) => json.time().map(Some).ok_or(ForeignError::Claim { claim: said, expected: "a number of seconds since 1970" }),
    }
}

/// Says whether a text has the form of such a token: three parts of base64url, the first of which begins a JSON object. What has not is
/// some other token of the app.
pub fn is_compact(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.starts_with("ey")
        && text.bytes().all(|byte| byte == b'.' || base64url(byte))
        && memchr::memchr_iter(b'.', text.as_bytes()).count() == 2
}
