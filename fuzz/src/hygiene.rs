//! A request's head: what the lint lets pass, a lenient library reads as the same request, and the checks find one meaning in it.

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use octroi::{
    checks::hygiene::{Body, check, lint},
    model::{HttpVersion, Reason, Tick},
    policy::Limits,
    replay::{Described, Request, Sni},
};

use super::input::{Input, NOW, policy};

/// Judges one input: one byte, then a head.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let small = input.byte() % 4 == 3;
    let head = input.0;
    let ours = policy().limits;
    let limits = if small {
        Limits { header_bytes: 200, header_count: 4, field_bytes: 60, path_bytes: 20, uri_bytes: 40, ..ours }
    } else {
        ours
    };
    let linted = lint(head, &limits);
    if lint(head, &ours).is_err() {
        assert!(linted.is_err(), "smaller limits let more pass");
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut read = httparse::Request::new(&mut fields);
    let whole = matches!(read.parse(head), Ok(httparse::Status::Complete(bytes)) if bytes == head.len());
    if linted.is_ok() {
        assert!(whole, "the library does not read what the lint lets pass");
        assert!(head.len() <= limits.header_bytes && read.headers.len() <= limits.header_count);
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let version = read.version.expect("a version");
        let (method, target) = (read.method.expect("a method"), read.path.expect("a target"));
        assert_eq!(line, format!("{method} {target} HTTP/1.{version}").as_bytes());
    }
    if whole {
        judge(head, &read, &limits, linted.is_ok());
    }
}

/// Runs the whole check over the head as the library reads it, as HTTP/1 and, with the same fields, as HTTP/2.
fn judge(head: &[u8], read: &httparse::Request<'_, '_>, limits: &Limits, linted: bool) {
    let mut request = described();
    request.version = if read.version == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 };
    request.method = read.method.unwrap_or_default().to_owned();
    request.target = read.path.unwrap_or_default().as_bytes().to_vec();
    request.head = Some(head.to_vec());
    request.headers = HeaderMap::new();
    for field in read.headers.iter() {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        else {
            assert!(!linted, "the lint lets a field pass that the library cannot carry");
            return;
        };
        request.headers.append(name, value);
    }
    let verdict = check(&request.view(NOW, Tick::from_nanos(0)), limits);
    match &verdict {
        Ok(clean) => {
            assert!(linted, "the check lets pass what the lint refuses");
            assert!(!matches!(clean.method, "CONNECT" | "TRACE" | "TRACK"));
            assert!(
                clean.target.starts_with('/') && clean.target.bytes().all(|byte| byte.is_ascii_graphic())
            );
            assert_eq!(clean.target.split('?').next(), Some(clean.path.raw()));
            assert_eq!(request.headers.get_all("host").iter().count(), 1);
            let host = String::from_utf8_lossy(request.headers["host"].as_bytes()).to_ascii_lowercase();
            assert!(host.starts_with(clean.host.as_str()));
            let (length, coding) =
                (request.headers.get("content-length"), request.headers.get("transfer-encoding"));
            match clean.body {
                Body::Unknown => {
                    assert!(
                        length.is_none()
                            && coding
                                .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
                    )
                }
                Body::Length(bytes) => assert_eq!(
                    (length.and_then(|text| text.to_str().ok()?.parse().ok()), coding),
                    (Some(bytes), None)
                ),
                Body::Absent => assert!(
                    coding.is_none()
                        && length.is_none_or(|text| text.as_bytes().iter().all(|byte| *byte == b'0'))
                ),
            }
        }
        Err(deny) => {
            assert!(!linted || deny.reason != Reason::HeadMismatch, "{deny:?}: both read the same bytes")
        }
    }

    request.authority = request.headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
    (request.version, request.head) = (HttpVersion::Http2, None);
    if let Ok(clean) = check(&request.view(NOW, Tick::from_nanos(0)), limits) {
        assert!(clean.target.starts_with('/') && clean.target.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(
            !request.headers.contains_key("transfer-encoding") && !request.headers.contains_key("connection")
        );
    }
}

fn described() -> Request {
    let described = Described {
        certificate: None,
        listener: None,
        version: HttpVersion::Http11,
        method: "GET".to_owned(),
        url: "http://acme.example.test/".to_owned(),
        client: "192.0.2.1".parse().expect("an address"),
        sni: Sni::Absent,
        cookie: None,
        bearer: None,
        headers: Vec::new(),
        head: None,
    };
    Request::new(&described, policy()).expect("a request")
}

/// Makes the seeds: good heads, and every one in `tests/hygiene.rs` that is written as one text.
pub fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mut heads: Vec<String> = [
        "GET / HTTP/1.1\r\nHost: acme.example.test\r\n\r\n",
        "GET https://acme.example.test/a?b=c HTTP/1.1\r\nHost: acme.example.test:443\r\nAccept: */*\r\n\r\n",
        "POST /login HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: acme.example.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: acme.example.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\nHost: a.test\n\n",
        "GET /a%2e%2e/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.test\r\nContent-Length: +1\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    ]
    .map(str::to_owned)
    .into();
    let tests = std::fs::read_to_string(root.join("tests/hygiene.rs")).expect("the tests of hygiene");
    let texts = tests.split('"').filter(|text| text.contains(" HTTP/1.") && text.contains("\\r\\n"));
    heads.extend(texts.map(|text| {
        text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")
    }));
    assert!(heads.len() > 20, "the tests hold heads");
    heads
        .into_iter()
        .enumerate()
        .map(|(at, head)| [&[u8::try_from(at % 4).unwrap_or(0)], head.as_bytes()].concat())
        .collect()
}
