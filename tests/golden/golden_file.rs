//! Golden files: compared, or written anew.

use std::{fmt::Write, fs, path::PathBuf};

/// What differs so far.
#[derive(Default)]
pub struct GoldenFiles {
    differences: String,
}

impl GoldenFiles {
    /// Holds a text against its file; `BLESS=1` writes it there.
    pub fn file(&mut self, name: &str, made: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("BLESS").is_some() {
            fs::write(path, made).unwrap();
            return;
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        if known != made {
            writeln!(
                self.differences,
                "\n--- tests/golden/{name}\n+++ the program\n{}",
                difference(&known, made)
            )
            .unwrap();
        }
    }

    /// Fails with all that differs.
    pub fn conclude(self) {
        assert!(
            self.differences.is_empty(),
            "{}\nIf that is meant: `BLESS=1 cargo test --test golden`",
            self.differences
        );
    }
}

/// How many lines are shown around a difference.
const AROUND: usize = 3;

/// Shows the lines of which only one text has them, with some around them.
fn difference(known: &str, made: &str) -> String {
    let (known, made): (Vec<&str>, Vec<&str>) = (known.lines().collect(), made.lines().collect());
    // The longest sequence of lines that both have, from each pair of places on.
    let mut common = vec![vec![0_u32; made.len() + 1]; known.len() + 1];
    for a in (0..known.len()).rev() {
        for b in (0..made.len()).rev() {
            common[a][b] = if known[a] == made[b] {
                common[a + 1][b + 1] + 1
            } else {
                common[a + 1][b].max(common[a][b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < known.len() || b < made.len() {
        if a < known.len() && b < made.len() && known[a] == made[b] {
            lines.push((' ', known[a]));
            (a, b) = (a + 1, b + 1);
        } else if b == made.len() || a < known.len() && common[a + 1][b] >= common[a][b + 1] {
            lines.push(('-', known[a]));
            a += 1;
        } else {
            lines.push(('+', made[b]));
            b += 1;
        }
    }
    let is_near = |at: usize| {
        lines[at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len())]
            .iter()
            .any(|(sign, _)| *sign != ' ')
    };
    // The heading of a part tells where one is.
    let shown = (0..lines.len())
        .filter(|at| is_near(*at) || lines[*at].1.starts_with("## ") && is_near_of_part(&lines, *at));
    shown.map(|at| format!("{} {}\n", lines[at].0, lines[at].1)).collect()
}

/// Says whether something differs between a heading and the next.
fn is_near_of_part(lines: &[(char, &str)], heading: usize) -> bool {
    lines[heading + 1..].iter().take_while(|(_, line)| !line.starts_with("## ")).any(|(sign, _)| *sign != ' ')
}

#[test]
fn a_difference_shows_what_changed_and_where() {
    let known = "## one\na\nb\nc\nd\ne\nf\n## two\nx\n";
    let made = "## one\na\nb\nc\nd\nE\nf\n## two\nx\n";

    assert_eq!(difference(known, made), "  ## one\n  b\n  c\n  d\n- e\n+ E\n  f\n  ## two\n  x\n");
    assert_eq!(difference(known, known), "");
}
