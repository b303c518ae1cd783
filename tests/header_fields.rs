//! Which fields reach the app, and which the client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]
#![cfg(feature = "gateway")]

mod harness;

use std::net::SocketAddr;

use harness::{
    Octroi, Upstream,
    client::{self, Answer, exchange, raw, raw_tls},
    http2_server::Http2Server,
    upstream::Got,
};

fn config(upstream: &Upstream, calls: SocketAddr) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true, public_port: 80}}
  - {{name: http, address: "127.0.0.1:0", redirect_to_https: 443}}
  - {{name: front, address: "127.0.0.1:0", plaintext: true, tls_in_front: true, trusted_proxies: [127.0.0.0/8]}}
  - {{name: stranger, address: "127.0.0.1:0", plaintext: true, tls_in_front: true, trusted_proxies: [192.0.2.0/24]}}
  - {{name: behind, address: "127.0.0.1:0", plaintext: true, trusted_proxies: [127.0.0.0/8]}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}], login_url: /login}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
  calls: {{servers: [{{address: "{calls}"}}], protocol: http2}}
tenants:
  calls: {{hosts: [calls.test], upstream: calls, routes: {{unmatched: public}}}}
  quiet:
    hosts: [quiet.test]
    upstream: app
    routes: {{unmatched: session, rules: [{{path: /open/, access: public, methods: [GET]}}, {{path: /login, access: public}}]}}
    headers: {{response: {{strict-transport-security: "", x-own: "yes", cache-control: "public, max-age=60", referrer-policy: same-origin}}}}
  asks:
    hosts: [asks.test]
    upstream: app
    routes: {{unmatched: public}}
    headers: {{response: {{strict-transport-security: "max-age=9; includeSubDomains"}}}}
  acme: {{hosts: [acme.test], upstream: app, routes: {{unmatched: public}}}}
  api: {{hosts: [api.test], upstream: app, routes: {{unmatched: public}}, headers: {{request: {{keep: [x-auth-token, x-user-id], drop: [x-shop-*, x-branch]}}}}}}
"#,
        upstream.addr
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, upstream.addr));
    (octroi, upstream)
}

/// What the app is told of host, port and scheme.
fn told(got: &Got) -> [&str; 4] {
    ["host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"].map(|name| got.field(name).unwrap())
}

#[test]
fn what_only_a_gateway_may_say_never_reaches_the_app_unless_the_realm_means_its_own() {
    let (octroi, upstream) = started();
    let spoofed = [
        "Client-Cert",
        "X-Remote-User",
        "Remote-User",
        "X-Authenticated",
        "X-Client-Verify",
        "X-MS-CLIENT-PRINCIPAL-NAME",
        "X-Amzn-Oidc-Data",
        "Oidc-Claim-Sub",
        "Front-End-Https",
        "X-Scheme",
        "Impersonate-User",
        "X.Remote.User",
        "X-Auth-User",
        "Octroi-User",
        "X-Forwarded-User",
        "remote_user",
        "X_Auth_Token",
        "X.Auth.Token",
    ];
    let honest = ["X-Shopping", "X-Requested-With", "X-Amzn-Trace-Id", "X-User-Agent", "X-Branches"];
    let own = ["X-Auth-Token", "X-User-Id"];
    let dropped = ["X-Shop-Id", "X-Branch", "x.branch"];

    for version in ["--http1.1", "--http2"] {
        let ask = |host: &str| {
            let all = spoofed.iter().chain(&honest).chain(&own).chain(&dropped);
            let answer = all
                .fold(octroi.curl(host, "/x").args(&[version]), |curl, name| {
                    curl.header(&format!("{name}: mine"))
                })
                .get();
            assert_eq!(answer.status, 200, "{answer:?}");
            let got = upstream.only();
            let mine = got.fields.iter().filter(|(_, value)| value == "mine");
            let mut fields: Vec<String> = mine.map(|(name, _)| name.to_lowercase()).collect();
            fields.sort_unstable();
            fields
        };
        let sorted = |groups: &[&[&str]]| {
            let mut names: Vec<String> =
                groups.iter().copied().flatten().map(|name| name.to_lowercase()).collect();
            names.sort_unstable();
            names
        };

        assert_eq!(ask("acme.test"), sorted(&[&honest, &dropped]), "{version}");
        assert_eq!(ask("api.test"), sorted(&[&honest, &own]), "{version}");
    }
}

#[test]
fn the_host_reaches_the_app_with_its_port_unless_it_is_the_scheme_s_own() {
    let (octroi, upstream) = started();
    let port = octroi.addr("public").port().to_string();
    let with_port = format!("acme.test:{port}");

    for version in ["--http1.1", "--http2"] {
        let ask = |args: &[&str]| {
            assert_eq!(octroi.curl("acme.test", "/x").args(&[version]).args(args).status(), 200);
            upstream.only()
        };
        assert_eq!(told(&ask(&[])), [&with_port, &with_port, &port, "https"], "{version}");
        assert_eq!(
            told(&ask(&["-H", "Host: acme.test"])),
            ["acme.test", "acme.test", "443", "https"],
            "{version}"
        );
        assert_eq!(
            told(&ask(&["-H", "Host: ACME.test:443"])),
            ["acme.test", "acme.test", "443", "https"],
            "{version}"
        );
    }
    let ask = |listener: &str, host: &str| {
        assert_eq!(octroi.plain(listener, "acme.test", "/x").header(&format!("Host: {host}")).status(), 200);
        upstream.only()
    };
    assert_eq!(told(&ask("plain", "acme.test:80")), ["acme.test", "acme.test", "80", "http"]);
    assert_eq!(told(&ask("plain", "acme.test:443")), ["acme.test:443", "acme.test:443", "443", "http"]);
    assert_eq!(told(&ask("plain", "acme.test")), ["acme.test", "acme.test", "80", "http"]);
}

#[test]
fn an_upstream_of_http2_gets_the_port_in_its_authority() {
    let (app, server) = (Upstream::start(), Http2Server::start());
    let octroi = Octroi::start(&config(&app, server.addr));
    let port = octroi.addr("public").port();

    for version in ["--http1.1", "--http2"] {
        octroi.curl("calls.test", "/x").args(&[version]).get();
        octroi.curl("calls.test", "/x").args(&[version, "-H", "Host: calls.test"]).get();
        let said: Vec<_> = server
            .take()
            .into_iter()
            .map(|call| (call.authority, call.fields["x-forwarded-host"].clone()))
            .collect();
        let with_port = format!("calls.test:{port}");
        assert_eq!(
            said.iter().map(|(authority, _)| authority.as_str()).collect::<Vec<_>>(),
            [&*with_port, "calls.test"],
            "{version}"
        );
        assert!(said.iter().all(|(authority, forwarded)| forwarded == authority), "{said:?}");
    }
}

#[test]
fn a_trusted_proxy_says_whether_tls_ended_in_front_and_nobody_else_does() {
    let (octroi, upstream) = started();
    let ask = |listener: &str, fields: &[&str]| -> Answer {
        let curl = octroi.plain(listener, "acme.test", "/x?h-Set-Cookie=a%3Db").header("Host: acme.test");
        fields.iter().fold(curl, |curl, field| curl.header(field)).get()
    };
    let over_tls = |listener: &str, fields: &[&str]| {
        let answer = ask(listener, fields);
        assert_eq!(answer.status, 200, "{fields:?}");
        let got = upstream.only();
        let is_secure = got.field("x-forwarded-proto") == Some("https");
        // Whatever asks whether it is TLS gets the same answer.
        assert_eq!(got.field("x-forwarded-port"), Some(if is_secure { "443" } else { "80" }));
        assert_eq!(answer.field("strict-transport-security").is_some(), is_secure, "{fields:?}");
        assert_eq!(answer.field("set-cookie").unwrap().contains("Secure"), is_secure, "{fields:?}");
        is_secure
    };

    for said in ["https", "HTTPS", "wss", "http, https"] {
        assert!(over_tls("front", &[&format!("X-Forwarded-Proto: {said}")]), "{said}");
    }
    for said in ["http", "ws", "https, http", "https,", "httpss", "on"] {
        assert!(!over_tls("front", &[&format!("X-Forwarded-Proto: {said}")]), "{said}");
    }
    assert!(over_tls("front", &["X-Forwarded-Proto: http", "X-Forwarded-Proto: https"]));
    assert!(!over_tls("front", &["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"]));
    assert!(!over_tls("front", &[]));
    assert!(!over_tls("front", &["Forwarded: for=192.0.2.1;proto=https"]));
    assert!(!over_tls("stranger", &["X-Forwarded-Proto: https"]));
    assert!(!over_tls("behind", &["X-Forwarded-Proto: https"]));
    // Refusals know it too.
    let refused = |proto: &str| {
        octroi.plain("front", "asks.test", "/a/..%2f").header("Host: asks.test").header(proto).get()
    };
    assert_eq!(refused("X-Forwarded-Proto: https").status, 400);
    let denied =
        |proto: &str| octroi.plain("front", "asks.test", "/x").args(&["-X", "BREW"]).header(proto).get();
    assert_eq!(denied("X-Forwarded-Proto: https").status, 405);
    assert_eq!(
        denied("X-Forwarded-Proto: https").field("strict-transport-security"),
        Some("max-age=9; includeSubDomains")
    );
    assert_eq!(denied("X-Forwarded-Proto: http").field("strict-transport-security"), None);
    // A page in clear text is another site.
    let post = |proto: &str, origin: &str| {
        let curl = octroi
            .plain("front", "acme.test", "/x")
            .header("Host: acme.test")
            .args(&["-X", "POST"])
            .header(proto);
        curl.header(&format!("Origin: {origin}")).header("Cookie: __Host-octroi=x").status()
    };
    assert_eq!(
        (
            post("X-Forwarded-Proto: https", "https://acme.test"),
            post("X-Forwarded-Proto: http", "http://acme.test")
        ),
        (200, 200)
    );
    upstream.take();
}

#[test]
fn forwarded_says_the_scheme_of_the_hop_that_names_the_client() {
    let upstream = Upstream::start();
    let octroi = Octroi::start(
        &config(&upstream, upstream.addr).replace("threads: 2", "threads: 2, client_ip_header: forwarded"),
    );
    let proto = |field: &str| {
        assert_eq!(
            octroi
                .plain("front", "acme.test", "/x")
                .header("X-Forwarded-Proto: https")
                .header(field)
                .status(),
            200
        );
        upstream.only().field("x-forwarded-proto").unwrap().to_owned()
    };

    assert_eq!(proto("Forwarded: for=192.0.2.1;proto=https"), "https");
    assert_eq!(proto("Forwarded: for=192.0.2.1"), "http");
    assert_eq!(proto("Forwarded: for=192.0.2.1;proto=https, for=127.0.0.9;proto=http"), "https");
    assert_eq!(proto("Forwarded: for=192.0.2.1;proto=https, for=198.51.100.1;proto=http"), "http");
    assert_eq!(proto("X-Other: 1"), "http");
}

#[test]
fn a_tenant_s_word_about_default_fields_holds_on_our_own_pages() {
    let (octroi, _upstream) = started();
    let hsts = |answer: &Answer| answer.field("strict-transport-security").map(str::to_owned);
    let page = |host: &str, args: &[&str], path: &str| octroi.curl(host, path).args(args).get();

    for version in ["--http1.1", "--http2"] {
        for (path, args, status) in [
            ("/open/x", &[][..], 200),
            ("/in", &[][..], 401),
            ("/in", &["-H", "Accept: text/html", "-H", "Sec-Fetch-Mode: navigate"], 303),
            ("/open/x", &["-X", "POST"], 405),
            ("/a/../b", &[], 400),
            ("/open/close", &["-H", "Host: elsewhere.test"], 421),
            ("/login", &["-H", &format!("X-Long: {}", "x".repeat(20_000))], 431),
        ] {
            let answer = page("quiet.test", &[&[version], args].concat(), path);
            assert_eq!(answer.status, status, "{path} {args:?}");
            assert_eq!(
                (hsts(&answer), answer.field("x-own")),
                (None, Some("yes")),
                "{version} {path}: {answer:?}"
            );
            assert_eq!(answer.field("referrer-policy"), Some("same-origin"), "{version} {path}");
            let kept = if status == 200 { "public, max-age=60" } else { "no-store" };
            assert_eq!(answer.all("cache-control"), [kept], "{version} {path}");
        }
        assert_eq!(
            hsts(&page("asks.test", &[version], "/a/../b")).as_deref(),
            Some("max-age=9; includeSubDomains")
        );
        assert_eq!(hsts(&page("acme.test", &[version], "/a/../b")).as_deref(), Some("max-age=63072000"));
        assert_eq!(hsts(&page("acme.test", &[version], "/x")).as_deref(), Some("max-age=63072000"));
    }
    // A head that the library refuses before anybody else sees it.
    let ca = octroi.path().join("certs/ca.pem");
    for (host, said) in [("quiet.test", None), ("asks.test", Some("max-age=9; includeSubDomains"))] {
        let mut stream = raw_tls(octroi.addr("public"), host, &ca, &[b"http/1.1"]);
        let answer =
            client::parse(&exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n"), 0);
        assert_eq!((answer.status, hsts(&answer).as_deref()), (400, said));
    }
    // Never in clear text, whatever is asked for.
    for host in ["quiet.test", "asks.test"] {
        let answer = octroi.plain("http", host, "/x").get();
        assert_eq!((answer.status, hsts(&answer)), (308, None));
        assert_eq!(octroi.plain("plain", host, "/open/x").get().field("strict-transport-security"), None);
    }
    assert_eq!(octroi.plain("http", "quiet.test", "/x").get().field("x-own"), Some("yes"));
    let unknown = client::parse(
        &exchange(
            &mut raw(octroi.addr("plain")),
            b"GET / HTTP/1.1\r\nHost: no.test\r\nConnection: close\r\n\r\n",
        ),
        0,
    );
    assert_eq!((unknown.status, unknown.field("x-frame-options")), (421, Some("deny")));
}

#[test]
fn an_app_s_policy_that_says_nothing_of_framing_leaves_the_protection_there() {
    let (octroi, _upstream) = started();
    let ask = |query: &str| {
        let answer = octroi.curl("acme.test", &format!("/x?{query}")).get();
        let said = answer.all("content-security-policy").into_iter().map(str::to_owned).collect::<Vec<_>>();
        (said, answer.field("x-frame-options").map(str::to_owned))
    };
    let is = |policies: &[&str], options: Option<&str>| {
        (policies.iter().map(|&policy| policy.to_owned()).collect(), options.map(str::to_owned))
    };

    assert_eq!(
        ask("h-Content-Security-Policy=script-src%20x"),
        is(&["script-src x", "frame-ancestors 'none'"], Some("deny"))
    );
    assert_eq!(ask("h-Content-Security-Policy=frame-ancestors%20*"), is(&["frame-ancestors *"], None));
    assert_eq!(
        ask("h-Content-Security-Policy-Report-Only=frame-ancestors%20*"),
        is(&["frame-ancestors 'none'"], Some("deny"))
    );
    assert_eq!(
        ask("h-Content-Security-Policy=script-src%20x&h-X-Frame-Options=sameorigin"),
        is(&["script-src x"], Some("sameorigin"))
    );
}

#[test]
fn no_percent_encoding_brings_a_token_into_the_log() {
    let (octroi, _upstream) = started();

    for (at, path) in
        ["/1/%6fct1.SECRETSECRET", "/2/oct1%2e%53ECRETSECRET", "/3/%65yJSECRETSECRETSECRETSECRET.x"]
            .into_iter()
            .enumerate()
    {
        octroi.curl("acme.test", path).header("User-Agent: %6fct1.SECRETSECRET").get();
        let start = format!("/{}/", at + 1);
        let line =
            octroi.access_line(|line| line["path"].as_str().is_some_and(|path| path.starts_with(&start)));
        assert!(!line.to_string().contains("ECRET"), "{line}");
    }
}

/// One octroi in front of something; it trusts this machine as a proxy.
fn before(upstream: SocketAddr) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, threads: 1, trusted_proxies: [127.0.0.0/8]}}
listeners: [{{name: plain, address: "127.0.0.1:0", plaintext: true}}]
bans: {{after: 1}}
upstreams: {{app: {{servers: [{{address: "{upstream}"}}]}}}}
tenants: {{acme: {{hosts: [acme.test], upstream: app, routes: {{unmatched: public}}}}}}
"#
    )
}

#[test]
fn octroi_before_octroi_works_and_a_circle_ends() {
    let upstream = Upstream::start();
    let mut inner = Octroi::start(&before(upstream.addr));
    let outer = Octroi::start(&before(inner.addr("plain")));
    let ask =
        |args: &[&str]| outer.plain("plain", "acme.test", "/x").header("Host: acme.test").args(args).get();
    let passes = |got: &Got| {
        let names = got
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("cdn-loop"))
            .flat_map(|(_, value)| value.split(','));
        names.filter(|name| name.trim().starts_with("octroi")).count()
    };

    assert_eq!(ask(&[]).status, 200);
    let got = upstream.only();
    assert_eq!((passes(&got), got.field("x-forwarded-for")), (2, Some("127.0.0.1")));
    // What others write stands, and what a client calls its connection's own does not take it off.
    assert_eq!(
        ask(&["-H", "CDN-Loop: cdn.example; x=\"a,b\", octroi", "-H", "Connection: CDN-Loop"]).status,
        200
    );
    assert_eq!(passes(&upstream.only()), 3);
    // Eight passes are the most: the outer one's and the inner one's are two of them.
    let said = |times: usize| format!("CDN-Loop: {}", vec!["OCTROI ;a=b"; times].join(", "));
    assert_eq!(ask(&["-H", &said(6)]).status, 200);
    assert_eq!(upstream.take().len(), 1);
    let refused = ask(&["-H", &said(7)]);
    assert_eq!(
        (refused.status, inner.access_line(|line| line["status"] == 508)["reason"].as_str()),
        (508, Some("loop"))
    );
    assert_eq!(outer.access_line(|line| line["upstream.status"] == 508)["decision"], "allow");
    let refused = ask(&["-H", &said(4), "-H", &said(4), "-H", "Connection: cdn-loop"]);
    assert_eq!((refused.status, outer.reason(&refused).as_str()), (508, "loop"));
    assert!(refused.body.contains("circle"), "{}", refused.body);
    assert!(upstream.take().is_empty());

    // The inner one leads back to the outer one.
    inner.reload(&before(outer.addr("plain")));
    let lines = || {
        [inner.access_lines(), outer.access_lines()]
            .concat()
            .iter()
            .filter(|line| line["path"] == "/circle")
            .count()
    };
    let refused = outer.plain("plain", "acme.test", "/circle").header("Host: acme.test").get();
    assert_eq!(refused.status, 508);
    harness::eventually("nine lines: eight passes and their end", || (lines() == 9).then_some(()));
    assert_eq!(inner.ok(&["ban", "list"]), "nobody is banned\n");
}

#[test]
fn a_circle_over_http2_ends_too() {
    let (octroi, _upstream) = started();
    let most = ["octroi"; 8].join(",");

    let refused =
        octroi.curl("acme.test", "/x").args(&["--http2"]).header(&format!("CDN-Loop: {most}")).get();

    assert_eq!((refused.status, octroi.reason(&refused).as_str()), (508, "loop"));
    assert_eq!(
        octroi
            .curl("acme.test", "/x")
            .args(&["--http2"])
            .header(&format!("CDN-Loop: {}", &most[7..]))
            .status(),
        200
    );
}

#[test]
fn octroi_is_no_upstream_of_itself() {
    let octroi = Octroi::start(&before("127.0.0.1:9".parse().unwrap()));
    let bound = octroi.addr("plain");
    let state = octroi.path().join("state");
    std::os::unix::fs::symlink(state.join("control.sock"), octroi.path().join("app.sock")).unwrap();
    let check = |address: &str, listener: &str| {
        let text = before("127.0.0.1:9".parse().unwrap())
            .replace("127.0.0.1:9\"", &format!("{address}\""))
            .replace("127.0.0.1:0", listener);
        octroi.configure(&text);
        octroi.code(&["check"])
    };

    assert_eq!(check(&format!("unix:{}", octroi.path().join("app.sock").display()), "127.0.0.1:0"), 1);
    assert_eq!(check(&format!("unix:{}/control.sock", state.display()), "127.0.0.1:0"), 1);
    assert_eq!(check(&format!("unix:{}", octroi.path().join("other.sock").display()), "127.0.0.1:0"), 0);
    for every in ["0.0.0.0", "[::]"] {
        assert_eq!(check(&format!("127.0.0.1:{}", bound.port()), &format!("{every}:{}", bound.port())), 1);
        assert_eq!(
            check(&format!("127.0.0.1:{}", bound.port()), &format!("{every}:{}", bound.port() ^ 1)),
            0
        );
    }
}

#[test]
fn a_trusted_proxy_is_exempt_where_it_is_one_from_bans_of_both_kinds() {
    let upstream = Upstream::start();
    let trusted =
        "threads: 2, trusted_proxies: [198.51.100.7/32, \"2001:db8:5::1/128\", \"2001:db8:6::/64\"]";
    let config = config(&upstream, upstream.addr)
        .replace("threads: 2", trusted)
        .replace("metrics:", "bans: {after: 1}\nmetrics:");
    let mut octroi = Octroi::start(&config);
    let smuggled = b"POST / HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let offends = |octroi: &Octroi, listener: &str| {
        exchange(&mut raw(octroi.addr(listener)), smuggled).starts_with("HTTP/1.1 400")
    };
    let serves = |octroi: &Octroi, listener: &str| {
        octroi.plain(listener, "acme.test", "/x").header("Host: acme.test").status() == 200
    };

    // `behind` trusts this machine, `plain` does not: an offence counts where it is a client, and so does what an operator says.
    assert!(offends(&octroi, "behind"));
    assert_eq!(octroi.ok(&["ban", "list"]), "nobody is banned\n");
    assert!(offends(&octroi, "plain"));
    harness::eventually("it is banned", || {
        octroi.ok(&["ban", "list"]).starts_with("127.0.0.1 ").then_some(())
    });
    assert!(!serves(&octroi, "plain") && serves(&octroi, "behind"));
    octroi.ok(&["ban", "remove", "127.0.0.1"]);
    assert!(serves(&octroi, "plain"));
    octroi.ok(&["ban", "add", "127.0.0.1"]);
    assert!(!serves(&octroi, "plain") && serves(&octroi, "behind"));
    octroi.ok(&["ban", "remove", "127.0.0.1"]);

    // Where every listener trusts it, a ban would hold nowhere. Of an IPv6 /64, its proxy is none of those who are meant.
    let own = ["front", "stranger", "behind"].map(|name| format!("name: {name}"));
    let lines: Vec<&str> = config.lines().filter(|line| !own.iter().any(|own| line.contains(own))).collect();
    octroi.reload(&lines.join("\n"));
    let ban = |client: &str| octroi.code(&["ban", "add", client]);
    assert_eq!((ban("198.51.100.7"), ban("198.51.100.8")), (1, 0));
    assert_eq!((ban("2001:db8:5::1"), ban("2001:db8:5::2"), ban("2001:db8:5::/64")), (1, 0, 0));
    assert_eq!((ban("2001:db8:6::1"), ban("2001:db8:6::/64"), ban("2001:db8:6:1::/64")), (1, 1, 0));
}
