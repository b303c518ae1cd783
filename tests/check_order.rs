//! THE ORDER: two checks fail at once, the earlier one answers; a refused request charges no token.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::time::Duration;

use octroi::{
    model::{Mode, QuotaAnswer, Reason, RevocationAnswer, Stage, Tick, UnixTime},
    policy::{CertificateMode, OriginCheck, Policy, QuotaBy, RouteAccess},
    quota::Limit,
    session::{Purpose, Roles},
    store::{ChargeAnswers, QuotaCharge, QuotaKey, QuotaStore},
};
use support::*;

/// A tenant where everything can go wrong: one address is denied, every kind of quota of one request is there.
fn strict() -> Policy {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.ip_access = deny(&["192.0.2.66/32"]);
    acme.quotas = [
        ("client", QuotaBy::Client),
        ("tenant", QuotaBy::Tenant),
        ("user", QuotaBy::User),
        ("session", QuotaBy::Session),
    ]
    .map(|(name, by)| quota(name, by, 2).into())
    .into();
    let mut login = route("/login", RouteAccess::Public);
    login.methods = Box::new(["GET".into()]);
    let mut fresh = route("/fresh", roles("admin"));
    fresh.max_auth_age = Some(Duration::from_secs(10));
    fresh.origin_check = OriginCheck::Always;
    acme.routes = table(vec![login, fresh, route("/public/", RouteAccess::Public)]);
    policy(vec![acme, tenant("other", &["other.test"])])
}

fn refused(request: &octroi::replay::Request) -> Option<Reason> {
    ask(request, &strict(), &Empty, &Empty).reason()
}

#[test]
fn hygiene_before_client() {
    let request = get("https://acme.test/a/../b").from("10.0.0.1").header("x-forwarded-for", "nobody");

    assert_eq!(refused(&request), Some(Reason::PathDotSegment));
}

#[test]
fn client_before_tenant() {
    let request = get("https://nobody.test/").from("10.0.0.1").header("x-forwarded-for", "nobody");

    assert_eq!(refused(&request), Some(Reason::XffMalformed));
}

#[test]
fn tenant_before_address() {
    assert_eq!(
        refused(&get("https://acme.test/").from("192.0.2.66").sni(Some("other.test"))),
        Some(Reason::SniMismatch)
    );
}

#[test]
fn suspension_before_certificate_and_certificate_before_address() {
    let of = |suspended: bool| {
        let mut acme = tenant("acme", &["acme.test"]);
        acme.ip_access = deny(&["192.0.2.66/32"]);
        acme.client_certificate = certificates(CertificateMode::Required);
        acme.suspended = suspended;
        policy(vec![acme])
    };
    let request = get("https://acme.test/").from("192.0.2.66");

    assert_eq!(ask(&request, &of(true), &Empty, &Empty).reason(), Some(Reason::TenantSuspended));
    assert_eq!(ask(&request, &of(false), &Empty, &Empty).reason(), Some(Reason::ClientCertificateMissing));
    assert_eq!(
        ask(&request.certificate(&["acme"]), &of(false), &Empty, &Empty).reason(),
        Some(Reason::IpDenied)
    );
}

#[test]
fn session_before_the_members_certificate_and_that_before_its_addresses() {
    let (mut acme, mut lobby) = (tenant("acme", &[]), tenant("lobby", &["lobby.test"]));
    acme.client_certificate = certificates(CertificateMode::Required);
    acme.ip_access = deny(&["192.0.2.66/32"]);
    lobby.client_certificate = certificates(CertificateMode::Optional);
    lobby.members = ["acme".parse().unwrap()].into_iter().collect();
    let policy = policy(vec![acme, lobby]);
    let request = || get("https://lobby.test/x").from("192.0.2.66");
    let with =
        |request: octroi::replay::Request| request.cookie(&seal(&claims("acme"), Purpose::Cookie, "lobby"));
    let reason = |request: octroi::replay::Request| ask(&request, &policy, &Empty, &Empty).reason();

    assert_eq!(reason(request()), Some(Reason::SessionMissing));
    assert_eq!(reason(with(request())), Some(Reason::MemberClientCertificateMissing));
    assert_eq!(reason(with(request()).certificate(&["other"])), Some(Reason::ClientCertificateRefused));
    assert_eq!(reason(with(request()).certificate(&["lobby"])), Some(Reason::MemberClientCertificateRefused));
    assert_eq!(reason(with(request()).certificate(&["acme"])), Some(Reason::MemberIpDenied));
}

#[test]
fn address_before_route() {
    assert_eq!(
        refused(&get("https://acme.test/login").method("POST").from("192.0.2.66")),
        Some(Reason::IpDenied)
    );
}

#[test]
fn a_blocked_address_is_not_charged() {
    assert_eq!(
        refused(&get("https://acme.test/public/x").from("192.0.2.66").cookie(&token("acme"))),
        Some(Reason::IpDenied)
    );
}

#[test]
fn route_before_rate() {
    assert_eq!(refused(&get("https://acme.test/login").method("PUT")), Some(Reason::MethodNotAllowed));
    assert_eq!(refused(&get("https://acme.test/public/a%2fb")), Some(Reason::PathEncodedSlash));
    assert_eq!(
        refused(&get("https://acme.test/public/").method("POST").header("content-length", "1001")),
        Some(Reason::BodyTooLarge)
    );
}

#[test]
fn rate_by_client_before_session() {
    let (policy, quotas) = (strict(), Counting::default());
    let guess = get("https://acme.test/x").cookie(&format!("oct1.{}", "A".repeat(80)));

    let answers: Vec<_> = (0..3).map(|_| ask(&guess, &policy, &quotas, &Empty).reason()).collect();

    assert_eq!(
        answers,
        [Some(Reason::SessionInvalid), Some(Reason::SessionInvalid), Some(Reason::QuotaExceeded)]
    );
    assert_eq!(quotas.charged(), ["acme/client"; 2]);
}

#[test]
fn a_request_without_session_charges_no_tenant() {
    let quotas = Counting::default();

    let reason = ask(&get("https://acme.test/x"), &strict(), &quotas, &Empty).reason();

    assert_eq!((reason, quotas.charged()), (Some(Reason::SessionMissing), vec!["acme/client".to_owned()]));
}

#[test]
fn clocks_before_member_before_revocation() {
    let mut lobby = tenant("lobby", &["www.test"]);
    lobby.members = ["acme".parse().unwrap()].into_iter().collect();
    let mut acme = tenant("acme", &[]);
    acme.ip_access = deny(&["192.0.2.1/32"]);
    let policy = policy(vec![lobby, acme]);
    let fresh = get("https://www.test/x").cookie(&seal(&claims("acme"), Purpose::Cookie, "lobby"));
    let mut old = claims("acme");
    old.idle_end = NOW;
    let old = get("https://www.test/x").cookie(&seal(&old, Purpose::Cookie, "lobby"));

    assert_eq!(ask(&old, &policy, &Empty, &Empty).reason(), Some(Reason::SessionIdle));
    assert_eq!(ask(&fresh, &policy, &Empty, &Empty).reason(), Some(Reason::MemberIpDenied));
}

#[test]
fn revocation_before_rate_by_user() {
    let quotas = Counting::default();
    let revoked = Says(RevocationAnswer::User(UnixTime::from_secs(1)), 0);

    let reason =
        ask(&get("https://acme.test/x").cookie(&token("acme")), &strict(), &quotas, &revoked).reason();

    assert_eq!((reason, quotas.charged()), (Some(Reason::SessionRevoked), vec!["acme/client".to_owned()]));
}

#[test]
fn rate_by_user_before_authorization() {
    let (policy, quotas) = (strict(), Counting::default());
    let request =
        |host: u8| get("https://acme.test/fresh").from(&format!("192.0.2.{host}")).cookie(&token("acme"));

    let answers: Vec<_> = (1..4).map(|host| ask(&request(host), &policy, &quotas, &LIVE).reason()).collect();

    assert_eq!(
        answers,
        [Some(Reason::RoleMissing), Some(Reason::RoleMissing), Some(Reason::TenantQuotaExceeded)]
    );
}

#[test]
fn the_narrow_quota_is_asked_first() {
    let quotas = Counting::default();

    let judged = ask(&get("https://acme.test/x").cookie(&token("acme")), &strict(), &quotas, &LIVE);

    assert_eq!(judged.reason(), None);
    assert_eq!(quotas.charged(), ["acme/client", "acme/session", "acme/user", "acme/tenant"]);
}

/// A tenant whose rules for other readings have quotas of their own.
fn read_otherwise() -> Policy {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.quotas = Box::new([quota("client", QuotaBy::Client, 2).into()]);
    let with = |path: &str, quotas: &[(&str, QuotaBy, u32)]| octroi::policy::Route {
        quotas: quotas.iter().map(|(name, by, burst)| quota(name, *by, *burst).into()).collect(),
        ..route(path, RouteAccess::Public)
    };
    let mut login = with("/login", &[("tries", QuotaBy::Client, 1), ("logins", QuotaBy::Route, 9)]);
    login.methods = Box::new(["GET".into()]);
    acme.routes =
        table(vec![with("/", &[("all", QuotaBy::Route, 9)]), login, route("/closed", RouteAccess::Nobody)]);
    policy(vec![acme])
}

#[test]
fn rate_by_client_before_other_readings_of_the_path() {
    let (policy, quotas) = (read_otherwise(), Counting::default());
    let too_many = get("https://acme.test/").changed(|request| {
        let busy = "%2561%EF%BD%81/%C4%B0%3F%EF%BC%85";
        request.target = format!("/{}", &busy.repeat(2000)[..7000]).into_bytes();
    });
    let mut policy = policy;
    (policy.limits.path_bytes, policy.limits.uri_bytes) = (8 << 10, 16 << 10);
    (policy.limits.header_bytes, policy.limits.field_bytes) = (32 << 10, 16 << 10);
    let ask = |request: &octroi::replay::Request| ask(request, &policy, &quotas, &Empty).reason();

    assert_eq!(ask(&too_many), Some(Reason::PathEncoding), "more readings than are judged");
    assert_eq!(
        ask(&get("https://acme.test/%2563losed")),
        Some(Reason::RouteNone),
        "a reading that nobody may ask for"
    );
    for over in
        [&too_many, &get("https://acme.test/%2563losed"), &get("https://acme.test/log%2569n").method("POST")]
    {
        assert_eq!(ask(over), Some(Reason::QuotaExceeded));
    }
    // What the rule for the path as asked refuses stays before all quotas.
    assert_eq!(ask(&get("https://acme.test/closed")), Some(Reason::RouteNone));
    assert_eq!(quotas.charged(), ["acme/client"; 2]);
}

#[test]
fn rates_by_client_of_every_reading_before_those_that_all_share() {
    let (policy, quotas) = (read_otherwise(), Counting::default());
    let request = |host: u8| get("https://acme.test/log%2569n").from(&format!("192.0.2.{host}"));

    assert_eq!(ask(&request(1), &policy, &quotas, &Empty).reason(), None);
    assert_eq!(quotas.charged(), ["acme/client", "acme/tries", "acme/all", "acme/logins"]);
    // Its second try takes nothing of what others share.
    assert_eq!(ask(&request(1), &policy, &quotas, &Empty).reason(), Some(Reason::QuotaExceeded));
    assert_eq!(quotas.charged()[4..], ["acme/client"]);
    assert_eq!(ask(&request(2), &policy, &quotas, &Empty).reason(), None);
}

#[test]
fn role_before_age_before_origin() {
    let policy = strict();
    let mut claims = claims("acme");
    let request = |claims: &octroi::session::Claims| {
        let token = seal(claims, Purpose::Cookie, "acme");
        get("https://acme.test/fresh")
            .method("POST")
            .header("content-length", "0")
            .header("sec-fetch-site", "cross-site")
            .cookie(&token)
    };

    let without_role = ask(&request(&claims), &policy, &Counting::default(), &LIVE).reason();
    claims.roles = Roles::try_new(["editor", "admin"]).unwrap();
    let too_old = ask(&request(&claims), &policy, &Counting::default(), &LIVE).reason();
    claims.auth_time = NOW;
    let foreign = ask(&request(&claims), &policy, &Counting::default(), &LIVE).reason();

    assert_eq!(
        [without_role, too_old, foreign],
        [Some(Reason::RoleMissing), Some(Reason::AuthTooOld), Some(Reason::Csrf)]
    );
}

#[test]
fn observe_mode_goes_on_in_the_same_order() {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.mode = Mode::Observe;
    acme.ip_access = deny(&["192.0.2.0/24"]);
    acme.quotas = Box::new([quota("client", QuotaBy::Client, 1).into()]);
    let (policy, quotas) = (policy(vec![acme]), Counting::default());

    ask(&get("https://acme.test/x"), &policy, &quotas, &Empty).permit();
    let judged = ask(&get("https://acme.test/x"), &policy, &quotas, &Empty);

    let found: Vec<_> = judged
        .trail
        .steps()
        .iter()
        .map(|step| (step.stage, step.deny.as_ref().map(|deny| deny.reason)))
        .collect();
    assert_eq!(
        found,
        [
            (Stage::IpAccess, Some(Reason::IpDenied)),
            (Stage::QuotaBefore, Some(Reason::QuotaExceeded)),
            (Stage::Session, Some(Reason::SessionMissing))
        ]
    );
    judged.permit();
}

#[test]
fn a_ca_is_answered_before_the_tenant_and_only_where_it_comes() {
    let (policy, challenges) = (strict(), std::sync::Arc::new(octroi::store::Challenges::default()));
    let judged = |request: octroi::replay::Request| {
        let (mut facts, mut trail) =
            (octroi::pipeline::RequestFacts::default(), octroi::model::Trail::brief());
        let stores = octroi::pipeline::Stores {
            quotas: &Empty,
            revocations: &Empty,
            challenges: &challenges,
            key_sets: &octroi::store::KeySets::default(),
        };
        let view = request.view(NOW, octroi::model::Tick::default());
        match now_or_never(octroi::pipeline::judge(&view, &policy, stores, &mut facts, &mut trail)) {
            Ok(octroi::pipeline::Disposition::Challenge(answer)) => answer.to_string(),
            Ok(octroi::pipeline::Disposition::Redirect(location)) => location,
            Ok(octroi::pipeline::Disposition::Permit(_)) => "permit".to_owned(),
            Err(deny) => deny.reason.code().to_owned(),
        }
    };
    let place = |host: &str, token: &str| get(&format!("https://{host}/.well-known/acme-challenge/{token}"));
    let host = "new.test".parse().unwrap();

    assert_eq!(judged(place("new.test", "token").at("http")), "host_unknown");
    let running =
        challenges.begin(&host, octroi::policy::AcmeChallenge::Http01, "token", "token.print").unwrap();
    assert_eq!(judged(place("new.test", "token").at("http")), "token.print");
    assert_eq!(judged(place("new.test", "token").at("http").method("HEAD")), "token.print");
    assert_eq!(judged(place("new.test", "other").at("http")), "route_none");
    assert_eq!(judged(place("new.test", "token?x=y").at("http")), "route_none");
    // Not over TLS, not for other hosts, not by other methods, and not with a head that two readers read differently.
    assert_eq!(judged(place("new.test", "token")), "host_unknown");
    assert_eq!(
        judged(place("acme.test", "token").at("http")),
        "https://acme.test/.well-known/acme-challenge/token"
    );
    assert_eq!(judged(place("new.test", "token").at("http").method("POST")), "host_unknown");
    assert_eq!(judged(place("new.test", "a/../token").at("http")), "path_dot_segment");
    drop(running);
    assert_eq!(judged(place("new.test", "token").at("http")), "host_unknown");
}

#[test]
fn a_judgement_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let (policy, request) = (strict(), get("https://acme.test/x"));
    let (mut facts, mut trail) = (octroi::pipeline::RequestFacts::default(), octroi::model::Trail::brief());
    let view = request.view(NOW, octroi::model::Tick::default());

    is_send(&octroi::pipeline::judge(
        &view,
        &policy,
        octroi::pipeline::Stores {
            quotas: &Empty,
            revocations: &Empty,
            challenges: &octroi::store::Challenges::default(),
            key_sets: &octroi::store::KeySets::default(),
        },
        &mut facts,
        &mut trail,
    ));
}

/// Answers nothing at all.
struct Silent;

impl QuotaStore for Silent {
    async fn take(&self, _charges: &[QuotaCharge], _tick: Tick) -> ChargeAnswers {
        ChargeAnswers::in_order(&[], |key, _| panic!("{key:?} was charged"))
    }

    fn give_back(&self, key: &QuotaKey, _limit: Limit, _tick: Tick) {
        panic!("{key:?} was given back")
    }

    fn peek(&self, key: &QuotaKey, _limit: Limit, _tick: Tick) -> QuotaAnswer {
        panic!("{key:?} was looked at")
    }
}

#[test]
fn a_charge_that_the_store_does_not_answer_lets_nobody_pass() {
    let judged = ask(&get("https://acme.test/x").cookie(&token("acme")), &strict(), &Silent, &Empty);

    assert_eq!(judged.reason(), Some(Reason::Internal));
}
