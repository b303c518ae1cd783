//! Walks a tree the way the wire types ask, and writes down everything that does not fit on the way.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::{
    finding::{Finding, Findings},
    input::Inputs,
    parse::{Scalar, ScalarError},
    source::Span,
    substitute::{self, Piece},
    tree::{Entry, Node, Value},
    unenforced,
};

/// A type that may stand in a configuration.
pub(super) trait Wire: Sized {
    /// Reads a node. Nothing comes back where it does not fit, and then the reader has been told.
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self>;
    /// What stands for a key that is not written; nothing where it must be.
    fn absent() -> Option<Self> {
        None
    }
    /// What stands for a key that must be written and is not, or does not fit, so that the rest can still be
    /// judged.
    fn broken() -> Option<Self> {
        None
    }
    /// Says in JSON Schema what may stand there.
    fn schema(definitions: &mut Map<String, Json>) -> Json;
}

/// A map with fixed keys that knows its place: its key, the first character of a list item, or the top of a
/// file.
pub(super) trait HasSpan {
    /// Returns the place.
    fn span(&self) -> Span;
}

/// A scalar and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    /// The value.
    pub(super) value: T,
    /// Its place.
    pub(super) span: Span,
}

/// A secret as it is written: it is resolved when its purpose is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretText(pub(super) Spanned<Box<str>>);

/// Where the walk stands, and what it found.
pub(super) struct Reader<'t, 'f> {
    findings: &'f mut Findings,
    inputs: &'f Inputs<'f>,
    path: Vec<(Step<'t>, Span)>,
    root: Span,
}

#[derive(Clone, Copy)]
enum Step<'t> {
    Key(&'t str),
    Index(usize),
}

impl<'t, 'f> Reader<'t, 'f> {
    /// Stands at the top of a file.
    pub(super) fn new(findings: &'f mut Findings, inputs: &'f Inputs<'f>, file: u16) -> Self {
        Self { findings, inputs, path: Vec::new(), root: Span { file, start: 0, end: 0 } }
    }

    /// Adds an error about a place; its path is where the walk stands.
    pub(super) fn error(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Finding {
        let path = self.path();
        self.findings.error(span, message).path(path)
    }

    /// Says that a node is of another kind than the key wants.
    pub(super) fn wrong_kind(&mut self, node: &Node, wanted: &str) -> &mut Finding {
        let found = node.value.kind();
        let hint = match (found, wanted) {
            ("nothing", _) => "give the key a value, or leave it out".to_owned(),
            ("text", "a list") => "put it in brackets, `[…]`, also where it is the only one".to_owned(),
            ("a map", "a list") => "each entry begins with `- `, also where it is the only one".to_owned(),
            ("a list", "a map") => "a map has no `-` and no brackets: `key: value`, one a line".to_owned(),
            ("text", "a map") => {
                "a map is `key: value`, one a line; where there is nothing to say, leave the key out"
                    .to_owned()
            }
            ("a list", "a single value") => {
                "only one belongs here: take the brackets, or the `-`, off".to_owned()
            }
            _ => format!("write {wanted}"),
        };
        let span = self.spot(node);
        self.error(span, format!("{wanted} belongs here, found {found}")).hint(hint)
    }

    /// Hides the text of a place from whatever is shown.
    pub(super) fn mask(&mut self, span: Span) {
        self.findings.mask(span);
    }

    /// Returns the entries of a map whose keys are fixed; unknown ones are errors.
    pub(super) fn map(
        &mut self,
        node: &'t Node,
        name: &'static str,
        keys: &[&'static str],
    ) -> Option<&'t [Entry]> {
        let Value::Map(entries) = &node.value else {
            self.wrong_kind(node, "a map");
            return None;
        };
        for entry in entries.iter().filter(|entry| !keys.contains(&&*entry.key)) {
            self.path.push((Step::Key(&entry.key), entry.span));
            if unenforced::key(name, &entry.key).is_some() {
                let message = format!("`{}` is not enforced by this version yet", entry.key);
                self.error(entry.span, message)
                    .hint("take it out: a rule that is accepted and not enforced is a hole");
            } else {
                let hint = if &*entry.key == "<<" {
                    Some("merge keys are not read; write the keys out".to_owned())
                } else {
                    self.findings.similar(&entry.key, keys.iter().copied())
                };
                let known = format!("known keys: {}", keys.join(", "));
                self.error(entry.span, format!("unknown key `{}`", entry.key)).hint(known).maybe_hint(hint);
            }
            self.path.pop();
        }
        Some(entries)
    }

    /// Reads the value of one key of a map: one of all its keys, which is described so.
    pub(super) fn field<T: Wire>(
        &mut self,
        node: &'t Node,
        entries: &'t [Entry],
        key: &'static str,
        keys: &[&str],
        description: &str,
    ) -> Option<T> {
        if let Some(entry) = entries.iter().find(|entry| &*entry.key == key) {
            let before = self.findings.errors();
            let read = self.enter(Step::Key(&entry.key), entry.span, &entry.node);
            if self.findings.errors() > before {
                self.refuse(node, key);
            }
            return read.or_else(T::absent).or_else(T::broken);
        }
        let absent = T::absent();
        // A key that is written with a mistake in it was said so, once.
        let is_misspelt = |entry: &Entry| {
            !keys.contains(&&*entry.key)
                && strsim::damerau_levenshtein(&entry.key, key) <= (entry.key.chars().count() / 3).clamp(1, 3)
        };
        if entries.iter().any(is_misspelt) {
            self.refuse(node, key);
            return absent.or_else(T::broken);
        }
        if absent.is_none() {
            let span = self.spot(node);
            let path = joined(&self.path(), key);
            let hint = format!("`{key}`: {}", description.trim().trim_end_matches('.'));
            self.findings.error(span, format!("the key `{key}` is missing")).path(path).hint(hint);
            return T::broken();
        }
        absent
    }

    /// Notes that a key is written, and was refused, for who would say that it is missing.
    fn refuse(&mut self, node: &Node, key: &'static str) {
        let map = self.spot(node);
        self.findings.refuse(map, key);
    }

    /// Reads an item of a list.
    pub(super) fn item<T: Wire>(&mut self, index: usize, node: &'t Node) -> Option<T> {
        self.enter(Step::Index(index), node.span, node)
    }

    /// Reads one entry of a map whose keys are names. What is said of the name has the entry's path.
    pub(super) fn named<K: Scalar, T: Wire>(&mut self, entry: &'t Entry) -> (Option<K>, Option<T>) {
        self.path.push((Step::Key(&entry.key), entry.span));
        let name = K::parse(&entry.key).map_err(|wrong| {
            self.error(entry.span, wrong.message).maybe_hint(wrong.hint);
        });
        let value = T::read(&entry.node, self);
        self.path.pop();
        (name.ok(), value)
    }

    fn enter<T: Wire>(&mut self, step: Step<'t>, span: Span, node: &'t Node) -> Option<T> {
        self.path.push((step, span));
        let value = T::read(node, self);
        self.path.pop();
        value
    }

    /// Returns what to point at when a whole node is meant: its key, the first character of an item, or the
    /// top of the file.
    pub(super) fn spot(&self, node: &Node) -> Span {
        match (self.path.last(), &node.value) {
            (None, _) => self.root,
            (Some((Step::Key(_), _)), Value::Scalar { text, .. }) if !text.is_empty() => node.span,
            (Some((Step::Key(_), span)), _) => *span,
            (Some((Step::Index(_), span)), Value::Scalar { .. }) => *span,
            (Some((Step::Index(_), span)), _) => Span { end: span.start, ..*span },
        }
    }

    /// Returns the key path of where the walk stands.
    pub(super) fn path(&self) -> String {
        self.path.iter().fold(String::new(), |path, (step, _)| match step {
            Step::Key(key) => joined(&path, key),
            Step::Index(index) => format!("{path}[{index}]"),
        })
    }

    /// Says whether the walk stands at what differs from node to node by design: its name, where it listens,
    /// where its state lies.
    fn is_of_node(&self) -> bool {
        use Step::{Index, Key};
        let mut steps = self.path.iter().map(|(step, _)| *step);
        match [steps.next(), steps.next(), steps.next(), steps.next()] {
            [Some(Key(key)), None, ..] => key == "node",
            [Some(Key(top)), Some(Key(key)), None, _] => {
                matches!((top, key), ("server", "state_dir") | ("metrics" | "admin", "address"))
            }
            [Some(Key("listeners")), Some(Index(_)), Some(Key(key)), None] => key == "address",
            _ => false,
        }
    }

    /// Reads a scalar as it is written, and with what it refers to put in. Where a file lies is no part of
    /// the revision.
    fn text(&mut self, node: &'t Node, is_path: bool) -> Option<(&'t str, Cow<'t, str>)> {
        let Value::Scalar { text, plain } = &node.value else {
            self.wrong_kind(node, "a single value");
            return None;
        };
        if *plain && text.is_empty() {
            self.wrong_kind(node, "a single value");
            return None;
        }
        if !substitute::has_reference(text) {
            return Some((text, Cow::Borrowed(text)));
        }
        match self.expand(text, is_path) {
            Ok(expanded) => Some((text, Cow::Owned(expanded))),
            Err(wrong) => {
                self.error(node.span, wrong.message).maybe_hint(wrong.hint);
                None
            }
        }
    }

    fn expand(&self, text: &str, is_path: bool) -> Result<String, ScalarError> {
        let mut expanded = String::with_capacity(text.len());
        for piece in substitute::pieces(text)? {
            match piece {
                Piece::Text(text) => expanded.push_str(text),
                Piece::Variable { name, default } => {
                    expanded.push_str(&substitute::value(name, default, |name| {
                        if is_path || self.is_of_node() {
                            self.inputs.of_node(name)
                        } else {
                            self.inputs.variable(name)
                        }
                    })?);
                }
                // What is read here is shown, sent and compared: a key's text must not get here.
                Piece::File(path) => {
                    let wrong = ScalarError::new(
                        "this key takes no `${file:…}`: it stands where a secret, PEM or a URL with a password is wanted",
                    );
                    return Err(wrong
                        .hint(format!("write the value, or `${{NAME}}`; a key that wants the name of a file takes just that: `{path}`")));
                }
            }
        }
        Ok(expanded)
    }
}

/// Cuts one newline off the end, as editors and `echo` leave it.
pub(super) fn without_newline(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

/// Adds a key to a key path.
pub(super) fn joined(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let key = if plain { Cow::Borrowed(key) } else { Cow::Owned(format!("\"{key}\"")) };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

impl<T: Scalar> Wire for Spanned<T> {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        let (written, text) = reader.text(node, T::IS_PATH)?;
        match T::parse(&text) {
            Ok(value) => Some(Self { value, span: node.span }),
            Err(wrong) => {
                let wrong = if substitute::has_reference(written) { unshown::<T>(written) } else { wrong };
                reader.error(node.span, wrong.message).maybe_hint(wrong.hint);
                None
            }
        }
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        or_reference(T::schema())
    }
}

/// Says what is wrong with what references stand for, without showing it: as if the reference itself were the
/// value.
fn unshown<T: Scalar>(written: &str) -> ScalarError {
    T::parse(written).err().unwrap_or_else(|| {
        let wrong = ScalarError::new(format!("what stands for `{written}` does not belong here"));
        match T::parse("").err().and_then(|wrong| wrong.hint) {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    })
}

/// Allows `${NAME}` where a scalar stands.
fn or_reference(schema: Json) -> Json {
    json!({"anyOf": [schema, {"$ref": "#/$defs/variable"}]})
}

impl Wire for SecretText {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain } if !(*plain && text.is_empty()) => {
                // Before anything else of this line is complained of, so that no complaint shows it.
                if !substitute::is_reference(text) {
                    reader.findings.mask(node.span);
                }
                Some(Self(Spanned { value: text.clone(), span: node.span }))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                reader.wrong_kind(node, "a reference to a secret");
                None
            }
        }
    }

    fn schema(_: &mut Map<String, Json>) -> Json {
        json!({"$ref": "#/$defs/reference"})
    }
}
