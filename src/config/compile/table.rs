//! Sets of rules, and the table that each tenant gets: shared wherever it is the same.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Context, limits,
    quota::Quotas,
    route::{self, CompiledRule},
    rule_lint::{self, LintedRules},
};
use crate::{
    config::{
        collection::{Named, NamedEntry},
        parse::Label,
        reader::{HasSpan, Spanned},
        source::Span,
        wire::{RequestLimitsWire, RouteSet, Rule, TenantRoutes},
    },
    policy::{RequestLimits, Route, RouteTable, RouteTableBuilder, Unmatched},
};

/// Every named set; nothing where it has a problem of its own.
pub(super) struct Sets {
    sets: HashMap<String, Option<Set>>,
    /// For tenants that name no set.
    none: Set,
    /// Tables with a rule that was refused: it may be the one that somebody misses.
    broken: HashSet<usize>,
}

/// A set of rules.
#[derive(Debug)]
struct Set {
    rules: Vec<CompiledRule>,
    unmatched: Arc<Route>,
    case_sensitive: bool,
    /// Whether a rule of it was refused.
    is_broken: bool,
    /// The tables made of it so far. A rule with bounds of its own takes the others from the tenant, so those
    /// that differ count.
    tables: HashMap<Option<[u128; 3]>, Arc<RouteTable>>,
}

impl Sets {
    /// Compiles every named set.
    pub(super) fn compile(cx: &mut Context<'_>, wires: &Named<Label, RouteSet>, quotas: &Quotas) -> Self {
        let mut sets = HashMap::with_capacity(wires.0.len());
        for NamedEntry { name, value } in &wires.0 {
            let set = value.as_ref().map(|wire| {
                // A word that was refused asks for nothing that a session would need.
                let word = if cx.lacks(wire.span(), &["unmatched"]) {
                    Unmatched::default()
                } else {
                    Unmatched::Public
                };
                let unmatched = unmatched(cx, wire.unmatched.as_ref())
                    .unwrap_or_else(|| route::unmatched(cx, word, None));
                let case_sensitive = wire.case_sensitive.as_ref().is_some_and(|at| at.value);
                let before = cx.findings.errors();
                let rules = rules(cx, &wire.rules, quotas);
                let is_broken =
                    cx.findings.errors() > before || !cx.lacks(wire.span(), &["rules", "unmatched"]);
                let set = Set { rules, unmatched, case_sensitive, is_broken, tables: HashMap::new() };
                if !is_broken {
                    let table = set.table(&[], &set.unmatched, set.case_sensitive, None);
                    let fallback = wire.unmatched.as_ref().map(|at| at.span);
                    rule_lint::validate(
                        cx,
                        &LintedRules { table: &table, set: &[], own: &set.rules, fallback },
                    );
                }
                set
            });
            sets.insert(name.value.0.clone(), set);
        }
        let unmatched = route::unmatched(cx, Unmatched::default(), None);
        let none = Set {
            rules: Vec::new(),
            unmatched,
            case_sensitive: false,
            is_broken: false,
            tables: HashMap::new(),
        };
        Self { sets, none, broken: HashSet::new() }
    }

    /// Says whether a rule of a table was refused.
    pub(super) fn is_broken(&self, table: &RouteTable) -> bool {
        self.broken.contains(&std::ptr::from_ref(table).addr())
    }

    /// Compiles the rules of a tenant; nothing where the set it names has a problem. `is_whole` says whether
    /// all that it writes could be read.
    pub(super) fn tenant(
        &mut self,
        cx: &mut Context<'_>,
        wire: Option<&TenantRoutes>,
        is_whole: bool,
        quotas: &Quotas,
        limits: RequestLimits,
    ) -> Option<Arc<RouteTable>> {
        let own = wire.map_or(&[][..], |wire| &wire.rules);
        if wire.is_none() && !is_whole {
            return None;
        }
        let before = cx.findings.errors();
        let own = rules(cx, own, quotas);
        let is_whole = is_whole && cx.findings.errors() == before;
        let instead = unmatched(cx, wire.and_then(|wire| wire.unmatched.as_ref()));
        let set = match wire.and_then(|wire| wire.set.as_ref()) {
            None => &mut self.none,
            Some(name) if self.sets.contains_key(&name.value.0) => {
                self.sets.get_mut(&name.value.0)?.as_mut()?
            }
            Some(name) => {
                let known = self.sets.keys().map(String::as_str);
                cx.unknown(
                    "route set",
                    name.span,
                    &name.value.0,
                    known,
                    "sets of rules stand under `routes` at the top",
                );
                return None;
            }
        };
        let case_sensitive =
            wire.and_then(|wire| wire.case_sensitive.as_ref()).map_or(set.case_sensitive, |at| at.value);
        if own.is_empty() && instead.is_none() && case_sensitive == set.case_sensitive {
            let table = set.shared(limits);
            if set.is_broken || !is_whole {
                self.broken.insert(Arc::as_ptr(&table).addr());
            }
            return Some(table);
        }
        let table = set.table(&own, instead.as_ref().unwrap_or(&set.unmatched), case_sensitive, Some(limits));
        let fallback = wire.and_then(|wire| wire.unmatched.as_ref()).map(|at| at.span);
        let is_broken = set.is_broken || !is_whole;
        if !is_broken {
            rule_lint::validate(cx, &LintedRules { table: &table, set: &set.rules, own: &own, fallback });
        }
        let table = Arc::new(table);
        if is_broken {
            self.broken.insert(Arc::as_ptr(&table).addr());
        }
        Some(table)
    }
}

impl Set {
    fn shared(&mut self, limits: RequestLimits) -> Arc<RouteTable> {
        let depends = self.rules.iter().any(|ruled| ruled.limits.is_some());
        let key = depends.then(|| {
            [limits.body_bytes.into(), limits.body_min_rate.into(), limits.websocket_idle.as_nanos()]
        });
        if let Some(made) = self.tables.get(&key) {
            return Arc::clone(made);
        }
        let made = Arc::new(self.table(&[], &self.unmatched, self.case_sensitive, Some(limits)));
        self.tables.insert(key, Arc::clone(&made));
        made
    }

    /// Makes a table of the set and the rules that refine it.
    fn table(
        &self,
        own: &[CompiledRule],
        unmatched: &Arc<Route>,
        case_sensitive: bool,
        outside: Option<RequestLimits>,
    ) -> RouteTable {
        let mut builder = RouteTableBuilder::default();
        builder.case_sensitive(case_sensitive);
        for ruled in self.rules.iter().chain(own) {
            let limits =
                |wire: &RequestLimitsWire| outside.map(|outside| limits::request(Some(wire), outside));
            let route = Route { limits: ruled.limits.as_ref().and_then(limits), ..ruled.route.clone() };
            // Equal paths within a set were refused before, so what is replaced here is meant to be.
            let _replaced = builder.add(&ruled.path, Arc::new(route), true);
        }
        builder.build(Arc::clone(unmatched))
    }
}

fn unmatched(cx: &Context<'_>, word: Option<&Spanned<Unmatched>>) -> Option<Arc<Route>> {
    word.map(|at| route::unmatched(cx, at.value, Some(at.span)))
}

/// Compiles the rules of one set, no two of which have one path.
fn rules(cx: &mut Context<'_>, wires: &[Rule], quotas: &Quotas) -> Vec<CompiledRule> {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut rules = Vec::with_capacity(wires.len());
    for ruled in wires.iter().filter_map(|wire| route::rule(cx, wire, quotas)).collect::<Vec<_>>() {
        match seen.insert(ruled.path.clone(), ruled.span) {
            Some(first) => {
                let message = format!("two rules have the path `{}`", ruled.path);
                cx.error(ruled.span, message)
                    .first(first)
                    .hint("one rule can name several `methods` and `roles`");
            }
            None => rules.push(ruled),
        }
    }
    rules
}
