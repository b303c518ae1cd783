//! Hygiene: what two readers might read differently is refused, just outside every bound and never inside it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use octroi::{
    checks::hygiene::lint,
    model::{HttpVersion, Reason},
    policy::RouteAccess,
    replay::Request,
};
use support::*;

fn head(text: &[u8]) -> Option<Reason> {
    lint(text, &LIMITS).err().map(|deny| deny.reason)
}

/// A head with these lines between Host and the end.
fn with(lines: &str) -> Option<Reason> {
    head(format!("POST /x HTTP/1.1\r\nHost: acme.test\r\n{lines}\r\n").as_bytes())
}

/// What a public tenant's gate says of a request.
fn refused(request: &Request) -> Option<Reason> {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.routes = table(vec![route("/", RouteAccess::Public)]);
    judged(request, &policy(vec![acme])).reason()
}

#[test]
fn a_plain_head_passes() {
    assert_eq!(head(b"GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n"), None);
    assert_eq!(head(b"GET / HTTP/1.0\r\nHost: acme.test\r\n\r\n"), None);
    assert_eq!(with("Accept: */*\r\nX-Tab:\ta\tb\r\nX-Latin: \u{e9}\r\nX-Empty:\r\n"), None);
}

#[test]
fn line_ends_are_cr_lf() {
    assert_eq!(head(b"GET / HTTP/1.1\nHost: acme.test\n\n"), Some(Reason::HeadOctet));
    assert_eq!(with("A: 1\nB: 2\r\n"), Some(Reason::HeadOctet));
    assert_eq!(with("A: 1\rB: 2\r\n"), Some(Reason::HeadOctet));
    assert_eq!(with("A: 1\r\r\n"), Some(Reason::HeadOctet));
}

#[test]
fn control_characters_are_refused_in_names_and_values() {
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r')) {
        let head = |before: &[u8], after: &[u8]| {
            let text = [b"GET / HTTP/1.1\r\nHost: a\r\n", before, &[byte], after, b"\r\n\r\n"].concat();
            lint(&text, &LIMITS).err().map(|deny| deny.reason)
        };
        assert_eq!(head(b"A: b", b"c"), Some(Reason::HeadOctet), "{byte:#x}");
        assert_eq!(head(b"A", b": b"), Some(Reason::HeadOctet), "{byte:#x}");
    }
}

#[test]
fn a_target_has_what_a_url_has() {
    let target = |target: &str| head(format!("GET {target} HTTP/1.1\r\nHost: acme.test\r\n\r\n").as_bytes());
    for bad in ["/a?b=\"c\"", "/a\"b", "/a<b", "/a?b>c", "/a`b", "/a#b", "http://acme.test/?a=\"b"] {
        assert_eq!(target(bad), Some(Reason::PathEncoding), "{bad}");
    }
    // In a query the HTTP library takes these, and so do browsers.
    for fine in ["/a?b=`c`", "/a?b=|{}^[]\\", "/a?b=%22c%22", "http://acme.test/a"] {
        assert_eq!(target(fine), None, "{fine}");
    }
}

#[test]
fn a_request_line_is_three_words_with_single_spaces() {
    let line = |line: &str| head(format!("{line}\r\nHost: acme.test\r\n\r\n").as_bytes());

    for bad in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "G@T / HTTP/1.1",
        "",
    ] {
        assert_eq!(line(bad), Some(Reason::HeadSyntax), "{bad:?}");
    }
    assert_eq!(line("GET /\u{e9} HTTP/1.1"), Some(Reason::HeadOctet));
    assert_eq!(head(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Reason::HeadSyntax));
}

#[test]
fn a_field_line_is_a_token_a_colon_and_a_value() {
    for bad in [
        "no colon\r\n",
        ": value\r\n",
        "A : b\r\n",
        "A\t: b\r\n",
        "A(b): c\r\n",
        "A: b\r\n folded\r\n",
        "A: b\r\n\tfolded\r\n",
        " A: b\r\n",
    ] {
        assert_eq!(with(bad), Some(Reason::HeadSyntax), "{bad:?}");
    }
    assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n"), Some(Reason::HeadSyntax));
    assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"), Some(Reason::HeadSyntax));
    assert_eq!(head(b""), Some(Reason::HeadSyntax));
}

#[test]
fn the_length_of_a_body_is_said_once_and_clearly() {
    assert_eq!(with("Content-Length: 0\r\n"), None);
    assert_eq!(with("Content-Length:  123456789012345678 \r\n"), None);
    assert_eq!(with("transfer-encoding: Chunked\r\n"), None);
    for bad in ["", "+1", "-1", "1,1", "1 1", "0x10", "1.0", "1234567890123456789", "١"] {
        assert_eq!(with(&format!("Content-Length: {bad}\r\n")), Some(Reason::FramingCl), "{bad:?}");
    }
    assert_eq!(with("Content-Length: 1\r\ncontent-length: 1\r\n"), Some(Reason::FramingCl));
    for bad in [
        "",
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "\"chunked\"",
        "chunked;a=b",
        "xchunked",
        "chunked,",
    ] {
        assert_eq!(with(&format!("Transfer-Encoding: {bad}\r\n")), Some(Reason::FramingTe), "{bad:?}");
    }
    assert_eq!(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Some(Reason::FramingTe));
    assert_eq!(with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Some(Reason::FramingClTe));
    assert_eq!(with("Transfer-Encoding: x\r\nContent-Length: y\r\n"), Some(Reason::FramingClTe));
}

#[test]
fn a_body_of_http_1_0_has_a_length() {
    let old = |line: &str| head(format!("POST / HTTP/1.0\r\nHost: a\r\n{line}\r\n").as_bytes());

    assert_eq!(old("Content-Length: 0\r\n"), None);
    assert_eq!(old("Content-Length: 1\r\n"), None);
    assert_eq!(old("Content-Length: +1\r\n"), Some(Reason::FramingCl));
    assert_eq!(old("Content-Length: 1\r\nContent-Length: 1\r\n"), Some(Reason::FramingCl));
    assert_eq!(old("Transfer-Encoding: chunked\r\n"), Some(Reason::FramingTe));
}

#[test]
fn what_stands_once_stands_once() {
    assert_eq!(with("host: acme.test\r\n"), Some(Reason::HeadDuplicate));
    assert_eq!(with("Authorization: Basic x\r\n"), None);
    assert_eq!(with("Authorization: Basic x\r\nAuthorization: Basic x\r\n"), Some(Reason::HeadDuplicate));
    assert_eq!(with("Cookie: a=1\r\nCookie: b=2\r\n"), None);
}

#[test]
fn the_only_expectation_is_100_continue() {
    for fine in ["100-continue", "100-Continue", "100-CONTINUE \t"] {
        assert_eq!(with(&format!("Expect: {fine}\r\n")), None, "{fine:?}");
    }
    for bad in ["100-continue, x", "100-continued", "", "200-ok"] {
        assert_eq!(with(&format!("Expect: {bad}\r\n")), Some(Reason::Expect), "{bad:?}");
    }
    assert_eq!(with("Expect: 100-continue\r\nExpect: 100-continue\r\n"), Some(Reason::Expect));
}

#[test]
fn the_bounds_of_a_head_hold_on_both_sides() {
    let fields = |count: usize| with(&"A: b\r\n".repeat(count));
    assert_eq!(fields(LIMITS.header_count - 1), None);
    assert_eq!(fields(LIMITS.header_count), Some(Reason::TooManyFields));

    let field = |bytes: usize| with(&format!("A:{}\r\n", "b".repeat(bytes - 2)));
    assert_eq!(field(LIMITS.field_bytes), None);
    assert_eq!(field(LIMITS.field_bytes + 1), Some(Reason::FieldTooLarge));

    let target = |bytes: usize| {
        head(format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "q".repeat(bytes - 2)).as_bytes())
    };
    assert_eq!(target(LIMITS.uri_bytes), None);
    assert_eq!(target(LIMITS.uri_bytes + 1), Some(Reason::UriTooLong));
    assert_eq!(target(LIMITS.header_bytes), Some(Reason::UriTooLong));

    let whole = |bytes: usize| {
        let begin = "GET / HTTP/1.1\r\nHost: a\r\n";
        let fill = bytes - begin.len() - 2 - 3 * 5;
        let lines =
            [fill / 3, fill / 3, fill - 2 * (fill / 3)].map(|bytes| format!("A: {}\r\n", "b".repeat(bytes)));
        head(format!("{begin}{}\r\n", lines.concat()).as_bytes())
    };
    assert_eq!(whole(LIMITS.header_bytes), None);
    assert_eq!(whole(LIMITS.header_bytes + 1), Some(Reason::HeadTooLarge));
}

#[test]
fn an_unfinished_head_over_the_limit_is_too_large() {
    assert_eq!(head(&[b'a'; 5000]), Some(Reason::HeadTooLarge));
    assert_eq!(head(&[&b"GET /"[..], &[b'a'; 5000]].concat()), Some(Reason::UriTooLong));
}

#[test]
fn what_the_library_read_must_be_what_was_received() {
    let received = |change: &dyn Fn(&mut Request)| {
        let mut request = get("https://acme.test/a").header("accept", "*/*");
        change(&mut request);
        refused(&request)
    };
    let mismatch = Some(Reason::HeadMismatch);

    assert_eq!(received(&|_| {}), None);
    assert_eq!(received(&|request| request.method = "HEAD".into()), mismatch);
    assert_eq!(received(&|request| request.target = b"/b".into()), mismatch);
    assert_eq!(received(&|request| request.version = HttpVersion::Http10), mismatch);
    assert_eq!(
        received(&|request| request.headers.insert("host", "b.test".parse().unwrap()).map_or((), drop)),
        mismatch
    );
    assert_eq!(received(&|request| request.headers.remove("accept").map_or((), drop)), mismatch);
    assert_eq!(received(&|request| request.head = None), mismatch);
    assert_eq!(
        received(&|request| {
            request.headers.remove("accept");
            request.headers.insert("content-length", "5".parse().unwrap());
        }),
        mismatch
    );
}

#[test]
fn an_absolute_target_names_the_same_host() {
    let absolute =
        |target: &str| refused(&get("https://acme.test/").changed(|request| request.target = target.into()));

    assert_eq!(absolute("https://acme.test/a?b"), None);
    assert_eq!(absolute("HTTP://ACME.test"), None);
    assert_eq!(absolute("https://other.test/"), Some(Reason::AuthorityConflict));
    assert_eq!(absolute("https://acme.test:443/"), Some(Reason::AuthorityConflict));
    assert_eq!(absolute("https://acme.test@other.test/"), Some(Reason::AuthorityConflict));
    assert_eq!(absolute("ftp://acme.test/"), Some(Reason::TargetForm));
    assert_eq!(absolute("https://acme.test?x"), Some(Reason::TargetForm));
    assert_eq!(absolute("*"), Some(Reason::TargetForm));
    assert_eq!(absolute("acme.test:443"), Some(Reason::TargetForm));
    assert_eq!(absolute("/a#b"), Some(Reason::PathEncoding));
    assert_eq!(absolute("/a?b#c"), Some(Reason::PathEncoding));
}

#[test]
fn an_absolute_target_is_judged_by_its_authority_even_when_the_library_cut_it_off() {
    let mut request =
        get("https://acme.test/").changed(|request| request.target = b"https://other.test/a".into());
    request.target = b"/a".into();

    assert_eq!(refused(&request), Some(Reason::AuthorityConflict));
}

#[test]
fn there_is_one_host_in_host_syntax() {
    let host = |host: &str| {
        refused(&get("https://acme.test/").changed(|request| {
            request.headers.insert("host", host.parse().unwrap());
        }))
    };

    assert_eq!(host("ACME.test."), None);
    assert_eq!(host("acme.test:443"), None);
    assert_eq!(host(""), Some(Reason::HostMissing));
    assert_eq!(host("acme.test:"), Some(Reason::HostSyntax));
    assert_eq!(host("user@acme.test"), Some(Reason::HostSyntax));
    assert_eq!(host("[2001:db8::1]"), Some(Reason::HostSyntax));
    assert_eq!(host("192.0.2.1"), Some(Reason::HostUnknown));
    assert_eq!(host("acme.test, acme.test"), Some(Reason::HostSyntax));
    assert_eq!(
        refused(&get("https://acme.test/").changed(|request| drop(request.headers.remove("host")))),
        Some(Reason::HostMissing)
    );
}

#[test]
fn the_path_is_refused_not_repaired() {
    let path = |path: &str| refused(&get(&format!("https://acme.test{path}")));

    assert_eq!(path("/a/%2e%2e/b"), Some(Reason::PathDotSegment));
    assert_eq!(path("/%252e"), Some(Reason::PathEncoding));
    assert_eq!(path("/a\\b"), Some(Reason::PathEncoding));
    assert_eq!(path("/a%5cb"), Some(Reason::PathEncoding));
    assert_eq!(path(&format!("/{}", "a".repeat(LIMITS.path_bytes - 1))), None);
    assert_eq!(path(&format!("/{}", "a".repeat(LIMITS.path_bytes))), Some(Reason::UriTooLong));
}

#[test]
fn methods_that_no_route_can_list_are_unknown() {
    for method in ["CONNECT", "TRACE", "TRACK", "get", "GET!"] {
        assert_eq!(
            refused(&get("https://acme.test/").method(method)),
            Some(Reason::MethodUnknown),
            "{method}"
        );
    }
    assert_eq!(refused(&get("https://acme.test/").method("PROPFIND")), Some(Reason::MethodNotAllowed));
}

#[test]
fn http_2_has_the_same_rules() {
    let h2 = |name: &'static str, value: &str| refused(&get("https://acme.test/").header(name, value).h2());

    assert_eq!(refused(&get("https://acme.test/").h2()), None);
    assert_eq!((h2("te", "trailers"), h2("te", "Trailers")), (None, None));
    assert_eq!(h2("expect", "100-Continue"), None);
    assert_eq!(h2("te", "gzip"), Some(Reason::ConnectionField));
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        assert_eq!(h2(name, "x"), Some(Reason::ConnectionField), "{name}");
    }
    assert_eq!(h2("transfer-encoding", "chunked"), Some(Reason::FramingTe));
    let post = |value: &str| {
        refused(
            &get("https://acme.test/")
                .changed(|request| request.method = "POST".into())
                .header("content-length", value)
                .h2(),
        )
    };
    assert_eq!((post("10"), post("0"), h2("content-length", "0")), (None, None, None));
    assert_eq!(h2("content-length", "10"), Some(Reason::BodyNotAllowed));
    assert_eq!(h2("content-length", "+1"), Some(Reason::FramingCl));
    assert_eq!(h2("expect", "x"), Some(Reason::Expect));
    assert_eq!(
        refused(&get("https://acme.test/").header("content-length", "1").header("content-length", "1").h2()),
        Some(Reason::FramingCl)
    );
    assert_eq!(refused(&get("https://acme.test/").bearer("a").bearer("a").h2()), Some(Reason::HeadDuplicate));
}

#[test]
fn http_2_names_its_host_once() {
    let request = || get("https://acme.test/").h2();

    assert_eq!(refused(&request().header("host", "acme.test")), None);
    assert_eq!(refused(&request().header("host", "ACME.test")), None);
    for other in ["other.test", "acme.test:443", ""] {
        assert_eq!(refused(&request().header("host", other)), Some(Reason::AuthorityConflict), "{other:?}");
    }
    let without = || request().changed(|request| request.authority = None);
    assert_eq!(refused(&without()), Some(Reason::HostMissing));
    // A proxy in front may say it so (RFC 9113, section 8.3.1).
    assert_eq!(refused(&without().header("host", "acme.test")), None);
    assert_eq!(refused(&without().header("host", "")), Some(Reason::HostMissing));
    assert_eq!(
        refused(&without().header("host", "acme.test").header("host", "acme.test")),
        Some(Reason::HeadDuplicate)
    );
    assert_eq!(refused(&request().changed(|request| request.target = b"*".into())), Some(Reason::TargetForm));
}

#[test]
fn http_2_has_the_same_bounds() {
    let fields = |count: usize| {
        refused(&(0..count).fold(get("https://acme.test/").h2(), |request, _| request.header("a", "b")))
    };
    assert_eq!(fields(LIMITS.header_count), None);
    assert_eq!(fields(LIMITS.header_count + 1), Some(Reason::TooManyFields));

    let field = |bytes: usize| refused(&get("https://acme.test/").header("a", &"b".repeat(bytes - 1)).h2());
    assert_eq!(field(LIMITS.field_bytes), None);
    assert_eq!(field(LIMITS.field_bytes + 1), Some(Reason::FieldTooLarge));

    let long = "b".repeat(LIMITS.field_bytes - 1);
    assert_eq!(
        refused(&get("https://acme.test/").header("a", &long).header("b", &long).h2()),
        Some(Reason::HeadTooLarge)
    );
}

#[test]
fn cookies_are_bounded() {
    let cookies =
        |count: usize| refused(&get("https://acme.test/").header("cookie", &vec!["a=1"; count].join(";")));

    assert_eq!(cookies(100), None);
    assert_eq!(cookies(101), Some(Reason::CookieTooLarge));
}

/// A byte that one reader skips and another does not would hide the field. `tests/third_party.rs` runs the gadgets of others.
#[test]
fn no_disguise_of_transfer_encoding_passes() {
    let passes = |lines: &[u8]| {
        let text =
            [b"POST /p HTTP/1.1\r\n", lines, b"\r\nHost: acme.test\r\nContent-Length: 5\r\n\r\n"].concat();
        lint(&text, &LIMITS).is_ok()
    };

    for byte in 0..=u8::MAX {
        let byte = [byte];
        let before = [&byte, &b"Transfer-Encoding: chunked"[..]].concat();
        let behind = [b"Transfer-Encoding", &byte[..], b": chunked"].concat();
        // With a letter before or behind it, it is another field.
        let other = byte[0].is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte[0]);
        assert_eq!((passes(&before), passes(&behind)), (other, other), "{}", byte.escape_ascii());
        for lines in [
            [b"Transfer-Encoding:", &byte[..], b"chunked"].concat(),
            [b"Transfer-Encoding: chunked", &byte[..]].concat(),
            [b"Transfer-Encoding:", &byte[..], b"chunked", &byte[..]].concat(),
            [b"Transfer-Encoding: chunked", &byte[..], b"\r\nA: b"].concat(),
            [b"Transfer-Encoding: ", &byte[..], b"\r\n chunked"].concat(),
        ] {
            assert!(!passes(&lines), "{}", lines.escape_ascii());
        }
        // What one reader takes for the end of a line, and another does not.
        let split = [b"A: b", &byte[..], b"Transfer-Encoding: chunked"].concat();
        let is_text = byte[0] == b'\t' || (byte[0] >= 0x20 && byte[0] != 0x7f);
        assert_eq!(passes(&split), is_text, "{}", split.escape_ascii());
    }
    for lines in [
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding:\r\n chunked",
        "A: b\r\n Transfer-Encoding: chunked",
        "\r\nTransfer-Encoding: chunked",
        "A: b\r\r\nTransfer-Encoding: chunked",
        "transfer-encoding: chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding:",
    ] {
        assert!(!passes(lines.as_bytes()), "{lines:?}");
    }
    assert!(passes(b"A: Transfer-Encoding: chunked"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_lint_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = lint(&bytes, &LIMITS);
    }

    #[test]
    fn no_damaged_head_passes_with_a_line_that_two_readers_cut_differently(at in 0_usize..120, byte in proptest::prelude::any::<u8>()) {
        let mut text = b"POST /a/b?c=d HTTP/1.1\r\nHost: acme.test\r\nAccept: */*\r\nContent-Length: 10\r\nX-Note: hello there\r\n\r\n".to_vec();
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        if lint(&text, &LIMITS).is_ok() {
            let inner = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = inner.split("\r\n").collect();
            proptest::prop_assert_eq!(lines.len(), 7);
            proptest::prop_assert!(lines.iter().all(|line| !line.contains(['\r', '\n', '\0'])));
            proptest::prop_assert!(lines[1..5].iter().all(|line| line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && !name.contains([' ', '\t']))));
        }
    }

    #[test]
    fn no_request_makes_the_pipeline_panic(
        target in "[!-~]{0,60}", host in "[ -~]{0,30}", cookie in "[ -~]{0,60}", forwarded in "[ -~]{0,60}",
    ) {
        let request = get("https://acme.test/").from("10.0.0.1").changed(|request| {
            request.target = target.into_bytes();
            for (name, value) in [("host", host), ("cookie", cookie), ("x-forwarded-for", forwarded)] {
                request.headers.insert(name, value.trim().parse().unwrap());
            }
        });
        let mut acme = tenant("acme", &["acme.test"]);
        acme.routes = table(vec![route("/", RouteAccess::Public)]);
        let _ = judged(&request, &policy(vec![acme]));
    }
}

#[test]
fn only_what_no_page_and_no_correct_client_sends_is_an_offence() {
    let offence = |text: &[u8]| lint(text, &LIMITS).expect_err("refused").is_offence();
    let field =
        |line: &str| offence(format!("POST /x HTTP/1.1\r\nHost: acme.test\r\n{line}\r\n\r\n").as_bytes());

    for line in [
        "no colon",
        ": b",
        "A : b",
        " folded: b",
        "A: b\0c",
        "A: b\rc",
        "A: b\nC: d",
        "Host: acme.test",
        "Content-Length: x",
    ] {
        assert!(field(line), "{line:?}");
    }
    for coding in ["xchunked", "chunked, chunked", "chunked, gzip", "", ",chunked"] {
        assert!(field(&format!("Transfer-Encoding: {coding}")), "{coding}");
    }
    for coding in ["gzip, chunked", "Identity", "deflate,X-Gzip , Chunked"] {
        assert!(!field(&format!("Transfer-Encoding: {coding}")), "{coding}");
    }
    for line in ["A: b\x01c", "A: \x7f", "Cookie: a=\x0b"] {
        assert!(!field(line), "{line:?}");
    }
    assert!(offence(b"GET / HTTP/1.1\nHost: a\n\n"));
    assert!(offence(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"));
    for other in [
        &b"\0\x03\0\x08\x21\x12\xa4\x42\n\r\n\r\n"[..],
        b"\x16\x03\x01\0\n\r\n\r\n",
        b"EHLO a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHos",
    ] {
        assert!(!offence(other), "{}", other.escape_ascii());
    }
}
