//! Whose hosts a cookie of an app reaches, end to end: an app names a domain above its host, and a browser's jar says where the cookie goes.

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

use harness::{Octroi, Upstream};

fn config(upstream: &Upstream, tenants: &str) -> String {
    format!(
        r#"
version: 1
server: {{state_dir: STATE, drain: 2s, threads: 2}}
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
{tenants}
"#,
        upstream.addr
    )
}

/// The program before an app that sets whatever cookie it is asked for.
struct House {
    octroi: Octroi,
    upstream: Upstream,
}

impl House {
    fn start(tenants: &str) -> Self {
        let upstream = Upstream::start();
        let octroi = Octroi::start(&config(&upstream, tenants));
        Self { octroi, upstream }
    }

    fn reload(&mut self, tenants: &str) {
        let config = config(&self.upstream, tenants);
        self.octroi.reload(&config);
    }

    /// Lets the app of a host set a cookie for a domain. Returns what the client reads of it.
    fn set(&self, host: &str, domain: &str, session: &str) -> String {
        let field = format!("h-Set-Cookie=a%3D1%3B%20Path%3D%2F%3B%20Domain%3D{domain}");
        let mut curl = self.octroi.curl(host, &format!("/public/?{field}")).args(&["-c", &self.jar()]);
        if !session.is_empty() {
            curl = curl.cookie(session);
        }
        let answer = curl.get();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.all("set-cookie").join("|")
    }

    /// Asks those hosts with the jar. Returns which of their apps got the cookie.
    fn reached<'a>(&self, hosts: &[&'a str]) -> Vec<&'a str> {
        let got = |host: &str| {
            self.upstream.take();
            assert_eq!(self.octroi.curl(host, "/public/").args(&["-b", &self.jar()]).status(), 200, "{host}");
            self.upstream.only().field("cookie").is_some_and(|cookie| cookie.contains("a=1"))
        };
        hosts.iter().copied().filter(|host| got(host)).collect()
    }

    fn jar(&self) -> String {
        self.octroi.path().join("jar").to_str().unwrap().to_owned()
    }
}

const KEPT: &str = "a=1; Path=/; Domain=example.test; Secure; HttpOnly; SameSite=Lax";
const CUT: &str = "a=1; Path=/; Secure; HttpOnly; SameSite=Lax";

#[test]
fn where_all_hosts_beneath_are_its_own_a_tenant_s_cookie_reaches_them() {
    let house = House::start(
        "  acme: {hosts: [example.test, a.example.test, b.c.example.test, '*.d.example.test'], upstream: app, routes: app}\n  \
           globex: {hosts: [notexample.test], upstream: app, routes: app}",
    );
    let hosts = ["example.test", "a.example.test", "b.c.example.test", "x.d.example.test", "notexample.test"];

    assert_eq!(house.set("a.example.test", "example.test", ""), KEPT);
    assert_eq!(house.reached(&hosts), &hosts[..4]);
    // A host of its own, and one that it has by a wildcard; what lies above belongs to nobody.
    assert_eq!(house.set("a.example.test", "a.example.test", ""), KEPT.replace("example", "a.example"));
    assert_eq!(house.set("x.d.example.test", "x.d.example.test", ""), KEPT.replace("example", "x.d.example"));
    assert_eq!(house.set("x.d.example.test", "d.example.test", ""), CUT);
    assert_eq!(house.reached(&hosts), ["x.d.example.test"]);
    assert_eq!(house.set("a.example.test", "test", ""), CUT);
}

#[test]
fn where_another_tenant_has_a_host_beneath_the_cookie_stays_at_its_host() {
    let acme = "  acme: {hosts: [example.test, a.example.test], upstream: app, routes: app}";
    let alone = format!("{acme}\n  globex: {{hosts: [example.globex.test], upstream: app, routes: app}}");
    let mut house = House::start(&alone);
    assert_eq!(house.set("a.example.test", "example.test", ""), KEPT);

    for other in ["g.example.test", "deep.down.example.test", "'*.example.test'", "'*.g.example.test'"] {
        house.reload(&format!("{acme}\n  globex: {{hosts: [{other}], upstream: app, routes: app}}"));
        let other = other.replace('*', "x").replace('\'', "");

        assert_eq!(house.set("a.example.test", "example.test", ""), CUT, "{other}");
        assert_eq!(house.set("example.test", "example.test", ""), CUT, "{other}");
        assert_eq!(house.set("a.example.test", "example.test", ""), CUT, "{other}");
        assert_eq!(house.reached(&["a.example.test", "example.test", &other]), ["a.example.test"]);
        // Nor does the other one's app reach what is above it.
        assert_eq!(house.set(&other, "example.test", ""), CUT, "{other}");
        assert_eq!(house.reached(&["a.example.test", "example.test", &other]), [&*other]);
    }
    // Its host is taken out again: the domain is one tenant's.
    house.reload(&alone);
    assert_eq!(house.set("a.example.test", "example.test", ""), KEPT);
}

#[test]
fn a_shared_front_door_s_cookie_is_the_front_door_s_whoever_is_signed_in() {
    let doors = |acme: &str, globex: &str| {
        format!(
            "  acme: {{upstream: app{acme}}}\n  globex: {{upstream: app{globex}}}\n  \
               www: {{hosts: [example.test, www.example.test], upstream: app, routes: app, members: [acme, globex]}}"
        )
    };
    let mut house = House::start(&doors("", ", hosts: [globex.test], routes: app"));
    let grant = "/login?h-Octroi-Session-Grant=user%3D%22u_1%22%2C%20tenant%3D%22acme%22";
    let session = house.octroi.curl("www.example.test", grant).args(&["-X", "POST"]).get().session();

    for session in ["", &session] {
        assert_eq!(house.set("www.example.test", "example.test", session), KEPT);
        assert_eq!(
            house.reached(&["example.test", "www.example.test", "globex.test"]),
            ["example.test", "www.example.test"]
        );
        assert_eq!(
            house.set("www.example.test", "globex.test", session),
            CUT,
            "a member's host is the member's"
        );
    }
    // A member has a host of its own beneath: another tenant's, like anybody's.
    house.reload(&doors(", hosts: [acme.example.test], routes: app", ""));
    for session in ["", &session] {
        assert_eq!(house.set("www.example.test", "example.test", session), CUT);
        assert_eq!(
            house.reached(&["example.test", "www.example.test", "acme.example.test"]),
            ["www.example.test"]
        );
        assert_eq!(
            house.set("www.example.test", "www.example.test", session),
            KEPT.replace("example", "www.example")
        );
    }
    assert_eq!(house.set("acme.example.test", "example.test", ""), CUT);
    assert_eq!(
        house.set("acme.example.test", "acme.example.test", ""),
        KEPT.replace("example", "acme.example")
    );
}
