//! Where access lines go.

use std::path::PathBuf;

/// One destination of access lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// The destination.
    pub to: LogTarget,
    /// The format.
    pub format: LogFormat,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, reopened on USR1.
    File {
        /// The file.
        path: PathBuf,
        /// When to rotate it.
        rotate: Option<Rotation>,
    },
}

/// When a log file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// At this size in bytes.
    pub size: u64,
    /// How many old files are kept.
    pub keep: u32,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
}
