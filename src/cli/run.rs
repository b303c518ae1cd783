//! `octroi run`.

use std::{error::Error, path::Path};

use super::{
    LogForm, LogLevel,
    output::{Exit, Output},
};
use crate::{
    app::{self, PrepareError, RunError},
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
    output.say(&format!("error: {}", with_causes(&error)));
    Ok(exit)
}

/// Says an error with its causes, each once: some errors name theirs already.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("creating /var/lib/octroi")]
    struct Silent(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen: {0}")]
    struct Telling(#[source] io::Error);

    #[test]
    fn the_systems_reason_is_said_once() {
        let why = || io::Error::other("no room");

        assert_eq!(with_causes(&Silent(why())), "creating /var/lib/octroi: no room");
        assert_eq!(with_causes(&Telling(why())), "cannot listen: no room");
    }
}
