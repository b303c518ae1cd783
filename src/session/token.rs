//! Sealing claims into a token, and opening it.

use std::sync::LazyLock;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use base64::{
    Engine,
    engine::{Simd, general_purpose::NO_PAD},
};

use super::{Claims, KeyRing, Purpose, key::VERSION};
use crate::model::TenantName;

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "oct1.";

/// The longest token: name and value of the cookie stay well under the 4096 bytes that browsers keep.
pub const MAX_TOKEN_BYTES: usize = TOKEN_PREFIX.len() + MAX_BODY_CHARS;

/// Shortest and longest base64url text after the prefix.
pub(super) const MIN_BODY_CHARS: usize = 20;
pub(super) const MAX_BODY_CHARS: usize = 2000;

/// What [`MAX_BODY_CHARS`] characters hold.
const MAX_SEALED_BYTES: usize = MAX_BODY_CHARS / 4 * 3;

/// base64url without padding, in its one canonical spelling (RFC 4648, sections 3.5 and 5).
static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// What most tokens hold at the most. Clearing the room for the longest costs more than reading a short one.
const USUAL_BYTES: usize = 384;

/// version 1 ‖ key id 2 ‖ nonce 12.
pub(super) const HEAD_BYTES: usize = 3 + NONCE_LEN;

/// What a token said, once it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its claims. They are authentic; whether they hold now is for the checks to say.
    pub claims: Claims,
    /// The master key it was sealed with.
    pub key: u16,
}

/// Why claims cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Every key of the ring only opens, or there is none.
    #[error("no session key mints")]
    NoKey,
    /// The token would be longer than [`MAX_TOKEN_BYTES`].
    #[error("the token would be longer than {MAX_TOKEN_BYTES} bytes; grant fewer or shorter roles")]
    TooLong,
    /// The cipher refused, which it does for no input of this length.
    #[error("the cipher failed")]
    Cipher,
}

/// Why a token does not open.
///
/// All read the same, so that no answer tells a stranger how far they got; [`OpenError::detail`] is for the
/// operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session token does not open")]
pub enum OpenError {
    /// Not `oct1.` and canonical base64url of a bounded length.
    Syntax,
    /// A version of the token that this program does not know.
    Version(u8),
    /// No key of the ring has this number.
    Key(u16),
    /// Altered, sealed with another key, or made for another realm or purpose.
    Tag,
    /// Authentic, but not claims in the layout that this program knows.
    Claims,
}

impl OpenError {
    /// Says what is wrong, for the operator only.
    pub fn detail(self) -> String {
        match self {
            Self::Syntax => "the token is not `oct1.` and canonical base64url".to_owned(),
            Self::Version(version) => format!("the token has version {version}"),
            Self::Key(id) => format!("the token names session key {id}, which the ring does not have"),
            Self::Tag => {
                "the token was altered, sealed with another key, or made for another host or purpose"
                    .to_owned()
            }
            Self::Claims => "the token is authentic, but its claims have another layout".to_owned(),
        }
    }
}

impl KeyRing {
    /// Seals claims for one realm and purpose, with the minting key.
    ///
    /// The nonce is random; should one come twice, AES-GCM-SIV gives away only whether the claims were equal
    /// too.
    pub fn seal(
        &self,
        claims: &Claims,
        purpose: Purpose,
        realm: &TenantName,
        nonce: [u8; NONCE_LEN],
    ) -> Result<String, SealError> {
        let id = self.minting().ok_or(SealError::NoKey)?.id;
        let mut sealed = Vec::with_capacity(512);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        claims.encode(&mut sealed).ok_or(SealError::TooLong)?;
        let tag = self
            .with(id, purpose.into(), realm, |key| {
                let (_, plain) = sealed.split_at_mut_checked(HEAD_BYTES)?;
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.aead.seal_in_place_separate_tag(nonce, Aad::from(&key.associated), plain).ok()
            })
            .flatten()
            .ok_or(SealError::Cipher)?;
        sealed.extend_from_slice(tag.as_ref());
        if sealed.len() > MAX_SEALED_BYTES {
            return Err(SealError::TooLong);
        }
        let mut token =
            String::with_capacity(MAX_TOKEN_BYTES.min(TOKEN_PREFIX.len() + sealed.len() * 4 / 3 + 2));
        token.push_str(TOKEN_PREFIX);
        BASE64URL.encode_string(&sealed, &mut token);
        Ok(token)
    }

    /// Opens a token that was sealed for this realm and purpose by any key of the ring.
    ///
    /// One decryption of at most 1.5 KiB; nothing in the token chooses an algorithm, and the key id only
    /// picks a key of the ring.
    pub fn open(
        &self,
        token: impl AsRef<[u8]>,
        purpose: Purpose,
        realm: &TenantName,
    ) -> Result<Opened, OpenError> {
        let body = token.as_ref().strip_prefix(TOKEN_PREFIX.as_bytes()).ok_or(OpenError::Syntax)?;
        if !(MIN_BODY_CHARS..=MAX_BODY_CHARS).contains(&body.len()) {
            return Err(OpenError::Syntax);
        }
        if body.len() <= USUAL_BYTES / 3 * 4 {
            self.open_within::<USUAL_BYTES>(body, purpose, realm)
        } else {
            self.open_within::<MAX_SEALED_BYTES>(body, purpose, realm)
        }
    }

    fn open_within<const BYTES: usize>(
        &self,
        body: &[u8],
        purpose: Purpose,
        realm: &TenantName,
    ) -> Result<Opened, OpenError> {
        let mut buffer = [0; BYTES];
        let length = BASE64URL.decode_slice(body, &mut buffer).map_err(|_| OpenError::Syntax)?;
        let sealed = buffer.get_mut(..length).ok_or(OpenError::Syntax)?;
        let (&mut [version, high, low], rest) = sealed.split_first_chunk_mut().ok_or(OpenError::Syntax)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let (nonce, locked) = rest.split_first_chunk_mut().ok_or(OpenError::Syntax)?;
        let key = u16::from_be_bytes([high, low]);
        let plain = self
            .with(key, purpose.into(), realm, |derived| {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                derived.aead.open_in_place(nonce, Aad::from(&derived.associated), locked)
            })
            .ok_or(OpenError::Key(key))?
            .map_err(|_| OpenError::Tag)?;
        let claims = Claims::decode(plain).ok_or(OpenError::Claims)?;
        Ok(Opened { claims, key })
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::{prelude::*, strategy::ValueTree};

    use super::*;
    use crate::{
        model::Secret,
        session::{MasterKey, Roles, claims::tests::any_claims},
    };

    fn ring() -> KeyRing {
        let key = |id: u16, byte: u8| MasterKey { id, secret: Secret::new([byte; 32]), open_only: false };
        KeyRing::new(vec![key(7, 1), key(6, 2)])
    }

    fn name(text: &str) -> TenantName {
        text.parse().unwrap()
    }

    fn some_claims() -> Claims {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        any_claims().new_tree(&mut runner).unwrap().current()
    }

    fn sealed() -> String {
        ring().seal(&some_claims(), Purpose::Cookie, &name("lobby"), [9; 12]).unwrap()
    }

    fn open(token: &str) -> Result<Opened, OpenError> {
        ring().open(token, Purpose::Cookie, &name("lobby"))
    }

    fn resealed(bytes: &[u8]) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn bytes(token: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(&token[TOKEN_PREFIX.len()..]).unwrap()
    }

    #[test]
    fn a_token_opens_only_for_its_realm_and_purpose() {
        let token = sealed();

        assert_eq!(open(&token), Ok(Opened { claims: some_claims(), key: 7 }));
        assert_eq!(ring().open(&token, Purpose::Cookie, &name("acme")), Err(OpenError::Tag));
        assert_eq!(ring().open(&token, Purpose::Bearer, &name("lobby")), Err(OpenError::Tag));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let token = sealed();
        let good = bytes(&token);

        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&resealed(&bad)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_token_names_its_key_but_cannot_choose_it() {
        let mut other = bytes(&sealed());
        other[2] = 6;
        let mut unknown = other.clone();
        unknown[2] = 5;

        assert_eq!(open(&resealed(&other)), Err(OpenError::Tag));
        assert_eq!(open(&resealed(&unknown)), Err(OpenError::Key(5)));
    }

    #[test]
    fn an_older_key_still_opens() {
        let old = KeyRing::new(vec![MasterKey { id: 6, secret: Secret::new([2; 32]), open_only: false }]);
        let token = old.seal(&some_claims(), Purpose::Cookie, &name("lobby"), [9; 12]).unwrap();

        assert_eq!(open(&token), Ok(Opened { claims: some_claims(), key: 6 }));
    }

    #[test]
    fn another_version_or_prefix_is_refused() {
        let mut later = bytes(&sealed());
        later[0] = 2;

        assert_eq!(open(&resealed(&later)), Err(OpenError::Version(2)));
        assert_eq!(open(&sealed().replace("oct1.", "oct2.")), Err(OpenError::Syntax));
        assert_eq!(open("oct1."), Err(OpenError::Syntax));
        assert_eq!(open(""), Err(OpenError::Syntax));
    }

    #[test]
    fn base64_has_one_spelling() {
        // One sealed byte more or less turns the last character's unused bits up.
        let mut claims = some_claims();
        claims.user = "u".parse().unwrap();
        let token = std::iter::repeat_with(|| {
            claims.user = format!("{}u", claims.user).parse().unwrap();
            ring().seal(&claims, Purpose::Cookie, &name("lobby"), [9; 12]).unwrap()
        })
        .find(|token| (token.len() - TOKEN_PREFIX.len()) % 4 == 2)
        .unwrap();
        let (head, last) = token.split_at(token.len() - 1);
        let next = char::from(last.as_bytes()[0] + 1);

        assert!(open(&token).is_ok());
        assert_eq!(open(&format!("{head}{next}")), Err(OpenError::Syntax));
        assert_eq!(open(&format!("{token}==")), Err(OpenError::Syntax));
        assert_eq!(open(&format!("{token}=")), Err(OpenError::Syntax));
        assert_eq!(open(&format!("{token}\n")), Err(OpenError::Syntax));
        assert_eq!(open(&format!(" {token}")), Err(OpenError::Syntax));
        assert_eq!(open(&token.replacen(['-', '_'], "+", 1)).is_ok(), !token.contains(['-', '_']));
    }

    #[test]
    fn long_claims_do_not_become_a_token() {
        let with = |roles: usize| {
            let role = "r".repeat(64);
            let claims =
                Claims { roles: Roles::try_new(vec![role.as_str(); roles]).unwrap(), ..some_claims() };
            ring().seal(&claims, Purpose::Cookie, &name("lobby"), [9; 12])
        };

        assert!(with(16).unwrap().len() <= MAX_TOKEN_BYTES);
        assert_eq!(with(32), Err(SealError::TooLong));
    }

    #[test]
    fn a_ring_that_only_opens_seals_nothing() {
        let ring = KeyRing::new(vec![MasterKey { id: 1, secret: Secret::new([1; 32]), open_only: true }]);

        assert_eq!(
            ring.seal(&some_claims(), Purpose::Cookie, &name("lobby"), [0; 12]),
            Err(SealError::NoKey)
        );
    }

    #[test]
    fn every_failure_reads_the_same() {
        let texts =
            [OpenError::Syntax, OpenError::Version(2), OpenError::Key(5), OpenError::Tag, OpenError::Claims]
                .map(|e| e.to_string());

        assert!(texts.iter().all(|text| text == "the session token does not open"));
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(claims in any_claims(), nonce in any::<[u8; 12]>()) {
            for purpose in [Purpose::Cookie, Purpose::Bearer] {
                let token = ring().seal(&claims, purpose, &name("lobby"), nonce).unwrap();

                prop_assert!(token.len() <= MAX_TOKEN_BYTES);
                prop_assert_eq!(ring().open(&token, purpose, &name("lobby")), Ok(Opened { claims: claims.clone(), key: 7 }));
            }
        }

        #[test]
        fn a_cut_token_is_refused(claims in any_claims(), cut in any::<prop::sample::Index>()) {
            let token = ring().seal(&claims, Purpose::Cookie, &name("lobby"), [3; 12]).unwrap();

            prop_assert!(open(&token[..cut.index(token.len())]).is_err());
        }

        #[test]
        fn halves_of_two_tokens_are_no_token(one in any_claims(), other in any_claims(), at in any::<prop::sample::Index>()) {
            let seal = |claims, nonce| bytes(&ring().seal(claims, Purpose::Cookie, &name("lobby"), nonce).unwrap());
            let (one, other) = (seal(&one, [1; 12]), seal(&other, [2; 12]));
            let at = at.index(one.len().min(other.len()));
            let spliced = [&one[..at], &other[at..]].concat();

            prop_assert!(spliced == one || spliced == other || open(&resealed(&spliced)).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", tail in "[A-Za-z0-9_-]{0,120}") {
            prop_assert!(open(&text).is_err());
            let token = format!("oct1.{tail}");
            prop_assert!(open(&token).is_err());
        }
    }
}
