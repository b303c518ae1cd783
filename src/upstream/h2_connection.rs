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

/// The most octets of one answer that the server may send ahead of its client.
const STREAM_WINDOW: u32 = 65_535;
/// The same for all answers of a connection: the sum of what each may have, so that a client that reads
/// nothing does not block the answers of others.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
/// The most octets of one request that wait for the server.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams that we have reset the server may still send on.
const RESET_STREAMS: usize = 50;
/// How many streams we reset because the server broke the protocol, before the connection ends.
const ERRORS: usize = 100;

/// A connection whose server has sent its SETTINGS.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) sender: SendRequest<Bytes>,
    /// How many concurrent streams the server allows.
    most: Arc<AtomicUsize>,
    /// The most that we open, whatever it allows.
    limit: usize,
}

impl Opened {
    /// Returns how many exchanges it may carry now.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).min(self.limit)
    }

    /// Says whether it takes no further exchange: it has closed, or its server has announced that (GOAWAY).
    pub(crate) fn is_over(&mut self) -> bool {
        matches!(self.sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }
}

/// Performs the HTTP/2 handshake, up to the SETTINGS of the server. The caller sets the deadline.
///
/// It carries at most `limit` exchanges. `on_change` is called whenever it may carry more than before,
/// and when it has ended.
pub(crate) async fn open(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    limit: usize,
    on_change: impl Fn() + Send + Sync + 'static,
) -> Result<Opened, h2::Error> {
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .max_concurrent_streams(0)
        // None before the server's SETTINGS have arrived, so that no stream is opened that it would refuse.
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
    // It ends with its last exchange once no other can begin.
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
