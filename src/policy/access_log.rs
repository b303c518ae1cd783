//! Where access lines go.

use std::path::PathBuf;

/// One sink of access lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where.
    pub to: LogTarget,
    /// In what form.
    pub format: LogFormat,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, opened again on USR1.
    File {
        /// The file.
        path: PathBuf,
        /// When to begin another one.
        rotate: Option<Rotation>,
    },
}

/// When a log file is put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// At this size in bytes.
    pub size: u64,
    /// How many are kept beside the current one.
    pub keep: u32,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
}
