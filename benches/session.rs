//! What a request pays for its session: finding the cookie, opening the token, asking whether it was ended.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::{hint::black_box, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use octroi::{
    model::{RevocationTarget, Secret, SessionId, TenantName, UnixTime},
    session::{
        AssertionKey, Assertions, Claims, KeyRing, MasterKey, Purpose, Roles, Statement, cookie,
        foreign::{
            Algorithm, ClaimPath, Codec, Derivation, Digest, Django, Itsdangerous, Jwt, Mapping, Presented,
            SigningKey, VerifyKey,
        },
        grant,
    },
    sessions::{RevocationStore, SessionLedger, SessionRef},
};
use serde_json::Value;

const COOKIE: &str = "__Host-octroi";

fn claims() -> Claims {
    let time = UnixTime::from_secs;
    Claims {
        id: SessionId::new([7; 16]),
        tenant: "acme".parse().unwrap(),
        user: "u_812".parse().unwrap(),
        roles: Roles::try_new(["admin", "editor"]).unwrap(),
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
    let ring = KeyRing::new(vec![MasterKey { id: 1, secret: Secret::new([1; 32]), open_only: false }]);
    let realm: TenantName = "lobby".parse().unwrap();
    let (claims, nonce) = (claims(), [3; 12]);
    let token = ring.seal(&claims, Purpose::Cookie, &realm, nonce).unwrap();
    let altered = format!("{}AA", token.get(..token.len() - 2).unwrap());
    let line =
        format!("lang=fr; theme=dark; _ga=GA1.2.3.4; csrftoken=abcdef; {COOKIE}={token}; a=1; b=2; c=3");

    let name = cookie::Name::new(COOKIE);
    group.bench_function("open", |b| b.iter(|| ring.open(black_box(&token), Purpose::Cookie, &realm)));
    group.bench_function("open_altered", |b| {
        b.iter(|| ring.open(black_box(&altered), Purpose::Cookie, &realm))
    });
    group
        .bench_function("seal", |b| b.iter(|| ring.seal(black_box(&claims), Purpose::Cookie, &realm, nonce)));
    group.bench_function("hash", |b| b.iter(|| ring.session_hash(black_box(&claims.id))));
    group.bench_function("cookie_find", |b| {
        b.iter(|| cookie::find(std::iter::once(black_box(line.as_bytes())), &name))
    });
    // The parser of the `cookie` crate into its jar, which reads and keeps every cookie.
    group.bench_function("cookie_find/cookie_jar", |b| {
        b.iter(|| {
            let mut jar = ::cookie::CookieJar::new();
            ::cookie::Cookie::split_parse(black_box(line.as_str()))
                .flatten()
                .for_each(|cookie| jar.add_original(cookie.into_owned()));
            jar.get(COOKIE).map(|cookie| cookie.value().len())
        });
    });
    let names = cookie::Names { own: COOKIE, foreign: &[], keep_foreign: true };
    group.bench_function("cookie_strip", |b| {
        b.iter(|| cookie::strip(std::iter::once(black_box(line.as_bytes())), names))
    });
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
        let journal = Arc::new(SessionLedger::open(dir.path(), now).unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Writers that wait for the disk together share a commit.
        std::thread::scope(|scope| {
            for thread in 0..64_u64 {
                let (journal, runtime, end) = (&journal, &runtime, claims.absolute_end);
                scope.spawn(move || {
                    for number in (thread..count).step_by(64) {
                        let id = SessionId::new((u128::from(number) << 64 | 1).to_be_bytes());
                        runtime.block_on(journal.end(&RevocationTarget::Session(id), now, end)).unwrap();
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
                journal.lookup(
                    SessionRef {
                        tenant: &claims.tenant,
                        user: &claims.user,
                        id: black_box(&id),
                        auth_time: claims.auth_time,
                        epoch: 0,
                    },
                    now,
                )
            });
        });
        // One map of sessions only; the journal asks three: the session, its user, its tenant.
        let cache =
            moka::sync::Cache::<SessionId, ()>::builder().build_with_hasher(ahash::RandomState::new());
        (0..count).for_each(|number| {
            cache.insert(SessionId::new((u128::from(number) << 64 | 1).to_be_bytes()), ())
        });
        cache.run_pending_tasks();
        group.bench_function(BenchmarkId::new("lookup_live/moka", count), |b| {
            b.iter(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                cache.get(black_box(&SessionId::new((u128::from(state) << 32).to_be_bytes())))
            });
        });
    }
    group.finish();
}

/// What the signed statement of who asks costs a request.
fn assertion(c: &mut Criterion) {
    let mut group = c.benchmark_group("assertion");
    // PKCS#8 around 32 bytes (RFC 8410, section 7).
    let der =
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]].concat();
    let assertions = Assertions::new(vec![AssertionKey::from_pkcs8(&der).unwrap()], "octroi");
    let statement = Statement {
        audience: "app",
        user: "u_812",
        tenant: "acme",
        realm: "lobby",
        roles: &["admin", "editor"],
        session: "292baa1381b7f031",
        auth_time: UnixTime::from_secs(1_800_000_000),
        request_id: "01M87CM9JTMMAB4J834AX3XF39",
    };

    group.bench_function("sign", |b| {
        b.iter(|| assertions.sign(black_box(&statement), UnixTime::from_secs(1_800_000_100)))
    });
    group.finish();
}

/// What the sessions of apps cost, beside jsonwebtoken over the same tokens.
fn foreign(c: &mut Criterion) {
    let mut group = c.benchmark_group("foreign");
    let read = |format: &str| -> Value {
        let path = format!("{}/tests/vectors/foreign_{format}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap().to_owned();
    let good = |vectors: &Value, name: &str| {
        let list = vectors.get("good").and_then(Value::as_array).unwrap();
        text(list.iter().find(|vector| text(vector, "name") == name).unwrap(), "text")
    };
    let mapping = |user: &str| Mapping {
        user: ClaimPath::named(user),
        roles: Some(ClaimPath::named("roles")),
        tenant: Some(ClaimPath::named("tenant")),
        auth_time: None,
        session: None,
        max_age: Some(std::time::Duration::from_secs(3600)),
    };
    let realm: TenantName = "acme".parse().unwrap();
    fn key<K>(key: K) -> SigningKey<K> {
        SigningKey { id: "k".into(), tenants: None, key }
    }
    let mut run = |name: &str, codec: &Codec, user: &str, token: &str| {
        let mapping = mapping(user);
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| {
                let authentic = codec.open(Presented { text: black_box(token), signature: None }).unwrap();
                mapping.claims(codec.format(), &authentic, &realm).unwrap()
            });
        });
    };

    let jwt = read("jwt");
    for wire in jwt.get("keys").and_then(Value::as_array).unwrap() {
        let (name, kid) = (text(wire, "algorithm"), text(wire, "id"));
        let algorithm = Algorithm::named(&name).unwrap();
        let der = wire.get("spki").map(|_| STANDARD.decode(text(wire, "spki")).unwrap());
        let verify = match &der {
            Some(der) => VerifyKey::public(algorithm, der),
            None => VerifyKey::shared(algorithm, Secret::new(text(wire, "secret").into_bytes())),
        };
        let keys = vec![SigningKey { id: kid.clone().into(), ..key(verify.unwrap()) }];
        let codec = Codec::Jwt(Jwt {
            keys,
            sets: Vec::new(),
            issuer: Some(text(&jwt, "issuer").into()),
            audience: ["app".into()].into(),
            without_exp: false,
        });
        let token = good(&jwt, &format!("signed with {kid}"));
        run(&name, &codec, "sub", &token);
    }
    let flask = read("itsdangerous");
    let secret = text(flask.get("keys").and_then(|keys| keys.get(0)).unwrap(), "secret");
    let derived = Itsdangerous::key(secret.as_bytes(), b"cookie-session", Digest::Sha1, Derivation::Hmac);
    let codec = Codec::Itsdangerous(Itsdangerous { keys: vec![key(derived)] });
    run("flask", &codec, "_user_id", &good(&flask, "a login"));
    let django = read("django");
    let secret = text(django.get("keys").and_then(|keys| keys.get(0)).unwrap(), "secret");
    let derived = Django::key(secret.as_bytes(), text(&django, "salt").as_bytes(), Digest::Sha256);
    run(
        "django",
        &Codec::Django(Django { keys: vec![key(derived)] }),
        "_auth_user_id",
        &good(&django, "a login"),
    );

    for (name, kid) in [("HS256", "hs256"), ("ES256", "es256")] {
        let wire = jwt
            .get("keys")
            .and_then(Value::as_array)
            .unwrap()
            .iter()
            .find(|wire| text(wire, "id") == kid)
            .unwrap();
        let algorithm: jsonwebtoken::Algorithm = name.parse().unwrap();
        let decoding = match wire.get("spki") {
            // It wants the point, which is the end of the key.
            Some(_) => {
                let der = STANDARD.decode(text(wire, "spki")).unwrap();
                jsonwebtoken::DecodingKey::from_ec_der(der.get(der.len() - 65..).unwrap())
            }
            None => jsonwebtoken::DecodingKey::from_secret(text(wire, "secret").as_bytes()),
        };
        let mut validation = jsonwebtoken::Validation::new(algorithm);
        validation.set_audience(&["app"]);
        validation.set_issuer(&[text(&jwt, "issuer")]);
        validation.validate_exp = false;
        let token = good(&jwt, &format!("signed with {kid}"));
        group.bench_function(BenchmarkId::new("jsonwebtoken", name), |b| {
            b.iter(|| jsonwebtoken::decode::<Value>(black_box(&token), &decoding, &validation).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, token, revocation, assertion, foreign);
criterion_main!(benches);
