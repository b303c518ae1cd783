//! The fields of an access line and their encoding.

use std::{net::IpAddr, time::Duration};

use super::escape;
use crate::model::{ClientCertificate, HttpVersion, TlsFacts, UnixTime, append_address};

/// The kind of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A request, served or refused.
    #[default]
    Request,
    /// A connection that was refused before its first request.
    Connection,
    /// An admin API call.
    Admin,
}

impl LineKind {
    /// Returns the value of `event`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Connection => "connection",
            Self::Admin => "admin",
        }
    }
}

/// The fields of one request, refused connection or admin call. Unknown fields are absent from the line.
///
/// Bytes from clients come here as received: they are escaped, cut to length and redacted here. Query values
/// are never logged: `path` and `referer` end at their `?`.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessLine<'a> {
    /// The kind of the line.
    pub(super) event: LineKind,
    /// When it began.
    pub(super) time: UnixTime,
    /// `request.id`.
    pub(super) request_id: Option<&'a str>,
    /// The listener's name.
    pub(super) listener: Option<&'a str>,
    /// `connection`: the number of the connection.
    pub(super) connection: Option<u64>,
    /// `client.ip`: the client's address, after PROXY protocol and trusted forwarding headers.
    pub(super) client: Option<IpAddr>,
    /// `peer.ip`: the address of the TCP peer.
    pub(super) peer: Option<IpAddr>,
    /// The requested host; in canonical form where it is known.
    pub(super) host: Option<&'a [u8]>,
    /// The tenant that owns the host.
    pub(super) tenant: Option<&'a str>,
    /// The session's tenant, if it is not the host's.
    pub(super) member: Option<&'a str>,
    /// The method.
    pub(super) method: Option<&'a [u8]>,
    /// The path; a query is cut off.
    pub(super) path: Option<&'a [u8]>,
    /// `http.version`.
    pub(super) version: Option<HttpVersion>,
    /// The status that was answered.
    pub(super) status: Option<u16>,
    /// `allow`, `deny` or `redirect`.
    pub(super) decision: Option<&'a str>,
    /// The code of the reason.
    pub(super) reason: Option<&'a str>,
    /// The rule that decided, as `file:line`.
    pub(super) rule: Option<&'a str>,
    /// The code of the first reason that observe mode let pass.
    pub(super) would: Option<&'a str>,
    /// The keyed hash of the session; never its identifier.
    pub(super) session: Option<&'a str>,
    /// The session's user.
    pub(super) user: Option<&'a str>,
    /// The route, by its configured path.
    pub(super) route: Option<&'a str>,
    /// `bytes.in`: received of the request body.
    pub(super) bytes_in: Option<u64>,
    /// `bytes.out`: sent of the response body.
    pub(super) bytes_out: Option<u64>,
    /// `duration_ms`.
    pub(super) duration: Option<Duration>,
    /// Where the request went.
    pub(super) upstream: Option<UpstreamFacts<'a>>,
    /// The negotiated TLS parameters.
    pub(super) tls: Option<&'a TlsFacts>,
    /// `tls.client.…`: the certificate that the client presented, accepted or not.
    pub(super) certificate: Option<&'a ClientCertificate>,
    /// `User-Agent`.
    pub(super) user_agent: Option<&'a [u8]>,
    /// `Referer`; a query is cut off.
    pub(super) referer: Option<&'a [u8]>,
    /// `policy.revision`.
    pub(super) revision: Option<&'a str>,
    /// The operator who called the admin API.
    pub(super) principal: Option<&'a str>,
    /// How many refused connections the line stands for; absent for one.
    pub(super) count: Option<u64>,
    /// The facts, for the operator.
    pub(super) detail: Option<&'a str>,
}

/// Where a request went.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamFacts<'a> {
    /// `upstream.name`.
    pub(super) name: &'a str,
    /// `upstream.addr`: the server.
    pub(super) address: Option<&'a str>,
    /// `upstream.status`: what it answered.
    pub(super) status: Option<u16>,
    /// `upstream.duration_ms`: from choosing a server to its answer's head.
    pub(super) duration: Option<Duration>,
    /// `upstream.tries`.
    pub(super) tries: u32,
}

impl AccessLine<'_> {
    /// Appends the line as one JSON object and a line feed.
    pub(super) fn append_json(&self, out: &mut Vec<u8>, node: &str) {
        out.extend_from_slice(b"{\"time\":\"");
        append_time(out, self.time);
        out.push(b'"');
        let mut line = Fields { out };
        line.text("event", Some(self.event.as_str()));
        line.text("node", Some(node));
        line.text("request.id", self.request_id);
        line.text("listener", self.listener);
        line.number("connection", self.connection);
        line.address("client.ip", self.client);
        line.address("peer.ip", self.peer);
        line.octets("host", self.host, HOST_CAP);
        line.text("tenant", self.tenant);
        line.text("member", self.member);
        line.octets("method", self.method, METHOD_CAP);
        line.octets("path", self.path.map(before_query), PATH_CAP);
        line.text("http.version", self.version.map(HttpVersion::as_str));
        line.number("status", self.status.map(u64::from));
        line.text("decision", self.decision);
        line.text("reason", self.reason);
        line.text("rule", self.rule);
        line.text("would", self.would);
        line.text("session", self.session);
        line.text("user", self.user);
        line.text("route", self.route);
        line.number("bytes.in", self.bytes_in);
        line.number("bytes.out", self.bytes_out);
        line.millis("duration_ms", self.duration);
        if let Some(upstream) = &self.upstream {
            line.text("upstream.name", Some(upstream.name));
            line.text("upstream.addr", upstream.address);
            line.number("upstream.status", upstream.status.map(u64::from));
            line.millis("upstream.duration_ms", upstream.duration);
            line.number("upstream.tries", Some(u64::from(upstream.tries)));
        }
        if let Some(tls) = self.tls {
            line.text("tls.version", Some(tls.version));
            line.text("tls.cipher", Some(tls.cipher));
            line.text("tls.group", Some(tls.group));
            line.text("tls.alpn", Some(tls.alpn.as_str()));
            line.octets("tls.sni", tls.sni.as_ref().map(|host| host.as_str().as_bytes()), HOST_CAP);
            line.literal("tls.resumed", if tls.resumed { "true" } else { "false" });
            line.text("tls.ja4", tls.ja4.as_deref());
        }
        if let Some(certificate) = self.certificate {
            line.octets("tls.client.subject", Some(certificate.subject.to_string().as_bytes()), NAME_CAP);
            line.octets("tls.client.issuer", Some(certificate.issuer.to_string().as_bytes()), NAME_CAP);
            line.octets("tls.client.serial", Some(certificate.serial.as_bytes()), SERIAL_CAP);
            line.text("tls.client.sha256", Some(&certificate.short_fingerprint()));
        }
        line.octets("user_agent", self.user_agent, AGENT_CAP);
        line.octets("referer", self.referer.map(before_query), AGENT_CAP);
        line.text("policy.revision", self.revision);
        line.text("principal", self.principal);
        line.number("count", self.count);
        line.octets("detail", self.detail.map(str::as_bytes), DETAIL_CAP);
        out.extend_from_slice(b"}\n");
    }
}

/// Appends members to an object that already has one. Names are constants that need no escaping.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn octets(&mut self, name: &str, value: Option<&[u8]>, cap: usize) {
        if let Some(value) = value {
            self.name(name);
            escape::append(self.out, value, cap);
        }
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        self.octets(name, value.map(str::as_bytes), TEXT_CAP);
    }

    fn literal(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.literal(name, itoa::Buffer::new().format(value));
        }
    }

    fn address(&mut self, name: &str, value: Option<IpAddr>) {
        if let Some(value) = value {
            self.name(name);
            self.out.push(b'"');
            append_address(self.out, value);
            self.out.push(b'"');
        }
    }

    /// Milliseconds with three decimals.
    fn millis(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
            self.literal(name, itoa::Buffer::new().format(micros / 1000));
            self.out.push(b'.');
            append_digits(self.out, micros % 1000, 3);
        }
    }
}

/// Cuts off a query or fragment.
fn before_query(target: &[u8]) -> &[u8] {
    target.split(|&byte| byte == b'?' || byte == b'#').next().unwrap_or_default()
}

/// Appends a time as RFC 3339 in UTC with milliseconds: `2026-11-23T21:49:00.123Z`.
pub(super) fn append_time(out: &mut Vec<u8>, time: UnixTime) {
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    append_digits(out, year, 4);
    out.push(b'-');
    append_digits(out, month, 2);
    out.push(b'-');
    append_digits(out, day, 2);
    out.push(b'T');
    append_digits(out, second / 3600, 2);
    out.push(b':');
    append_digits(out, second / 60 % 60, 2);
    out.push(b':');
    append_digits(out, second % 60, 2);
    out.push(b'.');
    append_digits(out, time.as_millis() % 1000, 3);
    out.push(b'Z');
}

/// Returns year, month and day of a count of days since 1970 (Gregorian; a year here begins in March, so that
/// a leap day ends it).
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Appends a number with leading zeros.
fn append_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.resize(out.len() + width.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(digits.as_bytes());
}

// The longest values in bytes (threat-model.md 2.9).
const PATH_CAP: usize = 1024;
const AGENT_CAP: usize = 256;
const HOST_CAP: usize = 255;
const METHOD_CAP: usize = 32;
const NAME_CAP: usize = 256;
/// RFC 5280, section 4.1.2.2: at most 20 octets, and two digits each.
const SERIAL_CAP: usize = 40;
const TEXT_CAP: usize = 256;
const DETAIL_CAP: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Alpn;

    fn written(line: &AccessLine<'_>) -> String {
        let mut out = Vec::new();
        line.append_json(&mut out, "edge-1");
        String::from_utf8(out).unwrap()
    }

    fn time(millis: u64) -> String {
        let mut out = Vec::new();
        append_time(&mut out, UnixTime::from_millis(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_one_object_in_a_stable_order() {
        let tls = TlsFacts {
            sni: "acme.example.test".parse().ok(),
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: "X25519",
            alpn: Alpn::Http1,
            resumed: false,
            ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        };
        let line = AccessLine {
            time: UnixTime::from_millis(1_795_470_540_123),
            request_id: Some("01J"),
            client: Some([203, 0, 113, 9].into()),
            tenant: Some("acme"),
            method: Some(b"GET"),
            path: Some(b"/api?token=oct1.abc"),
            version: Some(HttpVersion::Http11),
            status: Some(200),
            decision: Some("allow"),
            duration: Some(Duration::from_micros(12_034)),
            upstream: Some(UpstreamFacts {
                name: "app",
                address: Some("127.0.0.1:9000"),
                status: Some(200),
                duration: None,
                tries: 1,
            }),
            tls: Some(&tls),
            ..AccessLine::default()
        };

        assert_eq!(
            written(&line),
            concat!(
                r#"{"time":"2026-11-23T21:49:00.123Z","event":"request","node":"edge-1","request.id":"01J","client.ip":"203.0.113.9","tenant":"acme","#,
                r#""method":"GET","path":"/api","http.version":"HTTP/1.1","status":200,"decision":"allow","duration_ms":12.034,"#,
                r#""upstream.name":"app","upstream.addr":"127.0.0.1:9000","upstream.status":200,"upstream.tries":1,"#,
                r#""tls.version":"TLSv1.3","tls.cipher":"TLS_AES_128_GCM_SHA256","tls.group":"X25519","tls.alpn":"http/1.1","tls.sni":"acme.example.test","#,
                "\"tls.resumed\":false,\"tls.ja4\":\"t13d1516h2_8daaf6152771_e5627efa2ab1\"}\n",
            )
        );
    }

    #[test]
    fn what_strangers_sent_is_capped_by_field() {
        let long = vec![b'x'; 5000];
        let line = AccessLine {
            path: Some(&long),
            user_agent: Some(&long),
            host: Some(&long),
            method: Some(&long),
            ..AccessLine::default()
        };

        let value: serde_json::Value = serde_json::from_str(&written(&line)).unwrap();

        let length =
            |name: &str| value[name].as_str().map(|text| (text.chars().count(), text.ends_with('…')));
        assert_eq!(length("path"), Some((1025, true)));
        assert_eq!(length("user_agent"), Some((257, true)));
        assert_eq!(length("host"), Some((256, true)));
        assert_eq!(length("method"), Some((33, true)));
    }

    #[test]
    fn a_referer_loses_its_query() {
        let line = AccessLine { referer: Some(b"https://a.test/x?secret=1#y"), ..AccessLine::default() };

        assert!(written(&line).contains(r#""referer":"https://a.test/x""#));
    }

    #[test]
    fn tokens_are_redacted_in_every_field() {
        let token = "oct1.AAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let octets = Some(token.as_bytes());
        let text = Some(token);
        let line = AccessLine {
            request_id: text,
            host: octets,
            method: octets,
            path: octets,
            user: text,
            route: text,
            rule: text,
            user_agent: octets,
            referer: octets,
            detail: text,
            principal: text,
            ..AccessLine::default()
        };

        assert!(!written(&line).contains("AAAA"));
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
