//! One connection that speaks HTTP/2 with a server.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::MAX_HEAD_BYTES;

/// How much of one answer is on its way to us and not yet taken by its client.
const STREAM_WINDOW: u32 = 65_535;
/// The same for all answers of a connection: as much as all of them may have, so that a client that takes
/// nothing of its own keeps nothing from another's.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
/// How much of one request waits until the server takes it.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams that we have reset the server may still speak on.
const RESET_STREAMS: usize = 50;
/// How many streams we reset because the server broke the protocol, before the connection ends.
const ERRORS: usize = 100;

/// A connection whose server has said its settings.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) sender: SendRequest<Bytes>,
    /// How many streams the server takes at once.
    most: Arc<AtomicUsize>,
    /// How many we begin at the most, however many it takes.
    limit: usize,
}

impl Opened {
    /// Returns how many exchanges it may carry now.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).min(self.limit)
    }

    /// Says whether it takes no further exchange: it has closed, or its server has said that it will
    /// (GOAWAY).
    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

/// Begins to speak HTTP/2, and waits until the server does. The caller sets the deadline.
///
/// It carries `limit` exchanges at the most. `on_change` is called whenever it may carry more than before,
/// and when it has ended.
pub(crate) async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    limit: usize,
    on_change: impl Fn() + Send + Sync + 'static,
) -> Result<Opened, h2::Error> {
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .max_concurrent_streams(0)
        // None before the server's settings have come: what it would refuse is not sent.
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(Some(ERRORS))
        .handshake::<_, Bytes>(stream)
        .await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.and(Err(h2::Reason::REFUSED_STREAM.into()))),
        Poll::Pending if connection.max_concurrent_send_streams() == 0 => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    })
    .await?;
    let most = Arc::new(AtomicUsize::new(connection.max_concurrent_send_streams()));
    let opened = Opened { sender, most: Arc::clone(&most), limit };
    // It ends with its last exchange once nobody can begin another.
    tokio::spawn(async move {
        let ended = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            let now = connection.max_concurrent_send_streams();
            if most.swap(now, Ordering::Relaxed) < now {
                on_change();
            }
            ended
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
        on_change();
    });
    Ok(opened)
}
