//! The mark that a start missed tenants: it outlives the process, so that another start does not take for
//! gone who came back in part.
//!
//! The journal keeps who was there. That nobody has said yet whether they are gone on purpose is not in it:
//! its records are read by other versions. So a file stands beside it for as long. What it holds is for
//! people; that something stands there is what counts.

use std::{fs, io};

use super::SessionLedger;
use crate::files;

/// The name of the mark.
const NAME: &str = "tenants.missing";

const TEXT: &str = "A start of octroi missed tenants. As long as this file is here, nobody's sessions end because a tenant is not there; see \
                    `octroi status`. `octroi reload` takes the file away once all are back, `octroi reload --allow-removal` ends their \
                    sessions.\n";

impl SessionLedger {
    /// Says whether an earlier start missed tenants and nobody has confirmed since that they are gone. What
    /// cannot be looked up counts as such: nobody's session ends by it. Blocks.
    pub fn misses_tenants(&self) -> bool {
        fs::symlink_metadata(self.dir.join(NAME))
            .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
    }

    /// Notes whether tenants are missing. Blocks.
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
