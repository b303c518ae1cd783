//! The long one: many clients at once, and not one request lost.

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
fn before(text: &str, word: &str) -> usize {
    let place = text.find(word).unwrap_or_else(|| panic!("no `{word}`: {text}"));
    let digits: String = text[..place].chars().rev().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

/// Reads wrk's count: it speaks of errors only where there are some.
fn wrk(output: &Output) -> usize {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    before(&text, " requests in")
}

type Client = fn(std::net::SocketAddr, &std::path::Path, &AtomicBool, &Tally);

/// At least so many requests in each round, a fifth of them over HTTP/2 and a fifth over TLS and kept-alive HTTP/1.1.
const REQUESTS: usize = 50_000;

/// h2load is no use here: what it had queued when GOAWAY came it counts as failed, and never asks again. These clients do as RFC 9113,
/// section 6.8 says, and the upstream tells whether anything came twice.
#[test]
#[ignore = "make full: three rounds of at least 50,000 requests under load, each with two upgrades"]
fn fifty_thousand_requests_and_two_upgrades_lose_nothing() {
    for round in 0..3 {
        let (mut octroi, upstream) = started();
        let (addr, ca) = (octroi.addr("public"), octroi.path().join("certs/ca.pem"));
        let plain = format!("http://{}/public/x", octroi.addr("plain"));
        let stop = Arc::new(AtomicBool::new(false));
        let [fresh, kept, http2]: [Arc<Tally>; 3] = Default::default();
        let mut threads = Vec::new();
        let kinds: [Client; 3] = [clients::new_connections, clients::kept_alive, clients::http2];
        for ((ask, tally), count) in kinds.into_iter().zip([&fresh, &kept, &http2]).zip([2, 8, 6]) {
            for _ in 0..count {
                let (stop, tally, ca) = (Arc::clone(&stop), Arc::clone(tally), ca.clone());
                threads.push(std::thread::spawn(move || ask(addr, &ca, &stop, &tally)));
            }
        }
        let mut clear = Command::new("wrk");
        clear.args(["-t1", "-c8", "-d12s", "-H", "Host: acme.test", &plain]);
        let clear = std::thread::spawn(move || clear.output().unwrap());

        std::thread::sleep(Duration::from_secs(4));
        let (_, second) = upgrade(&mut octroi);
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(upgrade(&mut octroi).0, second);

        let clear = wrk(&clear.join().unwrap());
        let answered = |tally: &Tally| tally.counts().0;
        let enough = || {
            let (kept, http2) = (answered(&kept), answered(&http2));
            clear + answered(&fresh) + kept + http2 >= REQUESTS && kept >= REQUESTS / 5 && http2 >= REQUESTS / 5
        };
        // The load is bounded: two minutes at the most.
        for _ in 0..1200 {
            if enough() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let connections = [&kept, &http2].map(|tally| tally.connections.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|client| client.join().unwrap());

        for tally in [&fresh, &kept, &http2] {
            assert_eq!(tally.counts().1, 0, "{:?}", tally.said.lock().unwrap());
        }
        assert!(enough(), "{clear} {} {} {}", answered(&fresh), answered(&kept), answered(&http2));
        // Every client was told to go twice, and came again.
        assert!(connections[0] >= 3 * 8 && connections[1] >= 3 * 6, "{connections:?}");
        // What the app got over HTTP/2 it got once each, however often it was asked for.
        let mut targets: Vec<String> = upstream.take().into_iter().map(|got| got.target).filter(|target| target.contains("?n=")).collect();
        let received = targets.len();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!((received, received), (targets.len(), answered(&http2)));
        eprintln!(
            "round {round}: {} requests ({} HTTP/2, {} HTTP/1.1 kept alive over TLS, {clear} in clear text, {} new connections), 0 failed",
            clear + answered(&fresh) + answered(&kept) + answered(&http2),
            answered(&http2),
            answered(&kept),
            answered(&fresh)
        );
        eventually("the first ends", || (octroi.metric("octroi_generation") == 3.0).then_some(()));
        assert_eq!(octroi.wait(), 0);
    }
}
