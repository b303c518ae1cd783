//! The pure checks together: a request that passes all of them, beside the stores' own cost.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may fail loudly"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use octroi::{
    checks::{client, hygiene, route, tenant as host},
    model::{PathRules, QuotaAnswer, Tick},
    pipeline::Stores,
    policy::{Policy, QuotaBy, Route, RouteAccess},
    replay::Request,
    store::{Challenges, ChargeAnswers, KeySets, QuotaCharge, QuotaKey, QuotaStore},
};
use support::*;

/// Always has one more: the table's own cost is another bench's.
#[derive(Debug)]
struct Plenty;

impl QuotaStore for Plenty {
    async fn take(&self, charges: &[QuotaCharge], tick: Tick) -> ChargeAnswers {
        ChargeAnswers::in_order(charges, |key, limit| self.peek(key, limit, tick))
    }

    fn give_back(&self, _: &QuotaKey, _: octroi::quota::Limit, _: Tick) {}

    fn peek(&self, _: &QuotaKey, _: octroi::quota::Limit, _: Tick) -> QuotaAnswer {
        QuotaAnswer::Taken { remaining: 7, reset: std::time::Duration::from_secs(1) }
    }
}

fn rules() -> Policy {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.ip_access = allow(&["198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"]);
    acme.quotas =
        Box::new([quota("client", QuotaBy::Client, 9).into(), quota("tenant", QuotaBy::Tenant, 9).into()]);
    let paths = ["/public/", "/login", "/logout", "/api/v1/", "/api/v2/", "/static/"];
    acme.routes = table(paths.iter().map(|path| route(path, RouteAccess::Public)).collect());
    let mut open = tenant("open", &["open.test"]);
    open.routes = table(vec![
        free("/"),
        route("/admin/", RouteAccess::Session),
        route("/api/users/accounts/", RouteAccess::Public),
    ]);
    policy(vec![acme, open, tenant("other", &["other.test"])])
}

/// A rule that lets a path have all that a rule can let it have.
fn free(path: &str) -> Route {
    let all = PathRules {
        allow_encoded_slash: true,
        allow_path_parameters: true,
        merge_slashes: true,
        allow_double_encoding: true,
    };
    Route { path: all, ..route(path, RouteAccess::Public) }
}

/// What a browser sends.
fn browser(url: &str) -> Request {
    get(url)
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "fr-CA,fr;q=0.8,en-CA;q=0.5,en;q=0.3")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("connection", "keep-alive")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .header("priority", "u=0, i")
}

/// The requests that are judged, by name.
fn requests() -> [(&'static str, Request); 3] {
    let anonymous = browser("https://acme.test/api/v1/items/42?page=2");
    let signed_in = browser("https://acme.test/items/42?page=2")
        .header("cookie", &format!("lang=fr; __Host-octroi={}", token("acme")));
    let multiplexed = anonymous.clone().changed(|request| drop(request.headers.remove("connection"))).h2();
    [("public_h1", anonymous), ("public_h2", multiplexed), ("session_h1", signed_in)]
}

/// Hands on a function that judges the request once.
fn judging<T>(request: &Request, measure: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
    let policy = rules();
    let challenges = Challenges::default();
    let stores = Stores {
        quotas: &Plenty,
        revocations: &LIVE,
        challenges: &challenges,
        key_sets: &KeySets::default(),
    };
    measure(&mut || {
        let (mut facts, mut trail) =
            (octroi::pipeline::RequestFacts::default(), octroi::model::Trail::brief());
        let view = request.view(NOW, Tick::from_nanos(1));
        let disposition =
            now_or_never(octroi::pipeline::judge(black_box(&view), &policy, stores, &mut facts, &mut trail));
        assert!(disposition.is_ok());
        drop(black_box(disposition));
    })
}

fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    for (name, request) in requests() {
        group.bench_function(name, |bench| judging(&request, |judge| bench.iter(judge)));
    }
    group.finish();
}

/// What a path costs that is long, or that apps read in many ways: nobody may make it dear.
fn paths(c: &mut Criterion) {
    let mut policy = rules();
    (policy.limits.path_bytes, policy.limits.uri_bytes) = (8 << 10, 16 << 10);
    (policy.limits.header_bytes, policy.limits.field_bytes) = (32 << 10, 16 << 10);
    let challenges = Challenges::default();
    let stores = Stores {
        quotas: &Plenty,
        revocations: &LIVE,
        challenges: &challenges,
        key_sets: &KeySets::default(),
    };
    let long = |piece: &str, end: &str| format!("/{}{end}", piece.repeat((7_900 - end.len()) / piece.len()));
    let wide = "%2561%EF%BD%81/%C4%B0";
    let busy = "a;x%2Fb%3By%252Fc%253Bz%2561//d;%2F%2F;q/e%2f%252f%EF%BC%9B/a%EF%BC%8F;x%3F";
    let cases = [
        ("short", "acme.test", "/a".to_owned()),
        ("plain", "acme.test", long("items/abcdefgh-", "")),
        ("mixed_case", "acme.test", long("Items/AbcDefgh-", "")),
        ("letters", "acme.test", long("%C3%A9t%C3%A9/", "")),
        ("dots", "acme.test", long("a.b/", "")),
        ("strict", "acme.test", long(wide, "%3F")),
        ("strict_ends_odd", "acme.test", long(wide, ".")),
        ("options", "open.test", long(wide, "%3F;x/%2Fy")),
        ("options_short", "open.test", format!("/{busy}{busy}%3F%253F/;y%2F%3B%252F")),
        ("options_slashes", "open.test", long("a%2Fb%252F", "")),
        ("options_all", "open.test", long(busy, "%3F%253F/;y%2F%3B%252F")),
    ];
    let mut group = c.benchmark_group("paths");
    for (name, host, path) in &cases {
        let request = browser(&format!("https://{host}/")).changed(|request| {
            request.target = path.as_bytes().to_vec();
            drop(request.headers.remove("connection"));
        });
        let request = request.h2();
        group.bench_function(*name, |bench| {
            bench.iter(|| {
                let (mut facts, mut trail) =
                    (octroi::pipeline::RequestFacts::default(), octroi::model::Trail::brief());
                let view = request.view(NOW, Tick::from_nanos(1));
                now_or_never(octroi::pipeline::judge(
                    black_box(&view),
                    &policy,
                    stores,
                    &mut facts,
                    &mut trail,
                ))
            });
        });
    }
    group.finish();
}

/// Judges one of the requests so many times and nothing else: `scripts/bench-instructions.sh` counts what that takes.
fn counted(name: &str, times: &str) {
    let times: u32 = times.parse().expect("a number of times");
    let (_, request) =
        requests().into_iter().find(|(known, _)| *known == name).expect("a request of that name");
    judging(&request, |judge| (0..times).for_each(|_| judge()));
}

fn checks(c: &mut Criterion) {
    let policy = rules();
    let request = browser("https://acme.test/api/v1/items/42?page=2");
    let view = request.view(NOW, Tick::from_nanos(1));
    let clean = hygiene::check(&view, &policy.limits).unwrap();
    let door = client::check(&view, &policy).unwrap();
    let realm = host::find(&view, &clean, door.listener, &policy).unwrap();
    let mut group = c.benchmark_group("checks");
    group.bench_function("lint", |bench| {
        bench.iter(|| hygiene::lint(black_box(view.head.unwrap()), &policy.limits))
    });
    group.bench_function("hygiene", |bench| bench.iter(|| hygiene::check(black_box(&view), &policy.limits)));
    group.bench_function("client", |bench| bench.iter(|| client::check(black_box(&view), &policy)));
    group.bench_function("tenant", |bench| {
        bench.iter(|| host::find(&view, black_box(&clean), door.listener, &policy))
    });
    group.bench_function("route", |bench| bench.iter(|| route::find(black_box(&clean), realm)));
    group.finish();
}

criterion_group!(benches, pipeline, paths, checks);

/// `pipeline --count NAME TIMES`, or what criterion reads.
fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, flag, name, times] = words.as_slice()
        && flag == "--count"
    {
        return counted(name, times);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
