//! Quotas, and references to them.

use std::{collections::HashMap, sync::Arc};

use super::Context;
use crate::{
    config::{
        collection::{Named, NamedEntry},
        reader::Spanned,
        source::Span,
        wire::{QuotaStoreWord, QuotaWire},
    },
    model::QuotaName,
    policy::Quota,
    quota::Limit,
};

/// Every quota by name; nothing where it has a problem of its own.
pub(super) struct Quotas(HashMap<QuotaName, Option<Arc<Quota>>>);

impl Quotas {
    /// Compiles every quota.
    pub(super) fn compile(cx: &Context<'_>, wires: &Named<QuotaName, QuotaWire>) -> Self {
        let compiled = (0_u32..).zip(&wires.0).map(|(id, NamedEntry { name, value })| {
            let quota = value.as_ref().map(|wire| Arc::new(quota(cx, id, name, wire)));
            (name.value.clone(), quota)
        });
        Self(compiled.collect())
    }

    /// Finds the quotas that a tenant or rule names.
    pub(super) fn named(&self, cx: &mut Context<'_>, names: &[Spanned<QuotaName>]) -> Box<[Arc<Quota>]> {
        let mut found = Vec::with_capacity(names.len());
        let mut seen: HashMap<&QuotaName, Span> = HashMap::new();
        for Spanned { value: name, span } in names {
            if let Some(first) = seen.insert(name, *span) {
                cx.error(*span, format!("the quota `{name}` is named twice")).first(first);
                continue;
            }
            match self.0.get(name) {
                Some(quota) => found.extend(quota.clone()),
                None => cx.unknown(
                    "quota",
                    *span,
                    name.as_str(),
                    self.0.keys().map(QuotaName::as_str),
                    "quotas stand under `quotas` at the top",
                ),
            }
        }
        found.into()
    }
}

fn quota(cx: &Context<'_>, id: u32, name: &Spanned<QuotaName>, wire: &QuotaWire) -> Quota {
    // One value so far; a second one makes the compiler ask here.
    match wire.store.as_ref().map(|at| at.value) {
        Some(QuotaStoreWord::Memory) | None => {}
    }
    let rate = wire.rate.value;
    Quota {
        name: name.value.clone(),
        id,
        origin: cx.origin(name.span),
        by: wire.by.value,
        limit: Limit {
            count: rate.count,
            period: rate.period,
            burst: wire.burst.as_ref().map_or(rate.count, |at| at.value),
        },
        charge: wire.count.as_ref().map(|at| at.value).unwrap_or_default(),
        mode: wire.mode.as_ref().map(|at| at.value).unwrap_or_default(),
    }
}
