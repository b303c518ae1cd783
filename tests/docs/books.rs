//! The books hang together: links and anchors lead somewhere, every page is found from the top, none is cited that is not there.

use std::{collections::BTreeSet, path::Path};

use super::{files, pages, path, read};

/// Returns the anchors of a page, as GitHub makes them of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_code = false;
    for line in read(page).lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        // A second one of the same name is numbered, and nobody wants to count.
        assert!(found.insert(anchor.clone()), "{page} has two headings `{anchor}`");
    }
    found
}

/// Returns where the links of a page lead, code left out.
fn links(page: &str) -> Vec<String> {
    let text = read(page);
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        if !is_code {
            found.extend(line.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()));
        }
    }
    found
}

/// Returns a path from the top: `docs/guides` and `../reference/x.md` are `docs/reference/x.md`.
fn joined(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the page or file that a link of a page leads to, and the anchor there.
fn target(page: &str, link: &str) -> (String, Option<String>) {
    let (file, anchor) =
        link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor.to_owned())));
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    (if file.is_empty() { page.to_owned() } else { joined(folder, file) }, anchor)
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(["CHANGELOG.md".into()]) {
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = target(&page, &link);
            let is_there = path(&file).exists()
                && anchor.is_none_or(|anchor| file.ends_with(".md") && anchors(&file).contains(&anchor));
            if !is_there {
                broken.push(format!("{page}: {link}"));
            }
        }
    }

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_is_found_from_the_top() {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut next = vec!["README.md".to_owned()];
    while let Some(page) = next.pop() {
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let (file, _) = target(&page, &link);
            if file.ends_with(".md") && path(&file).exists() && reached.insert(file.clone()) {
                next.push(file);
            }
        }
    }

    let lost: Vec<String> = pages().into_iter().filter(|page| !reached.contains(page)).collect();
    assert_eq!(lost, [""; 0]);
}

/// A citation of a book that is not in the repository helps nobody who has only that.
#[test]
fn every_book_that_is_cited_is_there() {
    let books: Vec<String> = pages().into_iter().chain(["CHANGELOG.md".into()]).collect();
    let has = |cited: &str| {
        let ends = format!("/{cited}");
        books.iter().any(|book| book == cited || book.ends_with(&ends))
    };
    let mut sources: Vec<String> = ["src", "tests", "benches", "examples", "fuzz"]
        .iter()
        .filter(|folder| path(folder).is_dir())
        .flat_map(|folder| ["rs", "yaml", "txt"].iter().flat_map(|ending| files(folder, ending)))
        .filter(|file| !file.contains("/target/"))
        .collect();
    sources.extend(files("scripts", "sh"));
    sources.extend(files("deploy", "service"));
    sources.extend(
        ["Makefile", "Cargo.toml", "clippy.toml", "deny.toml", "Dockerfile", "conf/octroi.yaml"]
            .map(String::from),
    );
    sources.extend(["deploy/debian/README.Debian", "deploy/debian/octroi.yaml"].map(String::from));
    sources.extend(books.iter().cloned());
    let mut lost = Vec::new();
    for file in sources.into_iter().filter(|file| !file.starts_with("tests/docs/")) {
        let text = read(&file);
        for (at, _) in text
            .match_indices(".md")
            .filter(|(at, _)| !text[at + 3..].starts_with(|c: char| c.is_ascii_alphanumeric()))
        {
            let before = &text[..at];
            let begin = before
                .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')))
                .map_or(0, |at| at + before[at..].chars().next().unwrap().len_utf8());
            let cited = text[begin..at + 3].trim_start_matches(['.', '/']);
            let cited = cited.trim_start_matches("../");
            if cited != "md" && !has(cited) && !path(cited).exists() {
                lost.push(format!("{file}: {cited}"));
            }
        }
    }

    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// Returns the files of the project that a page names in backticks, by their names from the top; in the pages
/// about the inside, `room/file.rs` is one of `src/`.
fn named_files(page: &str, text: &str) -> Vec<String> {
    const FOLDERS: &[&str] = &["src", "tests", "benches", "scripts", "examples", "deploy", "fuzz"];
    let folder = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let is_name = |name: &&str| {
        name.contains('/')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-'))
    };
    let mut found = Vec::new();
    for name in text.split('`').skip(1).step_by(2).filter(is_name) {
        if FOLDERS.contains(&folder(name).as_str()) {
            found.push(name.to_owned());
        } else if page.starts_with("docs/internals/") && name.ends_with(".rs") {
            found.push(format!("src/{name}"));
        }
    }
    found
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let inside = "docs/internals/x.md";
    assert_eq!(
        named_files(inside, "`src/a.rs`, `room/b.rs` and `/v1/status`, a `word`, `src/lib.rs:7 x/y.rs`"),
        ["src/a.rs", "src/room/b.rs"]
    );
    assert_eq!(named_files("docs/guides/x.md", "`room/b.rs`, `tests/a`"), ["tests/a"]);

    let (mut count, mut lost) = (0, Vec::new());
    for page in pages() {
        for name in named_files(&page, &read(&page)) {
            count += 1;
            if !path(&name).exists() {
                lost.push(format!("{page}: {name}"));
            }
        }
    }

    assert!(count > 30, "{count}");
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() < 150);
    // It is the page of the crate, too.
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md").is_file());
}
