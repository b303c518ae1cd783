//! When session keys were used last: this says which of them may be removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use papaya::HashMap;
use serde::{Deserialize, Serialize};

use crate::{files, model::UnixTime, session::KeyRing};

/// The file, under the state directory.
const NAME: &str = "session-keys.json";

/// The largest file: 65,535 keys of about a hundred bytes each.
const FILE_BYTES: u64 = 8 << 20;

/// The use of each key of the ring. Times survive a restart, counts do not.
///
/// It is bounded by the ring: keys that are not in it are forgotten.
#[derive(Debug)]
pub struct KeyUses {
    path: PathBuf,
    keys: HashMap<u16, KeyUse, ahash::RandomState>,
}

/// The use of one key. Times are milliseconds since 1970; 0 is never.
#[derive(Debug, Default)]
struct KeyUse {
    /// Shows whether the same number has another secret now.
    check: String,
    since: AtomicU64,
    minted: AtomicU64,
    opened: AtomicU64,
    uses: AtomicU64,
}

/// The use of one key, as it is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsed {
    /// Since when this node knows the key.
    pub since: UnixTime,
    /// When it was last the minting key; `None` if it never was on this node.
    pub minted: Option<UnixTime>,
    /// When it last opened a valid session; `None` if it never did on this node.
    pub opened: Option<UnixTime>,
    /// How many requests had a valid session that it opened, since the start of the process.
    pub uses: u64,
}

impl KeyUsed {
    /// Returns when the key was last needed: a session of it that nobody has used since began before that.
    pub fn quiet_since(&self) -> UnixTime {
        self.since.max(self.minted.unwrap_or_default()).max(self.opened.unwrap_or_default())
    }
}

/// One key in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    check: String,
    since_ms: u64,
    minted_ms: u64,
    opened_ms: u64,
}

impl KeyUses {
    /// Reads the file. If it cannot be read, all keys count as new, and so are kept longer.
    pub fn open(state_dir: &Path) -> (Self, Option<io::Error>) {
        let path = state_dir.join(NAME);
        let (lines, wrong) = match read(&path) {
            Ok(lines) => (lines, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        let keys = HashMap::default();
        for (id, line) in lines {
            let used = KeyUse {
                check: line.check,
                since: line.since_ms.into(),
                minted: line.minted_ms.into(),
                opened: line.opened_ms.into(),
                uses: AtomicU64::default(),
            };
            keys.pin().insert(id, used);
        }
        (Self { path, keys }, wrong)
    }

    /// Returns the numbers of the keys in the file of this state directory; `None` if there is none, or it
    /// cannot be read. Blocks.
    pub fn known(state_dir: &Path) -> Option<BTreeSet<u16>> {
        read(&state_dir.join(NAME)).ok().map(|lines| lines.into_keys().collect())
    }

    /// Takes over the keys of a ring, and notes which one mints.
    pub fn settle(&self, ring: Option<&KeyRing>, now: UnixTime) {
        let keys = self.keys.pin();
        let ring_keys = ring.map_or(&[][..], KeyRing::keys);
        keys.retain(|id, used| ring_keys.iter().any(|key| key.id == *id && key.check() == used.check));
        for key in ring_keys {
            keys.get_or_insert_with(key.id, || KeyUse {
                check: key.check(),
                since: now.as_millis().into(),
                ..KeyUse::default()
            });
        }
        if let Some(used) = ring.and_then(KeyRing::minting).and_then(|key| keys.get(&key.id)) {
            used.minted.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Notes that a key opened a valid session.
    pub fn used(&self, id: u16, now: UnixTime) {
        if let Some(used) = self.keys.pin().get(&id) {
            used.uses.fetch_add(1, Ordering::Relaxed);
            used.opened.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Returns the use of a key.
    pub fn of(&self, id: u16) -> KeyUsed {
        let keys = self.keys.pin();
        let Some(used) = keys.get(&id) else { return KeyUsed::default() };
        let time = |at: &AtomicU64| UnixTime::from_millis(at.load(Ordering::Relaxed));
        let ever = |at: &AtomicU64| Some(time(at)).filter(|at| *at != UnixTime::default());
        KeyUsed {
            since: time(&used.since),
            minted: ever(&used.minted),
            opened: ever(&used.opened),
            uses: used.uses.load(Ordering::Relaxed),
        }
    }

    /// Writes the file. Blocks.
    pub fn write(&self) -> io::Result<()> {
        let keys = self.keys.pin();
        let line = |used: &KeyUse| Line {
            check: used.check.clone(),
            since_ms: used.since.load(Ordering::Relaxed),
            minted_ms: used.minted.load(Ordering::Relaxed),
            opened_ms: used.opened.load(Ordering::Relaxed),
        };
        let lines: BTreeMap<u16, Line> = keys.iter().map(|(id, used)| (*id, line(used))).collect();
        let new = self.path.with_extension("json.new");
        let mut file = files::create_new(&new, 0o600)?;
        file.write_all(&serde_json::to_vec(&lines)?)?;
        // No fsync: what a power cut loses makes keys look newer, so they are kept longer.
        fs::rename(&new, &self.path)
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<u16, Line>> {
    let text = files::read_text(path, FILE_BYTES)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Secret, session::MasterKey};

    const T: [UnixTime; 4] = [
        UnixTime::from_secs(1000),
        UnixTime::from_secs(2000),
        UnixTime::from_secs(3000),
        UnixTime::from_secs(4000),
    ];

    fn ring(keys: &[(u16, u8, bool)]) -> KeyRing {
        KeyRing::new(
            keys.iter()
                .map(|&(id, byte, open_only)| MasterKey { id, secret: Secret::new([byte; 32]), open_only })
                .collect(),
        )
    }

    #[test]
    fn a_key_is_quiet_since_it_last_minted_or_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (uses, wrong) = KeyUses::open(dir.path());
        assert!(wrong.is_none());

        uses.settle(Some(&ring(&[(1, 1, false)])), T[0]);
        uses.used(1, T[1]);
        uses.settle(Some(&ring(&[(2, 2, false), (1, 1, true)])), T[2]);

        let old = KeyUsed { since: T[0], minted: Some(T[0]), opened: Some(T[1]), uses: 1 };
        assert_eq!((uses.of(1), uses.of(1).quiet_since()), (old, T[1]));
        assert_eq!(uses.of(2), KeyUsed { since: T[2], minted: Some(T[2]), opened: None, uses: 0 });
        uses.used(9, T[3]);
        assert_eq!(uses.of(9), KeyUsed::default());
    }

    #[test]
    fn times_survive_a_restart_and_counts_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ring(&[(2, 2, false), (1, 1, true)]);
        let (uses, _) = KeyUses::open(dir.path());
        uses.settle(Some(&keys), T[0]);
        uses.used(1, T[1]);
        uses.write().unwrap();
        uses.write().unwrap();

        let (again, wrong) = KeyUses::open(dir.path());
        again.settle(Some(&keys), T[3]);

        assert!(wrong.is_none());
        assert_eq!(again.of(1), KeyUsed { since: T[0], minted: None, opened: Some(T[1]), uses: 0 });
        assert_eq!(again.of(2).minted, Some(T[3]));
    }

    #[test]
    fn the_file_is_one_object_in_a_stable_order() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ring(&[(2, 2, false), (1, 1, true)]);
        let (uses, _) = KeyUses::open(dir.path());
        uses.settle(Some(&keys), T[0]);
        uses.used(1, T[1]);

        uses.write().unwrap();

        let [two, one] = keys.keys() else { panic!("two keys") };
        let expected = format!(
            concat!(
                r#"{{"1":{{"check":"{}","since_ms":1000000,"minted_ms":0,"opened_ms":2000000}},"#,
                r#""2":{{"check":"{}","since_ms":1000000,"minted_ms":1000000,"opened_ms":0}}}}"#
            ),
            one.check(),
            two.check()
        );
        assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), expected);
    }

    #[test]
    fn another_secret_is_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let (uses, _) = KeyUses::open(dir.path());
        uses.settle(Some(&ring(&[(1, 1, false)])), T[0]);
        uses.used(1, T[1]);

        uses.settle(Some(&ring(&[(1, 7, false)])), T[2]);
        assert_eq!(uses.of(1), KeyUsed { since: T[2], minted: Some(T[2]), opened: None, uses: 0 });
        uses.settle(None, T[3]);
        assert_eq!(uses.of(1), KeyUsed::default());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_is_none_makes_keys_look_new_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let (uses, _) = KeyUses::open(dir.path());
        uses.settle(Some(&ring(&[(1, 1, false)])), T[0]);
        uses.write().unwrap();
        let whole = fs::read(&path).unwrap();
        let looks_new = |what: &str| {
            let (uses, wrong) = KeyUses::open(dir.path());
            uses.settle(Some(&ring(&[(1, 1, false)])), T[2]);
            assert!(wrong.is_some(), "{what}");
            assert_eq!(uses.of(1).since, T[2], "{what}");
            uses
        };

        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            looks_new(&format!("cut at {length}"));
        }
        fs::write(&path, [0; 64]).unwrap();
        looks_new("zeros");
        fs::remove_file(&path).unwrap();
        crate::files::make_named_pipe(&path);
        looks_new("a pipe").write().unwrap();

        let (again, wrong) = KeyUses::open(dir.path());
        again.settle(Some(&ring(&[(1, 1, false)])), T[3]);
        assert_eq!((wrong.is_none(), again.of(1).since), (true, T[2]));
    }
}
