//! `octroi run`.

use std::{ffi::OsString, path::Path};

use super::{
    log::{LogFormat, LogLevel},
    output::Exit,
};
use crate::{
    app::{self, Launch, PrepareError, RunError, Signals, Start},
    model::error_chain,
    telemetry::{
        self,
        tracing::{FLUSH_TIMEOUT, Format, Level},
    },
};

/// Serve in the foreground.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// Take over from the running octroi: prepare everything, then wait until it hands over its sockets
    /// (`octroi upgrade`, or SIGQUIT)
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// Accept sessions from before the revocation journal was lost; otherwise they are refused. Recorded
    /// once; no effect where nothing was lost
    #[arg(long)]
    pub(crate) accept_old_sessions: bool,
}

/// The level and format of octroi's own log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) level: LogLevel,
    pub(crate) format: LogFormat,
}

/// The option that counts for one start only, so a successor does not inherit it.
const ACCEPT: &str = "--accept-old-sessions";

/// The option that makes a process a successor.
const UPGRADE: &str = "--upgrade";

pub(crate) fn run(config: &Path, args: &RunArgs, log: Log, signals: Option<Signals>) -> anyhow::Result<Exit> {
    let log = telemetry::tracing::init(log.level.into(), log.format.into())?;
    let start = Start {
        config: config.to_owned(),
        succeeds: args.upgrade,
        launch: launch(),
        accepts_old_sessions: args.accept_old_sessions,
        log: log.clone(),
    };
    let exit = match app::run(start, signals) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            let (exit, text) = failed(&error);
            // Through the log's queue as well: a direct write would block where nobody reads stderr.
            log.say(text.as_bytes());
            exit
        }
    };
    log.flush(FLUSH_TIMEOUT);
    Ok(exit)
}

/// Returns the exit code and the message of a start that failed.
fn failed(error: &RunError) -> (Exit, String) {
    let exit = match error {
        RunError::Prepare(PrepareError::Config(errors)) => {
            return (Exit::Config, format!("{}\n", errors.to_string().trim_end_matches('\n')));
        }
        RunError::Prepare(PrepareError::Tls(_)) | RunError::Removal(_) => Exit::Config,
        RunError::Prepare(PrepareError::Log(_)) | RunError::State(_) => Exit::CannotWrite,
        RunError::Control(_)
        | RunError::Bind(_)
        | RunError::BindAdmin { .. }
        | RunError::Inherited(_)
        | RunError::Upgrade(_)
        | RunError::Redis(_)
        | RunError::UpgradeSocket { .. } => Exit::Unreachable,
        RunError::Metrics(_) | RunError::Runtime(_) | RunError::Signals(_) => Exit::Problem,
    };
    (exit, format!("error: {}\n", error_chain(error)))
}

/// Says how a successor is started: with this process's arguments, from the file that bears the program's
/// name by then.
fn launch() -> Option<Launch> {
    let program = std::env::current_exe()
        .inspect_err(|error| tracing::warn!(%error, "`octroi upgrade` can start no successor"))
        .ok()?;
    let given = std::env::args_os().skip(1).filter(|argument| argument != UPGRADE && argument != ACCEPT);
    Some(Launch { program, arguments: given.chain([OsString::from(UPGRADE)]).collect() })
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

impl From<LogFormat> for Format {
    fn from(form: LogFormat) -> Self {
        match form {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}
