//! How much Redis may say at once: RESP3 is read along with the library, and a message that is too large ends
//! the connection.
//!
//! The library holds a whole message in memory before it hands it on, and Redis takes values of 512 MiB from
//! anybody who may publish. Only the headers are looked at here; whether the message makes sense, the library
//! says.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest value, in bytes. Ours have under 64 KiB.
const VALUE_BYTES: u64 = 1 << 20;
/// The most bytes of a message, all its values together.
const MESSAGE_BYTES: u64 = 64 << 20;
/// The longest header or simple value, in bytes: errors are the longest.
const LINE_BYTES: usize = 64 << 10;
/// The most values of a message.
const VALUES: u64 = 1 << 20;

/// A stream whose messages are bounded.
pub(super) struct Bounded<S> {
    stream: S,
    meter: Meter,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, meter: Meter::default() }
    }
}

/// Where in a message the reading stands.
#[derive(Debug, Default)]
struct Meter {
    /// The line that is being read, as far as it matters: its first bytes.
    kind: u8,
    digits: Option<u64>,
    line: usize,
    /// Bytes of a value that are still to come, its line end too.
    skip: u64,
    /// Values of the message that are still to come.
    open: u64,
    /// What the message has had so far.
    bytes: u64,
    values: u64,
}

impl Meter {
    /// Reads along. An error says what is too large.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip = self.skip.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                bytes = bytes.get(here..).unwrap_or_default();
                if self.skip == 0 {
                    self.value_ends();
                }
                continue;
            }
            bytes = rest;
            self.line = self.line.saturating_add(1);
            match (self.line, byte) {
                (1, kind) => {
                    (self.kind, self.digits) = (kind, Some(0));
                    if self.open == 0 {
                        (self.open, self.bytes, self.values) = (1, 0, 0);
                    }
                }
                (_, b'\n') => {
                    self.line = 0;
                    self.line_ends()?;
                }
                (line, _) if line > LINE_BYTES => return Err("a line has more than 64 KiB"),
                (_, b'\r') => {}
                (_, digit @ b'0'..=b'9') => {
                    let value = u64::from(digit.saturating_sub(b'0'));
                    self.digits = self.digits.and_then(|digits| digits.checked_mul(10)?.checked_add(value));
                }
                // `-1` is nothing, and `?` begins what has no length: Redis sends none of those.
                _ => self.digits = None,
            }
        }
        Ok(())
    }

    fn line_ends(&mut self) -> Result<(), &'static str> {
        self.values = self.values.saturating_add(1);
        match (self.kind, self.digits) {
            (b'$' | b'!' | b'=', Some(length)) => {
                self.bytes = self.bytes.saturating_add(length);
                if length > VALUE_BYTES || self.bytes > MESSAGE_BYTES {
                    return Err("a value has more than 1 MiB, or a message more than 64 MiB");
                }
                self.skip = length.saturating_add(2);
            }
            (b'*' | b'~' | b'>' | b'%' | b'|', Some(count)) => {
                // A map's entries are two values each; an attribute stands before the value that it belongs
                // to.
                let values = if matches!(self.kind, b'%' | b'|') { count.saturating_mul(2) } else { count };
                self.open = self.open.saturating_add(values);
                if self.kind != b'|' {
                    self.value_ends();
                }
            }
            _ => self.value_ends(),
        }
        if self.values.saturating_add(self.open) > VALUES {
            Err("a message has more than a million values")
        } else {
            Ok(())
        }
    }

    fn value_ends(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

/// Reads along with all of it, for the fuzz targets. Says whether it ends between two messages.
pub(super) fn reads_along(pieces: &[&[u8]]) -> Result<bool, &'static str> {
    let mut meter = Meter::default();
    pieces.iter().try_for_each(|piece| meter.take(piece))?;
    Ok((meter.open, meter.skip, meter.line) == (0, 0, 0))
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read
            && let Err(what) = self.meter.take(buf.filled().get(before..).unwrap_or_default())
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("Redis sent too much: {what}"),
            )));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a meter in bites of a size.
    fn feed(bytes: &[u8], bite: usize) -> Result<Meter, &'static str> {
        let mut meter = Meter::default();
        bytes.chunks(bite).try_for_each(|bite| meter.take(bite))?;
        Ok(meter)
    }

    #[test]
    fn ordinary_messages_pass_and_leave_nothing_open() {
        let message =
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nab\r\nc\r\n*-1\r\n$-1\r\n_\r\n%1\r\n+key\r\n*2\r\n:1\r\n#t\r\n-ERR no\r\n$0\r\n\r\n";

        for bite in 1..message.len() {
            let meter = feed(message, bite).unwrap();
            assert_eq!((meter.open, meter.skip, meter.line), (0, 0, 0), "in bites of {bite}");
        }
    }

    #[test]
    fn a_value_may_have_a_mebibyte_and_no_more() {
        assert!(feed(format!("${}\r\n", 1 << 20).as_bytes(), 4).is_ok());
        assert!(feed(format!("${}\r\n", (1 << 20) + 1).as_bytes(), 4).is_err());
        assert!(feed(b"$99999999999999999999999\r\n", 4).is_ok(), "no length at all: the library refuses it");
    }

    #[test]
    fn a_message_may_have_64_mebibytes_and_a_million_values() {
        let value = [format!("${}\r\n", 1 << 20).as_bytes(), &vec![b'a'; 1 << 20], b"\r\n"].concat();
        let many = |count: usize| [format!("*{count}\r\n").as_bytes(), &value.repeat(count)].concat();

        assert!(feed(&many(64), 1 << 16).is_ok());
        assert!(feed(&many(65), 1 << 16).is_err());
        assert!(feed(&value.repeat(65), 1 << 16).is_ok(), "each is a message");
        assert!(feed(b"*1048570\r\n", 4).is_ok());
        assert!(feed(b"*1048577\r\n", 4).is_err());
        assert!(feed(&b"*2\r\n".repeat(1 << 20), 1 << 16).is_err(), "nested");
    }

    #[test]
    fn a_line_ends_somewhere() {
        assert!(feed(&[b"-".as_slice(), &[b'e'; 1 << 17]].concat(), 1 << 10).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), bite in 1_usize..50) {
            let _ = feed(&bytes, bite);
        }
    }
}
