//! The journal's file: frames at the end, each durable before the next begins.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head of the file | 12 | `octroi-ended` |
//! | version | 4 | 1 |
//! | frame: length | 4 | of the payload, at least 1 |
//! | frame: complement | 4 | the length's bits, inverted |
//! | frame: check | 8 | the first 8 of SHA-256 over the frame's place in the file (u64), the length and the payload |
//! | frame: payload | length | one [record](super::record) or more |
//!
//! Integers are big-endian. One frame is one commit: only the last can be torn by a crash, because the next is begun after it was
//! synced. So a frame that is cut short by the end of the file, or a tail of zeros, is taken off; anything else that does not fit is
//! damage. The length is kept twice so that damage to it is not taken for a torn frame, and all that follows for nothing.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{StoreError, record::Record};

const NAME: &str = "revocations.journal";
const MAGIC: [u8; 12] = *b"octroi-ended";
const VERSION: u32 = 1;
const HEAD_BYTES: u64 = 16;

/// How much of a rewritten file goes into one frame.
const REWRITE_BYTES: usize = 64 * 1024;

/// The open file, and the lock that keeps others out.
pub(super) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
    _lock: File,
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
    pub(super) fn open(dir: &Path, each: impl FnMut(Record)) -> Result<(Self, Option<Torn>), StoreError> {
        let lock = lock(dir)?;
        let path = dir.join(NAME);
        // Left by a crash in the middle of a rewrite: never in force.
        match fs::remove_file(temporary(&path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &temporary(&path))(error)),
            Ok(()) | Err(_) => {}
        }
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (file, length) = write_new(dir, &path, Vec::new(), |_| Ok(()))?;
                return Ok((Self { dir: dir.into(), path, file, length, _lock: lock }, None));
            }
            Err(error) => return Err(failed("opening", &path)(error)),
        };
        let meta = file.metadata().map_err(failed("reading", &path))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(StoreError::Permissions { path, mode });
        }
        let length = read(&file, &path, meta.len(), each)?;
        let torn = (length < meta.len()).then(|| Torn { offset: length, bytes: meta.len().saturating_sub(length) });
        if torn.is_some() {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed("cutting the torn end off", &path))?;
        }
        Ok((Self { dir: dir.into(), path, file, length, _lock: lock }, torn))
    }

    /// Appends one frame; it is durable on return. After an error nothing is known of the end of the file: [`Log::rewrite`] it.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        if payload.is_empty() {
            return Ok(());
        }
        let frame = frame(self.length, payload).ok_or(io::ErrorKind::FileTooLarge.into()).map_err(failed("writing", &self.path))?;
        self.file.write_all_at(&frame, self.length).and_then(|()| self.file.sync_data()).map_err(failed("writing", &self.path))?;
        self.length = self.length.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Writes a new file beside, with the records that `fill` hands over, and puts it in place; the old one counts until then.
    pub(super) fn rewrite(
        &mut self,
        first: Vec<Record>,
        fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        (self.file, self.length) = write_new(&self.dir, &self.path, first, fill)?;
        Ok(())
    }
}

/// Takes the lock of a directory: a file that is never replaced, as the journal is.
fn lock(dir: &Path) -> Result<File, StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("creating", dir))?;
    let path = dir.join("revocations.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(dir.join(NAME))),
        Err(fs::TryLockError::Error(error)) => Err(failed("locking", &path)(error)),
    }
}

fn write_new(
    dir: &Path,
    path: &Path,
    first: Vec<Record>,
    fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
) -> Result<(File, u64), StoreError> {
    let new = temporary(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &new)(error)),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new).map_err(failed("creating", &new))?;
    let length = write_frames(&file, first, fill).map_err(failed("writing", &new))?;
    fs::rename(&new, path).map_err(failed("putting in place", path))?;
    // The new name is durable only once its directory is.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("syncing", dir))?;
    Ok((file, length))
}

fn write_frames(
    file: &File,
    first: Vec<Record>,
    fill: impl FnOnce(&mut dyn FnMut(Record) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut out = BufWriter::new(file);
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_be_bytes())?;
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
    file.sync_all()?;
    Ok(length)
}

/// Reads the frames; returns where the last whole one ends.
fn read(file: &File, path: &Path, total: u64, mut each: impl FnMut(Record)) -> Result<u64, StoreError> {
    let mut input = BufReader::with_capacity(256 * 1024, file);
    let damaged = |offset, what| StoreError::Damaged { path: path.into(), offset, what };
    if total < HEAD_BYTES {
        return Err(damaged(0, "the file is shorter than its head"));
    }
    let (mut magic, mut version) = ([0; 12], [0; 4]);
    input.read_exact(&mut magic).and_then(|()| input.read_exact(&mut version)).map_err(failed("reading", path))?;
    if magic != MAGIC {
        return Err(damaged(0, "the file is no revocation journal"));
    }
    let found = u32::from_be_bytes(version);
    if found != VERSION {
        return Err(StoreError::Version { path: path.into(), found, known: VERSION });
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
            return Ok(offset);
        }
        if length != !complement || length == 0 {
            return Err(damaged(offset, "no frame begins here"));
        }
        let end = offset.saturating_add(16).saturating_add(u64::from(length));
        if end > total {
            return Ok(offset);
        }
        payload.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        input.read_exact(&mut payload).map_err(failed("reading", path))?;
        if check_of(offset, length, &payload) != check {
            return Err(damaged(offset, "the frame's check does not fit its content"));
        }
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            each(Record::decode(&mut rest).ok_or_else(|| damaged(offset, "the frame holds what is no record"))?);
        }
        offset = end;
    }
    Ok(offset)
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

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { doing, path: path.clone(), source: Arc::new(source) }
}
