//! Whether octroi has served here before, and what helps where a key or a certificate is missing.
//!
//! Where nobody has served yet, `octroi keys init` makes what is named. Where somebody has, what is missing
//! was lost: a new key ends every session, a certificate of octroi's own CA is refused by every client, and
//! the process that serves has the right ones in memory.

use std::{fs, io, path::Path};

use super::similar_path;
use crate::model::{BEGAN, JOURNAL};

/// What a state directory says of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Nobody has served with it.
    Fresh,
    /// Somebody has: it holds a journal, or the mark of one.
    Served,
    /// This account may not look.
    Unknown,
}

impl History {
    /// Looks at a state directory. Blocks.
    pub fn of(state_dir: &Path) -> Self {
        let looks = [JOURNAL, BEGAN].map(|name| fs::symlink_metadata(state_dir.join(name)));
        if looks.iter().any(Result::is_ok) {
            return Self::Served;
        }
        let is_away = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        };
        if looks.iter().filter_map(|look| look.as_ref().err()).all(is_away) {
            Self::Fresh
        } else {
            Self::Unknown
        }
    }

    /// Says what helps where a file cannot be read, with the text of [`Self::secret`] or
    /// [`Self::certificate`].
    pub(super) fn unread(self, path: &Path, helps: &str) -> String {
        match self {
            Self::Fresh => similar_path::hint_or(path, helps),
            Self::Served | Self::Unknown => similar_path::hint_lost(path, helps),
        }
    }

    /// Says what helps where a secret is missing or is none: `fresh` where nobody has served.
    pub(super) const fn secret(self, fresh: &'static str) -> &'static str {
        match self {
            Self::Fresh => fresh,
            Self::Served => {
                "put the file back from the backup, and do not restart before: octroi has served here, and if it runs, it serves on with \
                 the one in memory; with another one in its place, what was made with the old one counts for nothing: sessions, tokens. A \
                 key that is new, and was never in use, `octroi keys init` makes"
            }
            Self::Unknown => {
                "if octroi has served here, put the file back from the backup, and do not restart before (this account cannot see whether it \
                 has); `octroi keys init` is for a first start"
            }
        }
    }

    /// Says what helps where a certificate or its key is missing: `fresh` where nobody has served.
    pub(super) const fn certificate(self, fresh: &'static str) -> &'static str {
        match self {
            Self::Fresh => fresh,
            Self::Served => {
                "put the file back from the backup, and do not restart before: octroi has served here, and if it runs, it serves on with \
                 the certificate in memory. A certificate for a new host comes from your CA"
            }
            Self::Unknown => {
                "if octroi has served here, put the file back from the backup, and do not restart before (this account cannot see whether it \
                 has); otherwise the certificate comes from your CA"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_or_its_mark_says_that_octroi_has_served() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!([History::of(&state), History::of(&dir.path().join("file"))], [History::Fresh; 2]);
        fs::create_dir(&state).unwrap();
        fs::write(state.join("control.sock"), "").unwrap();
        assert_eq!(History::of(&state), History::Fresh);
        for name in [JOURNAL, BEGAN] {
            fs::write(state.join(name), "").unwrap();
            assert_eq!(History::of(&state), History::Served, "{name}");
            fs::remove_file(state.join(name)).unwrap();
        }
        // Nobody can look where a link leads in a circle.
        std::os::unix::fs::symlink("circle", dir.path().join("circle")).unwrap();
        assert_eq!(History::of(&dir.path().join("circle")), History::Unknown);
    }

    #[test]
    fn making_is_named_where_nobody_has_served() {
        const FRESH: &str = "`octroi keys init` makes it";

        assert_eq!([History::Fresh.secret(FRESH), History::Fresh.certificate(FRESH)], [FRESH; 2]);
        for history in [History::Served, History::Unknown] {
            for text in [history.secret(FRESH), history.certificate(FRESH)] {
                assert!(text.contains("back from the backup, and do not restart before"), "{text}");
            }
            assert!(!history.certificate(FRESH).contains("keys init"));
        }
    }
}
