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

/// Reads h2load's count: all of it must have succeeded, with 2xx.
fn h2load(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let succeeded = before(&text, " succeeded");
    assert_eq!((before(&text, " failed"), before(&text, " errored"), before(&text, " timeout")), (0, 0, 0), "{text}");
    assert_eq!(before(&text, " 2xx"), succeeded, "{text}");
    succeeded
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
        let load = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args);
            std::thread::spawn(move || command.output().unwrap())
        };
        let stop = Arc::new(AtomicBool::new(false));
        let tally: Arc<Tally> = Arc::default();
        let fresh: Vec<_> = (0..2)
            .map(|_| {
                let (stop, tally, ca) = (Arc::clone(&stop), Arc::clone(&tally), ca.clone());
                std::thread::spawn(move || clients::new_connections(addr, &ca, &stop, &tally))
            })
            .collect();
        let http2 = load("h2load", &["-n", "30000", "-c", "8", "-m", "8", &to, &url]);
        let http1 = load("h2load", &["--h1", "-n", "20000", "-c", "8", &to, &url]);
        let clear = load("wrk", &["-t1", "-c8", "-d12s", "-H", "Host: acme.test", &plain]);
        std::thread::sleep(Duration::from_secs(3));

        let (_, second) = upgrade(&mut octroi);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(upgrade(&mut octroi).0, second);

        let counts = [h2load(&http2.join().unwrap()), h2load(&http1.join().unwrap()), wrk(&clear.join().unwrap())];
        stop.store(true, Ordering::Relaxed);
        fresh.into_iter().for_each(|client| client.join().unwrap());
        let (answered, failed) = tally.counts();
        assert_eq!(failed, 0);
        let all = counts.iter().sum::<u64>() + u64::try_from(answered).unwrap();
        assert!(all >= REQUESTS && counts[0] == 30_000 && counts[1] == 20_000, "{all}: {counts:?}");
        eprintln!(
            "round {round}: {all} requests ({} HTTP/2, {} and {} HTTP/1.1 kept alive, {answered} new connections), 0 failed",
            counts[0], counts[1], counts[2]
        );
        eventually("the first ends", || (octroi.metric("octroi_generation") == 3.0).then_some(()));
        assert_eq!(octroi.wait(), 0);
        drop(upstream);
    }
}
