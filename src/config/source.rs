//! The files a policy is read from, and places in them.

use std::path::{Path, PathBuf};

use crate::model::{Origin, printable};

/// Some characters of one file, by byte offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    /// Which file, as [`Sources`] counts them.
    pub(super) file: u16,
    /// The first byte.
    pub(super) start: u32,
    /// The byte after the last.
    pub(super) end: u32,
}

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
    /// Where each line begins.
    starts: Vec<u32>,
}

impl Source {
    /// Takes a text in. The caller has bounded it to 4 GiB.
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).filter_map(|end| u32::try_from(end + 1).ok());
        let starts = std::iter::once(0).chain(ends).collect();
        Self { path, text, starts }
    }

    /// Returns the path as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the folder that relative paths in this file start from.
    pub(super) fn folder(&self) -> PathBuf {
        self.path.parent().map(Path::to_path_buf).unwrap_or_default()
    }

    /// Returns the line and the column of an offset, both from 1; the column counts characters.
    pub(super) fn place(&self, offset: u32) -> (u32, u32) {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.slice(start, offset).chars().count();
        (number(line), number(before).saturating_add(1))
    }

    /// Returns the line of an offset without counting columns.
    fn line(&self, offset: u32) -> u32 {
        number(self.starts.partition_point(|&start| start <= offset).max(1))
    }

    /// Returns a line, counted from 1, with the offset of its first byte.
    pub(super) fn line_text(&self, line: u32) -> (u32, &str) {
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        let Some(start) = self.starts.get(index).copied() else { return (0, "") };
        let end = self.starts.get(index + 1).copied().unwrap_or(number(self.text.len()));
        (start, self.slice(start, end).trim_end_matches(['\n', '\r']))
    }

    /// Returns the characters between two offsets, nothing where they are not boundaries.
    fn slice(&self, start: u32, end: u32) -> &str {
        let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        self.text.get(range).unwrap_or("")
    }
}

/// Every file of one load, in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file and returns its number, nothing once 65,535 are there.
    pub(super) fn add(&mut self, source: Source) -> Option<u16> {
        let number = u16::try_from(self.files.len()).ok()?;
        self.files.push(source);
        Some(number)
    }

    /// Returns a file.
    pub(super) fn file(&self, number: u16) -> Option<&Source> {
        self.files.get(usize::from(number))
    }

    /// Returns every file.
    pub(super) fn files(&self) -> &[Source] {
        &self.files
    }

    /// Returns the origin that rules carry.
    pub(super) fn origin(&self, span: Span) -> Origin {
        Origin { file: span.file, line: self.file(span.file).map_or(0, |source| source.line(span.start)) }
    }

    /// Says where a span begins: `conf/octroi.yaml:41:16`.
    pub(super) fn locate(&self, span: Span) -> String {
        let Some(source) = self.file(span.file) else { return String::new() };
        let (line, column) = source.place(span.start);
        format!("{}:{line}:{column}", printable(&source.path().to_string_lossy()))
    }
}

/// A count that fits by the bounds of a file.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = Source::new("a.yaml".into(), "a: é\nbé: c\n".into());

        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(6), (2, 1));
        assert_eq!(source.place(9), (2, 3));
        assert_eq!(source.line_text(2), (6, "bé: c"));
        assert_eq!(source.line_text(9), (0, ""));
    }
}
