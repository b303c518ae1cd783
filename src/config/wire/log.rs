//! Where access lines go.

use std::num::NonZeroU32;

use crate::{
    config::{
        parse::FilePath,
        reader::Spanned,
        shape::{wire, words},
        unit::Size,
    },
    policy::LogFormat,
};

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Sink {
    /// Standard output.
    Stdout,
    /// A file.
    File,
}

words! {
    Sink, "log target" { "stdout" => Sink::Stdout, "file" => Sink::File, }
    LogFormat, "log format" { "json" => LogFormat::Json, }
}

wire! {
    /// A sink of access lines.
    LogWire "access_log" {
        /// Where: `stdout` or `file`.
        to: Spanned<Sink>,
        /// In what form: `json`.
        format: Option<Spanned<LogFormat>>,
        /// The file.
        path: Option<Spanned<FilePath>>,
        /// When another file is begun. Default: never; USR1 opens the file again.
        rotate: Option<RotateWire>,
    }

    /// When another log file is begun.
    RotateWire "rotate" {
        /// At this size.
        size: Spanned<Size>,
        /// How many are kept beside the current one.
        keep: Spanned<NonZeroU32>,
    }
}
