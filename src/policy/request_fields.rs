//! Which request fields make claims that only a gateway may make, and what a realm configures otherwise.
//!
//! An app trusts such a field because something in front of it is known to set it. Whatever it was made for,
//! a client that sends it is trusted as well. So every field that one of the common servers, proxies or
//! frameworks trusts is removed, on every route.

/// What a family of fields claims about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Who sends it, and what they may do.
    Identity,
    /// The client's certificate.
    Certificate,
    /// The client's address.
    Address,
    /// Whether it came over TLS.
    Scheme,
    /// Another host, path or method, or how the app serves it.
    Routing,
    /// What octroi sets itself.
    Gateway,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 6] =
        [Self::Identity, Self::Certificate, Self::Address, Self::Scheme, Self::Routing, Self::Gateway];

    /// Describes the claim, for the reference.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Identity => "who asks, and what they may do",
            Self::Certificate => "the client's certificate",
            Self::Address => "the client's address",
            Self::Scheme => "whether it came over TLS",
            Self::Routing => "another host, path or method, or how it is served",
            Self::Gateway => "what octroi states itself; never in `keep`",
        }
    }
}

use Claim::{Address, Certificate, Gateway, Identity, Routing, Scheme};

/// A field name, or with `*` at the end every field that begins so.
type Family = (&'static str, Claim);

/// Returns every family, by name.
pub fn families() -> impl Iterator<Item = Family> {
    BY_LETTER.iter().flat_map(|(_, families)| families.iter().copied())
}

/// What happens to a field that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderDecision {
    /// It is forwarded unchanged.
    Keep,
    /// It makes a claim that only the gateway may make, or the realm drops it.
    Drop,
    /// Its name has an underscore, which servers read as a hyphen (CVE-2025-64484).
    Underscore,
}

/// The rules of a realm for its request fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFields {
    /// Fields that do not reach its app: names, or prefixes with `*` at the end.
    pub drop: Box<[Box<str>]>,
    /// Names in a family, or within a dropped prefix, that reach the app all the same.
    pub keep: Box<[Box<str>]>,
}

impl RequestFields {
    /// Decides about a field by its lower-case name. The fields that browsers send with every request are
    /// recognised by their length and one comparison; any other name is compared with the few families that
    /// begin like it.
    pub fn decide(&self, name: &str) -> HeaderDecision {
        let dropped = !is_ordinary(name) && {
            let seen =
                name.bytes().fold(0, |seen, byte| seen | SEEN.get(usize::from(byte)).copied().unwrap_or(ODD));
            if seen & UNDERSCORE != 0 {
                return HeaderDecision::Underscore;
            }
            if seen & ODD == 0 { claim(name) } else { claim_folded(name) }.is_some()
        };
        let dropped = dropped || self.drop.iter().any(|pattern| is_in(pattern, name));
        if dropped && !self.keep.iter().any(|kept| **kept == *name) {
            HeaderDecision::Drop
        } else {
            HeaderDecision::Keep
        }
    }
}

/// Properties of a name: a character that a careless server maps to a hyphen, and the one that all servers
/// map.
const ODD: u8 = 1;
const UNDERSCORE: u8 = 2;

/// The property of each octet. A table, because every octet of every name of every request is examined.
#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "in a constant: what is out of bounds does not compile"
)]
const SEEN: [u8; 256] = {
    let mut seen = [ODD; 256];
    let plain = b"-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut at = 0;
    while at < plain.len() {
        seen[plain[at] as usize] = 0;
        at += 1;
    }
    seen[b'_' as usize] = UNDERSCORE;
    seen
};

macro_rules! ordinary {
    ($($length:literal => $($name:literal)|+,)+) => {
        /// Says whether browsers and common clients send this field all the time. No such field is in a
        /// family, and none has anything but letters, digits and hyphens; tests hold that. The length comes
        /// first, so that few names are compared.
        fn is_ordinary(name: &str) -> bool {
            match name.len() {
                $($length => matches!(name, $($name)|+),)+
                _ => false,
            }
        }

        #[cfg(test)]
        const ORDINARY: &[(usize, &[&str])] = &[$(($length, &[$($name),+])),+];
    };
}

ordinary! {
    2 => "te",
    3 => "dnt" | "via",
    4 => "host" | "date",
    5 => "range",
    6 => "accept" | "cookie" | "origin" | "expect" | "pragma",
    7 => "referer" | "sec-gpc",
    8 => "priority" | "if-match" | "if-range",
    9 => "sec-ch-ua",
    10 => "user-agent" | "connection" | "keep-alive" | "tracestate",
    11 => "traceparent",
    12 => "content-type" | "x-request-id" | "x-csrf-token",
    13 => "authorization" | "cache-control" | "if-none-match",
    14 => "content-length" | "sec-fetch-dest" | "sec-fetch-mode" | "sec-fetch-site" | "sec-fetch-user" | "accept-charset",
    15 => "accept-encoding" | "accept-language",
    16 => "sec-ch-ua-mobile" | "content-encoding" | "x-requested-with",
    17 => "if-modified-since" | "sec-websocket-key" | "transfer-encoding",
    18 => "sec-ch-ua-platform",
    21 => "sec-websocket-version",
    24 => "sec-websocket-extensions",
    25 => "upgrade-insecure-requests",
    29 => "access-control-request-method",
    30 => "access-control-request-headers",
}

/// Returns what a field claims, if it is in a family. `name` is in lower case.
pub fn claim(name: &str) -> Option<Claim> {
    let families = alike(name)?;
    // No family is within another, so only the last one in front of the name can contain it.
    let after = families.partition_point(|(family, _)| stem(family) <= name);
    let (family, claim) = families.get(after.checked_sub(1)?)?;
    (is_in(family, name) && !HONEST.iter().any(|honest| is_in(honest, name))).then_some(*claim)
}

/// Returns the families that begin like a name: by its first letter, and behind `x-`, where most of them are,
/// by the next one.
fn alike(name: &str) -> Option<&'static [Family]> {
    let families = of_letter(*name.as_bytes().first()?)?;
    let Some(&third) = name.strip_prefix("x-").and_then(|rest| rest.as_bytes().first()) else {
        return Some(families);
    };
    let (from, to) = BEHIND_X.get(usize::from(third)).copied()?;
    families.get(usize::from(from)..usize::from(to))
}

/// The bounds of the families with each letter behind `x-`. All families that begin with `x` have that
/// hyphen, and a letter behind it; a test holds that.
#[expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "in a constant: what is out of bounds does not compile"
)]
const BEHIND_X: [(u16, u16); 256] = {
    let mut places = [(0, 0); 256];
    let mut letter = 0;
    while letter < BY_LETTER.len() {
        let (first, families) = BY_LETTER[letter];
        letter += 1;
        if first != b'x' {
            continue;
        }
        let mut at = 0;
        while at < families.len() {
            let third = families[at].0.as_bytes()[2] as usize;
            at += 1;
            if places[third].1 == 0 {
                places[third].0 = at as u16 - 1;
            }
            places[third].1 = at as u16;
        }
    }
    places
};

/// Fields that look like those of a family but are harmless: libraries and pages send them to describe a
/// display, not a person (grpc-web's own, and the reading mode).
const HONEST: [&str; 8] = [
    "x-client-user-agent",
    "x-user-agent",
    "x-user-agent-*",
    "x-user-lang",
    "x-user-language",
    "x-user-locale",
    "x-user-time-zone",
    "x-user-timezone",
];

/// The same for a name with other characters, which a careless server maps to a hyphen.
fn claim_folded(name: &str) -> Option<Claim> {
    let families = of_letter(*name.as_bytes().first()?)?;
    families.iter().find(|(family, _)| is_in(family, name)).map(|(_, claim)| *claim)
}

/// Says whether a name matches a pattern, whatever replaces a hyphen in it.
pub fn is_in(pattern: &str, name: &str) -> bool {
    let stem = stem(pattern);
    let fits = if stem.len() < pattern.len() { name.len() >= stem.len() } else { name.len() == stem.len() };
    fits && stem.bytes().zip(name.bytes()).all(|(meant, byte)| meant == byte || meant == folded(byte))
}

fn stem(pattern: &str) -> &str {
    pattern.strip_suffix('*').unwrap_or(pattern)
}

const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

/// Says whether a field frames the message or is hop-by-hop: it can be neither kept nor dropped (RFC 9110,
/// section 7.6.1).
pub fn is_framing(name: &str) -> bool {
    FRAMING.contains(&name)
}

/// Such fields, and those that decide where a request goes and count how often it has been here.
pub const FRAMING: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "cdn-loop",
];

fn of_letter(letter: u8) -> Option<&'static [Family]> {
    BY_LETTER.iter().find(|(first, _)| *first == letter).map(|(_, families)| *families)
}

/// The families by their first letter, sorted; none is within another. A test holds that.
const BY_LETTER: [(u8, &[Family]); 25] = [
    (
        b'$',
        &[
            ("$ws*", Identity), // the WebSphere plug-in; Domino reads them too
        ],
    ),
    (
        b'a',
        &[
            ("accountid", Identity),   // VictoriaLogs
            ("affiliation", Identity), // Shibboleth
            ("ajp-*", Identity),       // mod_proxy_ajp
            ("akamai-*", Address),
            ("ali-*", Address),           // Alibaba Cloud
            ("assurance", Identity),      // Shibboleth
            ("auth-*", Identity),         // LemonLDAP::NG
            ("authenticate-*", Identity), // mod_authnz_ldap
            ("authenticated-*", Identity),
            ("authorize-*", Identity),
        ],
    ),
    (b'b', &[("base-url", Routing)]),
    (
        b'c',
        &[
            ("cas-*", Identity), // mod_auth_cas
            ("cdn-real-ip", Address),
            ("cdn-src-ip", Address),
            ("cf-*", Address),             // Cloudflare, and Cloudflare Access
            ("client-cert*", Certificate), // RFC 9440
            ("client-ip", Address),
            ("clientcert*", Certificate),
            ("clientip", Address),
            ("clientprotocol", Scheme), // SAP
            ("cloudfront-*", Address),
            ("cluster-client-ip", Address),
            ("coming-from", Address),
            ("ct-auth-*", Identity),   // RSA ClearTrust
            ("ct-remote-*", Identity), // RSA ClearTrust
        ],
    ),
    (
        b'd',
        &[
            ("dapr-callee-*", Identity),
            ("dapr-caller-*", Identity),
            ("disguised-host", Routing), // Azure App Service
            ("do-connecting-ip", Address),
        ],
    ),
    (
        b'e',
        &[
            ("eduperson*", Identity), // Shibboleth, attributes of universities
            ("entitlement", Identity),
            ("eo-client-*", Address),      // Tencent EdgeOne
            ("eo-connecting-ip", Address), // Tencent EdgeOne
            ("eppn", Identity),
            ("es-security-runas-user", Identity), // Elasticsearch
        ],
    ),
    (
        b'f',
        &[
            ("fastly-*", Address),
            ("fly-*", Address),     // Fly.io
            ("forwarded", Gateway), // RFC 7239
            ("forwarded-*", Address),
            ("front-end-https", Scheme), // Microsoft
        ],
    ),
    (
        b'g',
        &[
            ("gap-*", Identity), // oauth2-proxy
            ("geoip-*", Address),
            ("gss-*", Identity), // mod_auth_gssapi
        ],
    ),
    (
        b'h',
        &[
            ("hdr-usr", Identity), // Qlik Sense
            ("http-*", Identity),  // CGI and PHP: their names of fields, sent as one
            ("https", Scheme),
        ],
    ),
    (
        b'i',
        &[
            ("impersonate-*", Identity), // Kubernetes
            ("incap-*", Address),        // Imperva
            ("is-member-of", Identity),  // Shibboleth
            ("ismemberof", Identity),    // Shibboleth
            ("iv-*", Identity),          // IBM WebSEAL
        ],
    ),
    (b'j', &[("josso-*", Identity)]),
    (b'k', &[("kubeflow-*", Identity)]),
    (
        b'l',
        &[
            ("l5d-*", Identity),       // Linkerd
            ("lm-remote-*", Identity), // LemonLDAP::NG
        ],
    ),
    (
        b'm',
        &[
            ("mail", Identity),            // Shibboleth
            ("mellon-*", Identity),        // mod_auth_mellon
            ("ms-aspnetcore-*", Identity), // IIS before ASP.NET Core
            ("msexchproxyuri", Routing),   // Exchange
            ("msisdn", Identity),          // mobile carriers
        ],
    ),
    (b'n', &[("ngrok-auth-*", Identity), ("ngrok-oauth-*", Identity), ("nuxeo-virtual-host", Routing)]),
    (
        b'o',
        &[
            ("oam-*", Identity), // Oracle Access Manager
            ("octroi-*", Gateway),
            ("oidc-*", Identity), // mod_auth_openidc
            ("on-behalf-of", Identity),
            ("openid-*", Identity),
            ("osso-*", Identity),         // Oracle SSO
            ("oxygen-buyer-ip", Address), // Shopify
        ],
    ),
    (
        b'p',
        &[
            ("pairwise-id", Identity), // Shibboleth
            ("path-info", Routing),
            ("persistent-id", Identity),
            ("php-auth-*", Identity), // Symfony reads it as Basic authentication
            ("posit-connect-*", Identity),
            ("primary-affiliation", Identity),
            ("projectid", Identity),          // VictoriaLogs
            ("proxy", Routing),               // httpoxy: CVE-2016-5385
            ("proxy-auth-cert", Certificate), // GlassFish, Jetty
            ("proxy-client-*", Address),      // WebLogic
            ("proxy-host", Routing),
            ("proxy-ip", Address),          // GlassFish
            ("proxy-keysize", Certificate), // GlassFish, Jetty
            ("proxy-remote-*", Identity),
            ("proxy-ssl-id", Certificate), // GlassFish, Jetty
            ("proxy-url", Routing),
            ("proxy-user*", Identity),
        ],
    ),
    (
        b'r',
        &[
            ("real-ip", Address),
            ("remote-*", Identity), // Authelia, CGI
            ("remoteuser", Identity),
            ("request-uri", Routing),
            ("rstudio-connect-*", Identity),
        ],
    ),
    (
        b's',
        &[
            ("saml-*", Identity),
            ("schac*", Identity),         // Shibboleth, attributes of universities
            ("script-name", Routing),     // WSGI
            ("sec-email", Identity),      // geOrchestra
            ("sec-firstname", Identity),  // geOrchestra
            ("sec-lastname", Identity),   // geOrchestra
            ("sec-org*", Identity),       // geOrchestra
            ("sec-proxy", Identity),      // geOrchestra
            ("sec-roles", Identity),      // geOrchestra
            ("sec-user*", Identity),      // geOrchestra
            ("serveridentity", Identity), // Nacos: CVE-2021-29441
            ("shib*", Identity),          // Shibboleth
            ("shiny-server-*", Identity),
            ("sm-*", Identity), // SiteMinder
            ("smuser", Identity),
            ("source-ip", Address),
            ("ssl-*", Certificate),        // mod_ssl, ingress-nginx
            ("subject-id", Identity),      // Shibboleth
            ("swisseduperson*", Identity), // Shibboleth, attributes of universities
        ],
    ),
    (
        b't',
        &[
            ("tailscale-*", Identity),
            ("targeted-id", Identity),
            ("teleport-*", Identity),
            ("thanos-tenant", Identity),
            ("tls-*", Certificate),
            ("true-client*", Address), // Akamai, Cloudflare
        ],
    ),
    (b'u', &[("unscoped-affiliation", Identity)]),
    (
        b'w',
        &[
            ("was-default-hostname", Routing), // Azure App Service
            ("webauth-*", Identity),
            ("wl-proxy-*", Address), // WebLogic
        ],
    ),
    (
        b'x',
        &[
            ("x-accel-*", Routing), // nginx, Rack::Sendfile
            ("x-adfs-*", Identity),
            ("x-admin", Identity),
            ("x-akamai-*", Address),
            ("x-alfresco-*", Identity),
            ("x-amzn-apigateway-*", Identity), // Amazon API Gateway
            ("x-amzn-ava-*", Identity),        // AWS Verified Access
            ("x-amzn-lambda-context", Identity),
            ("x-amzn-mtls-*", Certificate),       // AWS load balancers
            ("x-amzn-oidc-*", Identity),          // AWS load balancers
            ("x-amzn-request-context", Identity), // Lambda Web Adapter
            ("x-amzn-tls-*", Scheme),
            ("x-anonymous-consumer", Identity),    // Kong
            ("x-api-host", Routing),               // Rancher
            ("x-apigateway-*", Identity),          // Google API Gateway
            ("x-appengine-*", Identity),           // Google App Engine
            ("x-appservice-proto", Scheme),        // Azure App Service
            ("x-arr-*", Certificate),              // IIS Application Request Routing
            ("x-artifactory-override-*", Routing), // Artifactory
            ("x-astro-*", Routing),                // Astro
            ("x-auth-*", Identity),                // oauth2-proxy, nginx
            ("x-authelia-*", Identity),
            ("x-authenticated*", Identity), // Kong
            ("x-authentik-*", Identity),
            ("x-authn-*", Identity),
            ("x-authorized-*", Identity),
            ("x-authuser", Identity),
            ("x-authz-*", Identity),
            ("x-azure-*", Address), // Azure Front Door
            ("x-backend-host", Routing),
            ("x-base-path", Routing),
            ("x-base-url", Routing),
            ("x-caller-ip", Address),
            ("x-cas-*", Identity),
            ("x-cert-*", Certificate),
            ("x-certificate*", Certificate),
            ("x-claim*", Identity),
            ("x-client-cert*", Certificate),
            ("x-client-dn", Certificate),
            ("x-client-i-dn", Certificate),
            ("x-client-ip*", Address),
            ("x-client-issuer*", Certificate),
            ("x-client-port", Address), // Azure App Service
            ("x-client-proto*", Scheme),
            ("x-client-s-dn", Certificate),
            ("x-client-scheme", Scheme),
            ("x-client-serial*", Certificate),
            ("x-client-ssl*", Certificate),
            ("x-client-subject*", Certificate),
            ("x-client-tls*", Certificate),
            ("x-client-user*", Identity),
            ("x-client-verif*", Certificate),
            ("x-clientcert*", Certificate),
            ("x-clientip", Address),
            ("x-cluster-*", Address), // Riverbed, Rackspace
            ("x-coming-from", Address),
            ("x-commonaccesstoken", Identity), // Exchange
            ("x-connecting-ip", Address),
            ("x-consumer-*", Identity), // Kong
            ("x-context-path", Routing),
            ("x-credential-*", Identity), // Kong
            ("x-current-user*", Identity),
            ("x-custom-ip-*", Address),
            ("x-email", Identity),
            ("x-end-user-*", Identity),
            ("x-endpoint-api-*", Identity), // Google Cloud Endpoints
            ("x-envoy-*", Routing),         // Envoy, Istio
            ("x-ext-authz-*", Identity),    // Envoy
            ("x-fd-*", Address),            // Azure Front Door
            ("x-forward-*", Address),
            ("x-forwarded*", Gateway),
            ("x-forwarder-*", Address),
            ("x-from-ip", Address),
            ("x-geoip-*", Address),
            ("x-goog-authenticated-*", Identity), // Google IAP
            ("x-goog-iap-*", Identity),           // Google IAP
            ("x-google-real-ip", Address),
            ("x-grafana-user", Identity), // Grafana
            ("x-group", Identity),
            ("x-groups", Identity),
            ("x-hass-*", Identity), // Home Assistant
            ("x-host", Routing),
            ("x-host-override", Routing),
            ("x-http-*", Routing),
            ("x-https", Scheme),
            ("x-id-token", Identity), // Apache APISIX
            ("x-identity*", Identity),
            ("x-iisnode-*", Identity),
            ("x-impersonat*", Identity),
            ("x-ingress-path", Routing), // Home Assistant
            ("x-internal-*", Identity),
            ("x-invoke-*", Routing), // Next.js
            ("x-ip", Address),
            ("x-is-admin*", Identity),
            ("x-isfromcafe", Identity), // Exchange
            ("x-issuer-dn", Certificate),
            ("x-istio-*", Identity),
            ("x-jfrog-override-*", Routing), // Artifactory
            ("x-jwt-*", Identity),           // Istio, WSO2
            ("x-keycloak-*", Identity),
            ("x-kuma-*", Identity),
            ("x-ldap-*", Identity),
            ("x-logged-in*", Identity),
            ("x-login", Identity),
            ("x-mashape-subscription", Identity), // RapidAPI
            ("x-mashape-user", Identity),         // RapidAPI
            ("x-matched-path", Routing),          // Next.js
            ("x-method-override", Routing),
            ("x-middleware-invoke", Routing),           // Next.js
            ("x-middleware-next", Routing),             // Next.js
            ("x-middleware-override-headers", Routing), // Next.js
            ("x-middleware-redirect", Routing),         // Next.js
            ("x-middleware-request-*", Routing),        // Next.js
            ("x-middleware-rewrite", Routing),          // Next.js
            ("x-middleware-set-cookie", Routing),       // Next.js
            ("x-middleware-skip", Routing),             // Next.js
            ("x-middleware-subrequest*", Routing),      // Next.js: CVE-2025-29927
            ("x-ms-adfs-*", Identity),                  // Microsoft Web Application Proxy
            ("x-ms-client-principal*", Identity),       // Azure App Service
            ("x-ms-endpoint-*", Routing),               // Microsoft Web Application Proxy
            ("x-ms-forwarded-*", Address),              // Microsoft Web Application Proxy
            ("x-ms-proxy", Routing),
            ("x-ms-token-*", Identity), // Azure App Service
            ("x-msisdn", Identity),     // mobile carriers
            ("x-mtls-*", Certificate),
            ("x-netlify-original-*", Routing), // Netlify
            ("x-nf-*", Address),               // Netlify
            ("x-nokia-msisdn", Identity),      // mobile carriers
            ("x-now-*", Routing),              // Vercel
            ("x-oauth-*", Identity),
            ("x-octroi-*", Gateway),
            ("x-oidc-*", Identity),
            ("x-okta-*", Identity),
            ("x-on-behalf-of", Identity),
            ("x-openid-*", Identity),
            ("x-openwebui-user-*", Identity),
            ("x-organizr-*", Identity),
            ("x-original*", Routing), // IIS, Symfony; X-Originally-Forwarded-For
            ("x-originating-*", Address),
            ("x-override-*", Routing),
            ("x-pan-*", Identity), // PAN-OS: CVE-2024-0012
            ("x-path-prefix", Routing),
            ("x-peer-cert*", Certificate),
            ("x-permissions", Identity),
            ("x-pomerium-*", Identity),
            ("x-preferred-username", Identity),
            ("x-presto-user", Identity),
            ("x-principal*", Identity),
            ("x-project-domain-*", Identity), // OpenStack, behind keystonemiddleware
            ("x-proto", Scheme),
            ("x-proxied*", Identity),                   // Apache NiFi
            ("x-proxy*", Identity),                     // OpenSearch, Apache NiFi
            ("x-qlik-user*", Identity),                 // Qlik Sense
            ("x-rapidapi-subscription", Identity),      // RapidAPI
            ("x-rapidapi-user", Identity),              // RapidAPI
            ("x-react-router-prerender-data", Routing), // React Router: CVE-2025-43864, CVE-2025-43865
            ("x-react-router-spa-mode", Routing),       // React Router: CVE-2025-43864, CVE-2025-43865
            ("x-real-*", Address),
            ("x-remote-*", Identity), // Kubernetes, Home Assistant
            ("x-remoteaddr", Address),
            ("x-remoteip", Address),
            ("x-remoteuser", Identity),
            ("x-replaced-path", Routing), // Traefik
            ("x-replit-user-*", Identity),
            ("x-request-uri", Routing),
            ("x-rewrite-*", Routing), // IIS, Symfony
            ("x-role", Identity),
            ("x-role-*", Identity),
            ("x-roles", Identity),
            ("x-rsc-*", Routing), // Posit Connect
            ("x-rstudio-*", Identity),
            ("x-saml-*", Identity),
            ("x-sandstorm-*", Identity),
            ("x-sap-trusted-user", Identity), // SAP BusinessObjects
            ("x-scheme", Scheme),             // Werkzeug, ingress-nginx
            ("x-scope-orgid", Identity),      // Grafana Loki, Mimir, Tempo
            ("x-scopes", Identity),
            ("x-script-name", Routing),   // WSGI
            ("x-sendfile-type", Routing), // Rack::Sendfile
            ("x-server-name", Routing),
            ("x-server-port", Routing),
            ("x-service-domain-*", Identity),   // OpenStack
            ("x-service-identity-*", Identity), // OpenStack
            ("x-service-project-*", Identity),  // OpenStack
            ("x-service-roles", Identity),      // OpenStack
            ("x-service-user-*", Identity),     // OpenStack
            ("x-shib*", Identity),
            ("x-source-ip", Address),
            ("x-sp-user*", Identity), // ShinyProxy
            ("x-spiffe-*", Certificate),
            ("x-spinnaker-*", Identity),
            ("x-ssl*", Certificate),
            ("x-sso-*", Identity),
            ("x-subject", Identity), // Ory Oathkeeper
            ("x-subject-dn", Certificate),
            ("x-sucuri-*", Address),
            ("x-system-scope", Identity), // OpenStack
            ("x-tailscale-*", Identity),
            ("x-teleport-*", Identity),
            ("x-tls-*", Certificate),
            ("x-token-subject", Identity), // caddy-security
            ("x-token-user-*", Identity),  // caddy-security
            ("x-trino-user", Identity),
            ("x-true-*", Address),
            ("x-trusted-*", Identity),
            ("x-uid", Identity),
            ("x-up-calling-line-id", Identity), // mobile carriers
            ("x-up-subno", Identity),           // mobile carriers
            ("x-url-scheme", Scheme),
            ("x-user", Identity),
            ("x-user-*", Identity),
            ("x-useremail", Identity),
            ("x-usergroup*", Identity),
            ("x-userid", Identity),
            ("x-userinfo", Identity), // Apache APISIX
            ("x-username", Identity),
            ("x-userrole*", Identity),
            ("x-vercel-*", Address),
            ("x-verified-*", Identity),
            ("x-vouch-*", Identity),
            ("x-wap-network-client-*", Identity), // mobile carriers
            ("x-waws-*", Routing),                // Azure App Service
            ("x-wcpay-platform-checkout-user", Identity), // WooCommerce Payments: CVE-2023-28121
            ("x-webauth-*", Identity),            // Grafana, Gitea
            ("x-weblogic-*", Routing),            // WebLogic
            ("x-webobjects-*", Identity),         // SOGo
        ],
    ),
    (
        b'y',
        &[
            ("ynh-*", Identity), // YunoHost
        ],
    ),
    (b'z', &[("z-forwarded-for", Address)]),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decide(name: &str) -> HeaderDecision {
        RequestFields::default().decide(name)
    }

    #[test]
    fn the_families_are_sorted_and_none_is_within_another() {
        for (letter, list) in BY_LETTER {
            assert!(list.iter().all(|(family, _)| family.as_bytes()[0] == letter));
            assert!(list.windows(2).all(|pair| stem(pair[0].0) < stem(pair[1].0)), "{list:?}");
        }
        let all: Vec<&str> = families().map(|(family, _)| family).collect();
        for wide in all.iter().filter(|family| family.ends_with('*')) {
            let within = |other: &&&str| *other != wide && stem(other).starts_with(stem(wide));
            assert_eq!(all.iter().find(within), None, "{wide}");
        }
    }

    #[test]
    fn families_behind_x_have_a_hyphen_and_a_letter() {
        let families = of_letter(b'x').unwrap();

        assert!(families.iter().all(|(family, _)| stem(family).len() > 2 && family.starts_with("x-")));
        assert!(families.windows(2).all(|pair| pair[0].0.as_bytes()[2] <= pair[1].0.as_bytes()[2]));
        let places: usize = BEHIND_X.iter().map(|&(from, to)| usize::from(to) - usize::from(from)).sum();
        assert_eq!(places, families.len());
    }

    #[test]
    fn what_is_ordinary_is_known_by_its_own_length_and_is_of_no_family() {
        for &(length, names) in ORDINARY {
            for name in names {
                assert!(name.len() == length && is_ordinary(name), "{name}");
                assert_eq!(fate_slowly(name), HeaderDecision::Keep, "{name}");
            }
        }
        assert!(!is_ordinary("accepts") && !is_ordinary("accepd") && !is_ordinary(""));
    }

    /// The rule itself: every family is compared, octet by octet.
    fn fate_slowly(name: &str) -> HeaderDecision {
        if name.contains('_') {
            return HeaderDecision::Underscore;
        }
        let of = families().any(|(family, _)| is_in(family, name));
        if of && name != "x-user-agent" { HeaderDecision::Drop } else { HeaderDecision::Keep }
    }

    /// Names near those that matter: one of a family or an ordinary one, with an octet changed, removed or
    /// inserted.
    fn names() -> impl Strategy<Value = String> {
        let known: Vec<String> = families()
            .map(|(family, _)| family.replace('*', ""))
            .chain(ORDINARY.iter().flat_map(|(_, names)| names.iter().map(|name| (*name).to_owned())))
            .collect();
        let octet = proptest::sample::select(b"-_.!~$abexyz019".to_vec());
        (proptest::sample::select(known), 0..5_u8, any::<proptest::sample::Index>(), octet).prop_map(
            |(name, change, at, octet)| {
                let mut octets = name.into_bytes();
                let at = at.index(octets.len());
                match change {
                    0 => {}
                    1 => octets[at] = octet,
                    2 => octets.insert(at, octet),
                    3 => octets.push(octet),
                    _ => drop(octets.remove(at)),
                }
                String::from_utf8(octets).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_quick_way_decides_as_every_comparison_would(name in names()) {
            prop_assert_eq!(decide(&name), fate_slowly(&name));
        }

        #[test]
        fn any_name_is_decided_so(name in "[-_.!a-z0-9$]{0,12}") {
            prop_assert_eq!(decide(&name), fate_slowly(&name));
        }
    }

    #[test]
    fn every_family_is_found_by_its_own_name_and_one_beside_it_is_not() {
        for (family, said) in families() {
            let inside = family.replace('*', "x");
            assert_eq!((claim(&inside), decide(&inside)), (Some(said), HeaderDecision::Drop), "{family}");
            let dotted = inside.replace('-', ".");
            assert_eq!(decide(&dotted), HeaderDecision::Drop, "{dotted}");
            let outside = format!("zz-{inside}");
            assert_eq!(decide(&outside), HeaderDecision::Keep, "{outside}");
        }
    }

    #[test]
    fn what_servers_read_as_identity_is_taken_off_in_every_spelling() {
        for name in [
            "client-cert",
            "client-cert-chain",
            "x-remote-user",
            "x-remote-extra-scopes",
            "remote-user",
            "remote-groups",
            "x-authenticated",
            "x-authenticated-userid",
            "x-client-verify",
            "x-ms-client-principal",
            "x-ms-client-principal-name",
            "x-amzn-oidc-data",
            "oidc-claim-sub",
            "front-end-https",
            "x-scheme",
            "impersonate-user",
            "impersonate-extra-x",
            "wl-proxy-client-ip",
            "sm-user",
            "shib-session-id",
            "x-goog-authenticated-user-email",
            "x-goog-iap-jwt-assertion",
            "cf-access-jwt-assertion",
            "x-webauth-user",
            "x-authentik-username",
            "x-pomerium-jwt-assertion",
            "x-forwarded-client-cert",
            "x-envoy-external-address",
            "http-client-ip",
            "http-x-forwarded-for",
            "tailscale-user-login",
            "x-middleware-subrequest",
            "x-arr-ssl",
            "x-consumer-id",
            "x-endpoint-api-userinfo",
            "octroi-user",
            "octroi.user",
            "x-octroi-assertion",
            "x.forwarded.for",
            "x-forwarded~for",
            "x!remote!user",
            "proxy",
            "x-user-id",
            "x-auth-token",
            "x-http-method-override",
            "x-original-url",
            "true-client-ip",
            "cf-ray",
            "remote!user",
            "client.cert",
            "x-alfresco-remote-user",
            "x-webobjects-remote-user",
            "x-webobjects-auth-type",
            "x-webobjects-server-url",
            "subject-id",
            "pairwise-id",
            "ismemberof",
            "shib-identity-provider",
            "shibsession",
            "ct-remote-user",
            "ngrok-auth-user-email",
            "ngrok-auth-email",
            "ngrok-oauth-access-token",
            "x-replit-user-name",
            "x-jfrog-override-base-url",
            "x-artifactory-override-base-url",
            "nuxeo-virtual-host",
            "$wsru",
            "$wscc",
            "ms-aspnetcore-winauthtoken",
            "ms-aspnetcore-clientcert",
            "x-amzn-ava-user-context",
            "kubeflow-userid",
            "kubeflow-groups",
            "sec-username",
            "sec-roles",
            "sec-orgname",
            "php-auth-user",
            "proxy-auth-cert",
            "serveridentity",
            "shiny-server-credentials",
            "thanos-tenant",
            "gap-signature",
            "x-hass-is-admin",
            "x-token-user-roles",
            "x-middleware-override-headers",
            "x-pan-authcheck",
            "x-wcpay-platform-checkout-user",
            "x-msisdn",
            "es-security-runas-user",
            "x-iisnode-logon-user",
            "x-ms-adfs-proxy-client-ip",
            "x-appservice-proto",
            "disguised-host",
            "clientprotocol",
            "lm-remote-user",
            "x-subject",
            "x-originating-ip",
            "x.originating.ip",
            "x-originating-host",
            "x-originating-url",
            "x-originally-forwarded-for",
            "accountid",
            "projectid",
            "x-service-roles",
            "x-service-user-id",
            "x-service-identity-status",
            "x-service-project-id",
            "x-service-domain-name",
            "x-project-domain-id",
            "x-system-scope",
            "x-user-localeid",
            "x-user-agents",
            "x-client-userid",
        ] {
            assert_eq!(decide(name), HeaderDecision::Drop, "{name}");
        }
        assert_eq!(decide("x_forwarded_for"), HeaderDecision::Underscore);
        assert_eq!(decide("my_header"), HeaderDecision::Underscore);
    }

    #[test]
    fn ordinary_fields_pass() {
        for name in [
            "accept",
            "accept-language",
            "content-type",
            "cookie",
            "authorization",
            "origin",
            "referer",
            "user-agent",
            "x-request-id",
            "x-requested-with",
            "x-csrf-token",
            "x-xsrf-token",
            "x-api-key",
            "x-user-agent",
            "x-user-agent-platform",
            "x-client-user-agent",
            "x-user-lang",
            "x-user-language",
            "x-user-locale",
            "x-user-time-zone",
            "x-user-timezone",
            "x-userland",
            "x-grpc-web",
            "x-amzn-trace-id",
            "x-client-data",
            "x-client-version",
            "x-goog-api-client",
            "x-goog-channel-id",
            "x-ms-client-request-id",
            "x-access-token",
            "proxy-status",
            "remote",
            "client",
            "uid",
            "access-token",
            "x-tenant-id",
            "cdn-loop",
            "via",
            "from",
            "httpx",
            "traceparent",
            "x-b3-traceid",
            "x-hub-signature-256",
            "x-shopify-shop-domain",
            "x-forwar",
            "x-scheme-version",
            "x-subject-token",
            // Browsers and their extensions.
            "sec-ch-ua-platform",
            "sec-fetch-site",
            "sec-gpc",
            "sec-origin-policy",
            "sec-purpose",
            "sec-websocket-key",
            "dnt",
            "priority",
            "save-data",
            // Frameworks, in requests of their pages.
            "hx-request",
            "next-router-state-tree",
            "x-fb-friendly-name",
            "x-inertia",
            "x-livewire",
            "x-middleware-prefetch",
            "x-nextjs-data",
            "x-socket-id",
            "x-usertoken",
            "x-wp-nonce",
            // APIs, webhooks and their clients.
            "anthropic-version",
            "apikey",
            "apollographql-client-name",
            "auth0-client",
            "dpop",
            "dropbox-api-arg",
            "idempotency-key",
            "job-token",
            "kbn-xsrf",
            "ngrok-skip-browser-warning",
            "openai-organization",
            "osd-xsrf",
            "prefer",
            "private-token",
            "securitytenant",
            "soapaction",
            "stripe-signature",
            "sudo",
            "tus-resumable",
            "x-account-id",
            "x-algolia-api-key",
            "x-amz-date",
            "x-amz-security-token",
            "x-app-version",
            "x-atlassian-token",
            "x-auth",
            "x-authorization",
            "x-bz-file-name",
            "x-client-info",
            "x-client-name",
            "x-cloud-trace-context",
            "x-consul-token",
            "x-correlation-id",
            "x-datadog-trace-id",
            "x-device-id",
            "x-elastic-internal-origin",
            "x-emby-authorization",
            "x-f5-auth-token",
            "x-firebase-appcheck",
            "x-github-event",
            "x-gitlab-token",
            "x-goog-authuser",
            "x-goog-user-project",
            "x-grafana-org-id",
            "x-hasura-role",
            "x-locale",
            "x-ms-blob-type",
            "x-ms-version",
            "x-netlify-event",
            "x-newrelic-id",
            "x-oc-mtime",
            "x-openam-username",
            "x-org-id",
            "x-parse-session-token",
            "x-platform",
            "x-plex-token",
            "x-project-id",
            "x-rapidapi-key",
            "x-session-token",
            "x-slack-signature",
            "x-stainless-os",
            "x-syno-token",
            "x-tenant",
            "x-timezone",
            "x-token",
            "x-token-type",
            "x-twilio-signature",
            "x-upload-content-type",
            "x-vault-token",
            // Near the new families.
            "$wait",
            "account",
            "accountids",
            "displayname",
            "projectids",
            "x-origin",
            "x-origination",
            "x-service-token",
            "x-service-worker",
            "x-system",
            "assurances",
            "clientid",
            "email",
            "ctx",
            "gapless",
            "mailer",
            "php-version",
            "sec-emails",
            "subject",
            "user",
            "user-id",
            "y",
            "1",
        ] {
            assert_eq!(decide(name), HeaderDecision::Keep, "{name}");
        }
    }

    #[test]
    fn a_realm_drops_more_and_keeps_what_its_app_means() {
        let list = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let fields = RequestFields {
            drop: list(&["x-tenant-*", "x-shop"]),
            keep: list(&["x-auth-token", "x-tenant-name"]),
        };

        for name in
            ["x-tenant-id", "x.tenant.id", "x.tenant.name", "x-shop", "x.shop", "x-auth-user", "x.auth.token"]
        {
            assert_eq!(fields.decide(name), HeaderDecision::Drop, "{name}");
        }
        for name in ["x-auth-token", "x-tenant-name", "x-tenant", "x-shops"] {
            assert_eq!(fields.decide(name), HeaderDecision::Keep, "{name}");
        }
    }
}
