//! `octroi explain` as a library: the real pipeline, every step with its rule, and nobody is charged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use octroi::{
    model::{HttpVersion, Mode, Tick},
    pipeline::Stores,
    policy::{ClientIpHeader, IpSet, ListenerKind, Policy, QuotaBy},
    replay::{DescribeError, Described, Explained, Outcome, Sni, explain},
    store::{Challenges, KeySets},
};
use support::*;

fn strict() -> Policy {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.ip_access = allow(&["192.0.2.0/24"]);
    acme.quotas = Box::new([quota("q", QuotaBy::Client, 1).into()]);
    policy(vec![acme, tenant("other", &["other.test"])])
}

fn described(url: &str) -> Described {
    Described {
        certificate: None,
        listener: None,
        version: HttpVersion::Http11,
        method: "GET".into(),
        url: url.into(),
        client: [192, 0, 2, 1].into(),
        sni: Sni::Host,
        cookie: None,
        bearer: None,
        headers: Vec::new(),
        head: None,
    }
}

fn told(described: &Described, policy: &Policy) -> Explained {
    explain(
        described,
        policy,
        Stores {
            quotas: &Counting::default(),
            revocations: &LIVE,
            challenges: &Challenges::default(),
            key_sets: &KeySets::default(),
        },
        NOW,
        Tick::from_nanos(1),
    )
    .unwrap()
}

fn ending(explained: &Explained) -> (&'static str, Option<&'static str>, Option<String>) {
    let refusal = explained.refusal.clone();
    (
        explained.decision,
        refusal.as_ref().map(|refusal| refusal.reason),
        refusal.and_then(|refusal| refusal.rule),
    )
}

#[test]
fn every_step_names_its_rule() {
    let explained = told(
        &Described { cookie: Some(token("acme")), ..described("https://acme.test/x?secret=1") },
        &strict(),
    );

    let steps: Vec<_> =
        explained.steps.iter().map(|step| (step.stage, step.outcome, step.rule.as_deref())).collect();
    assert_eq!(
        steps,
        [
            ("hygiene", Outcome::Pass, None),
            ("client", Outcome::Pass, Some("octroi.yaml:2")),
            ("tenant", Outcome::Pass, Some("octroi.yaml:3")),
            ("ip_access", Outcome::Pass, Some("octroi.yaml:5")),
            ("route", Outcome::Pass, Some("octroi.yaml:7")),
            ("quota_before", Outcome::Pass, Some("octroi.yaml:9")),
            ("session", Outcome::Pass, Some("octroi.yaml:3")),
            ("revocation", Outcome::Pass, None),
            ("authorization", Outcome::Pass, Some("octroi.yaml:7")),
        ]
    );
    assert!(explained.steps.iter().all(|step| !step.text.is_empty()));
    assert_eq!((explained.decision, explained.revision.as_str()), ("allow", "0123456789abcdef"));
    assert_eq!(explained.request.user.as_deref(), Some("u_1"));
    assert!(!format!("{explained:?}{explained}").contains("secret"));
}

#[test]
fn a_refusal_names_reason_rule_and_what_the_client_reads() {
    let explained =
        told(&Described { client: [198, 51, 100, 1].into(), ..described("https://acme.test/x") }, &strict());

    assert_eq!(ending(&explained), ("deny", Some("ip_not_allowed"), Some("octroi.yaml:3".into())));
    assert_eq!(explained.client_gets, "403 Forbidden: a fixed text and the request id");
    assert_eq!(explained.steps.last().map(|step| step.outcome), Some(Outcome::Deny));
}

#[test]
fn it_says_which_reading_and_which_rule_decided() {
    let mut acme = tenant("acme", &["acme.test"]);
    let mut open = route("/", octroi::policy::RouteAccess::Public);
    open.path.allow_encoded_slash = true;
    let ops = octroi::policy::Route { origin: line(8), ..route("/ops/", roles("ops")) };
    acme.routes = table(vec![open, ops]);
    let policy = policy(vec![acme]);

    let explained = told(&described("https://acme.test/Ops%2Fusers"), &policy);

    let steps: Vec<_> =
        explained.steps.iter().map(|step| (step.stage, step.text.as_str(), step.rule.as_deref())).collect();
    assert_eq!(
        steps[3..],
        [
            ("ip_access", "tenant `acme` allows every address that it does not deny", Some("octroi.yaml:3")),
            ("route", "`/` allows GET", Some("octroi.yaml:7")),
            (
                "route",
                "an app may read the path as `/ops/users`, so `/ops/` judges too",
                Some("octroi.yaml:8")
            ),
            ("session", "`/ops/` asks for a session, the request has none", Some("octroi.yaml:8")),
        ]
    );
    assert_eq!(ending(&explained), ("deny", Some("session_missing"), Some("octroi.yaml:8".into())));
}

#[test]
fn nobody_is_charged() {
    let (policy, quotas) = (strict(), Counting::default());
    let challenges = Challenges::default();
    let stores = Stores {
        quotas: &quotas,
        revocations: &LIVE,
        challenges: &challenges,
        key_sets: &KeySets::default(),
    };

    for _ in 0..3 {
        let explained =
            explain(&described("https://acme.test/public/"), &policy, stores, NOW, Tick::from_nanos(1))
                .unwrap();
        assert_eq!(explained.decision, "allow");
    }

    assert_eq!(quotas.charged(), [""; 0]);
}

#[test]
fn the_doors_are_chosen_by_scheme_or_by_name() {
    let policy = strict();

    assert_eq!(told(&described("http://acme.test:8081/public/"), &policy).decision, "allow");
    let by_name =
        told(&Described { listener: Some("http".into()), ..described("http://acme.test/a") }, &policy);
    assert_eq!((by_name.decision, by_name.client_gets.as_str()), ("redirect", "308 to https://acme.test/a"));
    let missing = explain(
        &Described { listener: Some("nope".into()), ..described("https://acme.test/") },
        &policy,
        Stores {
            quotas: &Empty,
            revocations: &Empty,
            challenges: &Challenges::default(),
            key_sets: &KeySets::default(),
        },
        NOW,
        Tick::default(),
    );
    assert_eq!(missing, Err(DescribeError::Listener("is named `nope`".into())));
}

#[test]
fn the_handshake_can_be_described() {
    let with = |sni| told(&Described { sni, ..described("https://acme.test/public/") }, &strict());

    assert_eq!(ending(&with(Sni::Named("other.test".parse().unwrap()))).1, Some("sni_mismatch"));
    assert_eq!(ending(&with(Sni::Absent)).1, Some("sni_missing"));
}

#[test]
fn a_head_is_judged_as_it_stands() {
    let with = |head: &str| {
        ending(&told(&Described { head: Some(head.into()), ..described("https://acme.test/") }, &strict())).1
    };

    assert_eq!(with("GET /public/ HTTP/1.1\r\nHost: acme.test\r\n\r\nbody"), None);
    assert_eq!(with("GET /public/ HTTP/1.1\nHost: acme.test\n\n"), Some("head_octet"));
    assert_eq!(
        with(
            "POST /public/ HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        Some("framing_cl_te")
    );
    assert_eq!(with("GET /a b HTTP/1.1\r\nHost: acme.test\r\n\r\n"), Some("head_syntax"));
    assert_eq!(with(""), Some("head_syntax"));
}

#[test]
fn http_2_and_bearer_tokens_can_be_described() {
    let bearer = seal(&claims("acme"), octroi::session::Purpose::Bearer, "acme");
    let described =
        Described { version: HttpVersion::Http2, bearer: Some(bearer), ..described("https://acme.test/x") };

    assert_eq!(told(&described, &strict()).decision, "allow");
}

#[test]
fn what_observe_mode_lets_pass_is_told() {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.mode = Mode::Observe;

    let explained = told(&described("https://acme.test/x"), &policy(vec![acme]));

    assert_eq!((explained.decision, explained.would), ("allow", Some("session_missing")));
    assert!(explained.steps.iter().any(|step| step.outcome == Outcome::WouldDeny));
}

#[test]
fn a_terminal_is_not_steered() {
    let head = "GET /\u{1b}[2J HTTP/1.1\r\nHost: acme.test\r\n\r\n";

    let explained =
        told(&Described { head: Some(head.into()), ..described("https://acme.test/") }, &strict());

    assert!(!explained.to_string().contains('\u{1b}'));
}

#[test]
fn where_a_browser_is_sent_is_told_for_what_browsers_send() {
    let gets = |method: &str, path: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: acme.test\r\nContent-Length: 0\r\n\r\n");
        let explained =
            told(&Described { head: Some(head.into()), ..described("https://acme.test/") }, &strict());
        explained.client_gets.split_once("request id").unwrap().1.to_owned()
    };

    assert_eq!(
        [gets("GET", "/x"), gets("GET", "/login?a=1")],
        ["; a browser that asks for a page: 303 to /login", ""]
    );
    assert_eq!(
        [gets("POST", "/x"), gets("POST", "/login")],
        ["; a browser that sends a form: 303 to /login"; 2]
    );
    assert_eq!([gets("PUT", "/x"), gets("HEAD", "/x")], [""; 2]);
}

#[test]
fn it_reads_as_json() {
    let explained = told(&described("https://acme.test/x"), &strict());

    let json = serde_json::to_value(&explained).unwrap();

    assert_eq!(json["refusal"]["reason"], "session_missing");
    assert_eq!(json["refusal"]["status"], 401);
    assert_eq!(json["steps"][0]["outcome"], "pass");
    assert_eq!(
        json["client_gets"],
        "401 Unauthorized: a fixed text and the request id; a browser that asks for a page: 303 to /login"
    );
}

#[test]
fn a_request_behind_what_ends_tls_is_explained_as_it_comes_from_there() {
    let mut policy = strict();
    let mut front = listener("front", 8082, ListenerKind::Plaintext);
    front.tls_in_front = true;
    front.trusted_proxies = Some(IpSet::new(["10.1.0.0/16".parse().unwrap()]));
    policy.listeners = vec![std::sync::Arc::new(front)];
    let client = |described: &Described, policy: &Policy| {
        let explained = told(described, policy);
        let text = explained.steps.iter().find(|step| step.stage == "client").unwrap().text.clone();
        (explained.request.client.unwrap(), text)
    };
    let own = |name: &str, value: &str| Described {
        headers: vec![(name.into(), value.into())],
        ..described("https://acme.test/x")
    };

    for header in [ClientIpHeader::XForwardedFor, ClientIpHeader::Forwarded] {
        policy.client_ip_header = header;
        for address in ["192.0.2.1", "2001:db8::1"] {
            let asked = Described { client: address.parse().unwrap(), ..described("https://acme.test/x") };
            let expected =
                format!("{address}, according to the forwarding header of 10.1.0.0, a trusted proxy");
            assert_eq!(client(&asked, &policy), (address.to_owned(), expected), "{header:?}");
        }
    }
    // Who describes what the proxy sends describes all of it, and so does who asks as the proxy.
    policy.client_ip_header = ClientIpHeader::XForwardedFor;
    assert_eq!(client(&own("X-Forwarded-Proto", "https"), &policy).1, "192.0.2.1, who connected");
    let itself = Described { client: [10, 1, 2, 3].into(), ..own("X-Forwarded-For", "192.0.2.9") };
    assert_eq!(client(&itself, &policy).0, "192.0.2.9");
    // A plain listener that nobody stands in front of has its clients themselves.
    policy.listeners = vec![std::sync::Arc::new(listener("plain", 8082, ListenerKind::Plaintext))];
    assert_eq!(client(&described("http://acme.test/x"), &policy).1, "192.0.2.1, who connected");
}
