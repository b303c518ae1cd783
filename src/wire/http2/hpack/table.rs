//! The static table and the dynamic table (RFC 7541, section 2.3).

use std::{collections::VecDeque, sync::LazyLock};

use crate::wire::http2::field::{FIELD_OVERHEAD, FieldKind, classify};

/// How much capacity for evicted entries is kept from one block to the next.
const KEPT: usize = 16;

/// The index space: the static table, then the dynamic one.
#[derive(Debug)]
pub(super) struct Table {
    /// The dynamic entries, newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// The maximum size that the client has set; at first the one that we allow.
    max: usize,
    allowed: usize,
    /// The number of entries and the maximum size before the block that may yet be rolled back.
    before: Option<(usize, usize)>,
    /// The entries that this block evicted, oldest first.
    evicted: Vec<Entry>,
}

/// A field.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name, followed by the value.
    text: Box<[u8]>,
    /// The length of the name.
    name: usize,
    kind: FieldKind,
}

impl Entry {
    /// Makes an entry. `kind` is what [`classify`] returns, or [`FieldKind::Invalid`] where nobody will ask
    /// for it.
    pub(super) fn new(name: &[u8], value: &[u8], kind: FieldKind) -> Self {
        Self { text: [name, value].concat().into(), name: name.len(), kind }
    }

    fn size(&self) -> usize {
        self.text.len() + FIELD_OVERHEAD
    }
}

impl Table {
    /// Creates an empty table whose size is at most `allowed` octets.
    pub(super) fn new(allowed: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, max: allowed, allowed, before: None, evicted: Vec::new() }
    }

    /// Returns the name and the value at an index. The first index is 1.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(at - STATIC.len())?;
        entry.text.split_at_checked(entry.name)
    }

    /// Returns the kind of the field at an index.
    pub(super) fn kind(&self, index: usize) -> Option<FieldKind> {
        let at = index.checked_sub(1)?;
        KINDS.get(at).copied().or_else(|| self.entries.get(at - STATIC.len()).map(|entry| entry.kind))
    }

    /// Begins a block that may yet be rolled back. Evicted entries are held until then: no more than the
    /// table held and the block adds.
    pub(super) fn begin(&mut self) {
        self.before = Some((self.entries.len(), self.max));
    }

    /// Keeps the changes since the block began.
    pub(super) fn commit(&mut self) {
        self.before = None;
        if !self.evicted.is_empty() {
            self.evicted.clear();
            self.evicted.shrink_to(KEPT);
        }
    }

    /// Restores the table as it was before the block began.
    pub(super) fn roll_back(&mut self) {
        let Some((count, max)) = self.before.take() else { return };
        self.max = max;
        while let Some(entry) = self.evicted.pop() {
            self.size += entry.size();
            self.entries.push_back(entry);
        }
        while self.entries.len() > count
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
        }
        self.evicted = Vec::new();
    }

    /// Adds an entry and evicts those that no longer fit. An entry larger than the table empties it (RFC
    /// 7541, section 4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    /// Evicts all entries.
    pub(super) fn clear(&mut self) {
        self.evict(0);
    }

    /// Changes the maximum size (RFC 7541, section 4.3). Returns `None` where it exceeds what we allow.
    pub(super) fn resize(&mut self, max: usize) -> Option<()> {
        self.max = Some(max).filter(|max| *max <= self.allowed)?;
        self.evict(max);
        Some(())
    }

    fn evict(&mut self, max: usize) {
        while self.size > max
            && let Some(last) = self.entries.pop_back()
        {
            self.size -= last.size();
            if self.before.is_some() {
                self.evicted.push(last);
            }
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

/// The kinds of the entries of the static table.
static KINDS: LazyLock<Vec<FieldKind>> = LazyLock::new(|| {
    STATIC.iter().map(|(name, value)| classify(name.as_bytes(), value.as_bytes())).collect()
});

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

    fn entry(name: &[u8], value: &[u8]) -> Entry {
        Entry::new(name, value, classify(name, value))
    }

    #[test]
    fn the_oldest_go_where_a_new_one_has_no_room() {
        let mut table = Table::new(3 * 34);
        for name in [b"a", b"b", b"c"] {
            table.insert(entry(name, b"1"));
        }
        assert_eq!(
            (table.get(62), table.get(64), table.get(65)),
            (Some((&b"c"[..], &b"1"[..])), Some((&b"a"[..], &b"1"[..])), None)
        );

        table.insert(entry(b"d", b"12"));
        assert_eq!(
            (table.get(62), table.get(63), table.get(64)),
            (Some((&b"d"[..], &b"12"[..])), Some((&b"c"[..], &b"1"[..])), None)
        );
        // Larger than the table: it is not there, and nothing else is.
        table.insert(entry(b"e", &[b'x'; 70]));
        assert_eq!(table.get(62), None);
        table.insert(entry(b"e", &[b'x'; 69]));
        assert!(table.get(62).is_some());
    }

    #[test]
    fn the_size_is_at_most_what_we_allow() {
        let mut table = Table::new(100);
        table.insert(entry(b"a", b"1"));
        assert_eq!((table.resize(101), table.resize(34)), (None, Some(())));
        assert!(table.get(62).is_some());
        assert_eq!((table.resize(33), table.get(62)), (Some(()), None));
        assert_eq!((table.resize(100), table.get(62)), (Some(()), None));
    }

    #[test]
    fn indices_are_those_of_the_standard() {
        let table = Table::new(0);
        assert_eq!((table.get(0), table.get(62)), (None, None));
        for (index, name, value) in [
            (1, ":authority", ""),
            (8, ":status", "200"),
            (16, "accept-encoding", "gzip, deflate"),
            (61, "www-authenticate", ""),
        ] {
            assert_eq!(table.get(index), Some((name.as_bytes(), value.as_bytes())));
        }
    }

    #[test]
    fn a_block_that_is_undone_has_changed_nothing() {
        let all = |table: &Table| -> Vec<_> {
            (62..80)
                .map_while(|index| table.get(index).map(|(name, value)| (name.to_vec(), value.to_vec())))
                .collect()
        };
        let mut table = Table::new(3 * 34);
        for name in [b"a", b"b", b"c"] {
            table.insert(entry(name, b"1"));
        }
        let before = all(&table);
        let changes: [&dyn Fn(&mut Table); 6] = [
            &|_| {},
            &|table| table.insert(entry(b"d", b"1")),
            // More than it has room for, so that entries of the block go too.
            &|table| (0..7).for_each(|_| table.insert(entry(b"d", b"1"))),
            &|table| table.insert(entry(b"e", &[b'x'; 70])),
            &|table| assert!(table.resize(0).and(table.resize(102)).is_some()),
            &|table| {
                table.resize(40);
                table.insert(entry(b"d", b"1"));
                table.insert(entry(b"e", b"1"));
            },
        ];
        for change in changes {
            table.begin();
            change(&mut table);
            table.roll_back();
            assert_eq!((all(&table), table.size, table.max), (before.clone(), 102, 102));
        }
        table.begin();
        changes[1](&mut table);
        table.commit();
        table.roll_back();
        assert_eq!((all(&table).len(), table.get(62)), (3, Some((&b"d"[..], &b"1"[..]))));
        assert!(table.evicted.is_empty());
    }

    #[test]
    fn an_entry_knows_what_it_is() {
        let mut table = Table::new(4096);
        for (name, value, kind) in [
            (&b"x"[..], &b"a"[..], FieldKind::Regular),
            (b"X", b"a", FieldKind::Invalid),
            (b"host", b"a", FieldKind::Host),
        ] {
            table.insert(entry(name, value));
            assert_eq!(table.kind(62), Some(kind));
        }
        for (index, kind) in [
            (0, None),
            (1, Some(FieldKind::Invalid)),
            (2, Some(FieldKind::Method)),
            (4, Some(FieldKind::Path)),
            (7, Some(FieldKind::Scheme)),
            (8, Some(FieldKind::Invalid)),
            (28, Some(FieldKind::Invalid)),
            (32, Some(FieldKind::Cookie)),
            (57, Some(FieldKind::Invalid)),
            (61, Some(FieldKind::Regular)),
            (64, Some(FieldKind::Regular)),
            (65, None),
        ] {
            assert_eq!(table.kind(index), kind, "{index}");
        }
    }
}
