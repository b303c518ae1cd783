//! A key as it stands in a file: base64 of 32 random bytes.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Secret;

/// The fewest different bytes of 32 random ones; the chance of fewer is under 2^-60.
const DISTINCT: usize = 16;

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64, with its padding.
    #[error("the key is not base64")]
    NotBase64,
    /// Of another length.
    #[error("the key has {0} bytes; it needs exactly 32")]
    Length(usize),
    /// What nobody drew at random.
    #[error("the key is not random")]
    NotRandom,
}

impl Secret<[u8; 32]> {
    /// Decodes a key and refuses what nobody drew at random: too few different bytes, an even sequence, readable text.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map(Secret::new).map_err(|_| KeyError::NotBase64)?;
        let key: [u8; 32] = bytes.expose().as_slice().try_into().map_err(|_| KeyError::Length(bytes.expose().len()))?;
        let distinct = key.iter().collect::<BTreeSet<_>>().len();
        let steps: BTreeSet<u8> = key.iter().zip(key.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a)).collect();
        // Of 32 random bytes all are printable once in 10^14.
        let readable = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if distinct < DISTINCT || steps.len() <= 2 || readable {
            return Err(KeyError::NotRandom);
        }
        Ok(Self::new(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_looking() -> [u8; 32] {
        std::array::from_fn(|index| u8::try_from((index * index * 7 + index * 31 + 11) % 256).unwrap())
    }

    #[test]
    fn a_key_is_base64_of_32_random_bytes() {
        let read = |bytes: &[u8]| Secret::from_base64(&STANDARD.encode(bytes));

        assert_eq!(read(&random_looking()), Ok(Secret::new(random_looking())));
        assert_eq!(read(&random_looking()[..31]), Err(KeyError::Length(31)));
        assert_eq!(read(&[0; 32]), Err(KeyError::NotRandom));
        assert_eq!(read(&std::array::from_fn::<u8, 32, _>(|index| u8::try_from(index).unwrap())), Err(KeyError::NotRandom));
        assert_eq!(read(b"this is a sentence, not a key!!!"), Err(KeyError::NotRandom));
        assert_eq!(Secret::from_base64("not base64"), Err(KeyError::NotBase64));
    }
}
