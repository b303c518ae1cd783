//! The levers end to end: control socket, admin listener, health, and what is written down.

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

mod harness;

use std::{os::unix::fs::PermissionsExt, process::Command, time::Duration};

use harness::{
    Curl, Octroi, Upstream,
    client::{self, Answer, exchange, raw},
    eventually,
};

fn config(upstream: &Upstream, admin: &str, more: &str) -> String {
    format!(
        r#"
version: 1
node: edge-7
server: {{state_dir: STATE, drain: 3s, threads: 2}}
listeners:
  - {{name: public, address: "127.0.0.1:0", tls: {{}}}}
  - {{name: plain, address: "127.0.0.1:0", plaintext: true}}
metrics: {{address: "127.0.0.1:0"}}
admin: {admin}
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams:
  app: {{servers: [{{address: "{}"}}]}}
routes:
  app: {{unmatched: public, rules: [{{path: /in/, access: session}}, {{path: /login, access: public, grant: true}}]}}
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
  shut: {{hosts: [shut.test], upstream: app, routes: app, ip_access: {{allow: [203.0.113.0/24]}}}}
{more}
"#,
        upstream.addr
    )
}

const ADMIN: &str = r#"{address: "127.0.0.1:0", hosts: [admin.test, localhost], principals: {
    vera: {token: "${file:vera.token}", roles: [viewer], expires: 2099-12-31},
    olaf: {token: "${file:olaf.token}", roles: [operator], expires: 2099-12-31},
    gone: {token: "${file:gone.token}", roles: [operator], expires: 2020-01-01}}}"#;

fn started(admin: &str, more: &str) -> (Octroi, Upstream) {
    let upstream = Upstream::start();
    let octroi = Octroi::start(&config(&upstream, admin, more));
    (octroi, upstream)
}

fn bearer(octroi: &Octroi, who: &str) -> String {
    let token = std::fs::read_to_string(octroi.path().join(format!("{who}.token"))).unwrap();
    format!("Authorization: Bearer {}", token.trim())
}

fn call(octroi: &Octroi, who: &str, path: &str, more: &[&str]) -> Answer {
    octroi.plain("admin", "admin.test", path).header(&bearer(octroi, who)).args(more).get()
}

const POST: &[&str] = &["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"];

fn code(answer: &Answer) -> (u16, String) {
    let body: serde_json::Value =
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    (answer.status, body["error"]["code"].as_str().unwrap_or("-").to_owned())
}

#[test]
fn principals_do_what_their_roles_allow_and_every_call_is_written_down() {
    let (octroi, _upstream) = started(ADMIN, "");
    let refused =
        |answer: Answer, status: u16, why: &str| assert_eq!(code(&answer), (status, why.to_owned()));
    let line = |principal: &str, path: &str, status: u16| {
        octroi.access_line(|line| {
            line["event"] == "admin"
                && line["principal"] == principal
                && line["path"] == path
                && line["status"] == status
        })
    };

    let status = call(&octroi, "vera", "/v1/status", &[]);
    assert_eq!((status.status, status.field("cache-control")), (200, Some("no-store")));
    assert!(status.body.contains("edge-7"), "{status:?}");
    line("vera", "/v1/status", 200);
    refused(call(&octroi, "vera", "/v1/reload", POST), 403, "role_missing");
    line("vera", "/v1/reload", 403);
    assert_eq!(call(&octroi, "olaf", "/v1/reload", POST).status, 200);
    assert_eq!(line("olaf", "/v1/reload", 200)["listener"], "admin");
    let revoke = [
        "-X",
        "POST",
        "-H",
        "Content-Type: application/json",
        "-d",
        r#"{"tenant": "acme", "user": "u_1", "note": "left"}"#,
    ];
    assert_eq!(call(&octroi, "olaf", "/v1/sessions/revoke", &revoke).status, 200);
    let line = line("olaf", "/v1/sessions/revoke", 200);
    assert_eq!(line["detail"], "revoked tenant=acme user=u_1 note=left", "{line}");

    let expired = call(&octroi, "gone", "/v1/status", &[]);
    assert_eq!(expired.status, 401, "{expired:?}");
    assert!(
        octroi.printed().iter().any(|line| line.contains("principals.gone")),
        "the operator is warned of it"
    );
    let stranger = octroi
        .plain("admin", "admin.test", "/v1/status")
        .header("Authorization: Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .get();
    assert_eq!((stranger.status, stranger.field("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(octroi.plain("admin", "admin.test", "/v1/status").status(), 401);
    assert_eq!(
        octroi.plain("admin", "evil.test", "/v1/status").header(&bearer(&octroi, "vera")).status(),
        421
    );
    assert_eq!(
        call(&octroi, "olaf", "/v1/reload", &[POST, &["-H", "Origin: https://evil.test"]].concat()).status,
        403
    );
    assert_eq!(call(&octroi, "olaf", "/v1/reload", &["-X", "POST", "-d", "{}"]).status, 415);
    assert_eq!(
        (call(&octroi, "olaf", "/v1/nothing", &[]).status, call(&octroi, "olaf", "/v1/reload", &[]).status),
        (404, 405)
    );
    assert!(octroi.metric(r#"octroi_admin_requests_total{code="401"}"#) >= 3.0);
    assert!(
        !octroi
            .printed()
            .iter()
            .any(|line| line.contains(bearer(&octroi, "olaf").trim_start_matches("Authorization: Bearer ")))
    );
}

#[test]
fn principals_follow_a_reload_and_the_listener_may_have_its_own_certificate() {
    let tls = ADMIN.replacen('{', "{tls: {cert: admin.pem, key: admin.key}, ", 1);
    let (mut octroi, upstream) = started(&tls, "");
    let ask = |octroi: &Octroi, who: &str| {
        let ca = octroi.path().join("ca.pem");
        Curl::new(octroi.addr("admin"), "localhost", "/v1/status")
            .cacert(&ca)
            .header(&bearer(octroi, who))
            .get()
    };
    assert_eq!(ask(&octroi, "vera").status, 200, "{:?}", ask(&octroi, "vera"));

    octroi.reload(&config(&upstream, &tls.replace("vera:", "dora:"), ""));
    assert_eq!(octroi.metric("octroi_config_last_reload_successful"), 1.0);
    let dora = ask(&octroi, "vera");
    assert_eq!(dora.status, 200);
    octroi.access_line(|line| line["principal"] == "dora");

    // Addresses of metrics and admin need a restart, and that is said.
    octroi.configure(&config(&upstream, &tls.replace("127.0.0.1:0", "127.0.0.1:19"), ""));
    let refused = octroi.command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin.address"), "{refused:?}");
}

/// Writes a certificate of a new CA for `localhost`, the key first. Returns the CA's certificate.
fn certify(octroi: &Octroi, name: &str) -> std::path::PathBuf {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "the CA of the admin listener");
    let root = octroi.path().join(format!("{name}-ca.pem"));
    std::fs::write(&root, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    let path = octroi.path().join(format!("{name}.key"));
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(octroi.path().join(format!("{name}.pem")), leaf.pem()).unwrap();
    root
}

#[test]
fn the_admin_listener_s_certificate_is_renewed_and_a_bad_one_changes_nothing() {
    let tls = ADMIN.replacen('{', "{tls: {cert: admin.pem, key: admin.key}, ", 1);
    let (mut octroi, upstream) = started(&tls, "");
    let by = |octroi: &Octroi, ca: &std::path::Path| {
        Curl::new(octroi.addr("admin"), "localhost", "/v1/status")
            .cacert(ca)
            .header(&bearer(octroi, "vera"))
            .status()
    };
    let first = octroi.path().join("ca.pem");
    assert_eq!(by(&octroi, &first), 200);

    // Renewed on disk: seen by itself.
    let second = certify(&octroi, "admin");
    eventually("the new pair is shown", || (by(&octroi, &second) == 200).then_some(()));
    assert_eq!(by(&octroi, &first), 0);
    // Half of another pair: the one before stays, and that is told.
    let good = std::fs::read_to_string(octroi.path().join("admin.pem")).unwrap();
    std::fs::write(octroi.path().join("admin.pem"), std::fs::read_to_string(&first).unwrap()).unwrap();
    eventually("it is refused", || (octroi.metric("octroi_tls_certificates_refused") == 1.0).then_some(()));
    let status = octroi.command(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stdout).contains("admin.pem"), "{status:?}");
    assert_eq!(octroi.code(&["reload"]), 1);
    assert_eq!(by(&octroi, &second), 200);
    std::fs::write(octroi.path().join("admin.pem"), good).unwrap();
    eventually("all is well", || (octroi.metric("octroi_tls_certificates_refused") == 0.0).then_some(()));

    // Another pair by the configuration.
    let third = certify(&octroi, "other");
    octroi.reload(&config(
        &upstream,
        &tls.replace("admin.pem, key: admin.key", "other.pem, key: other.key"),
        "",
    ));
    assert_eq!((by(&octroi, &third), by(&octroi, &second)), (200, 0));
    // Whether there is TLS at all is not a reload's affair.
    octroi.configure(&config(&upstream, ADMIN, ""));
    let refused = octroi.command(&["reload"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("admin.tls changed, and only a restart can change it"),
        "{refused:?}"
    );
}

#[test]
fn the_control_socket_is_its_owner_s_and_no_page_s() {
    let (octroi, _upstream) = started(ADMIN, "");
    let socket = octroi.path().join("state/control.sock");
    let over = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-i", "--unix-socket"])
            .arg(&socket)
            .args(args)
            .output()
            .unwrap();
        client::parse(&String::from_utf8_lossy(&output.stdout), 0)
    };

    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(over(&["http://localhost/v1/status"]).status, 200);
    assert_eq!(over(&["http://localhost/v1/status", "-H", "Origin: https://evil.test"]).status, 403);
    octroi.access_line(|line| line["listener"] == "control" && line["status"] == 403);
}

#[test]
fn a_second_octroi_on_the_same_state_is_refused() {
    let (octroi, _upstream) = started(ADMIN, "");
    let output = octroi.command(&["run"]);

    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("state") && said.contains("another"), "{said}");
    assert_eq!(octroi.plain("plain", "acme.test", "/x").status(), 200);
    assert!(octroi.ok(&["status"]).contains("serving"));
}

#[test]
fn it_is_not_ready_while_it_drains() {
    let (mut octroi, upstream) = started(ADMIN, "");
    let probe = |octroi: &Octroi, path: &str| octroi.plain("metrics", "localhost", path).status();
    assert_eq!(["/healthz", "/livez", "/readyz"].map(|path| probe(&octroi, path)), [200; 3]);
    let busy = octroi.plain("plain", "acme.test", "/x?sleep=1200");
    let busy = std::thread::spawn(move || busy.status());
    eventually("the slow request is at the app", || (!upstream.peek().is_empty()).then_some(()));

    octroi.signal("TERM");

    eventually("it is not ready", || (probe(&octroi, "/readyz") == 503).then_some(()));
    assert_eq!(probe(&octroi, "/healthz"), 200);
    let status: serde_json::Value =
        serde_json::from_slice(&octroi.command(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["draining"], true);
    assert_ne!(octroi.plain("plain", "acme.test", "/x").get().exit, 0);
    assert_eq!(busy.join().unwrap(), 200);
    assert_eq!(octroi.wait(), 0);
}

#[test]
fn an_access_line_says_who_asked_what_and_why_it_was_decided() {
    let (octroi, upstream) = started(ADMIN, "");
    let cookie = octroi
        .curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22")
        .args(&["-X", "POST"])
        .get()
        .session();
    let answer = octroi
        .curl("acme.test", "/in/x?secret=1")
        .cookie(&cookie)
        .header("Referer: https://acme.test/a?secret=2")
        .args(&["-A", "agent/1"])
        .args(&["--data-binary", "hello"])
        .get();
    let id = answer.field("octroi-request-id").unwrap().to_owned();

    let line = octroi.access_line(|line| line["request.id"] == id.as_str());

    let is = |name: &str, value: &str| assert_eq!(line[name], value, "{name} {line}");
    for (name, value) in [
        ("event", "request"),
        ("listener", "public"),
        ("client.ip", "127.0.0.1"),
        ("peer.ip", "127.0.0.1"),
        ("host", "acme.test"),
        ("tenant", "acme"),
        ("method", "POST"),
        ("path", "/in/x"),
        ("http.version", "HTTP/2"),
        ("decision", "allow"),
        ("user", "u_1"),
        ("route", "/in/"),
        ("upstream.name", "app"),
        ("upstream.addr", &upstream.addr.to_string()),
        ("tls.version", "TLSv1.3"),
        ("tls.sni", "acme.test"),
        ("referer", "https://acme.test/a"),
    ] {
        is(name, value);
    }
    assert_eq!(
        (&line["status"], &line["bytes.in"], &line["upstream.tries"]),
        (&200.into(), &5.into(), &1.into())
    );
    assert_eq!(line["bytes.out"], answer.body.len());
    for name in ["time", "session", "policy.revision", "tls.cipher", "tls.group", "user_agent"] {
        assert!(line[name].as_str().is_some_and(|value| !value.is_empty()), "{name} {line}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() >= line["upstream.duration_ms"].as_f64().unwrap());
    let all = octroi.printed().join("\n");
    assert!(!all.contains("secret") && !all.contains(cookie.split_once('=').unwrap().1), "{all}");

    let denied = octroi.curl("shut.test", "/x").get();
    let line = octroi.access_line(|line| line["request.id"] == denied.field("octroi-request-id").unwrap());
    assert_eq!(
        (&line["decision"], &line["reason"], &line["status"]),
        (&"deny".into(), &"ip_not_allowed".into(), &403.into())
    );
    assert!(line["rule"].as_str().unwrap().contains("octroi.yaml:"), "{line}");
    assert!(
        line["detail"].as_str().unwrap().contains("127.0.0.1") && line.get("upstream.name").is_none(),
        "{line}"
    );
    let lost = octroi.plain("plain", "nobody.test", "/x").get();
    let line = octroi.access_line(|line| line["request.id"] == lost.field("octroi-request-id").unwrap());
    assert_eq!(
        (&line["host"], &line["reason"], line.get("tenant")),
        (&"nobody.test".into(), &"host_unknown".into(), None)
    );
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let upstream = Upstream::start();
    let mut octroi =
        Octroi::prepared(&config(&upstream, ADMIN, "access_log: [{to: file, path: log/access.log}]"));
    let dir = octroi.path().join("log");
    std::fs::create_dir(&dir).unwrap();
    let mounted = Mounted::small(&dir);
    if mounted.is_none() {
        // Without the right to mount: a device that is always full.
        std::os::unix::fs::symlink("/dev/full", dir.join("access.log")).unwrap();
    }
    octroi.run();

    let mut stream = raw(octroi.addr("plain"));
    let agent = "a".repeat(200);
    for number in 0..400 {
        let head = format!("GET /x HTTP/1.1\r\nHost: acme.test\r\nUser-Agent: {agent}{number}\r\n\r\n");
        assert_eq!(client::ask(&mut stream, &head).status, 200);
    }
    let dropped = eventually("lines are lost and counted", || {
        Some(octroi.metric("octroi_access_log_dropped_total")).filter(|&lost| lost > 0.0)
    });
    assert_eq!(octroi.plain("plain", "acme.test", "/x").status(), 200);

    assert!(dropped > 0.0);
    let told = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(
        text.contains("\nlog         access log: writing ")
            && text.contains("access.log: No space left on device"),
        "{text}"
    );
    if mounted.is_none() {
        return;
    }

    // There is room again: it says so, and how many lines are missing.
    std::fs::OpenOptions::new().write(true).open(dir.join("access.log")).unwrap().set_len(0).unwrap();
    assert_eq!(octroi.plain("plain", "acme.test", "/x").status(), 200);
    let back = || octroi.printed().into_iter().find(|line| line.contains("access_log_back"));
    let line = eventually("it works again", back);
    assert!(line.contains(&format!("lost={}", octroi.metric("octroi_access_log_dropped_total"))), "{line}");
    octroi.ok(&["status"]);
}

#[test]
fn a_revocation_that_is_not_on_the_disk_is_told_until_it_is() {
    let upstream = Upstream::start();
    let mut octroi = Octroi::prepared(&config(&upstream, ADMIN, ""));
    let dir = octroi.path().join("state");
    // Without the right to mount there is no disk to fill; what the journal says is a test of its own.
    let Some(_mounted) = Mounted::small(&dir) else { return };
    octroi.run();
    let revoke =
        |user: &str| octroi.command(&["session", "revoke", "--tenant", "acme", "--user", user]).status.code();
    assert_eq!(revoke("u_1"), Some(0));
    octroi.ok(&["status"]);

    let ballast = dir.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 256]).is_ok() {}
    // What is left of the journal's last page takes some.
    let users = (0..200).map(|number| format!("u_{number}_{}", "x".repeat(200)));
    let lost = users.into_iter().find(|user| revoke(user) != Some(0));

    assert!(lost.is_some(), "the disk is full");
    let told = octroi.command(&["status"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(
        text.contains("\nunkept      1 revocation is in force and not on the disk: ")
            && text.contains("No space left"),
        "{text}"
    );
    assert_eq!(
        (octroi.metric("octroi_revocations_unkept"), octroi.metric("octroi_revocation_journal_failing")),
        (1.0, 1.0)
    );
    assert!(text.contains("\n            do not restart: a restart loses them. "), "{text}");
    let ready = octroi.plain("metrics", "localhost", "/readyz").get();
    assert!(
        ready.status == 200 && ready.body.contains("journal: not on the disk: revocations: 1: "),
        "{ready:?}"
    );

    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(revoke("u_2"), Some(0));
    octroi.ok(&["status"]);
    assert_eq!(
        (octroi.metric("octroi_revocations_unkept"), octroi.metric("octroi_revocation_journal_failing")),
        (0.0, 0.0)
    );
    // Its end is said once, with how many were at stake: that one, and the one that was written with it.
    let back = |octroi: &Octroi| {
        octroi
            .printed()
            .into_iter()
            .filter(|line| line.contains("event=\"journal_back\""))
            .collect::<Vec<_>>()
    };
    let said = eventually("its end is said", || Some(back(&octroi)).filter(|said| !said.is_empty()));
    assert!(said.len() == 1 && said[0].contains("revocations=2"), "{said:?}");
    assert_eq!(revoke("u_3"), Some(0));
    octroi.ok(&["status"]);
    assert_eq!(back(&octroi).len(), 1);
}

/// A file system that is taken off at the end, whatever happens.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// One of 64 KiB, where this user may mount any.
    fn small(dir: &std::path::Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
            .arg(dir)
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn log_files_rotate_by_size_and_sinks_change_with_a_reload() {
    let upstream = Upstream::start();
    let rotated = "access_log: [{to: file, path: access.log, rotate: {size: 4KiB, keep: 2}}, {to: stdout}]";
    let mut octroi = Octroi::start(&config(&upstream, ADMIN, rotated));
    for _ in 0..40 {
        assert_eq!(
            exchange(
                &mut raw(octroi.addr("plain")),
                b"GET /x HTTP/1.1\r\nHost: acme.test\r\nConnection: close\r\n\r\n"
            )[9..12],
            *"200"
        );
    }
    let file = |name: &str| std::fs::metadata(octroi.path().join(name)).ok();
    eventually("all lines", || (octroi.access_lines().len() >= 40).then_some(()));
    let [now, one, two] =
        ["access.log", "access.log.1", "access.log.2"].map(|name| eventually(name, || file(name)));
    assert!(file("access.log.3").is_none() && one.len() <= 4096 && two.len() <= 4096);
    assert_eq!(now.permissions().mode() & 0o027, 0);

    octroi.reload(&config(&upstream, ADMIN, "access_log: [{to: file, path: other.log}]"));
    assert_eq!(octroi.plain("plain", "acme.test", "/x").status(), 200);
    eventually("the new file", || {
        std::fs::read_to_string(octroi.path().join("other.log"))
            .ok()
            .filter(|text| text.contains("\"path\":\"/x\""))
    });
}

#[test]
fn every_family_of_metrics_moves() {
    let (octroi, _upstream) = started(ADMIN, "");
    octroi.curl("acme.test", "/x").status();
    octroi.curl("acme.test", "/x").header("X-Forwarded-For: 1.2.3.4").header("X_Under: 1").status();
    octroi.curl("acme.test", "/in/x").cookie("__Host-octroi=oct1.AAAA").status();
    octroi.curl("shut.test", "/x").status();
    octroi.curl("acme.test", "/login?h-Octroi-Session-Grant=user%3D%22u_1%22").status();
    octroi.command(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    octroi.curl("nobody.test", "/x").args(&["-k"]).get();

    for series in [
        r#"octroi_requests_total{code="200",decision="allow",tenant="acme"}"#,
        r#"octroi_requests_total{code="403",decision="deny",tenant="shut"}"#,
        r#"octroi_request_duration_seconds_count{decision="allow"}"#,
        r#"octroi_decisions_total{check="ip_access",mode="enforce",reason="ip_not_allowed",tenant="shut",verdict="deny"}"#,
        r#"octroi_session_checks_total{result="session_invalid"}"#,
        r#"octroi_session_events_total{event="granted"}"#,
        r#"octroi_request_headers_dropped_total{reason="header_underscore"}"#,
        r#"octroi_upstream_requests_total{code="200",upstream="app"}"#,
        r#"octroi_upstream_duration_seconds_count{upstream="app"}"#,
        r#"octroi_connections_accepted_total{listener="public"}"#,
        r#"octroi_tls_handshakes_total{alpn="-",group="-",listener="public",result="unknown_sni",version="-"}"#,
        r#"octroi_tls_handshakes_total{alpn="h2",group="X25519",listener="public",result="full",version="TLSv1.3"}"#,
        r#"octroi_tls_handshake_duration_seconds_count{listener="public"}"#,
        r#"octroi_config_reload_total{result="success"}"#,
        r#"octroi_config_last_reload_successful"#,
        r#"octroi_admin_requests_total{code="200"}"#,
        "octroi_revocations",
        "process_resident_memory_bytes",
    ] {
        assert!(octroi.metric(series) > 0.0, "{series}\n{}", octroi.metrics());
    }
    let metrics = octroi.metrics();
    for family in [
        "octroi_tls_certificate_not_after_timestamp_seconds{",
        "octroi_policy_info{revision=",
        "octroi_build_info{version=",
    ] {
        assert!(metrics.contains(family), "{family}\n{metrics}");
    }
}

#[test]
fn int_ends_at_once_and_quit_does_nothing_alone() {
    let (mut octroi, upstream) = started(ADMIN, "");
    octroi.signal("QUIT");
    eventually("it says so", || {
        octroi.printed().iter().any(|line| line.contains("no successor")).then_some(())
    });
    let slow = octroi.plain("plain", "acme.test", "/x?sleep=2500");
    let slow = std::thread::spawn(move || slow.get().exit);
    eventually("the slow request is at the app", || (!upstream.peek().is_empty()).then_some(()));

    octroi.signal("INT");

    let start = std::time::Instant::now();
    assert_eq!(octroi.wait(), 0);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    assert_ne!(slow.join().unwrap(), 0);
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_reload() {
    let (octroi, upstream) = started(ADMIN, "");
    octroi.configure(&config(&upstream, ADMIN, "access_log: [{to: file, path: /nonexistent/access.log}]"));

    let refused = octroi.command(&["reload", "--json"]);

    assert_eq!(refused.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("/nonexistent/access.log"), "{told}");
    assert_eq!(octroi.plain("plain", "acme.test", "/logged").status(), 200);
    octroi.access_line(|line| line["path"] == "/logged");
    let status = octroi.command(&["status", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status.status.code() == Some(1) && told["reload_error"].is_string(), "{told}");
}
