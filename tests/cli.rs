//! The commands, as a shell sees them: what they print, what they leave alone, how they end.

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
  app: {rules: [{path: /public/, access: public, quotas: [few]}, {path: /admin, roles: [admin]}, {path: /admin/, roles: [admin]}, {path: /login, access: public, grant: true}]}
tenants:
  acme: {hosts: [acme.test], upstream: app, routes: app, ip_access: {allow: [127.0.0.0/8, 192.0.2.0/24]}}
"#;

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn run_says_of_a_key_that_it_cannot_read_what_check_says() {
    let octroi = Octroi::prepared(CONFIG);
    let key = octroi.path().join("certs/acme.key");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();

    let (check, run) = (octroi.command(&["check"]), octroi.command(&["run"]));

    assert_eq!((check.status.code(), run.status.code()), (Some(1), Some(78)));
    let (check, run) = (text(&check.stderr), text(&run.stderr));
    let said = check.split("\n\n").find(|problem| problem.contains("acme.key")).unwrap();
    let lines: Vec<_> = said.lines().take_while(|line| !line.is_empty()).take(5).collect();
    assert!(
        lines[0].contains(":7:50: tls.certificates[0].key: ") && lines[4].starts_with("hint: "),
        "{said}"
    );
    assert!(run.contains(&lines.join("\n")), "{run}\n{said}");
}

/// Root makes the keys of a service: its group may read them where the folder says so.
#[test]
fn a_folder_that_hands_its_group_on_has_keys_for_the_group() {
    let octroi = Octroi::prepared(CONFIG);
    let mode = |file: &str| fs::metadata(octroi.path().join(file)).unwrap().permissions().mode() & 0o7777;
    let set = |folder: &str, mode| {
        fs::set_permissions(octroi.path().join(folder), fs::Permissions::from_mode(mode)).unwrap()
    };
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
        assert_eq!(
            fs::metadata(octroi.path().join(secret)).unwrap().permissions().mode() & 0o077,
            0,
            "{secret}"
        );
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

/// An answer, not silence; numbers, not a scroll; colour for eyes alone.
#[test]
fn a_check_says_how_it_ends() {
    let octroi = Octroi::prepared(CONFIG);
    let said = |output: &Output| (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(
        said(&octroi.command(&["check"])),
        (Some(0), "ok: 1 tenant, 1 listener\n".into(), String::new())
    );

    octroi.configure(&CONFIG.replace(", expires: 2099-12-31", ""));
    let (code, out, warned) = said(&octroi.command(&["check"]));
    assert_eq!((code, out.as_str()), (Some(0), "ok: 1 tenant, 1 listener, 1 warning\n"));
    assert!(warned.starts_with("warning: ") && warned.lines().count() == 5, "{warned}");

    octroi.configure(
        &CONFIG
            .replace(", expires: 2099-12-31", "")
            .replace("by: client", "by: nobody")
            .replace("upstream: app,", "upstream: ap,"),
    );
    let (code, out, wrong) = said(&octroi.command(&["check"]));
    assert_eq!((code, out.as_str(), wrong.lines().last()), (Some(1), "", Some("2 errors, 1 warning")));
    let file = octroi.config();
    let twice = run(&["check", file.to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(text(&twice.stderr).lines().last(), Some("4 errors, 2 warnings"));

    // A pipe has no colour; a terminal has, unless somebody wants none.
    assert!(!wrong.contains('\x1b'), "{wrong:?}");
    let on_terminal = |variable: (&str, &str)| {
        let command = format!("'{BINARY}' check '{}'", file.display());
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env(variable.0, variable.1)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stdout)
    };
    let coloured = on_terminal(("NO_COLOR", ""));
    for word in
        ["\x1b[1;31merror\x1b[0m: ", "\x1b[1;33mwarning\x1b[0m: ", "\x1b[36mhint\x1b[0m: ", "\x1b[1;31m^"]
    {
        assert!(coloured.contains(word), "{word:?} in {coloured:?}");
    }
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_terminal(variable);
        assert!(plain.contains("2 errors, 1 warning") && !plain.contains('\x1b'), "{variable:?} {plain:?}");
    }
}

/// What `run` refuses, `check` has said; what another user or machine could change is a warning.
#[test]
fn a_check_finds_what_a_start_would_lack() {
    let octroi = Octroi::prepared(CONFIG);
    let at = |name: &str| octroi.path().join(name).display().to_string();
    let check = |config: &str| {
        octroi.configure(config);
        let output = octroi.command(&["check"]);
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let state = |dir: &str| CONFIG.replace("state_dir: STATE", &format!("state_dir: {dir}"));
    let dev = |dir: &str| {
        CONFIG.replace("{cert: certs/acme.pem, key: certs/acme.key}", &format!("{{dev: true, dir: {dir}}}"))
    };
    let log = |path: &str| format!("{CONFIG}access_log: [{{to: file, path: {path}}}]\n");
    fs::write(octroi.path().join("file"), "").unwrap();
    fs::create_dir(octroi.path().join("logs")).unwrap();
    fs::create_dir(octroi.path().join("open")).unwrap();
    fs::set_permissions(octroi.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();

    // No start can succeed.
    for (config, word) in [
        (state("file"), "file is a file, and a folder is needed"),
        (state("file/state"), "file is a file, and a folder is needed"),
        (state("open"), "others may write to"),
        (state(&format!("/tmp/{}", "a".repeat(88))), "too long for a socket"),
        (dev("file"), "file is a file, and a folder is needed"),
        (
            CONFIG.replacen("127.0.0.1:0", "[::ffff:127.0.0.1]:8443", 1).replacen(
                "127.0.0.1:0",
                "127.0.0.1:8443",
                1,
            ),
            "is used twice",
        ),
        (log("file/access.log"), "file is a file, and a folder is needed"),
        (log("logs"), "logs is a folder, and a log is a file"),
    ] {
        let (code, said) = check(&config);
        assert!(code == 1 && said.contains(word) && said.ends_with("\n1 error\n"), "{word}: {code} {said}");
        assert_ne!(octroi.code(&["run"]), 0, "{word}");
    }
    // It depends on where it is started.
    for (config, words) in [
        (log("lgos/access.log"), ["there is no folder", "logs`?"]),
        (log("elsewhere/access.log"), ["there is no folder", "mkdir -p"]),
        (
            CONFIG.replacen("127.0.0.1:0", "192.0.2.1:8443", 1),
            ["192.0.2.1 is no address of this machine", "octroi.yaml:4:"],
        ),
        (state(&format!("/tmp/{}", "a".repeat(87))), ["with a high process number", "server.state_dir"]),
    ] {
        let (code, said) = check(&config);
        assert!(
            code == 0 && said.starts_with("warning: ") && words.iter().all(|word| said.contains(word)),
            "{words:?}: {code} {said}"
        );
    }
    // Nothing lacks: what a start makes itself, what is there.
    for config in [
        state("new/below"),
        dev("new/certs"),
        state(&at("state")),
        log("logs/access.log"),
        log("file"),
        log("access.log"),
    ] {
        let (code, said) = check(&config);
        assert_eq!((code, said.as_str()), (0, ""), "{config}");
    }
    assert!(
        !octroi.path().join("new").exists() && !octroi.path().join("access.log").exists(),
        "a check makes nothing"
    );
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
fn an_octroi_that_only_the_default_names_is_asked_and_is_given_no_orders() {
    let octroi = Octroi::start(CONFIG);
    let (state, file) = (octroi.path().join("state"), octroi.path().join("of_another.yaml"));
    let socket = state.join("control.sock");
    let with = |args: &[&str]| {
        let output = Command::new(BINARY)
            .args(args)
            .arg("--config")
            .arg(&file)
            .env("STATE_DIRECTORY", &state)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let orders: [&[&str]; 5] = [
        &["reload"],
        &["upgrade"],
        &["session", "revoke", "--tenant", "acme"],
        &["ban", "add", "192.0.2.7"],
        &["ban", "remove", "192.0.2.7"],
    ];
    let before = octroi.status()["revision"].clone();

    // No YAML, a state directory that is none, a folder, nothing.
    let place = file.display().to_string();
    for (written, expected) in [
        (Some("version: 1\nserver: {drain: 5s\nlisteners: [\n"), format!("{place}:")),
        (Some("version: 1\nserver: {state_dir: [elsewhere]}\n"), format!("{place}:2:")),
        (None, format!("{place}: cannot read this file")),
    ] {
        let _ = fs::remove_file(&file);
        if let Some(written) = written {
            fs::write(&file, written).unwrap();
        }
        for order in orders {
            let (code, out, said) = with(order);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{order:?}: {said}");
            assert!(
                said.contains(&expected) && said.contains("nothing is done") && said.contains("`--socket`"),
                "{order:?}: {said}"
            );
        }
        for question in
            [&["status"][..], &["session", "list", "--tenant", "acme", "--user", "u_1"], &["ban", "list"]]
        {
            let (code, out, said) = with(question);
            assert!(code.is_some_and(|code| code <= 1) && !out.is_empty(), "{question:?}: {said}");
            assert!(
                said.contains(&expected)
                    && said.contains(&format!("default state_dir, {}, is tried", state.display())),
                "{said}"
            );
        }
        // Whoever names it means it.
        let (code, _, said) = with(&[
            "session",
            "revoke",
            "--tenant",
            "acme",
            "--user",
            "u_1",
            "--socket",
            socket.to_str().unwrap(),
        ]);
        assert!(code == Some(0) && !said.contains("warning"), "{said}");
    }
    // A mistake elsewhere in the file keeps nobody from the default: the running octroi says what is wrong with its own.
    fs::write(&file, "version: 1\nnonsense: 1\n").unwrap();
    let (code, _, said) = with(&["reload"]);
    assert_eq!(code, Some(0), "{said}");
    let mut octroi = octroi;
    octroi.refresh();
    assert_eq!(octroi.status()["revision"], before);
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
        octroi
            .curl("acme.test", "/public/x")
            .args(&["--cacert", octroi.path().join("certs/ca.pem").to_str().unwrap()])
            .status(),
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

    // What only the process knows is asked of it, and said not to be known where there is none.
    octroi.ok(&["ban", "add", "203.0.113.9", "--note", "scraper"]);
    let (code, said) = explain(&["https://acme.test/public/x", "--ip", "203.0.113.9"]);
    assert!(code == Some(1) && said.contains("by an operator: scraper [banned]\ndecision: deny\n"), "{said}");
    assert!(
        said.contains(&format!(
            "client:   nothing: the connection is closed\nrunning:  process {} was asked",
            octroi.pid()
        )),
        "{said}"
    );
    let (_, said) = explain(&["https://acme.test/public/x", "--ip", "203.0.113.8"]);
    assert!(!said.contains("banned"), "{said}");
    let (_, said) =
        explain(&["https://acme.test/public/x", "--ip", "203.0.113.9", "--socket", "nobody.sock"]);
    assert!(
        !said.contains("[banned]")
            && said.contains("\nrunning:  not asked, so bans and what other nodes revoked are not known"),
        "{said}"
    );
}
