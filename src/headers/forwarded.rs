//! The fields in which the gateway states its facts to the upstream.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::model::{CDN_ID, CDN_LOOP, ClientIp, append_address};

/// The most octets of an IPv4 address as text.
const ADDRESS_BYTES: usize = 15;

/// The facts, each stated in one field.
#[derive(Debug)]
pub struct ForwardedHeaders<'a> {
    /// The request's identifier.
    pub request_id: &'a str,
    /// The tenant that owns the host.
    pub realm: &'a str,
    /// The tenant in whose name the request acts.
    pub tenant: &'a str,
    /// The client's address.
    pub client: ClientIp,
    /// The scheme that the client used.
    pub scheme: &'static str,
    /// The host that was asked for, with its port where that is not the scheme's.
    pub host: &'a str,
    /// The port that the client sees.
    pub port: u16,
    /// The session; none for an anonymous request.
    pub session: Option<ForwardedSession<'a>>,
    /// The client's certificate in DER, where the tenant accepts it.
    pub certificate: Option<&'a [u8]>,
}

/// The identity of a request with a session.
#[derive(Debug)]
pub struct ForwardedSession<'a> {
    /// The user.
    pub user: &'a str,
    /// The roles, sorted.
    pub roles: &'a [&'a str],
    /// The name of the session in logs and towards the upstream.
    pub hash: &'a str,
    /// When the user signed in, in seconds since 1970.
    pub auth_time_secs: u64,
    /// The same facts, signed, where that is configured.
    pub assertion: Option<String>,
}

impl ForwardedHeaders<'_> {
    /// Sets the fields, each exactly once.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        headers.reserve(16);
        // Appended: the names of proxies that it passed before stay.
        headers.append(CDN_LOOP, HeaderValue::from_static(CDN_ID));
        // Every value is made of checked parts: names, hosts, addresses, visible ASCII. One that is still no
        // field value is left out, and the client's own is removed.
        let mut state = |name: HeaderName, value: Option<HeaderValue>| match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        };
        let text = |value: &str| HeaderValue::from_str(value).ok();
        let owned = |value: String| HeaderValue::try_from(value).ok();
        let mut client = Vec::with_capacity(ADDRESS_BYTES);
        append_address(&mut client, self.client.addr());
        let (host, client) = (text(self.host), HeaderValue::try_from(client).ok());
        state(header::HOST, host.clone());
        state(X_FORWARDED_HOST, host);
        state(X_FORWARDED_FOR, client.clone());
        state(X_REAL_IP, client);
        state(REQUEST_ID, text(self.request_id));
        state(REALM, text(self.realm));
        state(TENANT, text(self.tenant));
        state(X_FORWARDED_PROTO, Some(HeaderValue::from_static(self.scheme)));
        state(X_FORWARDED_PORT, Some(HeaderValue::from(self.port)));
        if let Some(der) = self.certificate {
            state(CLIENT_CERT, owned(byte_sequence(der)));
        }
        if let Some(session) = &self.session {
            state(USER, text(session.user));
            state(ROLES, owned(session.roles.join(",")));
            state(SESSION, text(session.hash));
            state(AUTH_TIME, Some(HeaderValue::from(session.auth_time_secs)));
            state(ASSERTION, session.assertion.as_deref().and_then(text));
        }
    }
}

/// Writes bytes as a structured field (RFC 9651, section 3.3.5), as RFC 9440, section 2.1 asks for a
/// certificate.
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes))
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("octroi-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("octroi-request-id");
const REALM: HeaderName = HeaderName::from_static("octroi-realm");
const TENANT: HeaderName = HeaderName::from_static("octroi-tenant");
const USER: HeaderName = HeaderName::from_static("octroi-user");
const ROLES: HeaderName = HeaderName::from_static("octroi-roles");
const SESSION: HeaderName = HeaderName::from_static("octroi-session");
const AUTH_TIME: HeaderName = HeaderName::from_static("octroi-auth-time");
const ASSERTION: HeaderName = HeaderName::from_static("octroi-assertion");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_written_as_rfc_9440_does() {
        assert_eq!(byte_sequence(&[0x30, 0x82, 0x01, 0xa8, 0x30]), ":MIIBqDA=:");
    }

    #[test]
    fn an_anonymous_request_has_no_identity_fields() {
        let client = ClientIp::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let (realm, port) = ("acme", 443);
        let forwarded = ForwardedHeaders {
            request_id: "r",
            realm,
            tenant: realm,
            client,
            scheme: "https",
            host: "a.test",
            port,
            session: None,
            certificate: None,
        };
        let mut headers = HeaderMap::new();

        forwarded.put_into(&mut headers);

        assert_eq!(headers.len(), 10);
        assert!([USER, ROLES, SESSION, AUTH_TIME, ASSERTION].iter().all(|name| !headers.contains_key(name)));
    }
}
