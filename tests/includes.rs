//! Tenant files that come and go: whoever's file is away for a moment keeps his sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, reason = "a test is read, not linked")]

mod harness;

use std::{fs, path::PathBuf};

use harness::{Octroi, Upstream, eventually};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
tls: {{certificates: [{{dev: true, dir: certs}}]}}
sessions: {{keys: [{{id: 1, secret: "${{file:session.key}}"}}]}}
upstreams: {{app: {{servers: [{{address: "{}"}}]}}}}
tenants:
  acme: {{hosts: [acme.test], upstream: app}}
tenant_files: [tenants.d/*.yaml]
"#,
        upstream.addr
    )
}

struct House {
    octroi: Octroi,
    _upstream: Upstream,
}

impl House {
    fn new() -> Self {
        let upstream = Upstream::start();
        let octroi = Octroi::prepared(&config(&upstream));
        let mut house = Self { octroi, _upstream: upstream };
        fs::create_dir(house.folder()).unwrap();
        house.put("globex");
        house.octroi.run();
        house
    }

    fn folder(&self) -> PathBuf {
        self.octroi.path().join("tenants.d")
    }

    fn put(&self, name: &str) {
        let text = format!("tenants: {{{name}: {{hosts: [{name}.test], upstream: app}}}}\n");
        fs::write(self.folder().join(format!("{name}.yaml")), text).unwrap();
    }

    fn take(&self, name: &str) {
        fs::remove_file(self.folder().join(format!("{name}.yaml"))).unwrap();
    }

    fn session(&self) -> String {
        let token = self.octroi.ok(&["session", "mint", "--tenant", "globex", "--user", "u_1"]);
        format!("__Host-octroi={}", token.trim())
    }

    fn status(&self, cookie: &str) -> u16 {
        self.octroi.curl("globex.test", "/x").cookie(cookie).get().status
    }

    fn reload(&self, args: &[&str]) -> (i32, String) {
        let output = self.octroi.command(&[&["reload"], args].concat());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn restart(&mut self) {
        self.octroi.signal("TERM");
        self.octroi.wait();
        self.octroi.run();
    }
}

#[test]
fn a_reload_while_the_folder_is_empty_ends_nobodys_sessions() {
    let house = House::new();
    let cookie = house.session();
    assert_eq!(house.status(&cookie), 200);
    house.take("globex");

    let (code, said) = house.reload(&[]);
    assert!(code == 1 && said.contains("no file fits `tenants.d/*.yaml` any more") && said.contains("--allow-removal"), "{said}");
    house.octroi.signal("HUP");
    eventually("the signal is refused too", || {
        (house.octroi.printed().iter().filter(|line| line.contains("configuration refused")).count() == 2).then_some(())
    });
    assert_eq!(house.status(&cookie), 200, "the tenant is served on");
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 200);

    // Meant: then the sessions are gone for good.
    house.take("globex");
    let (code, said) = house.reload(&["--allow-removal"]);
    assert!(code == 0 && said.contains("no file fits this pattern"), "warnings are printed: {said}");
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 401);
}

#[test]
fn many_tenants_go_only_with_a_word() {
    let house = House::new();
    let names: Vec<String> = (0..28).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| house.put(name));
    assert_eq!(house.reload(&[]).0, 0);

    // Three of thirty, and four of twenty-seven.
    names[..3].iter().for_each(|name| house.take(name));
    assert_eq!(house.reload(&[]).0, 0);
    names[3..7].iter().for_each(|name| house.take(name));
    let (code, said) = house.reload(&[]);
    assert!(code == 1 && said.contains("4 of 27 tenants are not there any more (`t3`, `t4`, `t5`, `t6`)"), "{said}");
    assert_eq!(house.reload(&["--allow-removal"]).0, 0);
}

#[test]
fn a_start_with_an_empty_folder_serves_and_ends_nobodys_sessions_until_it_is_confirmed() {
    let mut house = House::new();
    let cookie = house.session();
    house.take("globex");
    house.restart();
    assert_eq!(house.octroi.curl("acme.test", "/x").get().status, 401, "the others are served");
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 200);

    house.take("globex");
    house.restart();
    assert_eq!(house.reload(&[]).0, 0, "whoever reloads has looked");
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 401);
}

#[test]
fn a_hand_over_with_an_empty_folder_ends_nobodys_sessions() {
    let mut house = House::new();
    let cookie = house.session();
    house.take("globex");
    house.octroi.ok(&["upgrade"]);
    house.octroi.succeed();
    house.put("globex");

    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 200);
}

#[test]
fn a_name_that_begins_with_a_dot_is_none_unless_the_pattern_has_the_dot() {
    let house = House::new();
    fs::write(house.folder().join(".globex.yaml"), "not even YAML: [").unwrap();
    assert_eq!(house.octroi.code(&["check"]), 0);

    let text = fs::read_to_string(house.octroi.config()).unwrap();
    fs::write(house.octroi.config(), text.replace("tenants.d/*.yaml", "tenants.d/.g*.yaml")).unwrap();
    assert_eq!(house.octroi.code(&["check"]), 1);
}
