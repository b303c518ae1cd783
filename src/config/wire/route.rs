//! Rules by path.

use serde_json::{Map, Value as Json, json};

use super::RequestLimitsWire;
use crate::{
    config::{
        collection::NonEmpty,
        parse::{Label, RoleName, Scalar, ScalarError},
        reader::{Reader, Spanned, Wire},
        shape::{wire, words},
        source::Span,
        tree::{Node, Value},
        unit::Wait,
    },
    model::{QuotaName, WebOrigin},
    policy::{Granting, Unmatched},
};

/// Who may pass, beside those with a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum AccessWord {
    /// Everybody.
    Public,
    /// Every valid session.
    Session,
}

words! {
    AccessWord, "access" { "public" => AccessWord::Public, "session" => AccessWord::Session, }
    Unmatched, "rule for unmatched paths" { "session" => Unmatched::Session, "public" => Unmatched::Public, "deny" => Unmatched::Deny, }
}

/// What a sign-in does at a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum SignInWord {
    /// It begins.
    Begin,
}

words! {
    SignInWord, "step of a sign-in" { "begin" => SignInWord::Begin, }
}

impl Scalar for Granting {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        match text {
            "true" => Ok(Self::Directly),
            "false" => Ok(Self::Never),
            "callback" => Ok(Self::Callback),
            _ => Err(ScalarError::new(format!("not a rule for grants: `{text}`"))
                .hint("write `true`, `false` or `callback`")),
        }
    }

    fn schema() -> Json {
        json!({"enum": [true, false, "callback"]})
    }
}

impl Scalar for WebOrigin {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        let read = text.parse();
        read.map_err(|error| {
            ScalarError::new(format!("not an origin: `{text}`"))
                .hint(format!("{error}; write `https://app.example.com`"))
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*://[^/?#@*]+$"})
    }
}

/// A request method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Method(pub(in crate::config) Box<str>);

impl Scalar for Method {
    fn parse(text: &str) -> Result<Self, ScalarError> {
        if text == "CONNECT" || text == "TRACE" {
            return Err(
                ScalarError::new(format!("the method `{text}` is never let through")).hint("take it out")
            );
        }
        if (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
        {
            return Ok(Self(text.into()));
        }
        let wrong = ScalarError::new(format!("not a method: `{text}`"));
        Err(if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            wrong.hint(format!("methods are written `{}`", text.to_ascii_uppercase()))
        } else {
            wrong
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[A-Z_-]{1,32}$"})
    }
}

wire! {
    /// A set of rules. The most specific one wins, whatever the order.
    RouteSet "route_set" {
        /// What happens where no rule matches: `session` (default), `public`, or `deny` (404).
        unmatched: Option<Spanned<Unmatched>>,
        /// Whether the app distinguishes paths that differ only in case. Default: false, so `/ADMIN` is
        /// judged as `/admin` too.
        case_sensitive: Option<Spanned<bool>>,
        /// The rules.
        rules: Vec<Rule>,
    }

    /// A rule. A path that ends in `/` covers everything below it, any other only itself; either covers its
    /// path with and without the slash at its end, unless another rule has just that path or the rule that
    /// would match otherwise asks for more.
    Rule "rule" {
        /// The path: `/login`, or `/public/` and everything below it.
        path: Spanned<String>,
        /// The methods that may be used. Default: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
        methods: Option<NonEmpty<Spanned<Method>>>,
        /// Who may pass: `public`, or `session` (default).
        access: Option<Spanned<AccessWord>>,
        /// The roles of which a session needs one.
        roles: Option<NonEmpty<Spanned<RoleName>>>,
        /// Whether the upstream may grant a session here: `true`, or `callback`, where a sign-in that began
        /// here (`login_url`, `sign_in: begin`) comes back from an identity provider of another site.
        /// Default: false.
        grant: Option<Spanned<Granting>>,
        /// `begin`: a sign-in begins here that comes back at a rule with `grant: callback`. Default: at
        /// `login_url` alone.
        sign_in: Option<Spanned<SignInWord>>,
        /// Whether the upstream may end sessions here. Default: false.
        revoke: Option<Spanned<bool>>,
        /// The highest age of the sign-in. Default: that of the session.
        max_auth_age: Option<Spanned<Wait>>,
        /// Whether a WebSocket may be opened. Default: false.
        websocket: Option<Spanned<bool>>,
        /// Whether GET, HEAD and OPTIONS may have a body; it goes over a connection of its own. Default:
        /// false, which answers 400.
        body: Option<Spanned<bool>>,
        /// Whether unsafe requests and WebSockets from another site are refused. Default: where a session is
        /// in a cookie, and on rules that grant, revoke or open WebSockets. `true`: always. `false`: never;
        /// `check` lists it.
        origin_check: Option<Spanned<bool>>,
        /// Origins that `origin_check` accepts here, besides the realm's own hosts and the tenant's
        /// `origins`: `https://app.example.com`, exact, with the port unless it is the default of the scheme.
        origins: Vec<Spanned<WebOrigin>>,
        /// Whether the path may contain `%2F`; it is then judged with the slash decoded too. Default:
        /// false.
        allow_encoded_slash: Option<Spanned<bool>>,
        /// Whether `;name=value` may follow a segment of the path. Within the rule's own path it is judged as
        /// it stands too. Default: false.
        allow_path_parameters: Option<Spanned<bool>>,
        /// Whether an escape may stand inside an escape (`%252F`), which is then judged decoded twice too.
        /// Default: false.
        allow_double_encoding: Option<Spanned<bool>>,
        /// Whether `//` in the path is read as `/`. Default: false.
        merge_slashes: Option<Spanned<bool>>,
        /// Quotas, in addition to the tenant's.
        quotas: Vec<Spanned<QuotaName>>,
        /// Bounds of a request here.
        request_limits: Option<RequestLimitsWire>,
    }

    /// A tenant's rules: a named set, rules of its own, or a set that its own rules refine.
    TenantRoutesMap "tenant_routes" {
        /// The named set.
        r#use: Option<Spanned<Label>>,
        /// Overrides `unmatched` of the named set.
        unmatched: Option<Spanned<Unmatched>>,
        /// Overrides `case_sensitive` of the named set.
        case_sensitive: Option<Spanned<bool>>,
        /// The tenant's own rules. A rule with the same path as one of the set replaces it.
        rules: Vec<Rule>,
    }
}

/// A tenant's rules, in the short form (the name of a set) or the long one.
#[derive(Clone, Debug)]
pub(in crate::config) struct TenantRoutes {
    /// The named set.
    pub(in crate::config) set: Option<Spanned<Label>>,
    /// Instead of what the named set says.
    pub(in crate::config) unmatched: Option<Spanned<Unmatched>>,
    /// Instead of what the named set says.
    pub(in crate::config) case_sensitive: Option<Spanned<bool>>,
    /// Rules of its own.
    pub(in crate::config) rules: Vec<Rule>,
}

impl TenantRoutes {
    /// Returns where they are written.
    pub(in crate::config) fn span(&self) -> Option<Span> {
        let first = self.rules.first().map(|rule| rule.path.span);
        self.set.as_ref().map(|set| set.span).or(first).or_else(|| self.unmatched.as_ref().map(|at| at.span))
    }
}

impl Wire for TenantRoutes {
    fn read<'t>(node: &'t Node, reader: &mut Reader<'t, '_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => {
                let TenantRoutesMap { r#use, unmatched, case_sensitive, rules, .. } =
                    TenantRoutesMap::read(node, reader)?;
                Some(Self { set: r#use, unmatched, case_sensitive, rules })
            }
            Value::Scalar { .. } | Value::List(_) => {
                let set = Spanned::read(node, reader)?;
                Some(Self { set: Some(set), unmatched: None, case_sensitive: None, rules: Vec::new() })
            }
        }
    }

    fn schema(definitions: &mut Map<String, Json>) -> Json {
        json!({"anyOf": [Spanned::<Label>::schema(definitions), TenantRoutesMap::schema(definitions)]})
    }
}
