//! Which hosts the certificates cover, and which certificates cover hosts of several tenants.

use std::collections::HashMap;

use super::Context;
use crate::{
    config::{reader::Spanned, source::Span},
    model::{Host, HostPattern, TenantName},
};

/// The names of one certificate.
#[derive(Debug)]
pub(super) enum CoveredNames {
    /// Those of a file.
    Listed {
        /// Where the file is named.
        span: Span,
        /// The DNS names, in lower case.
        names: Vec<String>,
        /// Whether it is meant to cover hosts of several tenants.
        shared: bool,
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
    files: Vec<File>,
    by_name: HashMap<String, Vec<usize>>,
}

/// Whose hosts one certificate covers.
#[derive(Debug)]
struct File {
    span: Span,
    /// The first tenant, and the first other one.
    owner: Option<TenantName>,
    other: Option<TenantName>,
    /// The first one that asks for client certificates.
    asking: Option<TenantName>,
    /// Whether several tenants are meant.
    shared: bool,
}

impl Coverage {
    /// Adds a certificate.
    pub(super) fn add(&mut self, names: CoveredNames) {
        match names {
            CoveredNames::Every | CoveredNames::Unknown => self.every = true,
            CoveredNames::Rest => self.takes_rest = true,
            CoveredNames::Listed { span, names, shared } => {
                let index = self.files.len();
                self.files.push(File { span, owner: None, other: None, asking: None, shared });
                for name in names {
                    self.by_name.entry(name).or_default().push(index);
                }
            }
        }
    }

    /// Asks about a host of a tenant, which may ask for client certificates; warns where nothing covers it.
    pub(super) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        host: &Spanned<HostPattern>,
        tenant: &TenantName,
        asks: bool,
    ) {
        let exact = host.value.to_string();
        let wildcard = match &host.value {
            HostPattern::Exact(name) => name.parent().map(|parent| format!("*.{parent}")),
            HostPattern::Wildcard(_) => None,
        };
        let mut covered = self.every;
        for name in std::iter::once(exact).chain(wildcard) {
            for index in self.by_name.get(&name).into_iter().flatten() {
                covered = true;
                let Some(file) = self.files.get_mut(*index) else { continue };
                if file.owner.get_or_insert_with(|| tenant.clone()) != tenant {
                    file.other.get_or_insert_with(|| tenant.clone());
                }
                if asks {
                    file.asking.get_or_insert_with(|| tenant.clone());
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
                cx.warn(host.span, format!("no certificate covers `{}`", host.value))
                    .hint("clients that ask for it get no connection");
            }
        }
    }

    /// Says which certificates are of several tenants, once all hosts have been asked about.
    ///
    /// A browser puts requests for every name of a certificate on one connection. That is a nuisance, since
    /// each connection is for one tenant, and more than that where a connection stands for a client
    /// certificate.
    pub(super) fn validate(&self, cx: &mut Context<'_>) {
        for File { span, owner, other, asking, shared } in &self.files {
            let (Some(owner), Some(other)) = (owner, other) else { continue };
            let message = format!("one certificate covers hosts of `{owner}` and of `{other}`");
            match asking {
                None if *shared => continue,
                None => cx.warn(*span, message).hint(
                    "browsers may ask for both on one connection and get 421; a certificate per tenant avoids it; `shared: true` beside it says that it is meant",
                ),
                Some(asking) => cx
                    .error(*span, format!("{message}, and `{asking}` asks for client certificates"))
                    .hint(format!("give `{asking}` a certificate of its own")),
            };
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
