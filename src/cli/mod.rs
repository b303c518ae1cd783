//! Commands: one thin file each. stdout is data, stderr is talk.

mod ban;
mod check;
mod control;
mod explain;
mod health;
mod keys;
mod manual;
mod order;
mod output;
mod reload;
mod run;
mod schema;
mod session;
mod status;
mod upgrade;
mod version;

#[cfg(test)]
mod fixture;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use rustls_pki_types::CertificateDer;

use crate::{
    app, config, edge, files,
    model::{Clock, SystemClock, pem_chain},
    policy::Policy,
};
use output::{Exit, Output};

/// A reverse-proxy security gateway for multi-tenant SaaS.
#[derive(Debug, Parser)]
#[command(name = "octroi", version = version::LINE, about, propagate_version = false, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 fine; 1 a problem was found; 2 wrong usage; 69 cannot reach or bind; 74 cannot write; 78 bad configuration at start."
)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(short, long, global = true, value_name = "FILE", env = "OCTROI_CONFIG", default_value = "/etc/octroi/octroi.yaml")]
    config: PathBuf,
    /// How much octroi says about itself on stderr.
    #[arg(long, global = true, value_name = "LEVEL", env = "OCTROI_LOG_LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// The form of what octroi says about itself on stderr.
    #[arg(long, global = true, value_name = "FORMAT", env = "OCTROI_LOG_FORMAT", default_value = "text")]
    log_format: LogForm,
    #[command(subcommand)]
    command: Command,
}

/// How much is said.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// In what form.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogForm {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground.
    Run(run::RunArgs),
    /// Check configuration files: all mistakes, with line, column and hint. Starts nothing.
    Check(check::CheckArgs),
    /// Say how a request would be judged, step by step, and by which rule.
    Explain(explain::ExplainArgs),
    /// Load the configuration again in the running octroi: all of it or nothing.
    Reload(reload::ReloadArgs),
    /// Hand over to a new process without losing a connection: new program, new configuration.
    Upgrade(upgrade::UpgradeArgs),
    /// Say how the running octroi is.
    Status(status::StatusArgs),
    /// Ask the running octroi whether it takes requests: for a container's health check.
    Health(health::HealthArgs),
    /// Sessions: revoke, mint, inspect.
    Session(session::SessionArgs),
    /// Bans: list, add, remove.
    Ban(ban::BanArgs),
    /// Keys: make those that are named; list, rotate and retire those of sessions.
    Keys(keys::KeysArgs),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the version.
    Version(version::VersionArgs),
    /// Print a completion script for a shell.
    Completion(manual::CompletionArgs),
    /// Print the manual page (roff).
    Man,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::standard();
    let outcome = dispatch(cli, &mut output);
    output.conclude(outcome).into()
}

fn dispatch(cli: Cli, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    anyhow::ensure!(edge::install_provider(), "another crypto provider is installed already");
    let config = cli.config.as_path();
    let state_dir = || config::state_dir(config, &app::variable);
    match cli.command {
        Command::Run(args) => run::run(config, &args, cli.log_level, cli.log_format),
        Command::Check(args) => check::run(config, &args, output),
        Command::Explain(args) => explain::run(config, args, output),
        Command::Reload(args) => reload::run(&args, &state_dir(), output),
        Command::Upgrade(args) => upgrade::run(&args, &state_dir(), output),
        Command::Status(args) => status::run(&args, &state_dir(), output),
        Command::Health(args) => health::run(config, &args, output),
        Command::Session(args) => session::run(&args, &state_dir(), || policy(config), &SystemClock::new(), output),
        Command::Ban(args) => ban::run(&args, &state_dir(), output),
        Command::Keys(args) => keys::run(config, args, &state_dir(), || policy(config), output),
        Command::Schema => schema::run(output),
        Command::Version(args) => version::run(&args, output),
        Command::Completion(args) => manual::completion(&args, output),
        Command::Man => manual::man(output),
    }
}

/// Loads the rules for a command that needs them.
fn policy(config: &Path) -> anyhow::Result<Policy> {
    let loaded = config::load_to_start(config, SystemClock::new().now(), &app::variable).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    Ok(loaded.policy)
}

/// How large a PEM file on the command line may be.
const PEM_BYTES: u64 = 4 << 20;

/// Reads the certificates of a PEM file.
fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading the certificates of {}", path.display());
    let text = files::read_named(path, PEM_BYTES).with_context(reading)?;
    let chain = pem_chain(&text.bytes).with_context(reading)?;
    Ok(chain.into_iter().map(CertificateDer::from).collect())
}
