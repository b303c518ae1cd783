//! The store that nodes share: where it is, who we are there, and whether that may be in clear text.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;

use super::{Context, certificate, secret};
use crate::{
    config::{
        default,
        parse::ScalarError,
        reader::{HasSpan, Spanned},
        substitute::{self, Piece},
        wire::{RedisUrl, RedisWire},
    },
    model::{Host, Secret},
    policy::{Redis, RedisGuard, RedisPlace},
};

const FORM: &str = "write `rediss://HOST:PORT`, `redis://127.0.0.1:6379` or `unix:///PATH`, with a user, `/DATABASE` as needed";
const NAMED: &str = "name it: `redis://USER:${file:redis.password}@HOST`, or `${REDIS_URL}` for all of it";

/// The first of the characters that stand for references while a URL is taken apart; Unicode gives them no
/// meaning.
const FIRST_MARK: u32 = 0xE000;
const MARKS: std::ops::RangeInclusive<char> = '\u{E000}'..='\u{F8FF}';

/// Compiles where Redis is. Nothing comes back where that was not said.
pub(super) fn redis(cx: &mut Context<'_>, wire: &RedisWire) -> Option<Redis> {
    let span = wire.url.0.span;
    let ca = wire.ca.as_ref().and_then(|ca| certificate::authorities(cx, ca));
    let ca = ca.map(|chain| chain.iter().map(|der| der.to_vec()).collect());
    let timeout = timeout(cx, wire);
    let url = match Url::read(cx, &wire.url) {
        Ok(url) => url,
        Err(wrong) => {
            cx.error(span, wrong.message).maybe_hint(wrong.hint);
            return None;
        }
    };
    let plaintext = wire.plaintext.as_ref().filter(|at| at.value);
    let place = match url.place {
        Place::Unix(path) => RedisPlace::Unix(path),
        Place::Tcp { host, port, tls: true } => {
            if let Some(at) = plaintext {
                cx.error(at.span, "`rediss` is TLS, and `plaintext: true` says that there is none")
                    .hint("take one of them out");
            }
            RedisPlace::Tcp { host, port, guard: RedisGuard::Tls { ca } }
        }
        Place::Tcp { host, port, tls: false } => {
            let guard = if is_loopback(&host) { RedisGuard::Loopback } else { RedisGuard::Plaintext };
            if guard == RedisGuard::Plaintext && plaintext.is_none() && cx.lacks(wire.span(), &["plaintext"])
            {
                // What a reference stands for is not shown.
                let shown = if wire.url.0.value.contains(&*host) { &*host } else { "another one" };
                cx.error(span, format!("revocations would leave this machine in clear text, to {shown}"))
                    .hint("write `rediss://`, or, if clear text is meant, add `plaintext: true`");
            }
            RedisPlace::Tcp { host, port, guard }
        }
    };
    if let (
        Some(at),
        RedisPlace::Unix(_) | RedisPlace::Tcp { guard: RedisGuard::Loopback | RedisGuard::Plaintext, .. },
    ) = (&wire.ca, &place)
    {
        cx.error(at.span, "`ca` is for `rediss://`, and this URL is without TLS");
    }
    let replicas = wire.replicas.as_ref().map(|at| at.value);
    Some(Redis { place, user: url.user, password: url.password, database: url.database, timeout, replicas })
}

fn timeout(cx: &mut Context<'_>, wire: &RedisWire) -> Duration {
    let Some(at) = &wire.timeout else { return default::REDIS_TIMEOUT };
    if !default::REDIS_TIMEOUTS.contains(&at.value.0) {
        cx.error(at.span, "a command of Redis may take 5ms to 5s")
            .hint("somebody waits for it with a request in hand");
    }
    at.value.0
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// A URL, taken apart.
struct Url {
    place: Place,
    user: Option<Box<str>>,
    password: Option<Secret<String>>,
    database: u16,
}

enum Place {
    Tcp { host: Box<str>, port: u16, tls: bool },
    Unix(PathBuf),
}

/// What references stand for, by the characters that were put in their place.
struct Values(Vec<Value>);

enum Value {
    /// Of a variable that has a default: it may be a host, and no password.
    Public(String),
    Secret(Secret<String>),
}

impl Url {
    fn read(cx: &Context<'_>, url: &RedisUrl) -> Result<Self, ScalarError> {
        let RedisUrl(at) = url;
        let pieces = substitute::pieces(&at.value)?;
        if let [Piece::Variable { default: None, .. } | Piece::File(_)] = pieces.as_slice() {
            let whole = pieces.iter().map(|piece| secret::resolve(cx, at.span, piece)).next().transpose()?;
            return Self::parse(whole.as_ref().map_or("", |whole| whole.expose()), &Values(Vec::new()), true);
        }
        let (text, values) = marked(cx, at, &pieces)?;
        Self::parse(&text, &values, false)
    }

    /// Takes the text apart, in which references still have their marks. `is_secret`: all of it came from a
    /// file or a variable.
    fn parse(text: &str, values: &Values, is_secret: bool) -> Result<Self, ScalarError> {
        let form = || ScalarError::new("not the URL of a Redis").hint(FORM);
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let (scheme, is_unix) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "unix" => (false, true),
            _ => return Err(unknown_scheme(scheme)),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (userinfo, place) =
            authority.rsplit_once('@').map_or((None, authority), |(userinfo, place)| (Some(userinfo), place));
        let (user, password) =
            match userinfo.map(|userinfo| userinfo.split_once(':').unwrap_or((userinfo, ""))) {
                None => (None, None),
                Some((user, password)) => {
                    (values.userinfo(user)?, values.userinfo(password)?.map(|text| (text, password)))
                }
            };
        if password.as_ref().is_some_and(|(_, written)| !is_secret && !values.is_named(written)) {
            return Err(ScalarError::new("a password is written inline").hint(NAMED));
        }
        if user.is_some() && password.is_none() {
            return Err(ScalarError::new("a user without a password").hint(NAMED));
        }
        let (place, database) = if is_unix {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            if !place.is_empty() || path.len() < 2 {
                return Err(ScalarError::new("a Unix socket has an absolute path")
                    .hint("write `unix:///run/redis/redis.sock`"));
            }
            let database = if query.is_empty() { Some("0") } else { query.strip_prefix("db=") };
            (Place::Unix(PathBuf::from(values.plain(path))), database.ok_or_else(form)?.to_owned())
        } else {
            let (host, port) = host_and_port(&values.plain(place)).ok_or_else(form)?;
            let database = path.trim_start_matches('/');
            let database = if database.is_empty() { "0" } else { database };
            (Place::Tcp { host, port, tls: scheme }, database.to_owned())
        };
        let database = values
            .plain(&database)
            .parse()
            .map_err(|_| ScalarError::new("not the number of a database").hint(FORM))?;
        let password = password.map(|(text, _)| Secret::new(text));
        Ok(Self { place, user: user.map(String::into_boxed_str), password, database })
    }
}

fn unknown_scheme(scheme: &str) -> ScalarError {
    let later = ["sentinel", "cluster"].into_iter().find(|word| scheme.contains(word));
    match later {
        Some(word) => ScalarError::new(format!("`{word}` is not enforced by this version yet"))
            .hint("this version speaks with one Redis"),
        None => ScalarError::new("not the URL of a Redis").hint(FORM),
    }
}

/// Puts a mark in the place of each reference, so that what it stands for cannot change how the URL is read.
fn marked(
    cx: &Context<'_>,
    at: &Spanned<Box<str>>,
    pieces: &[Piece<'_>],
) -> Result<(String, Values), ScalarError> {
    let (mut text, mut values) = (String::new(), Vec::new());
    let form = || ScalarError::new("not the URL of a Redis").hint(FORM);
    for piece in pieces {
        let value = match piece {
            Piece::Text(plain) if plain.contains(|c| MARKS.contains(&c)) => return Err(form()),
            Piece::Text(plain) => {
                text.push_str(plain);
                continue;
            }
            Piece::Variable { name, default: Some(default) } => {
                Value::Public(substitute::value(name, Some(default), |name| cx.inputs.variable(name))?)
            }
            Piece::Variable { default: None, .. } | Piece::File(_) => {
                Value::Secret(secret::resolve(cx, at.span, piece)?)
            }
        };
        let mark =
            u32::try_from(values.len()).ok().and_then(|index| char::from_u32(FIRST_MARK.checked_add(index)?));
        text.push(mark.filter(|mark| MARKS.contains(mark)).ok_or_else(form)?);
        values.push(value);
    }
    Ok((text, Values(values)))
}

impl Values {
    fn value(&self, mark: char) -> Option<&Value> {
        let index = u32::from(mark).checked_sub(FIRST_MARK)?;
        self.0.get(usize::try_from(index).ok()?)
    }

    fn of(&self, mark: char) -> Option<&str> {
        self.value(mark).map(|value| match value {
            Value::Public(text) => text.as_str(),
            Value::Secret(text) => text.expose().as_str(),
        })
    }

    /// Says whether a part of the URL consists of secrets alone.
    fn is_named(&self, written: &str) -> bool {
        written.chars().all(|mark| matches!(self.value(mark), Some(Value::Secret(_))))
    }

    /// Puts the values in.
    fn plain(&self, text: &str) -> String {
        text.chars().fold(String::new(), |mut plain, c| {
            match self.of(c) {
                Some(value) => plain.push_str(value),
                None => plain.push(c),
            }
            plain
        })
    }

    /// Puts the values in; what is written out may have escapes (RFC 3986, section 3.2.1), what a reference
    /// stands for has none.
    fn userinfo(&self, text: &str) -> Result<Option<String>, ScalarError> {
        let (mut whole, mut written) = (String::new(), String::new());
        let decode = |written: &mut String, whole: &mut String| {
            let decoded = percent_decode_str(written)
                .decode_utf8()
                .map_err(|_| ScalarError::new("not UTF-8 after unescaping").hint(FORM))?;
            whole.push_str(&decoded);
            written.clear();
            Ok::<(), ScalarError>(())
        };
        for c in text.chars() {
            match self.of(c) {
                Some(value) => {
                    decode(&mut written, &mut whole)?;
                    whole.push_str(value);
                }
                None => written.push(c),
            }
        }
        decode(&mut written, &mut whole)?;
        Ok(Some(whole).filter(|whole| !whole.is_empty()))
    }
}

/// Reads a host and its port; 6379, where none is written.
fn host_and_port(text: &str) -> Option<(Box<str>, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (
            address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            port.strip_prefix(':').or((port.is_empty()).then_some(""))?,
        ),
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
            (if is_address { host.to_owned() } else { host.parse::<Host>().ok()?.as_str().to_owned() }, port)
        }
    };
    let port =
        if port.is_empty() { Some(default::REDIS_PORT) } else { port.parse().ok().filter(|port| *port > 0) };
    Some((host.into_boxed_str(), port?))
}
