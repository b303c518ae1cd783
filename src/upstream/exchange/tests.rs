//! What happens within an exchange, in order.

use std::{iter::repeat_with, time::Duration};

use http::Method;

use super::{
    fake_client::{Piece, Taking, upload},
    fake_server::{END, Step, at_once, data, head, last, reset, trailers, whole},
    fixture::Play,
    is_upstream_first,
};
use crate::{model::Reason, upstream::stream::StreamEvent};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn what_is_there_at_once_leaves_in_one_write() {
    let play = |server| Play { method: Method::GET, server, ..Play::default() };

    let whole = play(vec![head(200), at_once("abc", true)]).run().await;
    let begun = play(vec![head(200), at_once("abc", false), last("d")]).run().await;

    // It is over before anything could end it, so nobody registers it.
    assert_eq!(
        whole.log,
        ["judged 200", "client got 200 abc end", "server may send 3 more", "server released"]
    );
    let begins =
        ["judged 200", "registered", "client got 200 abc", "server may send 3 more", "client got d end"];
    assert_eq!(begun.log[..5], begins);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_never_pause_each_gets_a_word_in() {
    let played = Play {
        server: vec![Step::Refuse, head(200), data("a"), data("b"), data("c"), Step::Rest(HOUR)],
        client: Some(["x", "y", "z"].map(Piece::Data).into()),
        ..Play::default()
    };

    let log = played.run().await.log;

    let words: Vec<&str> =
        log.iter().map(String::as_str).filter(|what| what.starts_with("client ")).collect();
    let each_in_turn = [
        "client got 200",
        "client sent x",
        "client got a",
        "client sent y",
        "client got b",
        "client sent z",
        "client got c",
    ];
    assert_eq!(words, each_in_turn);
    // What is behind a whole request is nothing that a server could wait for.
    assert!(is_upstream_first(true, true) && is_upstream_first(true, false));
}

#[tokio::test(start_paused = true)]
async fn a_piece_waits_until_the_server_has_taken_the_one_before() {
    let pause = || Step::Rest(SECOND);
    let server = vec![pause(), Step::Take, pause(), Step::Take, pause(), whole(204)];
    let played = Play { server, client: upload(), ..Play::default() }.run().await;

    let log = [
        "registered",
        "client sent ab",
        "server took ab",
        "client sent cd",
        "server took cd",
        "client ended",
        "judged 204",
        "client got 204 end",
        "server released",
    ];
    assert_eq!((played.log, played.took), (log.map(str::to_owned).into(), 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn interim_answers_pass_and_are_bounded() {
    let play = |server| Play { method: Method::GET, server, ..Play::default() };

    let one = play(vec![head(103), head(100), whole(204)]).run().await;
    let many = play(repeat_with(|| head(103)).take(2400).collect()).run().await;
    let slow = repeat_with(|| [Step::Rest(29 * SECOND), head(103)]).take(20).flatten();
    let slow = play(slow.collect()).run().await;

    assert_eq!(one.log[..4], ["interim 103", "interim 100", "judged 204", "client got 204 end"]);
    assert_eq!(many.ending, "failed upstream_protocol");
    // 64 KiB of 28 octets each.
    assert_eq!(many.log.len(), 64 * 1024 / 28);
    assert_eq!((&*slow.ending, slow.took), ("failed upstream_protocol", 12 * 29 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_said_all_is_free_while_its_client_takes_its_time() {
    let takes = || vec![Taking::AtOnce, Taking::After(5 * SECOND)];
    let get = |server| Play { method: Method::GET, server, takes: takes(), ..Play::default() };

    let ended = get(vec![head(200), data("a"), data("bc"), END()]).run().await;
    let broken = get(vec![head(200), data("a"), data("bc"), reset()]).run().await;

    let log = [
        "judged 200",
        "registered",
        "client got 200",
        "server may send 2 more",
        "server released",
        "client got a",
        "server may send 1 more",
        "client got bc end",
    ];
    assert_eq!((ended.log, ended.took, &*ended.ending), (log.map(str::to_owned).into(), 5 * SECOND, "done"));
    // What came before it failed arrives, and a server that failed is not released to serve others.
    assert_eq!(broken.ending, "failed upstream_protocol");
    assert_eq!(broken.log.last().map(String::as_str), Some("client got bc"));
    assert!(!broken.log.iter().any(|what| what == "server released"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_does_not_outlive_its_session() {
    let played = Play {
        method: Method::GET,
        server: vec![head(200), data("a"), last("b")],
        takes: vec![Taking::AtOnce, Taking::After(HOUR)],
        cancelled: Some((5 * SECOND, Reason::SessionRevoked)),
        ..Play::default()
    };

    let played = played.run().await;

    assert_eq!((&*played.ending, played.took), ("cancelled session_revoked", 5 * SECOND));
    assert!(!played.log.iter().any(|what| what == "client got a"), "{:?}", played.log);
}

#[tokio::test(start_paused = true)]
async fn trailers_leave_behind_the_body() {
    let play = |name| Play {
        method: Method::GET,
        server: vec![head(200), data("a"), trailers(name)],
        ..Play::default()
    };

    let passed = play("x-checksum").run().await;
    let dropped = play("set-cookie").run().await;

    assert_eq!(passed.log[4..6], ["server may send 1 more", "client got x-checksum end"]);
    assert!(dropped.log.iter().all(|what| !what.contains("set-cookie")), "{:?}", dropped.log);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_whole_yet_is_waited_for() {
    let server = vec![
        Step::Say(StreamEvent::Progress),
        Step::Rest(SECOND),
        Step::Say(StreamEvent::Progress),
        whole(204),
    ];
    let played = Play { method: Method::GET, server, ..Play::default() }.run().await;

    assert_eq!((&*played.ending, played.took), ("done", SECOND));
}
