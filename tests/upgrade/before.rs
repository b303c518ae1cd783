//! From the version before to this one, under load. `make full` builds that version (`scripts/build-before.sh`); the variable
//! `OCTROI_BEFORE` names its program.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::JoinHandle,
};

use crate::{
    clients::ClientFleet,
    config,
    harness::{
        Octroi, Upstream, eventually,
        program::{BINARY, lives, signal},
    },
    sessions::{ends, resting, tunnel, with},
    upgrade,
};

/// As installed: the version before, whose file the new one takes over.
struct Installed {
    octroi: Octroi,
    upstream: Upstream,
    program: PathBuf,
}

impl Installed {
    fn start() -> Self {
        let before = std::env::var_os("OCTROI_BEFORE")
            .expect("OCTROI_BEFORE must name the program of the version before: OCTROI_BEFORE=$(scripts/build-before.sh)");
        let upstream = Upstream::start();
        let mut octroi = Octroi::prepared(&rules(&upstream, "[]"));
        let program = octroi.path().join("program");
        install(Path::new(&before), &program);
        let mut command = Command::new(&program);
        command.args(["run", "--config"]).arg(octroi.config()).stdin(Stdio::null());
        let child = octroi.spawn(command);
        octroi.adopt(child);
        Self { octroi, upstream, program }
    }

    /// Runs a command of the program that is installed.
    fn ok(&self, args: &[&str]) {
        let output = Command::new(&self.program)
            .args(args)
            .arg("--config")
            .arg(self.octroi.config())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    fn sign_in(&self, user: &str) -> String {
        let path = format!("/login?h-Octroi-Session-Grant=user%3D%22{user}%22");
        self.octroi.curl("acme.test", &path).args(&["-X", "POST"]).get().session()
    }

    fn status(&self, path: &str, cookie: &str) -> u16 {
        self.octroi.curl("acme.test", path).cookie(cookie).status()
    }

    /// Asks what a client may ask three times an hour.
    fn few(&self) -> Vec<u16> {
        (0..4).map(|_| self.octroi.curl("acme.test", "/few/x").status()).collect()
    }

    /// Asks something whose answer takes so long that the upgrade comes between.
    fn slow(&self, version: &str) -> JoinHandle<u16> {
        let asked = self.octroi.curl("acme.test", "/public/x?sleep=3000").args(&[version]);
        std::thread::spawn(move || asked.status())
    }

    fn fleet(&self) -> ClientFleet {
        ClientFleet::start(self.octroi.addr("public"), &self.octroi.path().join("certs/ca.pem"), [2, 4, 4])
    }
}

/// Puts a program in the place of another, as package managers do: the file of one that runs is not written to.
///
/// Another process copies it: a child that a test beside this one forks would inherit our descriptor, and until it
/// execs, the program could not be started (ETXTBSY).
fn install(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    assert!(Command::new("cp").arg(from).arg(&new).status().unwrap().success());
    fs::rename(&new, to).unwrap();
}

fn rules(upstream: &Upstream, trusted: &str) -> String {
    let rules = config(upstream, "");
    let rules = rules.replace("drain: 5s,", &format!("drain: 15s, trusted_proxies: {trusted},"));
    let quotas =
        "bans: {after: 3, within: 1m, for: 1h}\nquotas: {few: {by: client, rate: 1/h, burst: 3}}\nroutes:\n";
    rules
        .replace("routes:\n", quotas)
        .replace("    rules:\n", "    rules:\n      - {path: /few/, access: public, quotas: [few]}\n")
}

#[test]
#[ignore = "make full: needs the program of the version before"]
fn from_the_version_before_no_request_and_no_session_is_lost() {
    let mut installed = Installed::start();
    // Under the version before: one who stays, one whose sessions are ended, and one who signs out.
    let [stays, ended, out] = ["u_1", "u_2", "u_3"].map(|user| installed.sign_in(user));
    installed.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2"]);
    let signed_out = installed
        .octroi
        .curl("acme.test", "/logout?h-Octroi-Session-Revoke=self")
        .args(&["-X", "POST"])
        .cookie(&out);
    assert_eq!(signed_out.status(), 200);
    let sessions =
        |installed: &Installed| [&stays, &ended, &out].map(|cookie| installed.status("/x", cookie));
    assert_eq!(sessions(&installed), [200, 401, 401]);
    assert_eq!(installed.few(), [200, 200, 200, 429]);
    let mut fleet = installed.fleet();
    fleet.answered_again(50);
    let before = fleet.connections();
    let [mut asks, mut signs_out, mut is_ended] = [(); 3].map(|()| resting(&installed.octroi));
    let mut open = tunnel(&installed.octroi, &stays);
    let slow = ["--http1.1", "--http2"].map(|version| installed.slow(version));
    let on_their_way =
        || installed.upstream.peek().iter().filter(|got| got.target.contains("sleep=")).count() == 2;
    eventually("they are on their way", || on_their_way().then_some(()));

    install(Path::new(BINARY), &installed.program);
    let (old, new) = upgrade(&mut installed.octroi);

    // Every client is told to go, comes again, and goes on.
    fleet.all_come_again(&before);
    fleet.answered_again(50);
    assert!(old != new);
    assert_eq!(fs::read(format!("/proc/{new}/exe")).unwrap().len(), fs::read(BINARY).unwrap().len());
    assert_eq!(slow.map(|asked| asked.join().unwrap()), [200; 2]);
    // Nobody's session is lost, and nobody's comes back.
    assert_eq!(sessions(&installed), [200, 401, 401]);
    // What is counted begins anew, as documented; the rule is the same.
    assert_eq!(installed.few(), [200, 200, 200, 429]);

    // Sessions are one thing in both, whichever version ends them.
    let fourth = installed.sign_in("u_4");
    assert_eq!(with(&mut asks, "GET", "/x", &fourth), 200);
    assert_eq!(with(&mut signs_out, "POST", "/logout?h-Octroi-Session-Revoke=self", &fourth), 200);
    assert_eq!(installed.status("/x", &fourth), 401);
    open.write_all(b"still").unwrap();
    assert_eq!(open.read(&mut [0; 16]).unwrap(), 5);
    installed.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_1"]);
    assert_eq!(with(&mut is_ended, "GET", "/x", &stays), 401);
    ends(&mut open);
    let fifth = installed.sign_in("u_5");
    fleet.stop();
    // What came over HTTP/2 came once each, however often it was asked for.
    let mut targets: Vec<String> = installed
        .upstream
        .take()
        .into_iter()
        .map(|got| got.target)
        .filter(|target| target.contains("?n="))
        .collect();
    let came = targets.len();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!((came, targets.len()), (fleet.made(), came));
    assert_eq!(installed.octroi.wait(), 0);

    // And what the version before wrote down is read at a start, too.
    assert!(signal(new, "TERM"));
    eventually("it ends", || (!lives(new)).then_some(()));
    installed.octroi.run();
    assert_eq!(sessions(&installed), [401; 3]);
    assert_eq!([&fourth, &fifth].map(|cookie| installed.status("/x", cookie)), [401, 200]);
}

#[test]
#[ignore = "make full: needs the program of the version before"]
fn what_this_version_refuses_it_names_and_the_version_before_goes_on() {
    let mut installed = Installed::start();
    let cookie = installed.sign_in("u_1");
    let mut fleet = installed.fleet();
    fleet.answered_again(50);
    let pid = installed.octroi.status()["pid"].clone();

    install(Path::new(BINARY), &installed.program);
    installed.octroi.configure(&rules(&installed.upstream, "[0.0.0.0/1, 128.0.0.0/1]"));
    let refused = installed.octroi.command(&["upgrade"]);

    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("server.trusted_proxies")
            && said.contains("not upgraded: the same process serves as before"),
        "{said}"
    );
    fleet.answered_again(50);
    installed.octroi.refresh();
    assert_eq!((&installed.octroi.status()["pid"], installed.status("/x", &cookie)), (&pid, 200));

    installed.octroi.configure(&rules(&installed.upstream, "[]"));
    let before = fleet.connections();
    upgrade(&mut installed.octroi);
    fleet.all_come_again(&before);
    fleet.stop();
    assert_eq!(installed.status("/x", &cookie), 200);
}
