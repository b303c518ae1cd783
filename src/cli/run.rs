//! `octroi run`.

use std::path::Path;

use super::{
    LogForm, LogLevel,
    output::{self, Exit},
};
use crate::{
    app::{self, PrepareError, RunError},
    telemetry,
};

pub(crate) fn run(config: &Path, level: LogLevel, form: LogForm) -> anyhow::Result<Exit> {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    telemetry::init_tracing(level, matches!(form, LogForm::Json))?;
    match app::run(config) {
        Ok(()) => Ok(Exit::Fine),
        Err(RunError::Prepare(PrepareError::Config(problems))) => {
            for problem in &problems {
                output::talk(problem);
            }
            Ok(Exit::Config)
        }
        Err(error @ RunError::Prepare(PrepareError::Tls(_))) => {
            output::talk(format_args!("error: {error}"));
            Ok(Exit::Config)
        }
        Err(error @ (RunError::Prepare(PrepareError::Log(_)) | RunError::State { .. })) => {
            output::talk(format_args!("error: {error}"));
            Ok(Exit::CannotWrite)
        }
        Err(error @ (RunError::Bind { .. } | RunError::Runtime(_))) => {
            output::talk(format_args!("error: {error}"));
            Ok(Exit::CannotReach)
        }
    }
}
