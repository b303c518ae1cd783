//! What lies at a configured path and is no file: nobody waits for it.

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
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use harness::{Octroi, program::BINARY};

const CONFIG: &str = r#"
version: 1
server: {state_dir: STATE, threads: 2}
metrics: {address: "127.0.0.1:0"}
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
        (
            "jwt.jwk",
            r#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ),
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
                assert!(
                    !said(&output).contains("that are missing"),
                    "it makes what is missing: {name} {args:?}: {}",
                    said(&output)
                );
                assert!(
                    code == 74 || said(&output).contains("it is not a regular file"),
                    "{name} {args:?}: {}",
                    said(&output)
                );
            }
        });
    }
    let session = octroi.path().join("session.key");
    let refused =
        with_pipe(&session, || timed(Command::new(BINARY).args(["upgrade", "--config"]).arg(&config)));
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

/// A command that reads something which may be a pipe, and what comes out of it.
struct Reads {
    /// `PIPE` stands for the pipe.
    args: &'static [&'static str],
    honest: String,
    /// One byte more than this is too much.
    most: usize,
}

fn reads(octroi: &Octroi) -> Vec<Reads> {
    let ca = fs::read_to_string(octroi.path().join("ca.pem")).unwrap();
    let key = r#"{"keys": [{"kty": "OKP", "kid": "a", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let explain = |args, honest: &str, most| Reads { args, honest: honest.to_owned(), most };
    vec![
        explain(
            &["explain", "https://acme.test/", "--head", "PIPE"],
            "GET / HTTP/1.1\r\nHost: acme.test\r\n\r\n",
            1 << 20,
        ),
        explain(&["explain", "https://acme.test/", "--cookie", "@PIPE"], "a=b\n", 1 << 20),
        explain(&["explain", "https://acme.test/", "--bearer", "@PIPE"], "oct1.none\n", 1 << 20),
        explain(&["explain", "https://acme.test/", "--certificate", "PIPE"], &ca, 4 << 20),
        explain(&["session", "inspect", "a.b.c", "--jwks", "PIPE"], key, 4 << 20),
    ]
}

/// Begins a command that reads a pipe of its own.
fn reading(octroi: &Octroi, number: usize, case: &Reads) -> (std::process::Child, std::path::PathBuf) {
    let pipe = octroi.path().join(format!("pipe-{number}"));
    if !pipe.exists() {
        made_pipe(&pipe);
    }
    let args = case.args.iter().map(|arg| arg.replace("PIPE", pipe.to_str().unwrap()));
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .arg("--config")
        .arg(octroi.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (command.spawn().unwrap(), pipe)
}

#[test]
fn every_file_that_a_command_names_may_be_a_pipe_within_the_bound_and_the_deadline() {
    let octroi = prepared();
    let cases = reads(&octroi);

    // The honest ones first, and one byte too much.
    for (number, case) in cases.iter().enumerate() {
        for (text, is_too_much) in
            [(case.honest.clone().into_bytes(), false), (vec![b'a'; case.most + 1], true)]
        {
            let (child, pipe) = reading(&octroi, number, case);
            // The reader may be gone before all is written.
            let writer = std::thread::spawn(move || drop(fs::write(pipe, text)));
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            let text = said(&output);
            assert_eq!(text.contains("it is larger than"), is_too_much, "{:?}: {text}", case.args);
            assert!(!text.contains("pipe in time"), "{:?}: {text}", case.args);
            assert!(is_too_much || !text.contains("error: reading"), "{:?}: {text}", case.args);
        }
    }

    // Nobody writes, or not to the end: all of them at once, for each takes ten seconds.
    let began = Instant::now();
    let late: Vec<_> =
        cases.iter().enumerate().map(|(number, case)| (reading(&octroi, number, case), case.args)).collect();
    let mut half = Command::new(BINARY);
    half.args(["session", "inspect", "-", "--config"]).arg(octroi.config()).stdin(Stdio::piped());
    let mut half = half.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut typed = half.stdin.take().unwrap();
    std::io::Write::write_all(&mut typed, b"oct1.ha").unwrap();
    let ended: Vec<_> =
        late.into_iter().map(|((child, _), args)| (child.wait_with_output().unwrap(), args)).collect();
    let half = (half.wait_with_output().unwrap(), &["session", "inspect", "-"][..]);
    drop(typed);
    for (output, args) in ended.into_iter().chain([half]) {
        let text = said(&output);
        assert!(
            !output.status.success() && text.contains("nothing more came out of this pipe in time"),
            "{args:?}: {text}"
        );
    }
    let took = began.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(18)).contains(&took), "{took:?}");
}

#[test]
fn standard_input_is_read_from_a_pipe_a_file_or_nothing_and_within_its_bound() {
    let octroi = prepared();
    let inspected = |input: Stdio| {
        let mut command = Command::new(BINARY);
        let output = command
            .args(["session", "inspect", "--config"])
            .arg(octroi.config())
            .stdin(input)
            .output()
            .unwrap();
        said(&output)
    };
    let from_pipe = |text: Vec<u8>| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let writing = std::thread::spawn(move || drop(std::io::Write::write_all(&mut writer, &text)));
        let said = inspected(reader.into());
        writing.join().unwrap();
        said
    };
    let file = octroi.path().join("token");
    let from_file = |text: &[u8]| {
        fs::write(&file, text).unwrap();
        inspected(fs::File::open(&file).unwrap().into())
    };
    let (token, just, over) = (b"oct1.none\n".to_vec(), vec![b'a'; 16 << 10], vec![b'a'; (16 << 10) + 1]);

    let told = from_pipe(token.clone());
    assert!(told.contains("does not open"), "{told}");
    assert_eq!(from_file(&token), told);
    for text in [from_pipe(just.clone()), from_file(&just), inspected(Stdio::null())] {
        assert!(text.contains("does not open"), "{text}");
    }
    for text in [from_pipe(over.clone()), from_file(&over)] {
        assert!(text.contains("it is larger than 16 KiB"), "{text}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_watched_file_keeps_no_watcher() {
    let mut octroi = prepared();
    octroi.run();
    let of_folder = fs::read_dir(octroi.path().join("keys")).unwrap().next().unwrap().unwrap().path();
    let places: Vec<_> = ["deny.txt", "tickets.key", "ca.pem"]
        .iter()
        .map(|name| octroi.path().join(name))
        .chain([of_folder])
        .collect();
    for place in &places {
        fs::rename(place, place.with_file_name(format!(".{}", place.file_name().unwrap().display())))
            .unwrap();
        made_pipe(place);
    }
    harness::eventually("the pipe is refused", || {
        (octroi.metric("octroi_deny_files_refused") == 1.0).then_some(())
    });

    // Whoever looked at the pipes goes on looking at what else there is.
    let key = rcgen::KeyPair::generate().unwrap();
    let renewed =
        rcgen::CertificateParams::new(vec!["acme.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(octroi.path().join("certs/acme.key"), key.serialize_pem()).unwrap();
    fs::write(octroi.path().join("certs/acme.pem"), renewed.pem()).unwrap();
    let renewals = || octroi.metric("octroi_tls_certificate_reloads_total{result=\"success\"}");
    harness::eventually("the certificate is renewed", || (renewals() >= 1.0).then_some(()));

    for place in &places {
        fs::rename(place.with_file_name(format!(".{}", place.file_name().unwrap().display())), place)
            .unwrap();
    }
    harness::eventually("the file is read again", || {
        (octroi.metric("octroi_deny_files_refused") == 0.0).then_some(())
    });
    octroi.ok(&["reload"]);
}

/// Octroi in name spaces of its own, where `dead` in its folder is a file system whose server never answers: FUSE with nobody behind it.
const DEAD: &str = r#"
mkdir "$0/dead"
exec 9<>/dev/fuse
mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 dead "$0/dead"
sleep 600 >/dev/null 2>&1 &
echo $! >"$0/server"
exec "$@" 9>&-
"#;

#[test]
#[ignore = "needs /dev/fuse and name spaces, and three minutes: make full"]
fn a_file_system_that_hangs_is_told_at_the_deadline_and_keeps_nobody_else() {
    let mut octroi = prepared();
    let folder = octroi.path().to_owned();
    let lists = folder.join("lists");
    let turn_to = |folder: &str| {
        let new = lists.with_file_name("new");
        std::os::unix::fs::symlink(folder, &new).unwrap();
        fs::rename(new, &lists).unwrap();
    };
    fs::create_dir(folder.join("living")).unwrap();
    fs::rename(folder.join("deny.txt"), folder.join("living/deny.txt")).unwrap();
    turn_to("living");
    octroi.configure(&CONFIG.replace("deny.txt", "lists/deny.txt"));
    octroi.run_under(&["unshare", "-Urm", "bash", "-c", DEAD, folder.to_str().unwrap()]);
    let pid = octroi.pid();
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "octroi-files").count()
    };
    octroi.ok(&["reload"]);
    harness::eventually("the thread that read its files ends", || (threads() == 0).then_some(()));

    turn_to("dead");
    let began = Instant::now();
    let mut hanging = Command::new(BINARY);
    hanging
        .args(["reload", "--config"])
        .arg(octroi.config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let hanging = hanging.spawn().unwrap();
    harness::eventually("a thread reads", || (threads() > 0).then_some(()));
    assert_ne!(octroi.curl("acme.test", "/").status(), 0, "whoever asks for a page is answered");
    let refused = hanging.wait_with_output().unwrap();
    let took = began.elapsed();
    let text = said(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(
        text.contains("reading the configuration's files did not end within 180 s; a file system hangs"),
        "{text}"
    );
    assert!((Duration::from_secs(180)..Duration::from_secs(190)).contains(&took), "{took:?}");
    let held = threads();
    assert!((1..=4).contains(&held), "the reload's, the watcher's: {held}");

    turn_to("living");
    octroi.ok(&["reload"]);
    assert!(threads() >= 1, "the first one hangs on, and keeps nobody");
    let began = Instant::now();
    octroi.signal("TERM");
    octroi.wait();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let server = fs::read_to_string(folder.join("server")).unwrap();
    assert!(harness::program::signal(server.trim().parse().unwrap(), "KILL"));
}
