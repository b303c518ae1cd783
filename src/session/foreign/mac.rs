//! Keyed hashes under the secret that an app signs its sessions with.

use std::fmt;

use aws_lc_rs::{digest, hmac};

use crate::model::Secret;

/// A hash function.
///
/// SHA-1 is what Flask and cookie-session sign with where nobody says otherwise. Its collisions do not weaken
/// HMAC (RFC 6194, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    fn mac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Hashes the parts, one behind the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        let mut context = digest::Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        context.finish()
    }
}

/// What verifies one keyed hash.
#[derive(Clone)]
pub struct MacKey {
    secret: Secret<Vec<u8>>,
    digest: Digest,
    key: hmac::Key,
}

impl MacKey {
    /// Takes the bytes as they are.
    pub fn new(digest: Digest, secret: Secret<Vec<u8>>) -> Self {
        let key = hmac::Key::new(digest.mac(), secret.expose());
        Self { secret, digest, key }
    }

    /// Takes a hash over the parts as the key: Django, and `django-concat` of itsdangerous.
    pub(super) fn concat(digest: Digest, parts: &[&[u8]]) -> Self {
        Self::new(digest, Secret::new(digest.of(parts).as_ref().to_vec()))
    }

    /// Takes the keyed hash of a salt as the key: `hmac` of itsdangerous.
    pub(super) fn derived(digest: Digest, secret: &[u8], salt: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(digest.mac(), secret), salt);
        Self::new(digest, Secret::new(tag.as_ref().to_vec()))
    }

    /// Says whether the tag is the text's, in constant time. A shortened tag is none.
    pub(in crate::session) fn verify(&self, text: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.key, text, tag).is_ok()
    }
}

impl PartialEq for MacKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.secret == other.secret
    }
}

impl Eq for MacKey {}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("digest", &self.digest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202, section 3 and RFC 4231, section 4.3: "what do ya want for nothing?" under "Jefe".
    #[test]
    fn tags_are_those_of_the_standard() {
        let tags = [
            (Digest::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Digest::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ];
        for (digest, hex) in tags {
            let tag: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let key = MacKey::new(digest, Secret::new(b"Jefe".to_vec()));

            assert!(key.verify(b"what do ya want for nothing?", &tag));
            assert!(!key.verify(b"what do ya want for nothing!", &tag));
            assert!(!key.verify(b"what do ya want for nothing?", &tag[..tag.len() - 1]));
            assert!(!key.verify(b"what do ya want for nothing?", b""));
        }
    }

    #[test]
    fn keys_are_equal_by_secret_and_digest_and_show_nothing() {
        let key = |digest, byte| MacKey::new(digest, Secret::new(vec![byte; 32]));

        assert_eq!(key(Digest::Sha1, 1), key(Digest::Sha1, 1));
        assert_ne!(key(Digest::Sha1, 1), key(Digest::Sha256, 1));
        assert_ne!(key(Digest::Sha1, 1), key(Digest::Sha1, 2));
        assert_eq!(format!("{:?}", key(Digest::Sha1, 1)), "MacKey { digest: Sha1, .. }");
    }
}
