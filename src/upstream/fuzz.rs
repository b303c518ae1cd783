//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use bytes::BytesMut;
use http::header;

use super::{
    answer_body::Body,
    head::{self, MAX_HEAD_BYTES},
};
use crate::headers;

/// An answer of an upstream, as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whether the head lets the connection serve another exchange.
    pub keeps: bool,
    /// How many octets the head has.
    pub head: usize,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// The body.
    pub body: Vec<u8>,
    /// How many octets came behind its end.
    pub unexpected_bytes: usize,
}

/// Reads one answer as its octets come, behind which the server closes.
pub fn answer(pieces: &[&[u8]], without_body: bool) -> Result<Answer, &'static str> {
    let mut unread = BytesMut::new();
    let mut reading: Option<(Answer, Body)> = None;
    for piece in pieces {
        let (known, before) = (unread.len(), reading.is_some());
        unread.extend_from_slice(piece);
        if !before {
            let come = unread.len();
            let Some((head, keeps)) = head::parse(&mut unread, known)? else {
                if come > MAX_HEAD_BYTES {
                    return Err("the head of the answer has over 64 KiB");
                }
                continue;
            };
            headers::check_framing(&head.headers).map_err(|_| "the framing of the answer")?;
            let answer = Answer {
                status: head.status.as_u16(),
                keeps,
                head: come - unread.len(),
                chunked: head.headers.contains_key(header::TRANSFER_ENCODING),
                body: Vec::new(),
                unexpected_bytes: 0,
            };
            reading = Some((answer, Body::of(&head, without_body)?));
        }
        if let Some((answer, body)) = &mut reading {
            while let Some(piece) = body.next(&mut unread)? {
                answer.body.extend_from_slice(&piece);
            }
        }
    }
    let Some((answer, mut body)) = reading else { return Err("the upstream closed within the head") };
    body.closed()?;
    Ok(Answer { unexpected_bytes: unread.len(), ..answer })
}
