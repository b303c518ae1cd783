//! Commands: one thin file each. stdout is data, stderr is talk.

mod admin_request;
mod ban;
mod check;
mod control;
mod explain;
mod health;
mod input;
mod instance;
mod keys;
mod log;
mod manual;
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

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    app::{self, Signals},
    config, edge,
    model::SystemClock,
};
use input::policy;
use instance::{Effect, with_instance};
use log::{LogFormat, LogLevel};
use output::{Exit, Output};

/// A reverse-proxy security gateway for multi-tenant SaaS.
#[derive(Debug, Parser)]
#[command(name = "octroi", version = version::LINE, about, propagate_version = false, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 fine; 1 a problem was found; 2 wrong usage; 69 cannot reach or bind; 74 cannot write; 78 bad configuration at start."
)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "OCTROI_CONFIG",
        default_value = "/etc/octroi/octroi.yaml"
    )]
    config: PathBuf,
    /// The level of octroi's own log, on stderr.
    #[arg(long, global = true, value_name = "LEVEL", env = "OCTROI_LOG_LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// The format of octroi's own log, on stderr.
    #[arg(long, global = true, value_name = "FORMAT", env = "OCTROI_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground.
    Run(run::RunArgs),
    /// Check configuration files: every error, with line, column and a hint. Starts nothing.
    Check(check::CheckArgs),
    /// Show how a request would be decided: each step, and the rule behind it.
    Explain(explain::ExplainArgs),
    /// Make the running octroi load its configuration again: all of it or nothing.
    Reload(reload::ReloadArgs),
    /// Hand over to a new process, with a new program or configuration, without dropping a connection.
    Upgrade(upgrade::UpgradeArgs),
    /// Show the status of the running octroi.
    Status(status::StatusArgs),
    /// Ask the running octroi whether it accepts requests, for a container's health check.
    Health(health::HealthArgs),
    /// Revoke, list, inspect and mint sessions.
    Session(session::SessionArgs),
    /// List, add and remove bans.
    Ban(ban::BanArgs),
    /// Create missing keys and certificates; list, rotate and retire session keys.
    Keys(keys::KeysArgs),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the version.
    Version(version::VersionArgs),
    /// Print a completion script for a shell.
    Completion(manual::CompletionArgs),
    /// Print a manual page (roff).
    Man(manual::ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    // First of all, because a service manager may send signals at once; none is lost from here on. `run`
    // reports a failure.
    let signals = if is_run(std::env::args_os().skip(1)) { Signals::listen().ok() } else { None };
    let cli = Cli::parse();
    let mut output = Output::standard();
    let outcome = dispatch(cli, signals, &mut output);
    output.conclude(outcome).into()
}

/// The global options that take a value.
const WITH_VALUE: [&str; 4] = ["-c", "--config", "--log-level", "--log-format"];

/// Says whether a command line is `run` before it is parsed, which takes milliseconds. Other commands keep
/// the default effect of signals.
fn is_run(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if WITH_VALUE.iter().any(|option| word == *option) {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return word == "run";
        }
    }
    false
}

fn dispatch(cli: Cli, signals: Option<Signals>, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    anyhow::ensure!(edge::install_provider(), "another crypto provider is installed already");
    let config = cli.config.as_path();
    let state_dir = || config::state_dir(config, &app::variable);
    match cli.command {
        Command::Run(args) => {
            run::run(config, &args, run::Log { level: cli.log_level, format: cli.log_format }, signals)
        }
        Command::Check(args) => check::run(config, &args, output),
        Command::Explain(args) => explain::run(config, args, output),
        Command::Reload(args) => {
            with_instance(&args.control, Effect::Change, config, output, |dir, output| {
                reload::run(&args, dir, output)
            })
        }
        Command::Upgrade(args) => {
            with_instance(&args.control, Effect::Change, config, output, |dir, output| {
                upgrade::run(&args, dir, output)
            })
        }
        Command::Status(args) => {
            with_instance(&args.control, Effect::ReadOnly, config, output, |dir, output| {
                status::run(&args, dir, output)
            })
        }
        Command::Health(args) => health::run(config, &args, output),
        Command::Session(args) => match args.asks() {
            Some((control, effect)) => with_instance(control, effect, config, output, |dir, output| {
                session::run(&args, dir, || policy(config), &SystemClock::new(), output)
            }),
            None => session::run(&args, &state_dir(), || policy(config), &SystemClock::new(), output),
        },
        Command::Ban(args) => {
            let (control, effect) = args.asks();
            with_instance(control, effect, config, output, |dir, output| ban::run(&args, dir, output))
        }
        Command::Keys(args) => match args.asks() {
            Some(control) => with_instance(&control, Effect::ReadOnly, config, output, |dir, output| {
                keys::run(config, args, dir, || policy(config), output)
            }),
            None => keys::run(config, args, &state_dir(), || policy(config), output),
        },
        Command::Schema => schema::run(output),
        Command::Version(args) => version::run(&args, output),
        Command::Completion(args) => manual::completion(&args, Cli::command(), output),
        Command::Man(args) => manual::man(&args, Cli::command(), output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_of_run_is_told_before_it_is_read() {
        for line in [
            "run",
            "run --upgrade",
            "run --config run",
            "-c run run",
            "-c run check",
            "-crun check",
            "--config=run check",
            "--config a.yaml run",
            "--log-level warn --log-format json run",
            "--log-level=warn --log-format=json run",
            "check run",
            "check -c run",
            "status",
            "keys init",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let read =
                Cli::try_parse_from([OsString::from("octroi")].into_iter().chain(words.clone())).unwrap();

            assert_eq!(is_run(words), matches!(read.command, Command::Run(_)), "{line}");
        }
        assert!(!is_run([]) && !is_run(["--config".into()]) && !is_run(["--version".into()]));
    }

    #[test]
    fn every_option_with_a_value_is_known_before_the_command_line_is_read() {
        let command = Cli::command();
        let options = command.get_arguments().filter(|option| option.get_action().takes_values());
        let spelt = options.flat_map(|option| {
            let (short, long) = (
                option.get_short().map(|short| format!("-{short}")),
                option.get_long().map(|long| format!("--{long}")),
            );
            short.into_iter().chain(long)
        });

        assert_eq!(spelt.collect::<std::collections::BTreeSet<_>>(), WITH_VALUE.map(str::to_owned).into());
    }
}
