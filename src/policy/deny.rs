//! The addresses that a listener refuses before any handshake.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::IpSet;
use crate::model::{ClientIp, Range};

/// The ranges that a listener refuses: those in the configuration, and those in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    /// The ranges in the configuration.
    pub ranges: IpSet,
    /// The files, as last read successfully.
    pub files: Box<[DenyFile]>,
}

/// A file of ranges. Listeners that name the same file share its ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyFile {
    /// The file.
    pub path: PathBuf,
    /// Its ranges.
    pub ranges: Arc<IpSet>,
}

impl DenyList {
    /// Returns the most specific range that contains the address, and the file it is from.
    pub fn find(&self, client: ClientIp) -> Option<(Range, Option<&Path>)> {
        let in_file = |file: &'_ DenyFile| file.ranges.named(client);
        let own = self.ranges.named(client).map(|range| (range, None));
        own.or_else(|| self.files.iter().find_map(|file| Some((in_file(file)?, Some(file.path.as_path())))))
    }

    /// Returns how many ranges there are.
    pub fn len(&self) -> usize {
        let files: usize = self.files.iter().map(|file| file.ranges.ranges().len()).sum();
        self.ranges.ranges().len().saturating_add(files)
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn set(ranges: &[&str]) -> IpSet {
        IpSet::new(ranges.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn a_range_is_named_with_its_file() {
        let file = DenyFile {
            path: "bad.txt".into(),
            ranges: Arc::new(set(&["198.51.100.0/24", "198.51.100.7/32"])),
        };
        let list = DenyList { ranges: set(&["192.0.2.0/24"]), files: Box::new([file]) };
        let find = |text: &str| {
            let found = list.find(ClientIp::from(text.parse::<IpAddr>().unwrap()));
            found.map(|(range, path)| (range.to_string(), path.map(Path::to_path_buf)))
        };

        assert_eq!(find("192.0.2.1"), Some(("192.0.2.0/24".to_owned(), None)));
        assert_eq!(find("::ffff:192.0.2.1"), Some(("192.0.2.0/24".to_owned(), None)));
        assert_eq!(find("198.51.100.7"), Some(("198.51.100.7/32".to_owned(), Some("bad.txt".into()))));
        assert_eq!(find("203.0.113.1"), None);
        assert_eq!((list.len(), list.is_empty(), DenyList::default().is_empty()), (3, false, true));
    }
}
