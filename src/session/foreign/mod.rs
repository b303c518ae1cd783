//! The sessions of apps that keep their own login: formats of others, read and never written.
//!
//! A [`Codec`] proves that the app signed a text, and hands out what the text says ([`Authentic`]); a
//! [`Mapping`] finds in it who signed in, and makes the [`Claims`](super::Claims) of it that our own tokens
//! have too. Pure: keys and bytes in, claims out.
//!
//! | format | signed text | signature |
//! |---|---|---|
//! | `jwt` | `header.payload` | one algorithm per key, never the token's choice (RFC 7519, RFC 8725) |
//! | `express`, cookie-session | `name=value` | HMAC-SHA-1 or -256, in a cookie of its own |
//! | `express`, cookie-parser | `j:{…}` | HMAC-SHA-256 behind a dot |
//! | `itsdangerous` | `payload.time` | HMAC-SHA-1, -256 or -512 with a key derived from secret and salt |
//! | `django` | `payload:time` | HMAC-SHA-256 or -1 with a key derived from secret and salt |
//!
//! What all have in common:
//!
//! * A key has one algorithm. Nothing in a token chooses an algorithm, a file or an address: a `kid` picks
//!   one of the configured keys, or of those that a configured issuer publishes.
//! * Base64 has one spelling. A payload that is packed may unpack to 16 KiB. JSON names no member twice.
//! * The identifier of a session is `SHA-256("octroi/foreign/v1" ‖ parts)[0..16]`, each part with its length
//!   before it (u32, big-endian): format, tenant, `claim` or `token`, then the claim that names the session,
//!   or else the signed text. Never the signature: an ECDSA signature has two spellings, and a session that
//!   was ended must not come back under the other.
//! * Without such a claim, the same login signed again is another session, so ending one session ends one
//!   token.

mod authentic;
mod claim;
mod codec;
mod django;
mod express;
mod inflate;
mod itsdangerous;
mod json;
mod jwk;
mod jwt;
mod key;
mod key_set;
mod mac;

pub use authentic::{Authentic, ForeignError, Presented};
pub use claim::{ClaimPath, Mapping};
pub use codec::{Codec, Format};
pub use django::Django;
pub use express::{Express, Style};
pub use itsdangerous::{Derivation, Itsdangerous};
pub use json::Json;
pub use jwk::{Jwk, JwkError};
pub use jwt::{Jwt, is_compact};
pub use key::{Algorithm, KeyError, SigningKey, VerifyKey};
pub use key_set::{FetchedKeys, KeySet, KeySetError, MAX_KEYS_OF_A_SET, RemoteSet, SourceId};
pub use mac::{Digest, MacKey};
