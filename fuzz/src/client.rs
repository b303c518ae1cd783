//! The forwarding headers: who wrote the last trusted element decides, whatever strangers wrote before it.

use std::{net::IpAddr, path::Path};

use http::{HeaderName, HeaderValue};
use octroi::{
    checks::client,
    model::{ClientIp, HttpVersion, Reason, Tick, Verdict},
    policy::{ClientIpHeader, Policy},
    replay::{Described, Request, Sni},
};

use super::input::{Input, NOW, lines, policy};

/// Who connects: a trusted proxy.
const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// Judges one input: one byte, then the lines of the field.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let header = if input.byte().is_multiple_of(2) {
        ClientIpHeader::XForwardedFor
    } else {
        ClientIpHeader::Forwarded
    };
    let lines = lines(input.0);
    let Some(verdict) = judge(header, PROXY, &lines) else { return };
    match &verdict {
        Ok(client) => assert_eq!(ClientIp::from(client.addr()), *client),
        Err(reason) => assert!(matches!(reason, Reason::XffMalformed | Reason::XffTooLong)),
    }
    // A stranger's own header says nothing.
    let stranger: IpAddr = "198.51.100.9".parse().expect("an address");
    assert_eq!(judge(header, stranger, &lines), Some(Ok(ClientIp::from(stranger))));
    // The one who wrote the last element is believed for it, and an untrusted one there ends the walk.
    let last: &[u8] = match header {
        ClientIpHeader::XForwardedFor => b"203.0.113.7",
        ClientIpHeader::Forwarded => b"proto=https;for=203.0.113.7",
    };
    let appended =
        judge(header, PROXY, &[lines.as_slice(), &[last]].concat()).expect("the lines were fields");
    assert!(
        appended == Ok(ClientIp::from("203.0.113.7".parse::<IpAddr>().expect("an address")))
            || appended == Err(Reason::XffTooLong)
    );
    // Lines are one list; only a quote that does not end in its line could make a difference, and is refused when it is reached.
    if header == ClientIpHeader::XForwardedFor {
        assert_eq!(judge(header, PROXY, &[&lines.join(b",".as_slice())]), Some(verdict));
    }
}

/// Asks the check; `None` where a line cannot stand in a field.
fn judge(header: ClientIpHeader, source: IpAddr, lines: &[&[u8]]) -> Option<Result<ClientIp, Reason>> {
    let policy = policy_with(header);
    let name = match header {
        ClientIpHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        ClientIpHeader::Forwarded => http::header::FORWARDED,
    };
    let described = Described {
        certificate: None,
        listener: None,
        version: HttpVersion::Http11,
        method: "GET".to_owned(),
        url: "http://acme.example.test/".to_owned(),
        client: source,
        sni: Sni::Absent,
        cookie: None,
        bearer: None,
        headers: Vec::new(),
        head: None,
    };
    let mut request = Request::new(&described, policy).expect("a request");
    for line in lines {
        request.headers.append(&name, HeaderValue::from_bytes(line).ok()?);
    }
    let verdict: Verdict<_> = client::check(&request.view(NOW, Tick::from_nanos(0)), policy);
    Some(verdict.map(|client| client.ip).map_err(|deny| deny.reason))
}

fn policy_with(header: ClientIpHeader) -> &'static Policy {
    use std::sync::OnceLock;
    static FORWARDED: OnceLock<Policy> = OnceLock::new();
    match header {
        ClientIpHeader::XForwardedFor => policy(),
        ClientIpHeader::Forwarded => {
            FORWARDED.get_or_init(|| super::input::load("client_ip_header: forwarded"))
        }
    }
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let texts = [
        (0, "192.0.2.1"),
        (0, "192.0.2.1, 10.0.0.2\n10.0.0.3"),
        (0, "2001:db8::1, [2001:db8::1]:443, 192.0.2.1:80, 10.1.1.1"),
        (0, "unknown, ,, 10.0.0.1"),
        (0, "127.1, 10.0.0.1"),
        (0, "::ffff:192.0.2.1,::ffff:10.0.0.1"),
        (1, "for=192.0.2.1;proto=http, for=\"[2001:db8:1::1]:80\""),
        (1, "by=\"a,b\";for=10.0.0.9\nfor=10.0.0.8"),
        (1, "for=\"_x\", for=unknown, for=10.0.0.1"),
        (1, "for=\"192.0.2.1"),
    ];
    let mut seeds: Vec<Vec<u8>> = texts.map(|(header, text)| [&[header], text.as_bytes()].concat()).into();
    seeds.push([&[0], vec!["10.0.0.1"; 33].join(",").as_bytes()].concat());
    seeds
}
