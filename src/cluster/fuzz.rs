//! Entry points for the fuzz targets. They are not documented.

use super::{announce, entry::Entry, message};
use crate::model::{SessionId, UnixTime};

/// Reads a message on the channel of news: its number, its head, and the records.
pub fn news(message: &[u8]) -> Option<(u64, String, &[u8])> {
    message::read(message).map(|news| (news.number, message::head(news.process, news.token), news.records))
}

/// Reads records that others wrote, and writes them again. The flag says whether all could be taken.
pub fn records(bytes: &[u8], now: UnixTime) -> (Vec<Vec<u8>>, bool) {
    let (records, is_whole) = message::records(bytes, now);
    (records.iter().map(message::bytes).collect(), is_whole)
}

/// Reads one record that others wrote, and writes it again.
pub fn record(bytes: &[u8], now: UnixTime) -> Option<Vec<u8>> {
    message::record(bytes, now).ok().map(|record| message::bytes(&record))
}

/// Reads a session of a user, and writes it again: field and value.
pub fn entry(field: &[u8], value: &[u8]) -> Option<(String, String)> {
    Entry::read(field, value).map(|entry| (entry.id.to_hex(), entry.write()))
}

/// Reads a message on the channel of newer tokens.
pub fn turn(message: &[u8]) -> Option<(&str, SessionId, u32)> {
    announce::read(message)
}
