//! A marker file: a start found tenants missing. It outlives the process, so that a later start, with some
//! tenants back, does not take the others for removed.
//!
//! The journal records which tenants were there. It cannot record that their removal is unconfirmed, because
//! other versions read its records. So a file stands beside the journal until an operator confirms. Only its
//! existence counts; its text is for people.

use std::{fs, io};

use super::SessionLedger;
use crate::files;

/// The file's name.
const NAME: &str = "tenants.missing";

const TEXT: &str = "A start of octroi missed tenants. As long as this file is here, nobody's sessions end because a tenant is not there; see \
                    `octroi status`. `octroi reload` takes the file away once all are back, `octroi reload --allow-removal` ends their \
                    sessions.\n";

impl SessionLedger {
    /// Says whether an earlier start found tenants missing and nobody has confirmed their removal since. If
    /// the file cannot be looked up, tenants count as missing, so that no session ends by mistake. Blocks.
    pub fn misses_tenants(&self) -> bool {
        fs::symlink_metadata(self.dir.join(NAME))
            .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
    }

    /// Creates or removes the marker. Blocks.
    pub fn note_missing(&self, missing: bool) -> io::Result<()> {
        let path = self.dir.join(NAME);
        if missing == self.misses_tenants() {
            return Ok(());
        }
        if missing {
            let mut file = files::create_new(&path, 0o600)?;
            io::Write::write_all(&mut file, TEXT.as_bytes())?;
            file.sync_all()?;
        } else {
            fs::remove_file(path)?;
        }
        files::sync_folder(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixTime;

    #[test]
    fn whatever_stands_there_says_that_tenants_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SessionLedger::open(dir.path(), UnixTime::from_secs(1)).unwrap();
        assert!(!journal.misses_tenants());

        journal.note_missing(true).unwrap();
        journal.note_missing(true).unwrap();
        assert!(journal.misses_tenants());
        journal.note_missing(false).unwrap();
        journal.note_missing(false).unwrap();
        assert!(!journal.misses_tenants());

        fs::create_dir(dir.path().join(NAME)).unwrap();
        assert!(journal.misses_tenants());
        assert!(journal.note_missing(false).is_err(), "nobody's folder is taken away");
        assert!(journal.misses_tenants());
    }
}
