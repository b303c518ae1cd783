//! What keeps the source easy to read: short signatures, parameters with names, short files, and comments no wider than
//! the code.
//!
//! There are no exceptions but tables of data.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::{collections::BTreeSet, fs, path::Path};

use syn::{FnArg, ForeignItemFn, ImplItemFn, ItemFn, Pat, Signature, TraitItemFn, visit::Visit};

/// How many parameters a function may have, `self` included; clippy does not check implementations of traits.
const MAX_PARAMETERS: usize = 6;

/// How many lines a file may have without its tests.
const MAX_LINES: usize = 400;

/// How wide a comment may be in characters, including its indentation.
const MAX_COMMENT_WIDTH: usize = 110;

/// Tables may be longer: nobody reads their rows from top to bottom.
const TABLES: &[&str] = &["policy/request_fields.rs", "telemetry/metrics/table.rs"];

#[test]
fn no_function_has_more_than_six_parameters() {
    let long = |found: &&Function| found.parameters > MAX_PARAMETERS;
    assert_none(&functions(long));
}

#[test]
fn parameters_have_names_and_no_patterns() {
    assert_none(&functions(|found| found.has_pattern));
}

#[test]
fn no_file_is_longer_than_four_hundred_lines_without_its_tests() {
    let is_table = |file: &str| TABLES.contains(&file);
    let long = |source: &&Source| line_count(&source.text) > MAX_LINES && !is_table(&source.file);
    assert_none(&sources().iter().filter(long).map(|source| source.file.clone()).collect());
}

#[test]
fn no_comment_is_wider_than_the_code() {
    let wide = |source: &&Source| source.text.lines().any(is_wide_comment);
    assert_none(&sources().iter().filter(wide).map(|source| source.file.clone()).collect());
}

#[test]
fn a_long_or_nameless_signature_is_found() {
    let judge = |text: &str| {
        let found = read_functions(text);
        let named = |found: &Function| (found.name.clone(), found.parameters, found.has_pattern);
        found.iter().map(named).collect::<Vec<_>>()
    };

    assert_eq!(judge("fn f(a: u8, mut b: u8, _: u8) {}"), [("f".to_owned(), 3, false)]);
    assert_eq!(judge("fn f((a, b): (u8, u8)) {}"), [("f".to_owned(), 1, true)]);
    assert_eq!(judge("fn f(A { b }: A) {}"), [("f".to_owned(), 1, true)]);
    assert_eq!(judge("fn f(&a: &u8) {}"), [("f".to_owned(), 1, true)]);
    assert_eq!(
        judge("impl A { fn f(&self, b: u8) { fn g([c]: [u8; 1]) {} } } trait T { fn h(a: u8); }"),
        [("f".to_owned(), 2, false), ("g".to_owned(), 1, true), ("h".to_owned(), 1, false)]
    );
    assert_eq!(judge("mod m { async fn f() {} }"), [("f".to_owned(), 0, false)]);
}

#[test]
fn the_tests_of_a_file_are_not_counted() {
    assert_eq!(line_count("a\nb\n\n#[cfg(test)]\nmod tests {\n    c\n}\n"), 3);
    assert_eq!(line_count("#[cfg(test)]\nmod tests;\n#[cfg(test)]\nconst A: u8 = 1;\n"), 4);
    assert_eq!(line_count("#[cfg(test)]\nmod fixture {\n    c\n}\n\nd\n"), 2);
}

#[test]
fn a_wide_comment_is_found_wherever_it_stands() {
    let words = "a ".repeat(60);

    assert!(is_wide_comment(&format!("    /// {words}")));
    assert!(is_wide_comment(&format!("let a = 1; // {words}")));
    assert!(!is_wide_comment(&format!("let a = \"http:// {words}\";")));
    assert!(!is_wide_comment(&format!("//{}", "é".repeat(108))));
    assert!(is_wide_comment(&format!("//{}", "é".repeat(109))));
}

/// One file of `src/`.
struct Source {
    file: String,
    text: String,
}

/// One function, and the properties of its signature that are checked.
struct Function {
    name: String,
    parameters: usize,
    has_pattern: bool,
}

#[derive(Default)]
struct Functions(Vec<Function>);

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.add(&function.sig);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add(&function.sig);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.add(&function.sig);
        syn::visit::visit_trait_item_fn(self, function);
    }

    fn visit_foreign_item_fn(&mut self, function: &'ast ForeignItemFn) {
        self.add(&function.sig);
    }
}

impl Functions {
    fn add(&mut self, signature: &Signature) {
        let is_pattern = |input: &FnArg| match input {
            FnArg::Receiver(_) => false,
            FnArg::Typed(typed) => !matches!(*typed.pat, Pat::Ident(_) | Pat::Wild(_)),
        };
        self.0.push(Function {
            name: signature.ident.to_string(),
            parameters: signature.inputs.len(),
            has_pattern: signature.inputs.iter().any(is_pattern),
        });
    }
}

fn read_functions(text: &str) -> Vec<Function> {
    let mut functions = Functions::default();
    functions.visit_file(&syn::parse_file(text).unwrap());
    functions.0
}

/// Lists the functions of `src/` that match, each behind its file.
fn functions(matches: impl Fn(&&Function) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources() {
        let functions = read_functions(&source.text);
        let named = |function: &Function| format!("{} {}", source.file, function.name);
        found.extend(functions.iter().filter(&matches).map(named));
    }
    found
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let file = path.strip_prefix(&root).unwrap().display().to_string();
                sources.push(Source { file, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    // A search that finds no files would pass.
    assert!(sources.len() > 200, "{} files", sources.len());
    sources
}

/// Counts the lines of a file outside its test modules.
fn line_count(text: &str) -> usize {
    let (mut count, mut lines) = (0, text.lines().peekable());
    while let Some(line) = lines.next() {
        let opens = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(opens) {
            // The formatter puts the closing brace at the beginning of a line.
            lines.by_ref().find(|line| *line == "}");
        } else {
            count += 1;
        }
    }
    count
}

fn is_wide_comment(line: &str) -> bool {
    let is_outside_strings = |at: usize| line[..at].matches('"').count().is_multiple_of(2);
    line.chars().count() > MAX_COMMENT_WIDTH
        && line.match_indices("//").any(|(at, _)| {
            let before = &line[..at];
            (before.is_empty() || before.ends_with(' ')) && is_outside_strings(at)
        })
}

/// Fails with what was found, a line each.
fn assert_none(found: &BTreeSet<String>) {
    assert!(found.is_empty(), "{}", found.iter().map(|line| format!("\n{line}")).collect::<String>());
}
