//! A described request, in the form in which the checks see a real one.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    model::{
        Alpn, ClientIp, Facts, Host, HttpVersion, Presented, RequestEnded, RequestView, Tick, TlsFacts,
        Transport, UnixTime,
    },
    policy::{ClientIpHeader, Listener, ListenerKind, Policy},
    session::TOKEN_PREFIX,
};

/// A description of a request.
#[derive(Clone, Debug)]
pub struct Described {
    /// The listener; `None`: the first that fits the URL's scheme.
    pub listener: Option<String>,
    /// The HTTP version.
    pub version: HttpVersion,
    /// The method.
    pub method: String,
    /// `https://host[:port]/path?query`.
    pub url: String,
    /// The peer after PROXY protocol; where TLS ends in front of the listener, the peer of that proxy.
    pub client: IpAddr,
    /// What the TLS handshake names.
    pub sni: Sni,
    /// The session cookie's value, or a whole `Cookie` field.
    pub cookie: Option<String>,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// The client's certificate, and the tenants that accept it.
    pub certificate: Option<Presented>,
    /// More fields.
    pub headers: Vec<(String, String)>,
    /// A raw HTTP/1 head, CR LF included; it replaces version, method, path and fields. Anything after its
    /// empty line is ignored.
    pub head: Option<Vec<u8>>,
}

/// The server name of a described TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sni {
    /// The host of the URL.
    Host,
    /// Nothing.
    Absent,
    /// This host.
    Named(Host),
}

impl Described {
    /// Returns the server name of the handshake.
    pub fn server_name(&self) -> Option<Host> {
        match &self.sni {
            Sni::Host => split(&self.url)
                .ok()
                .and_then(|(_, authority, _)| Host::parse_authority(authority).ok())
                .map(|(host, _)| host),
            Sni::Absent => None,
            Sni::Named(host) => Some(host.clone()),
        }
    }
}

/// Why a description is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// Not an absolute http or https URL.
    #[error("`{0}` is not `https://host/path` or `http://host/path`")]
    Url(String),
    /// No listener has the name, or none serves the scheme.
    #[error("no listener {0}")]
    Listener(String),
    /// A field that is not valid in a request.
    #[error("`{0}` is not the name or value of a field")]
    Field(String),
}

/// A described request, with everything that a [`RequestView`] borrows.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection.
    pub facts: Facts,
    /// The client's certificate, and the tenants that accept it.
    pub certificate: Option<Presented>,
    /// The HTTP version.
    pub version: HttpVersion,
    /// The method.
    pub method: String,
    /// The target.
    pub target: Vec<u8>,
    /// HTTP/2's `:authority`.
    pub authority: Option<String>,
    /// The fields.
    pub headers: HeaderMap,
    /// HTTP/1's head.
    pub head: Option<Vec<u8>>,
}

impl Request {
    /// Converts a description to the form of a request that arrives at a listener of the policy.
    pub fn new(described: &Described, policy: &Policy) -> Result<Self, DescribeError> {
        let (scheme, authority, target) = split(&described.url)?;
        let listener = listener(described.listener.as_deref(), scheme, policy)?;
        let proxy = proxy(described, listener, policy);
        let facts = facts(described, proxy.unwrap_or(described.client), listener);
        // Clear text has no server name.
        let certificate = described.certificate.clone().filter(|_| facts.tls().is_some());
        if let Some(head) = &described.head {
            return Ok(Self { certificate, ..Self::read(facts, head) });
        }
        let mut headers = HeaderMap::new();
        if described.version != HttpVersion::Http2 {
            append(&mut headers, "host", authority)?;
        }
        if let Some(cookie) = &described.cookie {
            match policy.sessions.as_ref().filter(|_| cookie.starts_with(TOKEN_PREFIX)) {
                Some(sessions) => append(&mut headers, "cookie", &format!("{}={cookie}", sessions.cookie))?,
                None => append(&mut headers, "cookie", cookie)?,
            }
        }
        if let Some(token) = &described.bearer {
            append(&mut headers, "authorization", &format!("Bearer {token}"))?;
        }
        for (name, value) in &described.headers {
            append(&mut headers, name, value)?;
        }
        if proxy.is_some() {
            say_who_asked(&mut headers, described.client, scheme, policy.client_ip_header)?;
        }
        let mut request = Self {
            facts,
            certificate,
            version: described.version,
            method: described.method.clone(),
            target: target.as_bytes().to_vec(),
            authority: (described.version == HttpVersion::Http2).then(|| authority.to_owned()),
            headers,
            head: None,
        };
        request.write_head();
        Ok(request)
    }

    /// Writes the head that an HTTP/1 client would send for this request.
    pub fn write_head(&mut self) {
        if self.version == HttpVersion::Http2 {
            self.head = None;
            return;
        }
        let mut head =
            [self.method.as_bytes(), b" ", &self.target, b" ", self.version.as_str().as_bytes(), b"\r\n"]
                .concat();
        for (name, value) in &self.headers {
            head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        self.head = Some(head);
    }

    /// Lends the request to the checks.
    pub fn view(&self, now: UnixTime, tick: Tick) -> RequestView<'_> {
        RequestView {
            connection: &self.facts,
            certificate: self.certificate.as_ref(),
            version: self.version,
            method: &self.method,
            target: &self.target,
            authority: self.authority.as_deref(),
            headers: &self.headers,
            head: self.head.as_deref(),
            now,
            tick,
        }
    }

    /// Reads a head as a lenient library would. It need not be strict: hygiene checks the bytes themselves
    /// first.
    fn read(facts: Facts, head: &[u8]) -> Self {
        let end = memchr::memmem::find(head, b"\r\n\r\n").map_or(head.len(), |at| at + 4);
        let head = head.get(..end).unwrap_or(head);
        let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let mut words = lines.next().unwrap_or_default().split(|&byte| byte == b' ');
        let method = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let target = words.next().unwrap_or_default().to_vec();
        let version =
            if words.next() == Some(b"HTTP/1.0") { HttpVersion::Http10 } else { HttpVersion::Http11 };
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some((name, value)) =
                memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
            else {
                continue;
            };
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Self {
            facts,
            certificate: None,
            version,
            method,
            target,
            authority: None,
            headers,
            head: Some(head.to_vec()),
        }
    }
}

/// Describes a recorded request as far as its event knows it: with host, `User-Agent` and `Referer`, without
/// credentials, other fields and body. A caller that judges it again must judge its certificate as well.
impl From<&RequestEnded<'_>> for Request {
    fn from(ended: &RequestEnded<'_>) -> Self {
        let text = |octets: Option<&[u8]>| octets.map(|octets| String::from_utf8_lossy(octets).into_owned());
        let version = ended.version.unwrap_or(HttpVersion::Http11);
        let is_http2 = version == HttpVersion::Http2;
        let fields = [
            (header::HOST, ended.host.filter(|_| !is_http2)),
            (header::USER_AGENT, ended.user_agent),
            (header::REFERER, ended.referer),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
                headers.append(name, value);
            }
        }
        let mut request = Self {
            facts: ended.connection.clone(),
            certificate: None,
            version,
            method: text(ended.method).unwrap_or_default(),
            target: ended.target.unwrap_or_default().to_vec(),
            authority: text(ended.host).filter(|_| is_http2),
            headers,
            head: None,
        };
        request.write_head();
        request
    }
}

fn split(url: &str) -> Result<(&str, &str, &str), DescribeError> {
    let wrong = || DescribeError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (authority, target) = match rest.find('/').and_then(|slash| rest.split_at_checked(slash)) {
        Some(parts) => parts,
        None => (rest, "/"),
    };
    if authority.is_empty() || !matches!(scheme, "http" | "https") {
        return Err(wrong());
    }
    Ok((scheme, authority, target))
}

fn listener<'p>(name: Option<&str>, scheme: &str, policy: &'p Policy) -> Result<&'p Listener, DescribeError> {
    let found = match name {
        Some(name) => policy.listeners.iter().find(|listener| listener.name.as_str() == name),
        None => policy.listeners.iter().find(|listener| match listener.kind {
            ListenerKind::Tls => scheme == "https",
            ListenerKind::Plaintext | ListenerKind::Redirect { .. } => scheme == "http",
        }),
    };
    // A listener behind a TLS-terminating proxy is asked with https, too.
    let in_front = || {
        policy.listeners.iter().find(|listener| name.is_none() && scheme == "https" && listener.tls_in_front)
    };
    let found = found.or_else(in_front);
    let missing = || {
        DescribeError::Listener(
            name.map_or_else(|| format!("serves {scheme}"), |name| format!("is named `{name}`")),
        )
    };
    found.map(|listener| &**listener).ok_or_else(missing)
}

/// Returns the proxy through which a request comes whose TLS ended in front of its listener; the described
/// client connected there. A description that has a head, forwarding fields or a proxy as the client already
/// describes what the proxy sends.
fn proxy(described: &Described, listener: &Listener, policy: &Policy) -> Option<IpAddr> {
    let trusted = listener.trusted_proxies.as_ref().unwrap_or(&policy.trusted_proxies);
    let says_so = |name: &str| described.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let is_whole = described.head.is_some()
        || ["x-forwarded-for", "x-forwarded-proto", "forwarded"].into_iter().any(says_so);
    if !listener.tls_in_front || is_whole || trusted.contains(ClientIp::from(described.client)) {
        return None;
    }
    trusted.ranges().first().map(|range| range.first())
}

/// Adds the fields in which a proxy names the client.
fn say_who_asked(
    headers: &mut HeaderMap,
    client: IpAddr,
    scheme: &str,
    header: ClientIpHeader,
) -> Result<(), DescribeError> {
    match header {
        ClientIpHeader::XForwardedFor => {
            append(headers, "x-forwarded-for", &client.to_string())?;
            append(headers, "x-forwarded-proto", scheme)
        }
        ClientIpHeader::Forwarded => {
            // RFC 7239, section 6: an IPv6 address is bracketed and quoted.
            let node = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
            append(headers, "forwarded", &format!("for={node};proto={scheme}"))
        }
    }
}

fn facts(described: &Described, source: IpAddr, listener: &Listener) -> Facts {
    let source = SocketAddr::new(source, 0);
    let transport = match listener.kind {
        ListenerKind::Plaintext | ListenerKind::Redirect { .. } => Transport::Plain,
        ListenerKind::Tls => Transport::Tls(TlsFacts {
            sni: described.server_name(),
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: "X25519",
            alpn: if described.version == HttpVersion::Http2 { Alpn::Http2 } else { Alpn::Http1 },
            resumed: false,
            ja4: None,
        }),
    };
    Facts {
        id: 0,
        listener: listener.name.clone(),
        local: listener.address,
        peer: source,
        source,
        transport,
        accepted: UnixTime::default(),
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), DescribeError> {
    let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
    // Only the name is shown: the value may be a secret, such as the token of a described request.
    let (Ok(field), Ok(mut value)) = parsed else { return Err(DescribeError::Field(name.to_owned())) };
    value.set_sensitive(field == header::AUTHORIZATION || field == header::COOKIE);
    headers.append(field, value);
    Ok(())
}
