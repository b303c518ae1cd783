//! The open file, and the lock that keeps other processes out.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    AppendLogError, Codec,
    frame::{self, Found, HEAD_BYTES},
    mark::{self, Beginning, Extent, Loss, Mark, Past},
    place::{Place, failed, is_away, is_same, unopened},
};
use crate::files;

/// How many files found in the log's place are kept: repeatedly putting one there must not fill the disk.
const MOST_ASIDE: u32 = 16;

/// How large a log may be that is only read to be judged: ten times the size of a million revocations.
const MOST_INSPECTED: u64 = 1 << 30;

/// What is wrong with a file that is shorter than its head says.
const SHORTER: &str = "the file is shorter than it was when it was last written as a whole";

/// An append-only log of records.
pub(crate) struct AppendLog<C> {
    place: Place<C>,
    path: PathBuf,
    file: File,
    length: u64,
    /// The digest of all that is in the file and durable.
    digest: Sha256,
    /// The mark beside it, once there is one.
    mark: Option<Mark>,
    lock: File,
    /// Whether an append failed, so that the file may be longer than is known.
    is_ragged: bool,
}

/// A log that was opened.
pub(crate) struct Opened<C> {
    pub(crate) log: AppendLog<C>,
    /// What was cut off.
    pub(crate) torn: Option<Torn>,
    /// Whether to write it anew before it is read again, because its head promises more than is there.
    pub(crate) is_cut: bool,
    /// What the mark said of it.
    pub(crate) past: Past,
}

/// The rest of a commit that a crash interrupted. It was never acknowledged, and was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it began, in bytes from the start of the log.
    pub offset: u64,
    /// How many bytes were there.
    pub bytes: u64,
}

impl<C: Codec> AppendLog<C> {
    /// Opens the file, or makes it; hands every record in it on, and cuts off a torn end.
    pub(crate) fn open(dir: &Path, each: impl FnMut(C)) -> Result<Opened<C>, AppendLogError> {
        let place = Place::new(dir);
        let lock = place.lock()?;
        let path = place.path();
        // Left by a crash in the middle of a rewrite: never in force.
        match fs::remove_file(place.temporary()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("removing", &place.temporary())(error));
            }
            Ok(()) | Err(_) => {}
        }
        let read_mark = mark::read(&place.mark());
        let has_mark = !matches!(read_mark, Ok(None));
        let (file, meta) = match files::open_to_change(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::begin(place, lock, read_mark, None);
            }
            Err(error) => return Err(unopened(&path, error)),
        };
        judge_mode(&path, &meta)?;
        if meta.len() < HEAD_BYTES {
            judge_short::<C>(&file, &path, &meta, has_mark)?;
            return Self::begin(place, lock, read_mark, has_mark.then_some(meta.len()));
        }
        let Found { length, settled } = frame::read(&file, &path, meta.len(), each)?;
        let is_cut = meta.len() < settled;
        if is_cut && !has_mark {
            return Err(damaged::<C>(&path, meta.len(), SHORTER));
        }
        let torn = (length < meta.len() && !is_cut)
            .then(|| Torn { offset: length, bytes: meta.len().saturating_sub(length) });
        if torn.is_some() {
            file.set_len(length)
                .and_then(|()| file.sync_all())
                .map_err(failed("cutting the torn end off", &path))?;
        }
        let (past, digest) = judge_past(read_mark, &file, &path, length, is_cut)?;
        let mark = past.mark();
        let log = Self { place, path, file, length, digest, mark, lock, is_ragged: is_cut };
        Ok(Opened { log, torn, is_cut, past })
    }

    /// Makes the file where there is none, or nothing in it. `found` is how long it was.
    fn begin(
        place: Place<C>,
        lock: File,
        read_mark: io::Result<Option<Mark>>,
        found: Option<u64>,
    ) -> Result<Opened<C>, AppendLogError> {
        let past = Past::judge(read_mark, found, |_| None);
        let (file, length, digest) = write_beside(&place, Vec::new(), |_| Ok(()))?;
        place.replace()?;
        // A mark that does not fit this file stays as it is until it says that there was a loss: no rewrite
        // may make it fit before.
        let (path, mark) = (place.path(), past.mark());
        let log = Self { place, path, file, length, digest, mark, lock, is_ragged: false };
        Ok(Opened { log, torn: None, is_cut: false, past })
    }

    /// Writes the mark: as `change` has it, and what the file holds now. Nothing is written where nothing
    /// changed. Blocks.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Mark)) -> Result<(), AppendLogError> {
        let mut mark = self.mark.clone().unwrap_or_default();
        change(&mut mark);
        mark.files = vec![self.extent()];
        let is_news = self.mark.as_ref().is_none_or(|had| Mark { seen: had.seen, ..mark.clone() } != *had);
        // A removed mark would go unnoticed until the next start, which then could not detect a loss.
        if is_news || is_away(&self.place.mark()) {
            mark::write(&self.place.mark(), &mark).map_err(failed("writing", &self.place.mark()))?;
            self.mark = Some(mark);
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        Extent { length: self.length, digest: self.digest.clone().finalize().into() }
    }

    /// Passes every record of a directory's file to the callback, and changes nothing. Without a file there
    /// are no records.
    pub(crate) fn peek(dir: &Path, each: impl FnMut(C)) -> Result<(), AppendLogError> {
        let path = Place::<C>::new(dir).path();
        match files::open(&path) {
            // Whoever serves replaces it.
            Ok((_, meta)) if meta.len() < HEAD_BYTES => Ok(()),
            Ok((file, meta)) => frame::read(&file, &path, meta.len(), each).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unopened(&path, error)),
        }
    }

    /// Returns since when the log of a directory is complete, as its mark says. A mark that cannot be read
    /// says nothing: the process that writes the log judges it.
    pub(crate) fn beginning(dir: &Path) -> Beginning {
        let mark = mark::read(&Place::<C>::new(dir).mark());
        mark.ok().flatten().unwrap_or_default().beginning
    }

    /// Judges the files of a directory as [`AppendLog::open`] does, and changes nothing. Returns why the log
    /// counts as lost, where it does.
    pub(crate) fn inspect(dir: &Path) -> Result<Option<Loss>, AppendLogError> {
        let place = Place::<C>::new(dir);
        let (path, lock) = (place.path(), place.lock_path());
        if let Some(what) = files::kind(&lock) {
            return Err(AppendLogError::NotAFile { path: lock, what });
        }
        // What is written anew, or beside: a folder is in the way.
        for written in [place.temporary(), place.mark(), mark::beside(&place.mark())] {
            if written.is_dir() {
                return Err(failed("writing", &written)(io::ErrorKind::IsADirectory.into()));
            }
        }
        let read_mark = mark::read(&place.mark());
        let has_mark = !matches!(read_mark, Ok(None));
        let (file, meta) = match files::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Past::judge(read_mark, None, |_| None).loss());
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(unopened(&path, error)),
        };
        judge_mode(&path, &meta)?;
        if meta.len() < HEAD_BYTES {
            judge_short::<C>(&file, &path, &meta, has_mark)?;
            return Ok(Past::judge(read_mark, has_mark.then_some(meta.len()), |_| None).loss());
        }
        if meta.len() > MOST_INSPECTED {
            return Err(failed("reading", &path)(io::ErrorKind::FileTooLarge.into()));
        }
        let Found { length, settled } = frame::read::<C>(&file, &path, meta.len(), |_| ())?;
        let is_cut = meta.len() < settled;
        if is_cut && !has_mark {
            return Err(damaged::<C>(&path, meta.len(), SHORTER));
        }
        judge_past(read_mark, &file, &path, length, is_cut).map(|(past, _)| past.loss())
    }

    /// Appends one frame; it is durable on return. After an error nothing is known of the end of the file:
    /// [`AppendLog::rewrite`] it.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), AppendLogError> {
        if payload.is_empty() {
            return Ok(());
        }
        let frame = frame::frame(self.length, payload)
            .ok_or(io::ErrorKind::FileTooLarge.into())
            .map_err(failed("writing", &self.path))?;
        self.look()?;
        self.is_ragged = true;
        self.file
            .write_all_at(&frame, self.length)
            .and_then(|()| self.file.sync_data())
            .map_err(failed("writing", &self.path))?;
        self.is_ragged = false;
        self.length = self.length.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        self.digest.update(&frame);
        // A write into a file that no longer has its name must not be acknowledged.
        self.look()
    }

    /// Sees whether the lock and the file are still those that have their names: a file that was removed,
    /// renamed or replaced takes every write, and no start reads it again. [`AppendLogError::Gone`]:
    /// [`AppendLog::rewrite`] it. Blocks.
    pub(crate) fn look(&mut self) -> Result<(), AppendLogError> {
        self.keep_lock()?;
        let gone = |what| AppendLogError::Gone { path: self.path.clone(), what };
        let own = self.file.metadata().map_err(failed("looking at", &self.path))?;
        match fs::metadata(&self.path) {
            Ok(found) if !is_same(&found, &own) => {
                Err(gone("is another file than the one that octroi writes"))
            }
            Ok(found) if found.len() != self.length && !self.is_ragged => {
                Err(gone("was written by somebody else"))
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(gone("is gone")),
            Err(error) => Err(failed("looking at", &self.path)(error)),
        }
    }

    /// Takes the lock again if its file was removed or replaced: otherwise another process could lock and
    /// write the log. If one already has, nothing more is written here.
    fn keep_lock(&mut self) -> Result<(), AppendLogError> {
        let path = self.place.lock_path();
        let own = self.lock.metadata().map_err(failed("looking at", &path))?;
        match fs::metadata(&path) {
            Ok(found) if is_same(&found, &own) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("looking at", &path)(error));
            }
            Ok(_) | Err(_) => {}
        }
        self.lock = self.place.lock()?;
        tracing::warn!(event = "journal_lock_gone", path = %path.display(), "the lock file was removed or replaced under octroi; it is locked again");
        Ok(())
    }

    /// Keeps what lies in the file's place and is not what is written here: an operator may have put it
    /// there. Says under which name.
    fn set_aside(&mut self) -> Result<Option<PathBuf>, AppendLogError> {
        if is_away(&self.path) || !matches!(self.look(), Err(AppendLogError::Gone { .. })) {
            return Ok(None);
        }
        let mut names = (1..=MOST_ASIDE).map(|number| self.place.aside(number));
        let full = || {
            failed("setting aside, where too many are already,", &self.path)(
                io::ErrorKind::AlreadyExists.into(),
            )
        };
        let aside = names.find(|name| is_away(name)).ok_or_else(full)?;
        // A link leaves no moment without a journal; where there are none, or what lies there is no file, it
        // is moved.
        fs::hard_link(&self.path, &aside)
            .or_else(|_| fs::rename(&self.path, &aside))
            .map_err(failed("setting aside", &self.path))?;
        Ok(Some(aside))
    }

    /// Writes a new file with the records that `fill` hands over, and renames it into place; the old one is
    /// valid until then. Returns the name under which a foreign file, found in the log's place, is kept.
    pub(crate) fn rewrite(
        &mut self,
        first: Vec<C>,
        fill: impl FnOnce(&mut dyn FnMut(C) -> io::Result<()>) -> io::Result<()>,
    ) -> Result<Option<PathBuf>, AppendLogError> {
        self.keep_lock()?;
        let (file, length, digest) = write_beside(&self.place, first, fill)?;
        if let Some(mark) = &self.mark {
            // After `kill -9` either file may have the name, and the mark accepts both.
            let new = Extent { length, digest: digest.clone().finalize().into() };
            let both = Mark { files: vec![self.extent(), new], ..mark.clone() };
            mark::write(&self.place.mark(), &both).map_err(failed("writing", &self.place.mark()))?;
            self.mark = Some(both);
        }
        let aside = self.set_aside()?;
        self.place.replace()?;
        (self.file, self.length, self.digest, self.is_ragged) = (file, length, digest, false);
        Ok(aside)
    }

    /// Makes every append fail until the next rewrite.
    #[cfg(test)]
    pub(crate) fn break_it(&mut self) {
        self.file = files::open(&self.path).unwrap().0;
    }
}

fn judge_mode(path: &Path, meta: &fs::Metadata) -> Result<(), AppendLogError> {
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o022 != 0 { Err(AppendLogError::Permissions { path: path.into(), mode }) } else { Ok(()) }
}

/// Judges a file that is shorter than a head: the rest of an interrupted first start, or somebody's file.
fn judge_short<C: Codec>(
    file: &File,
    path: &Path,
    meta: &fs::Metadata,
    has_mark: bool,
) -> Result<(), AppendLogError> {
    if has_mark || frame::is_part_of_head::<C>(file, meta.len()).map_err(failed("reading", path))? {
        return Ok(());
    }
    Err(damaged::<C>(path, 0, C::FOREIGN))
}

/// Compares a file with its mark; returns the digest of the file, too.
fn judge_past(
    read_mark: io::Result<Option<Mark>>,
    file: &File,
    path: &Path,
    length: u64,
    is_cut: bool,
) -> Result<(Past, Sha256), AppendLogError> {
    let extents = read_mark.as_ref().ok().and_then(Option::as_ref).map_or(&[][..], |mark| &mark.files);
    let beginnings: Vec<u64> = extents.iter().map(|extent| extent.length).collect();
    let (digest, found) = mark::digest(file, length, &beginnings).map_err(failed("reading", path))?;
    let of =
        |length| found.iter().find(|extent| extent.length == length && !is_cut).map(|extent| extent.digest);
    Ok((Past::judge(read_mark, Some(length), of), digest))
}

fn damaged<C: Codec>(path: &Path, offset: u64, what: &'static str) -> AppendLogError {
    AppendLogError::Damaged { path: path.into(), offset, what, remedy: C::REMEDY }
}

/// Writes a whole file beside the one that counts.
fn write_beside<C: Codec>(
    place: &Place<C>,
    first: Vec<C>,
    fill: impl FnOnce(&mut dyn FnMut(C) -> io::Result<()>) -> io::Result<()>,
) -> Result<(File, u64, Sha256), AppendLogError> {
    let new = place.temporary();
    let file = files::create_new(&new, 0o600).map_err(failed("creating", &new))?;
    let length = frame::write(&file, first, fill).map_err(failed("writing", &new))?;
    let (digest, _) = mark::digest(&file, length, &[]).map_err(failed("reading", &new))?;
    Ok((file, length, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with the bytes that a tenant's epoch has in the journal of revocations.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Record(u64);

    impl Codec for Record {
        const FILE: &'static str = "revocations.journal";
        const MARK: &'static str = "revocations.began";
        const LOCK: &'static str = "revocations.lock";
        const MAGIC: [u8; 12] = *b"octroi-ended";
        const VERSION: u32 = 1;
        const LAST_KIND: u8 = 13;
        const FOREIGN: &'static str = "the file is no log";
        const REMEDY: &'static str = "restore it";

        fn encode(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(b"\x08\x04acme");
            out.extend_from_slice(&self.0.to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 1]);
        }

        fn decode(input: &mut &[u8]) -> Option<Self> {
            let number = input.strip_prefix(b"\x08\x04acme")?;
            let (number, rest) = number.split_first_chunk()?;
            *input = rest.strip_prefix(&[0, 0, 0, 1])?;
            Some(Self(u64::from_be_bytes(*number)))
        }
    }

    const NAME: &str = Record::FILE;
    type Log = AppendLog<Record>;

    fn wide(length: usize) -> u64 {
        u64::try_from(length).unwrap()
    }

    fn record(number: u64) -> Record {
        Record(number)
    }

    fn payload(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    fn open(dir: &Path) -> Result<(Vec<Record>, Option<Torn>), AppendLogError> {
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

    fn offset_of_damage(result: Result<(Vec<Record>, Option<Torn>), AppendLogError>) -> Option<u64> {
        match result {
            Err(AppendLogError::Damaged { offset, .. }) => Some(offset),
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
            [
                Record::MAGIC.as_slice(),
                &[0, 0, 0, 1],
                &HEAD_BYTES.to_be_bytes(),
                &(!HEAD_BYTES).to_be_bytes()
            ]
            .concat()
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
        for kind in [Record::LAST_KIND + 1, 255] {
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
                matches!(refused, Err(AppendLogError::Later { offset, kind: found, .. }) if offset == second && found == kind),
                "{refused:?}"
            );
            assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), bytes);
        }
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

            let refused = open(dir.path());
            assert!(
                matches!(refused, Err(AppendLogError::Damaged { .. } | AppendLogError::Version { .. })),
                "bit {bit}: {refused:?}"
            );
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

        assert!(
            text.starts_with(&format!(
                "{} is damaged at byte {last}: the frame's check does not fit",
                path.display()
            )),
            "{text}"
        );
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
        assert_eq!(
            fs::read(dir.path().join(NAME)).unwrap(),
            b"something else altogether",
            "it is somebody's"
        );
        write(&[0x20; 40]);
        assert_eq!(offset_of_damage(open(dir.path())), Some(0));
        write(&[b"octroi-ended\0\0\0\x02".as_slice(), &[0; 16]].concat());
        assert!(matches!(open(dir.path()), Err(AppendLogError::Version { found: 2, known: 1, .. })));
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
                let Err(AppendLogError::NotAFile { path: at, what: found }) = open(dir.path()) else {
                    panic!("{name}: {what}")
                };
                assert_eq!((at, found), (path.clone(), what));
                if name == NAME {
                    assert!(
                        matches!(Log::peek(dir.path(), |_| {}), Err(AppendLogError::NotAFile { .. })),
                        "{what}"
                    );
                }
            };
            crate::files::make_named_pipe(&path);
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
            assert_eq!(
                matches!(open(dir.path()), Err(AppendLogError::Permissions { mode: found, .. }) if found == mode),
                !is_fine,
                "{mode:o}"
            );
        }
    }

    #[test]
    fn two_cannot_have_one_journal() {
        let dir = tempfile::tempdir().unwrap();
        let held = Log::open(dir.path(), |_| {}).unwrap();

        assert!(matches!(open(dir.path()), Err(AppendLogError::Locked(_))));

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
        assert!(matches!(refused, Err(AppendLogError::Io { doing: "writing", .. })));
        drop(log);
        assert_eq!(open(dir.path()).unwrap().0, [1, 2, 3, 4, 5, 7].map(record));

        let mut log = Log::open(dir.path(), |_| {}).unwrap().log;
        log.rewrite(vec![record(6)], |put| (10..5000).try_for_each(|number| put(record(number)))).unwrap();
        assert!(matches!(open(dir.path()), Err(AppendLogError::Locked(_))), "the lock stays");
        log.append(&payload(&[record(8)])).unwrap();
        drop(log);
        assert_eq!(
            open(dir.path()).unwrap().0,
            [6].into_iter().chain(10..5000).chain([8]).map(record).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_rewrite_that_was_killed_leaves_the_old_journal() {
        let dir = tempfile::tempdir().unwrap();
        three_frames(dir.path());
        fs::write(Place::<Record>::new(dir.path()).temporary(), b"octroi-en").unwrap();

        assert_eq!(open(dir.path()).unwrap().0.len(), 5);
        assert!(!Place::<Record>::new(dir.path()).temporary().exists());
    }
}
