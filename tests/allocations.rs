//! How often a session asks for memory: reading a token is on the way of every request.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod support;

use octroi::{
    checks::session,
    model::Tick,
    policy::QuotaBy,
    session::{Claims, Purpose, Roles},
    store::MemoryQuotas,
};
use support::*;

/// Counts what it costs to find, open and judge the session of a request.
fn allocations(claims: &Claims) -> u64 {
    let policy = policy(vec![tenant("acme", &["acme.test"])]);
    let realm = policy.tenants.iter().next().unwrap();
    let request = get("https://acme.test/x").cookie(&seal(claims, Purpose::Cookie, "acme"));
    let view = request.view(NOW, Tick::from_nanos(0));
    let client = "198.51.100.7".parse::<std::net::IpAddr>().unwrap().into();
    let prove = || {
        session::check(&view, client, realm, &policy, &octroi::session::foreign::FetchedKeys::default())
            .unwrap()
            .unwrap()
    };
    assert_eq!(prove().session.claims, *claims, "the first derives the realm's key");

    allocation_counter::measure(|| drop(prove())).count_total
}

#[test]
fn a_valid_session_costs_at_most_two() {
    let long = Claims { user: "7f6c1d1e-3c5a-4c8e-9a55-0d5b5c2f8a11".parse().unwrap(), ..claims("acme") };
    let many = Claims {
        roles: Roles::try_new(["accounts:read", "accounts:write", "reports"]).unwrap(),
        ..claims("acme")
    };

    // What permit, log and answer share is one; a text of more than 24 bytes is another.
    assert_eq!(allocations(&claims("acme")), 1);
    assert_eq!(allocations(&long), 2);
    assert_eq!(allocations(&many), 2);
}

/// What judging a request costs with so many quotas by client, session, user and tenant.
fn allocations_of_quotas(each: usize) -> u64 {
    let mut acme = tenant("acme", &["acme.test"]);
    acme.quotas = [QuotaBy::Client, QuotaBy::Session, QuotaBy::User, QuotaBy::Tenant]
        .into_iter()
        .flat_map(|by| (0..each).map(move |number| quota(&format!("{}{number}", by.as_str()), by, 9).into()))
        .collect();
    let policy = policy(vec![acme]);
    let request = get("https://acme.test/x").from("2001:db8::1").cookie(&token("acme"));
    let quotas = MemoryQuotas::new(1024);
    drop(ask(&request, &policy, &quotas, &LIVE).permit());

    allocation_counter::measure(|| drop(ask(&request, &policy, &quotas, &LIVE))).count_total
}

#[test]
fn asking_quotas_costs_only_the_lists_of_what_was_said() {
    let none = allocations_of_quotas(0);

    // Two lists, for the answer and for the metrics, which have grown once with eight quotas. The charges
    // themselves, six of them in one step, are kept in place.
    assert_eq!([1, 2].map(|each| allocations_of_quotas(each) - none), [2, 4]);
}
