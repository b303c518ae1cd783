//! Sessions: the ring of keys, the cookie, the clocks.

use std::{collections::HashMap, time::Duration};

use super::{Context, assertion, foreign, secret};
use crate::{
    config::{
        collection::NonEmpty,
        default,
        reader::{At, Placed},
        source::Span,
        unit::Wait,
        wire::{KeyWire, RedisWire, RevocationStoreWord, RevocationWire, SessionsWire, TenantSessions},
    },
    model::{Path, PathRules},
    policy::{Binding, RevocationRules, SessionRules, Sessions},
    session::{MasterKey, Ring},
};

/// The clocks where nobody says otherwise.
pub(super) fn default_rules() -> SessionRules {
    SessionRules { idle: default::IDLE, absolute: default::ABSOLUTE, bind: Vec::new() }
}

/// Compiles what holds for every tenant.
pub(super) fn sessions(cx: &mut Context<'_>, wire: &SessionsWire) -> Sessions {
    let cookie: Box<str> = wire.cookie.as_ref().map_or_else(|| default::COOKIE.into(), |cookie| cookie.value.0.clone());
    Sessions {
        foreign: foreign::all(cx, wire, &cookie),
        cookie,
        ring: ring(cx, wire.keys.0.as_ref().map_or(&[], |NonEmpty(keys)| keys)),
        rules: rules(cx, &default_rules(), wire.idle.as_ref(), wire.absolute.as_ref(), Some(&wire.bind)),
        revocation: revocation(cx, wire.revocation.as_ref()),
        allow_email_user: wire.allow_email_user.as_ref().is_some_and(|at| at.value),
        login_url: wire.login_url.as_ref().and_then(|url| login_url(cx, url)),
        assertions: wire.assertion.as_ref().map(|wire| assertion::assertions(cx, wire)),
    }
}

/// Compiles how what was ended reaches other nodes. Whether there is a Redis for it, [`judge_store`] says.
fn revocation(cx: &mut Context<'_>, wire: Option<&RevocationWire>) -> RevocationRules {
    let mut rules = RevocationRules { stale_after: default::STALE_AFTER, ..RevocationRules::default() };
    let Some(wire) = wire else { return rules };
    match wire.store.as_ref().map(|at| at.value) {
        Some(RevocationStoreWord::Redis) => rules.is_shared = true,
        Some(RevocationStoreWord::Journal) | None => {
            let silent = wire.on_stale.as_ref().map(|at| at.span).or(wire.stale_after.as_ref().map(|at| at.span));
            if let Some(span) = silent {
                cx.error(span, "a journal is never silent").hint("add `store: redis`, or take this out");
            }
        }
    }
    if let Some(at) = &wire.on_stale {
        rules.on_stale = at.value;
    }
    if let Some(at) = &wire.stale_after {
        rules.stale_after = at.value.0;
        if !default::STALE_AFTERS.contains(&at.value.0) {
            cx.error(at.span, "Redis may be silent for 5s to 1h").hint("nodes hear of it every second; a short break of the network is no silence");
        }
    }
    rules
}

/// Judges whether what revocations ask for is there, and whether what is there is used.
pub(super) fn judge_store(cx: &mut Context<'_>, sessions: Option<&SessionsWire>, redis: Option<&RedisWire>) {
    let store = sessions.and_then(|wire| wire.revocation.as_ref()?.store.as_ref()).filter(|at| at.value == RevocationStoreWord::Redis);
    match (store, redis) {
        (Some(at), None) => {
            cx.error(at.span, "there is no Redis to share revocations through").hint("add `redis: {url: \"rediss://HOST:PORT\"}` at the top");
        }
        (None, Some(wire)) if cx.findings.errors() == 0 => {
            cx.warn(wire.at(), "nothing uses this Redis").hint("`sessions: {revocation: {store: redis}}` does");
        }
        (Some(_), Some(_)) | (None, _) => {}
    }
}

/// Compiles a tenant's clocks.
pub(super) fn tenant(cx: &mut Context<'_>, wire: Option<&TenantSessions>, outside: &SessionRules) -> SessionRules {
    match wire {
        None => outside.clone(),
        Some(wire) => rules(cx, outside, wire.idle.as_ref(), wire.absolute.as_ref(), wire.bind.as_deref()),
    }
}

fn rules(
    cx: &mut Context<'_>,
    outside: &SessionRules,
    idle: Option<&At<Wait>>,
    absolute: Option<&At<Wait>>,
    bind: Option<&[At<Binding>]>,
) -> SessionRules {
    let rules = SessionRules {
        idle: idle.map_or(outside.idle, |at| at.value.0),
        absolute: absolute.map_or(outside.absolute, |at| at.value.0),
        bind: bind.map_or_else(|| outside.bind.clone(), |bind| distinct(cx, bind)),
    };
    if let (true, Some(at)) = (rules.idle > rules.absolute, idle.or(absolute)) {
        let message = "a session would end (`absolute`) before it could have rested (`idle`)";
        cx.error(at.span, message).hint("`idle` is at most `absolute`");
    }
    if let Some(at) = absolute.filter(|at| at.value.0 > default::LONG_ABSOLUTE) {
        cx.warn(at.span, "sessions would live longer than 24h").hint("NIST SP 800-63B and OWASP ASVS 7.1.1 ask for a reason");
    }
    // Tokens count milliseconds since 1970 in 64 bits; a century is far within.
    debug_assert!(rules.absolute < Duration::from_secs(u64::MAX / 1000));
    rules
}

fn distinct(cx: &mut Context<'_>, bind: &[At<Binding>]) -> Vec<Binding> {
    let mut kept = Vec::new();
    for at in bind {
        if kept.contains(&at.value) {
            cx.error(at.span, "this binding is named twice");
        } else {
            kept.push(at.value);
        }
    }
    kept
}

fn ring(cx: &mut Context<'_>, wires: &[KeyWire]) -> Ring {
    let mut ids: HashMap<u16, Span> = HashMap::new();
    let mut keys: Vec<MasterKey> = Vec::new();
    for wire in wires {
        if let Some(first) = ids.insert(wire.id.value, wire.id.span) {
            cx.error(wire.id.span, format!("two session keys have the id {}", wire.id.value)).first(first);
        }
        let Some(secret) = secret::session_key(cx, &wire.secret) else { continue };
        if let Some(other) = keys.iter().find(|other| other.secret == secret) {
            let message = format!("the session key {} has the same secret", other.id);
            cx.error(wire.secret.0.span, message).hint("a new key has a new secret");
        }
        keys.push(MasterKey { id: wire.id.value, secret, open_only: wire.open_only.as_ref().is_some_and(|at| at.value) });
    }
    let opens_only = |wire: &KeyWire| wire.open_only.as_ref().is_some_and(|at| at.value);
    if let (true, Some(first)) = (wires.iter().all(opens_only), wires.first()) {
        cx.error(first.at(), "every session key is `open_only`, so none can mint").hint("the newest key stands first, without `open_only`");
    }
    Ring::new(keys)
}

fn login_url(cx: &mut Context<'_>, url: &At<String>) -> Option<Box<str>> {
    // Two slashes begin another host's URL, for browsers.
    let accepted = Path::parse(url.value.as_bytes()).and_then(|path| path.permit(PathRules::default()));
    match accepted {
        Ok(()) => Some(url.value.as_str().into()),
        Err(error) => {
            cx.error(url.span, format!("not a path of this site: `{}`", url.value)).hint(format!("{error}; write a path like `/login`"));
            None
        }
    }
}
