//! Reads the main file and the tenant files it names, up to wire types.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    collection::Named,
    default,
    finding::Findings,
    input::Inputs,
    parse::FilePath,
    reader::{Reader, Spanned, Wire},
    similar_path,
    source::{Source, Sources, Span},
    tree::{self, Bounds, Node, Value},
    wire::{ConfigLimits, Root, TenantFile, TenantWire},
};
use crate::{files, model::TenantName};

/// A pattern of tenant files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// The pattern, as it is written.
    pub pattern: String,
    /// How many files it fits, those of other patterns counted too.
    pub files: usize,
}

/// Everything that was read.
#[derive(Default)]
pub(super) struct Contents {
    /// The files.
    pub(super) sources: Sources,
    /// The main file.
    pub(super) root: Option<Root>,
    /// The tenants of the tenant files.
    pub(super) tenants: Vec<Named<TenantName, TenantWire>>,
    /// The patterns of tenant files, and how many each fits.
    pub(super) includes: Vec<Include>,
    /// Whether a file could not be read as YAML, so that what refers to it cannot be judged.
    pub(super) broken: bool,
}

/// Reads everything.
pub(super) fn read(path: &Path, inputs: &Inputs<'_>, findings: &mut Findings) -> Contents {
    let mut read = Contents::default();
    let bounds = default::BOUNDS;
    let main = text(path, default::FILE_BYTES, true);
    let meant = main.is_err().then(|| similar_path::hint(path)).flatten();
    read.root = read.take(path, main.map_err(|wrong| (wrong, meant)), bounds, inputs, findings);
    let Some(root) = &read.root else { return read };
    let limits = root.config_limits.clone();
    let patterns = root.tenant_files.clone();
    let bytes = limits
        .as_ref()
        .and_then(|limits| limits.file_bytes.as_ref())
        .map_or(default::FILE_BYTES, |at| at.value.0);
    let nodes = limits
        .as_ref()
        .and_then(|limits| limits.values.as_ref())
        .map_or(default::BOUNDS.nodes, |at| at.value);
    let (files, includes) = tenant_files(path, &patterns, limits.as_ref(), findings);
    read.includes = includes;
    for file in files {
        let tenants: Option<TenantFile> =
            read.file(&file, bytes, Bounds { nodes, ..bounds }, inputs, findings);
        read.tenants.extend(tenants.map(|file| file.tenants));
    }
    read
}

impl Contents {
    /// Reads one tenant file.
    fn file<T: Wire>(
        &mut self,
        path: &Path,
        bytes: u64,
        bounds: Bounds,
        inputs: &Inputs<'_>,
        findings: &mut Findings,
    ) -> Option<T> {
        self.take(path, text(path, bytes, false).map_err(|wrong| (wrong, None)), bounds, inputs, findings)
    }

    /// Takes in the main file's text, as if it had been read.
    pub(super) fn of_text(path: PathBuf, text: String, inputs: &Inputs<'_>, findings: &mut Findings) -> Self {
        let mut contents = Self::default();
        contents.root = contents.take(&path, Ok(text), default::BOUNDS, inputs, findings);
        contents
    }

    /// Takes in what was read of one file, or why it could not be read.
    fn take<T: Wire>(
        &mut self,
        path: &Path,
        text: Result<String, (String, Option<String>)>,
        bounds: Bounds,
        inputs: &Inputs<'_>,
        findings: &mut Findings,
    ) -> Option<T> {
        let (text, wrong) = match text {
            Ok(text) => (text, None),
            Err(wrong) => (String::new(), Some(wrong)),
        };
        let source = Source::new(path.to_path_buf(), text);
        let file = u16::try_from(self.sources.files().len()).unwrap_or(u16::MAX);
        let tree = match wrong {
            None => tree::parse(&source, file, bounds, findings),
            Some((wrong, hint)) => {
                findings.error(Span { file, start: 0, end: 0 }, wrong).maybe_hint(hint);
                None
            }
        };
        // No configuration, but perhaps the file of a key: nothing of it is shown.
        if let Some(Node { span, value: Value::Scalar { .. } }) = &tree {
            findings.mask(*span);
        }
        self.broken |= tree.is_none();
        let wire = tree.as_ref().and_then(|tree| T::read(tree, &mut Reader::new(findings, inputs, file)));
        self.sources.add(source);
        wire
    }
}

/// Reads a text within a bound. What the command line names may be a pipe; what a configuration names is a
/// file.
fn text(path: &Path, bound: u64, is_named: bool) -> Result<String, String> {
    let bound = bound.min(u64::from(u32::MAX) - 1);
    let read = if is_named { files::read_named(path, bound) } else { files::read(path, bound) };
    let bytes = match read {
        Ok(contents) => contents.bytes,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(format!(
                "this file is larger than {bound} bytes; `config_limits.file_bytes` can be raised to 4GiB"
            ));
        }
        Err(error) => return Err(format!("cannot read this file: {}", files::reason(&error))),
    };
    String::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(
            error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default(),
        )
        .into_owned();
        let (line, column) =
            (before.split('\n').count(), before.rsplit('\n').next().unwrap_or("").chars().count() + 1);
        format!("this file is not UTF-8 text: what stands in line {line} at column {column} cannot be read")
    })
}

/// Finds the tenant files, each once, in the order of the patterns and then of names.
fn tenant_files(
    main: &Path,
    patterns: &[Spanned<FilePath>],
    limits: Option<&ConfigLimits>,
    findings: &mut Findings,
) -> (Vec<PathBuf>, Vec<Include>) {
    let most = limits
        .and_then(|limits| limits.files.as_ref())
        .map_or(default::FILES, |at| at.value)
        .min(usize::from(u16::MAX) - 1);
    let folder = main.parent().unwrap_or(Path::new(""));
    let mut seen: HashSet<PathBuf> = HashSet::from([main.to_path_buf()]);
    let (mut files, mut includes) = (Vec::new(), Vec::new());
    for Spanned { value: FilePath(pattern), span } in patterns {
        let escaped = glob::Pattern::escape(&folder.to_string_lossy());
        let full = Path::new(&escaped).join(pattern);
        let found = match glob::glob(&full.to_string_lossy()) {
            Ok(found) => found,
            Err(error) => {
                findings
                    .error(*span, format!("not a pattern of files: {}", error.msg))
                    .hint("write `tenants.d/*.yaml`");
                continue;
            }
        };
        let mut fits = 0_usize;
        let is_meant =
            |path: &glob::GlobResult| !path.as_ref().is_ok_and(|path| is_hidden(folder, pattern, path));
        for path in found.filter(is_meant) {
            fits += 1;
            match path {
                Ok(path) if seen.contains(&path) => {}
                Ok(path) if path.is_dir() => {
                    findings
                        .error(*span, format!("{} is a folder", path.display()))
                        .hint("write `tenants.d/*.yaml`");
                }
                Ok(path) => {
                    seen.insert(path.clone());
                    files.push(path);
                }
                Err(error) => {
                    findings.error(
                        *span,
                        format!("cannot read {}: {}", error.path().display(), files::reason(error.error())),
                    );
                }
            }
        }
        includes.push(Include { pattern: pattern.display().to_string(), files: fits });
        if fits == 0 {
            let meant = pattern
                .parent()
                .filter(|own| !own.to_string_lossy().contains(['*', '?', '[']))
                .and_then(|own| similar_path::hint(&folder.join(own)));
            findings
                .warn(*span, "no file fits this pattern")
                .hint(meant.unwrap_or_else(|| format!("it is looked for from {}", shown(folder))));
        }
    }
    if files.len() > most {
        let span = patterns.first().map(|at| at.span).unwrap_or_default();
        findings
            .error(span, format!("there are {} tenant files; at most {most} are read", files.len()))
            .hint("raise `config_limits.files`");
        files.truncate(most);
    }
    (files, includes)
}

/// Says whether a name begins with a dot where the pattern has none: editors and Kubernetes put such beside
/// files.
fn is_hidden(folder: &Path, pattern: &Path, path: &Path) -> bool {
    let has_dot = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let any_dot =
        |path: &Path| path.components().any(|part| matches!(part, Component::Normal(name) if has_dot(name)));
    let path = path.strip_prefix(folder).unwrap_or(path);
    let is_hidden_file = path.file_name().is_some_and(has_dot) && !pattern.file_name().is_some_and(has_dot);
    let is_in_hidden = path.parent().is_some_and(any_dot) && !pattern.parent().is_some_and(any_dot);
    is_hidden_file || is_in_hidden
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the current folder".to_owned() } else { folder.display().to_string() }
}
