//! What a request pays for its session: finding the cookie, opening the token, asking whether it was ended.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use octroi::{
    model::{Revoked, Secret, SessionId, TenantName, UnixTime},
    session::{Claims, MasterKey, Purpose, Ring, cookie, grant},
    state::{Journal, RevocationStore},
};

const COOKIE: &str = "__Host-octroi";

fn claims() -> Claims {
    let time = UnixTime::from_secs;
    Claims {
        id: SessionId::new([7; 16]),
        tenant: "acme".parse().unwrap(),
        user: "u_812".parse().unwrap(),
        roles: vec!["admin".into(), "editor".into()],
        issued: time(1_800_000_000),
        auth_time: time(1_800_000_000),
        not_before: time(1_800_000_000),
        idle_end: time(1_800_001_800),
        absolute_end: time(1_800_043_200),
        generation: 0,
        epoch: 0,
        binding: None,
    }
}

fn token(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    let ring = Ring::new(vec![MasterKey { id: 1, secret: Secret::new([1; 32]), open_only: false }]);
    let realm: TenantName = "lobby".parse().unwrap();
    let (claims, nonce) = (claims(), [3; 12]);
    let token = ring.seal(&claims, Purpose::Cookie, &realm, nonce).unwrap();
    let altered = format!("{}AA", token.get(..token.len() - 2).unwrap());
    let line = format!("lang=fr; theme=dark; _ga=GA1.2.3.4; csrftoken=abcdef; {COOKIE}={token}; a=1; b=2; c=3");

    group.bench_function("open", |b| b.iter(|| ring.open(black_box(&token), Purpose::Cookie, &realm)));
    group.bench_function("open_altered", |b| b.iter(|| ring.open(black_box(&altered), Purpose::Cookie, &realm)));
    group.bench_function("seal", |b| b.iter(|| ring.seal(black_box(&claims), Purpose::Cookie, &realm, nonce)));
    group.bench_function("hash", |b| b.iter(|| ring.session_hash(black_box(&claims.id))));
    group.bench_function("cookie_find", |b| b.iter(|| cookie::find(std::iter::once(black_box(line.as_bytes())), COOKIE)));
    let names = cookie::Names { own: COOKIE, foreign: &[], keep_foreign: true };
    group.bench_function("cookie_strip", |b| b.iter(|| cookie::strip(std::iter::once(black_box(line.as_bytes())), names)));
    let field: &[u8] = br#"user="u_812", roles=("admin" "editor"), tenant="acme", absolute=28800"#;
    group.bench_function("grant_parse", |b| b.iter(|| grant::parse(black_box(&[field]))));
    group.finish();
}

fn revocation(c: &mut Criterion) {
    let mut group = c.benchmark_group("revocation");
    let (claims, now) = (claims(), UnixTime::from_secs(1_800_000_100));
    for count in [0_u64, 1000, 1_000_000] {
        // In memory where there is such a place: a million commits to a disk take minutes.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let journal = Journal::open(dir.path(), now).unwrap();
        // Writers that wait for the disk together share a commit.
        std::thread::scope(|scope| {
            for thread in 0..64_u64 {
                let (journal, end) = (&journal, claims.absolute_end);
                scope.spawn(move || {
                    for number in (thread..count).step_by(64) {
                        let id = SessionId::new((u128::from(number) << 64 | 1).to_be_bytes());
                        journal.revoke(&Revoked::Session(id), now, end).unwrap();
                    }
                });
            }
        });
        journal.settle_tenants([&claims.tenant].into_iter(), now).unwrap();
        let mut state = 1_u64;
        group.bench_function(BenchmarkId::new("lookup_live", count), |b| {
            b.iter(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let id = SessionId::new((u128::from(state) << 32).to_be_bytes());
                journal.lookup(&claims.tenant, &claims.user, black_box(&id), claims.auth_time, 0, now)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, token, revocation);
criterion_main!(benches);
