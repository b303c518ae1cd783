//! Tables over the endings and the deadlines of an exchange.

use std::time::Duration;

use http::Method;

use super::{
    UNREGISTERED,
    fake_client::{At, PATIENCE, Piece, Taking, upload},
    fake_server::{END, Step, data, grpc_head, head, last, reset, trailers, whole},
    fixture::{BETWEEN_BYTES, FIRST_BYTE, IDLE, Play},
};
use crate::{model::Reason, upstream::failure::Failure};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn unheard() -> Step {
    Step::Fail(Failure::unheard("closed before the answer"))
}

/// A reset that says that the server has done nothing.
fn untouched() -> Step {
    Step::Fail(Failure { repeatable: true, ..Failure::new(Reason::UpstreamProtocol, "refused stream") })
}

/// A client that begins to send, and pauses.
fn paused() -> Option<Vec<Piece>> {
    Some(vec![Piece::Data("ab"), Piece::Rest(HOUR)])
}

/// A server that takes one piece and answers.
fn taking(steps: Vec<Step>) -> Vec<Step> {
    std::iter::once(Step::Take).chain(steps).collect()
}

#[tokio::test(start_paused = true)]
async fn each_ending_is_called_what_it_is() {
    let get = || Play { method: Method::GET, ..Play::default() };
    let call = || Play { is_http2: true, is_call: true, client: paused(), ..Play::default() };
    let revoked = Some((SECOND, Reason::SessionRevoked));
    let table = [
        // Done.
        ("an answer without a body", Play { server: vec![whole(204)], ..get() }, "done"),
        ("an answer with a body", Play { server: vec![head(200), data("a"), last("b")], ..get() }, "done"),
        (
            "a body of which only the end says so",
            Play { server: vec![head(200), data("a"), END()], ..get() },
            "done",
        ),
        ("an answer to HEAD", Play { server: vec![head(200)], method: Method::HEAD, ..get() }, "done"),
        ("a status without a body", Play { server: vec![head(304)], ..get() }, "done"),
        (
            "an upload",
            Play {
                server: vec![Step::Take, Step::Take, head(200), last("a")],
                client: upload(),
                ..Play::default()
            },
            "done",
        ),
        // Answered before the whole request has come.
        (
            "early over HTTP/1",
            Play { server: taking(vec![head(200), last("a")]), client: paused(), ..Play::default() },
            "drain",
        ),
        (
            "early over HTTP/2",
            Play {
                server: taking(vec![head(200), last("a")]),
                client: paused(),
                is_http2: true,
                ..Play::default()
            },
            "drain, holding a end",
        ),
        (
            "early over HTTP/2, with a head alone",
            Play { server: taking(vec![whole(204)]), client: paused(), is_http2: true, ..Play::default() },
            "drain, holding 204 end",
        ),
        (
            "a refusal over HTTP/2 is not held back",
            Play {
                server: taking(vec![head(413), last("a")]),
                client: paused(),
                is_http2: true,
                ..Play::default()
            },
            "drain",
        ),
        (
            "a server that takes no more of an upload",
            Play { server: vec![Step::Refuse, head(413), last("a")], client: upload(), ..Play::default() },
            "drain",
        ),
        (
            "a call is over with its answer",
            Play { server: taking(vec![grpc_head(), trailers("grpc-status")]), ..call() },
            "done",
        ),
        // Denied.
        (
            "a piece that is too much",
            Play {
                server: vec![Step::Rest(HOUR)],
                client: upload(),
                refuses: Some((At::Piece, Reason::BodyTooLarge)),
                ..Play::default()
            },
            "denied body_too_large",
        ),
        (
            "an interim answer",
            Play { server: vec![head(101)], refuses: Some((At::Interim, Reason::UpstreamProtocol)), ..get() },
            "denied upstream_protocol",
        ),
        (
            "an answer that is judged",
            Play { server: vec![head(200)], refuses: Some((At::Head, Reason::GrantMalformed)), ..get() },
            "denied grant_malformed",
        ),
        (
            "a head that cannot be prepared",
            Play { server: vec![head(200)], refuses: Some((At::Prepare, Reason::Internal)), ..get() },
            "denied internal",
        ),
        (
            "trailers that frame a message",
            Play { server: vec![head(200), trailers("content-length")], ..get() },
            "done",
        ),
        // Cancelled.
        (
            "while the server thinks",
            Play { server: vec![], cancelled: revoked, ..get() },
            "cancelled session_revoked",
        ),
        (
            "while the client sends",
            Play { server: vec![Step::Take], client: paused(), cancelled: revoked, ..Play::default() },
            "cancelled session_revoked",
        ),
        (
            "within the answer",
            Play { server: vec![head(200), data("a")], cancelled: revoked, ..get() },
            "cancelled session_revoked",
        ),
        (
            "a call whose answer has begun",
            Play { server: taking(vec![grpc_head()]), cancelled: revoked, ..call() },
            "end the call: cancelled session_revoked",
        ),
        (
            "a call whose answer has not",
            Play { server: vec![Step::Take], cancelled: revoked, ..call() },
            "cancelled session_revoked",
        ),
        (
            "a call that is answered with something else",
            Play { server: taking(vec![head(200)]), cancelled: revoked, ..call() },
            "cancelled session_revoked",
        ),
        // The client is gone.
        (
            "within its request",
            Play {
                server: vec![Step::Take],
                client: Some(vec![Piece::Data("a"), Piece::Fail("reset")]),
                ..Play::default()
            },
            "client gone: reset",
        ),
        (
            "while the server thinks",
            Play {
                server: vec![Step::Take],
                client: Some(vec![Piece::Data("a"), Piece::End, Piece::Fail("reset")]),
                ..Play::default()
            },
            "client gone: reset",
        ),
        (
            "with more than its request",
            Play {
                server: vec![Step::Take],
                client: Some(vec![Piece::Data("a"), Piece::End, Piece::Data("b")]),
                ..Play::default()
            },
            "client gone: surplus",
        ),
        (
            "within the answer",
            Play { server: vec![head(200)], takes: vec![Taking::Fail("reset")], ..get() },
            "client gone: reset",
        ),
        // The server failed, and another may be asked or not.
        (
            "a connection that died at rest",
            Play { server: vec![unheard()], twice: true, ..get() },
            "failed upstream_closed, try again",
        ),
        ("a new connection", Play { server: vec![unheard()], ..get() }, "failed upstream_closed"),
        (
            "behind an interim answer",
            Play { server: vec![head(103), unheard()], twice: true, ..get() },
            "failed upstream_closed",
        ),
        (
            "a stream that was refused",
            Play { server: vec![untouched()], ..get() },
            "failed upstream_protocol, try again",
        ),
        (
            "a stream that was reset",
            Play { server: vec![reset()], twice: true, ..get() },
            "failed upstream_protocol",
        ),
        (
            "within the answer",
            Play { server: vec![head(200), untouched()], ..get() },
            "failed upstream_protocol",
        ),
        ("a body and no head", Play { server: vec![data("a")], ..get() }, "failed upstream_protocol"),
        ("a second head", Play { server: vec![head(200), head(200)], ..get() }, "failed upstream_protocol"),
        (
            "a call that breaks off",
            Play { server: taking(vec![grpc_head(), data("a"), reset()]), ..call() },
            "end the call: failed upstream_protocol",
        ),
    ];

    for (name, play, ending) in table {
        assert_eq!(play.run().await.ending, ending, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_deadline_is_of_whose_turn_it_is() {
    let get = || Play { method: Method::GET, ..Play::default() };
    let call = || Play { is_http2: true, is_call: true, client: paused(), ..Play::default() };
    let table = [
        // The first look is short: most have answered by then.
        ("an app that thinks", Play { ..get() }, "failed upstream_timeout", UNREGISTERED + FIRST_BYTE),
        (
            "an answer that pauses",
            Play { server: vec![head(200)], ..get() },
            "failed upstream_timeout",
            BETWEEN_BYTES,
        ),
        (
            "each piece begins it anew",
            Play {
                server: vec![head(200), Step::Rest(9 * SECOND), data("a"), Step::Rest(9 * SECOND), data("b")],
                ..get()
            },
            "failed upstream_timeout",
            18 * SECOND + BETWEEN_BYTES,
        ),
        (
            "a client that pauses",
            Play { server: vec![Step::Take], client: paused(), ..Play::default() },
            "denied timeout_body",
            PATIENCE,
        ),
        (
            "a server that does not take the request",
            Play { server: vec![], client: upload(), ..Play::default() },
            "failed upstream_timeout",
            FIRST_BYTE,
        ),
        ("a call that is silent", Play { server: vec![Step::Take], ..call() }, "denied stream_idle", IDLE),
        (
            "a call that is silent within its answer",
            Play { server: taking(vec![grpc_head(), Step::Rest(SECOND), data("a")]), ..call() },
            "end the call: denied stream_idle",
            SECOND + IDLE,
        ),
    ];

    for (name, play, ending, took) in table {
        let played = play.run().await;

        assert_eq!((&*played.ending, played.took), (ending, took), "{name}");
        // No further exchange goes where this one met silence.
        let is_of_server = ending == "failed upstream_timeout";
        assert_eq!(played.log.iter().any(|what| what == "server retired"), is_of_server, "{name}");
    }
}
