//! The checks behind hygiene, asked through the pipeline: every refusal just outside, and what passes just inside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::{sync::Arc, time::Duration};

use octroi::{
    model::{Deny, Mode, PathRules, Reason, RevocationAnswer, UnixTime},
    pipeline::{Disposition, OnSessionEnd, Permit, Revalidation, Source, judge_grant, revalidate},
    policy::{
        Binding, CertificateMode, Charge, ClientIpHeader, Granting, IpAccess, IpSet, ListenerKind, OnStale,
        OriginCheck, Policy, QuotaBy, RangeRule, RequestLimits, Route, RouteAccess, Tenant,
    },
    replay::Request,
    session::{Bound, Claims, Purpose, Roles, SignIn, binding, grant::Grant},
};
use support::*;

const SECOND: Duration = Duration::from_secs(1);

/// One tenant, changed.
fn one(change: impl FnOnce(&mut Tenant)) -> Policy {
    let mut acme = tenant("acme", &["acme.test", "*.wild.test"]);
    change(&mut acme);
    policy(vec![acme, tenant("other", &["other.test"])])
}

fn plain() -> Policy {
    one(|_| {})
}

/// A lobby with the members acme and globex; initech is none.
fn lobby(change: impl FnOnce(&mut Tenant, &mut Tenant)) -> Policy {
    let mut lobby = tenant("lobby", &["www.test"]);
    lobby.members = ["acme", "globex"].map(|name| name.parse().unwrap()).into_iter().collect();
    let mut acme = tenant("acme", &[]);
    change(&mut lobby, &mut acme);
    policy(vec![lobby, acme, tenant("globex", &[]), tenant("initech", &["initech.test"])])
}

fn with(claims: &Claims) -> Request {
    get("https://acme.test/x").cookie(&seal(claims, Purpose::Cookie, "acme"))
}

fn with_url(claims: &Claims, url: &str) -> Request {
    get(url).cookie(&seal(claims, Purpose::Cookie, "acme"))
}

fn changed(change: impl FnOnce(&mut Claims)) -> Request {
    let mut claims = claims("acme");
    change(&mut claims);
    with(&claims)
}

fn client_of(request: &Request, policy: &Policy) -> Result<String, Option<Reason>> {
    let judged = judged(request, policy);
    judged.facts.client.map(|client| client.to_string()).ok_or(judged.reason())
}

// ── client ──

#[test]
fn a_forwarding_header_of_a_stranger_is_not_read() {
    let request = get("https://acme.test/public/").header("x-forwarded-for", "198.51.100.7");

    assert_eq!(client_of(&request, &plain()), Ok("192.0.2.1".into()));
}

#[test]
fn the_chain_is_read_from_the_right_while_it_is_trusted() {
    let client = |chain: &[&str]| {
        let request = get("https://acme.test/public/").from("10.0.0.1");
        client_of(
            &chain.iter().fold(request, |request, line| request.header("x-forwarded-for", line)),
            &plain(),
        )
    };

    assert_eq!(client(&[]), Ok("10.0.0.1".into()));
    assert_eq!(client(&["198.51.100.7"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["203.0.113.1, 198.51.100.7"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["203.0.113.1, 198.51.100.7, 10.0.0.2"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["203.0.113.1", "198.51.100.7", "10.0.0.2"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["10.0.0.3, 10.0.0.2"]), Ok("10.0.0.3".into()));
    assert_eq!(client(&["nonsense, 198.51.100.7"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["198.51.100.7, , "]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["::ffff:198.51.100.7"]), Ok("198.51.100.7".into()));
    assert_eq!(client(&["198.51.100.7, unknown"]), Err(Some(Reason::XffMalformed)));
    assert_eq!(client(&[&vec!["198.51.100.7"; 33].join(",")]), Err(Some(Reason::XffTooLong)));
}

#[test]
fn only_the_configured_header_is_read() {
    let mut policy = plain();
    policy.client_ip_header = ClientIpHeader::Forwarded;
    let request = get("https://acme.test/public/").from("10.0.0.1").header("x-forwarded-for", "203.0.113.1");

    assert_eq!(client_of(&request, &policy), Ok("10.0.0.1".into()));
    assert_eq!(
        client_of(&request.header("forwarded", "for=198.51.100.7;proto=https"), &policy),
        Ok("198.51.100.7".into())
    );
}

#[test]
fn a_listener_has_its_own_trusted_proxies() {
    let mut policy = plain();
    let mut own = listener("public", 8443, ListenerKind::Tls);
    own.trusted_proxies = Some(IpSet::new([]));
    policy.listeners[0] = Arc::new(own);
    let request = get("https://acme.test/public/").from("10.0.0.1").header("x-forwarded-for", "198.51.100.7");

    assert_eq!(client_of(&request, &policy), Ok("10.0.0.1".into()));
}

#[test]
fn a_listener_that_went_away_serves_nobody() {
    let mut policy = plain();
    policy.listeners.remove(0);

    assert_eq!(judged(&get("https://acme.test/public/"), &policy).reason(), Some(Reason::HostUnknown));
}

// ── tenant ──

#[test]
fn hosts_and_ports_lead_to_their_tenant() {
    let reason = |url: &str| judged(&get(url), &plain()).reason();

    assert_eq!(reason("https://acme.test/public/"), None);
    assert_eq!(reason("https://ACME.Test.:8443/public/"), None);
    assert_eq!(reason("https://acme.test:443/public/"), None);
    assert_eq!(reason("https://a.wild.test/public/"), None);
    assert_eq!(reason("https://acme.test:8444/public/"), Some(Reason::HostUnknown));
    assert_eq!(reason("https://wild.test/public/"), Some(Reason::HostUnknown));
    assert_eq!(reason("https://a.b.wild.test/public/"), Some(Reason::HostUnknown));
    assert_eq!(reason("https://nobody.test/public/"), Some(Reason::HostUnknown));
}

#[test]
fn the_handshake_named_the_same_tenant() {
    let reason = |sni, policy: &Policy| judged(&get("https://acme.test/public/").sni(sni), policy).reason();
    let lenient = one(|acme| acme.allow_no_sni = true);

    assert_eq!(reason(Some("a.wild.test"), &plain()), None);
    assert_eq!(reason(Some("other.test"), &plain()), Some(Reason::SniMismatch));
    assert_eq!(reason(Some("nobody.test"), &plain()), Some(Reason::SniMismatch));
    assert_eq!(reason(None, &plain()), Some(Reason::SniMissing));
    assert_eq!(reason(None, &lenient), None);
    assert_eq!(reason(Some("other.test"), &lenient), Some(Reason::SniMismatch));
}

#[test]
fn a_suspended_tenant_refuses_public_routes_too() {
    let policy = one(|acme| (acme.suspended, acme.mode) = (true, Mode::Observe));

    assert_eq!(judged(&get("https://acme.test/public/"), &policy).reason(), Some(Reason::TenantSuspended));
    assert_eq!(
        judged(&get("https://acme.test/public/").at("http"), &policy).reason(),
        Some(Reason::TenantSuspended)
    );
}

#[test]
fn a_redirect_listener_only_redirects() {
    let judged = |request: Request, policy: &Policy| match judged(&request.at("http"), policy).verdict {
        Ok(Disposition::Redirect(location)) => Ok(location),
        Ok(other) => panic!("{other:?}"),
        Err(deny) => Err(deny.reason),
    };
    let mut elsewhere = plain();
    elsewhere.listeners[2] = Arc::new(listener("http", 8080, ListenerKind::Redirect { port: 8443 }));

    assert_eq!(
        judged(get("https://ACME.test:8080/a%20b?c=d&e"), &plain()),
        Ok("https://acme.test/a%20b?c=d&e".into())
    );
    assert_eq!(
        judged(get("https://acme.test/").method("HEAD"), &elsewhere),
        Ok("https://acme.test:8443/".into())
    );
    assert_eq!(judged(get("https://acme.test/").method("POST"), &plain()), Err(Reason::PlaintextRefused));
    assert_eq!(judged(get("https://nobody.test/"), &plain()), Err(Reason::HostUnknown));
}

#[test]
fn clear_text_passes_only_where_the_operator_said_so() {
    let request = get("https://acme.test/public/");

    judged(&request.clone().at("plain"), &plain()).permit();
    assert_eq!(judged(&request.at("public"), &plain()).reason(), Some(Reason::PlaintextRefused));
}

// ── ip_access ──

#[test]
fn the_ranges_of_the_tenant_hold_and_name_their_line() {
    let allowed = one(|acme| acme.ip_access = allow(&["192.0.2.0/31"]));
    let at = |addr: &str, policy: &Policy| {
        let judged = judged(&get("https://acme.test/public/").from(addr), policy);
        (judged.reason(), judged.rule())
    };

    assert_eq!(at("192.0.2.1", &allowed), (None, None));
    assert_eq!(at("192.0.2.2", &allowed), (Some(Reason::IpNotAllowed), Some(3)));
    assert_eq!(at("::ffff:192.0.2.1", &allowed), (None, None));
    assert_eq!(
        at("192.0.2.66", &one(|acme| acme.ip_access = deny(&["192.0.2.66"]))),
        (Some(Reason::IpDenied), Some(5))
    );
}

#[test]
fn a_range_that_expired_since_the_load_allows_nobody() {
    let policy = one(|acme| {
        acme.ip_access =
            IpAccess::new(Some(vec![RangeRule { expires: Some(NOW), ..range("192.0.2.0/24") }]), vec![])
    });
    let at = |now| ask_at(&get("https://acme.test/public/"), &policy, &Empty, &LIVE, now).reason();

    assert_eq!(at(NOW.minus(SECOND)), None);
    assert_eq!(at(NOW), Some(Reason::IpNotAllowed));
}

#[test]
fn an_inner_range_that_has_expired_hides_no_outer_one() {
    let policy = one(|acme| {
        let inner = |text: &str| RangeRule { expires: Some(NOW), origin: line(6), ..range(text) };
        acme.ip_access = IpAccess::new(
            Some(vec![inner("192.0.2.1/32"), range("192.0.2.0/24"), inner("198.51.100.0/24")]),
            vec![inner("192.0.2.2/32")],
        );
    });
    let at = |ip: &str, now| {
        let judged = ask_at(&get("https://acme.test/public/").from(ip), &policy, &Empty, &LIVE, now);
        (judged.reason(), judged.verdict.err().and_then(|deny| deny.rule).map(|rule| rule.line))
    };

    for now in [NOW.minus(SECOND), NOW] {
        assert_eq!(at("192.0.2.1", now), (None, None));
    }
    assert_eq!(at("192.0.2.2", NOW.minus(SECOND)), (Some(Reason::IpDenied), Some(6)));
    assert_eq!(at("192.0.2.2", NOW), (None, None));
    assert_eq!(at("198.51.100.1", NOW.minus(SECOND)), (None, None));
    assert_eq!(at("198.51.100.1", NOW), (Some(Reason::IpNotAllowed), Some(6)));
    assert_eq!(at("203.0.113.1", NOW), (Some(Reason::IpNotAllowed), Some(3)));
}

#[test]
fn observe_mode_lets_addresses_pass_and_says_so() {
    let policy = one(|acme| (acme.ip_access, acme.mode) = (deny(&["192.0.2.0/24"]), Mode::Observe));

    let judged = judged(&get("https://acme.test/public/"), &policy);

    assert_eq!((judged.reason(), judged.would()), (None, Some(Reason::IpDenied)));
}

// ── route ──

#[test]
fn the_rule_says_which_methods_and_bodies_pass() {
    let policy = one(|acme| {
        let mut small = route("/small", RouteAccess::Public);
        small.methods = Box::new(["POST".into()]);
        small.limits = Some(RequestLimits { body_bytes: 10, ..REQUEST_LIMITS });
        acme.routes = table(vec![small, route("/", RouteAccess::Public)]);
    });
    let post = |path: &str, bytes: u64| {
        judged(
            &get(&format!("https://acme.test{path}"))
                .method("POST")
                .header("content-length", &bytes.to_string()),
            &policy,
        )
        .reason()
    };

    assert_eq!(post("/small", 10), None);
    assert_eq!(post("/small", 11), Some(Reason::BodyTooLarge));
    assert_eq!(post("/x", 1000), None);
    assert_eq!(post("/x", 1001), Some(Reason::BodyTooLarge));
    assert_eq!(judged(&get("https://acme.test/small"), &policy).reason(), Some(Reason::MethodNotAllowed));
}

#[test]
fn what_no_rule_matches_is_404_where_the_set_says_so() {
    let policy = one(|acme| {
        let builder = octroi::policy::RouteTableBuilder::default();
        acme.routes = Arc::new(builder.build(Arc::new(route("*", RouteAccess::Nobody))));
    });

    assert_eq!(judged(&get("https://acme.test/x"), &policy).reason(), Some(Reason::RouteNone));
}

#[test]
fn what_is_forwarded_is_what_was_matched() {
    let policy = one(|acme| {
        let mut merging = route("/m/", RouteAccess::Public);
        merging.path.merge_slashes = true;
        acme.routes = table(vec![merging, route("/", RouteAccess::Public)]);
    });
    let forwarded = |path: &str| {
        judged(&get(&format!("https://acme.test{path}")), &policy).permit().path_and_query().to_owned()
    };

    assert_eq!(forwarded("/%61?b=%2e%2e/"), "/%61?b=%2e%2e/");
    assert_eq!(forwarded("/a?"), "/a?");
    assert_eq!(forwarded("/m//a///b?c//d"), "/m/a/b?c//d");
    assert_eq!(judged(&get("https://acme.test/a//b"), &policy).reason(), Some(Reason::PathEmptySegment));
}

/// `/` public with every spelling, `/ops/` for a role, `/Files/` written so, and sessions for what an exact rule names.
fn spelled(change: impl FnOnce(&mut Tenant)) -> Policy {
    one(|acme| {
        let mut open = route("/", RouteAccess::Public);
        open.path = PathRules {
            allow_encoded_slash: true,
            allow_path_parameters: true,
            merge_slashes: true,
            allow_double_encoding: true,
        };
        open.grant = Granting::Directly;
        let mut read = route("/ops/read/", roles("ops"));
        read.methods = Box::new(["GET".into()]);
        acme.routes =
            table(vec![open, route("/ops/", roles("ops")), read, route("/me", RouteAccess::Session)]);
        change(acme);
    })
}

#[test]
fn a_path_is_judged_as_an_app_may_read_it() {
    let policy = spelled(|_| {});
    let ask = |method: &str, path: &str, role: &str| {
        let claims = Claims { roles: Roles::try_new([role]).unwrap(), ..claims("acme") };
        judged(&with_url(&claims, &format!("https://acme.test{path}")).method(method), &policy)
    };

    for path in [
        "/ops%2Fusers",
        "/ops%2fusers",
        "/OPS/users",
        "/Ops%2Fusers",
        "//OPS//users",
        "/OPS;x/users",
        "/x;y%2Fops",
        "/ops%252Fusers",
        "/%256fps/x",
        "/ops",
        "/OPS",
        "/op%C5%BF/x",
        "/ops%3Fx",
        "/OPS%23x",
        "/%EF%BD%8Fps/x",
        "/ops%E2%88%95x",
    ] {
        let denied = judged(&get(&format!("https://acme.test{path}")), &policy);
        let wanted = if path == "/x;y%2Fops" { None } else { Some(Reason::SessionMissing) };
        assert_eq!(denied.reason(), wanted, "{path}");
        assert_eq!(ask("GET", path, "other").reason(), wanted.map(|_| Reason::RoleMissing), "{path}");
        assert_eq!(ask("GET", path, "ops").reason(), None, "{path}");
    }
    assert_eq!(ask("POST", "/ops%2Fread%2Fx", "ops").reason(), Some(Reason::MethodNotAllowed));
    assert_eq!(ask("POST", "/ops%2Fwrite%2Fx", "ops").reason(), None);
    // What the path is as asked goes on being what is allowed.
    assert!(ask("GET", "/ops%2Fusers", "ops").permit().route().grant.is_allowed());
    assert_eq!(ask("GET", "/ops%2Fusers", "ops").permit().path_and_query(), "/ops%2Fusers");
    for path in ["/x%2Fy", "/X", "/opsx", "/ops-x/y", "/a%252Fb"] {
        assert_eq!(judged(&get(&format!("https://acme.test{path}")), &policy).reason(), None, "{path}");
    }
}

#[test]
fn whoever_keeps_parameters_does_not_get_past_what_it_reads() {
    let policy = one(|acme| {
        let with = |path: &str| {
            let mut route = route(path, RouteAccess::Public);
            route.path.allow_path_parameters = true;
            route
        };
        acme.routes = table(vec![
            with("/pub/"),
            with("/login"),
            route("/", RouteAccess::Session),
            route("/admin", roles("admin")),
        ]);
    });
    let asked = |path: &str| judged(&get(&format!("https://acme.test{path}")), &policy).reason();

    for path in ["/pub;/account", "/pub%3B/account", "/PUB;x/account", "/login%3Bx"] {
        assert!(
            matches!(asked(path), Some(Reason::SessionMissing | Reason::PathParameter)),
            "{path}: {:?}",
            asked(path)
        );
    }
    assert_eq!(
        (asked("/pub;/account"), asked("/pub%3B/account")),
        (Some(Reason::SessionMissing), Some(Reason::SessionMissing))
    );
    for path in ["/login;jsessionid=1", "/pub/a;jsessionid=1", "/pub/a;v=1/b", "/pub/a%3Bb/c"] {
        assert_eq!(asked(path), None, "{path}");
    }
}

#[test]
fn no_mapping_of_case_gets_past_roles_age_or_quotas() {
    let policy = one(|acme| {
        let mut aged = route("/pin", RouteAccess::Session);
        aged.max_auth_age = Some(std::time::Duration::from_secs(1));
        let mut counted = route("/in", RouteAccess::Public);
        counted.quotas = Box::new([quota("in", QuotaBy::Client, 1).into()]);
        acme.routes =
            table(vec![route("/admin", roles("admin")), aged, counted, route("/", RouteAccess::Public)]);
    });
    let quotas = Counting::default();
    let asked = |path: &str| ask(&get(&format!("https://acme.test{path}")), &policy, &quotas, &LIVE).reason();

    for letter in ["i", "I", "%C4%B0", "%C4%B1", "i%CC%87", "%EF%BD%89"] {
        assert_eq!(asked(&format!("/adm{letter}n")), Some(Reason::SessionMissing), "{letter}");
        assert_eq!(asked(&format!("/p{letter}n")), Some(Reason::SessionMissing), "{letter}");
    }
    assert_eq!(asked("/adm%C3%AEn"), None, "another letter");
    assert_eq!((asked("/in"), asked("/%C4%B0n")), (None, Some(Reason::QuotaExceeded)));
}

#[test]
fn a_spelling_costs_what_the_rule_costs_that_an_app_may_read() {
    let policy = one(|acme| {
        let mut login = route("/login", RouteAccess::Public);
        (login.grant, login.origin_check) = (Granting::Directly, OriginCheck::Always);
        let failures =
            octroi::policy::Quota { charge: Charge::Failures, ..quota("login", QuotaBy::Client, 2) };
        login.quotas = Box::new([failures.into(), quota("by_route", QuotaBy::Route, 9).into()]);
        let mut small = route("/small/", RouteAccess::Public);
        small.limits = Some(RequestLimits { body_bytes: 10, ..REQUEST_LIMITS });
        let mut builder = octroi::policy::RouteTableBuilder::default();
        for rule in [login, small, route("/mine", RouteAccess::Public)] {
            let path = rule.id.as_str().to_owned();
            builder.add(&path, Arc::new(rule), false).unwrap();
        }
        acme.routes = Arc::new(builder.build(Arc::new(route("*", RouteAccess::Public))));
    });
    let quotas = Counting::default();
    let asked =
        |path: &str| ask(&get(&format!("https://acme.test{path}")).method("POST"), &policy, &quotas, &LIVE);

    let spelled = asked("/LOGIN").permit();
    assert_eq!(
        (spelled.route().id.as_str(), spelled.route().grant, spelled.is_sign_in()),
        ("*", Granting::Never, true)
    );
    assert_eq!(spelled.charged_failures().len(), 1);
    assert_eq!(asked("/login").reason(), None);
    assert_eq!(asked("/Login").reason(), Some(Reason::QuotaExceeded));
    assert_eq!(asked("/login").reason(), Some(Reason::QuotaExceeded));
    assert_eq!(quotas.charged(), ["acme/login", "acme/by_route", "acme/login", "acme/by_route"]);
    assert!(!asked("/MINE").permit().is_sign_in());

    let sized = |path: &str, bytes: &str| {
        judged(
            &get(&format!("https://acme.test{path}")).method("POST").header("content-length", bytes),
            &policy,
        )
        .reason()
    };
    assert_eq!((sized("/SMALL/x", "10"), sized("/SMALL/x", "11")), (None, Some(Reason::BodyTooLarge)));
    assert_eq!((sized("/LARGE/x", "11"), sized("/small/x", "11")), (None, Some(Reason::BodyTooLarge)));
}

#[test]
fn a_bad_session_is_no_session_only_where_every_reading_is_public() {
    let policy = spelled(|_| {});
    let expired =
        seal(&Claims { absolute_end: NOW.minus(SECOND), ..claims("acme") }, Purpose::Cookie, "acme");
    let asked =
        |path: &str| judged(&get(&format!("https://acme.test{path}")).cookie(&expired), &policy).reason();

    assert_eq!(asked("/x%2Fy"), None);
    assert_eq!(asked("/ops%2Fusers"), Some(Reason::SessionExpired));
}

#[test]
fn observe_mode_asks_nobody_for_less() {
    let policy = one(|acme| {
        let mut fresh = route("/x", roles("admin"));
        fresh.max_auth_age = Some(Duration::from_secs(60));
        acme.routes = table(vec![fresh, route("/y", roles("admin"))]);
        acme.mode = Mode::Observe;
    });
    let ended = Says(RevocationAnswer::Session, 0);
    let old = Claims { auth_time: NOW.minus(SECOND * 61), ..claims("acme") };

    for path in ["/x", "/X"] {
        let url = format!("https://acme.test{path}");
        let nobody = judged(&get(&url), &policy);
        assert_eq!(
            (nobody.reason(), nobody.would()),
            (Some(Reason::AuthTooOld), Some(Reason::SessionMissing)),
            "{path}"
        );
        assert_eq!(
            judged(&get(&url).cookie("oct1.bad"), &policy).reason(),
            Some(Reason::AuthTooOld),
            "{path}"
        );
        assert_eq!(judged(&with_url(&old, &url), &policy).reason(), Some(Reason::AuthTooOld), "{path}");
        assert_eq!(
            ask_at(&with_url(&claims("acme"), &url), &policy, &Empty, &ended, NOW).reason(),
            Some(Reason::AuthTooOld)
        );
        assert_eq!(judged(&with_url(&claims("acme"), &url), &policy).reason(), None, "{path}");
    }
    assert_eq!(judged(&get("https://acme.test/y"), &policy).reason(), None);
}

// ── WebSocket ──

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake(path: &str) -> Request {
    get(&format!("https://acme.test{path}"))
        .header("upgrade", "websocket")
        .header("connection", "keep-alive, Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
}

fn sockets() -> Policy {
    one(|acme| {
        let mut socket = route("/ws", RouteAccess::Public);
        (socket.websocket, socket.origin_check) = (true, OriginCheck::Always);
        acme.routes = table(vec![socket, route("/", RouteAccess::Public)]);
    })
}

#[test]
fn a_websocket_opens_only_where_the_route_says_so() {
    let policy = sockets();

    assert!(judged(&handshake("/ws"), &policy).permit().websocket());
    assert!(!judged(&handshake("/other"), &policy).permit().websocket());
    assert!(!judged(&get("https://acme.test/ws"), &policy).permit().websocket());
    assert!(
        !judged(
            &get("https://acme.test/ws").header("upgrade", "h2c").header("connection", "upgrade"),
            &policy
        )
        .permit()
        .websocket()
    );
}

#[test]
fn a_malformed_handshake_is_refused() {
    let refused = |change: &dyn Fn(&mut Request)| {
        judged(&handshake("/ws").changed(|request| change(request)), &sockets()).reason()
    };
    let set = |name: &'static str, value: &'static str| {
        refused(&move |request: &mut Request| {
            request.headers.insert(name, value.parse().unwrap());
        })
    };

    assert_eq!(set("sec-websocket-version", "12"), Some(Reason::UpgradeRefused));
    assert_eq!(set("sec-websocket-key", "dGhlIHNhbXBsZSBub25j"), Some(Reason::UpgradeRefused));
    assert_eq!(set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), Some(Reason::UpgradeRefused));
    assert_eq!(set("connection", "keep-alive"), Some(Reason::UpgradeRefused));
    assert_eq!(set("upgrade", "websocket, h2c"), Some(Reason::UpgradeRefused));
    assert_eq!(set("content-length", "1"), Some(Reason::UpgradeRefused));
    assert_eq!(set("transfer-encoding", "chunked"), Some(Reason::UpgradeRefused));
    assert_eq!(refused(&|request| request.method = "POST".into()), Some(Reason::UpgradeRefused));
    assert_eq!(
        refused(&|request| request.version = octroi::model::HttpVersion::Http10),
        Some(Reason::UpgradeRefused)
    );
    assert_eq!(
        refused(&|request| {
            request.headers.append("sec-websocket-key", KEY.parse().unwrap());
        }),
        Some(Reason::UpgradeRefused)
    );
}

// ── session ──

#[test]
fn a_valid_session_passes_and_names_its_user() {
    let permit = judged(&with(&claims("acme")), &plain()).permit();

    assert_eq!(
        permit.session().map(|session| (session.claims.user.as_str(), session.source.clone())),
        Some(("u_1", Source::Octroi { purpose: Purpose::Cookie, key: 7 }))
    );
    assert_eq!(permit.acting_tenant().name.as_str(), "acme");
}

#[test]
fn the_ends_of_a_session_have_no_grace() {
    let at = |change: &dyn Fn(&mut Claims)| judged(&changed(change), &plain()).reason();

    assert_eq!(at(&|claims| claims.absolute_end = NOW.plus(Duration::from_millis(1))), None);
    assert_eq!(at(&|claims| claims.absolute_end = NOW), Some(Reason::SessionExpired));
    assert_eq!(at(&|claims| claims.idle_end = NOW.plus(Duration::from_millis(1))), None);
    assert_eq!(at(&|claims| claims.idle_end = NOW), Some(Reason::SessionIdle));
}

#[test]
fn the_beginning_of_a_session_has_a_minute_of_grace() {
    let minute = NOW.plus(Duration::from_secs(60));
    let at = |change: &dyn Fn(&mut Claims)| judged(&changed(change), &plain()).reason();

    assert_eq!(at(&|claims| claims.issued = minute), None);
    assert_eq!(
        at(&|claims| claims.issued = minute.plus(Duration::from_millis(1))),
        Some(Reason::SessionNotYet)
    );
    assert_eq!(at(&|claims| claims.not_before = minute), None);
    assert_eq!(
        at(&|claims| claims.not_before = minute.plus(Duration::from_millis(1))),
        Some(Reason::SessionNotYet)
    );
}

#[test]
fn a_shortened_rule_holds_for_old_tokens_at_once() {
    let idle = |seconds| one(|acme| acme.sessions.idle = Duration::from_secs(seconds));
    let absolute = |seconds| one(|acme| acme.sessions.absolute = Duration::from_secs(seconds));
    let request = with(&claims("acme"));

    assert_eq!(judged(&request, &idle(61)).reason(), None);
    assert_eq!(judged(&request, &idle(60)).reason(), Some(Reason::SessionIdle));
    assert_eq!(judged(&request, &absolute(61)).reason(), None);
    assert_eq!(judged(&request, &absolute(60)).reason(), Some(Reason::SessionExpired));
}

#[test]
fn a_bearer_token_rests_as_long_as_it_says_itself() {
    let mut old = claims("acme");
    (old.issued, old.auth_time) =
        (NOW.minus(Duration::from_secs(7200)), NOW.minus(Duration::from_secs(7200)));
    old.idle_end = old.absolute_end;

    assert_eq!(
        judged(&get("https://acme.test/x").bearer(&seal(&old, Purpose::Bearer, "acme")), &plain()).reason(),
        None
    );
    assert_eq!(judged(&with(&old), &plain()).reason(), Some(Reason::SessionIdle));
}

#[test]
fn a_token_opens_only_where_it_was_made_for() {
    let reason = |request: Request| judged(&request, &plain()).reason();

    assert_eq!(reason(get("https://other.test/x").cookie(&token("acme"))), Some(Reason::SessionInvalid));
    assert_eq!(reason(get("https://acme.test/x").bearer(&token("acme"))), Some(Reason::SessionInvalid));
    assert_eq!(reason(get("https://acme.test/x").cookie("oct1.")), Some(Reason::SessionInvalid));
    assert_eq!(
        reason(get("https://acme.test/x").cookie(&seal(&claims("other"), Purpose::Cookie, "acme"))),
        Some(Reason::SessionTenant)
    );
    assert_eq!(
        reason(get("https://acme.test/x").cookie(&token("acme")).cookie(&token("acme"))),
        Some(Reason::CookieAmbiguous)
    );
}

#[test]
fn another_authorization_is_the_apps_own() {
    let request = |value: &str| get("https://acme.test/x").header("authorization", value);

    for own in ["Basic dTpw", "Bearer eyJhbGciOi", "Bearer", "Digest oct1.x", ""] {
        assert_eq!(judged(&request(own), &plain()).reason(), Some(Reason::SessionMissing), "{own:?}");
        assert_eq!(judged(&request(own).cookie(&token("acme")), &plain()).reason(), None, "{own:?}");
    }
}

#[test]
fn cookie_and_bearer_must_be_one_session() {
    let mut other = claims("acme");
    other.id = octroi::model::SessionId::new([8; 16]);
    let request = |bearer: &str| get("https://acme.test/x").cookie(&token("acme")).bearer(bearer);
    let purpose = |request| judged(&request, &plain()).verdict.map(|_| ()).map_err(|deny| deny.reason);

    assert_eq!(purpose(request(&seal(&claims("acme"), Purpose::Bearer, "acme"))), Ok(()));
    assert_eq!(purpose(request(&seal(&other, Purpose::Bearer, "acme"))), Err(Reason::CredentialConflict));
    assert_eq!(purpose(request(&token("acme"))), Err(Reason::CredentialConflict));
    assert_eq!(
        purpose(get("https://acme.test/x").cookie("oct1.AAAAAAAAAAAAAAAAAAAAAAAA").bearer(&seal(
            &other,
            Purpose::Bearer,
            "acme"
        ))),
        Err(Reason::CredentialConflict)
    );
}

#[test]
fn a_bound_session_stays_where_it_was() {
    let policy = one(|acme| acme.sessions.bind = vec![Binding::ClientPrefix, Binding::UserAgent]);
    let mut bound = claims("acme");
    bound.binding = binding(Bound {
        client: Some(std::net::IpAddr::from([192, 0, 2, 1]).into()),
        user_agent: Some(b"curl/8"),
        certificate: None,
    });
    let request = |addr: &str, agent: &str| {
        judged(&with(&bound).from(addr).header("user-agent", agent), &policy).reason()
    };

    assert_eq!(request("192.0.2.254", "curl/8"), None);
    assert_eq!(request("192.0.3.1", "curl/8"), Some(Reason::SessionBinding));
    assert_eq!(request("192.0.2.1", "curl/9"), Some(Reason::SessionBinding));
    assert_eq!(judged(&with(&claims("acme")), &policy).reason(), Some(Reason::SessionBinding));
    let bearer = get("https://acme.test/x").bearer(&seal(&claims("acme"), Purpose::Bearer, "acme"));
    assert_eq!(judged(&bearer, &policy).reason(), None);
}

#[test]
fn on_a_public_route_a_bad_session_is_none_and_its_cookie_goes() {
    let bad = get("https://acme.test/public/")
        .cookie("oct1.AAAAAAAAAAAAAAAAAAAAAAAA")
        .header("sec-fetch-mode", "navigate");

    let judged = judged(&bad, &plain());

    assert_eq!(judged.facts.session_fault.as_ref().map(|deny| deny.reason), Some(Reason::SessionInvalid));
    // The app's answer may be late, and in another tab somebody may have signed in meanwhile.
    assert!(!judged.facts.clear_cookie);
    assert_eq!(judged.permit().session(), None);
}

#[test]
fn a_refused_page_clears_the_cookie_of_a_session_that_has_ended_for_good() {
    let clears = |request: Request, policy: &Policy, says: &Says| {
        let mode = |mode: &str| {
            let judged = ask(&request.clone().header("sec-fetch-mode", mode), policy, &Empty, says);
            (judged.reason(), judged.facts.clear_cookie)
        };
        let (page, script) = (mode("navigate"), mode("cors"));
        assert_eq!((page.0, script.1), (script.0, false), "{page:?}");
        page
    };
    let ended = Says(RevocationAnswer::Session, 0);

    assert_eq!(clears(with(&claims("acme")), &plain(), &LIVE), (None, false));
    assert_eq!(clears(with(&claims("acme")), &plain(), &ended), (Some(Reason::SessionRevoked), true));
    assert_eq!(
        clears(get("https://acme.test/x").cookie("oct1.AAAAAAAAAAAAAAAAAAAAAAAA"), &plain(), &LIVE),
        (Some(Reason::SessionInvalid), true)
    );
    let rested = changed(|claims| claims.idle_end = NOW);
    assert_eq!(clears(rested, &plain(), &LIVE), (Some(Reason::SessionIdle), true));
    // What may come back, or was none.
    let not_yet = changed(|claims| claims.not_before = NOW.plus(SECOND * 120));
    assert_eq!(clears(not_yet, &plain(), &LIVE), (Some(Reason::SessionNotYet), false));
    assert_eq!(clears(get("https://acme.test/x"), &plain(), &LIVE), (Some(Reason::SessionMissing), false));
    let bearer = get("https://acme.test/x").bearer(&seal(&claims("acme"), Purpose::Bearer, "acme"));
    assert_eq!(clears(bearer, &plain(), &ended), (Some(Reason::SessionRevoked), false));
}

#[test]
fn on_a_public_route_a_revoked_session_is_none() {
    let request =
        get("https://acme.test/public/").cookie(&token("acme")).header("accept", "text/html, */*;q=0.8");

    let judged = ask(&request, &plain(), &Empty, &Says(RevocationAnswer::Session, 0));

    assert_eq!(judged.facts.session, None);
    assert!(!judged.facts.clear_cookie);
    assert_eq!(judged.permit().session(), None);
}

#[test]
fn on_a_public_route_a_bad_bearer_token_takes_no_cookie_away() {
    let judged = judged(&get("https://acme.test/public/").bearer("oct1.AAAAAAAAAAAAAAAAAAAAAAAA"), &plain());

    assert_eq!((judged.reason(), judged.facts.clear_cookie), (None, false));
}

#[test]
fn a_good_session_is_known_on_a_public_route() {
    assert!(
        judged(&get("https://acme.test/public/").cookie(&token("acme")), &plain())
            .permit()
            .session()
            .is_some()
    );
}

#[test]
fn under_observe_mode_a_bad_session_counts_as_none() {
    let policy = one(|acme| acme.mode = Mode::Observe);
    let expired = changed(|claims| claims.absolute_end = NOW);

    let judged = judged(&expired, &policy);

    assert_eq!((judged.would(), judged.facts.clear_cookie), (Some(Reason::SessionExpired), false));
    assert_eq!(judged.trail.steps().len(), 1);
    assert_eq!(judged.permit().session(), None);
}

#[test]
fn without_session_keys_nobody_has_a_session() {
    let mut policy = plain();
    policy.sessions = None;

    assert_eq!(judged(&with(&claims("acme")), &policy).reason(), Some(Reason::SessionMissing));
}

// ── member, revocation ──

fn member(tenant: &str) -> Request {
    get("https://www.test/x").cookie(&seal(&claims(tenant), Purpose::Cookie, "lobby"))
}

#[test]
fn a_lobby_admits_its_members_only() {
    let policy = lobby(|_, _| {});

    let permit = judged(&member("acme"), &policy).permit();

    assert_eq!((permit.tenant().name.as_str(), permit.acting_tenant().name.as_str()), ("lobby", "acme"));
    assert_eq!(judged(&member("initech"), &policy).reason(), Some(Reason::SessionTenant));
    assert_eq!(judged(&member("lobby"), &policy).permit().acting_tenant().name.as_str(), "lobby");
}

#[test]
fn the_members_own_rules_hold() {
    let reason =
        |change: &dyn Fn(&mut Tenant)| judged(&member("acme"), &lobby(|_, acme| change(acme))).reason();

    assert_eq!(reason(&|acme| acme.suspended = true), Some(Reason::MemberSuspended));
    assert_eq!(
        reason(&|acme| acme.ip_access = allow(&["198.51.100.0/24"])),
        Some(Reason::MemberIpNotAllowed)
    );
    assert_eq!(reason(&|acme| acme.ip_access = deny(&["192.0.2.0/24"])), Some(Reason::MemberIpDenied));
    assert_eq!(reason(&|acme| acme.sessions.idle = Duration::from_secs(60)), Some(Reason::SessionIdle));
}

#[test]
fn the_members_mode_counts_for_the_members_ranges() {
    let blocked = deny(&["192.0.2.0/24"]);
    let relaxed = lobby(|_, acme| (acme.ip_access, acme.mode) = (blocked.clone(), Mode::Observe));
    let strict = lobby(|lobby, acme| (acme.ip_access, lobby.mode) = (blocked.clone(), Mode::Observe));

    assert_eq!(judged(&member("acme"), &relaxed).would(), Some(Reason::MemberIpDenied));
    assert_eq!(judged(&member("acme"), &strict).reason(), Some(Reason::MemberIpDenied));
    assert_eq!(
        judged(&member("acme"), &lobby(|_, acme| (acme.suspended, acme.mode) = (true, Mode::Observe)))
            .reason(),
        Some(Reason::MemberSuspended)
    );
}

#[test]
fn revocations_are_401() {
    let reason = |answer, epoch| ask(&with(&claims("acme")), &plain(), &Empty, &Says(answer, epoch)).reason();

    assert_eq!(reason(RevocationAnswer::Live, 0), None);
    assert_eq!(reason(RevocationAnswer::Session, 0), Some(Reason::SessionRevoked));
    assert_eq!(reason(RevocationAnswer::User(UnixTime::from_secs(1)), 0), Some(Reason::SessionRevoked));
    assert_eq!(reason(RevocationAnswer::Tenant { epoch: 1 }, 1), Some(Reason::SessionRevoked));
}

#[test]
fn a_session_that_another_node_may_have_ended_goes_by_the_rule() {
    let with_rule = |on_stale| {
        let mut policy = plain();
        policy.sessions.as_mut().unwrap().revocation.on_stale = on_stale;
        policy
    };
    let reason = |on_stale, epoch| {
        ask(&with(&claims("acme")), &with_rule(on_stale), &Empty, &Says(RevocationAnswer::Stale, epoch))
            .reason()
    };

    assert_eq!(reason(OnStale::Deny, 0), Some(Reason::RevocationStale));
    assert_eq!(reason(OnStale::Allow, 0), None);
    let lost = ask(
        &changed(|claims| claims.epoch = 3),
        &with_rule(OnStale::Allow),
        &Empty,
        &Says(RevocationAnswer::Stale, 2),
    );
    assert_eq!(lost.reason(), Some(Reason::SessionRevoked));
}

#[test]
fn a_token_of_an_epoch_that_the_journal_lost_is_refused() {
    let request = changed(|claims| claims.epoch = 3);

    assert_eq!(ask(&request, &plain(), &Empty, &Says(RevocationAnswer::Live, 3)).reason(), None);
    assert_eq!(
        ask(&request, &plain(), &Empty, &Says(RevocationAnswer::Live, 2)).reason(),
        Some(Reason::SessionRevoked)
    );
}

// ── quotas ──

#[test]
fn a_used_up_quota_says_when_and_how_it_stands() {
    let policy = one(|acme| {
        acme.quotas =
            Box::new([quota("q", QuotaBy::Client, 2).into(), quota("wide", QuotaBy::Client, 9).into()])
    });
    let quotas = Counting::default();
    let request = get("https://acme.test/public/");

    let first = ask(&request, &policy, &quotas, &LIVE);
    ask(&request, &policy, &quotas, &LIVE).permit();
    let third = ask(&request, &policy, &quotas, &LIVE);

    let stands = |judged: &Judged| {
        judged.facts.quotas.iter().map(|state| (state.name.to_string(), state.remaining)).collect::<Vec<_>>()
    };
    assert_eq!(stands(&first), [("q".to_owned(), 1), ("wide".to_owned(), 8)]);
    assert_eq!(stands(&third), [("q".to_owned(), 0)]);
    let deny = third.verdict.unwrap_err();
    assert_eq!(
        (deny.reason, deny.retry_after, deny.rule),
        (Reason::QuotaExceeded, Some(Duration::from_secs(30)), Some(line(9)))
    );
}

#[test]
fn clients_are_counted_apart_and_ipv6_by_its_64() {
    let policy = one(|acme| acme.quotas = Box::new([quota("q", QuotaBy::Client, 1).into()]));
    let quotas = Counting::default();
    let reason =
        |addr: &str| ask(&get("https://acme.test/public/").from(addr), &policy, &quotas, &LIVE).reason();

    assert_eq!([reason("192.0.2.1"), reason("192.0.2.2"), reason("2001:db8::1")], [None, None, None]);
    assert_eq!(reason("2001:db8::2"), Some(Reason::QuotaExceeded));
    assert_eq!(reason("2001:db8:0:1::1"), None);
}

#[test]
fn tenants_are_counted_apart() {
    let by_client = || Box::new([quota("q", QuotaBy::Client, 1).into()]);
    let (mut acme, mut other) = (tenant("acme", &["acme.test"]), tenant("other", &["other.test"]));
    (acme.quotas, other.quotas) = (by_client(), by_client());
    let (policy, quotas) = (policy(vec![acme, other]), Counting::default());

    ask(&get("https://acme.test/public/"), &policy, &quotas, &LIVE).permit();
    ask(&get("https://other.test/public/"), &policy, &quotas, &LIVE).permit();
}

#[test]
fn a_quota_of_tenant_and_route_is_charged_once() {
    let shared = Arc::new(quota("shared", QuotaBy::Client, 5));
    let policy = one(|acme| {
        let mut login = route("/login", RouteAccess::Public);
        login.quotas = Box::new([Arc::clone(&shared), quota("login", QuotaBy::Route, 5).into()]);
        acme.routes = table(vec![login]);
        acme.quotas = Box::new([shared]);
    });
    let quotas = Counting::default();

    ask(&get("https://acme.test/login"), &policy, &quotas, &LIVE).permit();

    assert_eq!(quotas.charged(), ["acme/shared", "acme/login"]);
}

#[test]
fn a_members_quotas_count_for_the_member() {
    let policy = lobby(|lobby, acme| {
        lobby.quotas = Box::new([quota("all", QuotaBy::Tenant, 9).into()]);
        acme.quotas =
            Box::new([quota("own", QuotaBy::Tenant, 1).into(), quota("one", QuotaBy::Client, 9).into()]);
    });
    let quotas = Counting::default();

    ask(&member("acme"), &policy, &quotas, &LIVE).permit();
    ask(&member("globex"), &policy, &quotas, &LIVE).permit();
    let second = ask(&member("acme"), &policy, &quotas, &LIVE).reason();

    assert_eq!(second, Some(Reason::TenantQuotaExceeded));
    assert_eq!(quotas.charged(), ["acme/one", "acme/own", "lobby/all", "lobby/all", "acme/one"]);
}

#[test]
fn users_of_one_name_in_two_members_are_two_users() {
    let policy = lobby(|lobby, _| lobby.quotas = Box::new([quota("user", QuotaBy::User, 1).into()]));
    let quotas = Counting::default();

    ask(&member("acme"), &policy, &quotas, &LIVE).permit();
    ask(&member("globex"), &policy, &quotas, &LIVE).permit();
    assert_eq!(ask(&member("acme"), &policy, &quotas, &LIVE).reason(), Some(Reason::TenantQuotaExceeded));
}

#[test]
fn without_a_session_a_quota_by_user_counts_the_client() {
    let policy = one(|acme| acme.quotas = Box::new([quota("user", QuotaBy::User, 1).into()]));
    let quotas = Counting::default();
    let request = |addr| get("https://acme.test/public/").from(addr);

    ask(&request("192.0.2.1"), &policy, &quotas, &LIVE).permit();
    ask(&request("192.0.2.2"), &policy, &quotas, &LIVE).permit();
    ask(&request("192.0.2.2").cookie(&token("acme")), &policy, &quotas, &LIVE).permit();
    assert_eq!(
        ask(&request("192.0.2.1"), &policy, &quotas, &LIVE).reason(),
        Some(Reason::TenantQuotaExceeded)
    );
}

#[test]
fn an_observing_quota_lets_pass_and_is_told_to_nobody() {
    let mut observing = quota("trial", QuotaBy::Client, 1);
    observing.mode = Mode::Observe;
    let policy = one(|acme| acme.quotas = Box::new([observing.into()]));
    let quotas = Counting::default();

    ask(&get("https://acme.test/public/"), &policy, &quotas, &LIVE).permit();
    let second = ask(&get("https://acme.test/public/"), &policy, &quotas, &LIVE);

    assert_eq!(
        (second.reason(), second.would(), second.facts.quotas.len()),
        (None, Some(Reason::QuotaExceeded), 0)
    );
}

#[test]
fn charges_for_failures_can_be_given_back() {
    let mut login = quota("login", QuotaBy::Client, 5);
    login.charge = Charge::Failures;
    let policy = one(|acme| acme.quotas = Box::new([login.into(), quota("all", QuotaBy::Client, 5).into()]));
    let quotas = Counting::default();

    let permit = ask(&get("https://acme.test/public/"), &policy, &quotas, &LIVE).permit();
    for (key, limit) in permit.charged_failures() {
        octroi::store::QuotaStore::give_back(&quotas, key, *limit, octroi::model::Tick::from_nanos(1));
    }

    assert_eq!(quotas.charged(), ["acme/all"]);
}

#[test]
fn what_is_refused_before_the_app_is_asked_is_no_failure() {
    let charged = |request: &Request| {
        let mut login = quota("login", QuotaBy::Client, 5);
        login.charge = Charge::Failures;
        let mut acme = Tenant::clone(checked().tenants.owning(&"acme.test".parse().unwrap()).unwrap());
        acme.quotas = Box::new([login.into(), quota("all", QuotaBy::Client, 5).into()]);
        let quotas = Counting::default();
        let outcome = ask(request, &policy(vec![acme]), &quotas, &LIVE);
        (outcome.reason(), quotas.charged().len())
    };
    let at = |path: &str| get(&format!("https://acme.test{path}"));

    assert_eq!(
        charged(&at("/login").method("POST").header("sec-fetch-site", "cross-site")),
        (Some(Reason::Csrf), 1)
    );
    assert_eq!(charged(&at("/login").method("POST").header("sec-fetch-site", "same-origin")), (None, 2));
    // A token that does not open is a try, also where the route needs none and another reason refuses.
    let forged = at("/login").method("POST").cookie("oct1.AAAA");
    assert_eq!(charged(&forged.header("sec-fetch-site", "cross-site")), (Some(Reason::Csrf), 2));
}

// ── authorization ──

#[test]
fn a_role_is_asked_for_by_the_route() {
    let request = |role: &str| {
        get("https://acme.test/admin/x").cookie(&seal(
            &Claims { roles: Roles::try_new([role]).unwrap(), ..claims("acme") },
            Purpose::Cookie,
            "acme",
        ))
    };
    let observing = one(|acme| acme.mode = Mode::Observe);

    assert_eq!(judged(&request("admin"), &plain()).reason(), None);
    assert_eq!(
        (judged(&request("adm"), &plain()).reason(), judged(&request("adm"), &plain()).rule()),
        (Some(Reason::RoleMissing), Some(7))
    );
    assert_eq!(judged(&request("Admin"), &plain()).reason(), Some(Reason::RoleMissing));
    assert_eq!(judged(&request("adm"), &observing).would(), Some(Reason::RoleMissing));
}

#[test]
fn an_old_sign_in_is_refused_under_observe_mode_too() {
    let policy = |seconds| {
        one(|acme| {
            let mut fresh = route("/x", RouteAccess::Session);
            fresh.max_auth_age = Some(Duration::from_secs(seconds));
            (acme.routes, acme.mode) = (table(vec![fresh]), Mode::Observe);
        })
    };

    assert_eq!(judged(&with(&claims("acme")), &policy(60)).reason(), None);
    assert_eq!(judged(&with(&claims("acme")), &policy(59)).reason(), Some(Reason::AuthTooOld));
}

fn checked() -> Policy {
    one(|acme| {
        let mut write = route("/write", RouteAccess::Public);
        write.origin_check = OriginCheck::Always;
        let mut login = route("/login", RouteAccess::Public);
        (login.grant, login.origin_check) = (Granting::Directly, OriginCheck::Always);
        let mut socket = route("/ws", RouteAccess::Public);
        (socket.websocket, socket.origin_check) = (true, OriginCheck::Always);
        acme.routes = table(vec![write, login, socket, route("/", RouteAccess::Public)]);
    })
}

#[test]
fn another_site_may_not_write_sign_in_or_open_sockets() {
    let cross = |method: &str, path: &str| {
        judged(
            &get(&format!("https://acme.test{path}")).method(method).header("sec-fetch-site", "cross-site"),
            &checked(),
        )
        .reason()
    };

    assert_eq!(cross("POST", "/write"), Some(Reason::Csrf));
    assert_eq!(cross("GET", "/write"), None);
    assert_eq!(cross("POST", "/login"), Some(Reason::Csrf));
    assert_eq!(cross("GET", "/login"), None);
    assert_eq!(cross("POST", "/free"), None);
    assert_eq!(
        judged(&handshake("/ws").header("sec-fetch-site", "cross-site"), &checked()).reason(),
        Some(Reason::Csrf)
    );
    assert_eq!(
        judged(&handshake("/ws").header("origin", "https://evil.test"), &checked()).reason(),
        Some(Reason::Csrf)
    );
    assert!(judged(&handshake("/ws").header("origin", "https://acme.test"), &checked()).permit().websocket());
}

#[test]
fn an_origin_is_the_same_host_scheme_and_port() {
    let origin = |origin: &str| {
        judged(&get("https://acme.test/write").method("POST").header("origin", origin), &checked()).reason()
    };

    for own in ["https://acme.test", "https://ACME.test:443"] {
        assert_eq!(origin(own), None, "{own}");
    }
    // The listener's own port is not the one that this client used; the other way round neither is 443.
    assert_eq!(origin("https://acme.test:8443"), Some(Reason::Csrf));
    let over_8443 = |origin: &str, public_port: Option<u16>| {
        let mut policy = checked();
        policy.listeners.iter_mut().for_each(|listener| Arc::make_mut(listener).public_port = public_port);
        judged(&get("https://acme.test:8443/write").method("POST").header("origin", origin), &policy).reason()
    };
    assert_eq!(over_8443("https://acme.test:8443", None), None);
    assert_eq!(
        [over_8443("https://acme.test", None), over_8443("https://acme.test:443", None)],
        [Some(Reason::Csrf); 2]
    );
    assert_eq!(over_8443("https://acme.test", Some(443)), None);
    for foreign in [
        "null",
        "http://acme.test",
        "https://acme.test:444",
        "https://www.acme.test",
        "https://acme.test.evil.test",
        "acme.test",
        "",
    ] {
        assert_eq!(origin(foreign), Some(Reason::Csrf), "{foreign}");
    }
    let site = |sites: &[&str]| {
        let post = get("https://acme.test/write").method("POST");
        judged(&sites.iter().fold(post, |post, site| post.header("sec-fetch-site", site)), &checked())
            .reason()
    };
    assert_eq!([site(&[]), site(&["same-origin"]), site(&["none"])], [None; 3]);
    for foreign in [&["same-site"][..], &["cross-site"], &[""], &["Same-Origin"], &["same-origin", "none"]] {
        assert_eq!(site(foreign), Some(Reason::Csrf), "{foreign:?}");
    }
}

/// A request of a session in our cookie.
fn signed_in(path: &str) -> Request {
    get(&format!("https://acme.test{path}")).cookie(&seal(&claims("acme"), Purpose::Cookie, "acme"))
}

/// `acme` has two hosts and a wildcard, beneath which `other` has a host; `/write` needs a session, `/open` none.
fn neighbours(change: impl FnOnce(&mut Tenant, &mut Route)) -> Policy {
    let mut acme = tenant("acme", &["acme.test", "app.acme.example", "*.apps.test"]);
    let mut write = route("/write", RouteAccess::Session);
    change(&mut acme, &mut write);
    acme.routes = table(vec![write, route("/open", RouteAccess::Public), route("/ws", RouteAccess::Public)]);
    policy(vec![acme, tenant("other", &["other.test", "other.apps.test"])])
}

#[test]
fn pages_of_the_realm_act_and_those_of_other_tenants_do_not() {
    let policy = neighbours(|_, _| {});
    let post = |site: &str, origin: &str| {
        let post = signed_in("/write").method("POST");
        let post = if site.is_empty() { post } else { post.header("sec-fetch-site", site) };
        judged(&if origin.is_empty() { post } else { post.header("origin", origin) }, &policy).reason()
    };

    for (site, origin) in [
        ("", ""),
        ("same-origin", "https://acme.test"),
        ("same-origin", "null"),
        ("none", ""),
        ("none", "null"),
        ("same-site", "https://one.apps.test"),
        ("cross-site", "https://app.acme.example"),
        ("cross-site", "https://app.acme.example:443"),
        ("", "https://app.acme.example"),
    ] {
        assert_eq!(post(site, origin), None, "{site} {origin}");
    }
    for (site, origin) in [
        ("same-site", ""),
        ("cross-site", ""),
        ("same-site", "https://other.apps.test"),
        ("cross-site", "https://other.test"),
        ("same-site", "https://unknown.acme.test"),
        ("same-site", "https://a.b.apps.test"),
        ("cross-site", "https://app.acme.example:444"),
        ("same-site", "http://one.apps.test"),
        ("same-site", "null"),
        ("cross-site", "null"),
        ("", "null"),
        ("same-origin", "https://other.test"),
    ] {
        assert_eq!(post(site, origin), Some(Reason::Csrf), "{site} {origin}");
    }
}

#[test]
fn what_browsers_do_not_send_by_themselves_is_not_asked_whence_it_comes() {
    let policy = neighbours(|_, _| {});
    let foreign = |request: Request, method: &str| {
        judged(
            &request
                .method(method)
                .header("sec-fetch-site", "same-site")
                .header("origin", "https://other.test"),
            &policy,
        )
        .reason()
    };
    let bearer = || get("https://acme.test/write").bearer(&seal(&claims("acme"), Purpose::Bearer, "acme"));

    assert_eq!(foreign(bearer(), "POST"), None);
    assert_eq!(foreign(get("https://acme.test/open"), "POST"), None);
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(foreign(signed_in("/write"), method), Some(Reason::Csrf), "{method}");
        // On a public route, too, a session counts.
        assert_eq!(foreign(signed_in("/open"), method), Some(Reason::Csrf), "{method}");
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(foreign(signed_in("/write"), method), None, "{method}");
    }
    // Observing relaxes nothing of it.
    let observing = neighbours(|acme, _| acme.mode = Mode::Observe);
    let request = signed_in("/write").method("POST").header("sec-fetch-site", "same-site");
    assert_eq!(judged(&request, &observing).reason(), Some(Reason::Csrf));
}

#[test]
fn origins_that_are_listed_act_exactly_as_they_are_written() {
    let of_tenant = neighbours(|acme, _| {
        acme.origins = ["https://spa.example.com", "capacitor://localhost"].map(|o| o.parse().unwrap()).into()
    });
    let of_rule =
        neighbours(|_, write| write.origins = ["https://spa.example.com"].map(|o| o.parse().unwrap()).into());
    let post = |policy: &Policy, path: &str, origin: &str| {
        let post = signed_in(path).method("POST").header("sec-fetch-site", "cross-site");
        judged(&post.header("origin", origin), policy).reason()
    };

    for origin in ["https://spa.example.com", "https://SPA.example.com:443"] {
        assert_eq!(
            [post(&of_tenant, "/write", origin), post(&of_tenant, "/open", origin)],
            [None; 2],
            "{origin}"
        );
        assert_eq!(
            [post(&of_rule, "/write", origin), post(&of_rule, "/open", origin)],
            [None, Some(Reason::Csrf)],
            "{origin}"
        );
    }
    assert_eq!(post(&of_tenant, "/write", "capacitor://localhost"), None);
    for origin in [
        "http://spa.example.com",
        "https://spa.example.com:8443",
        "https://a.spa.example.com",
        "https://example.com",
        "null",
    ] {
        assert_eq!(post(&of_tenant, "/write", origin), Some(Reason::Csrf), "{origin}");
    }
}

#[test]
fn who_switches_the_check_off_has_none() {
    let policy = neighbours(|_, write| write.origin_check = OriginCheck::Off);
    let post = signed_in("/write").method("POST").header("sec-fetch-site", "cross-site");

    assert_eq!(judged(&post, &policy).reason(), None);
}

// ── client certificates ──

/// A lobby of two members, of whom `acme` requires a certificate and `globex` may have one.
fn certified(lobby_mode: CertificateMode) -> Policy {
    let (mut acme, mut globex, mut lobby) =
        (tenant("acme", &["acme.test"]), tenant("globex", &[]), tenant("lobby", &["lobby.test"]));
    acme.client_certificate = certificates(CertificateMode::Required);
    acme.mode = Mode::Observe;
    globex.client_certificate = certificates(CertificateMode::Optional);
    lobby.client_certificate = certificates(lobby_mode);
    lobby.members = ["acme", "globex", "initech"].map(|name| name.parse().unwrap()).into_iter().collect();
    policy(vec![acme, globex, lobby, tenant("initech", &["initech.test"])])
}

#[test]
fn a_realm_asks_for_its_own_certificate_or_lets_its_members_ask() {
    use CertificateMode::{Optional, Required};
    let asked = |host: &str, certificate: Option<&[&str]>, mode| {
        let request = get(&format!("https://{host}/public/"));
        let request = match certificate {
            Some(tenants) => request.certificate(tenants),
            None => request,
        };
        judged(&request, &certified(mode)).reason()
    };

    // Observe mode relaxes nothing.
    assert_eq!(asked("acme.test", None, Optional), Some(Reason::ClientCertificateMissing));
    assert_eq!(asked("acme.test", Some(&["globex"]), Optional), Some(Reason::ClientCertificateRefused));
    assert_eq!(asked("acme.test", Some(&["acme"]), Optional), None);
    assert_eq!(asked("initech.test", Some(&[]), Optional), None);
    assert_eq!(asked("lobby.test", None, Optional), None);
    assert_eq!(asked("lobby.test", Some(&["globex"]), Optional), None);
    assert_eq!(asked("lobby.test", Some(&[]), Optional), Some(Reason::ClientCertificateRefused));
    assert_eq!(asked("lobby.test", Some(&["stranger"]), Optional), Some(Reason::ClientCertificateRefused));
    assert_eq!(asked("lobby.test", None, Required), Some(Reason::ClientCertificateMissing));
    assert_eq!(asked("lobby.test", Some(&["globex"]), Required), Some(Reason::ClientCertificateRefused));
}

#[test]
fn a_refused_certificate_is_named_with_the_rule() {
    let judged =
        judged(&get("https://acme.test/public/").certificate(&[]), &certified(CertificateMode::Optional));

    assert_eq!(judged.rule(), Some(11));
    assert_eq!(
        judged.verdict.unwrap_err().detail,
        "tenant `acme` does not accept the certificate of CN=robot: it is revoked"
    );
}

#[test]
fn clear_text_never_leads_to_a_tenant_with_certificates() {
    for host in ["acme.test", "lobby.test"] {
        let request = get(&format!("https://{host}/public/")).at("plain");
        assert_eq!(
            judged(&request, &certified(CertificateMode::Optional)).reason(),
            Some(Reason::PlaintextRefused),
            "{host}"
        );
    }
    assert_eq!(
        judged(&get("https://initech.test/public/").at("plain"), &certified(CertificateMode::Optional))
            .reason(),
        None
    );
    // A redirect leads to where one is asked for.
    let redirected =
        judged(&get("https://acme.test/public/").at("http"), &certified(CertificateMode::Optional));
    assert!(matches!(redirected.verdict, Ok(Disposition::Redirect(_))));
}

#[test]
fn a_member_asks_for_its_certificate_when_the_session_is_known_and_when_it_is_granted() {
    let policy = certified(CertificateMode::Optional);
    let used = |tenant: &str, certificate: Option<&[&str]>| {
        let request = get("https://lobby.test/x").cookie(&seal(&claims(tenant), Purpose::Cookie, "lobby"));
        let request = match certificate {
            Some(tenants) => request.certificate(tenants),
            None => request,
        };
        judged(&request, &policy).reason()
    };
    let permit = judged(&get("https://lobby.test/public/"), &policy).permit();
    let granted = |tenant: &str, certificate: Option<&[&str]>| {
        let certificate = certificate.map(presented);
        judge_grant(&grant("u_1", Some(tenant)), &permit, certificate.as_ref(), &policy, NOW)
            .err()
            .map(|deny| deny.reason)
    };

    for (tenant, certificate, at_use, at_grant) in [
        ("acme", None, Some(Reason::MemberClientCertificateMissing), Some(Reason::GrantClientCertificate)),
        (
            "acme",
            Some(&["globex"][..]),
            Some(Reason::MemberClientCertificateRefused),
            Some(Reason::GrantClientCertificate),
        ),
        ("acme", Some(&["acme"][..]), None, None),
        ("globex", None, None, None),
        (
            "globex",
            Some(&["acme"][..]),
            Some(Reason::MemberClientCertificateRefused),
            Some(Reason::GrantClientCertificate),
        ),
        ("globex", Some(&["globex"][..]), None, None),
        ("initech", None, None, None),
        ("initech", Some(&["acme"][..]), None, None),
    ] {
        assert_eq!(used(tenant, certificate), at_use, "{tenant} {certificate:?}");
        assert_eq!(granted(tenant, certificate), at_grant, "{tenant} {certificate:?}");
    }
}

#[test]
fn the_upstream_is_told_of_a_certificate_that_the_acting_tenant_accepts() {
    let policy = certified(CertificateMode::Optional);
    let told = |request: Request| judged(&request, &policy).permit().certificate().is_some();
    let of =
        |tenant: &str| get("https://lobby.test/x").cookie(&seal(&claims(tenant), Purpose::Cookie, "lobby"));

    assert!(told(of("acme").certificate(&["acme"])));
    assert!(!told(of("initech").certificate(&["acme"])));
    assert!(!told(get("https://lobby.test/public/").certificate(&["acme"])));
    assert!(!told(of("globex")));
}

#[test]
fn a_tunnel_is_asked_for_its_certificate_again() {
    let policy = certified(CertificateMode::Optional);
    let acme = || judged(&get("https://acme.test/public/").certificate(&["acme"]), &policy).permit();
    let member = get("https://lobby.test/x")
        .cookie(&seal(&claims("acme"), Purpose::Cookie, "lobby"))
        .certificate(&["acme"]);
    let member = judged(&member, &policy).permit();
    let again = |permit: &Permit, certificate: Option<&[&str]>| {
        let certificate = certificate.map(presented);
        revalidate(permit, certificate.as_ref(), &policy, &LIVE, NOW).err().map(|deny| deny.reason)
    };

    assert_eq!(again(&acme(), Some(&["acme"])), None);
    assert_eq!(again(&acme(), Some(&[])), Some(Reason::ClientCertificateRefused));
    assert_eq!(again(&acme(), None), Some(Reason::ClientCertificateMissing));
    assert_eq!(again(&member, Some(&["acme"])), None);
    assert_eq!(again(&member, Some(&["globex"])), Some(Reason::MemberClientCertificateRefused));
    assert_eq!(again(&member, Some(&[])), Some(Reason::ClientCertificateRefused));
}

#[test]
fn what_goes_on_is_judged_by_its_rule_as_it_is_now() {
    let socket = |change: &dyn Fn(&mut Route)| {
        one(|acme| {
            let mut socket = route("/x", RouteAccess::Session);
            socket.websocket = true;
            change(&mut socket);
            acme.routes = table(vec![socket, route("/public", RouteAccess::Public)]);
        })
    };
    let before = socket(&|_| {});
    let claims = Claims {
        roles: Roles::try_new(["staff"]).unwrap(),
        auth_time: NOW.minus(SECOND * 60),
        ..claims("acme")
    };
    let tunnel = judged(&handshake("/x").cookie(&seal(&claims, Purpose::Cookie, "acme")), &before).permit();
    let page = judged(&get("https://acme.test/public"), &before).permit();
    let again =
        |policy: &Policy, now| revalidate(&tunnel, None, policy, &LIVE, now).err().map(|deny| deny.reason);
    let after = |change: &dyn Fn(&mut Route)| again(&socket(change), NOW);
    let aged = |seconds| move |route: &mut Route| route.max_auth_age = Some(Duration::from_secs(seconds));
    let observing = |change: &dyn Fn(&mut Tenant)| {
        one(|acme| {
            acme.mode = Mode::Observe;
            change(acme);
        })
    };

    assert_eq!(after(&|_| {}), None);
    assert_eq!(after(&|route| route.access = roles("staff")), None);
    assert_eq!(after(&|route| route.access = roles("admin")), Some(Reason::RoleMissing));
    assert_eq!(after(&|route| route.websocket = false), Some(Reason::UpgradeRefused));
    assert_eq!(after(&|route| route.methods = Box::new(["POST".into()])), Some(Reason::MethodNotAllowed));
    assert_eq!((after(&aged(60)), after(&aged(59))), (None, Some(Reason::AuthTooOld)));
    assert_eq!(again(&one(|acme| acme.routes = table(vec![])), NOW), Some(Reason::UpgradeRefused));
    let closed = one(|acme| {
        let mut builder = octroi::policy::RouteTableBuilder::default();
        builder.add("/else", Arc::new(route("/else", RouteAccess::Session)), false).unwrap();
        acme.routes = Arc::new(builder.build(Arc::new(route("*", RouteAccess::Nobody))));
    });
    assert_eq!(again(&closed, NOW), Some(Reason::RouteNone));
    // Observing lets pass what it would let pass, and no more.
    let observed = |change: &dyn Fn(&mut Route)| {
        again(
            &observing(&|acme| {
                let mut socket = route("/x", RouteAccess::Session);
                socket.websocket = true;
                change(&mut socket);
                acme.routes = table(vec![socket]);
            }),
            NOW,
        )
    };
    assert_eq!(
        (observed(&|route| route.access = roles("admin")), observed(&aged(59))),
        (None, Some(Reason::AuthTooOld))
    );
    // Who asked for no session, where one is asked for now.
    let anonymous =
        |policy: &Policy| revalidate(&page, None, policy, &LIVE, NOW).err().map(|deny| deny.reason);
    assert_eq!((anonymous(&before), anonymous(&one(|_| {}))), (None, Some(Reason::SessionMissing)));
    assert_eq!(anonymous(&observing(&|_| {})), None);
}

#[test]
fn what_goes_on_does_not_end_because_its_sign_in_grows_old() {
    let fresh = || {
        one(|acme| {
            let mut fresh = route("/x", RouteAccess::Session);
            fresh.max_auth_age = Some(Duration::from_secs(60));
            acme.routes = table(vec![fresh]);
        })
    };
    let policy = fresh();
    let permit = judged(&with(&claims("acme")), &policy).permit();
    let again = |policy: &Policy| {
        revalidate(&permit, None, policy, &LIVE, NOW.plus(SECOND * 3600)).err().map(|deny| deny.reason)
    };

    assert_eq!(again(&policy), None);
    assert_eq!(again(&fresh()), None, "a reload that leaves the rule as it is");
}

/// The answer to whether an exchange goes on, by the rules that let it in, by what its session's end does, and by what is known of that.
#[test]
fn what_goes_on_is_judged_by_every_rule_when_its_session_ends() {
    let rules = |change: &dyn Fn(&mut Route)| {
        let mut logout = route("/logout", RouteAccess::Session);
        logout.revoke = true;
        change(&mut logout);
        let plain = route("/x", RouteAccess::Session);
        table(vec![logout, plain, route("/public", RouteAccess::Public), route("/", RouteAccess::Public)])
    };
    let one = |change: &dyn Fn(&mut Tenant)| {
        one(|acme| {
            acme.routes = rules(&|_| {});
            change(acme);
        })
    };
    let before = one(&|_| {});
    let ended = Says(RevocationAnswer::Session, 0);
    let stale = Says(RevocationAnswer::Stale, 0);
    let again = |path: &str, does: OnSessionEnd, policy: &Policy, says: &Says| {
        let request =
            get(&format!("https://acme.test{path}")).cookie(&seal(&claims("acme"), Purpose::Cookie, "acme"));
        let mut permit = judged(&request, &before).permit();
        permit.set_on_session_end(does);
        revalidate(&permit, None, policy, says, NOW).map_err(|deny| deny.reason)
    };
    let (goes, revoked) = (Ok(Revalidation::WithoutSession), Err(Reason::SessionRevoked));

    for (path, does, whole) in [
        ("/x", OnSessionEnd::AsNew, revoked),
        ("/x", OnSessionEnd::AwaitsAnswer, revoked),
        ("/public", OnSessionEnd::AsNew, goes),
        ("/public", OnSessionEnd::Ends, revoked),
        ("/logout", OnSessionEnd::AsNew, revoked),
        ("/logout", OnSessionEnd::AwaitsAnswer, goes),
        ("/logout", OnSessionEnd::Ends, revoked),
        ("/logout", OnSessionEnd::Nothing, Ok(Revalidation::Unchanged)),
        // The data of a page are judged by the rule of the page, whatever rule covers where they lie.
        ("/_next/data/b/x.json", OnSessionEnd::AsNew, revoked),
        ("/_next/data/b/logout.json", OnSessionEnd::AsNew, revoked),
        ("/_next/data/b/public.json", OnSessionEnd::AsNew, goes),
    ] {
        assert_eq!(again(path, does, &before, &ended), whole, "{path} {does:?}");
        // The same rules once more, loaded again.
        assert_eq!(again(path, does, &one(&|_| {}), &ended), whole, "{path} {does:?}");
        // Observing enforces nothing; what streams in somebody's name ends all the same.
        let observed = if does == OnSessionEnd::Ends {
            revoked
        } else if does == OnSessionEnd::Nothing {
            whole
        } else {
            goes
        };
        assert_eq!(
            again(path, does, &one(&|acme| acme.mode = Mode::Observe), &ended),
            observed,
            "{path} {does:?}"
        );
    }
    // But the age of a sign-in, which nobody has who has no session.
    let aged = |acme: &mut Tenant| {
        acme.mode = Mode::Observe;
        acme.routes = rules(&|logout| logout.max_auth_age = Some(SECOND * 3600));
    };
    assert_eq!(again("/logout", OnSessionEnd::AsNew, &one(&aged), &ended), revoked);
    // A rule that lets the app end no sessions any more.
    let no_more = one(&|acme| acme.routes = rules(&|logout| logout.revoke = false));
    assert_eq!(again("/logout", OnSessionEnd::AwaitsAnswer, &no_more, &ended), revoked);

    for (path, known) in [
        ("/public", Ok(Revalidation::Unchanged)),
        ("/_next/data/b/public.json", Ok(Revalidation::Unchanged)),
        ("/x", Err(Reason::RevocationStale)),
        ("/_next/data/b/x.json", Err(Reason::RevocationStale)),
        ("/logout", Err(Reason::RevocationStale)),
    ] {
        assert_eq!(again(path, OnSessionEnd::AsNew, &before, &stale), known, "{path}");
    }
}

// ── grant ──

fn granted(grant: &Grant, permit: &Permit, policy: &Policy) -> Result<String, Reason> {
    judge_grant(grant, permit, None, policy, NOW)
        .map(|tenant| tenant.name.to_string())
        .map_err(|deny: Deny| deny.reason)
}

fn grant(user: &str, tenant: Option<&str>) -> Grant {
    Grant {
        user: user.parse().unwrap(),
        roles: Roles::default(),
        tenant: tenant.map(|name| name.parse().unwrap()),
        absolute: None,
    }
}

#[test]
fn a_grant_is_for_the_realm_or_a_member() {
    let policy = lobby(|_, _| {});
    let permit = judged(&get("https://www.test/public/"), &policy).permit();

    assert_eq!(granted(&grant("u", None), &permit, &policy), Ok("lobby".into()));
    assert_eq!(granted(&grant("u", Some("lobby")), &permit, &policy), Ok("lobby".into()));
    assert_eq!(granted(&grant("u", Some("acme")), &permit, &policy), Ok("acme".into()));
    assert_eq!(granted(&grant("u", Some("initech")), &permit, &policy), Err(Reason::GrantTenant));
    assert_eq!(granted(&grant("u", Some("nobody")), &permit, &policy), Err(Reason::GrantTenant));
}

#[test]
fn a_grant_asks_the_tenants_ranges_whatever_its_mode() {
    let permitted = |policy: &Policy| judged(&get("https://www.test/public/"), policy).permit();
    let closed = lobby(|_, acme| (acme.ip_access, acme.mode) = (deny(&["192.0.2.0/24"]), Mode::Observe));
    let suspended = lobby(|_, acme| acme.suspended = true);
    let observing =
        lobby(|lobby, _| (lobby.ip_access, lobby.mode) = (deny(&["192.0.2.0/24"]), Mode::Observe));

    assert_eq!(granted(&grant("u", Some("acme")), &permitted(&closed), &closed), Err(Reason::GrantIpDenied));
    assert_eq!(
        granted(&grant("u", Some("acme")), &permitted(&suspended), &suspended),
        Err(Reason::GrantSuspended)
    );
    assert_eq!(granted(&grant("u", None), &permitted(&observing), &observing), Err(Reason::GrantIpDenied));
}

#[test]
fn an_email_address_is_no_user_unless_the_operator_says_so() {
    let mut policy = plain();
    let permit = judged(&get("https://acme.test/public/"), &policy).permit();

    assert_eq!(granted(&grant("jane@example.com", None), &permit, &policy), Err(Reason::GrantMalformed));
    policy.sessions.as_mut().unwrap().allow_email_user = true;
    assert_eq!(granted(&grant("jane@example.com", None), &permit, &policy), Ok("acme".into()));
}

#[test]
fn another_site_cannot_sign_anybody_in_with_a_link() {
    let policy = checked();
    let granted = |site: &str| {
        let request = get("https://acme.test/login");
        let request = if site.is_empty() { request } else { request.header("sec-fetch-site", site) };
        granted(&grant("u", None), &judged(&request, &policy).permit(), &policy)
    };

    assert_eq!([granted("cross-site"), granted("same-site")], [const { Err(Reason::Csrf) }; 2]);
    for own in ["same-origin", "none", ""] {
        assert_eq!(granted(own), Ok("acme".into()), "{own}");
    }
}

#[test]
fn another_site_cannot_sign_anybody_out_with_a_link() {
    let policy = one(|acme| {
        let mut logout = route("/logout", RouteAccess::Session);
        (logout.revoke, logout.origin_check) = (true, OriginCheck::Always);
        acme.routes = table(vec![logout]);
    });
    let revoked = |site: &str| {
        let permit = judged(&signed_in("/logout").header("sec-fetch-site", site), &policy).permit();
        octroi::pipeline::judge_revocation(&permit).map_err(|deny| deny.reason)
    };

    assert_eq!([revoked("cross-site"), revoked("same-site")], [Err(Reason::Csrf); 2]);
    assert_eq!([revoked("same-origin"), revoked("none")], [Ok(()); 2]);
}

/// Comes back from a sign-in that runs until then, at a rule for those.
fn come_back(method: &str, query: &str, form: bool, until: UnixTime) -> Result<String, Reason> {
    let policy = one(|acme| {
        let mut callback = route("/callback", RouteAccess::Public);
        (callback.grant, callback.origin_check) = (Granting::Callback, OriginCheck::Always);
        acme.routes = table(vec![callback]);
    });
    let (state, _) = octroi::session::begins(b"https://idp.test/?state=abc").unwrap();
    let mark = ring()
        .seal_sign_in(
            &SignIn { state, form, foreign: false, until, replaces: None },
            &"acme".parse().unwrap(),
            [3; 12],
        )
        .unwrap();
    let request = get(&format!("https://acme.test/callback{query}"))
        .method(method)
        .header("sec-fetch-site", "cross-site");
    let request = request.header("cookie", &format!("__Host-octroi{}={mark}", state.suffix()));
    match judged(&request, &policy).verdict {
        Ok(Disposition::Permit(permit)) => granted(&grant("u", None), &permit, &policy),
        Ok(other) => panic!("{other:?}"),
        Err(deny) => Err(deny.reason),
    }
}

#[test]
fn a_sign_in_comes_back_in_time() {
    let (now, soon) = (NOW, NOW.plus(Duration::from_millis(1)));

    for (method, query) in
        [("GET", "?state=abc"), ("HEAD", "?state=abc"), ("POST", ""), ("POST", "?state=abc")]
    {
        assert_eq!(come_back(method, query, true, soon), Ok("acme".into()), "{method} {query}");
        assert_eq!(come_back(method, query, true, now), Err(Reason::Csrf), "{method} {query}");
    }
    assert_eq!(
        [come_back("GET", "?state=abc", false, soon), come_back("POST", "?state=abc", false, soon)],
        [Ok("acme".into()), Ok("acme".into())]
    );
    assert_eq!(come_back("POST", "", false, soon), Err(Reason::Csrf));
    assert_eq!(come_back("GET", "", true, soon), Err(Reason::Csrf));
    assert_eq!(come_back("GET", "?state=abd", true, soon), Err(Reason::Csrf));
}

#[test]
fn an_identity_provider_can_where_the_operator_says_so() {
    let policy = one(|acme| {
        let mut callback = route("/callback", RouteAccess::Public);
        (callback.grant, callback.origin_check) = (Granting::Directly, OriginCheck::Off);
        acme.routes = table(vec![callback]);
    });
    let permit =
        judged(&get("https://acme.test/callback").header("sec-fetch-site", "cross-site"), &policy).permit();

    assert_eq!(granted(&grant("u", None), &permit, &policy), Ok("acme".into()));
}

#[test]
fn a_domain_is_one_tenant_s_only_where_nobody_else_has_a_host_beneath() {
    let owns = |others: &[&str], domain: &str| {
        let mut tenants = vec![tenant("acme", &["acme.test", "www.acme.test", "*.apps.test"])];
        tenants.extend(
            others.iter().enumerate().map(|(number, host)| tenant(&format!("other{number}"), &[*host])),
        );
        policy(tenants).tenants.owns_domain(&"acme".parse().unwrap(), &domain.parse().unwrap())
    };

    assert!(owns(&["other.test", "notacme.test"], "acme.test"));
    assert!(owns(&[], "ACME.test"), "its own host beneath, and no case");
    assert!(owns(&["shop.acme.test"], "www.acme.test"), "beside it, not beneath");
    assert!(owns(&["b.two.apps.test"], "one.apps.test"));
    assert!(!owns(&["shop.acme.test"], "acme.test"));
    assert!(!owns(&["a.b.shop.acme.test"], "acme.test"));
    assert!(!owns(&["*.acme.test"], "acme.test"));
    assert!(!owns(&["b.one.apps.test"], "one.apps.test"), "it has that one by a wildcard");
    assert!(!owns(&[], "test"));
    assert!(!owns(&["other.test"], "other.test"));
}
