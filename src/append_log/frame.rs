//! Frames: how records are written to the file and read from it.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{AppendLogError, Codec, place::failed};

/// The length of the head, in bytes.
pub(super) const HEAD_BYTES: u64 = 32;

/// Where the settled length stands.
const SETTLED_AT: u64 = 16;

/// How much of a rewritten file goes into one frame, in bytes.
const REWRITE_BYTES: usize = 64 * 1024;

/// What the frames of a file said.
pub(super) struct Found {
    /// Where the last whole frame ends.
    pub(super) length: u64,
    /// The file's length when it was last written as a whole.
    pub(super) settled: u64,
}

/// Reads the frames of a file that is as long as its head at least.
pub(super) fn read<C: Codec>(
    file: &File,
    path: &Path,
    total: u64,
    mut each: impl FnMut(C),
) -> Result<Found, AppendLogError> {
    let mut input = BufReader::with_capacity(256 * 1024, file);
    let damaged =
        |offset, what| AppendLogError::Damaged { path: path.into(), offset, what, remedy: C::REMEDY };
    let (mut magic, mut version, mut settled, mut complement) = ([0; 12], [0; 4], [0; 8], [0; 8]);
    for part in [&mut magic[..], &mut version, &mut settled, &mut complement] {
        input.read_exact(part).map_err(failed("reading", path))?;
    }
    if magic != C::MAGIC {
        return Err(damaged(0, C::FOREIGN));
    }
    let found = u32::from_be_bytes(version);
    if found != C::VERSION {
        return Err(AppendLogError::Version { path: path.into(), found, known: C::VERSION });
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
        if length == 0
            && complement == 0
            && check == [0; 8]
            && zeros(&mut input).map_err(failed("reading", path))?
        {
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
            each(C::decode(&mut rest).ok_or_else(|| match kind {
                later if later > C::LAST_KIND => AppendLogError::Later { path: path.into(), offset, kind },
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

/// Makes a frame of a payload; `None` where the payload is too long for one.
pub(super) fn frame(offset: u64, payload: &[u8]) -> Option<Vec<u8>> {
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

/// Writes a whole file: the records in `first`, then those that `fill` hands over. Returns its length; it is
/// durable on return.
pub(super) fn write<C: Codec>(
    file: &File,
    first: Vec<C>,
    fill: impl FnOnce(&mut dyn FnMut(C) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut out = BufWriter::new(file);
    out.write_all(&C::MAGIC)?;
    out.write_all(&C::VERSION.to_be_bytes())?;
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
    let mut put = |record: C| {
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

/// Says whether a file that is shorter than a head is a prefix of one, or all zeros: what an interrupted
/// first start leaves. Anything else is a foreign file.
pub(super) fn is_part_of_head<C: Codec>(file: &File, length: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    let head = [C::MAGIC.as_slice(), &C::VERSION.to_be_bytes()].concat();
    Ok(bytes.iter().zip(&head).all(|(byte, wanted)| byte == wanted) || bytes.iter().all(|byte| *byte == 0))
}
