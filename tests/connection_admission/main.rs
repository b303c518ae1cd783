//! What happens before the handshake, end to end: drop lists, bans, refusals that fill no log, real senders of PROXY headers, crowds.

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

#[path = "../harness/mod.rs"]
mod harness;

mod bans;
mod connection_caps;
mod deny;
mod proxy_senders;

use harness::{Octroi, Upstream};

/// A configuration with these listeners, an upstream, and three tenants; one of them lists ranges.
fn config(upstream: &Upstream, listeners: &str, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: {listeners}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  ranged: {{hosts: [ranged.test], upstream: app, routes: app, ip_access: {{allow: [192.0.2.0/24, "2001:db8::/32"]}}}}
{more}
"#,
        upstream.addr
    )
}

/// A whole request over HTTP/1.1 that ends its connection.
fn get(host: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The lines of refused connections with a reason, at a listener.
fn refusals(octroi: &Octroi, listener: &str, reason: &str) -> Vec<serde_json::Value> {
    let mut lines = octroi.access_lines();
    lines.retain(|line| {
        line["event"] == "connection" && line["listener"] == listener && line["reason"] == reason
    });
    lines
}
