//! JSON Web Tokens, signed and in compact form (RFC 7515, RFC 7519), read as RFC 8725 asks.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Algorithm, Authentic, FetchedKeys, ForeignError, Json, RemoteSet, SigningKey, VerifyKey};
use crate::model::{TenantName, Tick, UnixTime};

/// What reads the tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The keys. A token's `kid` picks those of its name, a token without one those of its algorithm.
    pub keys: Vec<SigningKey<VerifyKey>>,
    /// Sets of keys that are fetched. A token that means one of those names it: `kid`.
    pub sets: Vec<RemoteSet>,
    /// What `iss` must say, if anything.
    pub issuer: Option<Box<str>>,
    /// What `aud` must name one of. Empty: a token that names any is for somebody else.
    pub audience: Box<[Box<str>]>,
    /// Whether a token without `exp` is read; then something else must end it.
    pub without_exp: bool,
}

/// What `typ` may say, without `application/` before it: a token for signing out, or a proof of possession,
/// is no session (RFC 8725, section 3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Most bytes of a header.
const MAX_HEADER_BYTES: usize = 2048;

/// The header, as far as it counts.
struct Header {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
}

/// A key that a token may mean.
struct Fitting<'a> {
    id: &'a str,
    tenants: Option<&'a [TenantName]>,
    key: &'a VerifyKey,
}

impl Jwt {
    /// Proves a token: one of the configured keys made it, its algorithm is that key's, `iss` and `aud` are
    /// as they must be.
    ///
    /// The times are handed out and not judged. `jku`, `x5u`, `jwk` and `x5c` are not looked at (RFC 8725,
    /// section 3.10).
    pub(super) fn open<'a>(
        &'a self,
        token: &'a str,
        fetched: &'a FetchedKeys,
        now: Tick,
    ) -> Result<Authentic<'a>, ForeignError> {
        const FORM: ForeignError = ForeignError::Syntax("three parts of canonical base64url");
        let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
        let (header, payload) =
            signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(FORM)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| FORM)?;
        let header = Header::parse(header)?;
        let fitting = self.fitting(&header, fetched, now);
        if fitting.is_empty() {
            return Err(self.unknown(&header, fetched, now));
        }
        let found = fitting.into_iter().find(|key| key.key.verify(signed.as_bytes(), &signature));
        let Fitting { id, tenants, .. } = found.ok_or(ForeignError::Signature)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| FORM)?;
        let payload = Json::parse(&payload).filter(|json| matches!(json, Json::Map(_)));
        let payload =
            payload.ok_or(ForeignError::Payload("is not a JSON object that names every member once"))?;
        self.judge(&payload)?;
        let [made, begins, ends] = [time(&payload, "iat")?, time(&payload, "nbf")?, time(&payload, "exp")?];
        if ends.is_none() && !self.without_exp {
            return Err(ForeignError::Claim {
                claim: "`exp`",
                expected: "there; without one, `max_age` must be configured",
            });
        }
        Ok(Authentic { key: id, tenants, payload, signed: Cow::Borrowed(signed), made, begins, ends })
    }

    /// Finds the keys that a token may mean: its algorithm must be theirs.
    fn fitting<'a>(&'a self, header: &Header, fetched: &'a FetchedKeys, now: Tick) -> Vec<Fitting<'a>> {
        let own = self.keys.iter().filter(|key| header.kid.as_ref().is_none_or(|kid| *kid == key.id));
        let own = own.map(|key| Fitting { id: &key.id, tenants: key.tenants.as_deref(), key: &key.key });
        let kid = header.kid.as_deref();
        let of_set = |set: &'a RemoteSet| {
            let (id, key) = fetched.find(&set.source, kid?, now)?;
            Some(Fitting { id, tenants: set.tenants.as_deref(), key })
        };
        // The token chooses no algorithm: it has to be the one of the key.
        own.chain(self.sets.iter().filter_map(of_set))
            .filter(|key| key.key.algorithm() == header.algorithm)
            .collect()
    }

    /// Says why no key fits. A name that nobody has is told from a key that is used otherwise: only the first
    /// may be a new key.
    fn unknown(&self, header: &Header, fetched: &FetchedKeys, now: Tick) -> ForeignError {
        let Some(kid) = header.kid.as_deref().filter(|_| !self.sets.is_empty()) else {
            return ForeignError::Key;
        };
        let known = self.keys.iter().any(|key| *key.id == *kid)
            || self.sets.iter().any(|set| fetched.find(&set.source, kid, now).is_some());
        if known {
            return ForeignError::Key;
        }
        let missing = self.sets.iter().find(|set| fetched.set(&set.source, now).is_none());
        ForeignError::UnknownKey { missing: missing.map(|set| set.id.clone()) }
    }

    fn judge(&self, payload: &Json) -> Result<(), ForeignError> {
        if let Some(issuer) = &self.issuer
            && payload.member("iss").and_then(Json::text) != Some(issuer)
        {
            return Err(ForeignError::Claim { claim: "`iss`", expected: "the configured issuer" });
        }
        let ours = |name: &Json| {
            name.text().is_some_and(|name| self.audience.iter().any(|audience| **audience == *name))
        };
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
        let bytes = Some(text)
            .filter(|text| text.len() <= MAX_HEADER_BYTES)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
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
}

fn time(payload: &Json, claim: &'static str) -> Result<Option<UnixTime>, ForeignError> {
    let said = match claim {
        "iat" => "`iat`",
        "nbf" => "`nbf`",
        _ => "`exp`",
    };
    match payload.member(claim) {
        None => Ok(None),
        Some(json) => json
            .time()
            .map(Some)
            .ok_or(ForeignError::Claim { claim: said, expected: "a number of seconds since 1970" }),
    }
}

/// Says whether a text has the form of such a token: three parts of base64url, the first of which begins a
/// JSON object. What has not is some other token of the app.
pub fn is_compact(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.starts_with("ey")
        && text.bytes().all(|byte| byte == b'.' || base64url(byte))
        && memchr::memchr_iter(b'.', text.as_bytes()).count() == 2
}
