//! THE ORDER of the answer: an answer asks for several things at once, and the table says what is done, in
//! which order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::{sync::Mutex, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use octroi::{
    model::{Reason, SessionEvent, SessionId, TenantName, UnixTime, UserId},
    pipeline::{
        OnSessionEnd, Permit,
        answer::{
            AnswerInputs, AnswerView, SessionStore, StoreFailure, WallClock, judge_answer, on_answer_head,
            on_judged_answer, on_stream,
        },
    },
    policy::{Granting, Policy, RouteAccess},
    session::{Admission, Claims, HeldSession, Purpose, cookie},
    sessions::{GrantLimits, GrantRecord},
};
use proptest::prelude::*;
use support::*;

const GRANT: (&str, &str) = ("octroi-session-grant", "user=\"u_2\"");
const OWN: (&str, &str) = ("octroi-session-revoke", "self");
const TO_PROVIDER: (&str, &str) = ("location", "https://idp.test/?state=abc");
/// Of a session that has used more than a fourth of its idle time.
const OLD: Duration = Duration::from_secs(600);

/// Writes down what it is asked, and fails where it is told to.
#[derive(Debug, Default)]
struct Store {
    asked: Mutex<Vec<String>>,
    fails: &'static str,
    refuses: bool,
    surplus: bool,
}

impl Store {
    fn note(&self, what: String) -> Result<(), StoreFailure> {
        let fails = what == self.fails;
        self.asked.lock().unwrap().push(what);
        if fails { Err(StoreFailure("the disk is full".to_owned())) } else { Ok(()) }
    }
}

/// The session that asked, a surplus one, or the new one.
fn name(id: SessionId) -> &'static str {
    match id.as_bytes()[0] {
        1 => "own",
        2 => "surplus",
        _ => "new",
    }
}

impl SessionStore for Store {
    fn epoch(&self, _: &TenantName, _: UnixTime) -> u32 {
        3
    }

    async fn grant(
        &self,
        record: GrantRecord,
        _: GrantLimits,
        replaces: Option<SessionId>,
        now: UnixTime,
    ) -> Result<Admission, StoreFailure> {
        let late = now.as_millis() - NOW.as_millis();
        let replaces = replaces.map_or("none", name);
        self.note(format!("grant {} +{late}ms for {replaces}", record.user))?;
        if self.refuses {
            return Ok(Admission::Refused(5));
        }
        let held = HeldSession { granted: NOW, id: SessionId::new([2; 16]), ends: NOW };
        Ok(Admission::Granted(if self.surplus { vec![held] } else { Vec::new() }))
    }

    async fn end_session(
        &self,
        _: &TenantName,
        id: SessionId,
        _: UnixTime,
        _: UnixTime,
    ) -> Result<(), StoreFailure> {
        self.note(format!("end {}", name(id)))
    }

    async fn end_user(
        &self,
        _: &TenantName,
        user: UserId,
        _: UnixTime,
        _: UnixTime,
    ) -> Result<(), StoreFailure> {
        self.note(format!("end all of {user}"))
    }

    fn take_renewal(&self, id: &SessionId, _: Duration) -> bool {
        self.note(format!("renew {}", name(*id))).is_ok()
    }
}

/// A realm where the app may begin and end sessions, and sign-ins begin, at `/sign`; elsewhere it may not.
fn policy() -> Policy {
    let mut acme = tenant("acme", &["acme.test"]);
    let mut sign = route("/sign", RouteAccess::Session);
    (sign.grant, sign.revoke, sign.begins_sign_in) = (Granting::Directly, true, true);
    let mut back = route("/back", RouteAccess::Public);
    back.grant = Granting::Callback;
    acme.routes = table(vec![sign, back]);
    support::policy(vec![acme])
}

/// A permit of a request with a session that is so old.
fn permit(path: &str, age: Duration, policy: &Policy) -> Permit {
    let begun = NOW.minus(age);
    let claims = Claims {
        id: SessionId::new([1; 16]),
        issued: begun,
        auth_time: begun,
        not_before: begun,
        idle_end: begun.plus(Duration::from_secs(1800)),
        ..claims("acme")
    };
    let token = seal(&claims, Purpose::Cookie, "acme");
    judged(&get(&format!("https://acme.test{path}")).cookie(&token), policy).permit()
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// One answer.
struct Case<'a> {
    path: &'a str,
    age: Duration,
    status: u16,
    fields: &'a [(&'a str, &'a str)],
    store: Store,
    clock: WallClock,
    without_session: bool,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            path: "/sign",
            age: OLD,
            status: 200,
            fields: &[],
            store: Store::default(),
            clock: WallClock::Trusted,
            without_session: false,
        }
    }
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    refused: Option<Reason>,
    asked: Vec<String>,
    events: Vec<SessionEvent>,
    session_cookie: Option<String>,
    sign_in_cookies: Vec<String>,
    begins: bool,
    does: Option<OnSessionEnd>,
    ignored: Option<String>,
}

fn find(case: Case<'_>) -> Found {
    let policy = policy();
    let permit = permit(case.path, case.age, &policy);
    let headers = map(case.fields);
    let view = AnswerView {
        status: case.status,
        headers: &headers,
        request_headers: &HeaderMap::new(),
        certificate: None,
        without_session: case.without_session,
    };
    let inputs =
        AnswerInputs { store: &case.store, now: NOW, clock: case.clock, random: |bytes| bytes.fill(9) };
    let mut events = Vec::new();
    let verdict = now_or_never(judge_answer(&view, &permit, &policy, inputs, &mut events));
    let refused = verdict.as_ref().err().map(|deny| deny.reason);
    let decision = verdict.unwrap_or_default();
    Found {
        refused,
        asked: case.store.asked.into_inner().unwrap(),
        events,
        does: on_judged_answer(&permit, &decision),
        session_cookie: decision.session_cookie,
        sign_in_cookies: decision.sign_in_cookies,
        begins: decision.begun.is_some(),
        ignored: decision.ignored,
    }
}

#[test]
fn one_step_after_the_other() {
    use SessionEvent::{EndedByLimit, GrantIgnored, Granted, Renewed, RevokeIgnored, Revoked};
    let both = &[OWN, GRANT][..];
    let ambiguous = ("content-length", "+1");
    let malformed = ("octroi-session-grant", "user");
    let fails = |fails| Store { fails, ..Store::default() };
    let surplus = |fails| Store { fails, surplus: true, ..Store::default() };

    // What the answer says, what fails, what is refused, what the store is asked in which order, and what is
    // counted.
    type Row<'a> =
        (&'a str, &'a [(&'a str, &'a str)], Store, Option<Reason>, &'a [&'a str], &'a [SessionEvent]);
    let rows: &mut [Row<'_>] = &mut [
        ("framing first", &[OWN, GRANT, ambiguous], fails(""), Some(Reason::UpstreamProtocol), &[], &[]),
        (
            "a revocation that fails ends all",
            both,
            fails("end own"),
            Some(Reason::RevocationUnavailable),
            &["end own"],
            &[],
        ),
        (
            "revocation before grant, which begins after it",
            both,
            fails(""),
            None,
            &["end own", "grant u_2 +1ms for own", "end own"],
            &[Revoked, Granted],
        ),
        ("a sign-out is no renewal", &[OWN], fails(""), None, &["end own"], &[Revoked]),
        (
            "others' sign-out, and a renewal",
            &[("octroi-session-revoke", "user=\"u_9\"")],
            fails(""),
            None,
            &["end all of u_9", "renew own"],
            &[Revoked, Renewed],
        ),
        (
            "what is revoked stays so where the grant is refused",
            &[OWN, malformed],
            fails(""),
            Some(Reason::GrantMalformed),
            &["end own"],
            &[Revoked],
        ),
        (
            "a malformed revocation is ignored",
            &[("octroi-session-revoke", "all"), GRANT],
            fails(""),
            None,
            &["grant u_2 +1ms for own", "end own"],
            &[RevokeIgnored, Granted],
        ),
        (
            "a grant is no renewal",
            &[GRANT],
            fails(""),
            None,
            &["grant u_2 +0ms for own", "end own"],
            &[Granted],
        ),
        (
            "too many sessions end none",
            &[GRANT],
            Store { refuses: true, ..Store::default() },
            Some(Reason::TooManySessions),
            &["grant u_2 +0ms for own"],
            &[],
        ),
        (
            "the surplus ends before the replaced one",
            &[GRANT],
            surplus(""),
            None,
            &["grant u_2 +0ms for own", "end surplus", "end own"],
            &[EndedByLimit, Granted],
        ),
        (
            "where the surplus does not end, the new one does",
            &[GRANT],
            surplus("end surplus"),
            Some(Reason::RevocationUnavailable),
            &["grant u_2 +0ms for own", "end surplus", "end new"],
            &[],
        ),
        (
            "uncounted is granted without a limit",
            &[GRANT],
            fails("grant u_2 +0ms for own"),
            None,
            &["grant u_2 +0ms for own", "end own"],
            &[Granted],
        ),
        ("a renewal where nothing is said", &[], fails(""), None, &["renew own"], &[Renewed]),
        ("a renewal of which another request was told", &[], fails("renew own"), None, &["renew own"], &[]),
    ];
    for (what, fields, store, refused, asked, events) in rows {
        let found = find(Case { fields, store: std::mem::take(store), ..Case::default() });

        assert_eq!((found.refused, &*found.events), (*refused, *events), "{what}");
        assert_eq!(found.asked, *asked, "{what}");
    }

    let ignored = find(Case { fields: &[GRANT], status: 401, ..Case::default() });
    assert_eq!((ignored.events, ignored.begins), (vec![GrantIgnored, Renewed], false));
}

#[test]
fn a_clock_that_is_not_believed_begins_nothing() {
    let clock = WallClock::Stepped { trusted_in: Some(Duration::from_secs(5)) };

    let found = find(Case { fields: &[OWN, GRANT], clock, ..Case::default() });

    assert_eq!((found.refused, found.asked), (Some(Reason::ClockStepped), vec!["end own".to_owned()]));
    let renewed = find(Case { clock, ..Case::default() });
    assert!(renewed.session_cookie.is_some(), "a renewal lives no longer for it");
}

#[test]
fn where_no_rule_allows_it_all_is_ignored() {
    let found = find(Case { path: "/other", fields: &[OWN, GRANT], ..Case::default() });

    assert_eq!(
        found.events,
        [SessionEvent::RevokeIgnored, SessionEvent::GrantIgnored, SessionEvent::Renewed]
    );
    assert_eq!(found.asked, ["renew own"]);
    assert_eq!(
        found.ignored.as_deref(),
        Some("the upstream's grant is ignored: the rule `*` has no `grant`"),
        "the last is told"
    );
}

#[test]
fn the_cookie_of_a_session_that_has_ended_stays_as_it_is() {
    let of = |fields| find(Case { fields, without_session: true, ..Case::default() });

    assert_eq!((of(&[]).session_cookie, of(&[]).asked.len()), (None, 0));
    assert_eq!(of(&[OWN]).session_cookie, None);
    let granted = of(&[GRANT]);
    assert!(granted.begins && granted.session_cookie.is_some());
    assert_eq!(granted.asked, ["grant u_2 +1ms for none"]);
}

#[test]
fn a_session_in_its_first_fourth_is_not_renewed() {
    let asked = |age| find(Case { age: Duration::from_secs(age), ..Case::default() }).asked;

    assert_eq!((asked(449), asked(450)), (vec![], vec!["renew own".to_owned()]));
}

#[test]
fn cookies_say_what_was_done_and_a_refused_answer_sets_none() {
    let cookies = |fields, store| {
        let found = find(Case { status: 302, fields, store, ..Case::default() });
        let kind = |value: String| if value == cookie::clear("__Host-octroi") { "cleared" } else { "set" };
        (found.session_cookie.map(kind), found.sign_in_cookies.len())
    };

    assert_eq!(cookies(&[OWN], Store::default()), (Some("cleared"), 0));
    assert_eq!(cookies(&[OWN, GRANT, TO_PROVIDER], Store::default()), (Some("set"), 1));
    assert_eq!(cookies(&[TO_PROVIDER], Store::default()), (Some("set"), 1), "renewed, and a mark");
    let fails = Store { fails: "end own", ..Store::default() };
    assert_eq!(cookies(&[OWN, TO_PROVIDER], fails), (None, 0));
}

#[test]
fn the_answer_says_with_which_session_the_exchange_ends() {
    let policy = policy();
    let permit = |path| permit(path, OLD, &policy);
    let head = |path, fields| on_answer_head(&permit(path), &map(fields));
    let does = |path, fields| find(Case { path, fields, ..Case::default() }).does;
    let events = map(&[("content-type", "text/event-stream")]);

    assert_eq!(head("/sign", &[OWN]), None, "it may be a sign-out");
    assert_eq!(head("/sign", &[OWN, GRANT]), Some(OnSessionEnd::Ends));
    assert_eq!(head("/sign", &[]), Some(OnSessionEnd::Ends));
    assert_eq!(head("/other", &[]), None);
    assert_eq!(does("/sign", &[OWN]), Some(OnSessionEnd::Nothing));
    assert_eq!(does("/sign", &[]), Some(OnSessionEnd::Ends));
    assert_eq!(does("/other", &[OWN]), None);
    let mut stream = permit("/other");
    assert_eq!(on_stream(&stream, &events), Some(OnSessionEnd::Ends));
    assert_eq!(on_stream(&stream, &HeaderMap::new()), None);
    stream.set_on_session_end(OnSessionEnd::Nothing);
    assert_eq!(on_stream(&stream, &events), None);
}

/// Lines of which an answer may have any, in any order.
const LINES: [(&str, &str); 9] = [
    ("octroi-session-grant", "user=\"u_2\""),
    ("octroi-session-grant", "roles=(\"admin\")"),
    OWN,
    TO_PROVIDER,
    ("content-length", "5"),
    ("transfer-encoding", "chunked"),
    ("set-cookie", "a=b"),
    ("content-type", "text/event-stream"),
    ("cache-control", "public"),
];

proptest! {
    #[test]
    fn no_order_of_fields_changes_the_decision(
        lines in prop::sample::subsequence(LINES.to_vec(), 0..=LINES.len()),
        seed in any::<u64>(),
        status in prop::sample::select(vec![200, 302, 401]),
    ) {
        let mut shuffled = lines.clone();
        shuffled.sort_by_key(|line| {
            use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
            BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, line))
        });

        let of = |fields: &[(&str, &str)]| find(Case { fields, status, ..Case::default() });

        prop_assert_eq!(of(&lines), of(&shuffled));
    }
}
