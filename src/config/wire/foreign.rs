//! Sessions of apps that keep their own login.

use std::net::IpAddr;

use http::Uri;
use serde_json::{Map, Value as Json, json};

use crate::{
    config::{
        collection::{Named, NonEmpty, Required},
        parse::{FilePath, Label, Scalar, ScalarError},
        reader::{Reader, SecretText, Spanned, Wire},
        shape::{wire, words},
        tree::{Node, Value},
        unit::Wait,
    },
    model::TenantName,
    session::foreign::{Algorithm, Derivation, Digest, Style},
};

words! {
    Digest, "digest" { "sha1" => Digest::Sha1, "sha256" => Digest::Sha256, "sha512" => Digest::Sha512, }
    Derivation, "key derivation" { "hmac" => Derivation::Hmac, "django-concat" => Derivation::DjangoConcat, }
    Style, "kind of cookie" { "cookie-session" => Style::CookieSession, "signed-json" => Style::SignedJson, }
}

impl Scalar for Algorithm {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        Self::named(text).ok_or_else(|| {
            let known = Self::ALL.map(|(name, _)| format!("`{name}`")).join(", ");
            ScalarError::new(format!("not an algorithm: `{text}`")).hint(format!("write one of {known}"))
        })
    }

    fn schema() -> Json {
        json!({"enum": Self::ALL.map(|(name, _)| name)})
    }
}

/// The name of an app's cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct AppCookie(pub(in crate::config) Box<str>);

impl Scalar for AppCookie {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        // A token (RFC 9110, section 5.6.2) that is no attribute of RFC 2965.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('$') {
            return Ok(Self(text.into()));
        }
        Err(ScalarError::new(format!("not a cookie name: `{text}`"))
            .hint("a cookie's name has 1 to 64 letters, digits, `-`, `_` or `.`"))
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1, "maxLength": 64})
    }
}

/// The URL of a JSON Web Key Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct KeySetUrl(pub(in crate::config) Box<str>);

impl Scalar for KeySetUrl {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        const HINT: &str =
            "it is what the issuer calls `jwks_uri`: `https://login.example.com/.well-known/jwks.json`";
        let uri =
            text.parse::<Uri>().map_err(|_| ScalarError::new(format!("not a URL: `{text}`")).hint(HINT))?;
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(ScalarError::new(format!("not an https URL: `{text}`")).hint(HINT));
        };
        if authority.as_str().contains('@') {
            return Err(ScalarError::new("a user stands in the URL of keys")
                .hint("public keys need no password; take it out"));
        }
        if text.contains('#') {
            return Err(ScalarError::new(format!("not an https URL: `{text}`")).hint(HINT));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_here = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self(text.into())),
            Some("http") if is_here => Ok(Self(text.into())),
            Some("http") => Err(ScalarError::new(format!("`{text}` is not https")).hint(
                "whoever changes the keys on their way is every user; use https, or an address of this machine: `http://127.0.0.1:8080/…`",
            )),
            _ => Err(ScalarError::new(format!("not an https URL: `{text}`")).hint(HINT)),
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^https?://[^@#]+$"})
    }
}

/// Where a claim stands: a name, or the names on the way to it. Names may hold dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct ClaimWire(pub(in crate::config) Vec<Spanned<String>>);

/// How deep a claim may stand.
const MAX_DEPTH: usize = 8;

impl Wire for ClaimWire {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let names = match &node.value {
            Value::List(_) => NonEmpty::<Spanned<String>>::read(node, reader)?.0,
            Value::Scalar { .. } | Value::Map(_) => vec![Spanned::<String>::read(node, reader)?],
        };
        if names.len() > MAX_DEPTH || names.iter().any(|name| name.value.is_empty()) {
            reader
                .error(node.span, "not the way to a claim")
                .hint("write its name, or up to 8 names from the outside in: `[realm_access, roles]`");
            return None;
        }
        Some(Self(names))
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        let name = json!({"type": "string", "minLength": 1});
        json!({"anyOf": [name, {"type": "array", "minItems": 1, "maxItems": MAX_DEPTH, "items": name}]})
    }
}

wire! {
    /// JSON Web Tokens of an app: signed, with a key that is configured here.
    JwtWire "jwt" {
        /// The cookie that holds the token. Default: none.
        cookie: Option<Spanned<AppCookie>>,
        /// Whether it is read from `Authorization: Bearer`. Default: true where no `cookie` is named.
        bearer: Option<Spanned<bool>>,
        /// What `iss` must say. Default: anything.
        issuer: Option<Spanned<String>>,
        /// What `aud` must name one of. Default: tokens that name anybody are refused.
        audience: Option<NonEmpty<Spanned<String>>>,
        /// The keys, at most 16.
        keys: Required<NonEmpty<JwtKeyWire>>,
        /// Which claims say what; the user is `sub` where nobody says otherwise.
        claims: Option<ClaimsWire>,
        /// How long after `iat` a token holds. Default: until its `exp`, which must be there then.
        max_age: Option<Spanned<Wait>>,
    }

    /// A key of JSON Web Tokens: a shared `secret`, a public `key`, or the keys that an issuer publishes
    /// (`jwks`).
    JwtKeyWire "jwt_key" {
        /// What tokens call it: their `kid`. Of `jwks` its name in logs.
        id: Spanned<Label>,
        /// The one algorithm that it is used with; not with `jwks`.
        algorithm: Option<Required<Spanned<Algorithm>>>,
        /// The shared secret of HS256, HS384 and HS512, as the app has it: `${file:jwt.key}`. Text, or a JSON
        /// Web Key.
        secret: Option<SecretText>,
        /// The file of the public key of every other algorithm: PEM, a certificate, or a JSON Web Key.
        key: Option<Spanned<FilePath>>,
        /// Where an issuer publishes its keys.
        jwks: Option<Required<JwksWire>>,
        /// The only tenants whose sessions it may make. Default: every one.
        tenants: Option<NonEmpty<Spanned<TenantName>>>,
    }

    /// Where an issuer publishes its keys, as a JSON Web Key Set (RFC 7517). It is fetched at the start,
    /// every `refresh`, and at most once a minute when a token names a key that is not there.
    JwksWire "jwks" {
        /// The URL: https, or http to an address of loopback. No redirect is followed.
        url: Spanned<KeySetUrl>,
        /// The CAs that may vouch for it, PEM. Default: the system's.
        ca: Option<Spanned<FilePath>>,
        /// What its keys may be used with; one of RSA that does not say is used with the first of RSA.
        /// Default: RS256, PS256, ES256, ES384, EdDSA.
        algorithms: Option<NonEmpty<Spanned<Algorithm>>>,
        /// How often it is asked: 1m to 1d. Default: 10m.
        refresh: Option<Spanned<Wait>>,
        /// How long its keys count after they were last had. Default: 1d.
        max_age: Option<Spanned<Wait>>,
    }

    /// Cookies that Express signs.
    ExpressWire "express" {
        /// The cookie.
        cookie: Spanned<AppCookie>,
        /// `cookie-session` (default), with its signature in the cookie `….sig`, or `signed-json`, of
        /// cookie-parser.
        style: Option<Spanned<Style>>,
        /// Members that a session has, with these texts: `{kind: session}`. What else the app signs is none
        /// then. Default: none is asked for.
        require: Named<Label, Spanned<String>>,
        /// The hash of `cookie-session`: `sha1` (default) or `sha256`.
        digest: Option<Spanned<Digest>>,
        /// The keys, at most 16.
        keys: Required<NonEmpty<AppKeyWire>>,
        /// Which claims say what; `user` and `auth_time` must be named.
        claims: Required<ClaimsWire>,
        /// How long after the sign-in a session holds. Default: 12h.
        max_age: Option<Spanned<Wait>>,
    }

    /// Sessions that itsdangerous signs, as Flask does.
    ItsdangerousWire "itsdangerous" {
        /// The cookie. Default: `session`.
        cookie: Option<Spanned<AppCookie>>,
        /// The salt. Default: `cookie-session`.
        salt: Option<Spanned<String>>,
        /// The hash: `sha1` (default), `sha256` or `sha512`.
        digest: Option<Spanned<Digest>>,
        /// How the key is derived: `hmac` (default), or `django-concat`.
        key_derivation: Option<Spanned<Derivation>>,
        /// The keys, at most 16.
        keys: Required<NonEmpty<AppKeyWire>>,
        /// Which claims say what; the user is `_user_id` where nobody says otherwise.
        claims: Option<ClaimsWire>,
        /// How long after it was signed a session holds. Default: 31d.
        max_age: Option<Spanned<Wait>>,
    }

    /// Sessions that Django signs: the `signed_cookies` backend.
    DjangoWire "django" {
        /// The cookie. Default: `sessionid`.
        cookie: Option<Spanned<AppCookie>>,
        /// The salt. Default: `django.contrib.sessions.backends.signed_cookies`.
        salt: Option<Spanned<String>>,
        /// The hash: `sha256` (default), or `sha1` before Django 3.1.
        digest: Option<Spanned<Digest>>,
        /// The keys, at most 16.
        keys: Required<NonEmpty<AppKeyWire>>,
        /// Which claims say what; the user is `_auth_user_id` where nobody says otherwise.
        claims: Option<ClaimsWire>,
        /// How long after it was signed a session holds. Default: 14d.
        max_age: Option<Spanned<Wait>>,
    }

    /// A secret that an app signs its sessions with.
    AppKeyWire "app_key" {
        /// Its name in logs.
        id: Spanned<Label>,
        /// The secret, as the app has it: `${file:flask.key}`. Text, or a JSON Web Key.
        secret: SecretText,
        /// The only tenants whose sessions it may make. Default: every one.
        tenants: Option<NonEmpty<Spanned<TenantName>>>,
    }

    /// Which claims say what: a name, or the names on the way to it, `[realm_access, roles]`.
    ClaimsWire "session_claims" {
        /// Who signed in: a text, or a whole number.
        user: Option<ClaimWire>,
        /// What they may do: a list of texts, or one text with blanks between them. Default: nothing.
        roles: Option<ClaimWire>,
        /// Whose user it is. Default: the tenant of the host; then each key speaks for one tenant.
        tenant: Option<ClaimWire>,
        /// When they signed in, in seconds since 1970. Default: when the session was signed.
        auth_time: Option<ClaimWire>,
        /// What stays the same while the sign-in lasts. Default: what was signed.
        session: Option<ClaimWire>,
    }
}
