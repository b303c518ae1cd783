//! An exchange that is played: no sockets, and paused time.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use http::Method;
use tokio::time::{Instant, sleep};

use super::{
    Attempt, Rest,
    fake_client::{At, FakeClient, Piece, Taking, shown},
    fake_server::{FakeServer, Log, Step},
    run,
    world::{DEADLINES, PausedClock, facts, permit, policy},
};
use crate::{
    model::{Connection, Deny, Reason},
    policy::UpstreamTimeouts,
    store::Descriptors,
    upstream::{
        Budgets, LiveExchanges, capacity::Resources, downstream::RequestKind, failure::Ended, head::Head,
        pools::Pools, request_body::RequestBody,
    },
};

pub(super) const FIRST_BYTE: Duration = Duration::from_secs(30);
pub(super) const BETWEEN_BYTES: Duration = Duration::from_secs(10);
pub(super) const IDLE: Duration = Duration::from_secs(60);

const TIMES: UpstreamTimeouts = UpstreamTimeouts {
    connect: Duration::from_secs(5),
    first_byte: FIRST_BYTE,
    between_bytes: BETWEEN_BYTES,
};
/// One exchange, as it is set up.
pub(super) struct Play {
    pub(super) method: Method,
    pub(super) is_http2: bool,
    pub(super) is_call: bool,
    /// Whether the connection may have died at rest, and the request may be sent twice.
    pub(super) twice: bool,
    pub(super) server: Vec<Step>,
    /// `None` is a request without a body.
    pub(super) client: Option<Vec<Piece>>,
    pub(super) takes: Vec<Taking>,
    pub(super) refuses: Option<(At, Reason)>,
    /// When it is cancelled, and what for.
    pub(super) cancelled: Option<(Duration, Reason)>,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            method: Method::POST,
            is_http2: false,
            is_call: false,
            twice: false,
            server: Vec::new(),
            client: None,
            takes: Vec::new(),
            refuses: None,
            cancelled: None,
        }
    }
}

/// How an exchange ended, what happened, and how long it took.
pub(super) struct Played {
    pub(super) ending: String,
    pub(super) log: Vec<String>,
    pub(super) took: Duration,
}

impl Play {
    pub(super) async fn run(self) -> Played {
        let policy = policy();
        let permit = permit(&policy).await;
        let log = Log::default();
        let live_exchanges = Arc::<LiveExchanges>::default();
        let clock = PausedClock(Instant::now());
        let mut client = FakeClient {
            permit,
            live_exchanges: Arc::clone(&live_exchanges),
            connection: Arc::new(Connection::new(facts(), DEADLINES)),
            registration: None,
            pieces: VecDeque::new(),
            rests_until: None,
            takes: self.takes.into(),
            refuses: self.refuses.map(|(at, reason)| (at, Deny::new(reason, "a test"))),
            log: Arc::clone(&log),
        };
        let mut body = RequestBody::new(self.client.is_none(), false);
        client.pieces.extend(self.client.into_iter().flatten());
        let mut server = FakeServer {
            script: self.server.into(),
            rest: None,
            is_over: false,
            has_left: false,
            log: Arc::clone(&log),
        };
        let request = RequestKind {
            method: self.method,
            is_http2: self.is_http2,
            is_call: self.is_call,
            is_websocket: false,
            idle: IDLE,
        };
        let (budgets, pools) = (Budgets::new(Descriptors::new(None)), Pools::new(&policy, None));
        let resources =
            Resources { clock: &clock, budgets: &budgets, live_exchanges: &live_exchanges, pools: &pools };
        let attempt = Attempt { request: &request, times: &TIMES, twice: self.twice };
        let cancel = async {
            let Some((after, reason)) = self.cancelled else { return pending().await };
            sleep(after).await;
            for exchange in live_exchanges.shards().flatten() {
                exchange.end(Deny::new(reason, "a test"));
            }
            pending::<()>().await;
        };
        let ending = tokio::select! {
            ending = run(&mut client, &mut server, &mut body, &resources, attempt) => said(ending),
            () = cancel => unreachable!("it never ends"),
            () = sleep(Duration::from_secs(3600)) => "nothing within an hour".to_owned(),
        };
        let log = std::mem::take(&mut *log.lock().unwrap());
        Played { ending, log, took: clock.0.elapsed() }
    }
}

fn said(ending: Result<Rest<Head, &'static str>, Ended<&'static str>>) -> String {
    match ending {
        Ok(Rest::Nothing) => "done".to_owned(),
        Ok(Rest::Drain(None)) => "drain".to_owned(),
        Ok(Rest::Drain(Some(held))) => format!("drain, holding {}", shown(&held)),
        Ok(Rest::EndCall(ended)) => format!("end the call: {}", why(ended)),
        Err(ended) => why(ended),
    }
}

fn why(ended: Ended<&'static str>) -> String {
    match ended {
        Ended::Denied(deny) => format!("denied {}", deny.reason.code()),
        Ended::Cancelled(deny) => format!("cancelled {}", deny.reason.code()),
        Ended::ClientGone(error) => format!("client gone: {error}"),
        Ended::Failed(failure) => {
            let again = if failure.repeatable { ", try again" } else { "" };
            format!("failed {}{again}", failure.deny.reason.code())
        }
    }
}
