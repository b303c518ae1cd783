//! Comments in `src` cite rows and rules of the threat model by number: those are there.

use std::collections::BTreeSet;

use super::{files, read};

const PAGE: &str = "docs/internals/threat-model.md";

#[test]
fn the_rows_are_numbered_without_a_gap() {
    let rows = rows(&read(PAGE));

    assert!(rows.len() > 90, "{rows:?}");
    assert_eq!(rows, (1..=rows.len()).collect::<Vec<_>>());
}

#[test]
fn every_row_and_rule_that_a_comment_cites_is_there() {
    let page = read(PAGE);
    let rows: BTreeSet<usize> = rows(&page).into_iter().collect();
    let headings: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### ")?.split(' ').next()).collect();
    let (mut cited_rows, mut cited_rules) = (0, 0);

    for file in files("src", "rs") {
        // A comment goes on over the end of its line.
        let text = read(&file).replace("///", " ").replace("//!", " ").replace("//", " ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for name in ["threat-model.md", "threat model"] {
            for (at, _) in text.match_indices(name) {
                let rest = text[at + name.len()..].trim_start_matches(['`', ',', ' ']);
                let cited = rest.split([')', ';']).next().unwrap();
                for word in cited.split([' ', ',']).filter(|word| !word.is_empty()) {
                    let number = word.trim_end_matches('.');
                    if number.contains('.') {
                        assert!(headings.contains(&number), "{file}: {PAGE} has no section {number}");
                        cited_rules += 1;
                    } else if let Ok(row) = number.parse() {
                        assert!(rows.contains(&row), "{file}: {PAGE} has no row {row}");
                        cited_rows += 1;
                    }
                }
            }
        }
    }

    assert!(cited_rows > 7 && cited_rules > 3, "{cited_rows} rows, {cited_rules} rules");
}

fn rows(page: &str) -> Vec<usize> {
    page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}
