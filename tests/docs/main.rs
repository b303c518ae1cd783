//! The books say what the program does: README.md and everything under docs/.
//!
//! The reference is made from the program's own tables; `BLESS=1 cargo test --test docs` writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![cfg(feature = "gateway")]

mod alerts;
mod books;
mod commands;
mod configuration;
mod examples;
mod reference;
mod threats;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns every page, by its name from the top: README.md first, then those of docs/.
fn pages() -> Vec<String> {
    let mut found = files("docs", "md");
    assert!(found.len() > 40, "{found:?}");
    found.insert(0, "README.md".to_owned());
    found
}

/// Returns the files with an ending below a folder, by their names from the top, in order.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        if path(&name).is_dir() {
            found.extend(files(&name, ending));
        } else if name.ends_with(&format!(".{ending}")) {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn octroi(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_octroi")).current_dir(folder).env_clear().args(args).output().unwrap()
}

/// Returns what the program prints.
fn printed(args: &[&str]) -> String {
    let output = octroi(&path("."), args);
    assert!(output.status.success(), "octroi {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what stands between `begin` and `end` each time they stand in a text.
fn between<'t>(text: &'t str, begin: &'t str, end: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(begin).skip(1).map(move |rest| rest.split(end).next().unwrap())
}

/// Returns the part of a source file above its tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]").next().unwrap()
}

/// Names what of `wanted` does not stand in `text`, as `form` writes it.
fn missing<'n>(
    text: &str,
    wanted: impl IntoIterator<Item = &'n str>,
    form: impl Fn(&str) -> String,
) -> Vec<&'n str> {
    wanted.into_iter().filter(|name| !text.contains(&form(name))).collect()
}

/// Holds what stands in a page between two marks against what the program says; `BLESS=1` writes it there.
fn holds(page: &str, name: &str, made: &str) {
    let (begin, end) = (format!("<!-- {name}: begin"), format!("<!-- {name}: end -->"));
    let text = read(page);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no `{begin}`"));
    let (marker, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(&end).unwrap();

    let expected = format!("{before}{begin}{marker}\n{made}{end}{after}");

    if std::env::var_os("BLESS").is_some() {
        fs::write(path(page), &expected).unwrap();
    } else {
        assert!(
            text == expected,
            "{page}, {name}: not what the program says; run `BLESS=1 cargo test --test docs`"
        );
    }
}
