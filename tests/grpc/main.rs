//! gRPC through the gate, end to end: a server and clients that speak HTTP/2, and what becomes of their calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test is read, not linked"
)]

mod calls;
mod connections;
mod endings;
mod foreign;
#[path = "../harness/mod.rs"]
mod harness;
mod messages;

use std::net::SocketAddr;

use harness::Octroi;

/// A gate before these servers; `upstream` and `rules` are written behind what is there.
fn config(servers: &[SocketAddr], upstream: &str, rules: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("{{address: \"{server}\"}}")).collect();
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
request_limits: {{body_bytes: 1MiB}}
upstreams:
  app: {{servers: [{}], protocol: http2{upstream}}}
routes:
  app:
    unmatched: public
    rules:
      - {{path: /login, access: public, grant: true}}
      - {{path: /private.Echo/}}
      - {{path: /echo.Echo/}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app{rules}}}
  other: {{hosts: [other.test], upstream: app, routes: app}}
"#,
        servers.join(", ")
    )
}

/// Signs in a user; returns the Cookie field.
fn sign_in(octroi: &Octroi, host: &str, user: &str) -> String {
    let grant = percent_encoding::utf8_percent_encode(
        &format!("user=\"{user}\""),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    octroi.curl(host, &format!("/login?h-octroi-session-grant={grant}")).args(&["-X", "POST"]).get().session()
}
