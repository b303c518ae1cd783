//! What a rule asks for and its neighbours do not: whoever guards a path seldom means to leave the next one
//! open.

use std::{collections::HashMap, sync::Arc};

use super::{Context, route::CompiledRule};
use crate::{
    config::source::Span,
    policy::{OriginCheck, Route, RouteAccess, RouteTable, folded},
};

/// How many rules a message names.
const NAMED: usize = 3;

/// The rules of one table.
pub(super) struct LintedRules<'a> {
    /// The table.
    pub(super) table: &'a RouteTable,
    /// The rules of the set that others refine; linted before, on their own.
    pub(super) set: &'a [CompiledRule],
    /// The rules that are linted.
    pub(super) own: &'a [CompiledRule],
    /// Where it is said what happens to paths that no rule matches, if it is said here.
    pub(super) fallback: Option<Span>,
}

/// Warns where what lies beside or below a rule falls to less, where a rule takes the place of a stricter
/// one, and where two rules judge one path of which neither asks for more.
pub(super) fn validate(cx: &mut Context<'_>, linted: &LintedRules<'_>) {
    let LintedRules { table, set, own, fallback } = *linted;
    let before: HashMap<&str, &CompiledRule> = set.iter().map(|ruled| (&*ruled.path, ruled)).collect();
    let mut open = Vec::new();
    for ruled in own {
        if let Some(old) = before.get(&*ruled.path)
            && let Some(less) = less(&old.route, &ruled.route)
        {
            let message = format!(
                "`{}` takes the place of a rule of the named set, and asks for less: {less}",
                ruled.path
            );
            cx.warn(ruled.span, message).first(old.span);
        }
    }
    let names: HashMap<&str, Span> = own.iter().map(|ruled| (&*ruled.path, ruled.span)).collect();
    let replaced = |ruled: &&CompiledRule| !names.contains_key(&*ruled.path);
    let all: Vec<(&CompiledRule, bool)> = own
        .iter()
        .map(|ruled| (ruled, true))
        .chain(set.iter().filter(replaced).map(|ruled| (ruled, false)))
        .collect();
    for &(ruled, is_own) in &all {
        if ruled.route.access == RouteAccess::Public {
            continue;
        }
        let (folder, bare) = match ruled.path.strip_suffix('/') {
            Some(bare) => (true, bare),
            None => (false, &*ruled.path),
        };
        let (neighbour, what) = match folder {
            true if bare.is_empty() => continue,
            true => (table.find(bare), format!("`{bare}` itself")),
            false => (table.below(bare), format!("what lies below `{bare}/`")),
        };
        let is_fallback = Arc::ptr_eq(neighbour, table.unmatched());
        // What was so in the set was said there.
        if !(is_own || names.contains_key(neighbour.id.as_str()) || (is_fallback && fallback.is_some())) {
            continue;
        }
        let Some(less) =
            (if is_fallback { less_guarded(&ruled.route, neighbour) } else { less(&ruled.route, neighbour) })
        else {
            continue;
        };
        if is_fallback && neighbour.access == RouteAccess::Public {
            open.push(ruled);
            continue;
        }
        let span = if is_own {
            ruled.span
        } else {
            names.get(neighbour.id.as_str()).copied().or(fallback).unwrap_or(ruled.span)
        };
        let message = format!(
            "`{}` is guarded, but {what} falls to `{}`, which asks for less: {less}",
            ruled.path,
            neighbour.id.as_str()
        );
        let missing = if folder { bare.to_owned() } else { format!("{bare}/") };
        let hint = if table.find(&missing).id.as_str() == missing {
            "let it ask for as much".to_owned()
        } else {
            format!("add a rule for `{missing}`")
        };
        cx.warn(span, message).hint(hint);
    }
    warn_of_open_fallback(
        cx,
        linted,
        &open,
        all.iter().any(|(ruled, _)| ruled.route.access != RouteAccess::Public),
    );
    warn_of_both(cx, linted, &all);
}

/// Says once what an open fallback leaves open.
fn warn_of_open_fallback(
    cx: &mut Context<'_>,
    linted: &LintedRules<'_>,
    open: &[&CompiledRule],
    is_guarded: bool,
) {
    let LintedRules { table, fallback, .. } = *linted;
    if table.unmatched().access != RouteAccess::Public || !is_guarded {
        return;
    }
    let Some(span) = fallback.or_else(|| open.first().map(|ruled| ruled.span)) else { return };
    let mut message = "every path that no rule matches is open to everybody".to_owned();
    if !open.is_empty() {
        message =
            format!("{message}, also what lies below {}", listed(open.iter().map(|ruled| &*ruled.path)));
    }
    cx.warn(span, message).hint(
        "`unmatched: session` or `deny` closes them; a rule `/admin/` covers `/admin` and what lies below",
    );
}

/// Says where two rules judge one path, and neither asks for more: a request must satisfy both.
fn warn_of_both(cx: &mut Context<'_>, linted: &LintedRules<'_>, all: &[(&CompiledRule, bool)]) {
    let table = linted.table;
    let apart = |one: &Route, other: &Route| !one.guards_at_least(other) && !other.guards_at_least(one);
    let mut folds: HashMap<String, &CompiledRule> = HashMap::new();
    for &(ruled, is_own) in all {
        if !table.is_case_sensitive()
            && let Some(twin) = folds.insert(folded(&ruled.path), ruled)
            && (less(&twin.route, &ruled.route).is_some() || less(&ruled.route, &twin.route).is_some())
        {
            let message = format!(
                "`{}` and `{}` differ in case only, so a request for either must satisfy both",
                twin.path, ruled.path
            );
            cx.warn(ruled.span, message)
                .first(twin.span)
                .hint("let both ask for the same, or say `case_sensitive: true` where the app is");
        }
        if !is_own {
            continue;
        }
        let bare = ruled.path.strip_suffix('/');
        let covered = bare.map_or_else(|| format!("{}/", ruled.path), str::to_owned);
        let other = table.find(&covered);
        if bare != Some("")
            && other.id == ruled.route.id
            && let Some(other) = table.otherwise(&covered)
            && apart(&ruled.route, other)
        {
            let id = other.id.as_str();
            let message = format!(
                "`{}` covers `{covered}` too, which `{id}` would match, and neither asks for more: both must hold",
                ruled.path
            );
            cx.warn(ruled.span, message).hint(format!("add a rule for `{covered}`"));
        }
        let rules = ruled.route.path;
        if rules.allow_encoded_slash || rules.allow_path_parameters || rules.allow_double_encoding {
            let below = |other: &&CompiledRule| {
                bare.is_some() && other.path != ruled.path && other.path.starts_with(&ruled.path)
            };
            let both: Vec<&str> = all
                .iter()
                .map(|(other, _)| *other)
                .filter(below)
                .filter(|other| apart(&ruled.route, &other.route))
                .map(|other| &*other.path)
                .collect();
            if !both.is_empty() {
                let message = format!(
                    "an app may read a path that `{}` allows as one of {}, and neither asks for more: both must hold",
                    ruled.path,
                    listed(both.iter().copied())
                );
                cx.warn(ruled.span, message).hint("let one of them ask for all that the other does");
            }
        }
    }
}

/// Says in what a rule asks for less than another: who may pass, how old their sign-in may be, from where,
/// with which methods.
fn less(strict: &Route, other: &Route) -> Option<String> {
    if let Some(less) = less_guarded(strict, other) {
        return Some(less);
    }
    if other.access == RouteAccess::Nobody {
        return None;
    }
    if !other.origin_at_least(strict) {
        let words = match other.origin_check {
            OriginCheck::Off => "nothing of where a request comes from",
            OriginCheck::Sessions if strict.origin_check == OriginCheck::Always => {
                "where a request comes from only with a session"
            }
            OriginCheck::Sessions | OriginCheck::Always => "more `origins`",
        };
        return Some(words.to_owned());
    }
    // Who lets fewer people through may let them do more.
    let more: Vec<&str> = other.methods().filter(|method| !strict.lists(method)).collect();
    (!more.is_empty() && strict.guards_at_least(other)).then(|| format!("{} too", more.join(", ")))
}

/// Says in what a rule asks for less of who passes. A rule of its own says what else it wants; where none
/// matches, that is all there is.
fn less_guarded(strict: &Route, other: &Route) -> Option<String> {
    if !other.access.asks_at_least(&strict.access) {
        return match &other.access {
            RouteAccess::Public => Some("everybody passes".to_owned()),
            RouteAccess::Session => Some("every session passes".to_owned()),
            RouteAccess::Roles(roles) => Some(format!("one of the roles {}", roles.join(", "))),
            RouteAccess::Nobody => None,
        };
    }
    if other.guards_at_least(strict) || other.access == RouteAccess::Nobody {
        return None;
    }
    Some(match other.max_auth_age {
        None => "no age of the sign-in".to_owned(),
        Some(age) => format!("a sign-in {} s old", age.as_secs()),
    })
}

fn listed<'a>(paths: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = paths.len().saturating_sub(NAMED);
    let named: Vec<String> = paths.take(NAMED).map(|path| format!("`{path}`")).collect();
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
