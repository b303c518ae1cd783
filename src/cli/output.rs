//! What commands print, and their exit codes: the only place that prints.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use serde::Serialize;

use super::control::Unreachable;
use crate::{
    config::{Problem, Severity},
    model::{is_dangerous, printable_lines},
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Fine.
    Fine,
    /// A problem was found.
    Problem,
    /// Wrong usage.
    Usage,
    /// The running octroi cannot be reached.
    Unreachable,
    /// The output cannot be written.
    CannotWrite,
    /// The configuration is bad at the start.
    Config,
}

impl Exit {
    /// Returns the number that the shell sees.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Problem => 1,
            Self::Usage => 2,
            Self::Unreachable => 69,
            Self::CannotWrite => 74,
            Self::Config => 78,
        }
    }

    /// Returns the exit code of an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<Unreachable>().is_some() {
            Self::Unreachable
        } else if error.downcast_ref::<CannotWrite>().is_some() {
            Self::CannotWrite
        } else {
            Self::Problem
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Standard output is closed or full.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
pub(crate) struct CannotWrite(#[source] io::Error);

/// The form in which data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl OutputFormat {
    /// Reads the flag `--json`.
    pub(crate) const fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Standard output for data, standard error for talk.
pub(crate) struct Output<'a> {
    out: Box<dyn Write + 'a>,
    talk: Box<dyn Write + 'a>,
    /// Whether data may be in colour.
    paints_out: bool,
    /// Whether talk may be in colour.
    paints_talk: bool,
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const GREEN: &str = "\x1b[1;32m";
const CYAN: &str = "\x1b[36m";

/// Says whether output may be in colour: on a terminal that supports it, unless `NO_COLOR` is set
/// (no-color.org).
fn may_paint(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !unwanted && variable("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

fn paint(colour: &str, text: &str) -> String {
    format!("{colour}{text}\x1b[0m")
}

/// Colours a finding: its severity, its underline, its hint.
fn painted(finding: &Problem) -> String {
    let colour = match finding.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
    };
    let text = finding.to_string();
    let line = |(number, line): (usize, &str)| match (number, line.split_once(": ")) {
        (0, Some((word, rest))) => format!("{}: {rest}\n", paint(colour, word)),
        // A blank line, the source line, and the underline.
        (3, _) if finding.snippet.is_some() => match line.split_once('^') {
            Some((before, after)) => format!("{before}{}\n", paint(colour, &format!("^{after}"))),
            None => format!("{line}\n"),
        },
        (_, Some(("hint", rest))) => format!("{}: {rest}\n", paint(CYAN, "hint")),
        _ => format!("{line}\n"),
    };
    text.lines().enumerate().map(line).collect()
}

impl<'a> Output<'a> {
    /// Prints to the process's own streams.
    pub(crate) fn standard() -> Self {
        let paints = |is_terminal| may_paint(is_terminal, |name| std::env::var_os(name));
        let (paints_out, paints_talk) =
            (paints(io::stdout().is_terminal()), paints(io::stderr().is_terminal()));
        Self { out: Box::new(io::stdout()), talk: Box::new(io::stderr()), paints_out, paints_talk }
    }

    /// Prints elsewhere.
    #[cfg(test)]
    pub(crate) fn to(out: impl Write + 'a, talk: impl Write + 'a) -> Self {
        Self { out: Box::new(out), talk: Box::new(talk), paints_out: false, paints_talk: false }
    }

    /// Prints lines of data.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CannotWrite> {
        self.print(&printable_lines(text))
    }

    /// Prints text that is already escaped, and perhaps coloured.
    fn print(&mut self, text: &str) -> Result<(), CannotWrite> {
        let line_feed = if text.ends_with('\n') { "" } else { "\n" };
        write!(self.out, "{text}{line_feed}").and_then(|()| self.out.flush()).map_err(CannotWrite)
    }

    /// Prints an object.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CannotWrite> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CannotWrite(error.into()))?;
        // Outside strings JSON has only safe characters and line ends, and in a string any character may be
        // an escape (RFC 8259, section 7).
        let mut plain = String::with_capacity(text.len());
        for character in text.chars() {
            if character != '\n' && is_dangerous(character) {
                plain.push_str(&format!("\\u{:04x}", u32::from(character)));
            } else {
                plain.push(character);
            }
        }
        self.print(&plain)
    }

    /// Prints data as text or JSON; the text is only built if it is printed.
    pub(crate) fn data(
        &mut self,
        form: OutputFormat,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), CannotWrite> {
        match form {
            OutputFormat::Text => self.text(&text()),
            OutputFormat::Json => self.json(value),
        }
    }

    /// Prints a line of data that begins with a word of success.
    pub(crate) fn answer(&mut self, word: &str, text: &str) -> Result<(), CannotWrite> {
        let word = if self.paints_out { paint(GREEN, word) } else { word.to_owned() };
        self.print(&format!("{word}: {}", printable_lines(text)))
    }

    /// Prints a problem of a configuration to stderr.
    pub(crate) fn finding(&mut self, finding: &Problem) {
        // A finding escapes foreign text itself.
        let text = if self.paints_talk { painted(finding) } else { finding.to_string() };
        let _ = writeln!(self.talk, "{}", text.trim_end());
    }

    /// Prints a message to stderr. A write error is ignored: nothing depends on the message.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{}", printable_lines(text.trim_end()));
    }

    /// Ends a command: prints its error with the causes, and returns the exit code.
    pub(crate) fn conclude(&mut self, outcome: anyhow::Result<Exit>) -> Exit {
        match outcome {
            Ok(exit) => exit,
            // A reader that closes the pipe (`| head`) has what it wanted, so no error is printed.
            Err(error)
                if error
                    .downcast_ref::<CannotWrite>()
                    .is_some_and(|CannotWrite(error)| error.kind() == io::ErrorKind::BrokenPipe) =>
            {
                Exit::CannotWrite
            }
            Err(error) => {
                self.say(&format!("error: {error:#}"));
                Exit::of(&error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_74() {
        let mut output =
            Output::to(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap(), io::sink());

        let failed = output.text("x").map(|()| Exit::Fine).map_err(anyhow::Error::from);

        assert_eq!(output.conclude(failed), Exit::CannotWrite);
    }

    #[test]
    fn colour_is_for_terminals_that_have_it_and_people_who_want_it() {
        let paints = |is_terminal, no_color: Option<&'static str>, term: Option<&'static str>| {
            may_paint(is_terminal, |name| {
                if name == "NO_COLOR" { no_color } else { term }.map(OsString::from)
            })
        };

        assert!(paints(true, None, Some("xterm")) && paints(true, Some(""), Some("linux")));
        assert!(!paints(false, None, Some("xterm")), "a pipe");
        assert!(
            !paints(true, Some("1"), Some("xterm"))
                && !paints(true, None, Some("dumb"))
                && !paints(true, None, None)
        );
    }

    #[test]
    fn an_error_is_said_with_its_causes() {
        let mut talk = Vec::new();
        let exit = Output::to(io::sink(), &mut talk)
            .conclude(Err(anyhow::anyhow!("no such file").context("reading conf/octroi.yaml")));

        assert_eq!((exit, exit.number()), (Exit::Problem, 1));
        assert_eq!(String::from_utf8(talk).unwrap(), "error: reading conf/octroi.yaml: no such file\n");
    }
}
