//! The long one: real load makers, and not one request lost.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    clients::{self, Tally},
    harness::eventually,
    started, upgrade,
};

/// The number that stands before a word.
fn before(text: &str, word: &str) -> u64 {
    let place = text.find(word).unwrap_or_else(|| panic!("no `{word}`: {text}"));
    let digits: String = text[..place].chars().rev().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

/// Runs h2load until it has had so many answers. Every request that it sent must have been answered, with 2xx.
///
/// It opens no new connection after GOAWAY, and counts as failed what it would have sent over the old one and never did: so it is what
/// it started that counts, and it is started again.
fn h2load(args: &[&str], wanted: u64) -> u64 {
    let mut answered = 0;
    while answered < wanted {
        let output = Command::new("h2load").args(["-n", "5000", "-c", "8"]).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let started = before(&text, " started");
        assert_eq!((before(&text, " done, "), before(&text, " succeeded"), before(&text, " 2xx")), (started, started, started), "{text}");
        assert!(started > 0 && before(&text, " timeout") == 0, "{text}");
        answered += started;
    }
    answered
}

/// Reads wrk's count: it speaks of errors only where there are some.
fn wrk(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    before(&text, " requests in")
}

/// At least so many requests in each round.
const REQUESTS: u64 = 50_000;

#[test]
#[ignore = "make full: three rounds of at least 50,000 requests under load, each with two upgrades"]
fn fifty_thousand_requests_and_two_upgrades_lose_nothing() {
    for round in 0..3 {
        let (mut octroi, upstream) = started();
        let (addr, ca) = (octroi.addr("public"), octroi.path().join("certs/ca.pem"));
        let (to, url) = (format!("--connect-to={addr}"), format!("https://acme.test:{}/public/x", addr.port()));
        let plain = format!("http://{}/public/x", octroi.addr("plain"));
        let (http2_args, http1_args) = ([to.clone(), url.clone()], [to, url]);
        let stop = Arc::new(AtomicBool::new(false));
        let tally: Arc<Tally> = Arc::default();
        let fresh: Vec<_> = (0..2)
            .map(|_| {
                let (stop, tally, ca) = (Arc::clone(&stop), Arc::clone(&tally), ca.clone());
                std::thread::spawn(move || clients::new_connections(addr, &ca, &stop, &tally))
            })
            .collect();
        let http2 = std::thread::spawn(move || h2load(&["-m", "8", &http2_args[0], &http2_args[1]], 30_000));
        let http1 = std::thread::spawn(move || h2load(&["--h1", &http1_args[0], &http1_args[1]], 20_000));
        let mut clear = Command::new("wrk");
        clear.args(["-t1", "-c8", "-d12s", "-H", "Host: acme.test", &plain]);
        let clear = std::thread::spawn(move || clear.output().unwrap());
        std::thread::sleep(Duration::from_secs(3));

        let (_, second) = upgrade(&mut octroi);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(upgrade(&mut octroi).0, second);

        let counts = [http2.join().unwrap(), http1.join().unwrap(), wrk(&clear.join().unwrap())];
        stop.store(true, Ordering::Relaxed);
        fresh.into_iter().for_each(|client| client.join().unwrap());
        let (answered, failed) = tally.counts();
        assert_eq!(failed, 0);
        let all = counts.iter().sum::<u64>() + u64::try_from(answered).unwrap();
        assert!(all >= REQUESTS && counts[0] >= 30_000 && counts[1] >= 20_000, "{all}: {counts:?}");
        eprintln!(
            "round {round}: {all} requests ({} HTTP/2, {} and {} HTTP/1.1 kept alive, {answered} new connections), 0 failed",
            counts[0], counts[1], counts[2]
        );
        eventually("the first ends", || (octroi.metric("octroi_generation") == 3.0).then_some(()));
        assert_eq!(octroi.wait(), 0);
        drop(upstream);
    }
}
