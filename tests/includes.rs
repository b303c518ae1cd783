//! Tenant files that come and go: whoever's file is away for a moment keeps his sessions.

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

use harness::{Octroi, Upstream, eventually, program::signal};

fn config(upstream: &Upstream) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 1s, threads: 2}}
listeners: [{{name: public, address: "127.0.0.1:0", tls: {{}}}}]
metrics: {{address: "127.0.0.1:0"}}
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
    assert!(
        code == 1
            && said.contains("no file fits `tenants.d/*.yaml` any more")
            && said.contains("--allow-removal"),
        "{said}"
    );
    house.octroi.signal("HUP");
    eventually("the signal is refused too", || {
        (house.octroi.printed().iter().filter(|line| line.contains("configuration refused")).count() == 2)
            .then_some(())
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
    let removed = "warning: 3 tenants were taken out, and their sessions ended for good: `t0`, `t1`, `t2`\n";
    let (code, said) = house.reload(&[]);
    assert!(code == 0 && said.contains(removed), "{said}");
    names[3..7].iter().for_each(|name| house.take(name));
    let (code, said) = house.reload(&[]);
    assert!(
        code == 1 && said.contains("4 of 27 tenants are not there any more (`t3`, `t4`, `t5`, `t6`)"),
        "{said}"
    );
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
    let (code, said) = house.reload(&[]);
    let missing =
        "1 of 2 tenants from before the start is still missing (`globex`); its sessions would end for good";
    assert!(
        code == 1 && said.contains(missing) && said.contains("--dry-run") && said.contains("--allow-removal"),
        "{said}"
    );
    assert_eq!(house.reload(&["--allow-removal"]).0, 0);
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 401);
}

#[test]
fn behind_a_start_without_the_folder_only_all_of_it_or_a_word_ends_the_wait() {
    let mut house = House::new();
    let (mark, away) =
        (house.octroi.path().join("state/tenants.missing"), house.folder().with_extension("away"));
    ["initech", "umbrella"].iter().for_each(|name| house.put(name));
    assert_eq!(house.reload(&[]).0, 0);
    let cookie = house.session();
    fs::rename(house.folder(), &away).unwrap();
    house.restart();
    let said = eventually("the start says so", || {
        house.octroi.printed().into_iter().find(|line| line.contains("tenants_missing"))
    });
    assert!(
        said.contains("ERROR")
            && said.contains("count=3")
            && said.contains("`globex`, `initech`, `umbrella`"),
        "{said}"
    );
    assert!(mark.exists());

    // One of three comes back: by command, as a dry run, by signal, and by a restart or an upgrade in between.
    fs::create_dir(house.folder()).unwrap();
    house.put("initech");
    let mut heir = None;
    let missing = "2 of 4 tenants from before the start are still missing (`globex`, `umbrella`)";
    for round in 0..3 {
        for args in [&["--dry-run"][..], &[]] {
            let (code, said) = house.reload(args);
            assert!(code == 1 && said.contains(missing), "{round}: {said}");
        }
        assert!(signal(heir.unwrap_or_else(|| house.octroi.pid()), "HUP"));
        eventually("the signal is refused", || {
            let lines = house.octroi.printed();
            (lines.iter().filter(|line| line.contains("configuration refused")).count() == 2 * (round + 1))
                .then_some(())
        });
        assert_eq!(
            (removals(&house).len(), house.octroi.metric("octroi_tenants_missing")),
            (0, if round == 0 { 3.0 } else { 2.0 })
        );
        match round {
            0 => house.restart(),
            1 => {
                house.octroi.ok(&["upgrade"]);
                heir = Some(house.octroi.succeed());
            }
            _ => {}
        }
    }
    let output = house.octroi.command(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1)
            && text.contains("missing     tenants were not there at the start, 20"),
        "{text}"
    );
    assert_eq!(
        house.octroi.curl("initech.test", "/x").get().status,
        401,
        "who came back is served behind a restart"
    );

    // With a word, those who would go are named; with all of them back, nobody's session has ended.
    let (code, said) = house.reload(&["--dry-run", "--allow-removal"]);
    assert!(
        code == 0
            && said.contains(
                "2 tenants would be taken out, and their sessions would end for good: `globex`, `umbrella`"
            ),
        "{said}"
    );
    ["globex", "umbrella"].iter().for_each(|name| house.put(name));
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!((house.status(&cookie), removals(&house).len(), mark.exists()), (200, 0, false));
    assert_eq!(house.octroi.code(&["status"]), 0);

    // From then on it is as ever: one may go.
    house.take("umbrella");
    assert_eq!(house.reload(&[]).0, 0);
}

#[test]
fn a_pattern_that_never_fitted_anything_keeps_nobody_from_taking_a_tenant_out() {
    let mut house = House::new();
    let text = fs::read_to_string(house.octroi.config()).unwrap();
    fs::write(house.octroi.config(), text.replace("tenants.d/*.yaml]", "tenants.d/*.yaml, more.d/*.yaml]"))
        .unwrap();
    house.restart();
    assert_eq!(house.octroi.code(&["status"]), 0);

    // Who is taken out was in force: that is no tenant whom the start missed.
    house.take("globex");
    house.put("initech");
    assert_eq!(house.reload(&[]).0, 0);
    let named = eventually("he is named", || removals(&house).first().cloned());
    assert!(named.contains("count=1") && named.contains("`globex`"), "{named}");
}

#[test]
fn a_restart_is_no_way_around_a_reload_that_was_refused() {
    let mut house = House::new();
    let names: Vec<String> = (0..4).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| house.put(name));
    assert_eq!(house.reload(&[]).0, 0);
    let cookie = house.session();
    // Four of six, the folder not empty.
    names[..3].iter().for_each(|name| house.take(name));
    house.take("globex");
    assert_eq!(house.reload(&[]).0, 1);
    let upgrade = house.octroi.command(&["upgrade"]);
    let said = String::from_utf8([upgrade.stdout, upgrade.stderr].concat()).unwrap();
    assert_eq!(upgrade.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "nothing is handed over: 4 of 6 tenants that are served are not there any more (`globex`, `t0`"
        ),
        "{said}"
    );
    assert_eq!(house.status(&cookie), 200, "it is served on");

    house.restart();
    assert_eq!((removals(&house).len(), house.octroi.metric("octroi_tenants_missing")), (0, 4.0));
    house.put("globex");
    assert_eq!(house.reload(&[]).0, 1);
    names.iter().for_each(|name| house.put(name));
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(house.status(&cookie), 200);

    // Three go with a restart too, and are named.
    names[..3].iter().for_each(|name| house.take(name));
    house.restart();
    let named = eventually("the start's line", || removals(&house).first().cloned());
    assert!(named.contains("count=3"), "{named}");
    assert_eq!(house.octroi.code(&["status"]), 0);
}

/// The lines that name tenants whose sessions ended.
fn removals(house: &House) -> Vec<String> {
    house.octroi.printed().into_iter().filter(|line| line.contains(r#"event="tenants_removed""#)).collect()
}

#[test]
fn whoever_is_taken_out_is_named_whatever_took_him_out() {
    let mut house = House::new();
    let put = |house: &House, from: usize, to: usize| {
        (from..to).for_each(|number| house.put(&format!("t{number:03}")))
    };
    put(&house, 0, 130);
    assert_eq!(house.reload(&[]).0, 0);
    assert_eq!(removals(&house), Vec::<String>::new(), "who comes is not named");

    // A signal: one line, and only of that.
    house.take("globex");
    house.octroi.signal("HUP");
    let named = eventually("the signal's line", || removals(&house).first().cloned());
    assert!(named.contains("WARN") && named.contains("count=1") && named.contains("`globex`"), "{named}");
    assert!(named.contains("their sessions ended for good"), "{named}");

    // Many: ten are named.
    (0..13).for_each(|number| house.take(&format!("t{number:03}")));
    let output = house.octroi.command(&["reload", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let warning = told["warnings"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(
        warning.starts_with(
            "warning: 13 tenants were taken out, and their sessions ended for good: `t000`, `t001`"
        ),
        "{told}"
    );
    assert!(warning.ends_with("`t009` and 3 more"), "{told}");
    assert_eq!(removals(&house).len(), 2);

    // A start finds fewer than the last one knew, and so does a successor.
    house.take("t020");
    house.restart();
    let named = eventually("the start's line", || removals(&house).get(2).cloned());
    assert!(named.contains("count=1") && named.contains("`t020`"), "{named}");
    house.take("t021");
    house.octroi.ok(&["upgrade"]);
    house.octroi.succeed();
    let named = eventually("the successor's line", || removals(&house).get(3).cloned());
    assert!(named.contains("`t021`"), "{named}");
}

#[test]
fn a_dry_run_names_whose_sessions_would_end_and_changes_nothing() {
    let house = House::new();
    house.put("initech");
    assert_eq!(house.reload(&[]).0, 0);
    let cookie = house.session();
    let revision = |house: &House| {
        serde_json::from_str::<serde_json::Value>(&house.octroi.ok(&["status", "--json"])).unwrap()["revision"].clone()
    };
    let before = revision(&house);

    // A tenant that was renamed by a slip.
    house.take("globex");
    let text = "tenants: {globx: {hosts: [globex.test], upstream: app}}\n";
    fs::write(house.folder().join("globx.yaml"), text).unwrap();
    let (code, said) = house.reload(&["--dry-run"]);
    assert!(
        code == 0 && said.contains("dry run: revision ") && said.contains("nothing is changed"),
        "{said}"
    );
    assert!(
        said.contains(
            "warning: 1 tenant would be taken out, and their sessions would end for good: `globex`"
        ),
        "{said}"
    );
    assert_eq!((revision(&house), house.status(&cookie), removals(&house).len()), (before.clone(), 200, 0));

    // What a reload would refuse.
    let good = fs::read_to_string(house.octroi.config()).unwrap();
    fs::write(house.octroi.config(), good.replace("upstream: app}", "upstream: ap}")).unwrap();
    let (code, said) = house.reload(&["--dry-run"]);
    assert!(code == 1 && said.contains("there is no upstream `ap`"), "{said}");
    assert_eq!(house.octroi.code(&["status"]), 0, "it is no reload that failed");
    fs::write(house.octroi.config(), good).unwrap();
    fs::rename(house.folder(), house.folder().with_extension("away")).unwrap();
    let (code, said) = house.reload(&["--dry-run"]);
    assert!(code == 1 && said.contains("no file fits `tenants.d/*.yaml` any more"), "{said}");
    assert_eq!(house.reload(&["--dry-run", "--allow-removal"]).0, 0);
    fs::rename(house.folder().with_extension("away"), house.folder()).unwrap();

    // The name as it was: nobody's session ended.
    fs::remove_file(house.folder().join("globx.yaml")).unwrap();
    house.put("globex");
    assert_eq!((house.reload(&[]).0, house.status(&cookie)), (0, 200));
}

#[test]
fn a_start_with_an_empty_folder_shows_until_it_is_confirmed_or_the_files_are_there() {
    let mut house = House::new();
    let missing = |house: &House| house.octroi.metric("octroi_tenants_missing");
    let told = |house: &House| {
        let output = house.octroi.command(&["status"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!((told(&house).0, missing(&house)), (Some(0), 0.0));

    for confirms in [false, true] {
        house.take("globex");
        house.restart();
        let (code, text) = told(&house);
        assert_eq!((code, missing(&house)), (Some(1), 1.0), "{text}");
        assert!(text.contains("missing     no file matched `tenants.d/*.yaml` at the start, 20"), "{text}");
        assert!(
            text.contains("1 tenant from before is not served, and keeps its sessions: `globex`"),
            "{text}"
        );
        assert!(text.contains("`octroi reload --allow-removal`"), "{text}");
        if confirms {
            assert_eq!(house.reload(&["--allow-removal"]).0, 0);
        } else {
            house.put("globex");
            assert_eq!(house.reload(&[]).0, 0);
        }
        let (code, text) = told(&house);
        assert_eq!((code, missing(&house), text.contains("missing ")), (Some(0), 0.0, false), "{text}");
    }

    // Nobody was there: a line, and nothing that an alarm is for.
    house.restart();
    let (code, text) = told(&house);
    assert_eq!((code, missing(&house)), (Some(0), 0.0), "{text}");
    assert!(text.contains("missing     no file matched `tenants.d/*.yaml` at the start, 20"), "{text}");
}

#[test]
fn a_hand_over_with_an_empty_folder_is_refused_unless_nobody_serves_them() {
    let mut house = House::new();
    let cookie = house.session();
    house.take("globex");
    let upgrade = house.octroi.command(&["upgrade"]);
    let said = String::from_utf8([upgrade.stdout, upgrade.stderr].concat()).unwrap();
    assert_eq!(upgrade.status.code(), Some(1), "{said}");
    assert!(said.contains("no file fits `tenants.d/*.yaml`, and 1 of 2 tenants that are served"), "{said}");
    assert_eq!(house.status(&cookie), 200, "it is served on");

    house.restart();
    house.octroi.ok(&["upgrade"]);
    house.octroi.succeed();
    assert_eq!((removals(&house).len(), house.octroi.metric("octroi_tenants_missing")), (0, 1.0));
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
