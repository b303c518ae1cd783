//! `octroi run`.

use std::path::Path;

use super::{
    LogForm, LogLevel,
    output::{Exit, Output},
};
use crate::{
    app::{self, PrepareError, RunError},
    model::told,
    telemetry::{
        self,
        tracing::{Format, Level},
    },
};

pub(crate) fn run(config: &Path, level: LogLevel, form: LogForm, output: &mut Output<'_>) -> anyhow::Result<Exit> {
    telemetry::tracing::init(level.into(), form.into())?;
    let Err(error) = app::run(config) else { return Ok(Exit::Fine) };
    let exit = match &error {
        RunError::Prepare(PrepareError::Config(errors)) => {
            output.say(&errors.to_string());
            return Ok(Exit::Config);
        }
        RunError::Prepare(PrepareError::Tls(_)) => Exit::Config,
        RunError::Prepare(PrepareError::Log(_)) | RunError::State(_) => Exit::CannotWrite,
        RunError::Control(_) | RunError::Bind(_) | RunError::BindOther { .. } => Exit::Unreachable,
        RunError::Metrics(_) | RunError::Runtime(_) => Exit::Problem,
    };
    output.say(&format!("error: {}", told(&error)));
    Ok(exit)
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

impl From<LogForm> for Format {
    fn from(form: LogForm) -> Self {
        match form {
            LogForm::Text => Self::Text,
            LogForm::Json => Self::Json,
        }
    }
}
