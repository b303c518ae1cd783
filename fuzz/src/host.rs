//! Names: whatever is read as one has one form, and reading that form again gives the same.

use std::path::Path;

use octroi::model::{ClientIp, Host, HostPattern, ListenerName, Range, TenantName, UserId};

/// Judges one input: a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((host, port)) = Host::parse_authority(text) {
        let again = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        assert_eq!(Host::parse_authority(&again), Ok((host.clone(), port)));
        assert_ne!(port, Some(0));
        is_canonical(&host);
    }
    if let Ok(host) = text.parse::<Host>() {
        is_canonical(&host);
        assert_eq!(host.as_str().parse(), Ok(host.clone()));
        assert!(text.parse::<std::net::IpAddr>().is_err(), "{text} is an address");
        assert_eq!(text.parse(), Ok(HostPattern::Exact(host)));
    }
    if let Ok(HostPattern::Wildcard(parent)) = text.parse::<HostPattern>() {
        assert!(text.starts_with("*."));
        assert_eq!(text[2..].parse(), Ok(parent));
    }
    if let Ok(range) = text.parse::<Range>() {
        assert_eq!(range.to_string().parse(), Ok(range));
        assert!(range.first() <= range.last());
        // None lies within the IPv4-mapped block. One of IPv6 may reach over it (`::/80`), and matches no IPv4 client by that.
        assert_eq!(ClientIp::from(range.first()).addr(), range.first());
        let mapped = ClientIp::from("::ffff:192.0.2.1".parse::<std::net::IpAddr>().expect("an address"));
        assert!(!range.contains(mapped) || range.first().is_ipv4());
    }
    let tenant = text.parse::<TenantName>().map(|name| name.to_string()).ok();
    let listener = text.parse::<ListenerName>().map(|name| name.to_string()).ok();
    for name in tenant.into_iter().chain(listener) {
        assert!(
            name == text
                && (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        );
    }
    if let Ok(user) = text.parse::<UserId>() {
        assert!(
            user.as_str() == text
                && (1..=256).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        );
    }
}

fn is_canonical(host: &Host) {
    let text = host.as_str();
    assert!((1..=253).contains(&text.len()) && !text.ends_with('.'));
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
    );
    assert!(text.split('.').all(|label| (1..=63).contains(&label.len())));
}

/// Makes the seeds.
pub fn seeds(_root: &Path) -> Vec<Vec<u8>> {
    let long = format!("{}.example", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
    let mut seeds: Vec<Vec<u8>> = [
        "acme.example.test",
        "ACME.Example.Test.:443",
        "*.example.test",
        "xn--caf-dma.test:65535",
        "192.0.2.1",
        "192.0.2.0/24",
        "2001:db8::/32",
        "[2001:db8::1]:443",
        "::ffff:192.0.2.0/120",
        "::/80",
        "127.1",
        "a..b",
        "a.b.0x7f",
        "user@host",
        "host:0",
        "host:00443",
        "u_812",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    seeds.push(long.into_bytes());
    seeds
}
