//! What every part of compiling needs: a way to say what is wrong, the files, the time.

use std::{borrow::Cow, path::PathBuf};

use crate::{
    config::{
        finding::{Finding, Findings},
        history::History,
        input::Inputs,
        parse::FilePath,
        reader::Spanned,
        source::{Source, Sources, Span},
    },
    model::{Origin, UnixTime},
};

/// The context of one load.
pub(in crate::config) struct Context<'a> {
    /// The files.
    pub(in crate::config) sources: &'a Sources,
    /// What was found.
    pub(in crate::config) findings: &'a mut Findings,
    /// Variables and the files that scalars name.
    pub(in crate::config) inputs: &'a Inputs<'a>,
    /// Whether something could not be read: who warns of what is missing may be missing just that.
    pub(in crate::config) is_misread: bool,
    /// The time that expiry is judged by.
    pub(in crate::config) now: UnixTime,
    /// What the state directory says of the past.
    pub(in crate::config) history: History,
    /// When the next entry expires.
    pub(in crate::config) next_expiry: Option<UnixTime>,
}

impl Context<'_> {
    /// Adds an error.
    pub(super) fn error(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Finding {
        self.findings.error(span, message)
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Finding {
        self.findings.warn(span, message)
    }

    /// Says that a name stands for nothing.
    pub(super) fn unknown<'w>(
        &mut self,
        what: &str,
        span: Span,
        name: &str,
        known: impl IntoIterator<Item = &'w str>,
        hint: &str,
    ) {
        let similar = self.findings.similar(name, known);
        self.findings.error(span, format!("there is no {what} `{name}`")).hint(hint).maybe_hint(similar);
    }

    /// Says whether a map has none of these keys, not even one that is written and was refused: what is there
    /// and wrong is not missing.
    pub(super) fn lacks(&self, map: Span, keys: &[&'static str]) -> bool {
        !keys.iter().any(|key| self.findings.is_refused(map, key))
    }

    /// Returns the origin that rules carry.
    pub(super) fn origin(&self, span: Span) -> Origin {
        self.sources.origin(span)
    }

    /// Resolves a path against the folder of the file that it is written in.
    pub(super) fn resolve(&self, path: &Spanned<FilePath>) -> PathBuf {
        self.folder(path.span).join(&path.value.0)
    }

    /// Returns the folder of the file that a span lies in.
    pub(super) fn folder(&self, span: Span) -> PathBuf {
        self.sources.file(span.file).map(Source::folder).unwrap_or_default()
    }

    /// Says whether a time has come; otherwise remembers that the policy changes then.
    pub(super) fn has_come(&mut self, time: UnixTime) -> bool {
        if time <= self.now {
            return true;
        }
        self.next_expiry = Some(self.next_expiry.map_or(time, |next| next.min(time)));
        false
    }
}
