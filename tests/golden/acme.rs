//! Certificates by ACME: the access lines of a CA that looks at a host, and what is kept on disk.

use std::{fmt::Write, fs};

use crate::harness::wait;
use crate::{
    endings::masked,
    files,
    harness::{
        Octroi, Upstream,
        pebble::{PATIENCE, Pebble},
    },
    json::Json,
};

fn config(upstream: &Upstream, pebble: &Pebble) -> String {
    let entry =
        format!(r#"directory: "{}", ca: "{}", retry_after: 1s"#, pebble.directory(), pebble.ca().display());
    format!(
        r#"
version: 1
node: golden-1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:{}", tls: {{}}}}
  - {{name: http, address: "127.0.0.1:{}", redirect_to_https: 443}}
metrics: {{address: "127.0.0.1:0"}}
tls:
  certificates:
    - acme: {{{entry}, hosts: [acme.test], challenge: tls-alpn-01}}
    - acme: {{{entry}, hosts: [globex.test], challenge: http-01}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
routes: {{app: {{unmatched: public}}}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  globex: {{hosts: [globex.test], upstream: app, routes: app}}
"#,
        pebble.tls, pebble.http, upstream.addr
    )
}

/// Has both certificates, and tells of the lines and the files.
pub fn table() -> String {
    let (upstream, mut pebble) = (Upstream::start(), Pebble::prepared());
    pebble.start();
    let mut octroi = Octroi::prepared(&config(&upstream, &pebble));
    octroi.run();
    wait::eventually_within(PATIENCE, "both certificates are issued", || {
        (octroi.metric(r#"octroi_acme_orders_total{result="success"}"#) >= 2.0).then_some(())
    });
    let mut out = "# The access line of a CA that looks at a host, by each kind of challenge.\n".to_owned();
    for (name, listener) in [("tls-alpn-01", "public"), ("http-01", "http")] {
        // Pebble looks three times at each host.
        let fits =
            |line: &serde_json::Value| line["reason"] == "acme_challenge" && line["listener"] == listener;
        octroi.access_line(fits);
        let line = octroi.printed().into_iter().find_map(|line| {
            let line = line.strip_prefix("out: ")?.to_owned();
            fits(&serde_json::from_str(&line).unwrap()).then(|| Json::read(&line))
        });
        writeln!(out, "\n## {name}").unwrap();
        for (name, value) in masked(line.unwrap()) {
            let value = match name.as_str() {
                // The token is the CA's.
                "path" => "\"/.well-known/acme-challenge/<token>\"".to_owned(),
                "bytes.out" => "<octets>".to_owned(),
                _ => value,
            };
            writeln!(out, "{name}: {value}").unwrap();
        }
    }
    out.push_str("\n# Files under `state_dir/acme`.\n");
    let acme = octroi.path().join("state/acme");
    let mut folders = vec![acme.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    for path in found {
        let mut name = path.strip_prefix(&acme).unwrap().display().to_string();
        // An account is called by a digest of its directory.
        if let Some(account) = name.strip_prefix("accounts/") {
            name = format!("accounts/<name {}>.json", account.len() - ".json".len());
        } else if name.starts_with("certificates/") && !name.contains(".test") && !name.contains("tenants/") {
            let stem = path.file_stem().unwrap().len();
            name = format!("{}/<name {stem}>.pem", name.rsplit_once('/').unwrap().0);
        }
        writeln!(out, "\n{name}\n{}", files::content(&path)).unwrap();
    }
    out
}
