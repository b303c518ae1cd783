//! Errors as text, with their causes.

use std::error::Error;

/// Describes what failed and why, down to the system's message:
/// `writing state/revocations.journal: No space left on device`.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors contain the text of their cause.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("writing a file")]
    struct Writing(#[source] std::io::Error);

    #[test]
    fn the_cause_is_said_too() {
        let error = Writing(std::io::Error::other("no space"));

        assert_eq!(error_chain(&error), "writing a file: no space");
    }

    #[test]
    fn a_cause_that_is_named_already_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot listen: {0}")]
        struct Telling(#[source] std::io::Error);

        assert_eq!(error_chain(&Telling(std::io::Error::other("no room"))), "cannot listen: no room");
    }
}
