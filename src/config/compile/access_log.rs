//! Where access lines go.

use std::{collections::HashMap, path::PathBuf};

use super::Context;
use crate::{
    config::{
        reader::HasSpan,
        source::Span,
        wire::{LogWire, Sink},
    },
    policy::{AccessLog, LogFormat, LogTarget, Rotation},
};

/// Compiles the sinks. Where none is written, lines go to standard output.
pub(super) fn all(cx: &mut Context<'_>, wires: Option<&[LogWire]>) -> Vec<AccessLog> {
    let Some(wires) = wires else {
        return vec![AccessLog { to: LogTarget::Stdout, format: LogFormat::Json }];
    };
    let mut seen: HashMap<Option<PathBuf>, Span> = HashMap::new();
    let mut logs = Vec::with_capacity(wires.len());
    for wire in wires {
        let Some(to) = target(cx, wire) else { continue };
        let file = match &to {
            LogTarget::Stdout => None,
            LogTarget::File { path, .. } => Some(path.clone()),
        };
        if let Some(first) = seen.insert(file, wire.to.span) {
            cx.error(wire.to.span, "two access logs would write to the same place").first(first);
        }
        logs.push(AccessLog { to, format: wire.format.as_ref().map(|at| at.value).unwrap_or_default() });
    }
    logs
}

fn target(cx: &mut Context<'_>, wire: &LogWire) -> Option<LogTarget> {
    match (wire.to.value, &wire.path) {
        (Sink::Stdout, None) => {
            if let Some(rotate) = &wire.rotate {
                cx.error(rotate.span(), "standard output is not a file that could be put aside")
                    .hint("take `rotate` out");
            }
            Some(LogTarget::Stdout)
        }
        (Sink::Stdout, Some(path)) => {
            cx.error(path.span, "standard output has no path").hint("write `to: file`, or take `path` out");
            None
        }
        (Sink::File, None) => {
            if !cx.findings.is_refused(wire.span(), "path") {
                cx.error(wire.to.span, "a log file needs a `path`");
            }
            None
        }
        (Sink::File, Some(path)) => Some(LogTarget::File {
            path: cx.resolve(path),
            rotate: wire
                .rotate
                .as_ref()
                .map(|rotate| Rotation { size: rotate.size.value.0, keep: rotate.keep.value.get() }),
        }),
    }
}
