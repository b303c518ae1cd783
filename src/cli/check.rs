//! `octroi check`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;

use super::output::{Exit, Output};
use crate::{
    app::{self, Checked, PrepareError},
    config::{Problem, Severity},
    model::SystemClock,
};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The files to check. Default: the one that --config names.
    files: Vec<PathBuf>,
    /// Print the findings as a JSON array.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(config: &Path, args: &CheckArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let files: Vec<&Path> =
        if args.files.is_empty() { vec![config] } else { args.files.iter().map(PathBuf::as_path).collect() };
    let mut findings: Vec<Problem> = Vec::new();
    let mut totals = Totals::default();
    let mut exit = Exit::Fine;
    for file in files {
        match app::check(file, &SystemClock::new()) {
            Ok(Checked { warnings, tenants, listeners }) => {
                findings.extend(warnings);
                totals.tenants = totals.tenants.saturating_add(tenants);
                totals.listeners = totals.listeners.saturating_add(listeners);
            }
            Err(error) => {
                exit = Exit::Problem;
                let (problems, more) = problems(file, error);
                findings.extend(problems);
                totals.errors = totals.errors.saturating_add(more);
            }
        }
    }
    if args.json {
        output.json(&findings)?;
        return Ok(exit);
    }
    for finding in &findings {
        output.finding(finding);
        match finding.severity {
            Severity::Error => totals.errors = totals.errors.saturating_add(1),
            Severity::Warning => totals.warnings = totals.warnings.saturating_add(1),
        }
    }
    // A good result is data and goes to stdout; errors go to stderr, like the findings.
    if totals.errors == 0 {
        output.answer("ok", &totals.to_string())?;
    } else {
        output.say(&totals.to_string());
    }
    Ok(exit)
}

/// The totals over all files.
#[derive(Debug, Default)]
struct Totals {
    errors: usize,
    warnings: usize,
    tenants: usize,
    listeners: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        if self.errors > 0 {
            f.write_str(&plural(self.errors, "error"))?;
        } else {
            write!(f, "{}, {}", plural(self.tenants, "tenant"), plural(self.listeners, "listener"))?;
        }
        if self.warnings > 0 { write!(f, ", {}", plural(self.warnings, "warning")) } else { Ok(()) }
    }
}

/// Returns the listed problems, and how many more errors there are.
fn problems(file: &Path, error: PrepareError) -> (Vec<Problem>, usize) {
    match error {
        PrepareError::Config(errors) => (errors.problems, errors.more),
        PrepareError::Tls(errors) => {
            (errors.iter().map(|error| Problem::of_file(file, error.to_string())).collect(), 0)
        }
        PrepareError::Log(error) => (vec![Problem::of_file(file, error.to_string())], 0),
    }
}
