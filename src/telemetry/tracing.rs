//! The process log: life cycle and errors, on standard error.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{Layer, Registry, filter::Targets, layer::SubscriberExt};

pub use super::process_log::{FLUSH_TIMEOUT, Format, ProcessLog};

/// The log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Something is degraded and works.
    Warn,
    /// Life cycle events.
    #[default]
    Info,
    /// For debugging; clients can flood it.
    Debug,
    /// Everything.
    Trace,
}

/// Why a log option of the command line is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Not a level.
    #[error("a log level is error, warn, info, debug or trace")]
    Level,
    /// Not a format.
    #[error("a log format is text or json")]
    Format,
}

/// Why the log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// It is already set up in this process.
    #[error("the log is set up already")]
    Twice,
    /// The thread that writes to standard error cannot be started.
    #[error("the log cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Sets up the log for the whole process: `tracing`, the `log` records of libraries, and panics. Logging
/// never waits for the reader; the returned value counts dropped lines and flushes at the end.
pub fn init(level: Level, format: Format) -> Result<ProcessLog, SetUpError> {
    let own = ProcessLog::to_stderr(format).map_err(SetUpError::Thread)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(own.clone());
    let layer = match format {
        Format::Text => layer.with_ansi(wants_colour()).boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let subscriber = Registry::default().with(layer.with_filter(targets(level)));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| SetUpError::Twice)?;
    // A library record below the level costs one comparison.
    tracing_log::LogTracer::builder().with_max_level(as_log(level)).init().map_err(|_| SetUpError::Twice)?;
    std::panic::set_hook(Box::new(tell_of_a_panic));
    Ok(own)
}

/// Logs a panic with its place. The default hook would write from the panicking thread and block it for as
/// long as nobody reads.
fn tell_of_a_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let why = panic.payload_as_str().unwrap_or("no text");
    // Empty unless `RUST_BACKTRACE` asks for one.
    let trace = std::backtrace::Backtrace::capture();
    let trace = if trace.status() == std::backtrace::BacktraceStatus::Captured {
        format!("\n{trace}")
    } else {
        String::new()
    };
    tracing::error!(event = "panic", place, "octroi contradicts itself: {why}{trace}");
}

/// Returns the level of each library.
///
/// pingora logs an error for every connection that a client breaks, rustls a warning for every handshake
/// that it refuses: clients could flood the log. What matters of it reaches the access log and the metrics
/// through our own hooks, so these libraries log only from `debug` on.
fn targets(level: Level) -> Targets {
    let (own, libraries) = match level {
        Level::Error => (tracing::Level::ERROR, None),
        Level::Warn => (tracing::Level::WARN, None),
        Level::Info => (tracing::Level::INFO, None),
        Level::Debug => (tracing::Level::DEBUG, Some(tracing::Level::DEBUG)),
        Level::Trace => (tracing::Level::TRACE, Some(tracing::Level::TRACE)),
    };
    let targets = Targets::new().with_default(own);
    NOISY.iter().fold(targets, |targets, noisy| match libraries {
        Some(level) => targets.with_target(*noisy, level),
        None => targets.with_target(*noisy, tracing_subscriber::filter::LevelFilter::OFF),
    })
}

/// Target prefixes of the libraries that log every broken connection.
const NOISY: [&str; 5] = ["pingora", "rustls", "tokio_rustls", "h2", "httparse"];

fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

const fn as_log(level: Level) -> tracing_log::log::LevelFilter {
    match level {
        Level::Error => tracing_log::log::LevelFilter::Error,
        Level::Warn => tracing_log::log::LevelFilter::Warn,
        Level::Info => tracing_log::log::LevelFilter::Info,
        Level::Debug => tracing_log::log::LevelFilter::Debug,
        Level::Trace => tracing_log::log::LevelFilter::Trace,
    }
}

impl FromStr for Level {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(WordError::Level),
        }
    }
}

impl FromStr for Format {
    type Err = WordError;

    fn from_str(word: &str) -> Result<Self, WordError> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(WordError::Format),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_libraries_speak() {
        for level in [Level::Error, Level::Warn, Level::Info] {
            let targets = targets(level);

            assert!(!targets.would_enable("pingora_proxy::proxy_h1", &tracing::Level::ERROR));
            assert!(!targets.would_enable("rustls::common_state", &tracing::Level::WARN));
            assert!(targets.would_enable("octroi::app", &tracing::Level::ERROR));
        }
    }

    #[test]
    fn a_debug_log_has_the_libraries() {
        assert!(targets(Level::Debug).would_enable("pingora_core::server", &tracing::Level::ERROR));
        assert!(!targets(Level::Debug).would_enable("octroi::app", &tracing::Level::TRACE));
    }

    #[test]
    fn words_are_read_as_written() {
        assert_eq!("warn".parse(), Ok(Level::Warn));
        assert_eq!("WARN".parse::<Level>(), Err(WordError::Level));
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("xml".parse::<Format>(), Err(WordError::Format));
    }
}
