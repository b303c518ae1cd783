//! A way in for the fuzz targets, to what no other caller needs. It stands in no document.

use bytes::BytesMut;
use http::header;

use super::{body::Body, head};
use crate::gateway::response_headers;

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
    pub surplus: usize,
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
            let Some(head) = head::parse(&mut unread, known)? else {
                if come > head::MAX_BYTES {
                    return Err("the head of the answer has over 64 KiB");
                }
                continue;
            };
            response_headers::framing(&head.response.headers).map_err(|_| "the framing of the answer")?;
            let answer = Answer {
                status: head.response.status.as_u16(),
                keeps: head.keeps,
                head: come - unread.len(),
                chunked: head.response.headers.contains_key(header::TRANSFER_ENCODING),
                body: Vec::new(),
                surplus: 0,
            };
            reading = Some((answer, Body::of(&head.response, without_body)?));
        }
        if let Some((answer, body)) = &mut reading {
            while let Some(piece) = body.next(&mut unread)? {
                answer.body.extend_from_slice(&piece);
            }
        }
    }
    let Some((answer, mut body)) = reading else { return Err("the upstream closed within the head") };
    body.closed()?;
    Ok(Answer { surplus: unread.len(), ..answer })
}
