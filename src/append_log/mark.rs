//! The mark beside a log: since when the log is complete, and what it held when the mark was written.
//!
//! A log that was lost, or restored from a backup, would silently forget what was written since. The mark
//! holds the file's length and a digest of that much of it, so that a file which is gone, shorter or another
//! one is recognised. It is written every ten seconds and at the stop; so the file is never shorter than its
//! mark says, whatever a crash tears off.
//!
//! The log is sometimes rewritten as another file. Before that one gets its name, the mark names both, so
//! that `kill -9` between the two steps is no loss, whichever file is there. A restore of the whole folder,
//! mark included, cannot be recognised.
//!
//! ```json
//! {"version":1,"began":1796083200000,"seen":1796090000000,"files":[{"length":32,"sha256":"…"}]}
//! ```
//!
//! Times are milliseconds since 1970. `began` is 0 where the log is complete from its first day: it is from
//! before there were marks, or an operator said so (`accepted`). `lost` is when a loss was found that nobody
//! has accepted.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{files, model::UnixTime};

/// The version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// How large a mark may be. It has a few hundred bytes.
const MOST_BYTES: u64 = 16 << 10;

/// How much of a log is digested at once, in bytes.
const PIECE: usize = 256 << 10;

/// Since when a log is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// What the log holds is complete from then on; 0: from its first day.
    pub began: UnixTime,
    /// When a loss was found that no operator has accepted.
    pub lost: Option<UnixTime>,
}

/// The mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) beginning: Beginning,
    /// When an operator accepted a loss last.
    pub(crate) accepted: Option<UnixTime>,
    /// When it was written.
    pub(crate) seen: UnixTime,
    /// What the log held: one, or two while it is written anew.
    pub(crate) files: Vec<Extent>,
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) length: u64,
    pub(crate) digest: [u8; 32],
}

/// The result of comparing the mark with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// There is neither.
    First,
    /// There is a log without a mark: an earlier version's. It counts as whole.
    Unmarked,
    /// The log holds what the mark says.
    Whole(Mark),
    /// The log does not hold what the mark says.
    Lost {
        /// When the mark was written, as far as it can be read.
        seen: UnixTime,
        /// What is wrong.
        loss: Loss,
    },
}

/// What is wrong with a log that does not hold what its mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The mark cannot be read.
    MarkUnreadable,
    /// The log is gone.
    Gone,
    /// It is shorter than it was.
    Shorter,
    /// It is another file than it was.
    Replaced,
}

impl Past {
    /// Compares what the mark says with a log: its length, where there is one, and the digests of beginnings
    /// of it.
    pub(crate) fn judge(
        mark: io::Result<Option<Mark>>,
        length: Option<u64>,
        digest: impl Fn(u64) -> Option<[u8; 32]>,
    ) -> Self {
        let mark = match mark {
            Ok(mark) => mark,
            Err(_) => {
                return Self::Lost { seen: UnixTime::default(), loss: Loss::MarkUnreadable };
            }
        };
        let (mark, length) = match (mark, length) {
            (None, None) => return Self::First,
            (None, Some(_)) => return Self::Unmarked,
            (Some(mark), None) => return Self::Lost { seen: mark.seen, loss: Loss::Gone },
            (Some(mark), Some(length)) => (mark, length),
        };
        if mark.files.iter().any(|extent| digest(extent.length) == Some(extent.digest)) {
            return Self::Whole(mark);
        }
        let is_shorter = mark.files.iter().all(|extent| extent.length > length);
        let loss = if is_shorter { Loss::Shorter } else { Loss::Replaced };
        Self::Lost { seen: mark.seen, loss }
    }

    /// Says why the log counts as lost, where it does.
    pub(crate) const fn loss(&self) -> Option<Loss> {
        match self {
            Self::Lost { loss, .. } => Some(*loss),
            Self::First | Self::Unmarked | Self::Whole(_) => None,
        }
    }

    /// Returns the mark, where the log holds what it says.
    pub(super) fn mark(&self) -> Option<Mark> {
        match self {
            Self::Whole(mark) => Some(mark.clone()),
            Self::First | Self::Unmarked | Self::Lost { .. } => None,
        }
    }

    /// Says since when the log is complete. A loss is dated by the later of now and the mark: a machine that
    /// starts may not know the time yet.
    pub(crate) fn beginning(&self, now: UnixTime) -> Beginning {
        match self {
            Self::First => Beginning { began: now, lost: None },
            Self::Unmarked => Beginning::default(),
            Self::Whole(mark) => mark.beginning,
            Self::Lost { seen, .. } => {
                let at = now.max(*seen);
                Beginning { began: at, lost: Some(at) }
            }
        }
    }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    began: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<u64>,
    seen: u64,
    files: Vec<WrittenExtent>,
}

#[derive(Serialize, Deserialize)]
struct WrittenExtent {
    length: u64,
    sha256: String,
}

/// Reads a mark; nothing where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Mark>> {
    let text = match files::read_text(path, MOST_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let written: Written = serde_json::from_str(&text)?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    if written.version != VERSION {
        return Err(bad());
    }
    let time = UnixTime::from_millis;
    let extent =
        |extent: WrittenExtent| Some(Extent { length: extent.length, digest: unhex(&extent.sha256)? });
    Ok(Some(Mark {
        beginning: Beginning { began: time(written.began), lost: written.lost.map(time) },
        accepted: written.accepted.map(time),
        seen: time(written.seen),
        files: written.files.into_iter().map(extent).collect::<Option<_>>().ok_or_else(bad)?,
    }))
}

/// Puts a mark in the place of the one that is there, in one step, and returns once it is durable.
pub(super) fn write(path: &Path, mark: &Mark) -> io::Result<()> {
    let millis = |time: UnixTime| time.as_millis();
    let written = Written {
        version: VERSION,
        began: mark.beginning.began.as_millis(),
        lost: mark.beginning.lost.map(millis),
        accepted: mark.accepted.map(millis),
        seen: mark.seen.as_millis(),
        files: mark
            .files
            .iter()
            .map(|extent| WrittenExtent { length: extent.length, sha256: hex(&extent.digest) })
            .collect(),
    };
    let beside = beside(path);
    let bytes = serde_json::to_vec(&written)?;
    let mut file = files::create_new(&beside, 0o600)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    files::sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Returns where a mark is written before it replaces the one that is there.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Digests a file up to a length; returns the state behind it, and the digests of the beginnings that were
/// asked for and are there.
pub(super) fn digest(file: &File, length: u64, beginnings: &[u64]) -> io::Result<(Sha256, Vec<Extent>)> {
    use std::os::unix::fs::FileExt;
    let (mut state, mut found, mut at) = (Sha256::new(), Vec::new(), 0_u64);
    let mut stops: Vec<u64> =
        beginnings.iter().copied().filter(|stop| *stop <= length).chain([length]).collect();
    stops.sort_unstable();
    let mut piece = vec![0; PIECE];
    for stop in stops {
        while at < stop {
            let most = usize::try_from(stop.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let part = piece.get_mut(..most).unwrap_or_default();
            file.read_exact_at(part, at)?;
            state.update(&*part);
            at = at.saturating_add(u64::try_from(most).unwrap_or(u64::MAX));
        }
        found.push(Extent { length: stop, digest: state.clone().finalize().into() });
    }
    Ok((state, found))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "revocations.began";

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn mark() -> Mark {
        Mark {
            beginning: Beginning { began: at(100), lost: Some(at(90)) },
            accepted: Some(at(80)),
            seen: at(110),
            files: vec![Extent { length: 32, digest: [0xab; 32] }, Extent { length: 64, digest: [1; 32] }],
        }
    }

    #[test]
    fn a_mark_reads_back_and_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join(NAME)).unwrap(), None);

        for mark in [Mark { files: Vec::new(), ..Mark::default() }, mark()] {
            write(&dir.path().join(NAME), &mark).unwrap();
            assert_eq!(read(&dir.path().join(NAME)).unwrap(), Some(mark));
        }

        assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside(&dir.path().join(NAME)).exists());
    }

    #[test]
    fn a_mark_is_one_object_in_a_stable_order() {
        let dir = tempfile::tempdir().unwrap();
        let written = |mark: &Mark| {
            write(&dir.path().join(NAME), mark).unwrap();
            fs::read_to_string(dir.path().join(NAME)).unwrap()
        };

        let files = format!(
            r#"[{{"length":32,"sha256":"{}"}},{{"length":64,"sha256":"{}"}}]"#,
            "ab".repeat(32),
            "01".repeat(32)
        );
        assert_eq!(
            written(&mark()),
            format!(
                r#"{{"version":1,"began":100000,"lost":90000,"accepted":80000,"seen":110000,"files":{files}}}"#
            )
        );
        let whole = Mark { beginning: Beginning::default(), accepted: None, files: Vec::new(), ..mark() };
        assert_eq!(written(&whole), r#"{"version":1,"began":0,"seen":110000,"files":[]}"#);
    }

    #[test]
    fn what_is_no_mark_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let good = r#"{"version":1,"began":0,"seen":0,"files":[{"length":32,"sha256":"HEX"}]}"#
            .replace("HEX", &"ab".repeat(32));
        let put = |text: &str| fs::write(dir.path().join(NAME), text).unwrap();
        put(&good);
        assert!(read(&dir.path().join(NAME)).is_ok());

        for bad in [
            "{}",
            &good.replace(":1,", ":2,"),
            &good.replace("ab", "xy"),
            &good.replacen("ab", "", 1),
            "\0\0\0",
        ] {
            put(bad);
            assert!(read(&dir.path().join(NAME)).is_err(), "{bad}");
        }
        for length in 0..good.len() {
            put(&good[..length]);
            assert!(read(&dir.path().join(NAME)).is_err(), "cut at {length}");
        }
        fs::remove_file(dir.path().join(NAME)).unwrap();
        crate::files::make_named_pipe(&dir.path().join(NAME));
        assert!(read(&dir.path().join(NAME)).is_err(), "a pipe, without waiting for its writer");
        write(&dir.path().join(NAME), &mark()).unwrap();
        assert_eq!(read(&dir.path().join(NAME)).unwrap(), Some(mark()), "it is replaced");
    }

    #[test]
    fn a_journal_is_whole_if_it_begins_with_what_the_mark_says() {
        let digest = |length: u64| {
            [(32, [0xab; 32]), (64, [2; 32])]
                .iter()
                .find(|(known, _)| *known == length)
                .map(|(_, digest)| *digest)
        };
        let judge = |mark: Option<Mark>, length| Past::judge(Ok(mark), length, digest);
        let with = |files: &[(u64, u8)]| {
            let files =
                files.iter().map(|(length, byte)| Extent { length: *length, digest: [*byte; 32] }).collect();
            Some(Mark { files, ..mark() })
        };
        let loss = |past: Past| match past {
            Past::Lost { seen, loss } => {
                assert_eq!(seen, at(110));
                Some(loss)
            }
            Past::First | Past::Unmarked | Past::Whole(_) => None,
        };

        assert_eq!(judge(None, None), Past::First);
        assert_eq!(judge(None, Some(64)), Past::Unmarked);
        assert_eq!(loss(judge(with(&[(32, 0xab)]), Some(64))), None);
        assert_eq!(loss(judge(with(&[(99, 7), (64, 2)]), Some(64))), None, "one of the two is there");
        assert_eq!(loss(judge(with(&[(32, 0xab)]), None)), Some(Loss::Gone));
        assert_eq!(loss(judge(with(&[(65, 2)]), Some(64))), Some(Loss::Shorter));
        assert_eq!(loss(judge(with(&[(64, 3)]), Some(64))), Some(Loss::Replaced));
        assert_eq!(loss(judge(with(&[(32, 1)]), Some(64))), Some(Loss::Replaced));
        let unreadable = Past::judge(Err(io::ErrorKind::InvalidData.into()), Some(64), digest);
        assert_eq!(unreadable, Past::Lost { seen: UnixTime::default(), loss: Loss::MarkUnreadable });
    }

    #[test]
    fn a_loss_is_never_dated_before_the_mark() {
        let lost = Past::Lost { seen: at(500), loss: Loss::Gone };

        assert_eq!(lost.beginning(at(600)), Beginning { began: at(600), lost: Some(at(600)) });
        assert_eq!(
            lost.beginning(at(3)),
            Beginning { began: at(500), lost: Some(at(500)) },
            "a clock that is not set yet"
        );
        assert_eq!(Past::First.beginning(at(600)), Beginning { began: at(600), lost: None });
        assert_eq!(Past::Unmarked.beginning(at(600)), Beginning::default());
    }

    #[test]
    fn beginnings_are_digested_in_one_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..PIECE + 1000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(&path, &bytes).unwrap();
        let of = |length: usize| <[u8; 32]>::from(Sha256::digest(&bytes[..length]));
        let wide = |length: usize| u64::try_from(length).unwrap();

        let (state, found) =
            digest(&File::open(&path).unwrap(), wide(bytes.len()), &[wide(PIECE + 7), 32, u64::MAX]).unwrap();

        assert_eq!(<[u8; 32]>::from(state.finalize()), of(bytes.len()));
        assert_eq!(
            found,
            [32, PIECE + 7, bytes.len()].map(|length| Extent { length: wide(length), digest: of(length) })
        );
    }
}
