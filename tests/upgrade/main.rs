//! Hand-over to a successor, and drain: the real program, real sockets, real load.

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

mod before;
mod clients;
mod failing_successor;
mod failures;
mod hand_over;
mod load;
mod manager;
mod sessions;

use harness::{Octroi, Upstream};

/// A configuration; `more` are listeners.
fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 5s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
{more}
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app:
    rules:
      - {{path: /public/, access: public}}
      - {{path: /login, access: public, grant: true}}
      - {{path: /logout, methods: [POST], access: session, revoke: true}}
      - {{path: /ws, access: session, websocket: true}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        upstream.addr
    )
}

fn started() -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, ""));
    (octroi, upstream)
}

/// Signs `u_1` in and returns the Cookie field.
fn sign_in(octroi: &Octroi) -> String {
    octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .args(&["-X", "POST"])
        .get()
        .session()
}

/// Upgrades, and returns the old and the new process.
fn upgrade(octroi: &mut Octroi) -> (u32, u32) {
    let told: serde_json::Value = serde_json::from_str(&octroi.ok(&["upgrade", "--json"])).unwrap();
    let pid = |key: &str| u32::try_from(told[key].as_u64().unwrap()).unwrap();
    assert_eq!(octroi.succeed(), pid("successor"), "{told}");
    (pid("predecessor"), pid("successor"))
}
