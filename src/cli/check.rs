//! `octroi check`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{self, Exit};
use crate::{
    app::{self, PrepareError},
    config::Problem,
    model::SystemClock,
};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The files to check; none: the one of --config.
    files: Vec<PathBuf>,
    /// Print the findings as a JSON array on stdout.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(config: &Path, args: CheckArgs) -> anyhow::Result<Exit> {
    let files = if args.files.is_empty() { vec![config.to_owned()] } else { args.files };
    let mut findings: Vec<Problem> = Vec::new();
    let mut bad = false;
    for file in &files {
        match app::check(file, &SystemClock::new()) {
            Ok(warnings) => findings.extend(warnings),
            Err(PrepareError::Config(problems)) => {
                bad = true;
                findings.extend(problems);
            }
            Err(error @ (PrepareError::Tls(_) | PrepareError::Log(_))) => {
                bad = true;
                findings.push(Problem::at_file(file, error.to_string()));
            }
        }
    }
    if args.json {
        output::json(&findings)?;
    } else {
        for finding in &findings {
            output::talk(finding);
        }
    }
    Ok(if bad { Exit::Problem } else { Exit::Fine })
}
