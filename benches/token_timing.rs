//! Do bad tokens take as long as good ones? A table of times, for people: nothing here passes or fails.
//!
//! `cargo bench --bench token_timing` opens tokens that are wrong in different ways in turns, in an order that chance makes anew each round,
//! and prints the medians. What may differ is what a stranger knows anyway: that a text is no token, or names no key. Where and how a sealed
//! part was altered must not show.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly, and prints"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use octroi::{
    model::{Secret, SessionId, TenantName, UnixTime},
    session::{Claims, KeyRing, MasterKey, Purpose, Roles, TOKEN_PREFIX},
};

/// How often each is opened between two looks at the clock, and how often that is done.
const TURNS: u32 = 50;
const ROUNDS: usize = 4000;

fn main() {
    let key = |id: u16, byte: u8| MasterKey { id, secret: Secret::new([byte; 32]), open_only: false };
    let ring = KeyRing::new(vec![key(1, 0x35), key(2, 0x91)]);
    let (realm, other): (TenantName, TenantName) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    let at = UnixTime::from_secs;
    let claims = Claims {
        id: SessionId::new([7; 16]),
        tenant: realm.clone(),
        user: "u_812".parse().unwrap(),
        roles: Roles::try_new(["admin", "editor"]).unwrap(),
        issued: at(1_800_000_000),
        auth_time: at(1_800_000_000),
        not_before: at(1_800_000_000),
        idle_end: at(1_800_001_800),
        absolute_end: at(1_800_043_200),
        generation: 0,
        epoch: 0,
        binding: None,
    };
    let good = ring.seal(&claims, Purpose::Cookie, &realm, [3; 12]).unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(&good[TOKEN_PREFIX.len()..]).unwrap();
    let altered = |place: usize, bits: u8| {
        let mut bytes = sealed.clone();
        bytes[place] ^= bits;
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let last = sealed.len() - 1;
    let cases = [
        ("good", good.clone()),
        ("first byte of the nonce altered", altered(3, 1)),
        ("first byte of the claims altered", altered(15, 1)),
        ("last byte of the claims altered", altered(last - 16, 1)),
        ("first byte of the tag altered", altered(last - 15, 1)),
        ("last byte of the tag altered", altered(last, 0x80)),
        ("of another realm", ring.seal(&claims, Purpose::Cookie, &other, [3; 12]).unwrap()),
        ("of another purpose", ring.seal(&claims, Purpose::Bearer, &realm, [3; 12]).unwrap()),
        ("of another key of the ring", altered(2, 1 ^ 2)),
        ("of a key that is not there", altered(1, 9)),
        ("of another version", altered(0, 3)),
        ("no base64", good.replacen("oct1.", "oct1.!", 1)),
    ];
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    let mut order: Vec<usize> = (0..cases.len()).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..ROUNDS + ROUNDS / 10 {
        for left in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(left, usize::try_from(state >> 33).unwrap() % (left + 1));
        }
        for &case in &order {
            let began = Instant::now();
            for _ in 0..TURNS {
                let _ = black_box(ring.open(black_box(&cases[case].1), Purpose::Cookie, &realm));
            }
            // The first rounds only warm up.
            if round >= ROUNDS / 10 {
                times[case].push(began.elapsed() / TURNS);
            }
        }
    }
    println!("\n{:<36} {:>8} {:>16} {:>8}", "a token that is", "median", "middle half", "of good");
    let quantile = |sorted: &[Duration], part: usize| sorted[(sorted.len() - 1) * part / 4].as_nanos();
    let mut base = None;
    for ((what, _), mut times) in cases.iter().zip(times) {
        times.sort_unstable();
        let [low, median, high] = [1, 2, 3].map(|part| quantile(&times, part));
        let base = *base.get_or_insert(median);
        println!(
            "{what:<36} {median:>5} ns {:>13} ns {:>7} %",
            format!("{low} to {high}"),
            median * 100 / base
        );
    }
}
