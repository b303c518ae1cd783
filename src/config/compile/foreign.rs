//! Sessions of apps that keep their own login: formats, keys, claims.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    Context,
    foreign_key::{self as key, JwtKey},
};
use crate::{
    config::{
        collection::NonEmpty,
        default,
        reader::{HasSpan, Spanned},
        source::Span,
        unit::Wait,
        wire::{
            AppCookie, AppKeyWire, ClaimWire, ClaimsWire, DjangoWire, ExpressWire, ItsdangerousWire,
            JwtKeyWire, JwtWire, SessionsWire, TokenFormat,
        },
    },
    model::TenantName,
    policy::{Foreign, ForeignSessions},
    session::foreign::{
        ClaimPath, Codec, Derivation, Digest, Django, Express, Format, Itsdangerous, Jwt, MacKey, Mapping,
        RemoteSet, SigningKey, Style,
    },
};

/// Most keys of one format: each may be tried for every token.
const MAX_KEYS: usize = 16;

/// Compiles every foreign format.
pub(super) fn all(cx: &mut Context<'_>, wire: &SessionsWire, own_cookie: &str) -> ForeignSessions {
    listed(cx, wire);
    let found = [
        wire.jwt.as_ref().and_then(|wire| jwt(cx, wire)),
        wire.express.as_ref().and_then(|wire| express(cx, wire)),
        wire.itsdangerous.as_ref().map(|wire| itsdangerous(cx, wire)),
        wire.django.as_ref().map(|wire| django(cx, wire)),
    ];
    let formats: Vec<Foreign> = found.into_iter().flatten().collect();
    let mut taken: HashSet<String> = HashSet::from([own_cookie.to_ascii_lowercase()]);
    for format in &formats {
        for name in [&format.cookie, &format.signature_cookie].into_iter().flatten() {
            if !taken.insert(name.to_ascii_lowercase()) {
                cx.error(
                    place(wire, format.codec.format()),
                    format!("two formats are read from the cookie `{name}`"),
                )
                .hint("each has a cookie of its own, whatever the case of its letters");
            }
        }
    }
    ForeignSessions::new(formats)
}

/// What is listed is written, and what is written is listed.
fn listed(cx: &mut Context<'_>, wire: &SessionsWire) {
    let list = wire.formats.as_ref().map_or(&[][..], |NonEmpty(list)| list);
    let mut seen: HashMap<TokenFormat, Span> = HashMap::new();
    for at in list {
        if let Some(first) = seen.insert(at.value, at.span) {
            cx.error(at.span, "this format is listed twice").first(first);
        }
    }
    // What one of them says may not be known.
    let is_whole = cx.lacks(wire.span(), &["formats"]);
    if let (Some(first), false, true) = (list.first(), seen.contains_key(&TokenFormat::Octroi), is_whole) {
        cx.error(first.span, "`octroi` is not among the formats")
            .hint("sessions of octroi are always read: write `octroi` first");
    }
    for format in [Format::Jwt, Format::Express, Format::Itsdangerous, Format::Django] {
        let (name, written) = (format.as_str(), is_written(wire, format));
        match (seen.get(&TokenFormat::Foreign(format)), written) {
            (Some(span), false) if cx.lacks(wire.span(), &[name]) => {
                cx.error(*span, format!("the format `{name}` has no keys"))
                    .hint(format!("write `{name}: {{keys: […]}}` beside `formats`"));
            }
            (None, true) if is_whole => {
                cx.error(place(wire, format), format!("`{name}` is not among the formats"))
                    .hint(format!("write `formats: [octroi, {name}]`"));
            }
            (Some(_) | None, _) => {}
        }
    }
}

fn is_written(wire: &SessionsWire, format: Format) -> bool {
    match format {
        Format::Jwt => wire.jwt.is_some(),
        Format::Express => wire.express.is_some(),
        Format::Itsdangerous => wire.itsdangerous.is_some(),
        Format::Django => wire.django.is_some(),
    }
}

/// Returns where a format is written.
pub(super) fn place(wire: &SessionsWire, format: Format) -> Span {
    let written = match format {
        Format::Jwt => wire.jwt.as_ref().map(HasSpan::span),
        Format::Express => wire.express.as_ref().map(HasSpan::span),
        Format::Itsdangerous => wire.itsdangerous.as_ref().map(HasSpan::span),
        Format::Django => wire.django.as_ref().map(HasSpan::span),
    };
    written.unwrap_or_else(|| wire.span())
}

fn jwt(cx: &mut Context<'_>, wire: &JwtWire) -> Option<Foreign> {
    let bearer = wire.bearer.as_ref().map_or(wire.cookie.is_none(), |at| at.value);
    if wire.cookie.is_none() && !bearer && cx.lacks(wire.span(), &["cookie"]) {
        cx.error(wire.span(), "no token is read from anywhere")
            .hint("name a `cookie`, or take `bearer: false` out");
    }
    let knows_tenant = may_know_tenant(cx, wire.span(), wire.claims.as_ref());
    let claims = mapping(wire.claims.as_ref(), Some("sub"), wire.max_age.as_ref(), None)?;
    let (mut own, mut sets, mut key_sources) = (Vec::new(), Vec::new(), Vec::new());
    for SigningKey { id, tenants, key } in
        keys(cx, wire.keys.0.as_ref(), &claims, knows_tenant, |cx, wire: &JwtKeyWire| key::jwt(cx, wire))
    {
        match key {
            JwtKey::One(key) => own.push(SigningKey { id, tenants, key }),
            JwtKey::Source(source) => {
                sets.push(RemoteSet { id, tenants, source: source.id.clone() });
                key_sources.push(source);
            }
        }
    }
    if let (None, Some(source)) =
        (&wire.issuer, wire.keys.0.iter().flat_map(|list| &list.0).find(|key| key.jwks.is_some()))
        && cx.lacks(wire.span(), &["issuer"])
    {
        cx.warn(source.span(), "whomever these keys sign for is let in: no `issuer` is asked for")
            .hint("a published key may sign for other issuers too; write what `iss` must say (RFC 8725, section 3.8)");
    }
    let texts = |list: &Option<NonEmpty<Spanned<String>>>| {
        list.iter().flat_map(|list| &list.0).map(|at| at.value.as_str().into()).collect()
    };
    let codec = Jwt {
        keys: own,
        sets,
        issuer: wire.issuer.as_ref().map(|at| at.value.as_str().into()),
        audience: texts(&wire.audience),
        without_exp: claims.max_age.is_some(),
    };
    Some(Foreign {
        codec: Codec::Jwt(codec),
        cookie: name(wire.cookie.as_ref()),
        signature_cookie: None,
        bearer,
        claims,
        key_sources: key_sources.into(),
    })
}

fn express(cx: &mut Context<'_>, wire: &ExpressWire) -> Option<Foreign> {
    let claims = wire.claims.0.as_ref()?;
    for (missing, what) in [(claims.user.is_none(), "user"), (claims.auth_time.is_none(), "auth_time")] {
        if missing && cx.lacks(claims.span(), &[what]) {
            cx.error(claims.span(), format!("`claims.{what}` must be named")).hint(
                "a cookie of Express has no time of its own, and no name for the user that all apps share",
            );
        }
    }
    let style = wire.style.as_ref().map_or(Style::CookieSession, |at| at.value);
    let digest = match (style, &wire.digest) {
        (Style::SignedJson, Some(at)) => {
            cx.error(at.span, "signed JSON cookies have no choice of `digest`")
                .hint("cookie-parser signs with SHA-256; take it out");
            Digest::Sha256
        }
        (Style::SignedJson, None) => Digest::Sha256,
        (Style::CookieSession, at) => at.as_ref().map_or(Digest::Sha1, |at| at.value),
    };
    let knows_tenant = may_know_tenant(cx, wire.span(), Some(claims));
    let claims = mapping(Some(claims), None, wire.max_age.as_ref(), Some(default::EXPRESS_MAX_AGE))?;
    let keys = keys(cx, wire.keys.0.as_ref(), &claims, knows_tenant, |cx, wire: &AppKeyWire| {
        Some(MacKey::new(digest, key::secret(cx, &wire.secret)?))
    });
    let members = wire.require.0.iter().filter_map(|entry| {
        Some((entry.name.value.0.as_str().into(), entry.value.as_ref()?.value.as_str().into()))
    });
    let required: Box<[(Box<str>, Box<str>)]> = members.collect();
    if let (Style::SignedJson, true, Some(at)) = (style, required.is_empty(), &wire.style) {
        cx.warn(at.span, "the signature of a signed JSON cookie does not cover its name")
            .hint("whatever else the app signs so, a client may send as its session: put a member into it that only sessions have, and write `require: {kind: session}`");
    }
    let codec = Express { cookie: wire.cookie.value.0.clone(), style, keys, required };
    let (cookie, signature_cookie) = (name(Some(&wire.cookie)), codec.signature_cookie().map(Into::into));
    Some(Foreign {
        codec: Codec::Express(codec),
        cookie,
        signature_cookie,
        bearer: false,
        claims,
        key_sources: Box::default(),
    })
}

fn itsdangerous(cx: &mut Context<'_>, wire: &ItsdangerousWire) -> Foreign {
    let salt = wire.salt.as_ref().map_or(default::FLASK_SALT, |at| &at.value);
    let digest = wire.digest.as_ref().map_or(Digest::Sha1, |at| at.value);
    let derivation = wire.key_derivation.as_ref().map_or(Derivation::Hmac, |at| at.value);
    let knows_tenant = may_know_tenant(cx, wire.span(), wire.claims.as_ref());
    let claims = with_user(wire.claims.as_ref(), "_user_id", wire.max_age.as_ref(), default::FLASK_MAX_AGE);
    let keys = keys(cx, wire.keys.0.as_ref(), &claims, knows_tenant, |cx, wire: &AppKeyWire| {
        Some(Itsdangerous::key(key::secret(cx, &wire.secret)?.expose(), salt.as_bytes(), digest, derivation))
    });
    let cookie = name(wire.cookie.as_ref()).or(Some(default::FLASK_COOKIE.into()));
    Foreign {
        codec: Codec::Itsdangerous(Itsdangerous { keys }),
        cookie,
        signature_cookie: None,
        bearer: false,
        claims,
        key_sources: Box::default(),
    }
}

fn django(cx: &mut Context<'_>, wire: &DjangoWire) -> Foreign {
    let salt = wire.salt.as_ref().map_or(default::DJANGO_SALT, |at| &at.value);
    let digest = wire.digest.as_ref().map_or(Digest::Sha256, |at| at.value);
    let knows_tenant = may_know_tenant(cx, wire.span(), wire.claims.as_ref());
    let claims =
        with_user(wire.claims.as_ref(), "_auth_user_id", wire.max_age.as_ref(), default::DJANGO_MAX_AGE);
    let keys = keys(cx, wire.keys.0.as_ref(), &claims, knows_tenant, |cx, wire: &AppKeyWire| {
        Some(Django::key(key::secret(cx, &wire.secret)?.expose(), salt.as_bytes(), digest))
    });
    let cookie = name(wire.cookie.as_ref()).or(Some(default::DJANGO_COOKIE.into()));
    Foreign {
        codec: Codec::Django(Django { keys }),
        cookie,
        signature_cookie: None,
        bearer: false,
        claims,
        key_sources: Box::default(),
    }
}

/// Says whether the claim with the tenant may be written, in words that were refused.
fn may_know_tenant(cx: &Context<'_>, format: Span, claims: Option<&ClaimsWire>) -> bool {
    claims.map_or_else(|| !cx.lacks(format, &["claims"]), |claims| !cx.lacks(claims.span(), &["tenant"]))
}

fn name(cookie: Option<&Spanned<AppCookie>>) -> Option<Box<str>> {
    cookie.map(|at| at.value.0.clone())
}

fn with_user(
    wire: Option<&ClaimsWire>,
    user: &str,
    max_age: Option<&Spanned<Wait>>,
    default: Duration,
) -> Mapping {
    let path =
        |claim: fn(&ClaimsWire) -> &Option<ClaimWire>| wire.and_then(|wire| claim(wire).as_ref()).map(path);
    Mapping {
        user: path(|wire| &wire.user).unwrap_or_else(|| ClaimPath::named(user)),
        roles: path(|wire| &wire.roles),
        tenant: path(|wire| &wire.tenant),
        auth_time: path(|wire| &wire.auth_time),
        session: path(|wire| &wire.session),
        max_age: Some(max_age.map_or(default, |at| at.value.0)),
    }
}

/// The same where there need be neither a name for the user nor an age.
fn mapping(
    wire: Option<&ClaimsWire>,
    user: Option<&str>,
    max_age: Option<&Spanned<Wait>>,
    default: Option<Duration>,
) -> Option<Mapping> {
    let named = wire.is_some_and(|wire| wire.user.is_some());
    let user = if named { "" } else { user? };
    let mapping = with_user(wire, user, max_age, Duration::ZERO);
    Some(Mapping { max_age: max_age.map(|at| at.value.0).or(default), ..mapping })
}

fn path(wire: &ClaimWire) -> ClaimPath {
    ClaimPath(wire.0.iter().map(|name| name.value.as_str().into()).collect())
}

/// What both kinds of keys have.
pub(super) trait Named: HasSpan {
    fn id(&self) -> &Spanned<crate::config::parse::Label>;
    fn tenants(&self) -> Option<&NonEmpty<Spanned<TenantName>>>;
}

impl Named for JwtKeyWire {
    fn id(&self) -> &Spanned<crate::config::parse::Label> {
        &self.id
    }

    fn tenants(&self) -> Option<&NonEmpty<Spanned<TenantName>>> {
        self.tenants.as_ref()
    }
}

impl Named for AppKeyWire {
    fn id(&self) -> &Spanned<crate::config::parse::Label> {
        &self.id
    }

    fn tenants(&self) -> Option<&NonEmpty<Spanned<TenantName>>> {
        self.tenants.as_ref()
    }
}

fn keys<W: Named, K: PartialEq>(
    cx: &mut Context<'_>,
    wires: Option<&NonEmpty<W>>,
    claims: &Mapping,
    knows_tenant: bool,
    mut read: impl FnMut(&mut Context<'_>, &W) -> Option<K>,
) -> Vec<SigningKey<K>> {
    let wires = wires.map_or(&[][..], |NonEmpty(wires)| wires);
    if let Some(extra) = wires.get(MAX_KEYS) {
        cx.error(extra.span(), format!("a format has at most {MAX_KEYS} keys"))
            .hint("each may be tried for every token; take old ones out");
    }
    let mut ids: HashMap<&str, Span> = HashMap::new();
    let mut keys: Vec<SigningKey<K>> = Vec::new();
    for wire in wires {
        let id = wire.id();
        if let Some(first) = ids.insert(&id.value.0, id.span) {
            cx.error(id.span, format!("two keys have the id `{}`", id.value.0)).first(first);
        }
        let tenants =
            wire.tenants().map(|list| list.0.iter().map(|at| at.value.clone()).collect::<Box<[_]>>());
        // Without a claim, a session is of whichever tenant's host it is shown to: one key for two of them
        // would let a user of one in at the other.
        if claims.tenant.is_none()
            && !knows_tenant
            && tenants.as_ref().is_none_or(|tenants| tenants.len() != 1)
            && cx.lacks(wire.span(), &["tenants"])
        {
            cx.error(id.span, format!("the key `{}` would speak for the users of every tenant", id.value.0))
                .hint("name the claim that says whose user it is, `claims: {tenant: …}`, or the one tenant of this key, `tenants: [NAME]`");
        }
        let Some(key) = read(cx, wire) else { continue };
        if let Some(other) = keys.iter().find(|other| other.key == key) {
            cx.error(id.span, format!("the key `{}` is the same", other.id))
                .hint("each key stands once, with every tenant it speaks for");
        }
        keys.push(SigningKey { id: id.value.0.as_str().into(), tenants, key });
    }
    keys
}
