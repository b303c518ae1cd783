//! A value that must stay hidden.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret: no `Display`, redacted `Debug`, wiped when dropped, compared in constant time.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Shows the value to the one function that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<const N: usize> Secret<[u8; N]> {
    /// Lets a function write the value in place, so that no copy of it is left behind.
    pub fn fill<E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        write(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_text_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(vec![1_u8, 2])), "Secret(…)");
    }

    #[test]
    fn secrets_compare_by_value() {
        assert_eq!(Secret::new([1_u8; 32]), Secret::new([1_u8; 32]));
        assert_ne!(Secret::new([1_u8; 32]), Secret::new([2_u8; 32]));
    }
}
