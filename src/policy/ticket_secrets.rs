//! The secrets from which nodes derive the keys of their TLS tickets.

use crate::model::{KeyError, Secret};

/// The secrets of a file, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketSecrets(Vec<Secret<[u8; 32]>>);

/// Why a file of secrets is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketSecretsError {
    /// There are none.
    #[error("it holds no key")]
    Empty,
    /// There are more than are ever needed; each yields three keys.
    #[error("it holds more than {} keys", TicketSecrets::MAX)]
    TooMany,
    /// An invalid line.
    #[error("line {line}: {why}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        why: KeyError,
    },
}

impl TicketSecrets {
    /// The most secrets in a file. Two are needed while nodes adopt a new one.
    pub const MAX: usize = 16;

    /// Reads a file: base64 of 32 random bytes per line, newest first. Empty lines, and those that begin with
    /// `#`, are skipped.
    pub fn parse(text: &str) -> Result<Self, TicketSecretsError> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let line = index.saturating_add(1);
            secrets
                .push(Secret::from_base64(line_text).map_err(|why| TicketSecretsError::Line { line, why })?);
            if secrets.len() > Self::MAX {
                return Err(TicketSecretsError::TooMany);
            }
        }
        if secrets.is_empty() { Err(TicketSecretsError::Empty) } else { Ok(Self(secrets)) }
    }

    /// Returns them, newest first: the newest seals, all open.
    pub fn newest_first(&self) -> &[Secret<[u8; 32]>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn line(seed: usize) -> String {
        let bytes: [u8; 32] =
            std::array::from_fn(|index| u8::try_from((index * index * 7 + index * 31 + seed) % 256).unwrap());
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_file_holds_one_secret_per_line() {
        let read =
            TicketSecrets::parse(&format!("# since June\n{}\n\n  {}  \r\n", line(2), line(1))).unwrap();

        assert_eq!(
            read.newest_first(),
            [Secret::from_base64(&line(2)).unwrap(), Secret::from_base64(&line(1)).unwrap()]
        );
        let many = |count| (0..count).map(|seed| line(seed) + "\n").collect::<String>();
        assert_eq!(TicketSecrets::parse(&many(16)).unwrap().newest_first().len(), 16);
        assert_eq!(TicketSecrets::parse(&many(17)), Err(TicketSecretsError::TooMany));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        assert_eq!(TicketSecrets::parse("\n# nothing\n"), Err(TicketSecretsError::Empty));
        let short = format!("{}\n{}\n", line(1), STANDARD.encode([7; 31]));
        assert_eq!(
            TicketSecrets::parse(&short),
            Err(TicketSecretsError::Line { line: 2, why: KeyError::Length(31) })
        );
    }
}
