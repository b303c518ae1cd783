//! Sends a request to a server, and to another one where a retry is safe.

use bytes::Bytes;
use tokio::time::timeout;

use super::{
    capacity::{self, Resources},
    connection::Connection,
    dial::{dial, note_reached},
    downstream::{RequestKind, permit_of},
    exchange::{Attempt, Rest, finish, run},
    failure::{Ended, Failure},
    h2_connection::{self, Opened},
    h2_pool::{Asker, MOST_STREAMS, NoPlace},
    http1::{After, Http1Stream, RestingPlace},
    http2::{self, Http2Stream},
    pool::{Pool, Selection, ServerAttempt},
    request::{Request, Requester},
    request_body::RequestBody,
};
use crate::{
    model::{Reason, TenantName},
    policy::{ServerAddress, Upstream},
};

/// The server that was selected.
struct Server<'a> {
    kind: &'a RequestKind,
    upstream: &'a Upstream,
    pool: &'a Pool,
    selection: Selection,
    address: &'a ServerAddress,
    /// The only tenant that the connection may serve, where tenants are kept apart.
    partition: Option<&'a TenantName>,
    /// Whether a new connection is wanted.
    fresh: bool,
}

/// How an attempt ended that did not fail.
enum Outcome<H, E> {
    Answered(Rest<H, E>),
    /// The session ended before anything was sent, and is not needed: the request leaves without it.
    SessionEnded,
}

/// Sends a request to the servers of an upstream, and forwards the answer. Nothing of the request has left
/// before.
pub(crate) async fn exchange<D: Requester>(
    client: &mut D,
    kind: &RequestKind,
    body: &mut RequestBody,
    upstream: &Upstream,
    resources: &Resources<'_>,
) -> Result<(), Ended<D::Error>> {
    let pool = resources.pools.get(&upstream.name).ok_or_else(|| Failure::internal("no pool"))?;
    let mut request = client.request(pool)?;
    // After a connection that died while idle, a new one is opened: the other idle ones are probably dead
    // too.
    let mut fresh = false;
    let mut failed = None;
    let mut tries = 0;
    loop {
        let now = resources.clock.tick();
        let selection = pool.select(failed, now).ok_or_else(|| Failure::internal("no server"))?;
        let server = upstream.servers.get(selection.index).ok_or_else(|| Failure::internal("no server"))?;
        tries += 1;
        client.note_attempt(ServerAttempt { server: pool.server_name(selection.index), tries, began: now });
        let partition = match upstream.isolate {
            true => Some(permit_of(&*client)?.acting_tenant().name.clone()),
            false => None,
        };
        let server = &Server {
            kind,
            upstream,
            pool,
            selection,
            address: &server.address,
            partition: partition.as_ref(),
            fresh,
        };
        let outcome = match &request {
            Request::Http1(head, after) => over_http1(client, body, server, (head, *after), resources).await,
            Request::Http2(head) => over_http2(client, body, server, head, resources).await,
        };
        let failure = match outcome {
            Ok(Outcome::Answered(Rest::Nothing)) => return Ok(()),
            // Boxed: it is seldom.
            Ok(Outcome::Answered(rest)) => return Box::pin(finish(client, body, rest)).await,
            Ok(Outcome::SessionEnded) => {
                request = client.request(pool)?;
                (failed, tries) = (None, 0);
                continue;
            }
            Err(Ended::Failed(failure)) => failure,
            Err(ended) => return Err(ended),
        };
        // Where nothing was sent, the retry does not count against the budget of retries.
        let may_retry = || tries <= u32::from(upstream.retries) && (failure.unreachable || pool.may_retry());
        if !(failure.repeatable && body.rewind() && may_retry()) {
            return Err(failure.of_server(&pool.server_name(selection.index)).into());
        }
        failed = Some(selection.index);
        fresh = true;
    }
}

/// Sends the request to one server over HTTP/1.1: on an idle connection, unless a new one is wanted.
async fn over_http1<D: Requester>(
    client: &mut D,
    body: &mut RequestBody,
    server: &Server<'_>,
    request: (&Bytes, After),
    resources: &Resources<'_>,
) -> Result<Outcome<D::Head, D::Error>, Ended<D::Error>> {
    let &Server { upstream, pool, selection, .. } = server;
    let (head, after) = request;
    let times = &upstream.timeouts;
    let share = capacity::take_connection(resources, permit_of(&*client)?, times.connect).await?;
    let (idle, bodies) = (pool.idle(selection.index), pool.bodies());
    let usable = idle.filter(|_| !server.fresh && !selection.trial);
    let resting = usable.and_then(|idle| idle.take(resources.clock.tick(), server.partition, bodies));
    let reused = resting.is_some();
    let mut connection = match resting {
        Some(connection) => connection,
        // Boxed: it is rare, and otherwise every exchange would hold the memory that a handshake needs.
        None => Box::pin(connect_http1(server, resources)).await?,
    };
    connection.belongs(share);
    if client.before_send(resources.budgets.connections.number())? {
        return Ok(Outcome::SessionEnded);
    }
    // Only a kept connection may have died unseen, and only an idempotent request may be sent twice (RFC
    // 9110, section 9.2.2).
    let twice = reused && server.kind.method.is_idempotent();
    if !twice {
        body.let_go();
    }
    match timeout(times.between_bytes, connection.write_all(head)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let failure = Failure::new(Reason::UpstreamClosed, error.to_string());
            return Err(Failure { repeatable: twice, ..failure }.into());
        }
        Err(_) => return Err(Failure::new(Reason::UpstreamTimeout, "the request was not taken").into()),
    }
    let place = RestingPlace { idle, bodies, clock: resources.clock };
    let mut stream = Http1Stream::new(connection, place, after);
    let attempt = Attempt { request: server.kind, times, twice };
    let rest = run(client, &mut stream, body, resources, attempt).await?;
    drop(stream);
    Ok(Outcome::Answered(rest))
}

async fn connect_http1(server: &Server<'_>, resources: &Resources<'_>) -> Result<Connection, Failure> {
    let &Server { upstream, pool, selection, address, partition, .. } = server;
    let descriptor = resources.descriptor().ok_or_else(capacity::no_descriptor)?;
    let connected = dial(address, pool.tls(), upstream.timeouts.connect, partition.cloned()).await;
    let connection = note_reached(pool, selection, resources.clock.tick(), connected)?;
    Ok(connection.counted(descriptor))
}

/// Sends the request to one server over HTTP/2.
async fn over_http2<D: Requester>(
    client: &mut D,
    body: &mut RequestBody,
    server: &Server<'_>,
    request: &http::Request<()>,
    resources: &Resources<'_>,
) -> Result<Outcome<D::Head, D::Error>, Ended<D::Error>> {
    let &Server { upstream, pool, selection, .. } = server;
    let times = &upstream.timeouts;
    let h2_pool = pool.h2_pool(selection.index).ok_or_else(|| Failure::internal("no server"))?;
    let late = || Failure::unreachable(Reason::UpstreamTimeout, true, "no HTTP/2 in time");
    let connect = || async {
        let on_change = h2_pool.look_again_later();
        let opened = timeout(times.connect, connect_http2(server, resources, on_change)).await;
        note_reached(pool, selection, resources.clock.tick(), opened.unwrap_or_else(|_| Err(late())))
    };
    let permit = permit_of(&*client)?.clone();
    let asker = Asker {
        clock: resources.clock,
        live_exchanges: resources.live_exchanges,
        permit: &permit,
        partition: server.partition,
    };
    let taken = h2_pool.take(asker, times.connect, connect).await.map_err(|none| match none {
        NoPlace::Closed(failure) => failure,
        NoPlace::Late => late(),
        NoPlace::Busy(short) => {
            let what = format!("the places on the connections to {}", pool.server_name(selection.index));
            // Nothing was sent, and another server may have a place.
            Failure { repeatable: !pool.is_alone(), ..capacity::refused(short, &what) }
        }
    })?;
    if client.before_send(taken.number)? {
        return Ok(Outcome::SessionEnded);
    }
    // Only a kept connection may have died unseen, and only an idempotent request may be sent twice (RFC
    // 9110, section 9.2.2).
    let twice = taken.reused && request.method().is_idempotent();
    let ends = body.has_come() && body.pending().is_empty();
    let attempt = Attempt { request: server.kind, times, twice };
    let server = (pool, selection.index);
    // The connection ended after it was chosen: nothing was sent.
    let mut stream =
        Http2Stream::begin(taken.sender, request.clone(), ends, taken.place, server).map_err(|error| {
            Failure {
                repeatable: error.is_io() || error.is_go_away(),
                ..Failure::new(http2::reason(&error), error.to_string())
            }
        })?;
    let rest = run(client, &mut stream, body, resources, attempt).await?;
    drop(stream);
    Ok(Outcome::Answered(rest))
}

/// Opens an HTTP/2 connection. Nothing was sent yet, so any request may go to the next server.
async fn connect_http2(
    server: &Server<'_>,
    resources: &Resources<'_>,
    on_change: impl Fn() + Send + Sync + 'static,
) -> Result<Opened, Failure> {
    let descriptor = resources.descriptor().ok_or_else(capacity::no_descriptor)?;
    let connection = dial(server.address, server.pool.tls(), server.upstream.timeouts.connect, None)
        .await?
        .counted(descriptor);
    if !connection.chose_http2() {
        let why = "the server does not choose `h2` (ALPN): it does not speak HTTP/2";
        return Err(Failure::unreachable(Reason::UpstreamTls, false, why));
    }
    connection.keep_alive().map_err(|error| Failure {
        repeatable: true,
        ..Failure::new(Reason::UpstreamConnect, error.to_string())
    })?;
    let opened = h2_connection::open(connection.into_stream(), MOST_STREAMS, on_change).await;
    opened.map_err(|error| Failure::unreachable(http2::reason(&error), true, format!("no HTTP/2: {error}")))
}
