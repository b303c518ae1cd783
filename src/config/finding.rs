//! Problems while they are being collected: a place and words, not yet the lines around them.

use std::{borrow::Cow, collections::HashSet, rc::Rc};

use super::{
    confusable,
    error::{Problem, Severity, Snippet},
    redaction::Redactor,
    source::{Source, Sources, Span},
};

/// How many problems are listed. More are counted: whoever has so many mends the first ones and asks again.
const LISTED: usize = 1000;
/// For how many problems similar words are looked for, which costs a walk over all names.
const SUGGESTIONS: usize = 50;
/// How many characters of a line are shown.
const SHOWN_CHARS: usize = 160;
/// In how long a text a character is looked for that is not what it looks like.
const ODD_BYTES: u32 = 400;
/// How many characters of a message, which may quote a value of any length.
const MESSAGE_CHARS: usize = 400;

/// One problem, not yet rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    severity: Severity,
    span: Span,
    path: Option<String>,
    message: String,
    hint: Option<String>,
    first: Option<Span>,
    like: Option<Span>,
    /// Whether a start goes on all the same, without what it is about.
    excused: bool,
}

impl Finding {
    /// Says what would be right.
    pub(super) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what would be right, if anybody knows.
    pub(super) fn maybe_hint(&mut self, hint: Option<String>) -> &mut Self {
        self.hint = hint.or_else(|| self.hint.take());
        self
    }

    /// Names the key path, where the place alone does not say it.
    pub(super) fn path(&mut self, path: String) -> &mut Self {
        self.path = Some(path);
        self
    }

    /// Names the key path by another place, which has the same.
    pub(super) fn like(&mut self, other: Span) -> &mut Self {
        self.like = Some(other);
        self
    }

    /// Points at the first of two.
    pub(super) fn first(&mut self, first: Span) -> &mut Self {
        self.first = Some(first);
        self
    }
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    errors: usize,
    /// How many of them do not stop a start.
    excused: usize,
    /// How many of those are about CAs of clients.
    excused_of_trust: usize,
    /// Where findings beyond the bound are written and forgotten.
    surplus: Option<Finding>,
    suggestions: usize,
    /// Where a secret was typed in clear text: whatever is shown of such a line is masked.
    masked: Vec<Span>,
    /// What must not be said: what references stand for.
    redactor: Rc<Redactor>,
    /// Keys that are written, and were refused: the map's place and the key. Who says that they are missing
    /// says it twice.
    refused: HashSet<(Span, &'static str)>,
}

impl Findings {
    /// Starts with nothing found. What is hidden is learnt while files are read.
    pub(super) fn redacting(redactor: Rc<Redactor>) -> Self {
        Self { redactor, ..Self::default() }
    }

    /// Adds an error.
    pub(super) fn error(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Finding {
        self.errors += 1;
        self.add(Severity::Error, span, message.into())
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Finding {
        self.add(Severity::Warning, span, message.into())
    }

    fn add(&mut self, severity: Severity, span: Span, message: Cow<'static, str>) -> &mut Finding {
        // Before it is cut: half of a value would not be known again.
        let message = self.redactor.mask(message.into_owned());
        let message = match message.char_indices().nth(MESSAGE_CHARS) {
            Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
            None => message,
        };
        let finding = Finding {
            severity,
            span,
            path: None,
            message,
            hint: None,
            first: None,
            like: None,
            excused: false,
        };
        if self.list.len() >= LISTED {
            return self.surplus.insert(finding);
        }
        self.list.push(finding);
        // The list is not empty, so the second arm is not reached.
        match self.list.last_mut() {
            Some(last) => last,
            None => self.surplus.get_or_insert_with(unreached),
        }
    }

    /// Notes that a key is written, and refused.
    pub(super) fn refuse(&mut self, map: Span, key: &'static str) {
        self.refused.insert((map, key));
    }

    /// Says whether a key of a map is written, and was refused.
    pub(super) fn is_refused(&self, map: Span, key: &'static str) -> bool {
        self.refused.contains(&(map, key))
    }

    /// Hides some characters from whatever is shown.
    pub(super) fn mask(&mut self, span: Span) {
        self.masked.push(span);
    }

    /// Excuses what was found since there were so many errors: it is about one certificate, and a start
    /// serves the others without it.
    pub(super) fn excuse(&mut self, before: usize) {
        let since = self.errors.saturating_sub(before);
        self.excused += since;
        let errors = self.list.iter_mut().rev().filter(|finding| finding.severity == Severity::Error);
        errors.take(since).for_each(|finding| finding.excused = true);
    }

    /// Excuses what was found since then: it is about the CAs of one tenant, and a start refuses everybody
    /// there. Returns what it was.
    pub(super) fn excuse_trust(&mut self, before: usize) -> String {
        self.excused_of_trust += self.errors.saturating_sub(before);
        self.excuse(before);
        let last = self.list.iter().rev().find(|finding| finding.severity == Severity::Error);
        last.map(|finding| finding.message.clone()).unwrap_or_default()
    }

    /// Returns how many errors are excused that are about certificates of ours.
    pub(super) fn excused_certificates(&self) -> usize {
        self.excused.saturating_sub(self.excused_of_trust)
    }

    /// Returns how many errors stop a start, too.
    pub(super) fn inexcusable(&self) -> usize {
        self.errors.saturating_sub(self.excused)
    }

    /// Returns how many errors were found.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Returns a hint with the most similar of some words: "did you mean `app`?".
    pub(super) fn similar<'w>(
        &mut self,
        word: &str,
        words: impl IntoIterator<Item = &'w str>,
    ) -> Option<String> {
        self.suggestions += 1;
        if self.suggestions > SUGGESTIONS {
            return None;
        }
        // One edit for short words, up to three for long ones.
        let bound = (word.chars().count() / 3).clamp(1, 3);
        let near = words.into_iter().map(|other| (strsim::damerau_levenshtein(word, other), other));
        let near: Vec<_> = near.filter(|(distance, _)| *distance <= bound).collect();
        let least = near.iter().map(|(distance, _)| *distance).min()?;
        // Of those that are as many letters away, the one that has most in common; `ap2` may be `app2` or
        // `app`.
        let mut best: Vec<_> =
            near.into_iter().filter(|(distance, _)| *distance == least).map(|(_, other)| other).collect();
        best.sort_by(|one, other| {
            strsim::jaro_winkler(word, other).total_cmp(&strsim::jaro_winkler(word, one)).then(one.cmp(other))
        });
        best.dedup();
        let or = best.get(1).map(|second| format!(" or `{second}`")).unwrap_or_default();
        Some(format!("did you mean `{}`{or}?", best.first()?))
    }

    /// Renders what was found, in the order of files and places, with the number of errors that are not
    /// listed.
    ///
    /// `path_of` names the key at a place, where the finding does not.
    pub(super) fn render(self, sources: &Sources, path_of: impl Fn(Span) -> String) -> (Vec<Problem>, usize) {
        let Self { mut list, masked, redactor, .. } = self;
        for finding in &mut list {
            finding.hint = finding.hint.take().map(|hint| redactor.mask(hint));
        }
        list.sort_by_key(|finding| (finding.span.file, finding.span.start));
        let listed = list.iter().filter(|finding| finding.severity == Severity::Error).count();
        let problems = list.into_iter().map(|finding| finding.render(sources, &masked, &path_of)).collect();
        (problems, self.errors.saturating_sub(listed))
    }

    /// Returns the messages alone.
    #[cfg(test)]
    pub(super) fn messages(&self) -> Vec<String> {
        self.list.iter().map(|finding| finding.message.clone()).collect()
    }
}

fn unreached() -> Finding {
    Finding {
        severity: Severity::Error,
        span: Span::default(),
        path: None,
        message: String::new(),
        hint: None,
        first: None,
        like: None,
        excused: false,
    }
}

impl Finding {
    fn render(self, sources: &Sources, masked: &[Span], path_of: &impl Fn(Span) -> String) -> Problem {
        let source = sources.file(self.span.file);
        // A file that could not be read, or holds nothing, is meant as a whole.
        let (line, column) = source
            .filter(|source| !source.text().is_empty())
            .map_or((0, 0), |source| source.place(self.span.start));
        let hint = self.confusable(source, masked).or(self.hint);
        let first = self.first.map(|first| format!("the first one is at {}", sources.locate(first)));
        let hint = match (hint, first) {
            (Some(hint), Some(first)) => Some(format!("{first}; {hint}")),
            (hint, first) => hint.or(first),
        };
        Problem {
            severity: self.severity,
            file: source.map(|source| source.path().to_path_buf()).unwrap_or_default(),
            line,
            column,
            path: self.path.unwrap_or_else(|| path_of(self.like.unwrap_or(self.span))),
            message: self.message,
            hint,
            snippet: source.and_then(|source| snippet(source, line, self.span, masked)),
        }
    }

    /// Names what is not what it looks like in a text that is refused: whatever is wrong with it, that is
    /// why.
    fn confusable(&self, source: Option<&Source>, masked: &[Span]) -> Option<String> {
        let Span { file, start, end } = self.span;
        let hidden =
            masked.iter().any(|hidden| hidden.file == file && hidden.start < end && start < hidden.end);
        if self.severity != Severity::Error || hidden || end.saturating_sub(start) > ODD_BYTES {
            return None;
        }
        let text = source?.text().get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        // One character alone has been named by the message.
        if text.is_ascii() || text.chars().nth(1).is_none() {
            return None;
        }
        confusable::first(text).map(|found| format!("in it stands {}: {}", found.named(), found.instead()))
    }
}

/// Cuts the line of a span out, hides secrets in it and bounds it.
fn snippet(source: &Source, line: u32, span: Span, masked: &[Span]) -> Option<Snippet> {
    let (start, text) = source.line_text(line);
    if text.trim().is_empty() {
        return None;
    }
    let (mut shown, mut indent, mut width) = (String::new(), 0, 0);
    for (index, character) in text.char_indices() {
        let at = start.saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
        let inside = |hidden: &&Span| hidden.file == span.file && hidden.start <= at && at < hidden.end;
        shown.push(match character {
            _ if masked.iter().any(|hidden| inside(&hidden)) => '*',
            '\t' => ' ',
            blank if confusable::is_blank(blank) => '␣',
            invisible if confusable::is_invisible(invisible) => '\u{fffd}',
            other => other,
        });
        indent += usize::from(at < span.start);
        width += usize::from(at >= span.start && at < span.end);
    }
    Some(cut(shown.trim_end(), indent, width.max(1)))
}

/// Keeps the marked characters of a long line, and some around them.
fn cut(text: &str, indent: usize, width: usize) -> Snippet {
    if text.chars().count() <= SHOWN_CHARS {
        return Snippet {
            text: text.to_owned(),
            indent,
            width: width.min(text.chars().count().saturating_sub(indent).max(1)),
        };
    }
    let skip = indent.saturating_sub(40);
    let ahead = if skip > 0 { "…" } else { "" };
    let kept: String = text.chars().skip(skip).take(SHOWN_CHARS).collect();
    let indent = indent - skip + ahead.chars().count();
    let behind = if text.chars().count() > skip + SHOWN_CHARS { "…" } else { "" };
    Snippet {
        text: format!("{ahead}{kept}{behind}"),
        indent,
        width: width.min(SHOWN_CHARS.saturating_sub(indent).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(Source::new("a.yaml".into(), text.into()));
        sources
    }

    #[test]
    fn a_secret_is_not_shown() {
        let sources = sources("a: hunter2 # b\n");
        let mut findings = Findings::default();
        findings.mask(Span { file: 0, start: 3, end: 10 });
        findings.error(Span { file: 0, start: 3, end: 10 }, "inline");

        let (problems, more) = findings.render(&sources, |_| "a".into());

        assert_eq!(more, 0);
        assert_eq!(problems[0].snippet, Some(Snippet { text: "a: ******* # b".into(), indent: 3, width: 7 }));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));

        let Snippet { text, indent, width } = cut(&text, 500, 1);

        assert_eq!(text.chars().nth(indent), Some('X'));
        assert_eq!(width, 1);
        assert!(text.chars().count() <= SHOWN_CHARS + 2);
    }

    #[test]
    fn problems_beyond_the_bound_are_counted() {
        let mut findings = Findings::default();
        for _ in 0..LISTED + 7 {
            findings.error(Span::default(), "x").hint("y");
        }

        let (problems, more) = findings.render(&sources("a: 1\n"), |_| String::new());

        assert_eq!((problems.len(), more), (LISTED, 7));
    }

    #[test]
    fn only_similar_words_are_suggested() {
        let mut findings = Findings::default();

        assert_eq!(
            findings.similar("upstraem", ["upstream", "routes"]),
            Some("did you mean `upstream`?".into())
        );
        assert_eq!(findings.similar("xyz", ["upstream", "routes"]), None);
        // The nearest first, the next one where it is as near, and none that is further away.
        assert_eq!(
            findings.similar("ap2", ["app", "app2", "apple2"]),
            Some("did you mean `app2` or `app`?".into())
        );
        assert_eq!(
            findings.similar("app3", ["app", "app2", "api"]),
            Some("did you mean `app` or `app2`?".into())
        );
        assert_eq!(findings.similar("apps", ["app", "ap"]), Some("did you mean `app`?".into()));
    }
}
