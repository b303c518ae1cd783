//! The two tables that fields are named from (RFC 7541, section 2.3).

use std::collections::VecDeque;

/// What each entry counts beside its octets (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;

/// The static table, and behind it what the client has put into the dynamic one.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// How large the client says that the table is; at first what we allow.
    most: usize,
    allowed: usize,
}

/// A field: its name, and behind that its value.
#[derive(Debug)]
pub(super) struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { text: [name, value].concat().into(), name: name.len() }
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

impl Table {
    /// Begins with an empty table of so many octets.
    pub(super) fn new(allowed: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, most: allowed, allowed }
    }

    /// Returns an entry, by its index from 1.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(at - STATIC.len())?;
        entry.text.split_at_checked(entry.name)
    }

    /// Puts a field in, and takes out what has no room beside it: all, where it is larger than the table itself (RFC 7541, section 4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    /// Takes everything out.
    pub(super) fn clear(&mut self) {
        self.evict(0);
    }

    /// Changes the size (RFC 7541, section 4.3). Nothing where that is more than we allow.
    pub(super) fn resize(&mut self, most: usize) -> Option<()> {
        self.most = Some(most).filter(|most| *most <= self.allowed)?;
        self.evict(most);
        Some(())
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(last) = self.entries.pop_back()
        {
            self.size -= last.size();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"),
    (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""),
    ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""),
    ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_where_a_new_one_has_no_room() {
        let mut table = Table::new(3 * 34);
        for name in [b"a", b"b", b"c"] {
            table.insert(Entry::new(name, b"1"));
        }
        assert_eq!((table.get(62), table.get(64), table.get(65)), (Some((&b"c"[..], &b"1"[..])), Some((&b"a"[..], &b"1"[..])), None));

        table.insert(Entry::new(b"d", b"12"));
        assert_eq!((table.get(62), table.get(63), table.get(64)), (Some((&b"d"[..], &b"12"[..])), Some((&b"c"[..], &b"1"[..])), None));
        // Larger than the table: it is not there, and nothing else is.
        table.insert(Entry::new(b"e", &[b'x'; 70]));
        assert_eq!(table.get(62), None);
        table.insert(Entry::new(b"e", &[b'x'; 69]));
        assert!(table.get(62).is_some());
    }

    #[test]
    fn the_size_is_at_most_what_we_allow() {
        let mut table = Table::new(100);
        table.insert(Entry::new(b"a", b"1"));
        assert_eq!((table.resize(101), table.resize(34)), (None, Some(())));
        assert!(table.get(62).is_some());
        assert_eq!((table.resize(33), table.get(62)), (Some(()), None));
        assert_eq!((table.resize(100), table.get(62)), (Some(()), None));
    }

    #[test]
    fn indices_are_those_of_the_standard() {
        let table = Table::new(0);
        assert_eq!((table.get(0), table.get(62)), (None, None));
        for (index, name, value) in
            [(1, ":authority", ""), (8, ":status", "200"), (16, "accept-encoding", "gzip, deflate"), (61, "www-authenticate", "")]
        {
            assert_eq!(table.get(index), Some((name.as_bytes(), value.as_bytes())));
        }
    }
}
