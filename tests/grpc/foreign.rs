//! A real app and a real client of gRPC, with a session.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::harness::{
    Octroi,
    apps::{self, App},
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name)
}

#[test]
#[ignore = "make full: installs grpcio"]
fn a_watch_of_a_real_client_ends_with_its_session() {
    let packages = apps::python("grpc", &["grpcio==1.85.3"]);
    let app = App::start(
        Command::new("python3").arg(file("grpc_app.py")).env("PYTHONPATH", &packages),
        tempfile::tempdir().unwrap(),
    );
    let octroi = Octroi::start(&format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "127.0.0.1:{}"}}], protocol: http2}}
routes:
  app:
    rules: [{{path: /auth.Auth/SignIn, access: public, grant: true}}]
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
        app.port
    ));
    let mut client = Command::new("python3")
        .arg(file("grpc_client.py"))
        .args([&octroi.addr("public").to_string(), "acme.test"])
        .arg(octroi.path().join("certs/ca.pem"))
        .env("PYTHONPATH", &packages)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);

    let refused = lines.next().unwrap();
    assert!(refused.starts_with("UNAUTHENTICATED "), "{refused}");
    assert_eq!((lines.next().as_deref(), lines.next().as_deref()), (Some("u_7"), Some("watching")));
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_7"]);
    assert_eq!(lines.next().as_deref(), Some("UNAUTHENTICATED the session has ended"));
    assert_eq!(lines.next().as_deref(), Some("nobody watches"));
    assert!(client.wait().unwrap().success());
    octroi.access_line(|line| line["path"] == "/app.App/Watch" && line["reason"] == "session_revoked");
}
