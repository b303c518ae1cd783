//! Who may reach a tenant, as of now.

use super::Context;
use crate::{
    config::wire::{IpAccessWire, RangeWire},
    policy::{IpAccess, RangeRule},
};

/// Compiles the two lists. Entries that have expired are left out.
pub(super) fn compile(cx: &mut Context<'_>, wire: Option<&IpAccessWire>) -> IpAccess {
    let Some(wire) = wire else { return IpAccess::default() };
    let deny = current(cx, &wire.deny);
    let Some(allow) = &wire.allow else { return IpAccess::new(None, deny) };
    let current = current(cx, &allow.0);
    if let (true, Some(first)) = (current.is_empty(), allow.0.first()) {
        let message = "every entry of the allow list has expired, so the list admits nobody";
        cx.warn(first.range.span, message).hint("set later days, or take the tenant out");
    }
    IpAccess::new(Some(current), deny)
}

fn current(cx: &mut Context<'_>, wires: &[RangeWire]) -> Vec<RangeRule> {
    let mut rules = Vec::with_capacity(wires.len());
    for wire in wires {
        let expires = wire.expires().map(|at| at.value.0);
        if expires.is_some_and(|time| cx.has_come(time)) {
            continue;
        }
        let note = wire.note().map(|note| note.value.as_str().into());
        rules.push(RangeRule { range: wire.range.value, origin: cx.origin(wire.range.span), note, expires });
    }
    rules
}
