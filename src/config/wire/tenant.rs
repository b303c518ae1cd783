//! Customer accounts, and the quotas they share.

use std::num::NonZeroU32;

use serde_json::{Map, Value as Json, json};

use super::{MaxPerUserWire, RequestLimitsWire, TenantRoutes};
use crate::{
    config::{
        collection::{Named, NonEmpty, PartialList, Required},
        parse::{FilePath, Label, Scalar, ScalarError},
        reader::{Reader, Spanned, Wire},
        shape::{wire, words},
        tree::{Node, Value},
        unit::{LastDay, Rate, Wait},
    },
    model::{DistinguishedName, HostPattern, Mode, QuotaName, Range, TenantName, UpstreamName, WebOrigin},
    policy::{Binding, CertificateMode, Charge, NamePattern, QuotaBy},
};

/// Where a quota is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum QuotaStoreWord {
    /// In this process.
    Memory,
}

words! {
    QuotaBy, "subject of a quota" {
        "client" => QuotaBy::Client, "route" => QuotaBy::Route, "tenant" => QuotaBy::Tenant, "user" => QuotaBy::User, "session" => QuotaBy::Session,
    }
    Charge, "charge" { "requests" => Charge::Requests, "failures" => Charge::Failures, }
    QuotaStoreWord, "quota store" { "memory" => QuotaStoreWord::Memory, }
    CertificateMode, "rule for client certificates" { "required" => CertificateMode::Required, "optional" => CertificateMode::Optional, }
    Mode, "mode" { "enforce" => Mode::Enforce, "observe" => Mode::Observe, }
}

wire! {
    /// A quota. Each tenant has its own count.
    QuotaWire "quota" {
        /// What it counts by: `client`, `route`, `tenant`, `user` or `session`.
        by: Spanned<QuotaBy>,
        /// The rate: `50/s`, `10/m`, `100/h`, `1000/d`.
        rate: Spanned<Rate>,
        /// How many may come at once after a pause. Default: the number of the rate.
        burst: Option<Spanned<NonZeroU32>>,
        /// What is counted: `requests` (default), or `failures`: the charge is given back on success.
        count: Option<Spanned<Charge>>,
        /// `enforce` (default), or `observe`, which records and does not refuse.
        mode: Option<Spanned<Mode>>,
        /// Where it is counted: `memory`.
        store: Option<Spanned<QuotaStoreWord>>,
    }

    /// A customer account.
    TenantWire "tenant" {
        /// The hosts it owns, exact or with one wildcard label in front. A member may have none.
        hosts: PartialList<Spanned<HostPattern>>,
        /// Where its requests go.
        upstream: Required<Spanned<UpstreamName>>,
        /// Its rules: the name of a set, or `{use: …, rules: […]}`. Default: every path needs a session.
        routes: Option<TenantRoutes>,
        /// Its quotas.
        quotas: Vec<Spanned<QuotaName>>,
        /// Who may reach it. Default: every address.
        ip_access: Option<IpAccessWire>,
        /// Whose client certificates are accepted, and whether one is needed. Default: none is asked for.
        client_certificate: Option<ClientCertificateWire>,
        /// Whether a TLS client without SNI is accepted. Default: false.
        allow_no_sni: Option<Spanned<bool>>,
        /// The lifetimes of its sessions.
        sessions: Option<TenantSessions>,
        /// Bounds of a request.
        request_limits: Option<RequestLimitsWire>,
        /// Fields of its responses that it adds or replaces, and of its requests that it drops or keeps.
        headers: Option<HeadersWire>,
        /// What its app may do with cookies.
        cookies: Option<CookiesWire>,
        /// Origins that `origin_check` accepts, besides its own hosts: `https://app.example.com`, exact, with
        /// the port unless it is the default of the scheme.
        origins: Vec<Spanned<WebOrigin>>,
        /// Tenants whose users sign in at this one's host.
        members: Vec<Spanned<TenantName>>,
        /// `enforce` (default), or `observe`, which records and does not refuse.
        mode: Option<Spanned<Mode>>,
        /// Whether every request is refused. Default: false.
        suspended: Option<Spanned<bool>>,
    }

    /// Who may reach a tenant. Deny wins.
    IpAccessWire "ip_access" {
        /// The ranges that are allowed. Default: every address that is not denied.
        allow: Option<NonEmpty<RangeWire>>,
        /// The ranges that are denied.
        deny: Vec<RangeWire>,
    }

    /// Client certificates of a tenant.
    ClientCertificateWire "client_certificate" {
        /// The CAs, PEM: roots, and the CAs below them. A lobby that needs none of its own leaves it out:
        /// those of its members are asked for.
        ca: Option<Spanned<FilePath>>,
        /// `required` (default): every request needs one. `optional`: one is requested, and a client without
        /// one is accepted.
        mode: Option<Spanned<CertificateMode>>,
        /// Revocation lists, PEM, one of each CA that may have made a certificate. Default: nothing is
        /// revoked.
        crl: Option<Spanned<FilePath>>,
        /// The subjects that are accepted, by the attributes that are written: `CN=robot-1,O=Acme`. Default:
        /// every one.
        subjects: Option<Vec<Spanned<Subject>>>,
        /// The alternative names that are accepted: a host, one with a wildcard in front, a URI, an e-mail
        /// address, an IP address. Default: every one.
        sans: Option<Vec<Spanned<San>>>,
    }

    /// A range with a note.
    RangeMap "range" {
        /// The range.
        range: Spanned<Range>,
        /// What it is for.
        note: Option<Spanned<String>>,
        /// The last day (UTC) on which it applies.
        expires: Option<Spanned<LastDay>>,
    }

    /// A tenant's sessions, where they differ from `sessions` at the top.
    TenantSessions "tenant_sessions" {
        /// How long a session may be idle.
        idle: Option<Spanned<Wait>>,
        /// How long a session may live.
        absolute: Option<Spanned<Wait>>,
        /// What else must stay the same.
        bind: Option<Vec<Spanned<Binding>>>,
        /// How many sessions a user may have at once.
        max_per_user: Option<MaxPerUserWire>,
    }

    /// Fields of a tenant's requests and responses.
    HeadersWire "headers" {
        /// Fields of the response, by name. An empty value removes a default field.
        response: Named<FieldName, Spanned<String>>,
        /// Fields of the request that do or do not reach its app.
        request: Option<RequestFieldsWire>,
    }

    /// Fields of the request, beside the families that are taken off by themselves because they claim what
    /// only a gateway may say.
    RequestFieldsWire "request_fields" {
        /// Further fields to remove: names, or prefixes that end in `*`.
        drop: Vec<Spanned<FieldPattern>>,
        /// Fields of such families that reach it all the same, by name: what the app means by them is its
        /// own, and octroi does not state it.
        keep: Vec<Spanned<FieldName>>,
    }

    /// What a tenant's app may do with cookies.
    CookiesWire "cookies" {
        /// The cookies that the app may set. Default: all.
        allow: Option<Vec<Spanned<Label>>>,
        /// Cookies that scripts may read. All others become `HttpOnly`.
        script: Vec<Spanned<Label>>,
        /// Cookies that may have `SameSite=None`, so that browsers send them with requests from other sites.
        /// All others are `Lax` or `Strict`.
        cross_site: Vec<Spanned<Label>>,
    }
}

/// One entry of an `allow` or `deny` list, in the short form (a range) or the long one.
#[derive(Clone, Debug)]
pub(in crate::config) struct RangeWire {
    /// The range.
    pub(in crate::config) range: Spanned<Range>,
    /// What only the long form has. There may be a million entries, few of which need it.
    detail: Option<Box<RangeDetail>>,
}

/// What only the long form of a range has.
#[derive(Clone, Debug)]
struct RangeDetail {
    note: Option<Spanned<String>>,
    expires: Option<Spanned<LastDay>>,
}

impl RangeWire {
    /// Says what it is for.
    pub(in crate::config) fn note(&self) -> Option<&Spanned<String>> {
        self.detail.as_ref()?.note.as_ref()
    }

    /// Says when it stops counting.
    pub(in crate::config) fn expires(&self) -> Option<&Spanned<LastDay>> {
        self.detail.as_ref()?.expires.as_ref()
    }
}

impl Wire for RangeWire {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => {
                let RangeMap { range, note, expires, .. } = RangeMap::read(node, reader)?;
                Some(Self { range, detail: Some(Box::new(RangeDetail { note, expires })) })
            }
            Value::Scalar { .. } | Value::List(_) => {
                Some(Self { range: Spanned::read(node, reader)?, detail: None })
            }
        }
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        json!({"anyOf": [Spanned::<Range>::schema(definitions), RangeMap::schema(definitions)]})
    }
}

/// The name of a response field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct FieldName(pub(in crate::config) http::HeaderName);

impl Scalar for FieldName {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let name = http::HeaderName::from_bytes(text.as_bytes());
        name.map(Self).map_err(|_| ScalarError::new(format!("not the name of a field: `{text}`")))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"})
    }
}

/// The name of a field, or with `*` at the end what several begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct FieldPattern(pub(in crate::config) Box<str>);

impl Scalar for FieldPattern {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let wrong = || {
            ScalarError::new(format!("not the name of a field: `{text}`"))
                .hint("write `x-tenant-id`, or `x-tenant-*` for all that begin so")
        };
        if stem.contains('*') {
            return Err(wrong());
        }
        let name = http::HeaderName::from_bytes(stem.as_bytes()).map_err(|_| wrong())?;
        let star = if stem.len() < text.len() { "*" } else { "" };
        Ok(Self(format!("{name}{star}").into()))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"})
    }
}

/// A subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Subject(pub(in crate::config) DistinguishedName);

impl Scalar for Subject {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let read = text.parse().map(Self);
        read.map_err(|error| {
            ScalarError::new(format!("not a subject of a certificate: `{text}`"))
                .hint(format!("{error}; write `CN=robot-1,O=Acme`"))
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^ *[A-Za-z0-9.]+ *=."})
    }
}

/// An alternative name of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct San(pub(in crate::config) NamePattern);

impl Scalar for San {
    /// What it is can be seen: only a URI has `://`, only a mailbox `@`.
    fn parse(text: &str) -> Result<Self, ScalarError> {
        const HINT: &str = "write a host (`robot.acme.test`, `*.acme.test`), a URI (`spiffe://acme/robot`), an e-mail address or an IP address";
        let wrong = || ScalarError::new(format!("not an alternative name of a certificate: `{text}`"));
        if text.is_empty()
            || text.chars().any(|character| character.is_whitespace() || character.is_control())
        {
            return Err(wrong().hint(HINT));
        }
        if text.contains("://") {
            return Ok(Self(NamePattern::Uri(text.into())));
        }
        if let Some((name, host)) = text.split_once('@') {
            return if name.is_empty() || host.is_empty() {
                Err(wrong().hint(HINT))
            } else {
                Ok(Self(NamePattern::Email(text.into())))
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self(NamePattern::Address(address)));
        }
        text.parse()
            .map(|host| Self(NamePattern::Dns(host)))
            .map_err(|error| wrong().hint(format!("{error}; {HINT}")))
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}
