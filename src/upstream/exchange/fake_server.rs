//! A server that follows a script, for the tests of the exchange loop.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::{Sleep, sleep};

use crate::{
    model::{Deny, Reason},
    upstream::{
        connection::Connection,
        failure::Failure,
        head::Head,
        request_body::RequestBody,
        stream::{ClientSide, StreamEvent, UpstreamStream},
    },
};

/// What happened, in order.
pub(super) type Log = Arc<Mutex<Vec<String>>>;

pub(super) fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
}

/// What a server does next.
pub(super) enum Step {
    /// It takes what waits of the request, as soon as something does.
    Take,
    /// It takes no more of the request.
    Refuse,
    /// This comes.
    Say(StreamEvent),
    /// This was in memory already when the step before it came.
    AtOnce(StreamEvent),
    Fail(Failure),
    /// Nothing happens for so long.
    Rest(Duration),
}

pub(super) fn head(status: u16) -> Step {
    Step::Say(StreamEvent::Head(plain_head(status), false))
}

pub(super) fn whole(status: u16) -> Step {
    Step::Say(StreamEvent::Head(plain_head(status), true))
}

pub(super) fn grpc_head() -> Step {
    let mut head = plain_head(200);
    head.headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    Step::Say(StreamEvent::Head(head, false))
}

pub(super) fn data(text: &'static str) -> Step {
    Step::Say(StreamEvent::Data(Bytes::from_static(text.as_bytes()), false))
}

pub(super) fn last(text: &'static str) -> Step {
    Step::Say(StreamEvent::Data(Bytes::from_static(text.as_bytes()), true))
}

pub(super) fn at_once(text: &'static str, end: bool) -> Step {
    Step::AtOnce(StreamEvent::Data(Bytes::from_static(text.as_bytes()), end))
}

pub(super) fn trailers(name: &'static str) -> Step {
    let fields = [(HeaderName::from_static(name), HeaderValue::from_static("1"))];
    Step::Say(StreamEvent::End(Some(fields.into_iter().collect())))
}

pub(super) const END: fn() -> Step = || Step::Say(StreamEvent::End(None));

pub(super) fn reset() -> Step {
    Step::Fail(Failure::new(Reason::UpstreamProtocol, "stream reset"))
}

fn plain_head(status: u16) -> Head {
    Head { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new() }
}

/// A server that follows a script, and is silent behind its end.
pub(super) struct FakeServer {
    pub(super) script: VecDeque<Step>,
    pub(super) rest: Option<Pin<Box<Sleep>>>,
    pub(super) is_over: bool,
    pub(super) has_left: bool,
    pub(super) log: Log,
}

impl FakeServer {
    fn said(&mut self, event: StreamEvent) -> StreamEvent {
        self.is_over |= event.is_end() || matches!(event, StreamEvent::Head(_, true));
        event
    }
}

impl UpstreamStream for FakeServer {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        body: Option<&mut RequestBody>,
    ) -> Poll<Result<StreamEvent, Failure>> {
        if let Some(Step::Rest(time)) = self.script.front() {
            let rest = self.rest.get_or_insert_with(|| Box::pin(sleep(*time)));
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
            self.script.pop_front();
        }
        match (self.script.pop_front(), body) {
            (Some(Step::Take), Some(body)) if !body.pending().is_empty() => {
                note(&self.log, format!("server took {}", text(body.pending())));
                body.taken(usize::MAX);
                Poll::Ready(Ok(StreamEvent::Sent))
            }
            (Some(Step::Refuse), Some(body)) => {
                body.refuse();
                Poll::Ready(Ok(StreamEvent::Sent))
            }
            (Some(Step::Say(event) | Step::AtOnce(event)), _) => Poll::Ready(Ok(self.said(event))),
            (Some(Step::Fail(failure)), _) => Poll::Ready(Err(failure)),
            (step, _) => {
                step.into_iter().for_each(|step| self.script.push_front(step));
                Poll::Pending
            }
        }
    }

    fn ready(&mut self) -> Result<Option<StreamEvent>, Failure> {
        match self.script.pop_front() {
            Some(Step::AtOnce(event)) => Ok(Some(self.said(event))),
            step => {
                step.into_iter().for_each(|step| self.script.push_front(step));
                Ok(None)
            }
        }
    }

    fn begin_body(&mut self, _: &mut Head, over: bool, client: ClientSide) -> Result<bool, Deny> {
        self.is_over |= over || client.without_body;
        Ok(self.is_over)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn left(&self) -> Option<u64> {
        None
    }

    fn taken(&mut self, octets: usize) {
        if octets > 0 {
            note(&self.log, format!("server may send {octets} more"));
        }
    }

    fn retire(&mut self) {
        note(&self.log, "server retired");
    }

    fn release(&mut self, _: &RequestBody) -> bool {
        if !self.has_left {
            note(&self.log, "server released");
        }
        self.has_left = true;
        true
    }

    fn has_left(&self) -> bool {
        self.has_left
    }

    fn upgrade(&mut self) -> Option<&mut Connection> {
        None
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
