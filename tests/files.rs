//! What lies at a configured path and is no file: nobody waits for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use harness::{Octroi, program::BINARY};

const CONFIG: &str = r#"
version: 1
server: {state_dir: STATE, threads: 2}
listeners: [{name: public, address: "127.0.0.1:0", tls: {}, deny_files: [deny.txt]}]
tls: {ticket_keys: tickets.key, certificates: [{cert: certs/acme.pem, key: certs/acme.key}]}
sessions:
  keys: [{id: 1, secret: "${file:session.key}"}]
  key_dir: keys
  assertion: {key: "${file:assertion.pem}"}
  formats: [octroi, jwt]
  jwt: {keys: [{id: a, algorithm: EdDSA, key: jwt.jwk, tenants: [acme]}]}
upstreams: {app: {servers: [{address: "127.0.0.1:9"}]}}
tenants:
  acme: {hosts: [acme.test], upstream: app, client_certificate: {ca: ca.pem, mode: optional}}
tenant_files: [tenants.d/*.yaml]
"#;

/// Every file that the configuration names.
const NAMED: &[&str] = &[
    "deny.txt",
    "tickets.key",
    "certs/acme.pem",
    "certs/acme.key",
    "session.key",
    "assertion.pem",
    "jwt.jwk",
    "ca.pem",
    "tenants.d/globex.yaml",
];

/// So long a command may take on a busy machine; a pipe would keep it for good.
const SOON: Duration = Duration::from_secs(8);

fn prepared() -> Octroi {
    let octroi = Octroi::prepared(CONFIG);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().pem();
    fs::create_dir(octroi.path().join("tenants.d")).unwrap();
    for (name, text) in [
        ("deny.txt", "192.0.2.0/24\n"),
        ("ca.pem", &ca),
        ("jwt.jwk", r#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#),
        ("tenants.d/globex.yaml", "tenants: {globex: {upstream: app}}\n"),
    ] {
        fs::write(octroi.path().join(name), text).unwrap();
    }
    octroi
}

fn made_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts a pipe in the place of a file while something is done.
fn with_pipe<T>(path: &Path, act: impl FnOnce() -> T) -> T {
    let aside = path.with_file_name(".aside");
    fs::rename(path, &aside).unwrap();
    made_pipe(path);
    let done = act();
    fs::rename(&aside, path).unwrap();
    done
}

fn timed(command: &mut Command) -> Output {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let took = began.elapsed();
    assert!(took < SOON, "{command:?} took {took:?}");
    output
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat()
}

#[test]
fn a_pipe_at_a_configured_path_is_refused_by_name_and_nobody_waits_for_it() {
    let mut octroi = prepared();
    let config = octroi.config();
    assert_eq!(octroi.command(&["check"]).status.code(), Some(0), "{}", said(&octroi.command(&["check"])));
    octroi.run();

    let of_folder = fs::read_dir(octroi.path().join("keys")).unwrap().next().unwrap().unwrap().path();
    for path in NAMED.iter().map(|name| octroi.path().join(name)).chain([of_folder]) {
        let name = path.display();
        with_pipe(&path, || {
            // A start goes on without one tenant's CAs, and finds that octroi runs already.
            let start = if path.ends_with("ca.pem") { 74 } else { 78 };
            for (args, code) in [(&["check"][..], 1), (&["run"], start), (&["reload"], 1)] {
                let output = timed(Command::new(BINARY).args(args).arg("--config").arg(&config));
                assert_eq!(output.status.code(), Some(code), "{name} {args:?}: {}", said(&output));
                assert!(!said(&output).contains("that are missing"), "it makes what is missing: {name} {args:?}: {}", said(&output));
                assert!(code == 74 || said(&output).contains("it is not a regular file"), "{name} {args:?}: {}", said(&output));
            }
        });
    }
    let session = octroi.path().join("session.key");
    let refused = with_pipe(&session, || timed(Command::new(BINARY).args(["upgrade", "--config"]).arg(&config)));
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("it is not a regular file"), "{}", said(&refused));

    octroi.ok(&["reload"]);
}

#[test]
fn a_configuration_may_come_out_of_a_pipe_and_its_writer_has_a_deadline() {
    let octroi = prepared();
    let pipe = octroi.path().join("pipe.yaml");
    made_pipe(&pipe);

    let text = fs::read(octroi.config()).unwrap();
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(to, text).unwrap());
    let fine = timed(Command::new(BINARY).arg("check").arg(&pipe));
    writer.join().unwrap();
    assert_eq!(fine.status.code(), Some(0), "{}", said(&fine));

    // Nobody writes: ten seconds, and not for good.
    let late = Command::new(BINARY).arg("check").arg(&pipe).stdin(Stdio::null()).output().unwrap();
    assert_eq!(late.status.code(), Some(1), "{}", said(&late));
    assert!(said(&late).contains("nothing more came out of this pipe in time"), "{}", said(&late));
}
