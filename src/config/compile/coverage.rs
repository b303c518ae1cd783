//! Which hosts the certificates cover, and which certificates cover hosts of several tenants.

use std::collections::HashMap;

use super::Context;
use crate::{
    config::{reader::At, source::Span},
    model::{Host, HostPattern, TenantName},
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
    /// Exact hosts that no other certificate covers: a CA is asked for them.
    Rest,
    /// The file has a problem of its own, so nothing is said of what it covers.
    Unknown,
}

/// What all certificates cover.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    every: bool,
    takes_rest: bool,
    rest: Vec<(TenantName, Span, Vec<Host>)>,
    files: Vec<(Span, Option<TenantName>, bool)>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Coverage {
    /// Adds a certificate.
    pub(super) fn add(&mut self, names: Names) {
        match names {
            Names::Every | Names::Unknown => self.every = true,
            Names::Rest => self.takes_rest = true,
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
        match &host.value {
            _ if covered => {}
            HostPattern::Exact(name) if self.takes_rest => self.leave(tenant, host.span, name),
            HostPattern::Wildcard(_) if self.takes_rest => {
                cx.warn(host.span, format!("no certificate covers `{}`", host.value))
                    .hint("a CA proves wildcards over DNS only, so `acme` does not get it; clients that ask for it get no connection");
            }
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => {
                cx.warn(host.span, format!("no certificate covers `{}`", host.value)).hint("clients that ask for it get no connection");
            }
        }
    }

    /// Leaves a host to the entry that takes the rest. A tenant's hosts are asked about one after the other.
    fn leave(&mut self, tenant: &TenantName, span: Span, host: &Host) {
        match self.rest.last_mut() {
            Some((last, _, hosts)) if last == tenant => hosts.push(host.clone()),
            _ => self.rest.push((tenant.clone(), span, vec![host.clone()])),
        }
    }

    /// Returns the hosts that were left, by tenant, and where the first of each is written.
    pub(super) fn into_rest(self) -> Vec<(TenantName, Span, Vec<Host>)> {
        self.rest
    }
}
