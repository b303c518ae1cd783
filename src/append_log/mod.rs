//! An append-only log in one file: frames at the end, each durable before the next begins.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | head of the file | 12 | [`Codec::MAGIC`] |
//! | version | 4 | [`Codec::VERSION`] |
//! | settled | 8 | the file's length when it was last written as a whole and synced |
//! | settled: complement | 8 | its bits, inverted |
//! | frame: length | 4 | of the payload, at least 1 |
//! | frame: complement | 4 | the length's bits, inverted |
//! | frame: check | 8 | the first 8 of SHA-256 over the frame's offset (u64), length and payload |
//! | frame: payload | length | one record or more |
//!
//! Integers are big-endian.
//!
//! A record of an unknown kind was written by a later octroi. Then nothing is read and nothing is changed,
//! not even a torn end: the records that cannot be read might matter. Whoever adds a kind, or a field to one,
//! also raises the version of hand-overs.
//!
//! One frame is one commit. A crash can only tear the last one, because the next begins after it was synced.
//! A file that is written as a whole is synced before it gets its name, so no crash tears that part. A frame
//! that the end of the file cuts short, or a tail of zeros, is therefore removed; anything else that does not
//! fit is damage. The length is stored twice, so that damage to it is not taken for a torn frame, which would
//! drop everything behind it.
//!
//! A file that is shorter than its settled length (an interrupted restore, a full disk) has lost records.
//! Where the [mark](Mark) says that there were some, the log counts as lost: the rest is kept, and the caller
//! decides what the loss means. Without a mark, a file that ends within its head is a first start that was
//! interrupted; a longer one is damage, because nobody can say what it has lost.

mod error;
mod frame;
mod log;
mod mark;
mod place;

pub use error::AppendLogError;
pub use log::Torn;
pub(crate) use log::{AppendLog, Opened};
pub use mark::Beginning;
pub(crate) use mark::{Loss, Mark, Past};

/// The records of a log: their bytes, and the names and words that go with them.
pub(crate) trait Codec: Sized {
    /// The name of the file.
    const FILE: &'static str;
    /// The name of the mark beside it.
    const MARK: &'static str;
    /// The name of the lock file, which is never replaced, as the log itself is.
    const LOCK: &'static str;
    /// The first bytes of the file.
    const MAGIC: [u8; 12];
    /// The version that is written, and the only one that is read.
    const VERSION: u32;
    /// The last known kind of record. A later octroi may write more.
    const LAST_KIND: u8;
    /// What to say of a file that does not begin with [`Codec::MAGIC`].
    const FOREIGN: &'static str;
    /// What an operator can do about a damaged file.
    const REMEDY: &'static str;

    /// Appends the record's bytes; the first one is its kind.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one record off the front; `None` where none begins.
    fn decode(input: &mut &[u8]) -> Option<Self>;
}
