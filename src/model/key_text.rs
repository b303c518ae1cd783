//! A key in a file: base64 of 32 random bytes.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::Secret;

/// The fewest distinct bytes among 32 random ones; the chance of fewer is under 2^-60.
const DISTINCT: usize = 16;

/// How often one byte occurs at most among 32 random ones; the chance of more is under 2^-39.
const REPEATS: usize = 8;

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 with its padding.
    #[error("the key is not base64")]
    NotBase64,
    /// Not 32 bytes long.
    #[error("the key has {0} bytes; it needs exactly 32")]
    Length(usize),
    /// Not drawn at random.
    #[error("the key is not random")]
    NotRandom,
    /// Published, so that anybody can look it up.
    #[error("the key is known to everybody: the example of a standard, or the SHA-256 of a common word")]
    Published,
}

impl Secret<[u8; 32]> {
    /// Decodes a key. It refuses a key that was not drawn at random (too few distinct bytes, an arithmetic
    /// sequence, a repeated pattern, readable text) and one that is public (keys in standards, digests of
    /// common words).
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map(Secret::new).map_err(|_| KeyError::NotBase64)?;
        let key: [u8; 32] =
            bytes.expose().as_slice().try_into().map_err(|_| KeyError::Length(bytes.expose().len()))?;
        let key = Self::new(key);
        if is_made_up(key.expose()) {
            return Err(KeyError::NotRandom);
        }
        if is_published(key.expose()) { Err(KeyError::Published) } else { Ok(key) }
    }
}

/// Finds keys that were typed or counted, not drawn at random.
fn is_made_up(key: &[u8; 32]) -> bool {
    let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
    for byte in key {
        *counts.entry(*byte).or_default() += 1;
    }
    let steps: BTreeSet<u8> = key.iter().zip(key.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
    // 32 random bytes are all printable once in 10^14.
    let readable = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    // `head -c 16`, used twice, yields only 16 random bytes.
    let twice = key.first_chunk::<16>() == key.last_chunk::<16>();
    counts.len() < DISTINCT
        || counts.values().any(|&count| count > REPEATS)
        || steps.len() <= 2
        || readable
        || twice
}

/// Finds keys that look random but appear in standards, or that `echo -n WORD | sha256sum` yields.
fn is_published(key: &[u8; 32]) -> bool {
    let word = |word: &&str| {
        [(*word).to_owned(), format!("{word}\n")]
            .iter()
            .any(|text| Sha256::digest(text.as_bytes()).as_slice() == key.as_slice())
    };
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    PUBLISHED.contains(&&*digest) || WORDS.iter().any(word)
}

/// The SHA-256 of 32-byte keys that standards and well-known libraries print as examples.
const PUBLISHED: [&str; 6] = [
    // NIST SP 800-38A, AES-256.
    "b93c72b74bc8487d29827005f80d635918f91bc22b14d7ed05714d58f96702dd",
    // RFC 8032, section 7.1, tests 1 and 2.
    "644d50ab64864c20a12b3c4656d46b4a48f69ef7c47ecdc8415cd28316b22ef5",
    "3d2d9682cdba529682a152f678e25c6c29847bf2588ca4e1b3023c1579f9958d",
    // NaCl's and libsodium's tests.
    "c49dd01233796e3642bc1b9829070ef0a64eb0dd915b72ec3f3657529e5f6494",
    "06d68c5d30875d9e7083bba893270f72fbdeafefbe23d03770e6bba2a02cad48",
    // The GCM specification, AES-256.
    "7f70dfd819c3c5826700c209d1633eb5af014210decb7d7ff6d6ebadfa9bad27",
];

/// The words that people hash when they want a key quickly.
const WORDS: [&str; 20] = [
    "",
    "a",
    "abc",
    "admin",
    "changeme",
    "change-me",
    "demo",
    "dev",
    "example",
    "hello",
    "key",
    "master",
    "octroi",
    "password",
    "secret",
    "secret-key",
    "session",
    "test",
    "testing",
    "your-256-bit-secret",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn random_looking() -> [u8; 32] {
        std::array::from_fn(|index| u8::try_from((index * index * 7 + index * 31 + 11) % 256).unwrap())
    }

    fn read(bytes: &[u8]) -> Result<Secret<[u8; 32]>, KeyError> {
        Secret::from_base64(&STANDARD.encode(bytes))
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_key_is_base64_of_32_random_bytes() {
        assert_eq!(read(&random_looking()), Ok(Secret::new(random_looking())));
        assert_eq!(read(&random_looking()[..31]), Err(KeyError::Length(31)));
        assert_eq!(Secret::from_base64("not base64"), Err(KeyError::NotBase64));
        for drawn in (0..1000).map(|_| {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            bytes
        }) {
            assert_eq!(read(&drawn), Ok(Secret::new(drawn)));
        }
    }

    #[test]
    fn what_nobody_drew_is_refused() {
        let counted = |first: u8, step: u8| -> [u8; 32] {
            std::array::from_fn(|index| first.wrapping_add(step.wrapping_mul(u8::try_from(index).unwrap())))
        };
        let mut half_zero = random_looking();
        half_zero[..9].fill(0);
        let mut repeated = random_looking();
        repeated.copy_within(..16, 16);

        // The first is the master key of our own test vectors.
        for made_up in [
            counted(0, 1),
            counted(0xa0, 1),
            counted(255, 255),
            counted(3, 7),
            counted(9, 0),
            half_zero,
            repeated,
        ] {
            assert_eq!(read(&made_up), Err(KeyError::NotRandom), "{made_up:?}");
        }
        for text in [
            b"this is a sentence, not a key!!!",
            b"0123456789abcdef0123456789abcdef",
            b"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
        ] {
            assert_eq!(read(text), Err(KeyError::NotRandom));
        }
    }

    #[test]
    fn what_everybody_knows_is_refused() {
        for key in [
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389",
        ] {
            assert_eq!(read(&hex(key)), Err(KeyError::Published), "{key}");
        }
        for text in ["secret", "changeme\n", ""] {
            assert_eq!(read(&Sha256::digest(text)), Err(KeyError::Published), "{text}");
        }
        assert_eq!(read(&Sha256::digest("a sentence that is not in the list")).map(|_| ()), Ok(()));
    }
}
