//! Who is dropped before the handshake: ranges, and files of ranges.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::Context;
use crate::{
    config::{
        deny_file::{read_deny_file, validate},
        parse::FilePath,
        reader::Spanned,
        source::Span,
    },
    model::Range,
    policy::{DenyFile, DenyList, IpSet},
};

/// The files of this load; each is read once, nothing where it has a problem of its own.
#[derive(Default)]
pub(super) struct DenyFiles(HashMap<PathBuf, Option<Arc<IpSet>>>);

impl DenyFiles {
    /// Compiles the list of a listener.
    pub(super) fn list(
        &mut self,
        cx: &mut Context<'_>,
        ranges: &[Spanned<Range>],
        files: &[Spanned<FilePath>],
    ) -> DenyList {
        for range in ranges {
            if let Err(wrong) = validate(range.value) {
                cx.error(range.span, wrong.message).maybe_hint(wrong.hint);
            }
        }
        let mut seen: HashMap<PathBuf, Span> = HashMap::new();
        let mut kept = Vec::with_capacity(files.len());
        for file in files {
            let path = cx.resolve(file);
            if let Some(first) = seen.insert(path.clone(), file.span) {
                cx.error(file.span, "this file is named twice").first(first);
                continue;
            }
            if let Some(ranges) = self.read(cx, &path, file.span) {
                kept.push(DenyFile { path, ranges });
            }
        }
        DenyList { ranges: IpSet::new(ranges.iter().map(|range| range.value)), files: kept.into() }
    }

    fn read(&mut self, cx: &mut Context<'_>, path: &PathBuf, span: Span) -> Option<Arc<IpSet>> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let read = match read_deny_file(path) {
            Ok(ranges) => {
                if ranges.is_empty() {
                    cx.warn(span, format!("{} holds no range, so it drops nobody", path.display()));
                }
                Some(Arc::new(ranges))
            }
            Err(error) => {
                for (message, hint) in error.messages() {
                    cx.error(span, message).maybe_hint(hint.map(str::to_owned));
                }
                None
            }
        };
        self.0.insert(path.clone(), read.clone());
        read
    }
}
