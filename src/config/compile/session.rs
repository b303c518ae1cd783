//! Sessions: the ring of keys, the cookie, the clocks.

use std::{collections::HashMap, num::NonZeroU8, time::Duration};

use super::{Context, assertion, foreign, secret};
use crate::{
    config::{
        collection::NonEmpty,
        default, key_folder,
        parse::FilePath,
        reader::{HasSpan, Spanned},
        source::Span,
        unit::Wait,
        wire::{
            KeyWire, MaxPerUserWire, RevocationStoreWord, RevocationWire, Root, SessionsWire, TenantSessions,
        },
    },
    model::{Path, PathRules},
    policy::{Binding, KeyDir, RevocationRules, SessionRules, Sessions},
    session::{KeyRing, KeyState, LimitAction, MOST_SESSIONS, MasterKey, UserLimit, cookie::Name},
};

/// The clocks where nobody says otherwise.
pub(super) fn default_rules() -> SessionRules {
    SessionRules { idle: default::IDLE, absolute: default::ABSOLUTE, bind: Vec::new(), max_per_user: None }
}

/// Compiles what holds for every tenant.
pub(super) fn sessions(cx: &mut Context<'_>, wire: &SessionsWire) -> Sessions {
    let cookie = Name::new(wire.cookie.as_ref().map_or(default::COOKIE, |cookie| &cookie.value.0));
    let (ring, key_dir) = ring(cx, wire);
    Sessions {
        foreign: foreign::all(cx, wire, &cookie),
        cookie,
        ring,
        key_dir,
        rules: rules(
            cx,
            &default_rules(),
            &WrittenRules {
                place: wire.span(),
                idle: wire.idle.as_ref(),
                absolute: wire.absolute.as_ref(),
                bind: Some(&wire.bind),
                max_per_user: wire.max_per_user.as_ref(),
            },
        ),
        revocation: revocation(cx, wire.revocation.as_ref()),
        allow_email_user: wire.allow_email_user.as_ref().is_some_and(|at| at.value),
        login_url: wire.login_url.as_ref().and_then(|url| login_url(cx, url)),
        assertions: wire.assertion.as_ref().map(|wire| assertion::assertions(cx, wire)),
    }
}

/// Compiles how what was ended reaches other nodes. Whether there is a Redis for it, [`validate_store`] says.
fn revocation(cx: &mut Context<'_>, wire: Option<&RevocationWire>) -> RevocationRules {
    let mut rules = RevocationRules { stale_after: default::STALE_AFTER, ..RevocationRules::default() };
    let Some(wire) = wire else { return rules };
    match wire.store.as_ref().map(|at| at.value) {
        Some(RevocationStoreWord::Redis) => rules.is_shared = true,
        None if !cx.lacks(wire.span(), &["store"]) => {}
        Some(RevocationStoreWord::Journal) | None => {
            let silent =
                wire.on_stale.as_ref().map(|at| at.span).or(wire.stale_after.as_ref().map(|at| at.span));
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
            cx.error(at.span, "Redis may be silent for 5s to 1h")
                .hint("nodes hear of it every second; a short break of the network is no silence");
        }
    }
    rules
}

/// Validates whether what revocations ask for is there, and whether what is there is used.
pub(super) fn validate_store(cx: &mut Context<'_>, root: &Root) {
    let (sessions, redis) = (root.sessions.as_ref().and_then(|wire| wire.0.as_ref()), root.redis.as_ref());
    let store = sessions
        .and_then(|wire| wire.revocation.as_ref()?.store.as_ref())
        .filter(|at| at.value == RevocationStoreWord::Redis);
    match (store, redis) {
        (Some(_), None) if !cx.lacks(root.span(), &["redis"]) => {}
        (Some(at), None) => {
            cx.error(at.span, "there is no Redis to share revocations through")
                .hint("add `redis: {url: \"rediss://HOST:PORT\"}` at the top");
        }
        (None, Some(wire)) if cx.findings.errors() == 0 => {
            cx.warn(wire.span(), "nothing uses this Redis")
                .hint("`sessions: {revocation: {store: redis}}` does");
        }
        (Some(_), Some(_)) | (None, _) => {}
    }
}

/// Compiles a tenant's clocks.
pub(super) fn tenant(
    cx: &mut Context<'_>,
    wire: Option<&TenantSessions>,
    outside: &SessionRules,
) -> SessionRules {
    match wire {
        None => outside.clone(),
        Some(wire) => rules(
            cx,
            outside,
            &WrittenRules {
                place: wire.span(),
                idle: wire.idle.as_ref(),
                absolute: wire.absolute.as_ref(),
                bind: wire.bind.as_deref(),
                max_per_user: wire.max_per_user.as_ref(),
            },
        ),
    }
}

/// What is written of the rules, for every tenant or for one, and where.
struct WrittenRules<'a> {
    place: Span,
    idle: Option<&'a Spanned<Wait>>,
    absolute: Option<&'a Spanned<Wait>>,
    bind: Option<&'a [Spanned<Binding>]>,
    max_per_user: Option<&'a MaxPerUserWire>,
}

/// Compiles rules; what is not written is as `outside`.
fn rules(cx: &mut Context<'_>, outside: &SessionRules, written: &WrittenRules<'_>) -> SessionRules {
    let &WrittenRules { place, idle, absolute, bind, max_per_user } = written;
    let rules = SessionRules {
        idle: idle.map_or(outside.idle, |at| at.value.0),
        absolute: absolute.map_or(outside.absolute, |at| at.value.0),
        bind: bind.map_or_else(|| outside.bind.clone(), |bind| distinct(cx, bind)),
        max_per_user: max_per_user.map_or(outside.max_per_user, |wire| user_limit(cx, wire)),
    };
    if let (true, Some(at)) = (rules.idle > rules.absolute, idle.or(absolute))
        && cx.lacks(place, &["idle", "absolute"])
    {
        let message = "a session would end (`absolute`) before it could have rested (`idle`)";
        cx.error(at.span, message).hint("`idle` is at most `absolute`");
    }
    if let Some(at) = absolute.filter(|at| at.value.0 > default::LONG_ABSOLUTE) {
        cx.warn(at.span, "sessions would live longer than 24h")
            .hint("NIST SP 800-63B and OWASP ASVS 7.1.1 ask for a reason");
    }
    // Tokens count milliseconds since 1970 in 64 bits; a century is far within.
    debug_assert!(rules.absolute < Duration::from_secs(u64::MAX / 1000));
    rules
}

fn user_limit(cx: &mut Context<'_>, wire: &MaxPerUserWire) -> Option<UserLimit> {
    let Spanned { value, span } = wire.limit;
    let limit =
        u8::try_from(value).ok().and_then(NonZeroU8::new).filter(|limit| limit.get() <= MOST_SESSIONS);
    if limit.is_none() {
        cx.error(span, format!("a user cannot have at most {value} sessions"))
            .hint(format!("write 1 to {MOST_SESSIONS}"));
    }
    Some(UserLimit { limit: limit?, over: wire.over.as_ref().map_or(LimitAction::default(), |at| at.value) })
}

fn distinct(cx: &mut Context<'_>, bind: &[Spanned<Binding>]) -> Vec<Binding> {
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

/// Makes the ring: the keys of the folder, then those that are listed.
fn ring(cx: &mut Context<'_>, wire: &SessionsWire) -> (KeyRing, Option<KeyDir>) {
    let wires = wire.keys.as_ref().map_or(&[][..], |NonEmpty(keys)| keys);
    let mut ids: HashMap<u16, Span> = HashMap::new();
    let mut keys: Vec<MasterKey> = Vec::new();
    let dir = wire.key_dir.as_ref().and_then(|path| folder(cx, path, &mut keys));
    let listed_from = keys.len();
    for wire in wires {
        if let Some(first) = ids.insert(wire.id.value, wire.id.span) {
            cx.error(wire.id.span, format!("two session keys have the id {}", wire.id.value)).first(first);
        } else if keys.iter().take(listed_from).any(|key| key.id == wire.id.value) {
            cx.error(wire.id.span, format!("the folder `key_dir` holds a key {} too", wire.id.value))
                .hint("rename its file, or take this line out");
        }
        let Some(secret) = secret::session_key(cx, &wire.secret) else { continue };
        if let Some(other) = keys.iter().find(|other| other.secret == secret) {
            let message = format!("the session key {} has the same secret", other.id);
            cx.error(wire.secret.0.span, message).hint("a new key has a new secret");
        }
        keys.push(MasterKey { id: wire.id.value, secret, open_only: opens_only(wire) });
    }
    match (&wire.key_dir, wires.first()) {
        (None, _) if !cx.lacks(wire.span(), &["keys", "key_dir"]) => {}
        (None, None) => {
            let hint = "write `keys: [{id: 1, secret: \"${file:session-1.key}\"}]`, or `key_dir: keys` for a folder that `octroi keys` manages";
            cx.error(wire.span(), "neither `keys` nor `key_dir` is there, so there is no session key")
                .hint(hint);
        }
        (None, Some(first)) if wires.iter().all(opens_only) => {
            let message = "every session key is `open_only`, so none can mint";
            cx.error(first.span(), message).hint("the newest key stands first, without `open_only`");
        }
        (Some(path), _) if dir.is_some() && keys.iter().all(|key| key.open_only) => {
            let hint = cx.history.secret(
                "`octroi keys init` makes the first key; `octroi keys rotate` lets the newest one mint",
            );
            cx.error(path.span, "no key mints").hint(hint);
        }
        (None | Some(_), _) => {}
    }
    (KeyRing::new(keys), dir)
}

fn opens_only(wire: &KeyWire) -> bool {
    wire.open_only.as_ref().is_some_and(|at| at.value)
}

/// Adds the keys of a folder, the highest number first. Nothing comes back of one that cannot be used.
fn folder(cx: &mut Context<'_>, at: &Spanned<FilePath>, keys: &mut Vec<MasterKey>) -> Option<KeyDir> {
    let path = cx.resolve(at);
    let files = match key_folder::list(&path) {
        Ok(files) => files,
        Err(error) => {
            let hint = error.hint(cx.history);
            cx.error(at.span, error.to_string()).maybe_hint(hint);
            return None;
        }
    };
    let mut whole = true;
    for file in &files {
        // What a name says is as much a part of the revision as what a file holds.
        cx.inputs.add_to_revision(&format!("session key {file}"));
        let mints = match file.state {
            KeyState::Mint => true,
            KeyState::MintFrom(from) => cx.has_come(from),
            KeyState::Open => false,
        };
        let Some(secret) = secret::session_key_file(cx, at.span, &path.join(file.to_string())) else {
            whole = false;
            continue;
        };
        if let Some(other) = keys.iter().find(|other| other.secret == secret) {
            cx.error(
                at.span,
                format!("the keys {} and {} of the folder have the same secret", other.id, file.id),
            )
            .hint("a new key has a new secret");
        }
        keys.push(MasterKey { id: file.id, secret, open_only: !mints });
    }
    whole.then_some(KeyDir { path, files })
}

fn login_url(cx: &mut Context<'_>, url: &Spanned<String>) -> Option<Box<str>> {
    // Two slashes begin another host's URL, for browsers.
    let accepted = Path::parse_written(&url.value).and_then(|path| path.permit(PathRules::default()));
    match accepted {
        Ok(()) => Some(url.value.as_str().into()),
        Err(error) => {
            cx.error(url.span, format!("not a path of this site: `{}`", url.value))
                .hint(format!("{error}; write a path like `/login`"));
            None
        }
    }
}
