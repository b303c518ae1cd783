//! The commands, as a shell sees them: what they print, what they leave alone, how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use harness::{Octroi, Upstream, program::BINARY};

const CONFIG: &str = r#"
version: 1
server: {state_dir: STATE, threads: 2}
listeners: [{name: public, address: "127.0.0.1:0", tls: {}}]
metrics: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0", principals: {olaf: {token: "${file:olaf.token}", roles: [operator], expires: 2099-12-31}}}
tls: {certificates: [{cert: certs/acme.pem, key: certs/acme.key}]}
sessions: {keys: [{id: 1, secret: "${file:session.key}"}]}
upstreams: {app: {servers: [{address: "127.0.0.1:9"}]}}
quotas: {few: {by: client, rate: 1/h, burst: 1}}
routes:
  app: {rules: [{path: /public/, access: public, quotas: [few]}, {path: /admin, roles: [admin]}, {path: /admin/, roles: [admin]}]}
tenants:
  acme: {hosts: [acme.test], upstream: app, routes: app, ip_access: {allow: [127.0.0.0/8, 192.0.2.0/24]}}
"#;

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Root makes the keys of a service: its group may read them where the folder says so.
#[test]
fn a_folder_that_hands_its_group_on_has_keys_for_the_group() {
    let octroi = Octroi::prepared(CONFIG);
    let mode = |file: &str| fs::metadata(octroi.path().join(file)).unwrap().permissions().mode() & 0o7777;
    let set = |folder: &str, mode| fs::set_permissions(octroi.path().join(folder), fs::Permissions::from_mode(mode)).unwrap();
    for file in ["session.key", "certs/acme.key", "certs/acme.pem"] {
        fs::remove_file(octroi.path().join(file)).unwrap();
    }
    set(".", 0o2750);
    set("certs", 0o750);

    octroi.ok(&["keys", "init"]);

    assert_eq!((mode("session.key"), mode("certs/acme.key")), (0o640, 0o600));
    assert_eq!(octroi.command(&["check"]).status.code(), Some(0));
}

#[test]
fn keys_are_made_where_they_are_missing_and_nothing_else_is_touched() {
    let octroi = Octroi::prepared(CONFIG);
    let files = ["session.key", "olaf.token", "certs/acme.pem", "certs/acme.key"];
    let contents = || files.map(|file| fs::read(octroi.path().join(file)).unwrap());
    let before = contents();
    for secret in ["session.key", "olaf.token", "certs/acme.key"] {
        assert_eq!(fs::metadata(octroi.path().join(secret)).unwrap().permissions().mode() & 0o077, 0, "{secret}");
    }

    assert_eq!(octroi.ok(&["keys", "init"]), "");
    assert_eq!(contents(), before);
    fs::remove_file(octroi.path().join("session.key")).unwrap();
    assert!(octroi.ok(&["keys", "init"]).contains("session.key"));
    assert_ne!(contents()[0], before[0]);
    assert_eq!(contents()[1..], before[1..]);
    assert_eq!(octroi.command(&["check"]).status.code(), Some(0), "{:?}", octroi.command(&["check"]));
    fs::remove_file(octroi.path().join("certs/acme.key")).unwrap();
    assert_ne!(octroi.code(&["keys", "init"]), 0);
}

#[test]
fn findings_are_told_to_people_and_programs() {
    let octroi = Octroi::prepared(CONFIG);
    assert_eq!(octroi.ok(&["check", "--json"]).trim(), "[]");
    octroi.configure(&CONFIG.replace("by: client", "by: nobody").replace("upstream: app,", "upstream: ap,"));

    let output = octroi.command(&["check", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = text(&octroi.command(&["check"]).stderr);

    assert_eq!((output.status.code(), findings.as_array().unwrap().len()), (Some(1), 2), "{findings}");
    assert!(findings[0]["line"].is_u64() && findings[0]["message"].is_string(), "{findings}");
    assert!(said.contains("did you mean") && said.contains("octroi.yaml:10:"), "{said}");
    let file = octroi.config();
    assert_eq!(run(&["check", file.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(run(&["check", "/nonexistent.yaml"]).status.code(), Some(1));
    // A world-readable key is no secret.
    octroi.configure(CONFIG);
    fs::set_permissions(octroi.path().join("session.key"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(octroi.code(&["check"]), 1);
    assert_eq!(octroi.code(&["run"]), 78);
}

#[test]
fn a_command_ends_with_the_code_that_says_why() {
    let octroi = Octroi::prepared(CONFIG);

    assert_eq!(octroi.code(&["nonsense"]), 2);
    assert_eq!(octroi.code(&["status"]), 69);
    assert_eq!(octroi.code(&["reload"]), 69);
    assert_eq!(octroi.code(&["session", "revoke", "--tenant", "acme"]), 69);
    octroi.configure(&CONFIG.replace("version: 1", "version: 9"));
    assert_eq!(octroi.code(&["run"]), 78);
    octroi.configure(&CONFIG.replace("STATE", "/proc/nowhere"));
    assert_eq!(octroi.code(&["run"]), 74);
    octroi.configure(&format!("{CONFIG}access_log: [{{to: file, path: /nonexistent/access.log}}]"));
    assert_eq!(octroi.code(&["run"]), 74);
    let full = Command::new("sh").args(["-c", &format!("'{BINARY}' schema > /dev/full")]).output().unwrap();
    assert_eq!(full.status.code(), Some(74), "{full:?}");
    let closed = Command::new("sh").args(["-c", &format!("'{BINARY}' schema | head -c 1")]).output().unwrap();
    assert_eq!(text(&closed.stderr), "");
}

#[test]
fn it_tells_of_itself() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completion", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("octroi"), "{shell}");
    }
    assert!(text(&run(&["man"]).stdout).starts_with(".ie"));
    assert!(text(&run(&["version"]).stdout).contains(env!("CARGO_PKG_VERSION")));
    let version: serde_json::Value = serde_json::from_slice(&run(&["version", "--json"]).stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let schema: serde_json::Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["$defs"]["root"]["properties"]["tenants"].is_object(), "{schema}");
    assert!(run(&["--help"]).status.success());
}

#[test]
fn a_request_is_explained_step_by_step_and_costs_nothing() {
    let upstream = Upstream::start();
    let config = CONFIG.replace("127.0.0.1:9\"", &format!("{}\"", upstream.addr));
    let octroi = Octroi::start(&config);
    let explain = |args: &[&str]| {
        let output = octroi.command(&[&["explain"], args].concat());
        (output.status.code(), text(&output.stdout))
    };

    for _ in 0..3 {
        let (code, said) = explain(&["https://acme.test/public/x"]);
        assert!(code == Some(0) && said.contains("octroi.yaml:"), "{said}");
    }
    assert_eq!(
        octroi.curl("acme.test", "/public/x").args(&["--cacert", octroi.path().join("certs/ca.pem").to_str().unwrap()]).status(),
        200
    );
    let (code, said) = explain(&["https://acme.test/public/x", "--ip", "198.51.100.1"]);
    assert!(code == Some(1) && said.contains("ip_not_allowed"), "{said}");
    let (code, said) = explain(&["https://acme.test/admin/x", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["decision"]), (Some(1), &"deny".into()), "{told}");
    assert!(told["steps"].as_array().is_some_and(|steps| steps.len() >= 4), "{told}");

    let admin = octroi.ok(&["session", "mint", "--tenant", "acme", "--user", "u_1", "--role", "admin"]);
    let (code, said) = explain(&["https://acme.test/admin/x", "--cookie", admin.trim()]);
    assert_eq!(code, Some(0), "{said}");
    octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    let (code, said) = explain(&["https://acme.test/admin/x", "--cookie", admin.trim()]);
    assert!(code == Some(1) && said.contains("session_revoked"), "{said}");

    let head = octroi.path().join("head");
    fs::write(&head, "GET /public/../admin/ HTTP/1.1\r\nHost: acme.test\r\n\r\n").unwrap();
    let (code, said) = explain(&["https://acme.test/", "--head", head.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("path_dot_segment"), "{said}");
    assert!(upstream.take().len() == 1, "explain sends nothing");
}
