//! Which hosts the certificates cover, and which certificates cover hosts of several tenants.

use std::collections::HashMap;

use super::Context;
use crate::{
    config::{reader::At, source::Span},
    model::{HostPattern, TenantName},
};

/// The names of one certificate.
#[derive(Debug)]
pub(super) enum Names {
    /// Those of a file.
    Listed {
        /// Where the file is named.
        span: Span,
        /// The DNS names, in lower case.
        names: Vec<String>,
    },
    /// Whatever is asked for: it is made when it is needed.
    Every,
    /// The file has a problem of its own, so nothing is said of what it covers.
    Unknown,
}

/// What all certificates cover.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    every: bool,
    files: Vec<(Span, Option<TenantName>, bool)>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Coverage {
    /// Adds a certificate.
    pub(super) fn add(&mut self, names: Names) {
        match names {
            Names::Every | Names::Unknown => self.every = true,
            Names::Listed { span, names } => {
                let index = self.files.len();
                self.files.push((span, None, false));
                for name in names {
                    self.by_name.entry(name).or_default().push(index);
                }
            }
        }
    }

    /// Asks about a host of a tenant; warns where nothing covers it.
    pub(super) fn ask(&mut self, cx: &mut Context<'_>, host: &At<HostPattern>, tenant: &TenantName) {
        let exact = host.value.to_string();
        let wildcard = match &host.value {
            HostPattern::Exact(name) => name.parent().map(|parent| format!("*.{parent}")),
            HostPattern::Wildcard(_) => None,
        };
        let mut covered = self.every;
        for name in std::iter::once(exact).chain(wildcard) {
            for index in self.by_name.get(&name).into_iter().flatten() {
                covered = true;
                let Some((span, owner, told)) = self.files.get_mut(*index) else { continue };
                match owner {
                    None => *owner = Some(tenant.clone()),
                    Some(other) if other != tenant && !*told => {
                        *told = true;
                        let message = format!("one certificate covers hosts of `{other}` and of `{tenant}`");
                        cx.warn(*span, message)
                            .hint("browsers may ask for both on one connection and get 421; a certificate per tenant avoids it");
                    }
                    Some(_) => {}
                }
            }
        }
        if !covered {
            cx.warn(host.span, format!("no certificate covers `{}`", host.value)).hint("clients that ask for it get no connection");
        }
    }
}
