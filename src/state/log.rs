//! The journal's file: frames at the end, each durable before the next begins.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head of the file | 12 | `octroi-ended` |
//! | version | 4 | 1 |
//! | settled | 8 | how long the file was when it was written as a whole and synced |
//! | settled: complement | 8 | its bits, inverted |
//! | frame: length | 4 | of the payload, at least 1 |
//! | frame: complement | 4 | the length's bits, inverted |
//! | frame: check | 8 | the first 8 of SHA-256 over the frame's place in the file (u64), the length and the payload |
//! | frame: payload | length | one [record](super::record) or more |
//!
//! A record of a kind that is not known is a later octroi's. Then nothing is read and nothing changed, a torn end included: the marks that
//! could not be read might end sessions. Whoever adds a kind, or a field of one, also counts the version of hand-overs on.
//!
//! Integers are big-endian. One frame is one commit: only the last can be torn by a crash, because the next is begun after it was
//! synced; and what was there when the file was written as a whole was synced before it got its name, so no crash tears it. So a frame that is cut short by the end of the file, or a tail of zeros, is taken off; anything else that does not fit is
//! damage. The length is kept twice so that damage to it is not taken for a torn frame, and all that follows for nothing.
//!
//! A file that is shorter than it was when it was last synced as a whole (a restore that stopped, a full disk) has lost records. Where the
//! [mark](super::began) says that there were some, the journal counts as lost: what is left of it is kept, and sessions from before are
//! refused. Without a mark a file that ends within its head is a first start that was cut short; a longer one is damage, for nobody could
//! tell whom it has forgotten.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    StoreError,
    began::{self, Extent, Mark, Past},
    record::{LAST_KIND, Record},
};
use crate::files;

const NAME: &str = "revocations.journal";
const MAGIC: [u8; 12] = *b"octroi-ended";
const VERSION: u32 = 1;
const HEAD_BYTES: u64 = 32;
/// Where `settled` stands.
const SETTLED_AT: u64 = 16;

/// How much of a rewritten file goes into one frame.
const REWRITE_BYTES: usize = 64 * 1024;

/// The open file, and the lock that keeps others out.
pub(super) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
    /// Of all that is in the file and durable.
    digest: Sha256,
    /// The mark beside it, once there is one.
    mark: Option<Mark>,
    _lock: File,
}

/// A journal that was opened.
pub(super) struct Opened {
    pub(super) log: Log,
    /// What was cut off.
    pub(super) torn: Option<Torn>,
    /// Whether it is to be written anew before it is read again: its head promises more than is there.
    pub(super) is_cut: bool,
    /// What the mark said of it.
    pub(super) past: Past,
}

/// What a crash left of a commit that nobody was told to be done; it was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it began, in bytes from the start of the journal.
    pub offset: u64,
    /// How many bytes were there.
    pub bytes: u64,
}

impl Log {
    /// Opens the file, or makes it; hands every record in it on, and cuts off a torn end.
    pub(super) fn open(dir: &Path, each: impl FnMut(Record)) -> Result<Opened, StoreError> {
        let lock = lock(dir)?;
        let path = dir.join(NAME);
        // Left by a crash in the middle of a rewrite: never in force.
        match fs::remove_file(temporary(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &temporary(&path))(error)),
            Ok(()) | Err(_) => {}
        }
        let read_mark = began::read(dir);
        let mark = read_mark.as_ref().ok().cloned().flatten();
        let (file, meta) = match files::open_to_change(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::begin(dir, lock, path, Past::judge(read_mark, None, |_| None), mark);
            }
            Err(error) => return Err(unopened(&path, error)),
        };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(StoreError::Permissions { path, mode });
        }
        if meta.len() < HEAD_BYTES {
            let has_mark = !matches!(read_mark, Ok(None));
            if !has_mark && !is_part_of_head(&file, meta.len()).map_err(failed("reading", &path))? {
                return Err(StoreError::Damaged { path, offset: 0, what: "the file is no revocation journal" });
            }
            let length = has_mark.then_some(meta.len());
            return Self::begin(dir, lock, path, Past::judge(read_mark, length, |_| None), mark);
        }
        let Found { length, settled } = read(&file, &path, meta.len(), each)?;
        let is_cut = meta.len() < settled;
        if is_cut && matches!(read_mark, Ok(None)) {
            let what = "the file is shorter than it was when it was last written as a whole";
            return Err(StoreError::Damaged { path, offset: meta.len(), what });
        }
        let torn = (length < meta.len() && !is_cut).then(|| Torn { offset: length, bytes: meta.len().saturating_sub(length) });
        if torn.is_some() {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed("cutting the torn end off", &path))?;
        }
        let beginnings: Vec<u64> = mark.iter().flat_map(|mark| &mark.files).map(|extent| extent.length).collect();
        let (digest, found) = began::digest(&file, length, &beginnings).map_err(failed("reading", &path))?;
        let of = |length| found.iter().find(|extent| extent.length == length && !is_cut).map(|extent| extent.digest);
        let past = Past::judge(read_mark, Some(length), of);
        let mark = mark.filter(|_| matches!(past, Past::Whole(_)));
        Ok(Opened { log: Self { dir: dir.into(), path, file, length, digest, mark, _lock: lock }, torn, is_cut, past })
    }

    /// Makes the file, where there is none or nothing in it.
    fn begin(dir: &Path, lock: File, path: PathBuf, past: Past, mark: Option<Mark>) -> Result<Opened, StoreError> {
        let (file, length, digest) = write_beside(&path, Vec::new(), |_| Ok(()))?;
        put_in_place(dir, &path)?;
        // A mark that this file does not fit stays as it is until the loss stands in it: no rewrite may make it fit before.
        let mark = mark.filter(|_| matches!(past, Past::Whole(_)));
        Ok(Opened { log: Self { dir: dir.into(), path, file, length, digest, mark, _lock: lock }, torn: None, is_cut: false, past })
    }

    /// Writes the mark: as `change` has it, and what the file holds now. Nothing is written where nothing changed. Blocks.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Mark)) -> Result<(), StoreError> {
        let mut mark = self.mark.clone().unwrap_or_default();
        change(&mut mark);
        mark.files = vec![self.extent()];
        let is_news = self.mark.as_ref().is_none_or(|had| Mark { seen: had.seen, ..mark.clone() } != *had);
        if is_news {
            began::write(&self.dir, &mark).map_err(failed("writing", &self.dir.join(began::NAME)))?;
            self.mark = Some(mark);
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        Extent { length: self.length, digest: self.digest.clone().finalize().into() }
    }

    /// Hands every record of a directory's file on, and touches nothing. No file, no record.
    pub(super) fn peek(dir: &Path, each: impl FnMut(Record)) -> Result<(), StoreError> {
        let path = dir.join(NAME);
        match files::open(&path) {
            // Whoever serves replaces it.
            Ok((_, meta)) if meta.len() < HEAD_BYTES => Ok(()),
            Ok((file, meta)) => read(&file, &path, meta.len(), each).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unopened(&path, error)),
        }
    }

    /// Appends one frame; it is durable on return. After an error nothing is known of the end of the file: [`Log::rewrite`] it.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        if payload.is_empty() {
            return Ok(());
        }
        let frame = frame(self.length, payload).ok_or(io::ErrorKind::FileTooLarge.into()).map_err(failed("writing", &self.path))?;
        self.file.write_all_at(&frame, self.length).and_then(|()| self.file.sync_data()).map_err(failed("writing", &self.path))?;
        self.length = self.length.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        self.digest.update(&frame);
        Ok(())
    }

    /// Writes a new file beside, with the records that `fill` hands over, and puts it in place; the old one counts until then.
    pub(super) fn rewrite(
        &mut self,
        first: Vec<Record>,
        fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let (file, length, digest) = write_beside(&self.path, first, fill)?;
        if let Some(mark) = &self.mark {
            // Whichever of the two has the name after `kill -9`, it is the right one. Without a mark nobody asks.
            let new = Extent { length, digest: digest.clone().finalize().into() };
            let both = Mark { files: vec![self.extent(), new], ..mark.clone() };
            began::write(&self.dir, &both).map_err(failed("writing", &self.dir.join(began::NAME)))?;
            self.mark = Some(both);
        }
        put_in_place(&self.dir, &self.path)?;
        (self.file, self.length, self.digest) = (file, length, digest);
        Ok(())
    }

    /// Makes every append fail until the next rewrite.
    #[cfg(test)]
    pub(super) fn break_it(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

/// Takes the lock of a directory: a file that is never replaced, as the journal is.
fn lock(dir: &Path) -> Result<File, StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("creating", dir))?;
    let path = dir.join("revocations.lock");
    let file = files::open_or_make(&path).map_err(|error| unopened(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(dir.join(NAME))),
        Err(fs::TryLockError::Error(error)) => Err(failed("locking", &path)(error)),
    }
}

/// Writes a whole file beside the one that counts.
fn write_beside(
    path: &Path,
    first: Vec<Record>,
    fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
) -> Result<(File, u64, Sha256), StoreError> {
    let new = temporary(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &new)(error)),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new).map_err(failed("creating", &new))?;
    let length = write_frames(&file, first, fill).map_err(failed("writing", &new))?;
    let (digest, _) = began::digest(&file, length, &[]).map_err(failed("reading", &new))?;
    Ok((file, length, digest))
}

/// Puts what was written beside in place.
fn put_in_place(dir: &Path, path: &Path) -> Result<(), StoreError> {
    fs::rename(temporary(path), path).map_err(failed("putting in place", path))?;
    // The new name is durable only once its directory is.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("syncing", dir))
}

fn write_frames(
    file: &File,
    first: Vec<Record>,
    fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut out = BufWriter::new(file);
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_be_bytes())?;
    out.write_all(&[0; 16])?;
    let mut length = HEAD_BYTES;
    let mut payload = Vec::with_capacity(REWRITE_BYTES + 512);
    let mut flush = |payload: &mut Vec<u8>, least: usize| {
        if payload.len() > least {
            let frame = frame(length, payload).ok_or(io::ErrorKind::FileTooLarge)?;
            out.write_all(&frame)?;
            length = length.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
            payload.clear();
        }
        io::Result::Ok(())
    };
    let mut put = |record: Record| {
        record.encode(&mut payload);
        flush(&mut payload, REWRITE_BYTES)
    };
    first.into_iter().try_for_each(&mut put)?;
    fill(&mut put)?;
    flush(&mut payload, 0)?;
    out.flush()?;
    file.write_all_at(&[length.to_be_bytes(), (!length).to_be_bytes()].concat(), SETTLED_AT)?;
    file.sync_all()?;
    Ok(length)
}

/// Says whether a file that is shorter than a head is the beginning of one, or nothing but zeros: what a first start leaves that was cut
/// short. Anything else is somebody's file.
fn is_part_of_head(file: &File, length: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    let head = [MAGIC.as_slice(), &VERSION.to_be_bytes()].concat();
    Ok(bytes.iter().zip(&head).all(|(byte, wanted)| byte == wanted) || bytes.iter().all(|byte| *byte == 0))
}

/// What the frames of a file said.
struct Found {
    /// Where the last whole one ends.
    length: u64,
    /// How long the file was when it was last written as a whole.
    settled: u64,
}

/// Reads the frames of a file that is as long as its head at least.
fn read(file: &File, path: &Path, total: u64, mut each: impl FnMut(Record)) -> Result<Found, StoreError> {
    let mut input = BufReader::with_capacity(256 * 1024, file);
    let damaged = |offset, what| StoreError::Damaged { path: path.into(), offset, what };
    let (mut magic, mut version, mut settled, mut complement) = ([0; 12], [0; 4], [0; 8], [0; 8]);
    for part in [&mut magic[..], &mut version, &mut settled, &mut complement] {
        input.read_exact(part).map_err(failed("reading", path))?;
    }
    if magic != MAGIC {
        return Err(damaged(0, "the file is no revocation journal"));
    }
    let found = u32::from_be_bytes(version);
    if found != VERSION {
        return Err(StoreError::Version { path: path.into(), found, known: VERSION });
    }
    let settled = u64::from_be_bytes(settled);
    if settled != !u64::from_be_bytes(complement) {
        return Err(damaged(SETTLED_AT, "the settled length is none"));
    }
    let mut offset = HEAD_BYTES;
    let mut payload = Vec::new();
    while total.saturating_sub(offset) >= 16 {
        let mut words = [[0; 4]; 2];
        let mut check = [0; 8];
        for word in &mut words {
            input.read_exact(word).map_err(failed("reading", path))?;
        }
        input.read_exact(&mut check).map_err(failed("reading", path))?;
        let [length, complement] = words.map(u32::from_be_bytes);
        if length == 0 && complement == 0 && check == [0; 8] && zeros(&mut input).map_err(failed("reading", path))? {
            if offset < settled {
                return Err(damaged(offset, "zeros stand where records were"));
            }
            return Ok(Found { length: offset, settled });
        }
        if length != !complement || length == 0 {
            return Err(damaged(offset, "no frame begins here"));
        }
        let end = offset.saturating_add(16).saturating_add(u64::from(length));
        if end > total {
            return Ok(Found { length: offset, settled });
        }
        payload.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        input.read_exact(&mut payload).map_err(failed("reading", path))?;
        if check_of(offset, length, &payload) != check {
            return Err(damaged(offset, "the frame's check does not fit its content"));
        }
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            let kind = rest.first().copied().unwrap_or(0);
            each(Record::decode(&mut rest).ok_or_else(|| match kind {
                later if later > LAST_KIND => StoreError::Later { path: path.into(), offset, kind },
                _ => damaged(offset, "the frame holds what is no record"),
            })?);
        }
        offset = end;
    }
    Ok(Found { length: offset, settled })
}

/// Says whether only zeros are left.
fn zeros(input: &mut impl Read) -> io::Result<bool> {
    let mut rest = Vec::new();
    input.read_to_end(&mut rest)?;
    Ok(rest.iter().all(|byte| *byte == 0))
}

fn frame(offset: u64, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut frame = Vec::with_capacity(payload.len().checked_add(16)?);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&(!length).to_be_bytes());
    frame.extend_from_slice(&check_of(offset, length, payload));
    frame.extend_from_slice(payload);
    Some(frame)
}

fn check_of(offset: u64, length: u32, payload: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(offset.to_be_bytes());
    hash.update(length.to_be_bytes());
    hash.update(payload);
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("journal.new")
}

/// Says what lies there instead of a file, where that is why it cannot be opened.
fn unopened(path: &Path, error: io::Error) -> StoreError {
    match files::kind(path) {
        Some(what) => StoreError::NotAFile { path: path.into(), what },
        None => failed("opening", path)(error),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { doing, path: path.clone(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixTime;

    fn wide(length: usize) -> u64 {
        u64::try_from(length).unwrap()
    }

    fn record(number: u64) -> Record {
        Record::Raise { tenant: "acme".parse().unwrap(), at: UnixTime::from_millis(number), epoch: Some(1) }
    }

    fn payload(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    fn open(dir: &Path) -> Result<(Vec<Record>, Option<Torn>), StoreError> {
        let mut records = Vec::new();
        Log::open(dir, |record| records.push(record)).map(|opened| (records, opened.torn))
    }

    /// A journal of three frames; returns its bytes and where the last begins.
    fn three_frames(dir: &Path) -> (Vec<u8>, usize) {
        let mut log = Log::open(dir, |_| {}).unwrap().log;
        log.append(&payload(&[record(1), record(2)])).unwrap();
        log.append(&payload(&[record(3)])).unwrap();
        let last = usize::try_from(log.length).unwrap();
        log.append(&payload(&[record(4), record(5)])).unwrap();
        (fs::read(dir.join(NAME)).unwrap(), last)
    }

    fn offset_of_damage(result: Result<(Vec<Record>, Option<Torn>), StoreError>) -> Option<u64> {
        match result {
            Err(StoreError::Damaged { offset, .. }) => Some(offset),
            Ok(_) | Err(_) => None,
        }
    }

    #[test]
    fn a_new_journal_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(open(dir.path()).unwrap(), (vec![], None));

        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(NAME), mode("revocations.lock")), (0o600, 0o600));
        assert_eq!(
            fs::read(dir.path().join(NAME)).unwrap(),
            [MAGIC.as_slice(), &[0, 0, 0, 1], &HEAD_BYTES.to_be_bytes(), &(!HEAD_BYTES).to_be_bytes()].concat()
        );
    }

    /// A later octroi reads it, and an earlier one after a step back.
    #[test]
    fn a_journal_has_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, _) = three_frames(dir.path());

        let parts = [
            // The head.
            "6f6374726f692d656e646564000000010000000000000020ffffffffffffffdf",
            // Two records in one commit, then one, then two.
            "00000024ffffffdb5ffd2447ae261488080461636d65000000000000000100000001080461636d65000000000000000200000001",
            "00000012ffffffed762811c204aa401d080461636d65000000000000000300000001",
            "00000024ffffffdb3148efbede6860a8080461636d65000000000000000400000001080461636d65000000000000000500000001",
        ];
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), parts.concat());
    }

    #[test]
    fn what_was_appended_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        three_frames(dir.path());

        assert_eq!(open(dir.path()).unwrap(), ((1..=5).map(record).collect(), None));
    }

    #[test]
    fn a_later_octroi_s_journal_is_refused_and_left_as_it_is() {
        for kind in [LAST_KIND + 1, 255] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Log::open(dir.path(), |_| {}).unwrap().log;
            log.append(&payload(&[record(1)])).unwrap();
            let second = log.length;
            log.append(&[payload(&[record(2)]), vec![kind, 1, 2, 3]].concat()).unwrap();
            drop(log);
            // With an end that is torn.
            let mut bytes = fs::read(dir.path().join(NAME)).unwrap();
            bytes.extend_from_slice(&[0, 0, 0]);
            fs::write(dir.path().join(NAME), &bytes).unwrap();

            let refused = open(dir.path());

            assert!(
                matches!(refused, Err(StoreError::Later { offset, kind: found, .. }) if offset == second && found == kind),
                "{refused:?}"
            );
            assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), bytes);
        }
        assert!(Record::decode(&mut [LAST_KIND + 1; 64].as_slice()).is_none());
        assert!(Record::decode(&mut [LAST_KIND; 64].as_slice()).is_some(), "the last one is known");
    }

    #[test]
    fn a_last_frame_cut_anywhere_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, last) = three_frames(dir.path());

        for length in last..whole.len() {
            fs::write(dir.path().join(NAME), &whole[..length]).unwrap();

            let torn = (length > last).then(|| Torn { offset: wide(last), bytes: wide(length - last) });
            assert_eq!(open(dir.path()).unwrap(), ((1..=3).map(record).collect(), torn), "cut at {length}");
            assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().len(), wide(last));
        }
    }

    #[test]
    fn a_journal_goes_on_after_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, _) = three_frames(dir.path());
        fs::write(dir.path().join(NAME), &whole[..whole.len() - 1]).unwrap();

        Log::open(dir.path(), |_| {}).unwrap().log.append(&payload(&[record(9)])).unwrap();

        assert_eq!(open(dir.path()).unwrap(), ([1, 2, 3, 9].map(record).to_vec(), None));
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, last) = three_frames(dir.path());

        for zeros in [1, 15, 16, 17, 5000] {
            fs::write(dir.path().join(NAME), [&whole[..last], &vec![0; zeros]].concat()).unwrap();

            assert_eq!(open(dir.path()).unwrap().1, Some(Torn { offset: wide(last), bytes: wide(zeros) }));
        }
        let zeroed_middle = [&whole[..last], &[0; 32], &whole[last..]].concat();
        fs::write(dir.path().join(NAME), zeroed_middle).unwrap();
        assert_eq!(offset_of_damage(open(dir.path())), Some(wide(last)));
    }

    #[test]
    fn no_flipped_bit_is_read_over() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, _) = three_frames(dir.path());

        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join(NAME), &bad).unwrap();

            assert!(matches!(open(dir.path()), Err(StoreError::Damaged { .. } | StoreError::Version { .. })), "bit {bit}");
            assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), bad, "what is damaged is left as it is");
        }
    }

    #[test]
    fn damage_is_named_by_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let (mut whole, last) = three_frames(dir.path());
        whole[last + 20] ^= 1;
        let path = dir.path().join(NAME);
        fs::write(&path, &whole).unwrap();

        let text = open(dir.path()).unwrap_err().to_string();

        assert!(text.starts_with(&format!("{} is damaged at byte {last}: the frame's check does not fit", path.display())), "{text}");
    }

    #[test]
    fn frames_in_another_order_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, last) = three_frames(dir.path());
        let twice = [whole.as_slice(), &whole[last..]].concat();
        fs::write(dir.path().join(NAME), &twice).unwrap();

        assert_eq!(offset_of_damage(open(dir.path())), Some(wide(whole.len())));
    }

    #[test]
    fn what_was_written_as_a_whole_cannot_be_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut log = Log::open(dir.path(), |_| {}).unwrap().log;
        log.rewrite((1..=5).map(record).collect(), |_| Ok(())).unwrap();
        drop(log);
        let whole = fs::read(&path).unwrap();

        for length in usize::try_from(HEAD_BYTES).unwrap()..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(offset_of_damage(open(dir.path())), Some(wide(length)), "{length}");
        }
        fs::write(&path, [&whole[..40], &vec![0; whole.len() - 40]].concat()).unwrap();
        assert!(offset_of_damage(open(dir.path())).is_some());
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| fs::write(dir.path().join(NAME), bytes).unwrap();

        write(b"something else altogether");
        assert_eq!(offset_of_damage(open(dir.path())), Some(0));
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), b"something else altogether", "it is somebody's");
        write(&[0x20; 40]);
        assert_eq!(offset_of_damage(open(dir.path())), Some(0));
        write(&[b"octroi-ended\0\0\0\x02".as_slice(), &[0; 16]].concat());
        assert!(matches!(open(dir.path()), Err(StoreError::Version { found: 2, known: 1, .. })));
    }

    #[test]
    fn a_first_start_that_was_cut_short_simply_starts() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let head = fs::read(dir.path().join(NAME)).unwrap();

        for part in (0..head.len()).map(|length| head[..length].to_vec()).chain([vec![0; 1], vec![0; 31]]) {
            fs::write(dir.path().join(NAME), &part).unwrap();
            let opened = Log::open(dir.path(), |_| panic!("no record")).unwrap();
            assert_eq!((opened.past, opened.torn, opened.is_cut), (Past::First, None, false), "{part:?}");
            drop(opened.log);
            assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), head);
        }
    }

    #[test]
    fn what_lies_there_instead_of_a_file_is_named_and_keeps_nobody_waiting() {
        for name in [NAME, "revocations.lock"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let said = |what: &'static str| {
                let Err(StoreError::NotAFile { path: at, what: found }) = open(dir.path()) else { panic!("{name}: {what}") };
                assert_eq!((at, found), (path.clone(), what));
                if name == NAME {
                    assert!(matches!(Log::peek(dir.path(), |_| {}), Err(StoreError::NotAFile { .. })), "{what}");
                }
            };
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            said("a named pipe");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            said("a folder");
            fs::remove_dir(&path).unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
            said("a socket");
            fs::remove_file(&path).unwrap();
            assert!(open(dir.path()).is_ok());
        }
    }

    #[test]
    fn a_journal_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        let path = dir.path().join(NAME);

        for (mode, is_fine) in [(0o600, true), (0o640, true), (0o620, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(matches!(open(dir.path()), Err(StoreError::Permissions { mode: found, .. }) if found == mode), !is_fine, "{mode:o}");
        }
    }

    #[test]
    fn two_cannot_have_one_journal() {
        let dir = tempfile::tempdir().unwrap();
        let held = Log::open(dir.path(), |_| {}).unwrap();

        assert!(matches!(open(dir.path()), Err(StoreError::Locked(_))));

        drop(held);
        assert!(open(dir.path()).is_ok());
    }

    #[test]
    fn a_rewrite_replaces_all_and_a_broken_one_nothing() {
        let dir = tempfile::tempdir().unwrap();
        three_frames(dir.path());
        let mut log = Log::open(dir.path(), |_| {}).unwrap().log;

        let refused = log.rewrite(vec![record(6)], |_| Err(io::ErrorKind::StorageFull.into()));
        log.append(&payload(&[record(7)])).unwrap();
        assert!(matches!(refused, Err(StoreError::Io { doing: "writing", .. })));
        drop(log);
        assert_eq!(open(dir.path()).unwrap().0, [1, 2, 3, 4, 5, 7].map(record));

        let mut log = Log::open(dir.path(), |_| {}).unwrap().log;
        log.rewrite(vec![record(6)], |put| (10..5000).try_for_each(|number| put(record(number)))).unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::Locked(_))), "the lock stays");
        log.append(&payload(&[record(8)])).unwrap();
        drop(log);
        assert_eq!(open(dir.path()).unwrap().0, [6].into_iter().chain(10..5000).chain([8]).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn a_rewrite_that_was_killed_leaves_the_old_journal() {
        let dir = tempfile::tempdir().unwrap();
        three_frames(dir.path());
        fs::write(temporary(&dir.path().join(NAME)), b"octroi-en").unwrap();

        assert_eq!(open(dir.path()).unwrap().0.len(), 5);
        assert!(!temporary(&dir.path().join(NAME)).exists());
    }
}
