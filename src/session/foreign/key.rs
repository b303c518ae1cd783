//! The keys of foreign sessions: each with a name, one algorithm, and the tenants that it may speak for.

use std::fmt;

use aws_lc_rs::{
    rsa::PublicEncryptingKey,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, VerificationAlgorithm,
    },
};

use super::{Digest, MacKey};
use crate::model::{Secret, TenantName};

/// A key, what it is called, and whose sessions it may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey<K> {
    /// Its name in logs; for `jwt` the `kid` that tokens say.
    pub id: Box<str>,
    /// The only tenants that its sessions may be of; `None` for every one.
    pub tenants: Option<Box<[TenantName]>>,
    /// What verifies.
    pub key: K,
}

impl<K> SigningKey<K> {
    /// Says whether a session of this tenant may come from this key.
    pub fn speaks_for(&self, tenant: &TenantName) -> bool {
        self.tenants.as_deref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

/// An algorithm of JSON Web Signatures (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// How an algorithm verifies.
enum Kind {
    Shared(Digest),
    Public(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    /// Every algorithm, as `alg` names it.
    pub const ALL: [(&'static str, Self); 8] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// Reads what `alg` says; names have one spelling (RFC 7515, section 4.1.1).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Returns the fewest bytes of a shared secret: as many as the hash has (RFC 7518, section 3.2). `None`
    /// where the key is public.
    pub fn secret_bytes(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Hs256 => Kind::Shared(Digest::Sha256),
            Self::Hs384 => Kind::Shared(Digest::Sha384),
            Self::Hs512 => Kind::Shared(Digest::Sha512),
            Self::Rs256 => Kind::Public(&RSA_PKCS1_2048_8192_SHA256),
            Self::Ps256 => Kind::Public(&RSA_PSS_2048_8192_SHA256),
            Self::Es256 => Kind::Public(&ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Kind::Public(&ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Kind::Public(&ED25519),
        }
    }
}

/// Why bytes are no key of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A shared secret where a public key belongs, or the other way round.
    #[error("the algorithm wants {0}")]
    Kind(&'static str),
    /// Fewer bytes than the hash has.
    #[error("the secret has {has} bytes; the algorithm needs at least {needs} (RFC 7518, section 3.2)")]
    Short {
        /// The bytes there are.
        has: usize,
        /// The bytes there must be.
        needs: usize,
    },
    /// Not a public key of this algorithm, or a weak one: RSA has 2048 to 8192 bits.
    #[error("it is no public key of this algorithm; RSA keys have 2048 to 8192 bits")]
    Public,
}

/// What verifies the signatures of one algorithm.
#[derive(Clone)]
pub struct VerifyKey {
    algorithm: Algorithm,
    how: How,
}

#[derive(Clone)]
enum How {
    // Boxed: it holds two states of a hash, twenty times the size of a public key.
    Shared(Box<MacKey>),
    Public(ParsedPublicKey),
}

impl VerifyKey {
    /// Takes a shared secret.
    pub fn shared(algorithm: Algorithm, secret: Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let (Kind::Shared(digest), Some(needs)) = (algorithm.kind(), algorithm.secret_bytes()) else {
            return Err(KeyError::Kind("a public key, PEM or JWK"));
        };
        let has = secret.expose().len();
        if has < needs {
            return Err(KeyError::Short { has, needs });
        }
        Ok(Self { algorithm, how: How::Shared(Box::new(MacKey::new(digest, secret))) })
    }

    /// Takes a public key: DER of its SubjectPublicKeyInfo; of ECDSA also the uncompressed point, of Ed25519
    /// the 32 bytes.
    pub fn public(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let Kind::Public(verification) = algorithm.kind() else {
            return Err(KeyError::Kind("a shared secret"));
        };
        // A signature key does not say how long it is; one for encryption does, and refuses what is under
        // 2048 bits by itself.
        if matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256)
            && PublicEncryptingKey::from_der(der).is_err()
        {
            return Err(KeyError::Public);
        }
        let key = ParsedPublicKey::new(verification, der).map_err(|_| KeyError::Public)?;
        Ok(Self { algorithm, how: How::Public(key) })
    }

    /// Returns the one algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Says whether the signature is the text's.
    pub(in crate::session) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.how {
            How::Shared(key) => key.verify(text, signature),
            How::Public(key) => key.verify_sig(text, signature).is_ok(),
        }
    }
}

impl PartialEq for VerifyKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm
            && match (&self.how, &other.how) {
                (How::Shared(one), How::Shared(two)) => one == two,
                (How::Public(one), How::Public(two)) => one.as_ref() == two.as_ref(),
                (How::Shared(_), How::Public(_)) | (How::Public(_), How::Shared(_)) => false,
            }
    }
}

impl Eq for VerifyKey {}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
