//! Sessions of apps that keep their own login: the vectors of the real libraries, and the rules that hold for them as for our own.
//!
//! The scripts that made the vectors stand beside them, in `tests/vectors/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod support;

use std::time::Duration;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use octroi::{
    model::{Mode, Reason, RevocationAnswer, Secret},
    pipeline::Source,
    policy::{Binding, Foreign, ForeignSessions, Policy, RouteAccess},
    replay::Request,
    session::{
        Purpose,
        foreign::{
            Algorithm, ClaimPath, Codec, Derivation, Digest, Django, Express, Itsdangerous, Jwt, MacKey,
            Mapping, Presented, SigningKey, Style, VerifyKey,
        },
    },
};
use proptest::prelude::*;
use serde_json::Value;
use support::*;

fn vectors(format: &str) -> Value {
    let path = format!("{}/tests/vectors/foreign_{format}.json", env!("CARGO_MANIFEST_DIR"));
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(vectors["now"].as_u64(), Some(NOW.as_secs()));
    vectors
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn key<K>(id: &str, key: K) -> SigningKey<K> {
    SigningKey { id: id.into(), tenants: None, key }
}

fn mapping(user: &[&str], auth_time: Option<&str>, max_age: Option<u64>) -> Mapping {
    Mapping {
        user: ClaimPath(user.iter().map(|&name| name.into()).collect()),
        roles: Some(ClaimPath::named("roles")),
        tenant: Some(ClaimPath::named("tenant")),
        auth_time: auth_time.map(ClaimPath::named),
        session: None,
        max_age: max_age.map(Duration::from_secs),
    }
}

fn jwt() -> Foreign {
    let vectors = vectors("jwt");
    let keys = vectors["keys"].as_array().unwrap().iter().map(|wire| {
        let algorithm = Algorithm::named(wire["algorithm"].as_str().unwrap()).unwrap();
        let verify = match (wire["secret"].as_str(), wire["spki"].as_str()) {
            (Some(secret), None) => VerifyKey::shared(algorithm, Secret::new(secret.as_bytes().to_vec())),
            (None, Some(spki)) => VerifyKey::public(algorithm, &STANDARD.decode(spki).unwrap()),
            _ => panic!("a key is a secret or public"),
        };
        key(wire["id"].as_str().unwrap(), verify.unwrap())
    });
    let codec = Jwt {
        keys: keys.collect(),
        sets: Vec::new(),
        issuer: Some(vectors["issuer"].as_str().unwrap().into()),
        audience: texts(&vectors["audience"]).into_iter().map(Into::into).collect(),
        without_exp: false,
    };
    Foreign {
        codec: Codec::Jwt(codec),
        cookie: Some("jwt".into()),
        signature_cookie: None,
        bearer: true,
        claims: mapping(&["sub"], None, None),
        key_sources: Box::default(),
    }
}

/// The keys of an app that signs with its secret.
fn secrets(vectors: &Value, derive: impl Fn(&[u8]) -> MacKey) -> Vec<SigningKey<MacKey>> {
    let keys = vectors["keys"].as_array().unwrap().iter();
    keys.map(|wire| key(wire["id"].as_str().unwrap(), derive(wire["secret"].as_str().unwrap().as_bytes())))
        .collect()
}

fn itsdangerous() -> Foreign {
    let vectors = vectors("itsdangerous");
    let salt = vectors["salt"].as_str().unwrap().as_bytes().to_vec();
    let keys = secrets(&vectors, |secret| Itsdangerous::key(secret, &salt, Digest::Sha1, Derivation::Hmac));
    Foreign {
        codec: Codec::Itsdangerous(Itsdangerous { keys }),
        cookie: Some("session".into()),
        signature_cookie: None,
        bearer: false,
        claims: mapping(&["_user_id"], Some("at"), vectors["max_age"].as_u64()),
        key_sources: Box::default(),
    }
}

fn django() -> Foreign {
    let vectors = vectors("django");
    let salt = vectors["salt"].as_str().unwrap().as_bytes().to_vec();
    let keys = secrets(&vectors, |secret| Django::key(secret, &salt, Digest::Sha256));
    Foreign {
        codec: Codec::Django(Django { keys }),
        cookie: Some("sessionid".into()),
        signature_cookie: None,
        bearer: false,
        claims: mapping(&["_auth_user_id"], Some("at"), vectors["max_age"].as_u64()),
        key_sources: Box::default(),
    }
}

fn express(style: Style, digest: Digest) -> Foreign {
    let vectors = vectors("express");
    let keys = secrets(&vectors, |secret| MacKey::new(digest, Secret::new(secret.to_vec())));
    let codec = Express { cookie: "session".into(), style, keys, required: Box::default() };
    Foreign {
        cookie: Some("session".into()),
        signature_cookie: codec.signature_cookie().map(Into::into),
        codec: Codec::Express(codec),
        bearer: false,
        claims: mapping(&["user", "id"], Some("at"), vectors["max_age"].as_u64()),
        key_sources: Box::default(),
    }
}

/// `acme` and `globex`, each with a host, `/public/` and `/admin/`.
fn world(foreign: Vec<Foreign>) -> Policy {
    let mut policy = policy(vec![tenant("acme", &["acme.test"]), tenant("globex", &["globex.test"])]);
    policy.sessions.as_mut().unwrap().foreign = ForeignSessions::new(foreign);
    (policy.limits.field_bytes, policy.limits.header_bytes) = (16 << 10, 32 << 10);
    policy
}

fn presented(url: &str, vector: &Value) -> impl Fn(&Foreign) -> Request {
    let (url, text, signature) = (
        url.to_owned(),
        vector["text"].as_str().unwrap().to_owned(),
        vector["signature"].as_str().map(str::to_owned),
    );
    move |foreign| {
        let mut cookie = format!("{}={text}", foreign.cookie.as_deref().unwrap());
        if let (Some(name), Some(signature)) = (&foreign.signature_cookie, &signature) {
            cookie.push_str(&format!("; {name}={signature}"));
        }
        get(&url).header("cookie", &cookie)
    }
}

fn judge(policy: &Policy, request: &Request) -> Judged {
    ask(request, policy, &Counting::default(), &LIVE)
}

/// Every good vector is its user's session, every bad one is refused for its reason, and with the same answer.
fn holds(foreign: &Foreign, vectors: &Value, at_least: usize) {
    let policy = world(vec![foreign.clone()]);
    let (good, bad) = (vectors["good"].as_array().unwrap(), vectors["bad"].as_array().unwrap());
    assert!(good.len() >= at_least, "{}", good.len());
    for vector in good {
        let judged = judge(&policy, &presented("https://acme.test/x", vector)(foreign));

        let name = &vector["name"];
        assert_eq!(judged.reason(), None, "{name}");
        let session = judged.facts.session.unwrap();
        let expected = &vector["is"];
        assert_eq!(session.claims.user.as_str(), expected["user"].as_str().unwrap(), "{name}");
        assert_eq!(session.claims.tenant.as_str(), "acme", "{name}");
        assert_eq!(session.claims.roles.iter().collect::<Vec<_>>(), texts(&expected["roles"]), "{name}");
        assert_eq!(
            session.claims.auth_time.as_millis(),
            expected["auth_time_ms"].as_u64().unwrap(),
            "{name}"
        );
        assert!(
            matches!(&session.source, Source::Foreign { format, .. } if *format == foreign.codec.format()),
            "{name}"
        );
    }
    for vector in bad {
        let judged = judge(&policy, &presented("https://acme.test/x", vector)(foreign));

        assert_eq!(judged.reason().map(Reason::code), vector["why"].as_str(), "{}", vector["name"]);
        assert_eq!(judged.reason().map(Reason::status), Some(401));
        assert_eq!(judged.facts.session, None);
    }
}

#[test]
fn json_web_tokens_of_pyjwt() {
    let vectors = vectors("jwt");

    holds(&jwt(), &vectors, 20);
    assert!(vectors["bad"].as_array().unwrap().len() >= 20);
}

#[test]
fn sessions_of_flask() {
    let vectors = vectors("itsdangerous");

    holds(&itsdangerous(), &vectors, 20);
    assert!(vectors["bad"].as_array().unwrap().len() >= 20);
}

#[test]
fn sessions_of_django() {
    let vectors = vectors("django");

    holds(&django(), &vectors, 20);
    assert!(vectors["bad"].as_array().unwrap().len() >= 20);
}

#[test]
fn cookies_of_express() {
    let vectors = vectors("express");

    for (style, digest, part) in [
        (Style::CookieSession, Digest::Sha1, "cookie_session"),
        (Style::CookieSession, Digest::Sha256, "cookie_session_sha256"),
        (Style::SignedJson, Digest::Sha256, "signed_json"),
    ] {
        holds(&express(style, digest), &vectors[part], 20);
        assert!(part.ends_with("sha256") || vectors[part]["bad"].as_array().unwrap().len() >= 20);
    }
}

#[test]
fn another_signed_cookie_of_the_app_is_no_session_where_one_is_told_apart() {
    let key = SigningKey {
        id: "k".into(),
        tenants: None,
        key: MacKey::new(Digest::Sha256, Secret::new(b"secret".to_vec())),
    };
    let signed = |json: &str| {
        let tag = hmac(b"secret", format!("j:{json}").as_bytes());
        let text = format!(
            "s:j:{json}.{}",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, tag)
        );
        percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let opens = |required: &[(&str, &str)], json: &str| {
        let required = required.iter().map(|(name, text)| (Box::from(*name), Box::from(*text))).collect();
        let codec =
            Express { cookie: "login".into(), style: Style::SignedJson, keys: vec![key.clone()], required };
        Codec::Express(codec).open(Presented { text: &signed(json), signature: None }).is_ok()
    };

    assert!(opens(&[], r#"{"user":"u_1","at":1}"#));
    assert!(opens(&[("kind", "session")], r#"{"kind":"session","user":"u_1","at":1}"#));
    for other in [
        r#"{"user":"u_1","at":1}"#,
        r#"{"kind":"invitation","user":"u_1","at":1}"#,
        r#"{"kind":true,"user":"u_1"}"#,
        r#"{"a":{"kind":"session"}}"#,
    ] {
        assert!(!opens(&[("kind", "session")], other), "{other}");
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec()
}

#[test]
fn other_ways_to_the_key_are_those_of_the_libraries() {
    let text = |vector: &Value, name: &str| vector[name].as_str().unwrap().to_owned();
    let vector = &vectors("itsdangerous")["django_concat"];
    let derived = Itsdangerous::key(
        text(vector, "secret").as_bytes(),
        text(vector, "salt").as_bytes(),
        Digest::Sha512,
        Derivation::DjangoConcat,
    );
    let codec = Codec::Itsdangerous(Itsdangerous { keys: vec![key("k", derived)] });
    assert!(codec.open(Presented { text: &text(vector, "text"), signature: None }).is_ok());

    let vector = &vectors("django")["sha1"];
    let derived =
        Django::key(text(vector, "secret").as_bytes(), text(vector, "salt").as_bytes(), Digest::Sha1);
    let codec = Codec::Django(Django { keys: vec![key("k", derived)] });
    assert!(codec.open(Presented { text: &text(vector, "text"), signature: None }).is_ok());
}

/// The good vector of a format with this name.
fn named(vectors: &Value, name: &str) -> Value {
    vectors["good"].as_array().unwrap().iter().find(|vector| vector["name"] == name).unwrap().clone()
}

fn login() -> (Foreign, Value) {
    (itsdangerous(), named(&vectors("itsdangerous"), "a login"))
}

fn bearer() -> String {
    named(&vectors("jwt"), "signed with es256")["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_read_from_the_bearer_field_where_that_is_said() {
    let ask = |foreign: Foreign| judge(&world(vec![foreign]), &get("https://acme.test/x").bearer(&bearer()));

    assert_eq!(ask(jwt()).reason(), None);
    assert_eq!(ask(Foreign { bearer: false, ..jwt() }).reason(), Some(Reason::SessionMissing));
    // What is no JSON Web Token is some other token of the app.
    for other in ["opaque", "a.b", "eyJ.a.b.c.d", "abc.def.ghi"] {
        let judged = judge(&world(vec![jwt()]), &get("https://acme.test/x").bearer(other));
        assert_eq!(judged.reason(), Some(Reason::SessionMissing), "{other}");
    }
    let judged = judge(
        &world(vec![jwt()]),
        &get("https://acme.test/x").header("authorization", &format!("Basic {}", bearer())),
    );
    assert_eq!(judged.reason(), Some(Reason::SessionMissing));
}

#[test]
fn a_session_is_of_its_own_tenant_only() {
    let (foreign, vector) = login();
    let at = |url: &str, policy: &Policy| judge(policy, &presented(url, &vector)(&foreign)).reason();

    let apart = world(vec![foreign.clone()]);
    assert_eq!(at("https://acme.test/x", &apart), None);
    assert_eq!(at("https://globex.test/x", &apart), Some(Reason::SessionTenant));

    // A member's user is let in at the lobby, by the member's rules.
    let mut lobby = tenant("lobby", &["lobby.test"]);
    lobby.members = ["acme".parse().unwrap()].into_iter().collect();
    let mut acme = tenant("acme", &["acme.test"]);
    acme.ip_access = deny(&["192.0.2.1/32"]);
    let mut shared = policy(vec![lobby, acme]);
    shared.sessions.as_mut().unwrap().foreign = ForeignSessions::new(vec![foreign.clone()]);
    assert_eq!(at("https://lobby.test/x", &shared), Some(Reason::MemberIpDenied));
}

#[test]
fn a_key_speaks_for_its_tenants_only() {
    let (foreign, vector) = login();
    let with = |tenants: &[&str]| {
        let mut foreign = foreign.clone();
        if let Codec::Itsdangerous(codec) = &mut foreign.codec {
            codec.keys.iter_mut().for_each(|key| {
                key.tenants = Some(tenants.iter().map(|name| name.parse().unwrap()).collect())
            });
        }
        judge(&world(vec![foreign.clone()]), &presented("https://acme.test/x", &vector)(&foreign)).reason()
    };

    assert_eq!(with(&["globex", "acme"]), None);
    assert_eq!(with(&["globex"]), Some(Reason::SessionInvalid));
    assert_eq!(with(&[]), Some(Reason::SessionInvalid));
}

#[test]
fn roles_and_the_age_of_the_sign_in_count() {
    let (foreign, vector) = login();
    let admin = presented("https://acme.test/admin/", &vector)(&foreign);
    let editor = named(&vectors("itsdangerous"), "roles");
    assert_eq!(judge(&world(vec![foreign.clone()]), &admin).reason(), Some(Reason::RoleMissing));
    assert_eq!(
        judge(&world(vec![foreign.clone()]), &presented("https://acme.test/admin/", &editor)(&foreign))
            .reason(),
        None
    );

    let mut acme = tenant("acme", &["acme.test"]);
    let mut fresh = route("/fresh", RouteAccess::Session);
    fresh.max_auth_age = Some(Duration::from_secs(59));
    acme.routes = table(vec![fresh]);
    let mut policy = policy(vec![acme]);
    policy.sessions.as_mut().unwrap().foreign = ForeignSessions::new(vec![foreign.clone()]);
    assert_eq!(
        judge(&policy, &presented("https://acme.test/fresh", &vector)(&foreign)).reason(),
        Some(Reason::AuthTooOld)
    );
}

#[test]
fn an_ended_session_is_none() {
    let (foreign, vector) = login();
    let request = presented("https://acme.test/x", &vector)(&foreign);
    for answer in
        [RevocationAnswer::Session, RevocationAnswer::User(NOW), RevocationAnswer::Tenant { epoch: 3 }]
    {
        let judged = ask(&request, &world(vec![foreign.clone()]), &Counting::default(), &Says(answer, 3));
        assert_eq!(judged.reason(), Some(Reason::SessionRevoked), "{answer:?}");
    }
}

#[test]
fn a_tenant_that_binds_its_sessions_takes_no_foreign_one() {
    let (foreign, vector) = login();
    let mut acme = tenant("acme", &["acme.test"]);
    acme.sessions.bind = vec![Binding::UserAgent];
    let mut policy = policy(vec![acme]);
    policy.sessions.as_mut().unwrap().foreign = ForeignSessions::new(vec![foreign.clone()]);

    assert_eq!(
        judge(&policy, &presented("https://acme.test/x", &vector)(&foreign)).reason(),
        Some(Reason::SessionBinding)
    );
}

#[test]
fn two_sessions_in_one_request_are_a_conflict() {
    let (foreign, vector) = login();
    let both = world(vec![jwt(), foreign.clone()]);
    let flask = || presented("https://acme.test/x", &vector)(&foreign);
    let conflict = Some(Reason::CredentialConflict);

    assert_eq!(judge(&both, &flask()).reason(), None);
    assert_eq!(judge(&both, &flask().bearer(&bearer())).reason(), conflict);
    assert_eq!(
        judge(&both, &flask().bearer(&seal(&claims("acme"), Purpose::Bearer, "acme"))).reason(),
        conflict
    );
    let own = get("https://acme.test/x").header("cookie", &format!("__Host-octroi={}", token("acme")));
    assert_eq!(judge(&both, &own.clone()).reason(), None);
    assert_eq!(judge(&both, &own.bearer(&bearer())).reason(), conflict);
    // The same token twice, too: whoever reads one of them reads it by another rule.
    let twice = get("https://acme.test/x").header("cookie", &format!("jwt={}", bearer())).bearer(&bearer());
    assert_eq!(judge(&both, &twice).reason(), conflict);
}

#[test]
fn a_cookie_that_stands_twice_is_ambiguous() {
    let (foreign, vector) = login();
    let text = vector["text"].as_str().unwrap();
    let ask = |cookies: &str| {
        judge(&world(vec![foreign.clone()]), &get("https://acme.test/x").header("cookie", cookies)).reason()
    };

    assert_eq!(ask(&format!("session={text}; session=x")), Some(Reason::CookieAmbiguous));
    assert_eq!(ask(&format!("session=\"{text}\"")), Some(Reason::SessionInvalid));
    assert_eq!(ask(&format!("Session={text}")), Some(Reason::SessionMissing));
    assert_eq!(ask("session="), Some(Reason::SessionMissing));
}

#[test]
fn on_public_routes_a_bad_session_is_none_and_a_visitor_s_is_no_fault() {
    let (foreign, _) = login();
    let policy = world(vec![foreign.clone()]);
    let all = vectors("itsdangerous");
    for vector in all["bad"].as_array().unwrap() {
        let judged = judge(&policy, &presented("https://acme.test/public/x", vector)(&foreign));

        assert_eq!(judged.reason(), None, "{}", vector["name"]);
        assert_eq!(judged.facts.session, None);
        let visitor = vector["why"] == "session_missing";
        assert_eq!(judged.facts.session_fault.is_none(), visitor, "{}", vector["name"]);
    }
}

#[test]
fn observe_mode_lets_a_bad_one_pass_as_nobody() {
    let (foreign, _) = login();
    let mut acme = tenant("acme", &["acme.test"]);
    acme.mode = Mode::Observe;
    let mut policy = policy(vec![acme]);
    policy.sessions.as_mut().unwrap().foreign = ForeignSessions::new(vec![foreign.clone()]);
    let vector = vectors("itsdangerous")["bad"][0].clone();

    let judged = judge(&policy, &presented("https://acme.test/x", &vector)(&foreign));

    assert_eq!((judged.reason(), judged.facts.session), (None, None));
    assert!(judged.facts.session_fault.is_some());
}

#[test]
fn an_app_that_signs_the_same_login_anew_keeps_its_session_where_a_claim_names_it() {
    let (mut foreign, _) = login();
    let all = vectors("itsdangerous");
    let id = |foreign: &Foreign, name: &str| {
        let vector = named(&all, name);
        judge(&world(vec![foreign.clone()]), &presented("https://acme.test/x", &vector)(foreign))
            .facts
            .session
            .unwrap()
            .claims
            .id
    };
    assert_ne!(id(&foreign, "a login"), id(&foreign, "signed now"));

    foreign.claims.session = Some(ClaimPath::named("_id"));

    assert_eq!(id(&foreign, "a login"), id(&foreign, "signed now"));
}

/// P-256's order: a signature (r, s) is as good as (r, n - s), and both are of one session.
#[test]
fn the_other_spelling_of_a_signature_is_the_same_session() {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let token = bearer();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0_i32;
    for at in (0..32).rev() {
        let order = i32::from(u8::from_str_radix(&ORDER[at * 2..at * 2 + 2], 16).unwrap());
        let left = order - i32::from(bytes[32 + at]) - borrow;
        borrow = i32::from(left < 0);
        bytes[32 + at] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    let other = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let id = |token: &str| {
        judge(&world(vec![jwt()]), &get("https://acme.test/x").bearer(token)).facts.session.unwrap().claims.id
    };

    assert_ne!(token, other);
    assert_eq!(id(&token), id(&other));
}

/// Every format, with one good text of each.
fn every() -> Vec<(Foreign, Value)> {
    let (express_vectors, jwt_vectors) = (vectors("express"), vectors("jwt"));
    let mut all = vec![
        login(),
        (django(), named(&vectors("django"), "a login")),
        (express(Style::CookieSession, Digest::Sha1), named(&express_vectors["cookie_session"], "a login")),
        (express(Style::SignedJson, Digest::Sha256), named(&express_vectors["signed_json"], "a login")),
    ];
    all.extend(
        ["hs256", "rs256", "ps256", "es256", "es384", "ed"]
            .map(|kid| (jwt(), named(&jwt_vectors, &format!("signed with {kid}")))),
    );
    all
}

fn open(foreign: &Foreign, text: &str, signature: Option<&str>) -> Option<(String, serde_json::Value)> {
    let authentic = foreign.codec.open(Presented { text, signature }).ok()?;
    Some((authentic.signed.into_owned(), Value::String(format!("{:?}", authentic.payload))))
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (foreign, vector) in every() {
        let (text, signature) = (vector["text"].as_str().unwrap(), vector["signature"].as_str());
        let good = open(&foreign, text, signature).unwrap();
        let mut tried = 0;
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = std::str::from_utf8(&bytes) else { continue };
            // The letters of a percent-escape have two spellings, and what was signed is the same under both.
            let found = open(&foreign, changed, signature);
            assert!(
                found.is_none() || (text.contains('%') && found == Some(good.clone())),
                "{} {bit}",
                vector["name"]
            );
            tried += 1;
        }
        for bit in 0..signature.map_or(0, str::len) * 8 {
            let mut bytes = signature.unwrap().as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = std::str::from_utf8(&bytes) else { continue };
            assert_eq!(open(&foreign, text, Some(changed)), None, "{bit}");
        }
        assert!(tried > 100);
    }
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    for (foreign, vector) in every() {
        let text = vector["text"].as_str().unwrap();
        let long = format!("{text}{}", "A".repeat(8 * 1024));

        assert_eq!(
            foreign.codec.open(Presented { text: &long, signature: None }).unwrap_err().detail(),
            "it is longer than is read"
        );
    }
}

#[test]
fn every_failure_reads_the_same() {
    for (foreign, _) in every() {
        for text in ["", "a", "a.b.c", "a:b:c", "eyJhbGciOiJub25lIn0.e30."] {
            let error = foreign.codec.open(Presented { text, signature: Some("x") }).unwrap_err();

            assert_eq!(error.to_string(), "the foreign session does not open");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_opens_or_makes_it_panic(text in "[ -~]{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,60}", 1..6), signature in "[ -~]{0,60}") {
        for (foreign, _) in every() {
            for text in [&text, &parts.join("."), &parts.join(":"), &format!(".{}", parts.join(".")), &format!("s%3Aj%3A{}", parts.join("."))] {
                let presented = Presented { text, signature: Some(&signature) };
                prop_assert!(foreign.codec.open(presented).is_err());
            }
        }
    }

    #[test]
    fn halves_of_two_are_none(cut in any::<prop::sample::Index>()) {
        for (foreign, vector) in every() {
            let text = vector["text"].as_str().unwrap();
            let cut = cut.index(text.len() - 1) + 1;
            let spliced = format!("{}{}", &text[..cut], &text[cut - 1..]);

            prop_assert_eq!(open(&foreign, &spliced, vector["signature"].as_str()), None);
            prop_assert_eq!(open(&foreign, &text[..cut], vector["signature"].as_str()), None);
        }
    }
}
