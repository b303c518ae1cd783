//! A YAML text as a tree that remembers where everything stands.
//!
//! Scalars stay text: only the key that wants one knows what it means, so `no` can be a country.
//! `serde-saphyr` has no such tree (its untyped reading resolves scalars first, and it stops at the first
//! error), so this reads the events of the parser below it, `granit-parser`.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{
    confusable,
    finding::Findings,
    source::{Source, Span},
    syntax::{self, Explained},
};

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it stands: a scalar with its quotes, a list or map from its first item.
    pub(super) span: Span,
    /// What it is.
    pub(super) value: Value,
}

/// What stands in a place.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text, after YAML's escapes.
    Scalar {
        /// The text.
        text: Box<str>,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// `[…]` or lines with `- `.
    List(Vec<Node>),
    /// `{…}` or lines with `key: `.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: Box<str>,
    /// Where the key stands.
    pub(super) span: Span,
    /// Its value.
    pub(super) node: Node,
}

/// How much a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Values, those that aliases repeat included.
    pub(super) nodes: usize,
    /// Values that aliases repeat.
    pub(super) repeated: usize,
    /// Lists and maps inside each other.
    pub(super) depth: usize,
}

/// Reads a file. What is wrong goes to `findings`; nothing is returned where the text is not YAML, so that
/// what follows does not complain about what is merely missing.
pub(super) fn parse(source: &Source, file: u16, bounds: Bounds, findings: &mut Findings) -> Option<Node> {
    let mut builder = Builder {
        file,
        text: source.text(),
        bounds,
        findings,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        repeated: 0,
        root: None,
        odd: false,
    };
    let mut options = granit_parser::options! { disallow_directives: true };
    options.set_emit_comments(false);
    for next in Parser::new_from_str_with_options(source.text(), options) {
        let went_well = match next {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => builder.broken(&error, source),
        };
        went_well?;
    }
    if builder.root.is_none() {
        builder
            .findings
            .error(Span { file, start: 0, end: 0 }, "the file is empty")
            .hint("a configuration begins with `version: 1`");
    }
    if let (true, Some(Node { span, value: Value::Scalar { .. } })) = (builder.odd, &builder.root) {
        // No configuration, but perhaps the file of a key.
        builder.findings.mask(*span);
    }
    // A key that is not what it looks like makes nothing else of this file worth saying: it would be missing,
    // and unknown.
    builder.root.filter(|_| !builder.odd)
}

struct Builder<'a> {
    file: u16,
    text: &'a str,
    bounds: Bounds,
    findings: &'a mut Findings,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    repeated: usize,
    root: Option<Node>,
    /// Whether a character was found that is not what it looks like.
    odd: bool,
}

/// A list or map that has not ended.
struct Open {
    start: Span,
    anchor: usize,
    value: Partial,
}

enum Partial {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashSet<Box<str>>, pending: Option<(Box<str>, Span)> },
}

impl Builder<'_> {
    /// Takes the next event; nothing if the rest cannot be read.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whether comments are events depends on a feature another crate may switch on"
    )]
    fn take(&mut self, event: Event<'_>, span: &granit_parser::Span) -> Option<()> {
        let here = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.untagged(tag.is_some(), here);
                let plain = style == ScalarStyle::Plain;
                // The parser writes `~` where nothing stands at all.
                let text = if plain && here.start == here.end { Cow::Borrowed("") } else { text };
                if plain {
                    self.validate_characters(here);
                }
                self.place(Node { span: here, value: Value::Scalar { text: text.into(), plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.untagged(tag.is_some(), here);
                self.open(here, anchor, Partial::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.untagged(tag.is_some(), here);
                self.open(
                    here,
                    anchor,
                    Partial::Map { entries: Vec::new(), keys: HashSet::new(), pending: None },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(here),
            Event::Alias(anchor) => self.repeat(anchor, here),
            Event::DocumentStart(..) if self.root.is_some() => {
                self.findings
                    .error(here, "a second document begins here")
                    .hint("one file holds one document; take `---` out");
                None
            }
            // What is left means nothing to a tree: the stream's ends, and comments and anchors, which are
            // not asked for.
            _ => Some(()),
        }
    }

    /// Refuses what is not what it looks like: anywhere in a key, at the ends of a value that has no quotes.
    fn validate_characters(&mut self, span: Span) {
        let range = usize::try_from(span.start).unwrap_or(0)..usize::try_from(span.end).unwrap_or(0);
        let Some(text) = self.text.get(range).filter(|text| !text.is_ascii()) else { return };
        let is_key = match self.open.last().map(|open| &open.value) {
            None => true,
            Some(Partial::Map { pending, .. }) => pending.is_none(),
            Some(Partial::List(_)) => false,
        };
        let Some(found) = (if is_key { confusable::first(text) } else { confusable::at_an_end(text) }) else {
            return;
        };
        let start = span.start.saturating_add(u32::try_from(found.at).unwrap_or(0));
        let end = start.saturating_add(u32::try_from(found.character.len_utf8()).unwrap_or(1));
        self.odd = true;
        let hint = format!("{}; where it is meant, put all of it in quotes", found.instead());
        self.findings.error(Span { start, end, ..span }, format!("here stands {}", found.named())).hint(hint);
    }

    fn open(&mut self, start: Span, anchor: usize, value: Partial) -> Option<()> {
        if self.open.len() >= self.bounds.depth {
            let message = format!("more than {} lists and maps stand inside each other", self.bounds.depth);
            self.findings.error(start, message);
            return None;
        }
        self.open.push(Open { start, anchor, value });
        Some(())
    }

    fn close(&mut self, end: Span) -> Option<()> {
        let Open { start, anchor, value } = self.open.pop()?;
        let value = match value {
            Partial::List(items) => Value::List(items),
            Partial::Map { entries, .. } => Value::Map(entries),
        };
        self.place(Node { span: Span { end: end.end.max(start.end), ..start }, value }, anchor)
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > self.bounds.nodes {
            let message = format!("the file holds more than {} values", self.bounds.nodes);
            self.findings.error(node.span, message).hint("split it, or raise `config_limits.values`");
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.value) {
            None => self.root = Some(node),
            Some(Partial::List(items)) => items.push(node),
            Some(Partial::Map { entries, keys, pending }) => match (pending.take(), node) {
                (None, Node { span, value: Value::Scalar { text, .. } }) => *pending = Some((text, span)),
                (None, Node { span, .. }) => {
                    self.findings.error(span, "a key must be plain text");
                    return None;
                }
                (Some((key, span)), node) if keys.insert(key.clone()) => {
                    entries.push(Entry { key, span, node })
                }
                (Some((key, span)), _) => {
                    let first =
                        entries.iter().find(|entry| entry.key == key).map_or(span, |entry| entry.span);
                    self.findings.error(span, format!("`{key}` is written twice")).first(first).like(first);
                }
            },
        }
        Some(())
    }

    /// Repeats what an anchor named, within bounds, so that a few aliases of aliases cannot fill the memory.
    fn repeat(&mut self, anchor: usize, here: Span) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.findings.error(here, "an alias inside of what it repeats");
            return None;
        };
        self.repeated += size(node);
        if self.repeated > self.bounds.repeated {
            let message = format!("aliases repeat more than {} values", self.bounds.repeated);
            self.findings
                .error(here, message)
                .hint("write the values out, or name them as a route set or quota");
            return None;
        }
        let node = Node { span: here, value: node.value.clone() };
        self.nodes += size(&node) - 1;
        self.place(node, 0)
    }

    fn untagged(&mut self, tagged: bool, here: Span) {
        if tagged {
            self.findings
                .error(here, "YAML tags (`!…`) have no meaning here")
                .hint("the key says what its value is; take the tag out");
        }
    }

    fn broken(&mut self, error: &ScanError, source: &Source) -> Option<()> {
        let start = offset(error.marker().byte_offset());
        let what = match error.info() {
            text if text.is_empty() => Cow::Borrowed("not valid YAML"),
            text => Cow::Owned(format!("not valid YAML: {text}")),
        };
        // What was named already is the cause.
        if !self.odd {
            let Explained { start, end, message, hint } = syntax::explain(&what, source, start);
            let message = message.map_or(what, Cow::Owned);
            self.findings.error(Span { file: self.file, start, end }, message).maybe_hint(hint);
        }
        None
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        Span { file: self.file, start: offset(span.start.byte_offset()), end: offset(span.end.byte_offset()) }
    }
}

fn offset(bytes: Option<usize>) -> u32 {
    bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
}

/// How many values a value is, itself included. Its depth is bounded, so is the recursion.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
    }
}

impl Value {
    /// Names the kind of value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Scalar { text, plain: true } if text.is_empty() => "nothing",
            Self::Scalar { .. } => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut findings = Findings::default();
        let source = Source::new("a.yaml".into(), text.into());
        let node = parse(&source, 0, Bounds { nodes: 100, repeated: 20, depth: 8 }, &mut findings);
        (node, findings.messages())
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, .. } => text.to_string(),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
            Value::Map(entries) => {
                format!(
                    "{{{}}}",
                    entries
                        .iter()
                        .map(|e| format!("{}:{}", e.key, show(&e.node)))
                        .collect::<Vec<_>>()
                        .join(",")
                )
            }
        }
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let (node, problems) = read("a: no\nb: [1.20, 0o17, '${X}', ~]\n");

        assert_eq!(node.map(|node| show(&node)), Some("{a:no,b:[1.20,0o17,${X},~]}".into()));
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_value_knows_its_place() {
        let (node, _) = read("a:\n  b: [x, 'y z']\n");
        let Value::Map(outer) = node.unwrap().value else { panic!() };
        let Value::Map(inner) = &outer[0].node.value else { panic!() };
        let Value::List(items) = &inner[0].node.value else { panic!() };

        assert_eq!(inner[0].span, Span { file: 0, start: 5, end: 6 });
        assert_eq!(items[1].span, Span { file: 0, start: 12, end: 17 });
    }

    #[test]
    fn a_key_that_is_written_twice_is_found_and_reading_goes_on() {
        let (node, problems) = read("a: 1\nb: 2\na: 3\nb: 4\n");

        assert!(node.is_some());
        assert_eq!(problems, ["`a` is written twice", "`b` is written twice"]);
    }

    #[test]
    fn aliases_repeat_within_bounds() {
        let (node, problems) = read("a: &x [1, 2]\nb: *x\n");
        assert_eq!(node.map(|node| show(&node)), Some("{a:[1,2],b:[1,2]}".into()));
        assert_eq!(problems, Vec::<String>::new());

        let (node, problems) = read("a: &a [1,1,1,1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n");
        assert!(node.is_none());
        assert_eq!(problems, ["aliases repeat more than 20 values"]);

        let (node, problems) = read("a: &a [*a]\n");
        assert!(node.is_none());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert_eq!(
            read(&format!("{}{}", "[".repeat(9), "]".repeat(9))).1,
            ["more than 8 lists and maps stand inside each other"]
        );
        assert_eq!(read(&"- 1\n".repeat(101)).1, ["the file holds more than 100 values"]);
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused() {
        assert_eq!(read("").1, ["the file is empty"]);
        assert_eq!(read("a: 1\n---\nb: 2\n").1, ["a second document begins here"]);
        assert_eq!(read("a: !!str 1\n").1, ["YAML tags (`!…`) have no meaning here"]);
        assert_eq!(read("[a, b]: 1\n").1, ["a key must be plain text"]);
        assert_eq!(read("a: [1, 2\nb: 3\n").1.len(), 1);
    }
}
