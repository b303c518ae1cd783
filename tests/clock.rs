//! The wall clock is set while the program runs: sessions go on, nobody signs in, nothing that was revoked is forgotten.
//!
//! The program believes libfaketime (Debian: faketime) what time it is; the clock of the machine stays as it is.

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

use std::{fs, path::PathBuf};

use harness::wait;
use harness::{Octroi, Upstream, client::Answer, eventually};

/// A program whose wall clock can be set.
struct Faked {
    octroi: Octroi,
    offset: PathBuf,
    config: String,
    _upstream: Upstream,
}

fn library() -> String {
    let places = fs::read_dir("/usr/lib")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let found = places.into_iter().find(|path| path.exists());
    found.expect("libfaketime is there: scripts/setup.sh faketime=faketime").to_str().unwrap().to_owned()
}

impl Faked {
    fn start(server: &str) -> Self {
        let upstream = Upstream::start();
        let config = format!(
            r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2{server}}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
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
tenants:
  acme: {{hosts: [acme.test], upstream: app, routes: app}}
"#,
            upstream.addr
        );
        let mut octroi = Octroi::prepared(&config);
        let offset = octroi.path().join("offset");
        fs::write(&offset, "+0").unwrap();
        octroi.env = vec![
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap().to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        octroi.run();
        Self { octroi, offset, config, _upstream: upstream }
    }

    /// Sets the wall clock: seconds from the true time.
    fn set(&self, offset: &str) {
        // As a whole: half an offset is another time.
        let new = self.offset.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &self.offset).unwrap();
    }

    fn grant(&self, user: &str) -> Answer {
        self.octroi.curl("acme.test", &format!("/login?h-Octroi-Session-Grant=user%3D%22{user}%22")).get()
    }

    fn with(&self, cookie: &str) -> (u16, String) {
        let answer = self.octroi.curl("acme.test", "/x").cookie(cookie).get();
        (answer.status, self.octroi.reason(&answer))
    }

    fn step(&self) -> f64 {
        self.octroi.metric("octroi_clock_step_seconds")
    }

    /// What `octroi status` says of the clock.
    fn clock(&self) -> serde_json::Value {
        let output = self.octroi.command(&["status", "--json"]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["clock"].clone()
    }

    fn said(&self, part: &str) {
        eventually("it is said", || {
            self.octroi.printed().iter().any(|line| line.contains(part)).then_some(())
        });
    }
}

#[test]
fn a_wall_clock_that_is_set_ahead_signs_nobody_out_and_nobody_in() {
    let faked = Faked::start("");
    let cookie = faked.grant("u_1").session();
    let gone = faked.grant("u_2").session();
    faked.octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2"]);
    assert_eq!((faked.with(&cookie).0, faked.with(&gone).1.as_str()), (200, "session_revoked"));
    assert_eq!(faked.step(), 0.0);

    // A day: every session would be over, and every revocation forgotten.
    faked.set("+86400");
    assert_eq!(faked.with(&cookie), (200, "-".to_owned()));
    assert_eq!(faked.with(&gone).1, "session_revoked");
    let refused = faked.grant("u_1");
    assert_eq!(
        (refused.status, refused.all("set-cookie").len(), faked.octroi.reason(&refused).as_str()),
        (503, 0, "clock_stepped")
    );
    // As much of `server.clock_hold` as is left.
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((570..=600).contains(&wait), "{wait}");
    let public = faked.octroi.curl("acme.test", "/public/").cookie(&cookie).get();
    assert_eq!((public.status, public.all("set-cookie").len()), (200, 0), "the cookie stays");
    assert!((faked.step() - 86_400.0).abs() < 5.0, "{}", faked.step());
    faked.said("nobody signs in until it is back");
    let status = faked.octroi.command(&["status"]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.status.code(), Some(1), "{text}");
    assert!(
        text.contains("clock       set ahead by 86")
            && text.contains("if the clock is right now: `octroi reload`, or wait until "),
        "{text}"
    );
    assert_eq!(faked.octroi.metric("octroi_clock_steps_total"), 1.0);

    // It was a mistake: all is as before.
    faked.set("+0");
    assert!(!faked.grant("u_3").session().is_empty());
    faked.said("the wall clock is back where it was");
    assert_eq!(
        (faked.with(&cookie).0, faked.with(&gone).1.as_str(), faked.step()),
        (200, "session_revoked", 0.0)
    );
    assert!(!faked.octroi.ok(&["status"]).contains("clock "));
}

#[test]
fn an_operator_who_reloads_confirms_the_wall_clock() {
    let mut faked = Faked::start("");
    let cookie = faked.grant("u_1").session();
    let gone = faked.grant("u_2").session();
    faked.octroi.ok(&["session", "revoke", "--tenant", "acme", "--user", "u_2"]);
    assert!(faked.clock().is_null());
    faked.set("+1200");
    assert_eq!(faked.grant("u_1").status, 503);
    faked.said("nobody signs in until it is back");
    let told = faked.clock();
    let time = |name: &str| told[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!((told["step_seconds"].as_f64().unwrap() - 1200.0).abs() < 5.0, "{told}");
    assert_eq!(time("until").duration_since(time("since")).as_secs(), 600, "{told}");
    assert!(time("since") <= time("now") && time("now") < time("until"), "{told}");

    let config = faked.config.clone();
    faked.octroi.reload(&config);

    // Twenty minutes are within `idle`; and from now on they have passed.
    assert_eq!((faked.with(&cookie).0, faked.step()), (200, 0.0));
    assert!(faked.clock().is_null());
    let new = faked.grant("u_3").session();
    assert_eq!(faked.with(&new).0, 200);
    // A day ahead, confirmed too: sessions are over. Set right again, and confirmed: what was revoked still is.
    faked.set("+87600");
    faked.octroi.reload(&config);
    assert_eq!(faked.with(&cookie).0, 401);
    wait::elapse(std::time::Duration::from_secs(1));
    faked.set("+1200");
    faked.octroi.reload(&config);
    assert_eq!((faked.with(&gone).1.as_str(), faked.with(&new).0), ("session_revoked", 200));
}

#[test]
fn a_wall_clock_that_is_steady_for_long_enough_is_believed() {
    let faked = Faked::start(", clock_hold: 6s");
    let cookie = faked.grant("u_1").session();

    // Back: what has ended must not live again, so it is held as well.
    faked.set("-3600");
    assert_eq!((faked.grant("u_1").status, faked.with(&cookie).0), (503, 200));
    eventually("somebody signs in", || (faked.grant("u_2").status == 200).then_some(()));
    faked.said("is believed from now on");
    assert_eq!(faked.step(), 0.0);
    // A session of the time that is now in the future.
    assert_eq!(faked.with(&cookie), (401, "session_not_yet".to_owned()));
}
