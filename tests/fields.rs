//! Which fields reach the app, and which the client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]
#![cfg(feature = "gateway")]

mod harness;

use harness::{Octroi, Upstream};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: {{unmatched: public}}}}
  api: {{hosts: [api.test], upstream: app, routes: {{unmatched: public}}, headers: {{request: {{keep: [x-auth-token, x-user-id], drop: [x-shop-*, x-branch]}}}}}}
"#,
        upstream.addr
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream));
    (octroi, upstream)
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
            let answer = all.fold(octroi.curl(host, "/x").args(&[version]), |curl, name| curl.header(&format!("{name}: mine"))).get();
            assert_eq!(answer.status, 200, "{answer:?}");
            let got = upstream.only();
            let mine = got.fields.iter().filter(|(_, value)| value == "mine");
            let mut fields: Vec<String> = mine.map(|(name, _)| name.to_lowercase()).collect();
            fields.sort_unstable();
            fields
        };
        let sorted = |groups: &[&[&str]]| {
            let mut names: Vec<String> = groups.iter().copied().flatten().map(|name| name.to_lowercase()).collect();
            names.sort_unstable();
            names
        };

        assert_eq!(ask("acme.test"), sorted(&[&honest, &dropped]), "{version}");
        assert_eq!(ask("api.test"), sorted(&[&honest, &own]), "{version}");
    }
}
