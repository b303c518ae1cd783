//! A change from one revision to the next, part by part: all of it or nothing.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    app::prepare::Revision,
    config::{Include, Problem},
    edge::{AdminTls, TlsError, TlsState},
    gateway::Snapshot,
    model::{ControlError, ReloadRequest},
    policy::Policy,
};

/// Why the configuration is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Cause {
    /// An operator commanded it.
    Operator(ReloadRequest),
    /// Something expired, or a file that the policy names has changed.
    Automatic,
}

/// A change from the revision in force to the next.
#[derive(Debug)]
pub(in crate::app) struct Change {
    pub(in crate::app) cause: Cause,
    /// The rules in force, with what belongs to them.
    pub(in crate::app) before: Arc<Snapshot>,
    /// The rules that are to come into force.
    pub(in crate::app) policy: Arc<Policy>,
    /// What is odd in them, yet allowed.
    pub(in crate::app) warnings: Vec<Problem>,
    /// The patterns of tenant files, and how many files each matches.
    pub(in crate::app) includes: Vec<Include>,
    /// The certificates, until the part that they belong to has prepared them.
    pub(in crate::app) certificates: Option<ReadCertificates>,
}

/// The certificates of a revision.
#[derive(Debug)]
pub(in crate::app) struct ReadCertificates {
    pub(in crate::app) tls: TlsState,
    pub(in crate::app) admin_tls: Option<AdminTls>,
    /// Certificates and OCSP answers that cannot be used, and are left out.
    pub(in crate::app) out: Vec<TlsError>,
}

impl Change {
    /// Begins a change from the rules in force to a revision that was read.
    pub(in crate::app) fn new(cause: Cause, before: Arc<Snapshot>, next: Revision) -> Self {
        let Revision { policy, tls, admin_tls, warnings, includes, out } = next;
        let certificates = Some(ReadCertificates { tls, admin_tls, out });
        Self { cause, before, policy, warnings, includes, certificates }
    }

    /// Returns the policy in force.
    pub(super) fn old(&self) -> &Policy {
        &self.before.policy
    }

    /// Returns the policy that is to come into force.
    pub(super) fn next(&self) -> &Policy {
        &self.policy
    }

    /// Refuses the change if a key differs that only a restart can change: half of a revision must not come
    /// into force.
    pub(super) fn refuse_changed(&self, keys: &[(&str, bool)]) -> Result<(), Refused> {
        match keys.iter().find(|(_, changed)| *changed) {
            Some((key, _)) => Err(Refused::new(
                ControlError::Config(format!("{key} changed, and only a restart can change it")),
                "a restart would take it into force",
            )),
            None => Ok(()),
        }
    }
}

/// Why a change was refused.
#[derive(Debug)]
pub(in crate::app) struct Refused {
    pub(in crate::app) error: ControlError,
    /// What a restart would do with the same files, where that is known. The process in force keeps what
    /// another one may not find.
    pub(in crate::app) restart: Option<&'static str>,
}

impl Refused {
    pub(in crate::app) const fn new(error: ControlError, restart: &'static str) -> Self {
        Self { error, restart: Some(restart) }
    }
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Self {
        Self { error, restart: None }
    }
}

/// What adoption reports to the operator.
#[derive(Debug, Default)]
pub(in crate::app) struct Adopted {
    pub(in crate::app) warnings: Vec<String>,
}

/// One part of the gateway that a revision changes.
#[async_trait]
pub(in crate::app) trait Part: Send + Sync {
    /// Refuses a change that must not come into force. Changes nothing, and waits for nothing.
    fn refuse(&self, _change: &Change) -> Result<(), Refused> {
        Ok(())
    }

    /// Returns what adoption would report, for a dry run. It is asked only after no part has refused.
    fn foresee(&self, _change: &Change) -> Vec<String> {
        Vec::new()
    }

    /// Does everything that can fail or wait. Dropping what it returns undoes it.
    async fn prepare<'part>(&'part self, _change: &mut Change) -> Result<Box<dyn Prepared + 'part>, Refused> {
        Ok(Box::new(Nothing))
    }
}

/// A part that is prepared.
pub(in crate::app) trait Prepared: Send {
    /// Puts it into force. Neither fails nor waits.
    fn adopt(self: Box<Self>, adopted: &mut Adopted);
}

/// A part without anything to prepare or adopt.
pub(super) struct Nothing;

impl Prepared for Nothing {
    fn adopt(self: Box<Self>, _adopted: &mut Adopted) {}
}

/// Lets every part refuse the change.
pub(in crate::app) fn refuse(parts: &[Box<dyn Part + '_>], change: &Change) -> Result<(), Refused> {
    parts.iter().try_for_each(|part| part.refuse(change))
}

/// Puts a change into force: all of it, or nothing.
///
/// Every part refuses before the first prepares, and every part has prepared before the first adopts. A
/// caller that goes away (a command that is cut off drops this future) leaves all of the old revision or all
/// of the new one: adoption never waits.
pub(in crate::app) async fn apply(
    parts: &[Box<dyn Part + '_>],
    change: &mut Change,
) -> Result<Adopted, Refused> {
    refuse(parts, change)?;
    let mut prepared = Vec::with_capacity(parts.len());
    for part in parts {
        prepared.push(part.prepare(change).await?);
    }
    let mut adopted = Adopted::default();
    for part in prepared {
        part.adopt(&mut adopted);
    }
    Ok(adopted)
}
