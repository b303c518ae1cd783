//! Session keys, the cookie, the clocks.

use serde_json::{Value, json};

use super::{DjangoWire, ExpressWire, ItsdangerousWire, JwtWire};
use crate::{
    config::{
        collection::{NonEmpty, OneOrMore, Required},
        parse::{FilePath, Scalar, ScalarError},
        reader::{SecretText, Spanned},
        shape::{wire, words},
        unit::Wait,
    },
    policy::{Binding, OnStale},
    session::{LimitAction, foreign::Format},
};

/// Where revocations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum RevocationStoreWord {
    /// A file under `state_dir`.
    Journal,
    /// That file, and a Redis that tells the other nodes.
    Redis,
}

/// Whose tokens are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) enum TokenFormat {
    /// Our own.
    Octroi,
    /// An app's.
    Foreign(Format),
}

words! {
    Binding, "binding" {
        "client_prefix" => Binding::ClientPrefix, "user_agent" => Binding::UserAgent,
        "client_certificate" => Binding::ClientCertificate,
    }
    RevocationStoreWord, "revocation store" {
        "journal" => RevocationStoreWord::Journal,
        "redis" => RevocationStoreWord::Redis,
    }
    OnStale, "answer to silence" { "deny" => OnStale::Deny, "allow" => OnStale::Allow, }
    LimitAction, "rule for one session too many" { "oldest" => LimitAction::Oldest, "refuse" => LimitAction::Refuse, }
    TokenFormat, "token format" {
        "octroi" => TokenFormat::Octroi,
        "jwt" => TokenFormat::Foreign(Format::Jwt),
        "express" => TokenFormat::Foreign(Format::Express),
        "itsdangerous" => TokenFormat::Foreign(Format::Itsdangerous),
        "django" => TokenFormat::Foreign(Format::Django),
    }
}

/// The name of the session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct CookieName(pub(in crate::config) Box<str>);

impl Scalar for CookieName {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match text.strip_prefix("__Host-") {
            Some(rest) if (1..=57).contains(&rest.len()) && rest.bytes().all(fits) => Ok(Self(text.into())),
            Some(_) => Err(ScalarError::new(format!("not a cookie name: `{text}`"))
                .hint("after `__Host-` stand 1 to 57 letters, digits, `-`, `_` or `.`")),
            None => Err(ScalarError::new(format!("the cookie `{text}` does not begin with `__Host-`"))
                .hint("the prefix makes browsers refuse the cookie from any other host or in clear text (RFC 6265bis, section 4.1.3.2)")),
        }
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^__Host-[A-Za-z0-9._-]{1,57}$"})
    }
}

/// The name of who says something, or whom it is for: `iss` and `aud` (RFC 7519, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Party(pub(in crate::config) Box<str>);

impl Scalar for Party {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        Err(ScalarError::new(format!("not a name of who speaks or is spoken to: `{text}`")).hint(
            "write a word or a URL, 1 to 255 visible ASCII characters: `app`, `https://app.example.com`",
        ))
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[!-~]{1,255}$"})
    }
}

wire! {
    /// Session keys, the cookie, the clocks.
    SessionsWire "sessions" {
        /// The cookie's name, which begins with `__Host-`. Default: `__Host-octroi`.
        cookie: Option<Spanned<CookieName>>,
        /// The keys, newest first. The first without `open_only` mints; all of them open. Needed without
        /// `key_dir`.
        keys: Option<NonEmpty<KeyWire>>,
        /// A folder of keys that `octroi keys` manages: `2.key`, `3.open.key`. They come before those of
        /// `keys`. Watched.
        key_dir: Option<Spanned<FilePath>>,
        /// How long a session may be idle. Default: 30m.
        idle: Option<Spanned<Wait>>,
        /// How long a session may live. Default: 12h.
        absolute: Option<Spanned<Wait>>,
        /// What else must stay the same: `client_prefix`, `user_agent`, `client_certificate`. Default:
        /// nothing.
        bind: Vec<Spanned<Binding>>,
        /// How many sessions a user may have at once: on all nodes, with `revocation: {store: redis}`.
        /// Default: any number.
        max_per_user: Option<MaxPerUserWire>,
        /// Where revocations are kept.
        revocation: Option<RevocationWire>,
        /// Whose tokens are read: `octroi` (default), and those of apps that keep their own login: `jwt`,
        /// `express`, `itsdangerous`, `django`.
        formats: Option<NonEmpty<Spanned<TokenFormat>>>,
        /// JSON Web Tokens.
        jwt: Option<JwtWire>,
        /// Cookies that Express signs.
        express: Option<ExpressWire>,
        /// Sessions that itsdangerous signs, as Flask does.
        itsdangerous: Option<ItsdangerousWire>,
        /// Sessions that Django signs.
        django: Option<DjangoWire>,
        /// Whether a granted user may look like an e-mail address. Default: false.
        allow_email_user: Option<Spanned<bool>>,
        /// Where a browser without a session is sent: the path of a public route. Default: it gets 401.
        login_url: Option<Spanned<String>>,
        /// A signed statement of who asks, in `Octroi-Assertion` of what is forwarded. Default: none.
        assertion: Option<AssertionWire>,
    }

    /// A signed statement of who asks, towards the upstream: a JSON Web Token that holds for 60 s.
    AssertionWire "assertion" {
        /// The key that signs, Ed25519 as PKCS#8 PEM: `${file:assertion.pem}`. Of a list, at most 8, the
        /// first signs; all are published at `/.well-known/jwks.json` of the metrics listener.
        key: Required<OneOrMore<SecretText>>,
        /// Whom it is for: `aud`. An upstream may say its own. Default: the upstream's name.
        audience: Option<Spanned<Party>>,
        /// Who says so: `iss`, the same on all nodes. Default: `octroi`.
        issuer: Option<Spanned<Party>>,
    }

    /// How many sessions a user may have at once.
    MaxPerUserWire "max_per_user" {
        /// How many, 1 to 100. Sessions of apps with a login of their own, and Bearer tokens, are not
        /// counted.
        limit: Spanned<u16>,
        /// What one sign-in too many does: `oldest` (default) ends the oldest session, `refuse` refuses the
        /// sign-in.
        over: Option<Spanned<LimitAction>>,
    }

    /// A session key.
    KeyWire "session_key" {
        /// The number that tokens carry, 1 to 65535.
        id: Spanned<u16>,
        /// Base64 of 32 random bytes: `${file:session-1.key}`.
        secret: SecretText,
        /// Whether it only opens tokens that exist already. Default: false.
        open_only: Option<Spanned<bool>>,
    }

    /// Where revocations are kept.
    RevocationWire "revocation" {
        /// `journal` (default): a file under `state_dir`, written through to the disk; each node knows only
        /// its own. `redis`: that file, and the Redis that nodes share.
        store: Option<Spanned<RevocationStoreWord>>,
        /// What happens to sessions while Redis has been silent for too long: `deny` (default) answers 503,
        /// `allow` goes by what is known.
        on_stale: Option<Spanned<OnStale>>,
        /// How long Redis may be silent, 5s to 1h. Default: 30s.
        stale_after: Option<Spanned<Wait>>,
    }
}
