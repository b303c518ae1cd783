//! `octroi check`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{Exit, Output};
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

pub(crate) fn run(config: &Path, args: &CheckArgs, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    let files: Vec<&Path> = if args.files.is_empty() { vec![config] } else { args.files.iter().map(PathBuf::as_path).collect() };
    let mut findings: Vec<Problem> = Vec::new();
    let mut exit = Exit::Fine;
    for file in files {
        match app::check(file, &SystemClock::new()) {
            Ok(warnings) => findings.extend(warnings),
            Err(error) => {
                exit = Exit::Problem;
                findings.extend(problems(file, error));
            }
        }
    }
    if args.json {
        output.json(&findings)?;
    } else {
        for finding in &findings {
            output.say(&format!("{finding}\n"));
        }
    }
    Ok(exit)
}

fn problems(file: &Path, error: PrepareError) -> Vec<Problem> {
    match error {
        PrepareError::Config(errors) => errors.problems,
        PrepareError::Tls(errors) => errors.iter().map(|error| Problem::of_file(file, error.to_string())).collect(),
        PrepareError::Log(error) => vec![Problem::of_file(file, error.to_string())],
    }
}
