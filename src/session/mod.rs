//! The session token: format, keys, and the fields that carry it.
//!
//! Pure: bytes and values in, values out. Time, randomness and the decision what a token is worth come from
//! above.
//!
//! # Use by other programs
//!
//! The library without its sockets (`default-features = false`) has this room and needs no runtime.
//! [`KeyRing::open`] says who a token is of; whether it holds *now* is for the caller: its clocks, its
//! tenant, its binding, and whether it was ended ([`checks::session`](crate::checks::session) shows what the
//! gateway asks). `examples/open_token.rs` is a whole program.
//!
//! ```
//! use octroi::{
//!     model::{Secret, SessionId, TenantName, UnixTime},
//!     session::{Claims, MasterKey, Purpose, KeyRing, Roles},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Take 32 random bytes and a random session and nonce from the system; these stand here to be read.
//! let ring = KeyRing::new(vec![MasterKey { id: 2, secret: Secret::new([0x5a; 32]), open_only: false }]);
//! let (realm, now): (TenantName, _) = ("acme".parse()?, UnixTime::from_secs(1_800_000_000));
//! let claims = Claims {
//!     id: SessionId::new([7; 16]),
//!     tenant: realm.clone(),
//!     user: "u_812".parse()?,
//!     roles: Roles::try_new(["admin"])?,
//!     issued: now,
//!     auth_time: now,
//!     not_before: now,
//!     idle_end: UnixTime::from_secs(1_800_001_800),
//!     absolute_end: UnixTime::from_secs(1_800_043_200),
//!     generation: 0,
//!     epoch: 0,
//!     binding: None,
//! };
//! let token = ring.seal(&claims, Purpose::Cookie, &realm, [9; 12])?;
//!
//! assert_eq!(ring.open(&token, Purpose::Cookie, &realm)?.claims, claims);
//! // It opens at no other host, and in no other field.
//! assert!(ring.open(&token, Purpose::Cookie, &"globex".parse()?).is_err());
//! assert!(ring.open(&token, Purpose::Bearer, &realm).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # The token, version 1
//!
//! ```text
//! token  = "oct1." base64url(sealed)          canonical: RFC 4648 section 5, no padding, unused bits zero
//! ```
//!
//! The base64url text has at most 2000 characters, so `sealed` at most 1500 bytes and a token at most 2005.
//! Integers are unsigned and big-endian. `‖` puts bytes side by side.
//!
//! | field of `sealed` | bytes | content |
//! |---|---|---|
//! | version | 1 | 1 |
//! | key id | 2 | the master key's number, 1 to 65535 |
//! | nonce | 12 | random |
//! | ciphertext | n | the claims below, encrypted with AES-256-GCM-SIV (RFC 8452) |
//! | tag | 16 | of AES-256-GCM-SIV |
//!
//! ```text
//! info            = u16(length of purpose) ‖ purpose ‖ u16(length of realm) ‖ realm
//! key             = HKDF-SHA-256(ikm = master key, salt = "octroi/session/v1", info, 32 bytes)      RFC 5869
//! associated data = version ‖ key id ‖ info
//! ```
//!
//! *purpose* is `cookie` or `bearer`, *realm* the name of the tenant that owns the host the token is for. A
//! token opens only there and only from the field it was made for.
//!
//! | field of the claims | bytes | content |
//! |---|---|---|
//! | layout | 1 | 1 |
//! | session | 16 | random identifier |
//! | issued | 8 | milliseconds since 1970-01-01 UTC, as the four times below |
//! | auth time | 8 | when the user signed in; renewal never changes it |
//! | not before | 8 | |
//! | idle end | 8 | |
//! | absolute end | 8 | |
//! | generation | 4 | how often the session was renewed |
//! | epoch | 4 | the tenant's epoch at the sign-in |
//! | bound | 1 | 0, or 1 if a binding follows |
//! | binding | 0 or 16 | see [`binding`] |
//! | tenant length | 1 | 1 to 64 |
//! | tenant | as said | a tenant's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}` |
//! | user length | 2 | 1 to 256 |
//! | user | as said | visible ASCII |
//! | role count | 1 | 0 to 32 |
//! | each role | 1 + length | its length, 1 to 64, then `[A-Za-z0-9._:-]` |
//!
//! Nothing follows the last role. Another version, layout, length or character is refused: what a decoder
//! accepts, an encoder wrote.
//!
//! The hash of a session in logs and towards upstreams is `hex(HMAC-SHA-256(k, session)[0..8])`, where `k` is
//! derived from the minting master key as above with the purpose `hash` and an empty realm.
//!
//! # Test vector
//!
//! Master key 7 is the 32 bytes `00 01 … 1f`, the nonce `a0 a1 … ab`, purpose `cookie`, realm `lobby`;
//! session `10 11 … 1f`, issued 1800000060000, auth time and not before 1800000000000, idle end
//! 1800001860000, absolute end 1800043200000, generation 1, epoch 3, no binding, tenant `acme`, user `u_812`,
//! roles `admin` and `editor`:
//!
//! ```text
//! oct1.AQAHoKGio6SlpqeoqaqrDSTvXAYiV5wseo1l_HAtMz8STwGSCbl36Hk5JLtJ14PZGTTfBHKV3beaKvnl
//! Xhwyw8fT8T2YAgHlKW3cBN4R_Xt2N5T8tmwaIB4QwSiMp89tiSi_s3SYH5u_KnewqqiPm6LrQpdPKajFCSqq
//! ```
//!
//! This one and more, good and bad, are in `tests/vectors/token_v1.json`. `tests/vectors/token_v1.py` makes
//! the good ones and refuses the bad ones from this page alone.

mod assertion;
mod binding;
mod claims;
pub mod cookie;
pub mod foreign;
pub mod grant;
mod key;
mod key_file;
mod limit;
mod reuse;
mod role;
mod sign_in;
mod token;
#[cfg(test)]
mod wycheproof;

pub use assertion::{
    ASSERTION_LIFE, ASSERTION_TYPE, AssertionKey, AssertionKeyError, Assertions, SignError, Statement,
};
pub use binding::{Bound, binding};
pub use claims::Claims;
pub use key::{KeyRing, MasterKey, Purpose};
pub use key_file::{KeyFile, KeyFileError, KeyState};
pub use limit::{Admission, HeldSession, LimitAction, MOST_SESSIONS, UserLimit, admit};
pub use reuse::{Newest, REUSE_GRACE, TokenOrder};
pub use role::{Roles, RolesError};
pub use sign_in::{
    AGAIN, AGAIN_SECS, MOST_FOREIGN_SIGN_INS, MOST_SIGN_INS, Replaced, Returned, SIGN_IN_SECS, SignIn,
    StateHash, begins, returned,
};
pub use token::{MAX_TOKEN_BYTES, OpenError, Opened, SealError, TOKEN_PREFIX};
