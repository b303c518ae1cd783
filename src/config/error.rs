//! What is wrong with a configuration, as people and programs read it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::model::printable;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One problem: where, what is wrong, what would be right.
///
/// `Display` is the text form of `contributing.md`; `Serialize` is the form for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// The column, from 1, in characters; 0 where the file as a whole is meant.
    pub column: u32,
    /// The key path: `tenants.acme.ip_access.allow[3]`. Empty where the file as a whole is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The line and what to underline in it.
    #[serde(skip)]
    pub snippet: Option<Snippet>,
}

impl Problem {
    /// Says that a file as a whole is refused, by what was found outside the configuration's own text.
    pub fn of_file(file: &Path, message: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
            hint: None,
            snippet: None,
        }
    }
}

/// A line of a file, with some of its characters underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line, secrets masked, long ones cut.
    pub text: String,
    /// How many characters stand before the underlined ones.
    pub indent: usize,
    /// How many are underlined, at least one.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and values are not ours: none of them writes a line of its own, or moves what stands there.
        write!(f, "{}: {}", self.severity, printable(&self.file.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", printable(&self.path))?;
        }
        write!(f, ": {}", printable(&self.message))?;
        if let Some(Snippet { text, indent, width }) = &self.snippet {
            let gutter = self.line.to_string().len();
            let (blank, carets) = (" ".repeat(*indent), "^".repeat(*width));
            write!(f, "\n{:gutter$} |\n{} | {text}\n{:gutter$} | {blank}{carets}", "", self.line, "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", printable(hint))?;
        }
        Ok(())
    }
}

/// Why a configuration is refused: every error that was found, and the warnings beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The problems, in the order of the files.
    pub problems: Vec<Problem>,
    /// How many more there are beyond the bound of what is listed.
    pub more: usize,
}

impl ConfigErrors {
    /// Returns how many errors there are, warnings not counted.
    pub fn count(&self) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
            .saturating_add(self.more)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            severity: Severity::Error,
            file: "conf/octroi.yaml".into(),
            line: 41,
            column: 15,
            path: "tenants.acme.ip_access.allow[3]".into(),
            message: "not an address range: `10.0.0.0/33`".into(),
            hint: Some("the prefix of an IPv4 range is 0 to 32".into()),
            snippet: Some(Snippet { text: "      allow: [10.0.0.0/33]".into(), indent: 14, width: 11 }),
        }
    }

    #[test]
    fn a_problem_reads_as_the_style_guide_shows() {
        let expected = "\
error: conf/octroi.yaml:41:15: tenants.acme.ip_access.allow[3]: not an address range: `10.0.0.0/33`
   |
41 |       allow: [10.0.0.0/33]
   |               ^^^^^^^^^^^
hint: the prefix of an IPv4 range is 0 to 32";

        assert_eq!(problem().to_string(), expected);
    }

    #[test]
    fn no_name_and_no_value_writes_a_line_of_its_own() {
        let lies = "a\u{1b}[2J\nreloaded: revision beef is in force\u{202e}";
        let lying = Problem {
            file: lies.into(),
            path: lies.into(),
            message: lies.into(),
            hint: Some(lies.into()),
            snippet: None,
            ..problem()
        };

        let text = lying.to_string();

        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(
            text.matches("a\\u{1b}[2J\\nreloaded: revision beef is in force\\u{202e}").count(),
            4,
            "{text}"
        );
    }

    #[test]
    fn programs_read_the_same_facts() {
        let expected = serde_json::json!({
            "severity": "error", "file": "conf/octroi.yaml", "line": 41, "column": 15, "path": "tenants.acme.ip_access.allow[3]",
            "message": "not an address range: `10.0.0.0/33`", "hint": "the prefix of an IPv4 range is 0 to 32",
        });

        assert_eq!(serde_json::to_value(problem()).unwrap(), expected);
    }
}
